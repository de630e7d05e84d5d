//! Values of the user's own types, attached to a connection.

use std::any::{Any, TypeId};
use std::sync::Arc;

/// At most one value of each type. A handful per connection: a list beats a map.
#[derive(Default)]
pub(crate) struct Extensions(Vec<(TypeId, Arc<dyn Any + Send + Sync>)>);

impl Extensions {
    /// Attaches a value; returns the one of that type that was there, for the caller to drop outside of any lock.
    pub(crate) fn set<T: Any + Send + Sync>(&mut self, value: Arc<T>) -> Option<Arc<dyn Any + Send + Sync>> {
        let key = TypeId::of::<T>();
        for (at, old) in &mut self.0 {
            if *at == key {
                return Some(std::mem::replace(old, value));
            }
        }
        self.0.push((key, value));
        None
    }

    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let key = TypeId::of::<T>();
        let (_, value) = self.0.iter().find(|(at, _)| *at == key)?;
        Arc::clone(value).downcast().ok()
    }

    /// All values, to be dropped one by one.
    pub(crate) fn into_values(self) -> impl Iterator<Item = Arc<dyn Any + Send + Sync>> {
        self.0.into_iter().map(|(_, value)| value)
    }

    pub(crate) fn remove<T: Any + Send + Sync>(&mut self) -> Option<Arc<T>> {
        let key = TypeId::of::<T>();
        let index = self.0.iter().position(|(at, _)| *at == key)?;
        self.0.swap_remove(index).1.downcast().ok()
    }
}
