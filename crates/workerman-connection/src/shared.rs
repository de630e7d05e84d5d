//! What all handles of a connection share. The ways into its queue are in `push`, what waits apart in `held`.
//!
//! Flags are atomics outside the lock: a decoder may wake a reader, and a waker may fire, while the lock is held.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use workerman_event::{Address, Token};
use workerman_protocol::{Outbox, Protocol};

use crate::SendError;
use crate::cork::{corked, is_corked};
use crate::endpoint::SwitchTo;
use crate::extensions::Extensions;
use crate::held::Held;
use crate::pipe::Forward;
use crate::remote::Remote;
use crate::service::Service;
use crate::waiting::Waiters;

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

/// The protocol holds what is sent (`Core::held`). Raised and lowered under the lock.
pub(crate) const HELD: u32 = 1 << 11;

/// The sending half is made for each send, of the bits from [`BITS`] on. Raised and lowered under the lock.
pub(crate) const FREE: u32 = 1 << 12;

/// It has a part of the loop's log (see `fanout`). Raised and lowered on the loop's thread.
pub(crate) const LOGGED: u32 = 1 << 13;

/// Somebody sends exclusively; others wait (`Held::later`). Raised and lowered under the lock.
pub(crate) const EXCLUSIVE: u32 = 1 << 14;

/// Messages wait behind a queue that was full (`Held::later`). Raised and lowered under the lock.
pub(crate) const BACKLOG: u32 = 1 << 15;

/// What is sent in callbacks takes its place behind `Core::out` until the loop has taken that: a part that was sent alone, or
/// what has waited, is there. Raised and lowered under the lock.
pub(crate) const TAIL: u32 = 1 << 16;

/// Where the bits of a free sending half begin, up to the highest.
pub(crate) const BITS: u32 = 24;

/// The bits of a free sending half.
#[inline]
pub(crate) fn bits_of(flags: u32) -> u8 {
    (flags >> BITS) as u8
}

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
    /// What waits apart.
    pub(crate) held: Option<Box<Held<P>>>,
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
    /// Bytes that wait here for the loop, or to be released.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len() + self.held.as_ref().map_or(0, |held| held.out.len() + held.later.bytes())
    }

    /// The attached values, to be dropped outside of the lock.
    pub(crate) fn take_extensions(&mut self) -> Extensions {
        self.attached
            .as_mut()
            .map_or_else(Extensions::default, |attached| std::mem::take(&mut attached.extensions))
    }
}

impl<P: Protocol> Shared<P> {
    /// Whether sends inside callbacks need no lock from the beginning.
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

    /// The same without what waits apart.
    pub(crate) fn queued_alone(&self) -> usize {
        self.pending.load(Ordering::Relaxed) + self.lock().out.len() + corked(self.id)
    }

    /// Bytes queued on both sides: what the loop takes over moves from one to the other under the lock.
    fn queued_with(&self, core: &Core<P>) -> usize {
        self.pending.load(Ordering::Relaxed) + core.waiting() + self.logged()
    }

    /// Why nothing is taken any more.
    #[cold]
    pub(crate) fn shut(&self) -> SendError<P::Error> {
        if self.flags() & UPGRADED != 0 { SendError::Upgraded } else { SendError::Closed }
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

#[cfg(all(test, feature = "raw"))]
mod tests {
    use workerman_protocol::Raw;

    use super::*;
    use crate::endpoint::Endpoint;

    #[test]
    fn an_idle_connection_is_small() {
        let sizes = (size_of::<Shared<Raw>>(), size_of::<Endpoint<Raw>>());
        assert!(sizes.0 <= 168 && sizes.1 <= 176, "{sizes:?}");
    }
}
