//! What a turn does besides input and output: due timers and deadlines, what came in from outside, connections with
//! work left over, replies that were held back.

use std::mem::take;
use std::rc::Rc;
use std::time::Instant;

use workerman_event::Backend;

use crate::CloseReason;
use crate::panics::{dispose, guard};
use crate::slots::{ON_AGAIN, ON_HELD, Slots};
use crate::timer::Call;

/// Most consecutive turns in which the replies of a connection are held for handlers that make progress.
///
/// Handlers that suspend for a moment each (a lock, a channel, a yield) go on in the next turn; so the replies of a
/// pipeline of them leave in one write. A turn without progress, or this many turns, and what is ready is written.
const MOST_HELD: u8 = 32;

impl Slots {
    /// Calls the due timers.
    pub(crate) fn run_timers(&mut self, now: Instant) {
        let local = Rc::clone(&self.local);
        if local.timers.borrow().next().is_none_or(|at| at > now) {
            return;
        }
        local.timers.borrow_mut().begin_pass(now);
        loop {
            let due = local.timers.borrow_mut().pop_due();
            let Some((id, call)) = due else { return };
            let rest = match call {
                Call::Once(f) => {
                    self.caught(f);
                    None
                }
                Call::Every(mut f) => {
                    self.caught(&mut *f);
                    local.timers.borrow_mut().rearm(id, Call::Every(f), now)
                }
            };
            dispose(rest);
        }
    }

    /// Calls a callback that belongs to no connection.
    pub(super) fn caught(&self, f: impl FnOnce()) {
        self.report(guard(f));
    }

    fn report(&self, done: Result<(), String>) {
        if let Err(panic) = done {
            self.local.remote.counters.panics.add(1);
            tracing::error!(%panic, "a timer or command panicked");
        }
    }

    /// Looks at the connections and dials whose deadline may have come.
    pub(crate) fn run_deadlines<B: Backend>(&mut self, io: &mut B, now: Instant) {
        while let Some(id) = self.deadlines.pop_due(now) {
            if let Some(slot) = self.slot(id) {
                slot.armed = None;
                self.drive(io, id, now, |endpoint, io, env| endpoint.expired(io, env));
            }
        }
        while let Some(dial) = self.dial_deadlines.pop_due(now) {
            self.step_dial(io, dial, crate::client::DialEvent::Time);
        }
        self.say_goodbyes(io, now);
        if self.drain.as_ref().is_some_and(|drain| now >= drain.until) {
            self.cut_all(io, &CloseReason::Shutdown);
            self.end_drain();
        }
    }

    /// Does what has come in from outside, as far as it was there when this began.
    pub(crate) fn run_inbox<B: Backend>(&mut self, io: &mut B) {
        let mut inbox = take(&mut self.inbox);
        self.local.remote.swap(&mut inbox);
        let now = io.now();
        for id in inbox.marked.drain(..) {
            self.drive(io, id, now, |endpoint, io, env| {
                endpoint.unmark();
                endpoint.stirred(io, env)
            });
        }
        for dial in inbox.dials.drain(..) {
            self.step_dial(io, dial, crate::client::DialEvent::Stirred);
        }
        for command in inbox.commands.drain(..) {
            let mut control = crate::turn::InTurn { slots: self, io };
            let done = guard(|| command(&mut control));
            self.report(done);
        }
        if take(&mut inbox.room) {
            self.lift_caps(io);
        }
        // Empty; its capacity is used again.
        self.inbox = inbox;
    }

    /// Goes on with connections whose budget ended; `true` if there is more.
    pub(crate) fn run_again<B: Backend>(&mut self, io: &mut B) -> bool {
        if self.again.is_empty() {
            return false;
        }
        let now = io.now();
        let mut again = take(&mut self.again);
        for id in again.drain(..) {
            if let Some(slot) = self.slot(id) {
                slot.lists &= !ON_AGAIN;
                self.drive(io, id, now, |endpoint, io, env| endpoint.stirred(io, env));
            }
        }
        if self.again.is_empty() {
            // Keep the capacity.
            self.again = again;
            return false;
        }
        true
    }

    /// Writes replies that have been held back for a whole turn; `true` if there are younger ones, or if a connection has
    /// work left over since.
    pub(crate) fn run_held<B: Backend>(&mut self, io: &mut B) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let now = io.now();
        let turn = self.turn;
        let held = take(&mut self.held);
        for id in held {
            let Some(slot) = self.slot(id) else { continue };
            slot.lists &= !ON_HELD;
            if slot.held == 0 {
                continue;
            }
            if slot.held_in == turn as u8 && slot.held < MOST_HELD {
                // Its handlers made progress in this turn, or it is new. It waits for the next.
                slot.lists |= ON_HELD;
                self.held.push(id);
                continue;
            }
            slot.held = 0;
            self.drive_as(io, id, now, true, |endpoint, io, env| endpoint.stirred(io, env));
        }
        !(self.held.is_empty() && self.again.is_empty())
    }
}
