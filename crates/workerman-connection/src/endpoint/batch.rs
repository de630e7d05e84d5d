//! The batch of an endpoint: take what arrived, decode, call back, and leave the socket in the state that fits.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::BytesMut;
use workerman_protocol::Protocol;

use super::{Endpoint, turn};
use crate::cork::{cork, uncork};
use crate::drive::{Env, Gone, Io, Next};
use crate::half::Half;
use crate::layer::Received;
use crate::outcome::{self, Settled, Suspended};
use crate::panics::{dispose, guard};
use crate::session::{Phase, Session, Step};
use crate::shared::{CROSSED, FINISHED, LOGGED, QUEUED, SHUT, TAIL, WISHED, WOKEN, bump};
use crate::{CloseReason, Connection, Error};

/// Something decoded that waits for a suspended handler.
pub(super) enum Parked<P: Protocol> {
    Message(P::Incoming),
    Event(P::Event),
    End,
    Failed(Error, CloseReason),
}

impl<P: Protocol> Endpoint<P> {
    /// One batch, with what arrived, if something did.
    pub(super) fn batch(
        &mut self,
        mut data: Option<&mut BytesMut>,
        io: &mut dyn Io,
        env: &mut Env<'_>,
    ) -> Next {
        let mut next = Next::default();
        // Within the span of the worker's thread; costs a load where nobody listens at this level.
        let service = &self.conn.0.service.name;
        let _span = tracing::debug_span!("connection", worker = %service, id = self.conn.0.id).entered();
        let arrived = data.is_some() || std::mem::take(&mut self.arrived);
        if let Some(data) = data.as_deref_mut() {
            bump(&self.conn.0.traffic.bytes_in, data.len() as u64);
            env.remote.counters.bytes_in.add(data.len() as u64);
        }
        let layered = self.below.is_some();
        if layered {
            if let Some(data) = data.take() {
                self.unwrap_layer(data, env);
            }
        } else if let Some(data) = data.as_deref_mut() {
            self.session.receive(data);
        }
        // A drain inside may let more be decoded, and an empty queue more be said: a second round at once, further ones in
        // later turns.
        let mut need = None;
        let mut handled = false;
        for round in 0..2 {
            next.again = false;
            let opens = self.open_when_established(env);
            self.take_outside(env);
            env.queued = self.queued();
            cork(self.conn.0.id, env.queued);
            if opens && self.session.phase() == Phase::Open {
                self.handle(env, |handlers, conn| match &handlers.on_connect {
                    Some(on_connect) => on_connect(conn),
                    None => Settled::Done,
                });
            }
            if std::mem::take(&mut self.drained) && !self.announced {
                self.call(env, |handlers, conn| {
                    if let Some(on_buffer_drain) = &handlers.on_buffer_drain {
                        on_buffer_drain(conn);
                    }
                });
            }
            let messages;
            (need, messages) = self.decode_all(env, &mut next);
            handled |= messages > 0;
            let crossed = self.conn.0.flags() & CROSSED != 0;
            if self.session.fills(self.queued(), crossed, &self.conn.0.service.settings) {
                self.call(env, |handlers, conn| {
                    if let Some(on_buffer_full) = &handlers.on_buffer_full {
                        on_buffer_full(conn);
                    }
                });
                self.obey(env);
            }
            let sent = uncork(env.out);
            if sent.messages > 0 {
                bump(&self.conn.0.traffic.messages_out, sent.messages);
                env.remote.counters.messages_out.add(sent.messages);
            }
            if sent.refused > 0 {
                env.remote.counters.send_failures.add_shared(sent.refused);
            }
            let emptied = self.flush(io, env, &mut next);
            if next.gone != Gone::No || next.switch.is_some() || !(self.drained || emptied && self.stands()) {
                break;
            }
            if round == 1 {
                next.again = true;
            }
        }
        if next.gone != Gone::No || next.switch.is_some() {
            if let Some(data) = data {
                // Whatever is left is nobody's; a switch has taken its bytes along.
                data.clear();
            }
            return next;
        }
        if arrived {
            self.session.lingers_on(&self.conn.0.service.settings, env.now);
        }
        self.session.watch(arrived, handled, self.busy(), env.now);
        self.rest(data, need, io, &mut next);
        next
    }

    /// Puts the socket into the state that fits: what to read, into which buffer, until when.
    fn rest(&mut self, data: Option<&mut BytesMut>, need: Option<usize>, io: &mut dyn Io, next: &mut Next) {
        let settings = &self.conn.0.service.settings;
        let waiting = self.waiting() || next.again;
        let need = need.filter(|_| !waiting && self.below.is_none());
        let busy = self.busy();
        if let Some(buffer) = self.session.settle(data, need) {
            self.lent = true;
            io.lend(buffer);
        }
        let read = match self.session.phase() {
            Phase::Open => !self.paused && self.session.wants_input(waiting, settings.read_ahead),
            Phase::Closed => false,
            _ => true,
        };
        if read != self.reading {
            self.reading = read;
            io.set_read(read);
        }
        if self.sent || self.conn.0.flags() & (WISHED | QUEUED) != 0 {
            next.again = true;
        }
        let handshake = self.below.as_ref().and_then(|below| below.deadline);
        next.deadline = self.session.deadline(settings, handshake, busy);
    }

    /// Whether the peer waits for us, so that the protocol's own deadlines rest.
    pub(super) fn busy(&self) -> bool {
        self.paused || self.blocked_decode || self.gated() || (self.task.is_some() && !self.awaits_body())
    }

    /// Whether it is the peer's turn although a handler is suspended: that waits for the rest of a body.
    fn awaits_body(&self) -> bool {
        self.parked.is_none() && self.session.awaits_body(self.conn.0.service.settings.read_ahead)
    }

    /// Whether the protocol wants to be asked again when everything has been written.
    fn stands(&self) -> bool {
        self.blocked_decode
            || (P::ANSWERS
                && (self.paused || self.lent || self.parked.is_some() || self.session.is_answering()))
    }

    /// Whether decoded or undecoded input waits for something of ours.
    fn waiting(&self) -> bool {
        self.task.is_some() || self.blocked_decode || self.gated() || self.parked.is_some()
    }

    /// Whether messages wait because their answers would not fit. What is piped goes elsewhere, and waits for that
    /// side alone: two full directions must not hold each other up. What is held waits for input itself.
    fn gated(&self) -> bool {
        self.session.is_full() && self.forward().is_none() && !self.is_held()
    }

    /// Moves what senders outside have queued behind what waits already.
    pub(crate) fn take_outside(&mut self, env: &mut Env<'_>) {
        if self.conn.0.flags() & LOGGED != 0 {
            let out = match &mut self.below {
                Some(below) => &mut below.plain_out,
                None => self.session.pending(),
            };
            self.conn.0.take_logged(|bytes| out.put_slice(bytes));
            self.conn.0.pending.store(self.queued(), Ordering::Relaxed);
        }
        let shared = &self.conn.0;
        // A connection that takes nothing any more is always looked at: a sender that won against `SHUT` may be under
        // the lock still, and after this look there can be none.
        if shared.flags() & (QUEUED | SHUT) == 0 {
            return;
        }
        let mut core = shared.lock();
        if shared.clear(QUEUED | TAIL) & QUEUED != 0 && P::ANSWERS {
            self.sent = matches!(self.session.phase(), Phase::Open);
        }
        bump(&shared.traffic.messages_out, u64::from(shared.outside.swap(0, Ordering::Relaxed)));
        self.accounted += std::mem::take(&mut core.counted);
        let out = match &mut self.below {
            Some(below) => &mut below.plain_out,
            None => self.session.pending(),
        };
        out.append(&mut core.out);
        core.out.clear(0);
        // Still under the lock: nobody sees these bytes on neither side, or on both.
        let queued = self.queued();
        self.conn.0.pending.store(queued, Ordering::Relaxed);
        drop(core);
        let _ = env;
    }

    /// Number of bytes that wait to be written, above and below the layer.
    pub(crate) fn queued(&self) -> usize {
        self.session.pending_len() + self.below.as_ref().map_or(0, |below| below.plain_out.len())
    }

    /// Wire bytes through the layer.
    fn unwrap_layer(&mut self, data: &mut BytesMut, env: &mut Env<'_>) {
        if !self.session.is_alive() {
            // It has said its last; what it might owe for this cannot be written behind the FIN.
            data.clear();
            return;
        }
        let Some(below) = &mut self.below else { return };
        let received = below.layer.receive(env.now, data, &mut below.plain_in, self.session.pending());
        data.clear();
        if !below.plain_in.is_empty() {
            self.session.receive(&mut below.plain_in);
        }
        match received {
            Ok(Received::More) => {}
            Ok(Received::End) => {
                below.ended = true;
                self.end_of_stream();
            }
            Err(error) => self.fail(&Error::Layer(error), CloseReason::Protocol, env),
        }
    }

    /// The plain stream has ended. Before the layer is through that is the end of everything.
    pub(super) fn end_of_stream(&mut self) {
        self.session.end_of_stream();
        let established = self.below.as_ref().is_none_or(|below| below.layer.is_established());
        if !established {
            self.session.flush_and_close(CloseReason::PeerClosed);
        }
    }

    /// Opens the protocol, once the layer is through; what it says goes out before anything else. `true`: now.
    fn open_when_established(&mut self, env: &mut Env<'_>) -> bool {
        if self.opened || !matches!(self.session.phase(), Phase::Handshake | Phase::Open) {
            return false;
        }
        if let Some(below) = &mut self.below {
            if !below.layer.is_established() {
                return false;
            }
            below.deadline = None;
        }
        self.opened = true;
        let opened = self.session.open(&mut turn(env, &self.waker, (false, false)), &Half(&self.conn.0));
        self.reply_first(env);
        if let Err(error) = opened {
            self.fail(&Error::Protocol(error.into()), CloseReason::Protocol, env);
            return false;
        }
        self.greeted = true;
        if let Some(redial) = self.dialer_mut() {
            redial.came_up = true;
        }
        true
    }

    /// Decodes and handles until nothing more can be done in this turn. Returns what the decoder needs, and how many
    /// messages were handled.
    fn decode_all(&mut self, env: &mut Env<'_>, next: &mut Next) -> (Option<usize>, u64) {
        let mut messages = 0;
        let need = self.decode_some(env, next, &mut messages);
        if messages > 0 {
            bump(&self.conn.0.traffic.messages_in, messages);
            env.remote.counters.messages_in.add(messages);
        }
        (need, messages)
    }

    fn decode_some(&mut self, env: &mut Env<'_>, next: &mut Next, messages: &mut u64) -> Option<usize> {
        self.obey(env);
        if self.conn.0.flags() & WOKEN != 0 {
            self.conn.0.clear(WOKEN);
            self.blocked_decode = false;
            self.poll_task(env);
        }
        let budget = self.conn.0.service.settings.messages_per_turn as u64;
        loop {
            let mut flags = self.conn.0.flags.load(Ordering::Acquire);
            if P::ANSWERS && (self.sent || flags & QUEUED != 0) {
                // It must not be taken for the answer to what is decoded next.
                self.pump_sent(env);
                flags = self.conn.0.flags();
            }
            if flags & (WISHED | CROSSED | FINISHED) != 0 {
                self.obey(env);
                let gates = self.forward().is_none() && !self.is_held();
                let stops = if gates { CROSSED | FINISHED } else { FINISHED };
                if self.conn.0.flags() & stops != 0 {
                    return None;
                }
            }
            if self.session.phase() != Phase::Open || self.gated() {
                return None;
            }
            if self.paused || (self.task.is_some() && self.parked.is_some()) {
                self.pump(env);
                if self.closing && !self.session.is_answering() {
                    self.session.flush_and_close(CloseReason::Local);
                }
                return None;
            }
            if self.switches() {
                if self.task.is_none() && self.unpark_before_switch(messages, env) {
                    continue;
                }
                self.pump(env);
                return None;
            }
            if self.task.is_none() {
                if *messages >= budget {
                    next.again = true;
                    return None;
                }
                if P::ANSWERS && self.parked.is_some() {
                    // What the handler before has sent is said before.
                    self.pump(env);
                    if self.session.phase() != Phase::Open || self.conn.0.flags() & FINISHED != 0 {
                        return None;
                    }
                }
                if let Some(parked) = self.parked.take() {
                    self.unpark(*parked, messages, env);
                    continue;
                }
                if !self.lent && self.session.leaves_now() {
                    self.session.flush_and_close(self.session.reason());
                    return None;
                }
            }
            if self.lent {
                // The first part of a message is with the backend: there is nothing to look at.
                self.pump(env);
                return None;
            }
            let step = self.ask(env, Session::next);
            let parked = match step {
                Step::Message(message) if self.task.is_none() => {
                    *messages += 1;
                    self.message(message, env);
                    continue;
                }
                Step::Need(more) => {
                    self.blocked_decode = false;
                    if self.task.is_none() && self.session.leaves_now() {
                        self.session.flush_and_close(self.session.reason());
                    }
                    return Some(more);
                }
                Step::Blocked => {
                    self.blocked_decode = true;
                    return None;
                }
                Step::Message(message) => Parked::Message(message),
                Step::Event(event) => Parked::Event(event),
                Step::End => Parked::End,
                Step::Truncated => Parked::Failed(Error::Truncated, CloseReason::Protocol),
                Step::Failed(error) => Parked::Failed(Error::Protocol(error.into()), CloseReason::Protocol),
                Step::TooLong { needed, limit } => {
                    Parked::Failed(Error::MessageTooLong { needed, limit }, CloseReason::Limit)
                }
            };
            if self.task.is_some() {
                self.parked = Some(Box::new(parked));
                return None;
            }
            self.unpark(parked, messages, env);
        }
    }

    /// What the old protocol decoded before it was replaced is still its own; the end of the stream is the next one's.
    fn unpark_before_switch(&mut self, messages: &mut u64, env: &mut Env<'_>) -> bool {
        match self.parked.take().map(|parked| *parked) {
            None | Some(Parked::End) => false,
            Some(parked) => {
                self.unpark(parked, messages, env);
                true
            }
        }
    }

    fn unpark(&mut self, parked: Parked<P>, messages: &mut u64, env: &mut Env<'_>) {
        match parked {
            Parked::Message(message) => {
                *messages += 1;
                self.message(message, env);
            }
            Parked::Event(event) => self.handle(env, |handlers, conn| handlers.event(conn, event)),
            Parked::End => self.peer_ended(env),
            Parked::Failed(error, reason) => self.fail(&error, reason, env),
        }
    }

    /// Everything that the peer sent has been handled, and nothing more will come.
    fn peer_ended(&mut self, env: &mut Env<'_>) {
        match self.forward() {
            // One direction of a pipe: the other goes on until it ends as well.
            Some(forward) if !self.session.is_half_closed() => {
                let settled = guard(|| forward.ended(&self.conn));
                self.paused = true;
                self.end_handled = true;
                self.settle(settled, env);
            }
            _ => self.session.flush_and_close(CloseReason::PeerClosed),
        }
    }

    #[inline]
    fn message(&mut self, message: P::Incoming, env: &mut Env<'_>) {
        if let Some(forward) = self.forward() {
            let settled = guard(|| forward.message(&self.conn, message));
            self.settle(settled, env);
            return;
        }
        self.handling = true;
        let conn = &self.conn;
        let settled = guard(|| match &conn.0.service.handlers.on_message {
            Some(on_message) => on_message(conn, message),
            None => Settled::Done,
        });
        match settled {
            Ok(Settled::Later(task)) => return self.suspend(task, env),
            Ok(Settled::Done) => {}
            Ok(Settled::Reply(message)) => self.answer(message, env),
            Ok(Settled::Fail(error)) => self.message_failed(&error, env),
            Err(panic) => self.message_panicked(panic, env),
        }
        self.handling = false;
    }

    /// Calls a callback that may fail or suspend.
    #[inline]
    fn handle(
        &mut self,
        env: &mut Env<'_>,
        f: impl FnOnce(&crate::Handlers<P>, &Connection<P>) -> Settled<P>,
    ) {
        let conn = &self.conn;
        let settled = guard(|| f(&conn.0.service.handlers, conn));
        self.settle(settled, env);
    }

    /// Does what a callback other than that of a message has said.
    #[inline]
    fn settle(&mut self, settled: Result<Settled<P>, String>, env: &mut Env<'_>) {
        match settled {
            Ok(Settled::Done) => {}
            Ok(Settled::Reply(message)) => {
                if let Err(error) = outcome::send(&self.conn, message) {
                    self.fail(&error, CloseReason::Handler, env);
                }
            }
            Ok(Settled::Later(task)) => self.suspend(task, env),
            Ok(Settled::Fail(error)) => self.callback_failed(&error, env),
            Err(panic) => self.callback_panicked(panic, env),
        }
    }

    /// A callback other than that of a message returned an error. A protocol whose answers are made of messages has none to
    /// give for it.
    fn callback_failed(&mut self, error: &Error, env: &mut Env<'_>) {
        if P::ANSWERS {
            self.fail(error, CloseReason::Handler, env);
        } else {
            self.message_failed(error, env);
        }
    }

    fn callback_panicked(&mut self, panic: String, env: &mut Env<'_>) {
        if P::ANSWERS {
            self.panicked(panic, env);
        } else {
            self.message_panicked(panic, env);
        }
    }

    fn suspend(&mut self, task: Suspended<P>, env: &mut Env<'_>) {
        self.task = Some(task);
        self.poll_task(env);
    }

    /// Calls a callback that only watches.
    pub(super) fn call(&mut self, env: &mut Env<'_>, f: impl FnOnce(&crate::Handlers<P>, &Connection<P>)) {
        let conn = &self.conn;
        if let Err(panic) = guard(|| f(&conn.0.service.handlers, conn)) {
            self.panicked(panic, env);
        }
    }

    /// Polls the suspended handler.
    fn poll_task(&mut self, env: &mut Env<'_>) {
        let Some(task) = &mut self.task else { return };
        let mut cx = Context::from_waker(&self.waker);
        let polled = guard(|| task.as_mut().poll(&mut cx));
        match polled {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(Ok(answer))) => {
                dispose(self.task.take());
                match answer {
                    Some(message) if self.handling => self.answer(message, env),
                    Some(message) => self.settle(Ok(Settled::Reply(message)), env),
                    None => {}
                }
            }
            Ok(Poll::Ready(Err(error))) => {
                dispose(self.task.take());
                if self.handling {
                    self.message_failed(&error, env);
                } else {
                    self.callback_failed(&error, env);
                }
            }
            Err(panic) => {
                dispose(self.task.take());
                if self.handling {
                    self.message_panicked(panic, env);
                } else {
                    self.callback_panicked(panic, env);
                }
            }
        }
        self.handling = false;
    }

    pub(super) fn restore_lent(&mut self, io: &mut dyn Io) {
        if std::mem::take(&mut self.lent) {
            if let Some(buffer) = io.reclaim() {
                self.session.refill(buffer);
            }
        }
    }
}
