//! The connections of a loop by slot: driving them, and everything that a turn does besides input and output.

use std::collections::BTreeMap;
use std::mem::take;
use std::rc::Rc;
use std::time::{Duration, Instant};

use workerman_event::{Backend, Deadlines, ListenerId, ResolveId, Signal, Token};
use workerman_protocol::{Outbox, Random};

use crate::CloseReason;
use crate::accept::Accept;
use crate::client::Dial;
use crate::drive::{Drive, Env, Gone, Io, Next};
use crate::event_loop::{Drained, sooner};
use crate::panics::{dispose, guard};
use crate::remote::Inbox;
use crate::timer::{Call, Local};

/// One slot; its index is the token's.
#[derive(Default)]
struct Slot {
    generation: u32,
    /// Turns in a row in which replies were held back.
    held: u8,
    /// On the `again` list.
    again: bool,
    /// On the `held` list, since this turn.
    held_since: u32,
    /// The soonest instant for which the calendar has an entry.
    armed: Option<Instant>,
    kind: Kind,
}

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    /// A connection; taken out while it is driven.
    Connection(Option<Box<dyn Drive>>),
    /// A connect in progress, of this dial.
    Dial(u64),
}

/// A listener.
pub(super) struct Listening {
    pub(super) key: u64,
    pub(super) accept: Box<dyn Accept>,
    /// Paused by a handle.
    pub(super) paused: bool,
    /// Paused because the service is at its cap.
    pub(super) capped: bool,
}

struct Drain {
    until: Instant,
    finished: usize,
    done: Vec<Box<dyn FnOnce(Drained)>>,
}

/// Most consecutive turns in which the replies of a connection are held for handlers that make progress.
const MOST_HELD: u8 = 32;

pub(crate) struct Slots {
    pub(crate) local: Rc<Local>,
    slots: Vec<Slot>,
    live: usize,
    again: Vec<Token>,
    held: Vec<Token>,
    deadlines: Deadlines<Token>,
    pub(super) listeners: BTreeMap<ListenerId, Listening>,
    pub(super) dials: BTreeMap<u64, Box<dyn Dial>>,
    pub(super) dial_deadlines: Deadlines<u64>,
    pub(super) resolves: BTreeMap<ResolveId, u64>,
    pub(super) signals: Vec<(Signal, Box<dyn FnMut()>)>,
    inbox: Inbox,
    random: Random,
    reply: Outbox,
    out: Outbox,
    unix_seconds: u64,
    turn: u32,
    /// For the longest turn: within the running second, and when that began.
    longest: Duration,
    second: Option<Instant>,
    drain: Option<Drain>,
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
    pub(crate) fn new(local: Rc<Local>, seed: u64) -> Self {
        Self {
            local,
            slots: Vec::new(),
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

    fn slot(&mut self, id: Token) -> Option<&mut Slot> {
        self.slots.get_mut(id.slot()).filter(|slot| slot.generation == id.generation())
    }

    /// The dial that a token belongs to.
    pub(super) fn dial_at(&mut self, id: Token) -> Option<u64> {
        match self.slot(id)?.kind {
            Kind::Dial(dial) => Some(dial),
            _ => None,
        }
    }

    fn occupy(&mut self, id: Token, kind: Kind) {
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, Slot::default);
        }
        self.slots[id.slot()] = Slot { generation: id.generation(), kind, ..Slot::default() };
    }

    /// A connect in progress.
    pub(super) fn occupy_dial(&mut self, id: Token, dial: u64) {
        self.occupy(id, Kind::Dial(dial));
    }

    pub(super) fn vacate(&mut self, id: Token) {
        if let Some(slot) = self.slot(id) {
            slot.kind = Kind::Empty;
        }
    }

    /// A connection that is up.
    pub(super) fn install<B: Backend>(&mut self, io: &mut B, id: Token, endpoint: Box<dyn Drive>) {
        self.occupy(id, Kind::Connection(Some(endpoint)));
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

    fn drive_as<B: Backend>(
        &mut self,
        io: &mut B,
        id: Token,
        now: Instant,
        flush_held: bool,
        f: impl FnOnce(&mut dyn Drive, &mut dyn Io, &mut Env<'_>) -> Next,
    ) {
        let Some(Slot { kind: Kind::Connection(endpoint), .. }) = self.slot(id) else { return };
        let Some(mut endpoint) = endpoint.take() else { return };
        let mut called = {
            let mut env = self.env(now, flush_held);
            let mut port = Port { io, id };
            guard(|| f(&mut *endpoint, &mut port, &mut env))
        };
        loop {
            let mut next = match called {
                Ok(next) => next,
                Err(panic) => {
                    let mut env = self.env(now, false);
                    if let Err(panic) = guard(|| endpoint.crashed(panic, &mut env)) {
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
                continue;
            }
            if next.gone != Gone::No {
                self.free(io, id, endpoint, next.gone);
                return;
            }
            self.put_back(id, endpoint, &next);
            return;
        }
    }

    fn env(&mut self, now: Instant, flush_held: bool) -> Env<'_> {
        Env {
            now,
            unix_seconds: self.unix_seconds,
            random: &mut self.random,
            reply: &mut self.reply,
            out: &mut self.out,
            remote: &self.local.remote,
            flush_held,
        }
    }

    fn put_back(&mut self, id: Token, endpoint: Box<dyn Drive>, next: &Next) {
        let turn = self.turn;
        let Some(slot) = self.slots.get_mut(id.slot()) else { return };
        slot.kind = Kind::Connection(Some(endpoint));
        if next.again && !slot.again {
            slot.again = true;
            self.again.push(id);
        }
        if next.hold {
            if slot.held == 0 || slot.held_since != turn {
                self.held.push(id);
            }
            slot.held = slot.held.saturating_add(u8::from(slot.held_since != turn || slot.held == 0));
            slot.held_since = turn;
        } else {
            slot.held = 0;
        }
        if let Some(at) = next.deadline {
            // Later than what is armed: the entry that is there looks again and arms anew. So a busy connection
            // costs the calendar one entry per timeout, not one per message.
            if slot.armed.is_none_or(|armed| at < armed) {
                slot.armed = Some(at);
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

    /// After the socket is gone: the slot is empty, a client may connect again, a capped listener may go on.
    pub(super) fn vacated<B: Backend>(&mut self, io: &mut B, id: Token, endpoint: &mut dyn Drive) {
        self.vacate(id);
        self.live -= 1;
        if let Some(drain) = &mut self.drain {
            drain.finished += 1;
        }
        let redial = endpoint.redial();
        if let Some(redial) = redial {
            self.redial(io, redial);
        }
        self.lift_caps(io);
    }

    /// Takes an endpoint out for good, its socket being gone.
    pub(super) fn remove(&mut self, id: Token) -> Option<Box<dyn Drive>> {
        let Some(Slot { kind: Kind::Connection(endpoint), .. }) = self.slot(id) else { return None };
        endpoint.take()
    }

    /// The socket broke.
    pub(super) fn broke<B: Backend>(&mut self, io: &mut B, id: Token, why: std::io::Error) {
        let Some(mut endpoint) = self.remove(id) else { return };
        let now = io.now();
        let mut env = self.env(now, false);
        if let Err(panic) = guard(|| endpoint.failed(why, &mut env)) {
            tracing::error!(%panic, "a connection panicked while it was ended");
        }
        self.vacated(io, id, &mut *endpoint);
        dispose(endpoint);
    }

    pub(super) fn lift_caps<B: Backend>(&mut self, io: &mut B) {
        for (id, listening) in &mut self.listeners {
            if listening.capped && listening.accept.has_room() {
                listening.capped = false;
                if !listening.paused {
                    io.resume_accept(*id);
                }
            }
        }
    }

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
        if let Err(panic) = guard(f) {
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
        if self.drain.as_ref().is_some_and(|drain| now >= drain.until) {
            let cut = self.live;
            self.cut_all(io, CloseReason::Shutdown);
            self.end_drain(cut);
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
            if let Err(panic) = guard(|| command(&mut control)) {
                self.local.remote.counters.panics.add(1);
                tracing::error!(%panic, "a command panicked");
            }
        }
        if self.drain.is_some() && self.live == 0 && self.dials.is_empty() {
            self.end_drain(0);
        }
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
                slot.again = false;
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

    /// Writes replies that have been held back for a whole turn; `true` if there are younger ones.
    pub(crate) fn run_held<B: Backend>(&mut self, io: &mut B) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let now = io.now();
        let turn = self.turn;
        let held = take(&mut self.held);
        for id in held {
            let Some(slot) = self.slot(id) else { continue };
            if slot.held == 0 {
                continue;
            }
            if slot.held_since == turn && slot.held < MOST_HELD {
                // Held in this turn: its handler made progress, or it is new. It waits for the next.
                self.held.push(id);
                continue;
            }
            slot.held = 0;
            self.drive_as(io, id, now, true, |endpoint, io, env| endpoint.stirred(io, env));
        }
        !self.held.is_empty()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    pub(super) fn random_seed(&mut self) -> u64 {
        self.random.next_u64()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let timers = self.local.timers.borrow().next();
        let drain = self.drain.as_ref().map(|drain| drain.until);
        let connections = sooner(self.deadlines.next(), self.dial_deadlines.next());
        sooner(sooner(timers, drain), connections)
    }

    /// Begins to drain, or joins the drain that runs.
    pub(super) fn begin_drain<B: Backend>(
        &mut self,
        io: &mut B,
        until: Instant,
        done: Box<dyn FnOnce(Drained)>,
    ) {
        for (id, _) in take(&mut self.listeners) {
            io.unlisten(id);
        }
        match &mut self.drain {
            Some(drain) => {
                drain.until = drain.until.min(until);
                drain.done.push(done);
            }
            None => self.drain = Some(Drain { until, finished: 0, done: vec![done] }),
        }
        let dials: Vec<_> = self.dials.keys().copied().collect();
        for dial in dials {
            self.step_dial(io, dial, crate::client::DialEvent::Cancel(CloseReason::Shutdown));
        }
        let now = io.now();
        for id in self.tokens() {
            self.drive(io, id, now, |endpoint, io, env| endpoint.goodbye(until, io, env));
        }
    }

    fn end_drain(&mut self, cut: usize) {
        if let Some(drain) = self.drain.take() {
            let result = Drained { finished: drain.finished - cut.min(drain.finished), cut };
            for done in drain.done {
                done(result);
            }
        }
    }

    fn tokens(&self) -> Vec<Token> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| matches!(slot.kind, Kind::Connection(Some(_))))
            .filter_map(|(index, slot)| Some(Token::new(u32::try_from(index).ok()?, slot.generation)))
            .collect()
    }

    fn cut_all<B: Backend>(&mut self, io: &mut B, reason: CloseReason) {
        let now = io.now();
        for id in self.tokens() {
            let Some(mut endpoint) = self.remove(id) else { continue };
            let mut env = self.env(now, false);
            if let Err(panic) = guard(|| endpoint.cut(reason, &mut env)) {
                tracing::error!(%panic, "a connection panicked while it was cut");
            }
            io.abort(id);
            self.vacated(io, id, &mut *endpoint);
            dispose(endpoint);
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
        self.cut_all(io, CloseReason::Shutdown);
        for (id, listening) in take(&mut self.listeners) {
            io.unlisten(id);
            dispose(listening.accept);
        }
        let cut = 0;
        self.end_drain(cut);
        let timers = self.local.timers.borrow_mut().cancel_all();
        for call in timers {
            dispose(call);
        }
        let inbox = self.local.remote.stop();
        for command in inbox.commands {
            dispose(command);
        }
        for (_, call) in take(&mut self.signals) {
            dispose(call);
        }
    }
}
