//! How a loop ends: gracefully, by a drain, or at once.

use std::mem::take;
use std::time::{Duration, Instant};

use workerman_event::{Backend, ListenerId, Token};

use crate::CloseReason;
use crate::event_loop::Drained;
use crate::panics::{dispose, dispose_all, guard};
use crate::slots::{Listening, Slots};

/// A drain that runs.
pub(super) struct Drain {
    pub(super) until: Instant,
    pub(super) result: Drained,
    done: Vec<Box<dyn FnOnce(Drained)>>,
    /// Connections that have not been told yet, the next one last.
    waiting: Vec<Token>,
    /// When some of them are told.
    next: Instant,
    /// How many.
    slice: usize,
}

/// So many connections are told at a time, or more if there are too many for that: whoever is told may come back somewhere
/// else, and ten thousand should not do so in one instant.
const SLICE: usize = 64;

/// The time between slices. All are told within half of the drain, so that they can answer in the other half.
const STEP: Duration = Duration::from_millis(10);

impl Drain {
    /// Spreads what is left over the time that is left.
    fn pace(&mut self, now: Instant) {
        let steps = (self.until.saturating_duration_since(now) / 2).as_millis() / STEP.as_millis();
        let steps = usize::try_from(steps).unwrap_or(usize::MAX).max(1);
        self.slice = self.waiting.len().div_ceil(steps).max(SLICE);
    }

    /// When it has something to do.
    pub(super) fn deadline(&self) -> Instant {
        if self.waiting.is_empty() { self.until } else { self.until.min(self.next) }
    }
}

impl Listening {
    /// After its socket was closed.
    fn discard<B: Backend>(self, io: &mut B) {
        if let Some((id, _)) = self.early {
            io.close(id);
        }
        dispose(self.accept);
    }
}

impl Slots {
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Begins to drain, or joins the drain that runs.
    pub(super) fn begin_drain<B: Backend>(
        &mut self,
        io: &mut B,
        until: Instant,
        done: Box<dyn FnOnce(Drained)>,
    ) {
        self.unlisten_all(io);
        if let Some(drain) = &mut self.drain {
            // Everybody is told already, or will be; the sooner end holds.
            drain.until = drain.until.min(until);
            drain.done.push(done);
            drain.pace(io.now());
            return;
        }
        let now = io.now();
        let mut waiting = self.tokens();
        waiting.reverse();
        let mut drain =
            Drain { until, result: Drained::default(), done: vec![done], waiting, next: now, slice: 0 };
        drain.pace(now);
        self.drain = Some(drain);
        let dials: Vec<_> = self.dials.keys().copied().collect();
        for dial in dials {
            self.step_dial(io, dial, crate::client::DialEvent::Cancel(CloseReason::Shutdown));
        }
        self.say_goodbyes(io, now);
    }

    /// Tells those connections whose turn it is.
    pub(super) fn say_goodbyes<B: Backend>(&mut self, io: &mut B, now: Instant) {
        while let Some(drain) =
            self.drain.as_mut().filter(|drain| !drain.waiting.is_empty() && drain.next <= now)
        {
            let until = drain.until;
            drain.next += STEP;
            let rest = drain.waiting.len().saturating_sub(drain.slice);
            for id in drain.waiting.split_off(rest).into_iter().rev() {
                self.drive(io, id, now, |endpoint, io, env| endpoint.goodbye(until, io, env));
            }
        }
    }

    /// Ends a drain that has nothing left to wait for; at the end of a turn.
    pub(crate) fn settle_drain(&mut self) {
        if self.drain.is_some() && self.live == 0 && self.dials.is_empty() {
            self.end_drain();
        }
    }

    pub(super) fn end_drain(&mut self) {
        if let Some(drain) = self.drain.take() {
            for done in drain.done {
                done(drain.result);
            }
        }
    }

    fn unlisten_all<B: Backend>(&mut self, io: &mut B) {
        for (id, listening) in take(&mut self.listeners) {
            io.unlisten(id);
            listening.discard(io);
        }
    }

    /// Closes a listener; open connections stay.
    pub(super) fn unlisten<B: Backend>(&mut self, io: &mut B, id: ListenerId) {
        io.unlisten(id);
        if let Some(listening) = self.listeners.remove(&id) {
            listening.discard(io);
        }
    }

    fn tokens(&self) -> Vec<Token> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| slot.endpoint.is_some())
            .filter_map(|(index, slot)| Some(Token::new(u32::try_from(index).ok()?, slot.generation)))
            .collect()
    }

    pub(super) fn cut_all<B: Backend>(&mut self, io: &mut B, reason: &CloseReason) {
        let now = io.now();
        for id in self.tokens() {
            let Some(mut endpoint) = self.remove(id) else { continue };
            let mut env = self.env(now, false);
            if let Err(panic) = guard(|| endpoint.cut(reason.clone(), &mut env)) {
                env.remote.counters.panics.add(1);
                tracing::error!(%panic, "a connection panicked while it was cut");
            }
            io.abort(id);
            self.vacated(io, id, &mut *endpoint);
            dispose(endpoint);
            if let Some(drain) = &mut self.drain {
                drain.result.finished -= 1;
                drain.result.cut += 1;
            }
        }
    }

    /// Whether the loop has been told to stop.
    pub(crate) fn is_over(&self, _now: Instant) -> bool {
        self.stopping
    }

    /// The end: everything is cut, nothing is taken any more, values of users are dropped one by one.
    pub(crate) fn shut_down<B: Backend>(&mut self, io: &mut B) {
        self.stopping = true;
        let dials: Vec<_> = self.dials.keys().copied().collect();
        for dial in dials {
            self.step_dial(io, dial, crate::client::DialEvent::Cancel(CloseReason::Shutdown));
        }
        self.cut_all(io, &CloseReason::Shutdown);
        self.unlisten_all(io);
        self.end_drain();
        let timers = self.local.timers.borrow_mut().cancel_all();
        dispose_all(timers);
        let inbox = self.local.remote.stop();
        dispose_all(inbox.commands);
        dispose_all(take(&mut self.signals));
    }
}
