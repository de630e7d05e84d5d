//! The two ways into the queue of a connection, and the one beside it.
//!
//! **Inside a callback of the connection itself** (the common case) the queue is the thread's *cork*: a thread-local
//! outbox that the loop writes once, when everything that arrived has been handled. A protocol whose sending half has no
//! state, or was set free, takes no lock there. **From anywhere else** the message is encoded under the connection's lock
//! into its own outbox, and the connection is marked for one flush in the loop's next turn. What is *held* goes the
//! second way, into an outbox apart (see `held`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use workerman_protocol::{self as protocol, Outbox, Protocol};

use crate::cork::{CORK, Cork, is_corked};
use crate::later::Later;
use crate::shared::{
    BACKLOG, CROSSED, Core, EXCLUSIVE, End, FINISHED, FREE, HELD, LOGGED, QUEUED, SHUT, Shared, TAIL, bits_of,
};
use crate::{SendError, Sent};

/// Who sends without being exclusive.
pub(crate) const ANYBODY: u64 = 0;

/// What a send queues.
pub(crate) trait Parcel<P: Protocol> {
    /// Appends it.
    fn encode(self, sending: &mut P::Sending, out: &mut Outbox) -> Result<(), P::Error>;

    /// To be encoded later, if it can wait.
    fn later(self) -> Option<Later<P>>;
}

/// A message.
pub(crate) struct Message<P: Protocol>(pub(crate) P::Outgoing);

impl<P: Protocol> Parcel<P> for Message<P> {
    #[inline]
    fn encode(self, sending: &mut P::Sending, out: &mut Outbox) -> Result<(), P::Error> {
        P::encode(sending, self.0, out)
    }

    fn later(self) -> Option<Later<P>> {
        Some(Later::Message(self.0))
    }
}

/// A message that was encoded for many.
impl<P: Protocol> Parcel<P> for &protocol::Shared {
    #[inline]
    fn encode(self, sending: &mut P::Sending, out: &mut Outbox) -> Result<(), P::Error> {
        P::append_shared(sending, self, out)
    }

    fn later(self) -> Option<Later<P>> {
        Some(Later::Shared(self.clone()))
    }
}

/// Bytes as they are.
impl<P: Protocol> Parcel<P> for Bytes {
    #[inline]
    fn encode(self, _: &mut P::Sending, out: &mut Outbox) -> Result<(), P::Error> {
        out.put_bytes(self);
        Ok(())
    }

    fn later(self) -> Option<Later<P>> {
        Some(Later::Bytes(self))
    }
}

impl<P: Protocol> Shared<P> {
    /// Like [`push`](Self::push) from outside of a batch, but what was encoded and does not fit is not thrown away: it
    /// is left in `rest`, to be appended later.
    pub(crate) fn push_or_keep(
        &self,
        size: usize,
        parcel: impl Parcel<P>,
        rest: &mut Outbox,
    ) -> Result<Sent, SendError<P::Error>> {
        self.push_locked(size, parcel, Some(rest), ANYBODY)
    }

    /// Queues what a parcel appends. The core of every `send`.
    ///
    /// `size` is a number of bytes that the message takes at least, for encoders with a state: what they have encoded
    /// cannot be taken back, so what does not fit has to be refused before.
    #[inline]
    pub(crate) fn push(&self, size: usize, parcel: impl Parcel<P>) -> Result<Sent, SendError<P::Error>> {
        let flags = self.flags.load(Ordering::Acquire);
        if flags & (SHUT | HELD | EXCLUSIVE | BACKLOG | TAIL) != 0 {
            return self.push_held(flags, size, parcel);
        }
        self.push_here(flags, size, parcel, ANYBODY)
    }

    /// Into the cork if there is one and no lock is needed, otherwise into the core.
    #[inline]
    pub(crate) fn push_here(
        &self,
        flags: u32,
        size: usize,
        parcel: impl Parcel<P>,
        by: u64,
    ) -> Result<Sent, SendError<P::Error>> {
        if !Self::STATELESS && flags & FREE == 0 {
            return self.push_locked(size, parcel, None, by);
        }
        let mut parcel = Some(parcel);
        let corked = CORK.with(|cork| {
            let Ok(mut cork) = cork.try_borrow_mut() else { return None };
            if cork.id != self.id {
                return None;
            }
            let parcel = parcel.take()?;
            Some(self.push_corked(&mut cork, bits_of(flags), parcel))
        });
        match (corked, parcel) {
            (Some(result), _) => result,
            (None, Some(parcel)) => self.push_locked(size, parcel, None, by),
            (None, None) => Err(SendError::Closed),
        }
    }

    /// Nothing is taken any more, or nothing goes out yet, or not at once.
    #[cold]
    fn push_held(
        &self,
        flags: u32,
        size: usize,
        parcel: impl Parcel<P>,
    ) -> Result<Sent, SendError<P::Error>> {
        if flags & SHUT != 0 {
            self.remote.counters.send_failures.add_shared(1);
            return Err(self.shut());
        }
        self.push_locked(size, parcel, None, ANYBODY)
    }

    #[inline]
    fn push_corked(
        &self,
        cork: &mut Cork,
        bits: u8,
        parcel: impl Parcel<P>,
    ) -> Result<Sent, SendError<P::Error>> {
        let settings = &self.service.settings;
        let before = cork.begin_message();
        let queued = cork.base + before;
        if queued >= settings.high_water {
            cork.end_message();
            cork.refused += 1;
            return Err(SendError::Full { queued });
        }
        let encoded = parcel.encode(&mut P::free(bits), &mut cork.out);
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
    pub(crate) fn over_limits(
        &self,
        after: usize,
        queued: usize,
        uncounted: usize,
    ) -> Option<SendError<P::Error>> {
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
    pub(crate) fn accepted(&self, queued: usize) -> Sent {
        if queued < self.service.settings.high_water {
            return Sent::Accepted;
        }
        self.set(CROSSED);
        Sent::OverHighWater
    }

    /// `by`: whose exclusive sending it belongs to.
    pub(crate) fn push_locked(
        &self,
        size: usize,
        parcel: impl Parcel<P>,
        rest: Option<&mut Outbox>,
        by: u64,
    ) -> Result<Sent, SendError<P::Error>> {
        let result = self.push_into_core(size, parcel, rest, by);
        self.note_sent(&result);
        result
    }

    /// Counts what was taken or refused under the lock, and makes the loop look at it.
    pub(crate) fn note_sent(&self, result: &Result<Sent, SendError<P::Error>>) {
        match result {
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
    }

    fn push_into_core(
        &self,
        size: usize,
        parcel: impl Parcel<P>,
        rest: Option<&mut Outbox>,
        by: u64,
    ) -> Result<Sent, SendError<P::Error>> {
        let mut core = self.lock();
        // Again, under the lock: the loop sets the flag and empties the core under it when the connection ends, so
        // a message is refused or is seen by that last look.
        let flags = self.flags.load(Ordering::Acquire);
        if flags & SHUT != 0 {
            drop(core);
            return Err(self.shut());
        }
        if by != ANYBODY && core.owner() != by {
            // The connection that it was for is lost.
            return Err(SendError::Closed);
        }
        if flags & LOGGED != 0 {
            self.unlog(&mut core);
        }
        if flags & (EXCLUSIVE | BACKLOG) != 0 && by == ANYBODY {
            let keeps = rest.is_some();
            return self.push_later(&mut core, flags, size, parcel, keeps);
        }
        let Core { sending, out, counted, held, .. } = &mut *core;
        let base = self.pending.load(Ordering::Relaxed);
        let (out, counted, base, held) = if flags & HELD == 0 {
            (out, *counted, base, None)
        } else {
            let held = held.get_or_insert_default();
            let counted = held.out.len();
            (&mut held.out, counted, base + out.len(), Some(&mut held.messages))
        };
        let before = out.len();
        let queued = base + before;
        // An answer that the protocol writes itself takes no room yet, and is owed for a message that was handled.
        if queued >= self.service.settings.high_water && !P::ANSWERS {
            return Err(SendError::Full { queued });
        }
        let passing = Self::STATELESS || flags & FREE != 0;
        if !passing {
            if let Some(refusal) = self.over_limits(queued + size, queued, before - counted + size) {
                return Err(refusal);
            }
        }
        let encoded = catch_unwind(AssertUnwindSafe(|| {
            if passing {
                parcel.encode(&mut P::free(bits_of(flags)), out)
            } else {
                parcel.encode(sending, out)
            }
        }));
        let refusal = match encoded {
            Err(panic) => {
                crate::panics::forget(panic);
                Some(SendError::Panicked)
            }
            Ok(Err(error)) => Some(SendError::Encode(error)),
            // The peer's decoder must see what a stateful encoder has made: it was weighed before.
            Ok(Ok(())) if !passing => None,
            Ok(Ok(())) => self.over_limits(base + out.len(), queued, out.len() - counted),
        };
        if let Some(refusal) = refusal {
            match (rest, &refusal) {
                (Some(rest), SendError::Full { .. } | SendError::LoopFull { .. }) => {
                    *rest = out.split_off(before);
                }
                _ => out.truncate(before),
            }
            return Err(refusal);
        }
        let (after, finished) = (out.len(), out.is_finished());
        self.remote.queued.fetch_add(after - counted, Ordering::Relaxed);
        if let Some(messages) = held {
            *messages += 1;
            if finished {
                // Nothing can follow it; the stream ends when it is released.
                self.set(SHUT);
            }
        } else {
            core.counted = after;
            self.outside.store(self.outside.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            self.set(if finished { QUEUED | SHUT | FINISHED } else { QUEUED });
        }
        Ok(self.accepted(base + after))
    }
}
