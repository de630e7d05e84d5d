//! What is sent while nothing may go out yet: kept apart, in order, until the protocol releases it.
//!
//! `HELD` is raised and lowered under the lock, so a sender finds itself on one side or the other. Released, it goes into
//! the reply of the protocol's call: so it comes behind what the protocol has said before, and ahead of what is sent after,
//! however the connection is queued. That reply takes the way of the loop's own bytes (`Endpoint::reply_first`), past
//! both ways into the queue: nothing that is sent can be there before the release.

use std::sync::atomic::Ordering;

use workerman_protocol::{Outbox, Protocol};

use crate::later::Queue;
use crate::panics::dispose;
use crate::shared::{BACKLOG, BITS, Core, EXCLUSIVE, FREE, HELD, QUEUED, SHUT, Shared, TAIL, bump};

/// What waits apart; its bytes are counted in the loop's total.
pub(crate) struct Held<P: Protocol> {
    /// Until the protocol releases it.
    pub(crate) out: Outbox,
    /// Whole messages in `out`.
    pub(crate) messages: u32,
    /// Who sends exclusively.
    pub(crate) owner: u64,
    /// Behind that, or behind a full queue.
    pub(crate) later: Queue<P>,
}

impl<P: Protocol> Shared<P> {
    /// Whether senders are held from the beginning of a connection.
    pub(crate) const HOLDS: bool = P::HOLDS && !P::ANSWERS;

    /// The flags of a connection that begins.
    pub(crate) const FIRST: u32 = if Self::HOLDS { HELD } else { 0 };

    /// Puts what is held into `reply`, and holds nothing from now on. On the loop's thread.
    pub(crate) fn release_held(&self, reply: &mut Outbox) {
        if self.flags() & HELD == 0 {
            return;
        }
        let mut core = self.lock();
        self.clear(HELD);
        let Some(held) = &mut core.held else { return };
        // Counted again as the loop's own.
        self.remote.queued.fetch_sub(held.out.len(), Ordering::Relaxed);
        bump(&self.traffic.messages_out, u64::from(std::mem::take(&mut held.messages)));
        reply.append(&mut held.out);
        held.out.clear(0);
        if held.later.len() == 0 {
            core.held = None;
        }
    }

    /// The sending half is a passing one from now on. What it has left in the queue goes into `reply`, so that it stays
    /// ahead of what is corked. On the loop's thread.
    pub(crate) fn set_free(&self, bits: u8, reply: &mut Outbox) {
        if Self::STATELESS || P::ANSWERS {
            return;
        }
        let mut core = self.lock();
        self.take_queue(&mut core, reply);
        let half = std::mem::take(&mut core.sending);
        self.clear(u32::from(u8::MAX) << BITS);
        self.set(FREE | (u32::from(bits) << BITS));
        drop(core);
        drop(half);
    }

    /// Takes nothing more to be sent. What is in the queue goes into `reply`, so that what the protocol says from now on is
    /// behind it. On the loop's thread.
    pub(crate) fn shut_behind(&self, reply: &mut Outbox) {
        if P::ANSWERS {
            return;
        }
        let mut core = self.lock();
        self.take_queue(&mut core, reply);
        // Under the lock: a sender is in front, or is refused.
        self.set(SHUT);
        drop(core);
        self.release();
    }

    fn take_queue(&self, core: &mut Core<P>, reply: &mut Outbox) {
        if !core.out.is_empty() {
            self.remote.queued.fetch_sub(std::mem::take(&mut core.counted), Ordering::Relaxed);
            bump(&self.traffic.messages_out, u64::from(self.outside.swap(0, Ordering::Relaxed)));
            reply.append(&mut core.out);
            core.out.clear(0);
        }
    }

    /// Nobody will release what is held any more, and it may go out: another protocol takes over.
    pub(crate) fn let_go(&self) {
        if self.flags() & (HELD | EXCLUSIVE | BACKLOG) == 0 {
            return;
        }
        self.end_exclusive_now();
        let mut core = self.lock();
        self.clear(HELD);
        let Some(mut held) = core.held.take() else { return };
        core.counted += held.out.len();
        core.out.append(&mut held.out);
        self.outside.fetch_add(held.messages, Ordering::Relaxed);
        self.set(QUEUED);
    }

    /// Drops what is held, and counts it as not sent: the connection ends.
    pub(crate) fn drop_held(&self) {
        let mut core = self.lock();
        self.clear(EXCLUSIVE | BACKLOG);
        let Some(held) = core.held.take() else { return };
        drop(core);
        self.remote.queued.fetch_sub(held.out.len() + held.later.bytes(), Ordering::Relaxed);
        let messages = u64::from(held.messages) + held.later.len() as u64;
        self.remote.counters.send_failures.add_shared(messages);
        dispose(held);
    }

    /// The connection of a client is lost, and there will be another: it begins as the first did. What was not begun to be
    /// sent is held for it.
    pub(crate) fn begin_anew(&self) {
        let mut core = self.lock();
        let half = std::mem::take(&mut core.sending);
        self.clear(FREE | (u32::from(u8::MAX) << BITS));
        if Self::HOLDS {
            self.clear(QUEUED | TAIL);
            self.set(HELD);
            let Core { out, counted, held, .. } = &mut *core;
            if !out.is_empty() {
                // It was not held when it was lost: nothing is.
                *counted = 0;
                let held = held.get_or_insert_default();
                held.out.append(out);
                held.messages += self.outside.swap(0, Ordering::Relaxed);
                out.clear(0);
            }
        }
        drop(core);
        drop(half);
    }
}
