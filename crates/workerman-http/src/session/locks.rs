//! One lock for each session that is open in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::SessionId;

/// The locks of the sessions that somebody has or waits for; no others are remembered.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks(Arc<Mutex<HashMap<SessionId, Arc<AsyncMutex<()>>>>>);

/// A session is locked, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    // Before the interest: whoever forgets the lock must find it free.
    _guard: OwnedMutexGuard<()>,
    _interest: Interest,
}

/// Somebody has the lock, or waits for it.
#[derive(Debug)]
struct Interest {
    id: SessionId,
    locks: Locks,
    lock: Option<Arc<AsyncMutex<()>>>,
}

impl Locks {
    /// Waits for the lock of a session; who came first gets it first.
    pub(super) async fn lock(&self, id: &SessionId) -> Held {
        let lock = Arc::clone(self.map().entry(id.clone()).or_default());
        let interest = Interest { id: id.clone(), locks: self.clone(), lock: Some(Arc::clone(&lock)) };
        Held { _guard: lock.lock_owned().await, _interest: interest }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<AsyncMutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.map().len()
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut map = self.locks.map();
        // Whoever was here before has left nothing behind, so that the last one sees that it is the last.
        drop(self.lock.take());
        if map.get(&self.id).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            map.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    async fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
        poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn a_lock_is_exclusive_and_forgotten_when_nobody_wants_it() {
        let locks = Locks::default();
        let (a, b) = (SessionId::random().unwrap(), SessionId::random().unwrap());
        let held = locks.lock(&a).await;
        let other = locks.lock(&b).await;
        assert_eq!(locks.len(), 2);

        let mut second = Box::pin(locks.lock(&a));
        let mut third = Box::pin(locks.lock(&a));
        assert!(is_pending(&mut second).await && is_pending(&mut third).await);
        drop(held);
        // Who gives up is passed over.
        drop(second);
        let held = third.await;
        drop((held, other));
        assert_eq!(locks.len(), 0);

        // Given up while somebody has it, and the other way round.
        let held = locks.lock(&a).await;
        {
            let mut waiting = pin!(locks.lock(&a));
            assert!(is_pending(&mut waiting).await);
            drop(held);
            assert_eq!(locks.len(), 1);
        }
        assert_eq!(locks.len(), 0);
    }
}
