//! What all handles of a connection share, and the two ways into its queue.
//!
//! **Inside a callback of the connection itself** (the common case) the queue is the thread's *cork*: a thread-local
//! outbox that the loop writes once, when everything that arrived has been handled. A protocol with a stateless
//! sending half takes no lock there. **From anywhere else** the message is encoded under the connection's lock into
//! its own outbox, and the connection is marked for one flush in the loop's next turn.
//!
//! Flags are atomics outside the lock: a decoder may wake a reader, and a waker may fire, while the lock is held.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use workerman_event::{Address, Token};
use workerman_protocol::{Handle, Outbox, Protocol, SendingHalf, SendingHandle};

use crate::cork::{CORK, Cork, corked, is_corked};
use crate::endpoint::SwitchTo;
use crate::extensions::Extensions;
use crate::pipe::Forward;
use crate::remote::Remote;
use crate::service::Service;
use crate::waiting::Waiters;
use crate::{SendError, Sent};

/// On the loop's list of connections to look at.
pub(crate) const MARKED: u32 = 1;
/// The suspended handler can go on, or the decoder wants to be tried again.
pub(crate) const WOKEN: u32 = 1 << 1;
/// `send` takes nothing any more: ending, closed or upgraded.
pub(crate) const SHUT: u32 = 1 << 2;
/// Over; `on_close` has been or is about to be called.
pub(crate) const CLOSED: u32 = 1 << 3;
/// Another protocol has the connection.
pub(crate) const UPGRADED: u32 = 1 << 4;
/// The loop has to look at `Core::wishes`.
pub(crate) const WISHED: u32 = 1 << 5;
/// A sender was told `OverHighWater`: a drain event is owed.
pub(crate) const CROSSED: u32 = 1 << 6;
/// Somebody waits for room (`Core::waiters`).
pub(crate) const WAITED: u32 = 1 << 7;
/// Bytes in `Core::out`, or something in `Core::sending` for a protocol that writes the answers.
pub(crate) const QUEUED: u32 = 1 << 8;

/// The protocol has ended the stream ([`Outbox::finish`]): nothing more is decoded.
pub(crate) const FINISHED: u32 = 1 << 9;

/// Counted among the service's connections before it is registered.
pub(crate) const RESERVED: u32 = 1 << 10;

/// `Shared::place` of a connection that is in no loop.
pub(crate) const NOWHERE: u64 = u64::MAX;
/// `Shared::place` of a client that is not connected: this bit and the number of its dial.
pub(crate) const DIALING: u64 = 1 << 63;

/// What a handle wants of the loop; done after the callback returns, the later and the stronger wins.
pub(crate) struct Wishes<P: Protocol> {
    pub(crate) read: Option<bool>,
    pub(crate) end: Option<End>,
    pub(crate) half_close: bool,
    pub(crate) switch: Option<SwitchTo>,
    pub(crate) forward: Option<Box<dyn Forward<P>>>,
}

/// How to end; in order of strength.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(clippy::enum_variant_names)] // each is called as the method of the handle
pub(crate) enum End {
    /// The protocol's own close, if it has one.
    Code(Option<u16>, String),
    /// Flush, FIN, linger.
    End,
    /// Flush, FIN; the connection counts as closed at once.
    Close,
    /// Reset, for a reason.
    Abort,
    /// A sender's encoder panicked.
    Panic,
}

/// What is under the lock.
pub(crate) struct Core<P: Protocol> {
    pub(crate) sending: P::Sending,
    /// Taken from senders outside, not yet seen by the loop.
    pub(crate) out: Outbox,
    /// Bytes of `out` that are counted in the loop's total.
    pub(crate) counted: usize,
    pub(crate) wishes: Option<Box<Wishes<P>>>,
    pub(crate) attached: Option<Box<Attached>>,
    pub(crate) peer: Address,
    /// Usually the listener's, shared by its connections.
    pub(crate) local: Option<Arc<Address>>,
}

/// What users have attached to a connection; apart, so that one without is small.
#[derive(Default)]
pub(crate) struct Attached {
    pub(crate) waiters: Waiters,
    pub(crate) extensions: Extensions,
}

/// What all handles of one connection share.
pub(crate) struct Shared<P: Protocol> {
    pub(crate) id: u64,
    /// The token in the loop, as `slot << 32 | generation`, or one of the two special places.
    pub(crate) place: AtomicU64,
    pub(crate) flags: AtomicU32,
    /// Messages in `Core::out`, written under the lock; the loop counts them when it takes them.
    pub(crate) outside: AtomicU32,
    pub(crate) service: Arc<Service<P>>,
    pub(crate) remote: Arc<Remote>,
    /// Bytes queued on the loop's side, kept by the loop.
    pub(crate) pending: AtomicUsize,
    pub(crate) traffic: Traffic,
    pub(crate) core: Mutex<Core<P>>,
}

/// The counters of one connection, written by the loop alone.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) messages_in: AtomicU64,
    pub(crate) messages_out: AtomicU64,
}

/// Adds to a counter that only this thread writes.
#[inline]
pub(crate) fn bump(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl<P: Protocol> Core<P> {
    /// The attached values, to be dropped outside of the lock.
    pub(crate) fn take_extensions(&mut self) -> Extensions {
        self.attached
            .as_mut()
            .map_or_else(Extensions::default, |attached| std::mem::take(&mut attached.extensions))
    }
}

impl<P: Protocol> Shared<P> {
    /// Whether sends inside callbacks need no lock.
    pub(crate) const STATELESS: bool = size_of::<P::Sending>() == 0;

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core<P>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn flags(&self) -> u32 {
        self.flags.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, flags: u32) -> u32 {
        self.flags.fetch_or(flags, Ordering::AcqRel)
    }

    pub(crate) fn clear(&self, flags: u32) -> u32 {
        self.flags.fetch_and(!flags, Ordering::AcqRel)
    }

    /// Makes the loop look at this connection in this or its next turn.
    pub(crate) fn mark(&self) {
        if self.set(MARKED) & MARKED != 0 {
            return;
        }
        let place = self.place.load(Ordering::SeqCst);
        if place == NOWHERE {
            return;
        }
        if place & DIALING == 0 {
            self.remote.mark(token_at(place));
        } else {
            self.remote.mark_dial(place & !DIALING);
        }
    }

    /// Bytes queued in all places, exact when nobody sends at the same time.
    pub(crate) fn queued(&self) -> usize {
        self.queued_with(&self.lock()) + corked(self.id)
    }

    /// Bytes queued on both sides: what the loop takes over moves from one to the other under the lock.
    fn queued_with(&self, core: &Core<P>) -> usize {
        self.pending.load(Ordering::Relaxed) + core.out.len()
    }

    /// Like [`push`](Self::push) from outside of a batch, but what was encoded and does not fit is not thrown away: it
    /// is left in `rest`, to be appended later.
    pub(crate) fn push_or_keep(
        &self,
        size: usize,
        encode: impl FnOnce(&mut P::Sending, &mut Outbox) -> Result<(), P::Error>,
        rest: &mut Outbox,
    ) -> Result<Sent, SendError<P::Error>> {
        self.push_locked(size, encode, Some(rest))
    }

    /// Queues what `encode` appends. The core of every `send`.
    ///
    /// `size` is a number of bytes that the message takes at least, for encoders with a state: what they have encoded
    /// cannot be taken back, so what does not fit has to be refused before.
    #[inline]
    pub(crate) fn push(
        &self,
        size: usize,
        encode: impl FnOnce(&mut P::Sending, &mut Outbox) -> Result<(), P::Error>,
    ) -> Result<Sent, SendError<P::Error>> {
        if self.flags.load(Ordering::Acquire) & SHUT != 0 {
            self.remote.counters.send_failures.add_shared(1);
            return Err(self.shut());
        }
        if !Self::STATELESS {
            return self.push_locked(size, encode, None);
        }
        let mut encode = Some(encode);
        let corked = CORK.with(|cork| {
            let Ok(mut cork) = cork.try_borrow_mut() else { return None };
            if cork.id != self.id {
                return None;
            }
            let encode = encode.take()?;
            Some(self.push_corked(&mut cork, encode))
        });
        match (corked, encode) {
            (Some(result), _) => result,
            (None, Some(encode)) => self.push_locked(size, encode, None),
            (None, None) => Err(SendError::Closed),
        }
    }

    #[inline]
    fn push_corked(
        &self,
        cork: &mut Cork,
        encode: impl FnOnce(&mut P::Sending, &mut Outbox) -> Result<(), P::Error>,
    ) -> Result<Sent, SendError<P::Error>> {
        let settings = &self.service.settings;
        let before = cork.begin_message();
        let queued = cork.base + before;
        if queued >= settings.high_water {
            cork.end_message();
            cork.refused += 1;
            return Err(SendError::Full { queued });
        }
        let encoded = encode(&mut P::Sending::default(), &mut cork.out);
        cork.end_message();
        let refusal = match encoded {
            Err(error) => Some(SendError::Encode(error)),
            Ok(()) => self.over_limits(cork.base + cork.out.len(), queued, cork.out.len()),
        };
        if let Some(refusal) = refusal {
            cork.out.truncate(before);
            cork.refused += 1;
            return Err(refusal);
        }
        cork.messages += 1;
        if cork.out.is_finished() {
            self.set(SHUT | FINISHED);
        }
        Ok(self.accepted(cork.base + cork.out.len()))
    }

    /// The two hard limits, after a message was appended.
    #[inline]
    fn over_limits(&self, after: usize, queued: usize, uncounted: usize) -> Option<SendError<P::Error>> {
        if after > self.service.settings.hard_limit {
            return Some(SendError::Full { queued });
        }
        let total = self.remote.queued.load(Ordering::Relaxed);
        if total + uncounted > self.remote.settings.queued_limit {
            return Some(SendError::LoopFull { queued: total });
        }
        None
    }

    #[inline]
    fn accepted(&self, queued: usize) -> Sent {
        if queued < self.service.settings.high_water {
            return Sent::Accepted;
        }
        self.set(CROSSED);
        Sent::OverHighWater
    }

    /// Why nothing is taken any more.
    #[cold]
    pub(crate) fn shut(&self) -> SendError<P::Error> {
        if self.flags() & UPGRADED != 0 { SendError::Upgraded } else { SendError::Closed }
    }

    fn push_locked(
        &self,
        size: usize,
        encode: impl FnOnce(&mut P::Sending, &mut Outbox) -> Result<(), P::Error>,
        rest: Option<&mut Outbox>,
    ) -> Result<Sent, SendError<P::Error>> {
        let result = self.push_into_core(size, encode, rest);
        match &result {
            Ok(_) => {
                self.remote.counters.messages_out_outside.add_shared(1);
                if !is_corked(self.id) {
                    self.mark();
                }
            }
            Err(SendError::Panicked) => {
                self.remote.counters.send_failures.add_shared(1);
                self.wish(|wishes| wishes.end = Some(End::Panic));
            }
            Err(_) => self.remote.counters.send_failures.add_shared(1),
        }
        result
    }

    fn push_into_core(
        &self,
        size: usize,
        encode: impl FnOnce(&mut P::Sending, &mut Outbox) -> Result<(), P::Error>,
        rest: Option<&mut Outbox>,
    ) -> Result<Sent, SendError<P::Error>> {
        let mut core = self.lock();
        // Again, under the lock: the loop sets the flag and empties the core under it when the connection ends, so
        // a message is refused or is seen by that last look.
        if self.flags.load(Ordering::Acquire) & SHUT != 0 {
            drop(core);
            return Err(self.shut());
        }
        let before = core.out.len();
        let base = self.pending.load(Ordering::Relaxed);
        let queued = base + before;
        // An answer that the protocol writes itself takes no room yet, and is owed for a message that was handled.
        if queued >= self.service.settings.high_water && !P::ANSWERS {
            return Err(SendError::Full { queued });
        }
        if !Self::STATELESS {
            if let Some(refusal) = self.over_limits(queued + size, queued, before - core.counted + size) {
                return Err(refusal);
            }
        }
        let core = &mut *core;
        let encoded = catch_unwind(AssertUnwindSafe(|| encode(&mut core.sending, &mut core.out)));
        let refusal = match encoded {
            Err(panic) => {
                crate::panics::forget(panic);
                Some(SendError::Panicked)
            }
            Ok(Err(error)) => Some(SendError::Encode(error)),
            // The peer's decoder must see what a stateful encoder has made: it was weighed before.
            Ok(Ok(())) if !Self::STATELESS => None,
            Ok(Ok(())) => self.over_limits(base + core.out.len(), queued, core.out.len() - core.counted),
        };
        if let Some(refusal) = refusal {
            match (rest, &refusal) {
                (Some(rest), SendError::Full { .. } | SendError::LoopFull { .. }) => {
                    *rest = core.out.split_off(before);
                }
                _ => core.out.truncate(before),
            }
            return Err(refusal);
        }
        let uncounted = core.out.len() - core.counted;
        core.counted += uncounted;
        self.outside.store(self.outside.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.remote.queued.fetch_add(uncounted, Ordering::Relaxed);
        self.set(if core.out.is_finished() { QUEUED | SHUT | FINISHED } else { QUEUED });
        Ok(self.accepted(base + core.out.len()))
    }

    /// Records a wish and makes the loop look at it.
    pub(crate) fn wish(&self, wish: impl FnOnce(&mut Wishes<P>)) {
        {
            let mut core = self.lock();
            wish(core.wishes.get_or_insert_with(|| {
                Box::new(Wishes { read: None, end: None, half_close: false, switch: None, forward: None })
            }));
        }
        self.set(WISHED);
        if !is_corked(self.id) {
            self.mark();
        }
    }

    /// Records how to end, unless something stronger is wished already.
    pub(crate) fn wish_end(&self, end: End) {
        self.wish(|wishes| {
            if wishes.end.as_ref().is_none_or(|old| *old < end) {
                wishes.end = Some(end);
            }
        });
    }
}

pub(crate) fn place_of(token: Token) -> u64 {
    ((token.slot() as u64) << 32) | u64::from(token.generation())
}

fn token_at(place: u64) -> Token {
    // Slots stay far below 2^31, so that the special places cannot be met.
    Token::new((place >> 32) as u32, place as u32)
}

/// The connection is the waker of its own suspended handler: no task, no queue, and the same code in a simulation.
impl<P: Protocol> Wake for Shared<P> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.set(WOKEN) & WOKEN == 0 {
            self.mark();
        }
    }
}

/// The sending half for the decoding half: under the lock, or nothing at all.
impl<P: Protocol> SendingHalf<P::Sending> for Shared<P> {
    fn with(&self, with: &mut dyn FnMut(&mut P::Sending)) {
        if Self::STATELESS {
            with(&mut P::Sending::default());
        } else {
            with(&mut self.lock().sending);
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.lock().peer.tcp()
    }
}

/// What the protocol is given: the same, and a handle that it may keep.
pub(crate) struct Half<'a, P: Protocol>(pub(crate) &'a Arc<Shared<P>>);

impl<P: Protocol> SendingHalf<P::Sending> for Half<'_, P> {
    fn with(&self, with: &mut dyn FnMut(&mut P::Sending)) {
        self.0.with(with);
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.0.peer()
    }

    fn handle(&self) -> Option<Handle<P::Sending>> {
        Some(Arc::clone(self.0) as Handle<P::Sending>)
    }
}

impl<P: Protocol> SendingHandle<P::Sending> for Shared<P> {
    fn wake(&self) {
        // As a send does.
        if self.set(QUEUED) & QUEUED == 0 && !is_corked(self.id) {
            self.mark();
        }
    }

    fn is_closed(&self) -> bool {
        // Before another protocol takes over, what is owed is still answered.
        let flags = self.flags();
        flags & CLOSED != 0 || flags & (SHUT | UPGRADED) == SHUT
    }
}
