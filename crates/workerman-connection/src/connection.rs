//! The handle of a connection.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use workerman_event::Address;
use workerman_protocol::{self as protocol, Handle, Protocol};

use crate::endpoint;
use crate::exclusive::Exclusive;
use crate::pipe;
use crate::push::Message;
use crate::shared::{CLOSED, End, SHUT, Shared, UPGRADED};
use crate::waiting;
use crate::{Overflow, SendError, Sent, Service};

/// A cheap handle of one connection, of a server or a client; it can be cloned, kept, and used from any thread.
///
/// What a handle asks of the loop (close, pause, upgrade) takes effect after the running callback returns. A handle
/// that outlives its connection is harmless: `send` answers [`SendError::Closed`].
pub struct Connection<P: Protocol>(pub(crate) Arc<Shared<P>>);

impl<P: Protocol> Clone for Connection<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Protocol> Connection<P> {
    /// Queues a message; callable from a callback, another task or another thread.
    ///
    /// Inside a callback of this connection all messages leave together when everything that arrived has been
    /// handled; otherwise within the loop's next turn. Messages of one sender keep their order. What is sent before the
    /// protocol's handshake is done waits for it, where the protocol has one ([`Protocol::HOLDS`]).
    ///
    /// # Errors
    /// Not taken, and nothing has changed: the connection is closed, upgraded, its queue is full, or the message has
    /// no encoding.
    #[inline]
    pub fn send(&self, message: impl Into<P::Outgoing>) -> Result<Sent, SendError<P::Error>> {
        // The conversion is the user's code: it runs before anything is borrowed or locked.
        let message = message.into();
        let size = if Shared::<P>::STATELESS { 0 } else { P::size_hint(&message) };
        self.0.push(size, Message::<P>(message))
    }

    /// Queues bytes as they are, past the protocol's encoder.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_raw(&self, bytes: impl Into<Bytes>) -> Result<Sent, SendError<P::Error>> {
        let bytes = bytes.into();
        self.0.push(bytes.len(), bytes)
    }

    /// Queues a message, or does what `overflow` says if the queue is at its high-water mark: for those who must not wait for
    /// a slow receiver.
    ///
    /// What waits behind a full queue is whole messages, up to [`Settings::backlog`](crate::Settings::backlog) bytes, and
    /// goes out when the queue is at its low-water mark; until then a plain [`send`](Self::send) finds the queue full. It is
    /// dropped, and counted as not sent, when the connection ends before. While somebody sends
    /// [exclusively](Self::exclusive), a full queue refuses. As [`send`](Self::send) with a protocol that
    /// writes the answers.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`SendError::Full`] also where the connection is closed for that, or the message is longer
    /// than the whole backlog may be.
    pub fn send_or(
        &self,
        message: impl Into<P::Outgoing>,
        overflow: Overflow,
    ) -> Result<Sent, SendError<P::Error>> {
        let message = message.into();
        let size = P::size_hint(&message);
        self.0.push_or(size, Message::<P>(message), overflow)
    }

    /// The same with what [`Protocol::encode_shared`] made of a message.
    pub(crate) fn send_shared_or(
        &self,
        shared: &protocol::Shared,
        overflow: Overflow,
    ) -> Result<Sent, SendError<P::Error>> {
        if let Some(sent) = self.0.note(shared) {
            return Ok(sent);
        }
        self.0.push_or(shared.len(), shared, overflow)
    }

    /// Sends alone: as long as the result lives, what others send waits behind it, up to the high-water mark.
    ///
    /// For a message in several parts that nothing may come between. What the protocol itself has to say still passes.
    ///
    /// # Errors
    /// [`SendError::Busy`] if somebody does so already, if the protocol's handshake is not done, if messages wait behind a
    /// full queue ([`send_or`](Self::send_or)), or if the protocol writes the answers itself; the connection is closed or
    /// upgraded.
    pub fn exclusive(&self) -> Result<Exclusive<P>, SendError<P::Error>> {
        Exclusive::begin(self.clone())
    }

    /// Closes: what is queued is sent, then what the protocol says to a normal end (WebSocket: code 1000, and waits for the
    /// peer's answer), then FIN; the peer's unread input is read away, so that it is not reset out of its last answer.
    /// Sends are refused from now on. Before the handshake of the protocol is done, what waits for that is dropped unless
    /// it is done meanwhile.
    pub fn close(&self) {
        self.end_by(End::Close);
    }

    /// Sends a last message, then [closes](Self::close).
    ///
    /// # Errors
    /// The message was not taken; the connection closes all the same.
    pub fn close_with(&self, last: impl Into<P::Outgoing>) -> Result<Sent, SendError<P::Error>> {
        let sent = self.send(last);
        self.close();
        sent
    }

    /// Closes with the protocol's own code and reason, where it has such.
    pub fn close_with_code(&self, code: u16, reason: &str) {
        if self.0.flags() & UPGRADED == 0 {
            self.0.wish_end(End::Code(Some(code), reason.to_owned()));
        }
    }

    /// Ends gracefully: no more messages are handled; what is queued is sent, then FIN; the connection counts as
    /// closed when the peer has ended too, or after the linger time.
    pub fn end(&self) {
        self.end_by(End::End);
    }

    /// Resets the connection: nothing more is sent.
    #[doc(alias = "destroy")]
    pub fn abort(&self) {
        self.end_by(End::Abort);
    }

    fn end_by(&self, end: End) {
        self.0.shut_down();
        // `upgrade` came first: the connection is the other handle's.
        if self.0.flags() & UPGRADED == 0 {
            self.0.wish_end(end);
        }
    }

    /// Stops reading: no message is handled until [`resume`](Self::resume); the peer feels it.
    #[doc(alias = "pauseRecv")]
    pub fn pause(&self) {
        self.0.wish(|wishes| wishes.read = Some(false));
    }

    /// Reads again, and handles what has been read before.
    #[doc(alias = "resumeRecv")]
    pub fn resume(&self) {
        self.0.wish(|wishes| wishes.read = Some(true));
    }

    /// Sends each message of this connection to another one, in place of `on_message`; call it on both for a proxy.
    ///
    /// While the other's queue is over its high-water mark this one is not read. The end of this stream ends the
    /// other's sending direction; when either closes, the other is closed.
    pub fn pipe<Q: Protocol>(&self, to: &Connection<Q>)
    where
        P::Incoming: Into<Q::Outgoing>,
    {
        let forward = pipe::forward(to.clone());
        self.0.wish(|wishes| wishes.forward = Some(forward));
    }

    /// Hands the connection to another protocol: bytes that are not decoded move along, this handle answers
    /// [`SendError::Upgraded`], and `service`'s callbacks begin in the same turn.
    ///
    /// What was sent before goes out first. The layer below, the socket and the counters stay.
    ///
    /// # Errors
    /// The connection is closing, closed or upgraded already.
    pub fn upgrade<Q: Protocol>(
        &self,
        protocol: Q,
        service: &Arc<Service<Q>>,
    ) -> Result<Connection<Q>, SendError<P::Error>> {
        let (next, switch) = endpoint::switch(&self.0, protocol, Arc::clone(service));
        // Only the first of upgrade, close, end and abort wins.
        let won = self.0.flags.fetch_update(Ordering::AcqRel, Ordering::Acquire, |flags| {
            (flags & SHUT == 0).then_some(flags | SHUT | UPGRADED)
        });
        if won.is_err() {
            return Err(self.0.shut());
        }
        self.0.release();
        self.0.wish(|wishes| wishes.switch = Some(switch));
        Ok(next)
    }

    /// Waits until the queue has room: at once when it is under the high-water mark, otherwise until it has drained
    /// to the low one.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn ready(&self) -> impl Future<Output = Result<(), SendError<P::Error>>> + Send + 'static + use<P> {
        waiting::ready(&self.0)
    }

    /// Waits until the connection is closed (a client: for good).
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static + use<P> {
        waiting::closed(&self.0)
    }

    /// The connection that a protocol has kept a [handle](workerman_protocol::Context::handle) of; `None` if the handle is of
    /// something else.
    pub fn of_handle(handle: &Handle<P::Sending>) -> Option<Self> {
        let shared = Arc::clone(handle).into_any()?.downcast().ok()?;
        Some(Self(shared))
    }

    /// The number of the connection: unique in the process, counted from 1.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The peer's address.
    #[doc(alias = "getRemoteAddress")]
    pub fn peer_addr(&self) -> Address {
        self.0.lock().peer.clone()
    }

    /// This side's address; `None` before a client is connected.
    #[doc(alias = "getLocalAddress")]
    pub fn local_addr(&self) -> Option<Address> {
        self.0.lock().local.as_deref().cloned()
    }

    /// Number of bytes that are queued and not yet taken by the system.
    #[doc(alias = "getSendBufferQueueSize")]
    pub fn buffered(&self) -> usize {
        self.0.queued()
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.0.flags() & CLOSED != 0
    }

    /// Bytes read from the peer (above the layer, below the protocol).
    #[doc(alias = "bytesRead")]
    pub fn bytes_in(&self) -> u64 {
        self.0.traffic.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes that the system has taken for the peer.
    #[doc(alias = "bytesWritten")]
    pub fn bytes_out(&self) -> u64 {
        self.0.traffic.bytes_out.load(Ordering::Relaxed)
    }

    /// Messages handed to `on_message`, as of the last finished batch: what arrived together is added together.
    pub fn messages_in(&self) -> u64 {
        self.0.traffic.messages_in.load(Ordering::Relaxed)
    }

    /// Messages taken by `send`.
    pub fn messages_out(&self) -> u64 {
        // Under the lock they move from one to the other.
        let _core = self.0.lock();
        let outside = self.0.outside.load(Ordering::Relaxed);
        self.0.traffic.messages_out.load(Ordering::Relaxed) + u64::from(outside)
    }

    /// Attaches a value; one of each type. Returns the one that was there.
    pub fn set<T: Any + Send + Sync>(&self, value: T) -> Option<Arc<T>> {
        let value = Arc::new(value);
        let old = self.0.lock().attached.get_or_insert_default().extensions.set(value);
        old?.downcast().ok()
    }

    /// The attached value of this type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.lock().attached.as_ref()?.extensions.get()
    }

    /// Detaches the value of this type.
    pub fn remove<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.lock().attached.as_mut()?.extensions.remove()
    }

    /// The service that the connection belongs to: its other connections, broadcast, shared state.
    #[doc(alias = "worker")]
    pub fn service(&self) -> &Arc<Service<P>> {
        &self.0.service
    }
}

impl<P: Protocol> PartialEq for Connection<P> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<P: Protocol> Eq for Connection<P> {}

impl<P: Protocol> std::fmt::Debug for Connection<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.id()).finish_non_exhaustive()
    }
}
