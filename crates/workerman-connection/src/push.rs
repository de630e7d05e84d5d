//! The two ways into the queue of a connection, and the one beside it.
//!
//! **Inside a callback of the connection itself** (the common case) the queue is the thread's *cork*: a thread-local
//! outbox that the loop writes once, when everything that arrived has been handled. A protocol whose sending half has no
//! state, or was set free, takes no lock there. **From anywhere else** the message is encoded under the connection's lock
//! into its own outbox, and the connection is marked for one flush in the loop's next turn. What is *held* goes the
//! second way, into an outbox apart (see `held`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use workerman_protocol::{Outbox, Protocol};

use crate::cork::{CORK, Cork, is_corked};
use crate::shared::{CROSSED, Core, End, FINISHED, FREE, HELD, LOGGED, QUEUED, SHUT, Shared, bits_of};
use crate::{SendError, Sent};

impl<P: Protocol> Shared<P> {
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
        let flags = self.flags.load(Ordering::Acquire);
        if flags & (SHUT | HELD) != 0 {
            return self.push_held(flags, size, encode);
        }
        if !Self::STATELESS && flags & FREE == 0 {
            return self.push_locked(size, encode, None);
        }
        let mut encode = Some(encode);
        let corked = CORK.with(|cork| {
            let Ok(mut cork) = cork.try_borrow_mut() else { return None };
            if cork.id != self.id {
                return None;
            }
            let encode = encode.take()?;
            Some(self.push_corked(&mut cork, bits_of(flags), encode))
        });
        match (corked, encode) {
            (Some(result), _) => result,
            (None, Some(encode)) => self.push_locked(size, encode, None),
            (None, None) => Err(SendError::Closed),
        }
    }

    /// Nothing is taken any more, or nothing goes out yet.
    #[cold]
    fn push_held(
        &self,
        flags: u32,
        size: usize,
        encode: impl FnOnce(&mut P::Sending, &mut Outbox) -> Result<(), P::Error>,
    ) -> Result<Sent, SendError<P::Error>> {
        if flags & SHUT != 0 {
            self.remote.counters.send_failures.add_shared(1);
            return Err(self.shut());
        }
        self.push_locked(size, encode, None)
    }

    #[inline]
    fn push_corked(
        &self,
        cork: &mut Cork,
        bits: u8,
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
        let encoded = encode(&mut P::free(bits), &mut cork.out);
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
        let flags = self.flags.load(Ordering::Acquire);
        if flags & SHUT != 0 {
            drop(core);
            return Err(self.shut());
        }
        if flags & LOGGED != 0 {
            self.unlog(&mut core);
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
            if passing { encode(&mut P::free(bits_of(flags)), out) } else { encode(sending, out) }
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
