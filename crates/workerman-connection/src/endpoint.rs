//! One connection on its loop: a session, its callbacks, the layer below, and the order in which things happen.
//!
//! A call runs a *batch*: take what senders outside have queued, decode and handle everything that arrived, then write
//! once. What callbacks ask for is done when they have returned, in order, before that write. The batch itself is in
//! `batch`, what the protocol says in it in `says`, flushing and ending in `finish`; this file makes endpoints, obeys
//! handles and lets the loop in. The phases are the session's, the queue is `shared`'s.

mod batch;
mod quick;
mod says;
mod switch;

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use workerman_event::{Address, Token};
use workerman_protocol::{Goodbye, Outbox, Protocol, Role};

use self::batch::Parked;
pub(crate) use self::switch::{SwitchTo, switch};
use crate::cork::uncork;
use crate::dial::Redial;
use crate::drive::{Drive, Env, Io, Next};
use crate::outcome::Suspended;
use crate::panics::dispose;
use crate::pipe::Forward;
use crate::remote::Remote;
use crate::session::{Expired, Phase, Session, Turn};
use crate::shared::{CLOSED, Core, End, MARKED, SHUT, Shared, Traffic, WISHED, bump, place_of};
use crate::{CloseReason, Connection, Error, Layer, Service, Timeout};

/// A layer and what it holds.
pub(crate) struct Below {
    pub(super) layer: Box<dyn Layer>,
    /// It has been opened.
    begun: bool,
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
    task: Option<Suspended<P>>,
    /// The handler of a message is running or suspended.
    handling: bool,
    parked: Option<Box<Parked<P>>>,
    pub(super) below: Option<Box<Below>>,
    /// What most connections never have.
    pub(super) rare: Option<Box<Rare<P>>>,
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
    /// The protocol is open.
    pub(super) opened: bool,
    /// `on_connect` has been called (and so `on_close` will be).
    pub(super) greeted: bool,
    /// Everything up to the end of the peer's stream has been handled.
    pub(super) end_handled: bool,
    /// The protocol has been told to say goodbye.
    leaving: bool,
    /// A handle has closed the connection while an answer was being made.
    pub(super) closing: bool,
    /// Something was sent that a protocol which writes the answers has not looked at.
    sent: bool,
    /// Bytes came in a lent buffer since the last batch.
    arrived: bool,
    pub(super) announced: bool,
    /// `on_buffer_drain` is due.
    drained: bool,
    pub(super) half_close: bool,
    lent: bool,
}

/// What most connections never have; apart, so that an idle one is small.
pub(super) struct Rare<P: Protocol> {
    pub(super) forward: Option<Box<dyn Forward<P>>>,
    pub(super) redial: Option<Redial>,
    switch: Option<SwitchTo>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A fresh connection of `service`.
pub(crate) fn connection<P: Protocol>(
    service: Arc<Service<P>>,
    remote: Arc<Remote>,
    place: u64,
    peer: Address,
    local: Option<Arc<Address>>,
) -> Connection<P> {
    Connection(Arc::new(Shared {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        place: AtomicU64::new(place),
        flags: AtomicU32::new(Shared::<P>::FIRST),
        outside: AtomicU32::new(0),
        service,
        remote,
        pending: AtomicUsize::new(0),
        traffic: Traffic::default(),
        core: Mutex::new(Core {
            sending: P::Sending::default(),
            out: Outbox::new(),
            counted: 0,
            held: None,
            wishes: None,
            attached: None,
            peer,
            local,
        }),
    }))
}

/// Ends the handle of a connection that will never be up: what was sent is forgotten, nobody waits for ever.
pub(crate) fn abandon<P: Protocol>(shared: &Shared<P>) {
    shared.set(SHUT | CLOSED);
    let counted = {
        let mut core = shared.lock();
        core.out.clear(0);
        std::mem::take(&mut core.counted)
    };
    shared.remote.queued.fetch_sub(counted, Ordering::Relaxed);
    shared.drop_held();
    shared.release();
}

impl<P: Protocol> Endpoint<P> {
    /// The endpoint of a socket that is up.
    pub(crate) fn new(conn: Connection<P>, role: Role, token: Token, now: Instant) -> Self {
        let shared = &conn.0;
        // What may panic comes first: a dial whose endpoint cannot be made is still a dial.
        let protocol = shared.service.make_protocol();
        let below = shared.service.make_layer().map(|layer| {
            let timeout = layer.handshake_timeout().or(shared.service.settings.handshake_timeout);
            Box::new(Below {
                layer,
                begun: false,
                plain_in: BytesMut::new(),
                plain_out: Outbox::new(),
                deadline: timeout.map(|timeout| now + timeout),
                ended: false,
                close_said: false,
            })
        });
        shared.place.store(place_of(token), Ordering::SeqCst);
        shared.clear(MARKED);
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
            handling: false,
            parked: None,
            below,
            rare: None,
            accounted: 0,
            slot,
            ending: Ending::AtFin,
            reading: true,
            paused: false,
            blocked_decode: false,
            blocked_write: false,
            opened: false,
            greeted: false,
            end_handled: false,
            leaving: false,
            closing: false,
            sent: false,
            arrived: false,
            announced: false,
            drained: false,
            half_close: false,
            lent: false,
        }
    }

    pub(crate) fn with_redial(mut self, redial: Redial) -> Self {
        self.rare().redial = Some(redial);
        self
    }

    pub(super) fn rare(&mut self) -> &mut Rare<P> {
        self.rare.get_or_insert_with(|| Box::new(Rare { forward: None, redial: None, switch: None }))
    }

    /// Where messages go in place of `on_message`.
    #[inline]
    pub(super) fn forward(&self) -> Option<&dyn Forward<P>> {
        self.rare.as_ref()?.forward.as_deref()
    }

    /// The dialer of a client that connects again.
    pub(super) fn dialer(&self) -> Option<&Redial> {
        self.rare.as_ref()?.redial.as_ref()
    }

    /// The same, to change it.
    pub(super) fn dialer_mut(&mut self) -> Option<&mut Redial> {
        self.rare.as_mut()?.redial.as_mut()
    }

    /// Whether another protocol is about to take over.
    fn switches(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.switch.is_some())
    }

    fn take_switch(&mut self) -> Option<SwitchTo> {
        self.rare.as_mut()?.switch.take()
    }

    /// Drops what is suspended or parked: the connection is over.
    pub(super) fn drop_work(&mut self) {
        dispose(self.task.take());
        dispose(self.parked.take());
        dispose(self.take_switch());
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
            self.paused = !read || self.closing;
        }
        if let Some(forward) = wishes.forward {
            self.rare().forward = Some(forward);
        }
        if let Some(switch) = wishes.switch {
            self.conn.0.let_go();
            self.rare().switch = Some(switch);
        }
        self.half_close |= wishes.half_close;
        let Some(end) = wishes.end else { return };
        if !matches!(end, End::Abort | End::Panic) {
            // What was sent before is said before.
            self.pump(env);
        }
        if let Some(redial) = self.dialer_mut() {
            redial.cancel();
        }
        match end {
            End::Code(code, text) => self.close_with_code(code, &text, env),
            End::End => {
                self.ending = Ending::AfterLinger;
                self.close_behind_answer(env);
            }
            End::Close if P::ANSWERS => self.close_behind_answer(env),
            End::Close => self.close_with_code(None, "", env),
            End::Abort => self.session.reset(CloseReason::Local),
            End::Panic => {
                env.remote.counters.panics.add(1);
                self.session.reset(CloseReason::Panic);
            }
        }
    }

    /// Closes, behind an answer that has begun: that may take its time, as long as some of it is written now and then.
    fn close_behind_answer(&mut self, env: &Env<'_>) {
        if self.session.is_answering() {
            self.closing = true;
            self.paused = true;
            self.session.stand_until(env.now + self.closing_grace());
        } else {
            self.session.flush_and_close(CloseReason::Local);
        }
    }

    /// How long an answer may stand still that the end of its connection waits for: as long as a body.
    pub(super) fn closing_grace(&self) -> Duration {
        self.conn.0.service.settings.body_timeout.unwrap_or(Duration::from_secs(30))
    }

    fn close_with_code(&mut self, code: Option<u16>, text: &str, env: &mut Env<'_>) {
        if !self.opened {
            // The protocol has not begun: there is nobody to say it to.
            self.session.flush_and_close(CloseReason::Local);
        }
        if self.session.phase() != Phase::Open || std::mem::replace(&mut self.leaving, true) {
            return;
        }
        let goodbye =
            self.ask(env, |session, turn, sending| session.close_with_code(code, text, turn, sending));
        if goodbye != Goodbye::AfterMessage {
            self.conn.0.shut_down();
        }
        self.leave(goodbye, CloseReason::Local, env);
    }

    fn leave(&mut self, goodbye: Goodbye, reason: CloseReason, env: &mut Env<'_>) {
        match goodbye {
            Goodbye::Now => self.session.flush_and_close(reason),
            Goodbye::AfterMessage => {}
            Goodbye::WhenPeerCloses => {
                let timeout = self.conn.0.service.settings.close_timeout;
                self.session.leave_by(env.now + timeout);
            }
        }
    }

    pub(super) fn has_task(&self) -> bool {
        self.task.is_some()
    }

    pub(super) fn set_drained(&mut self) {
        self.drained = true;
    }
}

/// The surroundings of a call of the session.
///
/// `works`: whether the handler of a message does, and whether another message waits for it.
pub(super) fn turn<'a>(env: &'a mut Env<'_>, waker: &'a Waker, works: (bool, bool)) -> Turn<'a> {
    let Env { now, unix_seconds, queued, .. } = *env;
    let (handling, parked) = works;
    Turn { now, unix_seconds, random: env.random, reply: env.reply, queued, waker, handling, parked }
}

impl<P: Protocol> Drive for Endpoint<P> {
    fn opened(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        if let Some(below) = &mut self.below {
            if !std::mem::replace(&mut below.begun, true) {
                if let Err(error) = below.layer.open(env.now, self.session.pending()) {
                    self.fail(&Error::Layer(error), CloseReason::Protocol, env);
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
        self.arrived = true;
        self.batch(None, io, env)
    }

    fn eof(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        self.restore_lent(io);
        if let Some(below) = &mut self.below {
            if !below.ended {
                if let Err(error) = below.layer.eof() {
                    if matches!(self.session.phase(), Phase::Open | Phase::Handshake) {
                        self.fail(&Error::Layer(error), CloseReason::Protocol, env);
                    }
                }
            }
        }
        self.end_of_stream();
        self.batch(None, io, env)
    }

    fn writable(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        self.blocked_write = false;
        self.batch(None, io, env)
    }

    fn stirred(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        if let Some(next) = self.write_queued(io, env) {
            return next;
        }
        self.blocked_decode = false;
        self.batch(None, io, env)
    }

    fn unmark(&self) {
        self.conn.0.clear(MARKED);
    }

    fn expired(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        let settings = &self.conn.0.service.settings;
        let busy = self.busy();
        let handshake = self.below.as_ref().and_then(|below| below.deadline);
        match self.session.expired(env.now, settings, handshake, busy) {
            None => {}
            Some(Expired::Tick) => {
                // What is not read because of us must not look like silence of the peer.
                let handling = self.handling;
                self.handling |= busy;
                let ticked = self.ask_outside(env, Session::tick);
                self.handling = handling;
                if let Err(error) = ticked {
                    self.fail(&Error::Protocol(error.into()), CloseReason::Protocol, env);
                }
            }
            Some(Expired::Timeout(which)) => {
                self.ask_outside(env, |session, turn, sending| session.timeout(which, turn, sending));
                // A handler that waits for the rest of a body waits in vain.
                dispose(self.task.take());
                self.fail(&Error::Timeout(which), CloseReason::Timeout(which), env);
            }
            Some(Expired::Leave) => {
                let reason = self.session.reason();
                self.session.flush_and_close(reason);
            }
            // The batch closes it.
            Some(Expired::Linger) => {}
            Some(Expired::Stalled) => {
                self.fail(&Error::Timeout(Timeout::Write), CloseReason::Timeout(Timeout::Write), env);
                self.session.reset(CloseReason::Timeout(Timeout::Write));
            }
        }
        self.batch(None, io, env)
    }

    fn goodbye(&mut self, until: Instant, io: &mut dyn Io, env: &mut Env<'_>) -> Next {
        if std::mem::replace(&mut self.leaving, true) && self.session.is_alive() {
            // It knows; perhaps it has less time now.
            self.session.leave_by(until);
        } else if self.session.phase() == Phase::Open && self.opened {
            if P::ANSWERS {
                // What was sent before is said before.
                if let Err(error) = self.ask_outside(env, Session::pump) {
                    self.fail(&Error::Protocol(error.into()), CloseReason::Protocol, env);
                }
            }
            let goodbye = self.ask_outside(env, Session::goodbye);
            match goodbye {
                Goodbye::Now if self.task.is_none() && self.parked.is_none() => {
                    self.session.flush_and_close(CloseReason::Shutdown);
                }
                // A handler that is running finishes and answers first.
                Goodbye::Now | Goodbye::AfterMessage => self.session.leave_idle(),
                Goodbye::WhenPeerCloses => {}
            }
            self.session.leave_by(until);
        } else {
            self.session.flush_and_close(CloseReason::Shutdown);
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
        self.rare.as_mut()?.redial.take()
    }
}
