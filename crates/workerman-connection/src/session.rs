//! The pure core of a connection: bytes in, messages out, what waits to be written, life cycle and deadlines.
//!
//! ```text
//!                    established            close, end, error, peer's end
//!   Handshake ───────────────────► Open ──────────────────────────────────► Flushing
//!       │  (only with a layer)      │                                          │ queue empty
//!       │                           │ reset, abort, write stall                ▼
//!       └────────── failure ────────┼──────────────────────────────────►  FIN sent: Lingering
//!                                   ▼                                          │ peer's end, or time
//!                                 Closed ◄──────────────────────────────────────┘
//! ```
//! Only this file changes the phase; how input is kept and decoded is in `input`, what the protocol says besides is in
//! `output`. It does no input or output, calls no handler, takes no lock and reads no clock: who drives it passes the
//! time in and does what it says. In `Flushing` and `Lingering` what the peer sends is read and thrown away: a socket that
//! is closed with unread input resets the peer out of its last answer.

#[cfg(all(test, feature = "text"))]
mod delimited_tests;
mod input;
mod output;
#[cfg(test)]
mod tests;

use std::task::Waker;
use std::time::Instant;

use bytes::BytesMut;
use workerman_protocol::{Context, Deadline, Farewell, Outbox, Protocol, Random, Role, SendingHalf};

pub use self::input::{Parts, Step};

use crate::settings::Settings;
use crate::{CloseReason, Timeout};

/// What surrounds one call of a session: time, chance, a place for the protocol's replies.
pub struct Turn<'a> {
    /// The time of the turn.
    pub now: Instant,
    /// The wall clock in seconds since 1970.
    pub unix_seconds: u64,
    /// The random source of the loop.
    pub random: &'a mut Random,
    /// Where the protocol's own replies go; the caller queues them in order with the application's messages.
    pub reply: &'a mut Outbox,
    /// Bytes that waited for the peer before there was anything in `reply`.
    pub queued: usize,
    /// Wakes the connection.
    pub waker: &'a Waker,
    /// The handler of a message is at work.
    pub handling: bool,
    /// One more message was decoded, and waits for that handler.
    pub parked: bool,
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The layer below shakes hands; the protocol is not open yet.
    Handshake,
    /// Messages flow.
    Open,
    /// No more messages: what is queued is written, then the write side is closed.
    Flushing,
    /// The write side is closed; input is thrown away until the peer ends or the time is over.
    Lingering {
        /// When to give up.
        until: Instant,
    },
    /// Over.
    Closed,
}

/// A [`Phase`] without its instant, which takes half the connection's other state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Handshake,
    Open,
    Flushing,
    Lingering,
    Closed,
}

/// What has to happen because time has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expired {
    /// A deadline of the protocol: say the last words, then flush and close.
    Timeout(Timeout),
    /// The peer took nothing for too long: reset.
    Stalled,
    /// The linger is over: close.
    Linger,
    /// The peer has not ended in time after this side said goodbye: flush and close.
    Leave,
    /// The protocol wants its tick.
    Tick,
}

/// The pure core of one connection.
pub struct Session<P: Protocol> {
    protocol: P,
    /// Received and not decoded.
    input: BytesMut,
    /// Taken from senders and not taken by the system; wire bytes if there is a layer.
    pending: Outbox,
    /// When the running protocol deadline began; in [`Stage::Lingering`] when to give up.
    since: Instant,
    /// What most connections do without.
    times: Option<Box<Times>>,
    stage: Stage,
    role: Role,
    running: Deadline,
    /// No protocol deadline ran after the last batch.
    rested: bool,
    /// The peer has sent FIN.
    ended: bool,
    /// The end is a reset.
    aborts: bool,
    /// FIN has been sent while the phase is still `Open` (one direction of a pipe has ended).
    half_closed: bool,
    /// Over the high-water mark, and told so.
    full: bool,
    /// End when no message is in progress.
    leaving: bool,
}

/// Instants and other things that most connections do without most of the time; apart, so that an idle one is small.
#[derive(Default)]
struct Times {
    /// Since when the system has taken nothing although something is pending; `None` while it takes everything.
    stalled: Option<Instant>,
    /// When the protocol wants its tick.
    tick: Option<Instant>,
    /// When to end although the peer has not.
    leave_by: Option<Instant>,
    /// Until when an answer may stand still that the end waits for.
    stands_until: Option<Instant>,
    /// When a linger ends, whatever arrives.
    lingers_until: Option<Instant>,
    /// How much was in the buffer that was lent last.
    lent: usize,
    /// Why it ends, once it does.
    reason: Option<CloseReason>,
}

impl<P: Protocol> Session<P> {
    /// A session of a connection that is up (or whose layer is about to shake hands).
    pub fn new(protocol: P, role: Role, layered: bool, now: Instant) -> Self {
        Self {
            protocol,
            input: BytesMut::new(),
            pending: Outbox::new(),
            since: now,
            times: None,
            stage: if layered { Stage::Handshake } else { Stage::Open },
            role,
            running: if layered { Deadline::Handshake } else { Deadline::None },
            rested: false,
            ended: false,
            aborts: false,
            half_closed: false,
            full: false,
            leaving: false,
        }
    }

    /// Where the connection is in its life.
    #[inline]
    pub fn phase(&self) -> Phase {
        match self.stage {
            Stage::Handshake => Phase::Handshake,
            Stage::Open => Phase::Open,
            Stage::Flushing => Phase::Flushing,
            Stage::Lingering => Phase::Lingering { until: self.since },
            Stage::Closed => Phase::Closed,
        }
    }

    /// Why it ends or ended; meaningful after [`Phase::Open`].
    pub fn reason(&self) -> CloseReason {
        self.times.as_ref().and_then(|times| times.reason.clone()).unwrap_or(CloseReason::Local)
    }

    /// What the protocol says about the end.
    pub fn farewell(&self) -> Option<Farewell> {
        self.protocol.farewell()
    }

    /// Which side this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How many bytes were in the buffer that was lent last.
    pub fn lent_len(&self) -> usize {
        self.times.as_ref().map_or(0, |times| times.lent)
    }

    /// The handshake of the layer is complete already.
    #[must_use]
    pub fn established(mut self) -> Self {
        self.stage = Stage::Open;
        self.running = Deadline::None;
        self
    }

    /// [Ends](Self::leaves_now) as soon as no message is in progress.
    pub fn leave_idle(&mut self) {
        self.leaving = true;
    }

    /// Whether the peer has ended its stream.
    pub fn peer_ended(&self) -> bool {
        self.ended
    }

    /// Whether the peer has ended its stream, and all of it has been decoded.
    fn has_ended(&self) -> bool {
        self.ended && self.input.is_empty()
    }

    /// Number of received bytes that are not decoded.
    pub fn undecoded(&self) -> usize {
        self.input.len()
    }

    /// What waits to be written.
    pub fn pending(&mut self) -> &mut Outbox {
        &mut self.pending
    }

    /// Number of bytes that wait to be written.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Whether it is open, and nothing waits: no input, no output, no end.
    pub fn is_quiet(&self) -> bool {
        self.stage == Stage::Open
            && self.input.is_empty()
            && self.pending.is_empty()
            && !(self.full || self.ended || self.leaving)
    }

    fn context<'a>(
        role: Role,
        ended: bool,
        turn: &'a mut Turn<'_>,
        sending: &'a dyn SendingHalf<P::Sending>,
    ) -> Context<'a, P> {
        Context::new(turn.now, turn.unix_seconds, role, turn.random, turn.reply, sending, turn.waker)
            .with_queued(turn.queued)
            .with_handling(turn.handling)
            .with_parked(turn.parked)
            .with_ended(ended)
    }

    /// Opens the protocol: the connection, and the layer if there is one, is up.
    ///
    /// # Errors
    /// What the protocol's `open` or first `tick` says.
    pub fn open(
        &mut self,
        turn: &mut Turn<'_>,
        sending: &dyn SendingHalf<P::Sending>,
    ) -> Result<(), P::Error> {
        if self.stage == Stage::Handshake {
            self.stage = Stage::Open;
        }
        let mut cx = Self::context(self.role, self.has_ended(), turn, sending);
        self.protocol.open(&mut cx)?;
        let tick = self.protocol.tick(&mut cx)?;
        self.set_tick(tick);
        self.running = self.protocol.deadline();
        self.since = turn.now;
        Ok(())
    }

    /// Begins to end: no more messages; what is queued goes out first, unless the peer would take that for all there
    /// is and be wrong. Does nothing if it ends already.
    pub fn flush_and_close(&mut self, reason: CloseReason) {
        if self.is_alive() && self.protocol.breaks_off() {
            self.reset(reason);
        } else if self.is_alive() {
            self.stage = Stage::Flushing;
            self.set_reason(reason);
            self.input = BytesMut::new();
        }
    }

    /// Everything is written and FIN is sent.
    pub fn lingers(&mut self, settings: &Settings, now: Instant) {
        if self.stage == Stage::Flushing {
            self.stage = Stage::Lingering;
            self.since = now + settings.linger;
        }
    }

    /// Bytes have arrived after the end: the peer is still sending, and has not read the last words (RFC 9112 section 9.6).
    pub fn lingers_on(&mut self, settings: &Settings, now: Instant) {
        if self.stage != Stage::Lingering {
            return;
        }
        // Most peers say nothing here: what bounds it is noted when one does.
        let longest = settings.linger_limit.saturating_sub(settings.linger);
        let until = self.since + longest;
        let limit = *self.times.get_or_insert_default().lingers_until.get_or_insert(until);
        self.since = self.since.max(limit.min(now + settings.linger));
    }

    /// Over, at once. Keeps the reason of an end that had begun.
    pub fn closed(&mut self, reason: CloseReason) {
        let reason = if self.is_alive() { reason } else { self.reason() };
        self.stage = Stage::Closed;
        self.times = None;
        self.set_reason(reason);
        self.input = BytesMut::new();
        self.pending = Outbox::new();
    }

    /// As [`closed`](Self::closed), and the peer is to see a reset: what was queued for it is lost.
    pub fn reset(&mut self, reason: CloseReason) {
        self.aborts |= self.stage != Stage::Closed;
        self.closed(reason);
    }

    /// Whether the socket is to be reset rather than closed.
    pub fn aborts(&self) -> bool {
        self.aborts
    }

    /// Whether the connection is up and has not begun to end.
    pub fn is_alive(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Handshake)
    }

    /// FIN was sent in one direction only; messages of the peer still come.
    pub fn half_close(&mut self) {
        self.half_closed = true;
    }

    /// Whether [`half_close`](Self::half_close) was called.
    pub fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// Ends at `at` if the peer has not ended before; an earlier instant stays.
    pub fn leave_by(&mut self, at: Instant) {
        let by = &mut self.times.get_or_insert_default().leave_by;
        *by = Some(by.map_or(at, |by| by.min(at)));
    }

    /// Ends at `at` if nothing of the answer that the end waits for is written until then.
    pub fn stand_until(&mut self, at: Instant) {
        self.times.get_or_insert_default().stands_until = Some(at);
    }

    /// Whether the connection ends as soon as no message is in progress, and none is.
    pub fn leaves_now(&self) -> bool {
        self.leaving
            && self.stage == Stage::Open
            && self.input.is_empty()
            && matches!(self.protocol.deadline(), Deadline::Idle)
    }

    /// The system was offered what is pending and took `taken` bytes of it, and not everything if something is left.
    pub fn wrote(&mut self, taken: usize, now: Instant) {
        if self.pending.is_empty() {
            if let Some(times) = &mut self.times {
                times.stalled = None;
                let (waits, reason) = ((times.tick, times.leave_by, times.stands_until), &times.reason);
                if matches!((waits, reason), ((None, None, None), None)) {
                    self.times = None;
                }
            }
            return;
        }
        let stalled = &mut self.times.get_or_insert_default().stalled;
        if taken > 0 || stalled.is_none() {
            *stalled = Some(now);
        }
    }

    /// Notes why it ends.
    fn set_reason(&mut self, reason: CloseReason) {
        self.times.get_or_insert_default().reason = Some(reason);
    }

    fn set_tick(&mut self, tick: Option<Instant>) {
        if tick.is_some() || self.times.is_some() {
            self.times.get_or_insert_default().tick = tick;
        }
    }

    fn write_deadline(&self, settings: &Settings) -> Option<Instant> {
        Some(self.times.as_ref()?.stalled? + settings.write_timeout?)
    }

    /// When the deadline of the protocol passes, if one runs.
    fn protocol_deadline(&self, settings: &Settings, busy: bool) -> Option<Instant> {
        // The application's decision belongs to a handshake.
        let waits = busy || self.ended;
        if (waits && self.running != Deadline::Handshake) || self.rests() {
            return None;
        }
        Some(self.since + settings.duration(self.running)?)
    }

    /// A peer that is still taking an answer is not idle; whether it takes enough is the write deadline's matter.
    fn rests(&self) -> bool {
        self.running == Deadline::Idle && !self.pending.is_empty()
    }

    /// Compares what is queued with the high-water mark; `true` once when it is reached.
    ///
    /// `crossed`: a sender has been told so, even if the queue was written meanwhile.
    pub fn fills(&mut self, queued: usize, crossed: bool, settings: &Settings) -> bool {
        let fills = !self.full && (crossed || queued >= settings.high_water);
        self.full |= fills;
        fills
    }

    /// Compares what is queued with the low-water mark; `true` once when a full queue is at or under it.
    pub fn drains(&mut self, queued: usize, settings: &Settings) -> bool {
        let drains = self.full && queued <= settings.low_mark();
        self.full &= !drains;
        drains
    }

    /// Whether the queue is over its high-water mark and not yet back under the low one.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The next instant at which time alone changes something. `busy`: the application works, so that the protocol's
    /// own deadlines rest, except that of a handshake.
    pub fn deadline(&self, settings: &Settings, handshake: Option<Instant>, busy: bool) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut sooner = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        match self.stage {
            Stage::Handshake => {
                if let Some(at) = handshake {
                    sooner(at);
                }
            }
            Stage::Open => {
                if let Some(at) = self.protocol_deadline(settings, busy) {
                    sooner(at);
                }
                if let Some(times) = &self.times {
                    let all = [times.tick, times.leave_by, times.stands_until];
                    all.into_iter().flatten().for_each(&mut sooner);
                }
            }
            Stage::Flushing => {}
            Stage::Lingering => sooner(self.since),
            Stage::Closed => return None,
        }
        if let Some(at) = self.write_deadline(settings) {
            sooner(at);
        }
        next
    }

    /// What is due at `now`.
    pub fn expired(
        &self,
        now: Instant,
        settings: &Settings,
        handshake: Option<Instant>,
        busy: bool,
    ) -> Option<Expired> {
        if self.stage != Stage::Closed && self.write_deadline(settings).is_some_and(|at| now >= at) {
            return Some(Expired::Stalled);
        }
        match self.stage {
            Stage::Handshake => {
                handshake.filter(|at| now >= *at).map(|_| Expired::Timeout(Timeout::Handshake))
            }
            Stage::Open => {
                if self.protocol_deadline(settings, busy).is_some_and(|at| now >= at) {
                    return Some(Expired::Timeout(match self.running {
                        Deadline::Handshake => Timeout::Handshake,
                        Deadline::Head => Timeout::Head,
                        Deadline::Body => Timeout::Body,
                        Deadline::Idle | Deadline::None => Timeout::Idle,
                    }));
                }
                let times = self.times.as_ref()?;
                if times.leave_by.is_some_and(|at| now >= at)
                    || times.stands_until.is_some_and(|at| now >= at)
                {
                    return Some(Expired::Leave);
                }
                times.tick.filter(|at| now >= *at).map(|_| Expired::Tick)
            }
            Stage::Lingering if now >= self.since => Some(Expired::Linger),
            _ => None,
        }
    }
}

impl<P: Protocol> std::fmt::Debug for Session<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("phase", &self.phase())
            .field("undecoded", &self.input.len())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}
