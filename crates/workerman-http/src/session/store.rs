//! What keeps sessions between requests.

use std::pin::Pin;
use std::time::SystemTime;

use bytes::Bytes;

use super::{SessionId, StoreError};

/// What the methods of a store return.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What keeps sessions between requests.
///
/// A session is bytes with a time at which it expires. Only who has its [`Record`] may change it, and for each session
/// there is one record at a time, among all processes that share the store: so no update is lost.
///
/// No method blocks its thread, and each may be given up at any time.
pub trait Store: Send + Sync + 'static {
    /// Waits until nobody else has the session, and reads it. `None`: it does not exist, or has expired by `now`.
    ///
    /// There is no limit on the wait; the caller has one and gives up.
    fn open<'a>(&'a self, id: &'a SessionId, now: SystemTime) -> StoreFuture<'a, Option<Box<dyn Record>>>;

    /// A record of a new session, under an id that nobody else knows. It exists once it is saved.
    fn create(&self, id: &SessionId) -> Box<dyn Record>;

    /// Reads a session as it was saved last, without waiting. `None`: it does not exist, or has expired by `now`.
    fn load<'a>(&'a self, id: &'a SessionId, now: SystemTime) -> StoreFuture<'a, Option<Bytes>>;

    /// Removes sessions that have expired by `now`, looking at no more than `most` of them; returns how many it removed.
    /// Repeated, it gets to all.
    fn collect(&self, now: SystemTime, most: usize) -> StoreFuture<'_, usize>;
}

/// The exclusive right to a session, until it is dropped.
///
/// A method that is given up has either done all of its work or nothing, or does it while nobody else gets the right.
/// The record cannot be used afterwards.
pub trait Record: Send + Sync {
    /// What was there when the record was opened; empty for a new one.
    fn data(&self) -> &[u8];

    /// Replaces what is stored, all or nothing, and sets when it expires.
    fn save(&mut self, data: Bytes, expires: SystemTime) -> StoreFuture<'_, ()>;

    /// Sets when the session expires, and nothing else.
    fn touch(&mut self, expires: SystemTime) -> StoreFuture<'_, ()>;

    /// Removes the session.
    fn delete(&mut self) -> StoreFuture<'_, ()>;
}
