//! The connections of a loop by slot, and how one is driven. What a turn does besides input and output is in `rounds`,
//! how a loop ends in `drain`.

use std::collections::BTreeMap;
use std::mem::take;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::{Duration, Instant};

use workerman_event::{Address, Backend, Deadlines, ListenerId, ResolveId, Signal, Token};
use workerman_protocol::{Outbox, Random};

use crate::accept::Accept;
use crate::client::Dial;
use crate::drain::Drain;
use crate::drive::{Drive, Env, Gone, Io, Next};
use crate::event_loop::sooner;
use crate::panics::{dispose, guard};
use crate::remote::Inbox;
use crate::timer::Local;

/// On the `held` list.
pub(super) const ON_HELD: u8 = 1;
/// On the `again` list.
pub(super) const ON_AGAIN: u8 = 1 << 1;

/// One slot; its index is the token's. There are as many as connections, most of them idle: keep it small.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) generation: u32,
    /// Turns in a row in which replies were held back.
    pub(super) held: u8,
    /// The last turn in which replies were held back; its last byte, since it is looked at in the next one.
    pub(super) held_in: u8,
    /// The lists that it is on: [`ON_HELD`], [`ON_AGAIN`].
    pub(super) lists: u8,
    /// The soonest instant for which the calendar has an entry.
    pub(super) armed: Option<Armed>,
    pub(super) kind: Kind,
    /// The connection; taken out while it is driven.
    pub(super) endpoint: Option<Box<dyn Drive>>,
}

/// An instant in milliseconds since the loop began (plus one), which takes half the size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Armed(NonZeroU64);

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    Empty,
    /// A connection.
    Connection,
    /// A connect in progress; whose is in `Slots::dialing`.
    Dial,
}

/// A listener.
pub(super) struct Listening {
    pub(super) key: u64,
    pub(super) accept: Box<dyn Accept>,
    /// Paused by a handle.
    pub(super) paused: bool,
    /// Paused because the service is at its cap.
    pub(super) capped: bool,
    /// Accepted in the moment in which another loop took the last place: it waits, unread, for the next one.
    pub(super) early: Option<(Token, Address)>,
}

pub(crate) struct Slots {
    pub(crate) local: Rc<Local>,
    pub(super) slots: Vec<Slot>,
    /// The dials that connects in progress belong to, by slot.
    dialing: BTreeMap<usize, u64>,
    /// When the loop began; see [`Armed`].
    epoch: Instant,
    pub(super) live: usize,
    pub(super) again: Vec<Token>,
    pub(super) held: Vec<Token>,
    pub(super) deadlines: Deadlines<Token>,
    pub(super) listeners: BTreeMap<ListenerId, Listening>,
    pub(super) dials: BTreeMap<u64, Box<dyn Dial>>,
    pub(super) dial_deadlines: Deadlines<u64>,
    pub(super) resolves: BTreeMap<ResolveId, u64>,
    pub(super) signals: Vec<(Signal, Box<dyn FnMut()>)>,
    pub(super) inbox: Inbox,
    pub(super) random: Random,
    pub(super) reply: Outbox,
    pub(super) out: Outbox,
    pub(super) unix_seconds: u64,
    pub(super) turn: u32,
    /// For the longest turn: within the running second, and when that began.
    pub(super) longest: Duration,
    pub(super) second: Option<Instant>,
    pub(super) drain: Option<Drain>,
    pub(super) stopping: bool,
}

/// The socket of a slot.
struct Port<'a, B: Backend> {
    io: &'a mut B,
    id: Token,
}

impl<B: Backend> Io for Port<'_, B> {
    fn send(&mut self, out: &mut Outbox) -> std::io::Result<usize> {
        self.io.send(self.id, out)
    }
    fn send_slice(&mut self, mut bytes: &[u8]) -> std::io::Result<usize> {
        self.io.send(self.id, &mut bytes)
    }
    fn set_read(&mut self, on: bool) {
        self.io.set_read(self.id, on);
    }
    fn lend(&mut self, buffer: Vec<u8>) {
        self.io.lend(self.id, buffer);
    }
    fn reclaim(&mut self) -> Option<Vec<u8>> {
        self.io.reclaim(self.id)
    }
    fn shutdown_write(&mut self) {
        self.io.shutdown_write(self.id);
    }
}

impl Slots {
    pub(crate) fn new(local: Rc<Local>, seed: u64, now: Instant) -> Self {
        Self {
            local,
            slots: Vec::new(),
            dialing: BTreeMap::new(),
            epoch: now,
            live: 0,
            again: Vec::new(),
            held: Vec::new(),
            deadlines: Deadlines::default(),
            listeners: BTreeMap::new(),
            dials: BTreeMap::new(),
            dial_deadlines: Deadlines::default(),
            resolves: BTreeMap::new(),
            signals: Vec::new(),
            inbox: Inbox::default(),
            random: Random::new(seed),
            reply: Outbox::new(),
            out: Outbox::new(),
            unix_seconds: 0,
            turn: 0,
            longest: Duration::ZERO,
            second: None,
            drain: None,
            stopping: false,
        }
    }

    pub(crate) fn begin_turn(&mut self, unix_seconds: u64) {
        self.unix_seconds = unix_seconds;
        self.turn = self.turn.wrapping_add(1);
    }

    pub(crate) fn turn_took(&mut self, now: Instant, took: Duration) {
        self.longest = self.longest.max(took);
        let since = *self.second.get_or_insert(now);
        if now.saturating_duration_since(since) >= Duration::from_secs(1) {
            let nanos = u64::try_from(take(&mut self.longest).as_nanos()).unwrap_or(u64::MAX);
            self.local.remote.counters.longest_turn.set(nanos);
            self.second = Some(now);
        }
        self.local.remote.counters.timers.set(self.local.timers.borrow().len() as u64);
    }

    pub(super) fn slot(&mut self, id: Token) -> Option<&mut Slot> {
        self.slots.get_mut(id.slot()).filter(|slot| slot.generation == id.generation())
    }

    /// The dial that a token belongs to.
    pub(super) fn dial_at(&mut self, id: Token) -> Option<u64> {
        if self.slot(id)?.kind != Kind::Dial {
            return None;
        }
        self.dialing.get(&id.slot()).copied()
    }

    fn occupy(&mut self, id: Token, kind: Kind, endpoint: Option<Box<dyn Drive>>) {
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, Slot::default);
        }
        self.slots[id.slot()] = Slot { generation: id.generation(), kind, endpoint, ..Slot::default() };
    }

    /// A connect in progress.
    pub(super) fn occupy_dial(&mut self, id: Token, dial: u64) {
        self.occupy(id, Kind::Dial, None);
        self.dialing.insert(id.slot(), dial);
    }

    pub(super) fn vacate(&mut self, id: Token) {
        let Some(slot) = self.slot(id) else { return };
        if take(&mut slot.kind) == Kind::Dial {
            self.dialing.remove(&id.slot());
        }
    }

    /// A connection that is up.
    pub(super) fn install<B: Backend>(&mut self, io: &mut B, id: Token, endpoint: Box<dyn Drive>) {
        // A connect that succeeded becomes a connection on its own slot.
        self.vacate(id);
        self.occupy(id, Kind::Connection, Some(endpoint));
        self.live += 1;
        let live = &self.local.remote.counters.live;
        live.set(live.read() + 1);
        let now = io.now();
        self.drive(io, id, now, |endpoint, io, env| endpoint.opened(io, env));
        if let Some(drain) = &self.drain {
            let until = drain.until;
            self.drive(io, id, now, |endpoint, io, env| endpoint.goodbye(until, io, env));
        }
    }

    /// Calls an endpoint and does what it says. A panic ends this connection and nothing else.
    #[inline]
    pub(super) fn drive<B: Backend>(
        &mut self,
        io: &mut B,
        id: Token,
        now: Instant,
        f: impl FnOnce(&mut dyn Drive, &mut dyn Io, &mut Env<'_>) -> Next,
    ) {
        self.drive_as(io, id, now, false, f);
    }

    pub(super) fn drive_as<B: Backend>(
        &mut self,
        io: &mut B,
        id: Token,
        now: Instant,
        flush_held: bool,
        f: impl FnOnce(&mut dyn Drive, &mut dyn Io, &mut Env<'_>) -> Next,
    ) {
        let Some(mut endpoint) = self.remove(id) else { return };
        let mut called = {
            let mut env = self.env(now, flush_held);
            let mut port = Port { io, id };
            guard(|| f(&mut *endpoint, &mut port, &mut env))
        };
        let mut switched = false;
        loop {
            let mut next = match called {
                Ok(next) => next,
                Err(panic) => {
                    let mut env = self.env(now, false);
                    if let Err(panic) = guard(|| endpoint.crashed(panic, &mut env)) {
                        env.remote.counters.panics.add(1);
                        tracing::error!(%panic, "a connection panicked while it was ended");
                    }
                    Next { gone: Gone::Abort, ..Next::default() }
                }
            };
            if let Some(successor) = next.switch.take() {
                dispose(std::mem::replace(&mut endpoint, successor));
                let mut env = self.env(now, false);
                let mut port = Port { io, id };
                called = guard(|| endpoint.opened(&mut port, &mut env));
                switched = true;
                continue;
            }
            if next.gone != Gone::No {
                self.free(io, id, endpoint, next.gone);
                return;
            }
            if let Some(drain) = self.drain.as_ref().filter(|_| take(&mut switched)) {
                // The new protocol has its own way to say goodbye.
                let until = drain.until;
                let mut env = self.env(now, false);
                let mut port = Port { io, id };
                called = guard(|| endpoint.goodbye(until, &mut port, &mut env));
                continue;
            }
            self.put_back(id, endpoint, &next);
            return;
        }
    }

    pub(super) fn env(&mut self, now: Instant, flush_held: bool) -> Env<'_> {
        Env {
            now,
            unix_seconds: self.unix_seconds,
            random: &mut self.random,
            reply: &mut self.reply,
            out: &mut self.out,
            queued: 0,
            remote: &self.local.remote,
            flush_held,
        }
    }

    fn put_back(&mut self, id: Token, endpoint: Box<dyn Drive>, next: &Next) {
        let turn = self.turn as u8;
        let Some(slot) = self.slots.get_mut(id.slot()) else { return };
        slot.endpoint = Some(endpoint);
        if next.again && slot.lists & ON_AGAIN == 0 {
            slot.lists |= ON_AGAIN;
            self.again.push(id);
        }
        if next.hold {
            if slot.held == 0 || slot.held_in != turn {
                slot.held = slot.held.saturating_add(1);
            }
            slot.held_in = turn;
            if slot.lists & ON_HELD == 0 {
                slot.lists |= ON_HELD;
                self.held.push(id);
            }
        } else {
            slot.held = 0;
        }
        if let Some(at) = next.deadline {
            // Later than what is armed: the entry that is there looks again and arms anew. So a busy connection
            // costs the calendar one entry per timeout, not one per message.
            let millis = at.saturating_duration_since(self.epoch).as_millis();
            let soon = NonZeroU64::MIN.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX));
            if slot.armed.is_none_or(|armed| Armed(soon) < armed) {
                slot.armed = Some(Armed(soon));
                self.deadlines.schedule(at, id);
            }
        }
    }

    /// A connection is over.
    fn free<B: Backend>(&mut self, io: &mut B, id: Token, mut endpoint: Box<dyn Drive>, gone: Gone) {
        match gone {
            Gone::Abort => io.abort(id),
            Gone::Close | Gone::No => io.close(id),
        }
        self.vacated(io, id, &mut *endpoint);
        dispose(endpoint);
    }

    /// After the socket is gone: the slot is empty, a client may connect again.
    pub(super) fn vacated<B: Backend>(&mut self, io: &mut B, id: Token, endpoint: &mut dyn Drive) {
        self.vacate(id);
        self.live -= 1;
        if let Some(drain) = &mut self.drain {
            drain.result.finished += 1;
        }
        let redial = endpoint.redial();
        if let Some(redial) = redial {
            self.redial(io, redial);
        }
    }

    /// Takes an endpoint out for good, its socket being gone.
    pub(super) fn remove(&mut self, id: Token) -> Option<Box<dyn Drive>> {
        self.slot(id)?.endpoint.take()
    }

    /// The socket broke.
    pub(super) fn broke<B: Backend>(&mut self, io: &mut B, id: Token, why: std::io::Error) {
        let Some(mut endpoint) = self.remove(id) else { return };
        let now = io.now();
        let mut env = self.env(now, false);
        if let Err(panic) = guard(|| endpoint.failed(why, &mut env)) {
            env.remote.counters.panics.add(1);
            tracing::error!(%panic, "a connection panicked while it was ended");
        }
        self.vacated(io, id, &mut *endpoint);
        dispose(endpoint);
    }

    pub(super) fn random_seed(&mut self) -> u64 {
        self.random.next_u64()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let timers = self.local.timers.borrow().next();
        let drain = self.drain.as_ref().map(Drain::deadline);
        let connections = sooner(self.deadlines.next(), self.dial_deadlines.next());
        sooner(sooner(timers, drain), connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_a_small_slot() {
        assert!(size_of::<Slot>() <= 32, "{}", size_of::<Slot>());
    }
}
