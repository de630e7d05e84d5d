//! Sending alone for a while.

use std::future::Future;

use workerman_protocol::Protocol;

use crate::push::Message;
use crate::waiting;
use crate::{Connection, SendError, Sent};

/// Sends alone on a connection; what others send meanwhile goes out when it is dropped. See
/// [`Connection::exclusive`].
pub struct Exclusive<P: Protocol> {
    conn: Connection<P>,
    owner: u64,
}

impl<P: Protocol> Exclusive<P> {
    pub(crate) fn begin(conn: Connection<P>) -> Result<Self, SendError<P::Error>> {
        let owner = conn.0.begin_exclusive()?;
        Ok(Self { conn, owner })
    }

    /// Queues a message (a part of one), in front of what others send.
    ///
    /// # Errors
    /// As [`Connection::send`]; also if the connection that it was begun on was lost, whatever the client has connected to
    /// since.
    pub fn send(&mut self, message: impl Into<P::Outgoing>) -> Result<Sent, SendError<P::Error>> {
        let message = message.into();
        let size = P::size_hint(&message);
        self.conn.0.push_exclusive(self.owner, size, Message::<P>(message))
    }

    /// Waits until the queue has room for what is sent here; what others have sent does not count. See
    /// [`Connection::ready`].
    ///
    /// # Errors
    /// The connection is closed.
    pub fn ready(&self) -> impl Future<Output = Result<(), SendError<P::Error>>> + Send + 'static + use<P> {
        waiting::ready_alone(&self.conn.0)
    }

    /// The connection.
    pub fn connection(&self) -> &Connection<P> {
        &self.conn
    }
}

impl<P: Protocol> Drop for Exclusive<P> {
    fn drop(&mut self) {
        self.conn.0.end_exclusive(self.owner);
    }
}

impl<P: Protocol> std::fmt::Debug for Exclusive<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exclusive").field("connection", &self.conn).finish_non_exhaustive()
    }
}
