//! Messages that wait apart, each whole: behind somebody who sends exclusively, or behind a queue that is full.
//!
//! Where the encoder keeps nothing they are encoded when they are sent, so that their errors reach the sender and their
//! sizes are exact; where it has a state, in the order of the wire, when they are queued. `EXCLUSIVE` and `BACKLOG` are
//! raised and lowered under the lock.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use workerman_protocol::{self as protocol, Outbox, Protocol};

use crate::cork::{CORK, is_corked};
use crate::held::Held;
use crate::panics::dispose;
use crate::push::{ANYBODY, Parcel};
use crate::shared::{
    BACKLOG, CROSSED, Core, EXCLUSIVE, End, FREE, HELD, QUEUED, SHUT, Shared, TAIL, bits_of, bump,
};
use crate::{Overflow, SendError, Sent};

/// A message that waits.
pub(crate) enum Later<P: Protocol> {
    Message(P::Outgoing),
    Shared(protocol::Shared),
    /// Encoded.
    Bytes(Bytes),
}

impl<P: Protocol> Parcel<P> for Later<P> {
    fn encode(self, sending: &mut P::Sending, out: &mut Outbox) -> Result<(), P::Error> {
        match self {
            Self::Message(message) => P::encode(sending, message, out),
            Self::Shared(shared) => P::append_shared(sending, &shared, out),
            Self::Bytes(bytes) => {
                out.put_bytes(bytes);
                Ok(())
            }
        }
    }

    fn later(self) -> Option<Self> {
        Some(self)
    }
}

/// A message as it waits and its size, if it can wait.
type Prepared<P> = Option<(usize, Later<P>)>;

/// Messages that wait, oldest first.
pub(crate) struct Queue<P: Protocol> {
    list: VecDeque<Entry<P>>,
    bytes: usize,
}

struct Entry<P: Protocol> {
    /// One of the same key takes its place.
    key: Option<u64>,
    size: usize,
    what: Later<P>,
}

impl<P: Protocol> Default for Queue<P> {
    fn default() -> Self {
        Self { list: VecDeque::new(), bytes: 0 }
    }
}

impl<P: Protocol> Queue<P> {
    /// Bytes that wait, as far as is known.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    fn push(&mut self, key: Option<u64>, size: usize, what: Later<P>) {
        self.bytes += size;
        self.list.push_back(Entry { key, size, what });
    }

    fn pop(&mut self) -> Option<(usize, Later<P>)> {
        let entry = self.list.pop_front()?;
        self.bytes -= entry.size;
        Some((entry.size, entry.what))
    }

    /// Puts it in the place of one with this key; what was there, or the new one if there is none.
    fn replace(&mut self, key: u64, size: usize, what: Later<P>) -> Result<(usize, Later<P>), Later<P>> {
        let Some(entry) = self.list.iter_mut().find(|entry| entry.key == Some(key)) else { return Err(what) };
        let old = (std::mem::replace(&mut entry.size, size), std::mem::replace(&mut entry.what, what));
        self.bytes = self.bytes - old.0 + size;
        Ok(old)
    }
}

static NEXT_OWNER: AtomicU64 = AtomicU64::new(ANYBODY + 1);

impl<P: Protocol> Shared<P> {
    /// A message as it waits, and its size as far as that is known.
    fn prepare(flags: u32, size: usize, parcel: impl Parcel<P>) -> Result<Prepared<P>, SendError<P::Error>> {
        if !Self::STATELESS && flags & FREE == 0 {
            let least = size.max(size_of::<P::Outgoing>());
            return Ok(parcel.later().map(|later| (least, later)));
        }
        let mut out = Outbox::new();
        match catch_unwind(AssertUnwindSafe(|| parcel.encode(&mut P::free(bits_of(flags)), &mut out))) {
            Ok(Ok(())) => Ok(Some((out.len(), Later::Bytes(out.into_bytes())))),
            Ok(Err(error)) => Err(SendError::Encode(error)),
            Err(panic) => {
                crate::panics::forget(panic);
                Err(SendError::Panicked)
            }
        }
    }

    /// Behind somebody who sends exclusively; behind a backlog it is not taken. `keeps`: the sender tries again.
    #[cold]
    pub(crate) fn push_later(
        &self,
        core: &mut Core<P>,
        flags: u32,
        size: usize,
        parcel: impl Parcel<P>,
        keeps: bool,
    ) -> Result<Sent, SendError<P::Error>> {
        let queued = self.pending.load(Ordering::Relaxed) + core.waiting();
        let full = || if keeps { SendError::LoopFull { queued } } else { SendError::Full { queued } };
        if flags & EXCLUSIVE == 0 || queued >= self.service.settings.high_water {
            return Err(full());
        }
        if keeps && !Self::STATELESS && flags & FREE == 0 {
            return Err(full());
        }
        let Some((size, what)) = Self::prepare(flags, size, parcel)? else { return Err(full()) };
        if let Some(refusal) = self.over_limits(queued + size, queued, size) {
            return Err(refusal);
        }
        core.held.get_or_insert_default().later.push(None, size, what);
        self.remote.queued.fetch_add(size, Ordering::Relaxed);
        Ok(self.accepted(queued + size))
    }

    /// Sends, or does with the message what `overflow` says.
    pub(crate) fn push_or(
        &self,
        size: usize,
        parcel: impl Parcel<P>,
        overflow: Overflow,
    ) -> Result<Sent, SendError<P::Error>> {
        if overflow == Overflow::Refuse || P::ANSWERS {
            return self.push(size, parcel);
        }
        if self.flags() & BACKLOG == 0 && self.queued() < self.service.settings.high_water {
            return self.push(size, parcel);
        }
        let result = match overflow {
            Overflow::Close(code) => {
                let queued = self.queued();
                if self.flags() & SHUT == 0 {
                    self.wish_end(End::Code(Some(code), "too slow".to_owned()));
                }
                Err(SendError::Full { queued })
            }
            Overflow::Latest(key) => self.push_backlog(Some(key), size, parcel),
            _ => self.push_backlog(None, size, parcel),
        };
        self.note_sent(&result);
        result
    }

    fn push_backlog(
        &self,
        key: Option<u64>,
        size: usize,
        parcel: impl Parcel<P>,
    ) -> Result<Sent, SendError<P::Error>> {
        let mut core = self.lock();
        let flags = self.flags();
        if flags & SHUT != 0 {
            drop(core);
            return Err(self.shut());
        }
        let queued = self.pending.load(Ordering::Relaxed) + core.waiting();
        if flags & EXCLUSIVE != 0 {
            // What waits for its end was taken for good.
            return Err(SendError::Full { queued });
        }
        let Some((size, what)) = Self::prepare(flags, size, parcel)? else {
            return Err(SendError::Full { queued });
        };
        let settings = &self.service.settings;
        if size > settings.backlog.min(settings.hard_limit) {
            return Err(SendError::Full { queued });
        }
        let total = self.remote.queued.load(Ordering::Relaxed);
        if total + size > self.remote.settings.queued_limit {
            return Err(SendError::LoopFull { queued: total });
        }
        let later = &mut core.held.get_or_insert_default().later;
        let before = later.bytes;
        // Dropped outside of the lock: they are the user's.
        let mut dropped = Vec::new();
        let rest = match key {
            Some(key) => later.replace(key, size, what).map(|(_, old)| dropped.push(old)).err(),
            None => Some(what),
        };
        if let Some(what) = rest {
            later.push(key, size, what);
        }
        while later.bytes > settings.backlog {
            let Some((_, oldest)) = later.pop() else { break };
            dropped.push(oldest);
        }
        let after = later.bytes;
        self.remote.queued.fetch_add(after, Ordering::Relaxed);
        self.remote.queued.fetch_sub(before, Ordering::Relaxed);
        self.remote.counters.send_failures.add_shared(dropped.len() as u64);
        self.set(BACKLOG | CROSSED);
        drop(core);
        drop(dropped);
        Ok(Sent::OverHighWater)
    }

    /// Queues what waits behind a full queue, once that has drained; `queued`: bytes on the loop's side. On the loop's
    /// thread.
    pub(crate) fn refill(&self, queued: usize) {
        let settings = &self.service.settings;
        let mut core = self.lock();
        let flags = self.flags();
        if flags & BACKLOG == 0 || flags & (HELD | EXCLUSIVE | SHUT) != 0 {
            return;
        }
        if queued + core.out.len() > settings.low_mark() {
            return;
        }
        let panicked = self.queue_later(&mut core, flags, |waiting| queued + waiting < settings.high_water);
        let empty = core.held.as_ref().is_none_or(|held| held.later.list.is_empty());
        if empty {
            core.held = None;
            self.clear(BACKLOG);
        }
        drop(core);
        if empty {
            self.release();
        }
        if panicked {
            self.wish_end(End::Panic);
        }
    }

    /// Moves messages that wait into the queue, as long as `room` says so of its length; whether an encoder panicked.
    fn queue_later(&self, core: &mut Core<P>, flags: u32, room: impl Fn(usize) -> bool) -> bool {
        let Core { sending, out, counted, held, .. } = core;
        let Some(later) = held.as_mut().map(|held| &mut held.later) else { return false };
        let mut panicked = false;
        while room(out.len()) && !panicked {
            let Some((size, what)) = later.pop() else { break };
            let before = out.len();
            let passing = Self::STATELESS || flags & FREE != 0;
            let encoded = catch_unwind(AssertUnwindSafe(|| {
                if passing {
                    what.encode(&mut P::free(bits_of(flags)), out)
                } else {
                    what.encode(sending, out)
                }
            }));
            self.remote.queued.fetch_sub(size, Ordering::Relaxed);
            match encoded {
                Ok(Ok(())) => {
                    self.outside.fetch_add(1, Ordering::Relaxed);
                    self.set(QUEUED);
                }
                Ok(Err(error)) => {
                    out.truncate(before);
                    self.remote.counters.send_failures.add_shared(1);
                    tracing::debug!(id = self.id, %error, "a message that has waited has no encoding");
                }
                Err(panic) => {
                    out.truncate(before);
                    crate::panics::forget(panic);
                    self.remote.counters.send_failures.add_shared(1);
                    panicked = true;
                }
            }
            self.remote.queued.fetch_add(out.len() - before, Ordering::Relaxed);
            *counted += out.len() - before;
        }
        if !out.is_empty() {
            self.set(TAIL);
        }
        panicked
    }

    /// Begins to send exclusively.
    pub(crate) fn begin_exclusive(&self) -> Result<u64, SendError<P::Error>> {
        let mut core = self.lock();
        let flags = self.flags();
        if flags & SHUT != 0 {
            drop(core);
            return Err(self.shut());
        }
        if flags & (HELD | EXCLUSIVE | BACKLOG) != 0 || P::ANSWERS {
            return Err(SendError::Busy);
        }
        let owner = NEXT_OWNER.fetch_add(1, Ordering::Relaxed);
        core.held.get_or_insert_default().owner = owner;
        self.set(EXCLUSIVE);
        Ok(owner)
    }

    /// Sends for the one who sends exclusively.
    pub(crate) fn push_exclusive(
        &self,
        owner: u64,
        size: usize,
        parcel: impl Parcel<P>,
    ) -> Result<Sent, SendError<P::Error>> {
        let core = self.lock();
        let flags = self.flags();
        let (owns, empty) = (core.owner() == owner, core.out.is_empty());
        drop(core);
        if flags & SHUT != 0 || !owns {
            self.remote.counters.send_failures.add_shared(1);
            return Err(if flags & SHUT != 0 { self.shut() } else { SendError::Closed });
        }
        if empty {
            self.push_here(flags, size, parcel, owner)
        } else {
            // What it has sent from elsewhere stays in front.
            self.push_locked(size, parcel, None, owner)
        }
    }

    /// Ends to send exclusively: what has waited for that comes behind.
    pub(crate) fn end_exclusive(&self, owner: u64) {
        let corked = is_corked(self.id);
        let mut core = self.lock();
        if core.owner() != owner {
            return;
        }
        if self.flags() & SHUT != 0 {
            // It ends, perhaps within a message.
            drop(core);
            self.drop_held();
            return;
        }
        // First, so that a callback on the loop's thread sees one of both.
        self.set(TAIL);
        let flags = self.clear(EXCLUSIVE);
        let passing = Self::STATELESS || flags & FREE != 0;
        // In a callback what was sent before is in the cork, unless it is in the queue.
        let into_cork = corked && passing && core.out.is_empty() && self.cork_later(&mut core);
        let panicked = !into_cork && self.queue_later(&mut core, flags, |_| true);
        if core.out.is_empty() {
            self.clear(TAIL);
        }
        let held = core.held.take();
        drop(core);
        // Something is left of it only if an encoder panicked, and that ends the connection.
        if let Some(rest) = held.as_ref().map(|held| held.later.bytes) {
            self.remote.queued.fetch_sub(rest, Ordering::Relaxed);
        }
        dispose(held);
        if panicked {
            self.wish_end(End::Panic);
        }
        if !corked {
            self.mark();
        }
    }

    /// Whatever waits goes into the queue now, whoever sends exclusively.
    pub(crate) fn end_exclusive_now(&self) {
        let mut core = self.lock();
        let flags = self.clear(EXCLUSIVE | BACKLOG);
        let panicked = self.queue_later(&mut core, flags, |_| true);
        if let Some(held) = &mut core.held {
            held.owner = ANYBODY;
        }
        drop(core);
        if panicked {
            self.wish_end(End::Panic);
        }
    }

    /// Moves all that waits into the cork, if that can be reached.
    fn cork_later(&self, core: &mut Core<P>) -> bool {
        CORK.with(|cork| {
            let Ok(mut cork) = cork.try_borrow_mut() else { return false };
            let Some(held) = &mut core.held else { return true };
            cork.forget_partial();
            while let Some((size, what)) = held.later.pop() {
                self.remote.queued.fetch_sub(size, Ordering::Relaxed);
                // It is bytes: no encoder keeps a state here.
                if let Later::Bytes(bytes) = what {
                    cork.out.put_bytes(bytes);
                    // The loop has counted it when it was sent.
                    bump(&self.traffic.messages_out, 1);
                }
            }
            true
        })
    }
}

impl<P: Protocol> Core<P> {
    /// Who sends exclusively.
    pub(crate) fn owner(&self) -> u64 {
        self.held.as_ref().map_or(ANYBODY, |held| held.owner)
    }
}

impl<P: Protocol> Default for Held<P> {
    fn default() -> Self {
        Self { out: Outbox::new(), messages: 0, owner: ANYBODY, later: Queue::default() }
    }
}

#[cfg(all(test, feature = "raw"))]
mod tests {
    use workerman_protocol::Raw;

    use super::*;

    fn bytes(text: &'static str) -> Later<Raw> {
        Later::Bytes(Bytes::from_static(text.as_bytes()))
    }

    fn text(later: &Later<Raw>) -> &[u8] {
        match later {
            Later::Message(bytes) | Later::Bytes(bytes) => bytes,
            Later::Shared(shared) => shared.bytes(),
        }
    }

    #[test]
    fn one_of_the_same_key_takes_the_place_and_the_sum_stays_exact() {
        let mut queue = Queue::<Raw>::default();
        for (key, what) in [(None, "one"), (Some(1), "second"), (Some(2), "3")] {
            queue.push(key, what.len(), bytes(what));
        }
        assert_eq!((queue.len(), queue.bytes()), (3, 10));
        let Ok((size, old)) = queue.replace(1, 2, bytes("II")) else { panic!("there is one") };
        assert_eq!((size, text(&old)), (6, &b"second"[..]));
        let Err(new) = queue.replace(3, 3, bytes("new")) else { panic!("there is none") };
        assert_eq!(text(&new), b"new");
        assert_eq!((queue.len(), queue.bytes()), (3, 6));
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, what)| text(&what).to_vec()).collect();
        assert_eq!(rest, [&b"one"[..], b"II", b"3"]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }
}
