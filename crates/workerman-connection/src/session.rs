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
//! Only this file changes the phase. It does no input or output, calls no handler, takes no lock and reads no clock:
//! who drives it passes the time in and does what it says. In `Flushing` and `Lingering` what the peer sends is read
//! and thrown away: a socket that is closed with unread input resets the peer out of its last answer.

use std::task::Waker;
use std::time::Instant;

use bytes::BytesMut;
use workerman_protocol::{
    Context, Deadline, Decoded, Eof, Goodbye, Outbox, Protocol, Random, Role, SendingHalf,
};

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
    /// Wakes the connection.
    pub waker: &'a Waker,
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

/// What [`Session::next`] found in the input.
pub enum Step<P: Protocol> {
    /// A message.
    Message(P::Incoming),
    /// An event of the protocol.
    Event(P::Event),
    /// At least this many more bytes are needed.
    Need(usize),
    /// Nothing can be decoded until something is sent or the connection is woken.
    Blocked,
    /// The peer ended its stream, and everything before has been decoded.
    End,
    /// The peer ended its stream within a message.
    Truncated,
    /// The protocol refused the input.
    Failed(P::Error),
    /// The next message would be longer than the protocol allows.
    TooLong {
        /// Bytes it takes at least.
        needed: usize,
        /// The limit.
        limit: usize,
    },
}

impl<P: Protocol> std::fmt::Debug for Step<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Message(_) => "Message(..)",
            Self::Event(_) => "Event(..)",
            Self::Need(_) => "Need(..)",
            Self::Blocked => "Blocked",
            Self::End => "End",
            Self::Truncated => "Truncated",
            Self::Failed(_) => "Failed(..)",
            Self::TooLong { .. } => "TooLong { .. }",
        })
    }
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
    /// When the running protocol deadline began.
    since: Instant,
    /// When the system last took bytes; meaningful while something is pending.
    progress: Instant,
    tick: Option<Instant>,
    phase: Phase,
    reason: CloseReason,
    role: Role,
    running: Deadline,
    /// The peer has sent FIN.
    ended: bool,
    /// FIN has been sent while the phase is still `Open` (one direction of a pipe has ended).
    half_closed: bool,
    /// Over the high-water mark, and told so.
    full: bool,
    /// End when no message is in progress.
    leaving: bool,
    /// When to end although the peer has not.
    leave_by: Option<Instant>,
    /// How much was in the buffer that was lent last.
    lent: usize,
}

impl<P: Protocol> Session<P> {
    /// A session of a connection that is up (or whose layer is about to shake hands).
    pub fn new(protocol: P, role: Role, layered: bool, now: Instant) -> Self {
        Self {
            protocol,
            input: BytesMut::new(),
            pending: Outbox::new(),
            since: now,
            progress: now,
            tick: None,
            phase: if layered { Phase::Handshake } else { Phase::Open },
            reason: CloseReason::Local,
            role,
            running: if layered { Deadline::Handshake } else { Deadline::None },
            ended: false,
            half_closed: false,
            full: false,
            leaving: false,
            leave_by: None,
            lent: 0,
        }
    }

    /// Where the connection is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Why it ends or ended; meaningful after [`Phase::Open`].
    pub fn reason(&self) -> CloseReason {
        self.reason
    }

    /// Which side this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How many bytes were in the buffer that was lent last.
    pub fn lent_len(&self) -> usize {
        self.lent
    }

    /// The handshake of the layer is complete already.
    #[must_use]
    pub fn established(mut self) -> Self {
        self.phase = Phase::Open;
        self.running = Deadline::None;
        self
    }

    /// Ends as soon as no message is in progress.
    pub fn leave_idle(&mut self) {
        self.leaving = true;
    }

    /// Whether the peer has ended its stream.
    pub fn peer_ended(&self) -> bool {
        self.ended
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

    fn context<'a>(
        role: Role,
        turn: &'a mut Turn<'_>,
        sending: &'a dyn SendingHalf<P::Sending>,
    ) -> Context<'a, P> {
        Context::new(turn.now, turn.unix_seconds, role, turn.random, turn.reply, sending, turn.waker)
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
        if self.phase == Phase::Handshake {
            self.phase = Phase::Open;
        }
        let mut cx = Self::context(self.role, turn, sending);
        self.protocol.open(&mut cx)?;
        self.tick = self.protocol.tick(&mut cx)?;
        self.running = self.protocol.deadline();
        self.since = turn.now;
        Ok(())
    }

    /// Takes what has arrived: without a copy when nothing was left from before.
    pub fn receive(&mut self, data: &mut BytesMut) {
        if self.input.is_empty() {
            self.input = std::mem::take(data);
        } else {
            self.input.extend_from_slice(data);
            data.clear();
        }
    }

    /// Ends a batch: the loop's buffer goes back to it, an unfinished rest is copied to one of our own.
    ///
    /// `need` is what the decoder asked for last. Returns a buffer for the rest of a large message if the loop had
    /// better read it in place: room for as much again as has been received, never more than is needed.
    pub fn settle(
        &mut self,
        data: Option<&mut BytesMut>,
        need: Option<usize>,
        now: Instant,
    ) -> Option<Vec<u8>> {
        let running = self.protocol.deadline();
        if running != self.running {
            self.running = running;
            self.since = now;
        } else if matches!(running, Deadline::Idle | Deadline::Body) {
            self.since = now;
        }
        if self.input.is_empty() {
            let empty = std::mem::take(&mut self.input);
            if let Some(data) = data {
                // Hand the chunk back only if it is the chunk: a buffer of our own is just freed.
                if data.capacity() == 0 {
                    *data = empty;
                }
            }
            return None;
        }
        let Some(need) = need else {
            self.keep_rest(data);
            return None;
        };
        if need <= IN_PLACE_FROM {
            self.keep_rest(data);
            return None;
        }
        // Grow by what was received, not by what was announced: at most twice what is here, at least 64 KiB.
        let received = self.input.len();
        let room = need.min(received.max(IN_PLACE_FROM));
        let input = std::mem::take(&mut self.input);
        let mut buffer = match data {
            Some(data) if data.capacity() == 0 => {
                let mut own = Vec::with_capacity(received + room);
                own.extend_from_slice(&input);
                *data = input;
                data.clear();
                own
            }
            _ => Vec::from(input),
        };
        if buffer.capacity() - buffer.len() < room {
            buffer.reserve_exact(room);
        }
        self.lent = buffer.len();
        Some(buffer)
    }

    /// An unfinished rest moves out of the loop's chunk, so that an idle connection pins no 64 KiB.
    fn keep_rest(&mut self, data: Option<&mut BytesMut>) {
        if let Some(data) = data {
            if data.capacity() == 0 {
                let rest = BytesMut::from(&self.input[..]);
                *data = std::mem::replace(&mut self.input, rest);
                data.clear();
            }
        }
    }

    /// Puts back the buffer that was lent, with what was appended to it.
    pub fn refill(&mut self, buffer: Vec<u8>) {
        let buffer = BytesMut::from(bytes::Bytes::from(buffer));
        if self.input.is_empty() {
            self.input = buffer;
        } else {
            self.input.extend_from_slice(&buffer);
        }
    }

    /// The peer has ended its stream.
    pub fn end_of_stream(&mut self) {
        self.ended = true;
    }

    /// The next thing in the input.
    #[inline]
    pub fn next(&mut self, turn: &mut Turn<'_>, sending: &dyn SendingHalf<P::Sending>) -> Step<P> {
        if self.phase != Phase::Open {
            self.input.clear();
            return Step::Need(1);
        }
        let mut cx = Self::context(self.role, turn, sending);
        match self.protocol.decode(&mut self.input, &mut cx) {
            Ok(Decoded::Message(message)) => Step::Message(message),
            Ok(Decoded::Event(event)) => Step::Event(event),
            Ok(Decoded::Blocked) => Step::Blocked,
            Ok(Decoded::Need(more)) => {
                if self.ended {
                    return match self.protocol.eof(&mut self.input, &mut cx) {
                        Ok(Eof::Message(message)) => Step::Message(message),
                        Ok(Eof::Clean) => Step::End,
                        Ok(Eof::Truncated) => Step::Truncated,
                        Err(error) => Step::Failed(error),
                    };
                }
                let more = more.max(1);
                let limit = self.protocol.max_message();
                let needed = self.input.len().saturating_add(more);
                if needed > limit { Step::TooLong { needed, limit } } else { Step::Need(more) }
            }
            Err(error) => Step::Failed(error),
        }
    }

    /// Whether input waits in our own buffer, decodable or not.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether the loop should read: always, except while the input that waits is above `limit`.
    pub fn wants_input(&self, waiting: bool, limit: usize) -> bool {
        match self.phase {
            Phase::Open => !self.ended && !(waiting && self.input.len() >= limit),
            Phase::Closed => false,
            _ => true,
        }
    }

    /// Begins to end: no more messages; what is queued goes out first. Does nothing if it ends already.
    pub fn flush_and_close(&mut self, reason: CloseReason, now: Instant) {
        if matches!(self.phase, Phase::Open | Phase::Handshake) {
            self.phase = Phase::Flushing;
            self.reason = reason;
            self.progress = now;
            self.input = BytesMut::new();
        }
    }

    /// Everything is written and FIN is sent.
    pub fn lingers(&mut self, settings: &Settings, now: Instant) {
        if self.phase == Phase::Flushing {
            self.phase = Phase::Lingering { until: now + settings.linger };
        }
    }

    /// Over, at once. Keeps the reason of an end that had begun.
    pub fn closed(&mut self, reason: CloseReason) {
        if matches!(self.phase, Phase::Open | Phase::Handshake) {
            self.reason = reason;
        }
        self.phase = Phase::Closed;
        self.input = BytesMut::new();
        self.pending = Outbox::new();
    }

    /// FIN was sent in one direction only; messages of the peer still come.
    pub fn half_close(&mut self) {
        self.half_closed = true;
    }

    /// Whether [`half_close`](Self::half_close) was called.
    pub fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// This side drains: asks the protocol what to say and when to end.
    pub fn goodbye(&mut self, turn: &mut Turn<'_>, sending: &dyn SendingHalf<P::Sending>) -> Goodbye {
        let goodbye = self.protocol.goodbye(&mut Self::context(self.role, turn, sending));
        self.leave(goodbye, CloseReason::Shutdown);
        goodbye
    }

    /// This side closes with a code: asks the protocol what to say and when to end.
    pub fn close_with_code(
        &mut self,
        code: Option<u16>,
        reason: &str,
        turn: &mut Turn<'_>,
        sending: &dyn SendingHalf<P::Sending>,
    ) -> Goodbye {
        let goodbye = self.protocol.close(code, reason, &mut Self::context(self.role, turn, sending));
        self.leave(goodbye, CloseReason::Local);
        goodbye
    }

    fn leave(&mut self, goodbye: Goodbye, reason: CloseReason) {
        self.reason = reason;
        self.leaving = goodbye == Goodbye::AfterMessage;
    }

    /// Ends at `at` if the peer has not ended before; an earlier instant stays.
    pub fn leave_by(&mut self, at: Instant) {
        self.leave_by = Some(self.leave_by.map_or(at, |by| by.min(at)));
    }

    /// Whether the connection ends as soon as no message is in progress, and none is.
    pub fn leaves_now(&self) -> bool {
        self.leaving
            && self.phase == Phase::Open
            && self.input.is_empty()
            && matches!(self.protocol.deadline(), Deadline::Idle)
    }

    /// The protocol's last words after a deadline.
    pub fn timeout(&mut self, which: Timeout, turn: &mut Turn<'_>, sending: &dyn SendingHalf<P::Sending>) {
        let which = match which {
            Timeout::Handshake => Deadline::Handshake,
            Timeout::Head => Deadline::Head,
            Timeout::Body => Deadline::Body,
            _ => Deadline::Idle,
        };
        if self.phase == Phase::Open {
            self.protocol.timeout(which, &mut Self::context(self.role, turn, sending));
        }
    }

    /// The protocol's tick.
    ///
    /// # Errors
    /// What the protocol says.
    pub fn tick(
        &mut self,
        turn: &mut Turn<'_>,
        sending: &dyn SendingHalf<P::Sending>,
    ) -> Result<(), P::Error> {
        self.tick = None;
        if self.phase == Phase::Open {
            self.tick = self.protocol.tick(&mut Self::context(self.role, turn, sending))?;
        }
        Ok(())
    }

    /// The system took bytes.
    pub fn wrote(&mut self, now: Instant) {
        self.progress = now;
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
    /// own deadlines rest.
    pub fn deadline(&self, settings: &Settings, handshake: Option<Instant>, busy: bool) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut sooner = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        match self.phase {
            Phase::Handshake => {
                if let Some(at) = handshake {
                    sooner(at);
                }
            }
            Phase::Open => {
                if !busy && !self.ended {
                    if let Some(duration) = settings.duration(self.running) {
                        sooner(self.since + duration);
                    }
                }
                if let Some(at) = self.tick {
                    sooner(at);
                }
                if let Some(at) = self.leave_by {
                    sooner(at);
                }
            }
            Phase::Flushing => {}
            Phase::Lingering { until } => sooner(until),
            Phase::Closed => return None,
        }
        if !self.pending.is_empty() {
            if let Some(duration) = settings.write_timeout {
                sooner(self.progress + duration);
            }
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
        if !self.pending.is_empty() {
            if let Some(duration) = settings.write_timeout {
                if now >= self.progress + duration {
                    return Some(Expired::Stalled);
                }
            }
        }
        match self.phase {
            Phase::Handshake => {
                handshake.filter(|at| now >= *at).map(|_| Expired::Timeout(Timeout::Handshake))
            }
            Phase::Open => {
                if !busy && !self.ended {
                    if let Some(duration) = settings.duration(self.running) {
                        if now >= self.since + duration {
                            return Some(Expired::Timeout(match self.running {
                                Deadline::Handshake => Timeout::Handshake,
                                Deadline::Head => Timeout::Head,
                                Deadline::Body => Timeout::Body,
                                Deadline::Idle | Deadline::None => Timeout::Idle,
                            }));
                        }
                    }
                }
                if self.leave_by.is_some_and(|at| now >= at) {
                    return Some(Expired::Leave);
                }
                self.tick.filter(|at| now >= *at).map(|_| Expired::Tick)
            }
            Phase::Lingering { until } if now >= until => Some(Expired::Linger),
            _ => None,
        }
    }

    /// Another protocol takes over: the unread bytes, and what waits to be written.
    pub fn into_parts(self) -> Parts {
        Parts {
            unread: self.protocol.into_parts(self.input),
            pending: self.pending,
            ended: self.ended,
            full: self.full,
        }
    }

    /// Continues with what another protocol left.
    pub fn adopt(&mut self, parts: Parts) {
        self.input = parts.unread;
        self.pending = parts.pending;
        self.ended = parts.ended;
        self.full = parts.full;
    }
}

impl<P: Protocol> std::fmt::Debug for Session<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("phase", &self.phase)
            .field("undecoded", &self.input.len())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

/// From this many missing bytes on, the rest of a message is read into a buffer of its own: 64 KiB.
const IN_PLACE_FROM: usize = 64 * 1024;

/// What moves to the protocol that takes over.
#[derive(Debug, Default)]
pub struct Parts {
    /// Bytes that the old protocol has not decoded.
    pub unread: BytesMut,
    /// What the old protocol had to say, to be written first.
    pub pending: Outbox,
    /// The peer has ended its stream.
    pub ended: bool,
    /// The queue was over its high-water mark.
    pub full: bool,
}
