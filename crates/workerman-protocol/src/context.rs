//! What a protocol is given with each call: time, chance, a place for its own replies, and the sending half.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Instant;

use crate::{Outbox, Protocol, Random, Role};

/// Access to the sending half of a connection, wherever it lives.
///
/// Implemented for the two usual places, [`RefCell`] and [`Mutex`]; the connection layer has its own.
pub trait SendingHalf<S> {
    /// Calls `with` once, with exclusive access; not to be nested.
    fn with(&self, with: &mut dyn FnMut(&mut S));

    /// The peer's address, where there is a peer that has one; default `None`.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    /// Releases the senders of a connection that holds them: what they have sent is put into `reply`, behind what is there
    /// already. Default: there are none.
    fn release(&self, reply: &mut Outbox) {
        let _ = reply;
    }

    /// From now on each send gets a sending half made by [`Protocol::free`] of these bits; what was sent before and is
    /// not held is put into `reply`. Default: nothing.
    fn free(&self, bits: u8, reply: &mut Outbox) {
        let _ = (bits, reply);
    }

    /// From now on nothing is taken to be sent; what was taken before and is not held is put into `reply`. Default: nothing.
    fn shut(&self, reply: &mut Outbox) {
        let _ = reply;
    }

    /// A handle of the connection that can be kept and sent to other threads, where there is one; default `None`.
    fn handle(&self) -> Option<Handle<S>> {
        None
    }
}

/// A sending half that can be kept, and reached from any thread.
pub type Handle<S> = Arc<dyn SendingHandle<S>>;

/// What can be done from anywhere with the sending half of a connection: for tokens to answer later.
pub trait SendingHandle<S>: SendingHalf<S> + Send + Sync {
    /// Makes the connection look at what was left in its sending half.
    fn wake(&self);

    /// Whether the connection is over: nobody will look any more.
    fn is_closed(&self) -> bool;

    /// The connection itself, for whoever knows its type; default `None`.
    fn into_any(self: Arc<Self>) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

impl<S> SendingHalf<S> for RefCell<S> {
    fn with(&self, with: &mut dyn FnMut(&mut S)) {
        with(&mut self.borrow_mut());
    }
}

impl<S> SendingHalf<S> for Mutex<S> {
    fn with(&self, with: &mut dyn FnMut(&mut S)) {
        with(&mut self.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The surroundings of one call of a [`Protocol`].
pub struct Context<'a, P: Protocol> {
    now: Instant,
    unix_seconds: u64,
    role: Role,
    random: &'a mut Random,
    reply: &'a mut Outbox,
    sending: &'a dyn SendingHalf<P::Sending>,
    waker: &'a Waker,
    waited: usize,
    handling: bool,
    parked: bool,
    ended: bool,
}

impl<'a, P: Protocol> Context<'a, P> {
    /// The context of a call; made by whoever drives the protocol.
    pub fn new(
        now: Instant,
        unix_seconds: u64,
        role: Role,
        random: &'a mut Random,
        reply: &'a mut Outbox,
        sending: &'a dyn SendingHalf<P::Sending>,
        waker: &'a Waker,
    ) -> Self {
        Self {
            now,
            unix_seconds,
            role,
            random,
            reply,
            sending,
            waker,
            waited: 0,
            handling: false,
            parked: false,
            ended: false,
        }
    }

    /// Sets how many bytes waited for the peer before there was anything in `reply`; default 0.
    #[must_use]
    pub fn with_queued(mut self, bytes: usize) -> Self {
        self.waited = bytes;
        self
    }

    /// Sets whether the handler of a message is at work; default no.
    #[must_use]
    pub fn with_handling(mut self, handling: bool) -> Self {
        self.handling = handling;
        self
    }

    /// Sets whether a decoded message waits for the handler of the one before it; default no.
    #[must_use]
    pub fn with_parked(mut self, parked: bool) -> Self {
        self.parked = parked;
        self
    }

    /// Sets whether the peer has ended its stream, and all of it has been decoded; default no.
    #[must_use]
    pub fn with_ended(mut self, ended: bool) -> Self {
        self.ended = ended;
        self
    }

    /// The time of this turn of the loop, monotonic.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The wall clock, in whole seconds since 1970.
    pub fn unix_seconds(&self) -> u64 {
        self.unix_seconds
    }

    /// Which side of the connection this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// A random source, seeded by the system or by a simulation.
    pub fn random(&mut self) -> &mut Random {
        self.random
    }

    /// Where to put what the protocol itself owes the peer (a pong, a refusal, a 100-continue).
    ///
    /// It is sent in order with what the application sends, and counts towards the same marks.
    pub fn reply(&mut self) -> &mut Outbox {
        self.reply
    }

    /// Releases the senders, which a protocol that [holds](Protocol::HOLDS) them does once: when its handshake is done,
    /// or in [`open`](Protocol::open).
    ///
    /// The order on the wire is: what is in [`reply`](Self::reply) now, what has been sent until now, what is put or sent
    /// later. So the last words of the handshake are put before. Again, or without the constant, it does nothing.
    pub fn release(&mut self) {
        self.sending.release(self.reply);
    }

    /// Declares that from now on the encoder of this connection needs nothing but these bits.
    ///
    /// Then each send, inside callbacks without a lock, gets a sending half of its own that [`Protocol::free`] makes of
    /// them; nothing is kept of it, and what it has encoded can be taken back, as with a sending half of size zero. What
    /// was in the sending half is dropped, and [`sending`](Self::sending) reaches such a passing one as well.
    ///
    /// A protocol calls it at most once in a connection, before the [release](Self::release) or in
    /// [`open`](Protocol::open).
    pub fn free(&mut self, bits: u8) {
        self.sending.free(bits, self.reply);
    }

    /// Lets nothing more be sent, while the peer is still heard: for a protocol whose last word (a close frame) nothing may
    /// follow, and that goes on to read.
    ///
    /// What has been sent until now is in front of what is put into [`reply`](Self::reply) from now on. A `send` later is
    /// refused, as on a connection that is closed. [`Outbox::finish`] does the same, and ends the stream.
    pub fn shut(&mut self) {
        self.sending.shut(self.reply);
    }

    /// Number of bytes that wait for the peer: those that waited when the connection began to handle what has arrived,
    /// and what is in [`reply`](Self::reply) now.
    ///
    /// A protocol that makes an answer piece by piece stops when this is above a mark of its own, and answers
    /// [`Decoded::Blocked`](crate::Decoded::Blocked): it is asked again when everything has been written.
    pub fn queued(&self) -> usize {
        self.waited.saturating_add(self.reply.len())
    }

    /// Whether the handler of a message is running or suspended: it may still return an answer. In [`Protocol::tick`] also
    /// whether the peer may have sent what is not read for other reasons of this side (paused, too much is queued).
    pub fn handling(&self) -> bool {
        self.handling
    }

    /// Whether the message that was decoded last is the one behind that of the handler which is at work (or has just
    /// returned, in [`Protocol::answer`] and [`Protocol::failed`]), and waits for it. Otherwise that handler's message is
    /// itself the last.
    pub fn parked(&self) -> bool {
        self.parked
    }

    /// Whether the peer has ended its stream and nothing of it is left to decode: no message comes behind those that were
    /// decoded. A peer that has said all may still read.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The peer's IP address and port; `None` for a unix socket, or where there is no peer.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.sending.peer()
    }

    /// A handle of the connection to be kept by messages, where there is one; see [`SendingHandle`].
    pub fn handle(&self) -> Option<Handle<P::Sending>> {
        self.sending.handle()
    }

    /// Encodes a message into the reply; on an error what was appended is taken back.
    pub(crate) fn encode(&mut self, message: P::Outgoing) -> Result<(), P::Error> {
        let before = self.reply.len();
        let mut message = Some(message);
        let mut encoded = Ok(());
        self.sending.with(&mut |sending| {
            if let Some(message) = message.take() {
                encoded = P::encode(sending, message, self.reply);
            }
        });
        encoded.inspect_err(|_| self.reply.truncate(before))
    }

    /// Reads or changes the state of the sending half, under the connection's lock; don't send inside.
    ///
    /// # Panics
    /// If the [`SendingHalf`] breaks its contract and does not call back.
    pub fn sending<R>(&mut self, with: impl FnOnce(&mut P::Sending) -> R) -> R {
        let mut with = Some(with);
        let mut result = None;
        self.sending.with(&mut |sending| {
            if let Some(with) = with.take() {
                result = Some(with(sending));
            }
        });
        // `SendingHalf::with` calls its argument: that is its whole contract.
        result.expect("the sending half calls back")
    }

    /// Wakes the connection from anywhere, so that [`Protocol::decode`] is tried again: for a protocol that answered
    /// [`Decoded::Blocked`](crate::Decoded::Blocked) because a reader had no room.
    pub fn waker(&self) -> &Waker {
        self.waker
    }
}

impl<P: Protocol> fmt::Debug for Context<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("now", &self.now).field("role", &self.role).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sending_half_is_reached_wherever_it_lives() {
        let add = |half: &dyn SendingHalf<u32>| half.with(&mut |n| *n += 1);
        let (cell, lock) = (RefCell::new(1), Mutex::new(2));
        add(&cell);
        add(&lock);
        assert_eq!((cell.into_inner(), lock.into_inner().unwrap()), (2, 3));
    }

    #[test]
    fn a_panic_elsewhere_does_not_lose_the_sending_half() {
        let lock = Mutex::new(1);
        let panicked = std::thread::scope(|scope| {
            scope.spawn(|| SendingHalf::with(&lock, &mut |_: &mut i32| panic!("expected by the test"))).join()
        });
        assert!(panicked.is_err() && lock.is_poisoned());
        SendingHalf::with(&lock, &mut |n| *n += 1);
        assert_eq!(*lock.lock().unwrap_or_else(PoisonError::into_inner), 2);
    }
}
