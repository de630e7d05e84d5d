//! Sessions in the memory of this process.

use std::collections::{BTreeSet, HashMap};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::locks::{Held, Locks};
use super::{Record, SessionId, Store, StoreError, StoreFuture};

/// Sessions in the memory of this process: they end with it, and other processes do not see them.
///
/// A clone is another handle to the same sessions.
///
/// # Examples
/// ```
/// use workerman_http::session::{MemoryStore, Sessions};
/// let sessions = Sessions::new(MemoryStore::new().max_sessions(10_000));
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStore {
    locks: Locks,
    sessions: Arc<Mutex<Table>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<SessionId, (Bytes, SystemTime)>,
    /// The same sessions by the time at which they expire.
    expiry: BTreeSet<(SystemTime, SessionId)>,
}

impl Table {
    fn find(&self, id: &SessionId, now: SystemTime) -> Option<Bytes> {
        self.sessions.get(id).filter(|(_, expires)| *expires > now).map(|(data, _)| data.clone())
    }

    fn remove(&mut self, id: &SessionId) -> Option<Bytes> {
        let (data, expires) = self.sessions.remove(id)?;
        self.expiry.remove(&(expires, id.clone()));
        Some(data)
    }

    fn insert(&mut self, id: &SessionId, data: Bytes, expires: SystemTime) {
        self.remove(id);
        self.sessions.insert(id.clone(), (data, expires));
        self.expiry.insert((expires, id.clone()));
    }

    fn collect(&mut self, now: SystemTime, most: usize) -> usize {
        let mut collected = 0;
        while collected < most {
            let Some((_, id)) = self.expiry.first().filter(|(expires, _)| *expires <= now) else { break };
            let id = id.clone();
            self.remove(&id);
            collected += 1;
        }
        collected
    }
}

impl MemoryStore {
    /// No sessions.
    pub fn new() -> Self {
        Self { locks: Locks::default(), sessions: Arc::default(), most: 100_000 }
    }

    /// Most sessions at a time. Default 100,000; when there are as many, no new one is saved until one expires.
    #[must_use]
    pub fn max_sessions(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Number of sessions, expired ones that were not collected yet included.
    pub fn len(&self) -> usize {
        self.table().sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn open<'a>(&'a self, id: &'a SessionId, now: SystemTime) -> StoreFuture<'a, Option<Box<dyn Record>>> {
        Box::pin(async move {
            let held = self.locks.lock(id).await;
            let data = self.table().find(id, now);
            Ok(data.map(|data| -> Box<dyn Record> {
                Box::new(MemoryRecord { store: self.clone(), id: id.clone(), data, _held: Some(held) })
            }))
        })
    }

    fn create(&self, id: &SessionId) -> Box<dyn Record> {
        let (store, id) = (self.clone(), id.clone());
        Box::new(MemoryRecord { store, id, data: Bytes::new(), _held: None })
    }

    fn load<'a>(&'a self, id: &'a SessionId, now: SystemTime) -> StoreFuture<'a, Option<Bytes>> {
        let data = self.table().find(id, now);
        Box::pin(ready(Ok(data)))
    }

    fn collect(&self, now: SystemTime, most: usize) -> StoreFuture<'_, usize> {
        let collected = self.table().collect(now, most);
        Box::pin(ready(Ok(collected)))
    }
}

struct MemoryRecord {
    store: MemoryStore,
    id: SessionId,
    data: Bytes,
    /// A new session needs no lock: nobody else knows its id before it is answered.
    _held: Option<Held>,
}

impl Record for MemoryRecord {
    fn data(&self) -> &[u8] {
        &self.data
    }

    fn save(&mut self, data: Bytes, expires: SystemTime) -> StoreFuture<'_, ()> {
        let limit = self.store.most;
        let mut table = self.store.table();
        let fits = table.sessions.len() < limit || table.sessions.contains_key(&self.id);
        if fits {
            table.insert(&self.id, data, expires);
        }
        drop(table);
        Box::pin(ready(if fits { Ok(()) } else { Err(StoreError::Full { limit }) }))
    }

    fn touch(&mut self, expires: SystemTime) -> StoreFuture<'_, ()> {
        let mut table = self.store.table();
        if let Some(data) = table.remove(&self.id) {
            table.insert(&self.id, data, expires);
        }
        drop(table);
        Box::pin(ready(Ok(())))
    }

    fn delete(&mut self) -> StoreFuture<'_, ()> {
        self.store.table().remove(&self.id);
        Box::pin(ready(Ok(())))
    }
}
