//! What a loop has done, readable from any thread at any time.

use std::borrow::Borrow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::CloseReason;

/// One number, written by the loop's thread alone: a plain load and store, no bus lock.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Only on the loop's thread.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// From any thread.
    pub(crate) fn add_shared(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one loop. Those that other threads write too are `add_shared` only.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Count,
    pub(crate) connected: Count,
    pub(crate) live: Count,
    pub(crate) messages_in: Count,
    pub(crate) messages_out: Count,
    /// Those that were sent outside of callbacks of the connection itself.
    pub(crate) messages_out_outside: Count,
    pub(crate) bytes_in: Count,
    pub(crate) bytes_out: Count,
    pub(crate) send_failures: Count,
    pub(crate) refused: Count,
    pub(crate) timers: Count,
    pub(crate) panics: Count,
    pub(crate) errors: Count,
    pub(crate) longest_turn: Count,
    pub(crate) closed: [Count; CloseReason::KINDS],
}

/// A reading of a loop's counters, or the sum of several; since the start of the loop where not said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Connections that are open now, both kinds.
    pub connections: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections made as a client.
    pub connected: u64,
    /// Messages handed to handlers.
    pub messages_in: u64,
    /// Messages taken by `send`.
    pub messages_out: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Messages refused by `send`.
    pub send_failures: u64,
    /// Connections closed unserved: out of descriptors.
    pub refused_accepts: u64,
    /// Timers that wait now.
    pub timers: u64,
    /// Bytes queued on all connections now.
    pub bytes_queued: u64,
    /// Panics caught in callbacks.
    pub panics: u64,
    /// Errors told to `on_error`.
    pub errors: u64,
    /// The longest turn of the loop within the last whole second.
    pub longest_turn: Duration,
    /// Ended connections by reason; see [`Snapshot::closed`].
    closed: [u64; CloseReason::KINDS],
}

impl Snapshot {
    /// How many connections ended for this reason (all timeouts together).
    pub fn closed(&self, reason: impl Borrow<CloseReason>) -> u64 {
        self.closed[reason.borrow().index()]
    }

    /// Adds another loop's reading.
    pub fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.accepted += other.accepted;
        self.connected += other.connected;
        self.messages_in += other.messages_in;
        self.messages_out += other.messages_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.send_failures += other.send_failures;
        self.refused_accepts += other.refused_accepts;
        self.timers += other.timers;
        self.bytes_queued += other.bytes_queued;
        self.panics += other.panics;
        self.errors += other.errors;
        self.longest_turn = self.longest_turn.max(other.longest_turn);
        for (sum, n) in self.closed.iter_mut().zip(other.closed) {
            *sum += n;
        }
    }
}

impl Counters {
    pub(crate) fn snapshot(&self, bytes_queued: usize) -> Snapshot {
        let mut closed = [0; CloseReason::KINDS];
        for (n, count) in closed.iter_mut().zip(&self.closed) {
            *n = count.read();
        }
        Snapshot {
            connections: self.live.read(),
            accepted: self.accepted.read(),
            connected: self.connected.read(),
            messages_in: self.messages_in.read(),
            messages_out: self.messages_out.read() + self.messages_out_outside.read(),
            bytes_in: self.bytes_in.read(),
            bytes_out: self.bytes_out.read(),
            send_failures: self.send_failures.read(),
            refused_accepts: self.refused.read(),
            timers: self.timers.read(),
            bytes_queued: bytes_queued as u64,
            panics: self.panics.read(),
            errors: self.errors.read(),
            longest_turn: Duration::from_nanos(self.longest_turn.read()),
            closed,
        }
    }
}
