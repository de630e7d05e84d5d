//! Bytes that go to many connections of a loop: written once, sent to each from there.
//!
//! A broadcast on the loop's own thread appends its bytes to the loop's log, and notes with each receiver which part of
//! the log it is to get: without a lock, without a copy. What is broadcast in one turn lies in a row, and leaves in one write
//! from the log itself. Only a receiver whose part has a gap, or who has something else in its queue, takes the usual way.
//!
//! The order stays that of the sends: what a connection has in the log is older than what is in `Core::out`, because
//! nothing is noted while something is there; and it is younger than what the loop holds already, because nothing is
//! noted then either.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, Bytes};
use workerman_protocol::{self as protocol, Outbox, Protocol};

use crate::Sent;
use crate::cork::is_corked;
use crate::shared::{
    BACKLOG, CLOSED, CROSSED, DIALING, EXCLUSIVE, FINISHED, FREE, HELD, LOGGED, QUEUED, SHUT, Shared,
    UPGRADED, WISHED, bits_of, bump,
};
use crate::timer::with_running;

/// Most bytes of the log, so that a part of it takes four; what would not fit takes the usual way.
const MOST: usize = u16::MAX as usize;
/// Larger messages are shared by reference, each in the queue of its receiver.
const LARGE: usize = protocol::SHARE_FROM;
/// With one of these a connection takes the usual way.
const OTHERWISE: u32 =
    SHUT | CLOSED | UPGRADED | FINISHED | HELD | WISHED | CROSSED | QUEUED | EXCLUSIVE | BACKLOG;

/// What is on its way to many.
#[derive(Default)]
pub(crate) struct Fanout {
    bytes: Vec<u8>,
    last: Option<Last>,
    /// What each connection is to get, by slot; of those that are flagged.
    parts: Vec<Part>,
    /// Connections with a part of it.
    open: usize,
}

/// The last message of the log: the next receiver is usually one of the same.
struct Last {
    /// Kept, so that no other message can be at its address.
    message: Bytes,
    /// The service, and the bits of the sending half: what it encodes depends on nothing else.
    service: usize,
    bits: u8,
    start: u16,
}

/// A part of the log.
#[derive(Clone, Copy, Default)]
struct Part {
    start: u16,
    end: u16,
}

impl Part {
    fn range(self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }
}

impl Fanout {
    /// Where the message is in the log, that goes there if it is not the last one already.
    fn find<P: Protocol>(&mut self, shared: &protocol::Shared, service: usize, bits: u8) -> Option<Part> {
        let end = self.bytes.len();
        let message = shared.bytes();
        if let Some(last) = &self.last {
            if last.message.as_ptr() == message.as_ptr()
                && (last.message.len(), last.service, last.bits) == (message.len(), service, bits)
            {
                return Some(Part { start: last.start, end: end as u16 });
            }
        }
        let mut out = Outbox::new();
        let encoded =
            catch_unwind(AssertUnwindSafe(|| P::append_shared(&mut P::free(bits), shared, &mut out)));
        // Whatever is special about it is told, or done, by the usual way.
        if !matches!(encoded, Ok(Ok(()))) || out.is_finished() || out.is_empty() || out.len() > LARGE {
            return None;
        }
        if end + out.len() > MOST {
            return None;
        }
        while out.has_remaining() {
            let chunk = out.chunk();
            let length = chunk.len();
            self.bytes.extend_from_slice(chunk);
            out.advance(length);
        }
        self.last = Some(Last { message: message.clone(), service, bits, start: end as u16 });
        Some(Part { start: end as u16, end: self.bytes.len() as u16 })
    }

    /// A receiver's part has been taken.
    fn taken(&mut self) {
        self.open -= 1;
        if self.open == 0 {
            self.bytes.clear();
            self.last = None;
        }
    }
}

impl<P: Protocol> Shared<P> {
    /// Queues a message that goes to many; `None` if it has to take the usual way.
    #[inline]
    pub(crate) fn note(&self, shared: &protocol::Shared) -> Option<Sent> {
        let flags = self.flags();
        if flags & OTHERWISE != 0 || !(Self::STATELESS || flags & FREE != 0) || P::ANSWERS {
            return None;
        }
        let place = self.place.load(Ordering::Relaxed);
        if self.pending.load(Ordering::Relaxed) != 0 || place & DIALING != 0 {
            return None;
        }
        if shared.len() > LARGE || is_corked(self.id) {
            return None;
        }
        with_running(|local| {
            if !Arc::ptr_eq(&local.remote, &self.remote) {
                return None;
            }
            let mut log = local.fanout.try_borrow_mut().ok()?;
            let bits = if Self::STATELESS { 0 } else { bits_of(flags) };
            let mut part = log.find::<P>(shared, Arc::as_ptr(&self.service) as usize, bits)?;
            let slot = (place >> 32) as usize;
            if log.parts.len() <= slot {
                log.parts.resize_with(slot + 1, Part::default);
            }
            let first = flags & LOGGED == 0;
            let before = log.parts[slot];
            let settings = &self.service.settings;
            let most = settings.high_water.min(settings.hard_limit);
            if !first {
                if before.end != part.start {
                    return None;
                }
                part.start = before.start;
            }
            if part.range().len() >= most {
                log.tidy();
                return None;
            }
            log.parts[slot] = part;
            log.open += usize::from(first);
            drop(log);
            bump(&self.traffic.messages_out, 1);
            self.remote.counters.messages_out.add(1);
            if first {
                self.set(LOGGED);
                self.mark();
            }
            Some(Sent::Accepted)
        })?
    }

    /// Bytes in the log; only the loop's own thread knows.
    pub(crate) fn logged(&self) -> usize {
        if self.flags() & LOGGED == 0 {
            return 0;
        }
        let bytes = with_running(|local| {
            let log = local.fanout.try_borrow().ok().filter(|_| Arc::ptr_eq(&local.remote, &self.remote))?;
            Some(log.parts.get(self.slot())?.range().len())
        });
        bytes.flatten().unwrap_or(0)
    }

    fn slot(&self) -> usize {
        (self.place.load(Ordering::Relaxed) >> 32) as usize
    }

    /// Lends what is in the log to `with`, and takes it out; only on the loop's thread.
    pub(crate) fn take_logged<R>(&self, with: impl FnOnce(&[u8]) -> R) -> Option<R> {
        if self.flags() & LOGGED == 0 {
            return None;
        }
        with_running(|local| {
            if !Arc::ptr_eq(&local.remote, &self.remote) {
                return None;
            }
            let mut log = local.fanout.try_borrow_mut().ok()?;
            self.clear(LOGGED);
            let part = *log.parts.get(self.slot())?;
            let result = with(&log.bytes[part.range()]);
            log.taken();
            Some(result)
        })?
    }

    /// Puts what is in the log to the front of the queue: something else follows that is not in the log.
    #[cold]
    pub(crate) fn unlog(&self, core: &mut crate::shared::Core<P>) {
        let queued = self.take_logged(|bytes| {
            let mut out = Outbox::new();
            out.put_slice(bytes);
            out.append(&mut core.out);
            core.out = out;
            bytes.len()
        });
        if let Some(bytes) = queued {
            core.counted += bytes;
            self.remote.queued.fetch_add(bytes, Ordering::Relaxed);
            self.set(QUEUED);
        }
    }
}

impl Fanout {
    /// Forgets a message that nobody takes from here.
    fn tidy(&mut self) {
        if self.open == 0 {
            self.bytes.clear();
            self.last = None;
        }
    }
}
