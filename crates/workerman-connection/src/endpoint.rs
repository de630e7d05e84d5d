//! One connection on its loop: a session, its callbacks, the layer below, and the order in which things happen.
//!
//! A call runs a *batch*: take what senders outside have queued, decode and handle everything that arrived, then write
//! once. What callbacks ask for is done when they have returned, in order, before that write. The file knows the
//! order; the phases are the session's, the queue is `shared`'s, the flushing and the ending are in `finish`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::BytesMut;
use workerman_event::{Address, Token};
use workerman_protocol::{Goodbye, Outbox, Protocol, Role};

use crate::cork::{cork, cork_reply, uncork};
use crate::dial::Redial;
use crate::drive::{Drive, Env, Gone, Io, Next};
use crate::layer::Received;
use crate::outcome::Settled;
use crate::panics::{dispose, guard};
use crate::pipe::Forward;
use crate::remote::Remote;
use crate::session::{Expired, Parts, Phase, Session, Step, Turn};
use crate::shared::{
    CROSSED, Core, End, FINISHED, MARKED, NOWHERE, QUEUED, SHUT, Shared, Traffic, WISHED, WOKEN, bump,
    place_of,
};
use crate::waiting::Waiters;
use crate::{CloseReason, Connection, Error, Layer, Service, Timeout};

type Suspended = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

/// Builds the endpoint of the next protocol from what the old one leaves.
pub(crate) type SwitchTo = Box<dyn FnOnce(Legacy) -> Box<dyn Drive> + Send>;

/// What moves from endpoint to endpoint on a live slot.
pub(crate) struct Legacy {
    pub(crate) parts: Parts,
    pub(crate) below: Option<Box<Below>>,
    pub(crate) peer: Address,
    pub(crate) local: Option<Address>,
    pub(crate) role: Role,
    pub(crate) place: u64,
    pub(crate) accounted: usize,
    pub(crate) bytes: (u64, u64),
    pub(crate) reading: bool,
    pub(crate) blocked: bool,
    pub(crate) now: Instant,
}

/// A layer and what it holds.
pub(crate) struct Below {
    pub(super) layer: Box<dyn Layer>,
    /// Plain bytes for the protocol.
    plain_in: BytesMut,
    /// Plain bytes that wait for the handshake.
    pub(super) plain_out: Outbox,
    /// When the handshake must be done.
    pub(super) deadline: Option<Instant>,
    /// The plain stream has ended.
    ended: bool,
    pub(super) close_said: bool,
}

/// Something decoded that waits for a suspended handler.
enum Parked<P: Protocol> {
    Message(P::Incoming),
    Event(P::Event),
    End,
    Failed(Error, CloseReason),
}

/// How the connection ends once the queue is empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// `on_close` when FIN is sent.
    AtFin,
    /// `on_close` when the peer has ended too, or the linger time is over.
    AfterLinger,
}

pub(crate) struct Endpoint<P: Protocol> {
    pub(super) session: Session<P>,
    pub(super) conn: Connection<P>,
    /// The connection as the waker of its suspended handler.
    waker: Waker,
    task: Option<Suspended>,
    parked: Option<Box<Parked<P>>>,
    pub(super) below: Option<Box<Below>>,
    pub(super) forward: Option<Box<dyn Forward<P>>>,
    pub(super) redial: Option<Redial>,
    switch: Option<SwitchTo>,
    /// Our bytes in the loop's total.
    pub(super) accounted: usize,
    pub(super) slot: u32,
    pub(super) ending: Ending,
    /// What the backend was told last.
    reading: bool,
    paused: bool,
    /// The decoder waits for the application.
    blocked_decode: bool,
    /// The system took less than everything: wait for `writable`.
    pub(super) blocked_write: bool,
    /// `on_connect` has been called (and so `on_close` will be).
    pub(super) opened: bool,
    pub(super) announced: bool,
    /// `on_buffer_drain` is due.
    drained: bool,
    pub(super) half_close: bool,
    lent: bool,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A fresh connection of `service`.
pub(crate) fn connection<P: Protocol>(
    service: Arc<Service<P>>,
    remote: Arc<Remote>,
    place: u64,
    peer: Address,
    local: Option<Address>,
) -> Connection<P> {
    Connection(Arc::new(Shared {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        place: AtomicU64::new(place),
        flags: AtomicU32::new(0),
        service,
        remote,
        pending: AtomicUsize::new(0),
        traffic: Traffic::default(),
        core: Mutex::new(Core {
            sending: P::Sending::default(),
            out: Outbox::new(),
            counted: 0,
            wishes: None,
            waiters: Waiters::default(),
            extensions: None,
            peer,
            local,
        }),
    }))
}

/// The next connection on the slot of `old`, and what makes its endpoint when the time has come.
pub(crate) fn switch<P: Protocol, Q: Protocol>(
    old: &Arc<Shared<P>>,
    protocol: Q,
    service: Arc<Service<Q>>,
) -> (Connection<Q>, SwitchTo) {
    let (peer, local) = {
        let core = old.lock();
        (core.peer.clone(), core.local.clone())
    };
    // Its sends are kept until the switch: the place is set then.
    let conn = connection(service, Arc::clone(&old.remote), NOWHERE, peer, local);
    let next = conn.clone();
    let switch: SwitchTo = Box::new(move |legacy| {
        let slot = (legacy.place >> 32) as u32;
        let layered = legacy.below.is_some();
        let mut endpoint = Endpoint::on(conn, protocol, legacy.role, legacy.below, slot, legacy.now);
        if layered {
            endpoint.session = endpoint.session.established();
        }
        endpoint.session.adopt(legacy.parts);
        endpoint.accounted = legacy.accounted;
        endpoint.reading = legacy.reading;
        endpoint.blocked_write = legacy.blocked;
        let shared = &endpoint.conn.0;
        {
            let mut core = shared.lock();
            core.peer = legacy.peer;
            core.local = legacy.local;
        }
        shared.pending.store(endpoint.session.pending_len(), Ordering::Relaxed);
        shared.traffic.bytes_in.store(legacy.bytes.0, Ordering::Relaxed);
        shared.traffic.bytes_out.store(legacy.bytes.1, Ordering::Relaxed);
        shared.place.store(legacy.place, Ordering::SeqCst);
        shared.clear(MARKED);
        Box::new(endpoint)
    });
    (next, switch)
}

impl<P: Protocol> Endpoint<P> {
    /// The endpoint of a socket that is up.
    pub(crate) fn new(conn: Connection<P>, role: Role, token: Token, now: Instant) -> Self {
        let shared = &conn.0;
        shared.place.store(place_of(token), Ordering::SeqCst);
        shared.clear(MARKED);
        let protocol = shared.service.make_protocol();
        let below = shared.service.make_layer().map(|layer| {
            let timeout = layer.handshake_timeout().or(shared.service.settings.handshake_timeout);
            Box::new(Below {
                layer,
                plain_in: BytesMut::new(),
                plain_out: Outbox::new(),
                deadline: timeout.map(|timeout| now + timeout),
                ended: false,
                close_said: false,
            })
        });
        Self::on(conn, protocol, role, below, token.slot() as u32, now)
    }

    fn on(
        conn: Connection<P>,
        protocol: P,
        role: Role,
        below: Option<Box<Below>>,
        slot: u32,
        now: Instant,
    ) -> Self {
        conn.0.service.register(&conn.0.remote, slot as usize, conn.clone());
        Self {
            session: Session::new(protocol, role, below.is_some(), now),
            waker: Waker::from(Arc::clone(&conn.0)),
            conn,
            task: None,
            parked: None,
            below,
            forward: None,
            redial: None,
            switch: None,
            accounted: 0,
            slot,
            ending: Ending::AtFin,
            reading: true,
            paused: false,
            blocked_decode: false,
            blocked_write: false,
            opened: false,
            announced: false,
            drained: false,
            half_close: false,
            lent: false,
        }
    }

    pub(crate) fn with_redial(mut self, redial: Redial) -> Self {
        self.redial = Some(redial);
        self
    }

    /// One batch, with what arrived, if something did.
    fn batch(&mut self, mut data: Option<&mut BytesMut>, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        let mut next = Next::default();
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
        // A drain inside may let more be decoded: a second round at once, further ones in later turns.
        let mut need = None;
        for round in 0..2 {
            next.again = false;
            let opens = self.open_when_established(env);
            self.take_outside(env);
            cork(self.conn.0.id, self.session.pending_len() + self.plain_waiting());
            if opens && self.session.phase() == Phase::Open {
                self.handle(env, |handlers, conn| match &handlers.on_connect {
                    Some(on_connect) => on_connect(conn),
                    None => Settled::Done,
                });
            }
            if std::mem::take(&mut self.drained) {
                self.call(env, |handlers, conn| {
                    if let Some(on_buffer_drain) = &handlers.on_buffer_drain {
                        on_buffer_drain(conn);
                    }
                });
            }
            need = self.decode_all(env, &mut next);
            let crossed = self.conn.0.flags() & CROSSED != 0;
            if self.session.fills(
                self.session.pending_len() + self.plain_waiting(),
                crossed,
                &self.conn.0.service.settings,
            ) {
                self.call(env, |handlers, conn| {
                    if let Some(on_buffer_full) = &handlers.on_buffer_full {
                        on_buffer_full(conn);
                    }
                });
                self.obey(env);
            }
            let sent = uncork(env.out);
            if sent.messages > 0 {
                let messages_out = &self.conn.0.traffic.messages_out;
                // Senders outside write this counter too.
                messages_out.fetch_add(sent.messages, Ordering::Relaxed);
                env.remote.counters.messages_out.add_shared(sent.messages);
            }
            if sent.refused > 0 {
                env.remote.counters.send_failures.add_shared(sent.refused);
            }
            self.flush(io, env, &mut next);
            if next.gone != Gone::No || !self.drained {
                break;
            }
            if round == 1 {
                next.again = true;
            }
        }
        self.rest(data, need, io, env, &mut next);
        next
    }

    /// Puts the socket into the state that fits: what to read, into which buffer, until when.
    fn rest(
        &mut self,
        data: Option<&mut BytesMut>,
        need: Option<usize>,
        io: &mut dyn Io,
        env: &mut Env<'_>,
        next: &mut Next,
    ) {
        if next.gone != Gone::No || next.switch.is_some() {
            if let Some(data) = data {
                // Whatever is left is nobody's; a switch has taken its bytes along.
                data.clear();
            }
            return;
        }
        let settings = &self.conn.0.service.settings;
        let waiting = self.waiting() || next.again;
        let need = need.filter(|_| !waiting && self.below.is_none());
        if let Some(buffer) = self.session.settle(data, need, env.now) {
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
        if self.conn.0.flags() & (WISHED | QUEUED) != 0 {
            next.again = true;
        }
        let busy = self.task.is_some() || self.paused;
        let handshake = self.below.as_ref().and_then(|below| below.deadline);
        next.deadline = self.session.deadline(settings, handshake, busy);
    }

    /// Whether decoded or undecoded input waits for something of ours.
    fn waiting(&self) -> bool {
        self.task.is_some() || self.blocked_decode || self.session.is_full() || self.parked.is_some()
    }

    /// Moves what senders outside have queued behind what waits already.
    pub(super) fn take_outside(&mut self, env: &mut Env<'_>) {
        let shared = &self.conn.0;
        // A connection that takes nothing any more is always looked at: a sender that won against `SHUT` may be under
        // the lock still, and after this look there can be none.
        if shared.flags() & (QUEUED | SHUT) == 0 {
            return;
        }
        let mut core = shared.lock();
        shared.clear(QUEUED);
        self.accounted += std::mem::take(&mut core.counted);
        let out = match &mut self.below {
            Some(below) => &mut below.plain_out,
            None => self.session.pending(),
        };
        out.append(&mut core.out);
        core.out.clear(0);
        // Still under the lock: nobody sees these bytes on neither side, or on both.
        let queued = self.session.pending_len() + self.plain_waiting();
        self.conn.0.pending.store(queued, Ordering::Relaxed);
        drop(core);
        let _ = env;
    }

    pub(super) fn plain_waiting(&self) -> usize {
        self.below.as_ref().map_or(0, |below| below.plain_out.len())
    }

    /// Wire bytes through the layer.
    fn unwrap_layer(&mut self, data: &mut BytesMut, env: &mut Env<'_>) {
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
                self.session.end_of_stream();
            }
            Err(error) => self.fail(Error::Layer(error), CloseReason::Protocol, env),
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
        let opened = self.session.open(&mut turn(env, &self.waker), &*self.conn.0);
        self.reply_outside(env);
        if let Err(error) = opened {
            self.fail(Error::Protocol(error.into()), CloseReason::Protocol, env);
        }
        true
    }

    /// Decodes and handles until nothing more can be done in this turn. Returns what the decoder needs.
    fn decode_all(&mut self, env: &mut Env<'_>, next: &mut Next) -> Option<usize> {
        let mut messages = 0;
        let need = self.decode_some(env, next, &mut messages);
        if messages > 0 {
            bump(&self.conn.0.traffic.messages_in, messages);
            env.remote.counters.messages_in.add(messages);
        }
        need
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
            if self.conn.0.flags.load(Ordering::Acquire) & (WISHED | CROSSED | FINISHED) != 0 {
                self.obey(env);
                if self.conn.0.flags() & (CROSSED | FINISHED) != 0 {
                    return None;
                }
            }
            if self.session.phase() != Phase::Open
                || self.switch.is_some()
                || self.paused
                || self.session.is_full()
            {
                return None;
            }
            if self.task.is_some() && self.parked.is_some() {
                return None;
            }
            if self.task.is_none() {
                if *messages >= budget {
                    next.again = true;
                    return None;
                }
                if let Some(parked) = self.parked.take() {
                    self.unpark(*parked, messages, env);
                    continue;
                }
                if self.session.leaves_now() {
                    self.session.flush_and_close(CloseReason::Shutdown, env.now);
                    return None;
                }
            }
            let step = self.session.next(&mut turn(env, &self.waker), &*self.conn.0);
            if !env.reply.is_empty() || env.reply.is_finished() {
                self.reply(env);
            }
            let parked = match step {
                Step::Message(message) if self.task.is_none() => {
                    *messages += 1;
                    self.message(message, env);
                    continue;
                }
                Step::Need(more) => {
                    self.blocked_decode = false;
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

    fn unpark(&mut self, parked: Parked<P>, messages: &mut u64, env: &mut Env<'_>) {
        match parked {
            Parked::Message(message) => {
                *messages += 1;
                self.message(message, env);
            }
            Parked::Event(event) => self.handle(env, |handlers, conn| match &handlers.on_event {
                Some(on_event) => on_event(conn, event),
                None => Settled::Done,
            }),
            Parked::End => self.peer_ended(env),
            Parked::Failed(error, reason) => self.fail(error, reason, env),
        }
    }

    /// Everything that the peer sent has been handled, and nothing more will come.
    fn peer_ended(&mut self, env: &mut Env<'_>) {
        match &self.forward {
            // One direction of a pipe: the other goes on until it ends as well.
            Some(forward) if !self.session.is_half_closed() => {
                forward.ended();
                self.paused = true;
            }
            _ => self.session.flush_and_close(CloseReason::PeerClosed, env.now),
        }
    }

    #[inline]
    fn message(&mut self, message: P::Incoming, env: &mut Env<'_>) {
        if let Some(forward) = &self.forward {
            let settled = guard(|| forward.message(&self.conn, message));
            self.settle(settled, env);
            return;
        }
        self.handle(env, |handlers, conn| match &handlers.on_message {
            Some(on_message) => on_message(conn, message),
            None => Settled::Done,
        });
    }

    /// Calls a callback that may fail or suspend.
    #[inline]
    fn handle(&mut self, env: &mut Env<'_>, f: impl FnOnce(&crate::Handlers<P>, &Connection<P>) -> Settled) {
        let conn = &self.conn;
        let settled = guard(|| f(&conn.0.service.handlers, conn));
        self.settle(settled, env);
    }

    #[inline]
    fn settle(&mut self, settled: Result<Settled, String>, env: &mut Env<'_>) {
        match settled {
            Ok(Settled::Done) => {}
            Ok(Settled::Later(task)) => {
                self.task = Some(task);
                self.poll_task(env);
            }
            Ok(Settled::Fail(error)) => self.fail(error, CloseReason::Handler, env),
            Err(panic) => self.panicked(panic, env),
        }
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
            Ok(Poll::Ready(Ok(()))) => dispose(self.task.take()),
            Ok(Poll::Ready(Err(error))) => {
                dispose(self.task.take());
                let reason = match error {
                    Error::Reply(_) => CloseReason::Limit,
                    _ => CloseReason::Handler,
                };
                self.fail(error, reason, env);
            }
            Err(panic) => {
                dispose(self.task.take());
                self.panicked(panic, env);
            }
        }
    }

    /// Drops what is suspended or parked: the connection is over.
    pub(super) fn drop_work(&mut self) {
        dispose(self.task.take());
        dispose(self.parked.take());
        dispose(self.switch.take());
    }

    /// Queues the protocol's own reply, in order with the application's messages.
    pub(super) fn reply(&mut self, env: &mut Env<'_>) {
        if env.reply.is_empty() && !env.reply.is_finished() {
            return;
        }
        if env.reply.is_finished() {
            self.conn.0.set(SHUT | FINISHED);
        }
        if Shared::<P>::STATELESS {
            cork_reply(env.reply);
        } else {
            let mut core = self.conn.0.lock();
            core.out.append(env.reply);
            drop(core);
            self.conn.0.set(QUEUED);
        }
        env.reply.clear(4096);
    }

    /// Does what handles have wished, in the order of strength.
    pub(super) fn obey(&mut self, env: &mut Env<'_>) {
        let shared = &self.conn.0;
        if shared.flags() & WISHED == 0 {
            return;
        }
        shared.clear(WISHED);
        let Some(wishes) = shared.lock().wishes.take() else { return };
        if let Some(read) = wishes.read {
            self.paused = !read;
        }
        if let Some(forward) = wishes.forward {
            self.forward = Some(forward);
        }
        if let Some(switch) = wishes.switch {
            self.switch = Some(switch);
        }
        self.half_close |= wishes.half_close;
        match wishes.end {
            None => {}
            Some(End::Code(code, text)) => {
                let goodbye =
                    self.session.close_with_code(code, &text, &mut turn(env, &self.waker), &*self.conn.0);
                self.reply(env);
                self.conn.0.set(SHUT);
                self.leave(goodbye, CloseReason::Local, env);
            }
            Some(End::End) => {
                self.ending = Ending::AfterLinger;
                self.session.flush_and_close(CloseReason::Local, env.now);
            }
            Some(End::Close) => self.session.flush_and_close(CloseReason::Local, env.now),
            Some(End::Abort) => self.session.closed(CloseReason::Local),
            Some(End::Panic) => {
                env.remote.counters.panics.add(1);
                self.session.closed(CloseReason::Panic);
            }
        }
    }

    fn leave(&mut self, goodbye: Goodbye, reason: CloseReason, env: &mut Env<'_>) {
        match goodbye {
            Goodbye::Now => self.session.flush_and_close(reason, env.now),
            Goodbye::AfterMessage => {}
            Goodbye::WhenPeerCloses => {
                let timeout = self.conn.0.service.settings.close_timeout;
                self.session.leave_by(env.now + timeout);
            }
        }
    }

    /// Hands the slot to the next protocol, if that is wished and nothing of this one is still running.
    pub(super) fn switch_now(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Option<Box<dyn Drive>> {
        if self.task.is_some() || self.session.phase() != Phase::Open {
            return None;
        }
        let switch = self.switch.take()?;
        if self.lent {
            self.lent = false;
            if let Some(buffer) = io.reclaim() {
                self.session.refill(buffer);
            }
        }
        let shared = Arc::clone(&self.conn.0);
        let role = self.session.role();
        let placeholder = Session::new(shared.service.make_protocol(), role, false, env.now);
        let session = std::mem::replace(&mut self.session, placeholder);
        shared.service.unregister(&shared.remote, self.slot as usize);
        self.announced = true;
        let (peer, local) = {
            let core = shared.lock();
            (core.peer.clone(), core.local.clone())
        };
        let legacy = Legacy {
            parts: session.into_parts(),
            below: self.below.take(),
            peer,
            local,
            role,
            place: shared.place.swap(NOWHERE, Ordering::SeqCst),
            accounted: std::mem::take(&mut self.accounted),
            bytes: (
                shared.traffic.bytes_in.load(Ordering::Relaxed),
                shared.traffic.bytes_out.load(Ordering::Relaxed),
            ),
            reading: self.reading,
            blocked: self.blocked_write,
            now: env.now,
        };
        shared.set(crate::shared::CLOSED);
        shared.release();
        self.session.closed(CloseReason::Local);
        Some(switch(legacy))
    }

    pub(super) fn has_task(&self) -> bool {
        self.task.is_some()
    }

    pub(super) fn set_drained(&mut self) {
        self.drained = true;
    }

    fn restore_lent(&mut self, io: &mut dyn Io) {
        if std::mem::take(&mut self.lent) {
            if let Some(buffer) = io.reclaim() {
                self.session.refill(buffer);
            }
        }
    }
}

/// The surroundings of a call of the session.
pub(super) fn turn<'a>(env: &'a mut Env<'_>, waker: &'a Waker) -> Turn<'a> {
    Turn { now: env.now, unix_seconds: env.unix_seconds, random: env.random, reply: env.reply, waker }
}

impl<P: Protocol> Drive for Endpoint<P> {
    fn opened(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        if let Some(below) = &mut self.below {
            if !below.layer.is_established() {
                if let Err(error) = below.layer.open(env.now, self.session.pending()) {
                    self.fail(Error::Layer(error), CloseReason::Protocol, env);
                }
            }
        }
        self.batch(None, io, env)
    }

    fn data(&mut self, data: &mut BytesMut, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        self.batch(Some(data), io, env)
    }

    fn filled(&mut self, buffer: Vec<u8>, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        self.lent = false;
        let before = self.session.lent_len();
        let arrived = buffer.len().saturating_sub(before) as u64;
        bump(&self.conn.0.traffic.bytes_in, arrived);
        env.remote.counters.bytes_in.add(arrived);
        self.session.refill(buffer);
        self.batch(None, io, env)
    }

    fn eof(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        self.restore_lent(io);
        if let Some(below) = &mut self.below {
            if !below.ended {
                if let Err(error) = below.layer.eof() {
                    if matches!(self.session.phase(), Phase::Open | Phase::Handshake) {
                        self.fail(Error::Layer(error), CloseReason::Protocol, env);
                    }
                }
            }
        }
        self.session.end_of_stream();
        self.batch(None, io, env)
    }

    fn writable(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        self.blocked_write = false;
        self.batch(None, io, env)
    }

    fn stirred(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        self.blocked_decode = false;
        self.batch(None, io, env)
    }

    fn unmark(&self) {
        self.conn.0.clear(MARKED);
    }

    fn expired(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        let settings = &self.conn.0.service.settings;
        let busy = self.task.is_some() || self.paused;
        let handshake = self.below.as_ref().and_then(|below| below.deadline);
        match self.session.expired(env.now, settings, handshake, busy) {
            None => {}
            Some(Expired::Tick) => {
                let ticked = self.session.tick(&mut turn(env, &self.waker), &*self.conn.0);
                self.reply_outside(env);
                if let Err(error) = ticked {
                    self.fail(Error::Protocol(error.into()), CloseReason::Protocol, env);
                }
            }
            Some(Expired::Timeout(which)) => {
                self.session.timeout(which, &mut turn(env, &self.waker), &*self.conn.0);
                self.reply_outside(env);
                self.fail(Error::Timeout(which), CloseReason::Timeout(which), env);
            }
            Some(Expired::Leave) => {
                let reason = self.session.reason();
                self.session.flush_and_close(reason, env.now);
            }
            Some(Expired::Linger) => self.session.closed(CloseReason::Local),
            Some(Expired::Stalled) => {
                self.fail(Error::Timeout(Timeout::Write), CloseReason::Timeout(Timeout::Write), env);
                self.session.closed(CloseReason::Timeout(Timeout::Write));
            }
        }
        self.batch(None, io, env)
    }

    fn goodbye(&mut self, until: Instant, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        if self.session.phase() == Phase::Open && self.opened {
            let goodbye = self.session.goodbye(&mut turn(env, &self.waker), &*self.conn.0);
            self.reply_outside(env);
            match goodbye {
                Goodbye::Now if self.task.is_none() && self.parked.is_none() => {
                    self.session.flush_and_close(CloseReason::Shutdown, env.now);
                }
                // A handler that is running finishes and answers first.
                Goodbye::Now | Goodbye::AfterMessage => self.session.leave_idle(),
                Goodbye::WhenPeerCloses => {}
            }
            self.session.leave_by(until);
        } else {
            self.session.flush_and_close(CloseReason::Shutdown, env.now);
        }
        self.batch(None, io, env)
    }

    fn failed(&mut self, why: io::Error, env: &mut Env<'_>) {
        self.broke(why, env);
    }

    fn cut(&mut self, reason: CloseReason, env: &mut Env<'_>) {
        self.session.closed(reason);
        self.bury(env);
    }

    fn crashed(&mut self, panic: String, env: &mut Env<'_>) {
        // Whatever the batch has said so far is lost, wherever it is.
        env.out.clear(0);
        let _ = uncork(env.out);
        env.out.clear(0);
        env.reply.clear(0);
        self.panicked(panic, env);
        self.session.closed(CloseReason::Panic);
        self.bury(env);
    }

    fn redial(&mut self) -> Option<Redial> {
        self.redial.take()
    }
}
