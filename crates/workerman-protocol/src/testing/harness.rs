//! A protocol driven by hand: no socket, and time that passes when told.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::half::Half;
use super::{Ended, Seen, Transcript};
use crate::{Context, Deadline, Decoded, Eof, Failure, Goodbye, Outbox, Protocol, Random, Recovery, Role};

/// Most calls in a row that may make no progress before the harness calls it an endless loop.
const PATIENCE: usize = 10_000;

/// The application's side of a harness: what it answers to a message.
type Answer<P> = Box<dyn FnMut(&<P as Protocol>::Incoming) -> Option<<P as Protocol>::Outgoing>>;

/// Drives one [`Protocol`] value as a connection does, without input and output.
///
/// It keeps the rules of the contract (the order of the calls, the limit, replies in order) and panics where the
/// protocol breaks one that a connection could not repair: an endless loop, or memory reserved for bytes that have only
/// been announced.
///
/// # Examples
/// ```
/// # #[cfg(feature = "frame")] {
/// use std::time::Instant;
/// use workerman_protocol::{Frame, testing::{Ended, Harness}};
///
/// let mut harness = Harness::new(Frame::new(), Instant::now());
/// harness.feed(b"\x00\x00\x00");
/// assert!(harness.messages().is_empty());
/// harness.feed(b"\x06hi\x00");
/// assert_eq!(harness.messages(), ["hi"]);
/// harness.eof();
/// assert_eq!(*harness.ended(), Ended::Truncated);
/// # }
/// ```
pub struct Harness<P: Protocol> {
    protocol: P,
    sending: Half<P>,
    role: Role,
    random: Random,
    now: Instant,
    unix_seconds: u64,
    /// Of a second, so that the wall clock keeps up with `now`.
    unix_rest: Duration,
    input: BytesMut,
    output: Outbox,
    seen: VecDeque<Seen<P::Incoming, P::Event>>,
    opened: bool,
    ended: Ended,
    error: Option<P::Error>,
    needs: usize,
    blocked: bool,
    /// The peer has ended its stream.
    fin: bool,
    /// Bytes that the peer has not taken, as the protocol is told.
    queued: usize,
    handling: bool,
    parked: bool,
    next_tick: Option<Instant>,
    answer: Option<Answer<P>>,
}

impl<P: Protocol> Harness<P> {
    /// A harness around `protocol`: the server's side, at the instant `now`, on the first day of 1970, seed 0.
    pub fn new(protocol: P, now: Instant) -> Self {
        Self {
            protocol,
            sending: Half::new(),
            role: Role::Server,
            random: Random::new(0),
            now,
            unix_seconds: 0,
            unix_rest: Duration::ZERO,
            input: BytesMut::new(),
            output: Outbox::new(),
            seen: VecDeque::new(),
            opened: false,
            ended: Ended::Open,
            error: None,
            needs: 1,
            blocked: false,
            fin: false,
            queued: 0,
            handling: false,
            parked: false,
            next_tick: None,
            answer: None,
        }
    }

    /// Sets which side this is; default [`Role::Server`].
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Sets the seed of [`Context::random`]; default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.random = Random::new(seed);
        self
    }

    /// Sets the wall clock, in seconds since 1970; default 0.
    #[must_use]
    pub fn unix_seconds(mut self, seconds: u64) -> Self {
        self.unix_seconds = seconds;
        self
    }

    /// Sets the peer's address ([`Context::peer`]); default none.
    #[must_use]
    pub fn peer(mut self, peer: SocketAddr) -> Self {
        self.sending.peer = Some(peer);
        self
    }

    /// Sets what the application answers to each message, at once; default nothing.
    ///
    /// For protocols that decode no further before they are answered. It is what a handler returns: with
    /// [`Protocol::ANSWERS`] it goes to [`Protocol::answer`].
    ///
    /// # Panics
    /// The harness panics later if an answer cannot be encoded.
    #[must_use]
    pub fn answer(mut self, answer: impl FnMut(&P::Incoming) -> Option<P::Outgoing> + 'static) -> Self {
        self.answer = Some(Box::new(answer));
        self
    }

    /// Opens the connection; the first call of anything else does it too.
    pub fn open(&mut self) {
        if self.opened {
            return;
        }
        self.opened = true;
        let opened = self.call(|protocol, _, cx| protocol.open(cx));
        self.settle(opened);
        self.tick();
    }

    /// Lets `bytes` arrive in one piece, and decodes until the protocol needs more.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.open();
        if self.is_open() {
            self.input.extend_from_slice(bytes);
            self.decode();
        }
    }

    /// Lets the whole of `input` arrive in the buffer it is in, as a connection that reads into it does; what is undecoded
    /// from before is put in front (then it is copied).
    pub fn feed_buffer(&mut self, input: BytesMut) {
        self.open();
        if self.is_open() {
            if self.input.is_empty() {
                self.input = input;
            } else {
                self.input.extend_from_slice(&input);
            }
            self.decode();
        }
    }

    /// Tries to decode again, as a connection does after a wake-up, or when everything queued has been written;
    /// [`feed`](Self::feed) and [`send`](Self::send) do it by themselves.
    ///
    /// # Panics
    /// If the protocol goes on and on without taking a byte, or reserves memory for bytes it has not got.
    pub fn decode(&mut self) {
        self.open();
        let (mut idle, mut last) = (0, 0);
        while self.is_open() {
            let (length, capacity) = (self.input.len(), self.input.capacity());
            let decoded = self.call(P::decode);
            assert!(
                self.input.capacity() <= capacity.max(2 * length),
                "the decoder reserved {} bytes of input while it had {length}",
                self.input.capacity()
            );
            idle = if self.input.len() == length { idle + 1 } else { 0 };
            assert!(idle < PATIENCE, "the decoder went on {PATIENCE} times without taking a byte");
            self.blocked = false;
            match decoded {
                Ok(Decoded::Message(message)) => self.message(message),
                Ok(Decoded::Event(event)) => self.seen.push_back(Seen::Event(event)),
                Ok(Decoded::Need(more)) if !self.fin => return self.wait(more.max(1)),
                Ok(Decoded::Need(_)) => {
                    assert!(last < PATIENCE, "the protocol found {PATIENCE} last messages");
                    (idle, last) = (0, last + 1);
                    self.last();
                    if self.blocked {
                        return;
                    }
                }
                Ok(Decoded::Blocked) => {
                    self.blocked = true;
                    return;
                }
                Err(error) => self.fail(error),
            }
        }
    }

    /// Ends the peer's stream; a protocol that is blocked hears of it when it goes on.
    ///
    /// # Panics
    /// If the protocol finds last messages without end.
    pub fn eof(&mut self) {
        self.open();
        self.fin = true;
        self.decode();
    }

    fn last(&mut self) {
        match self.call(P::eof) {
            Ok(Eof::Message(message)) => self.message(message),
            Ok(Eof::Clean) => self.ended = Ended::Clean,
            Ok(Eof::Truncated) => self.ended = Ended::Truncated,
            Ok(Eof::Blocked) => self.blocked = true,
            Err(error) => self.fail(error),
        }
    }

    /// Sends a message, as the application would at any time; it is in the output once the protocol has released its
    /// senders ([`Protocol::HOLDS`]), and lost once it takes nothing more ([`is_shut`](Self::is_shut)).
    ///
    /// # Errors
    /// It cannot be encoded; nothing of it is in the output then.
    pub fn send(&mut self, message: impl Into<P::Outgoing>) -> Result<(), P::Error> {
        self.open();
        self.encode(message.into())?;
        if self.blocked || P::ANSWERS {
            self.decode();
        }
        Ok(())
    }

    /// Gives the protocol what the handler of the last message has returned ([`Protocol::answer`]), then decodes on.
    ///
    /// # Errors
    /// It cannot be encoded; nothing of it is in the output then.
    pub fn answer_last(&mut self, message: impl Into<P::Outgoing>) -> Result<(), P::Error> {
        self.open();
        self.reply(message.into())?;
        self.decode();
        Ok(())
    }

    /// Lets the handler of the last message fail; returns what the protocol makes of it, and decodes on if it goes on.
    pub fn failed(&mut self, failure: Failure<'_>) -> Recovery {
        self.open();
        let recovery = self.call(|protocol, _, cx| protocol.failed(failure, cx));
        match recovery {
            Recovery::Continue => self.decode(),
            Recovery::End => self.ended = Ended::Left,
        }
        recovery
    }

    /// Lets the protocol write while nothing may be decoded ([`Protocol::pump`]).
    pub fn pump(&mut self) {
        self.open();
        if self.is_open() {
            let pumped = self.call(|protocol, _, cx| protocol.pump(cx));
            self.settle(pumped);
        }
    }

    /// Tells the protocol from now on whether the last message waits for the handler of the one before, which is the one
    /// that fails ([`Context::parked`]); default no.
    pub fn set_parked(&mut self, parked: bool) {
        self.parked = parked;
    }

    /// Tells the protocol from now on whether the handler of a message is at work ([`Context::handling`]); default no.
    pub fn set_handling(&mut self, handling: bool) {
        self.handling = handling;
    }

    /// Tells the protocol from now on that so many bytes wait for the peer ([`Context::queued`]); default 0.
    pub fn set_queued(&mut self, bytes: usize) {
        self.queued = bytes;
    }

    /// Sends what [`Protocol::encode_shared`] makes of a message, or `false` if it makes nothing.
    ///
    /// # Errors
    /// The state of the connection forbids it; nothing of it is in the output then.
    pub fn send_shared(&mut self, message: &P::Outgoing) -> Result<bool, P::Error> {
        self.open();
        let Some(shared) = P::encode_shared(message) else { return Ok(false) };
        self.sending.encode(&mut self.output, |sending, out| P::append_shared(sending, &shared, out))?;
        Ok(true)
    }

    /// Lets time pass, with a call of [`Protocol::tick`] at each instant it asked for.
    ///
    /// # Panics
    /// If the protocol asks to be called at the same instant again and again.
    pub fn advance(&mut self, time: Duration) {
        self.open();
        let end = self.now + time;
        let mut at_once = 0;
        while let Some(due) = self.next_tick.filter(|due| *due <= end && self.is_open()) {
            at_once = if due <= self.now { at_once + 1 } else { 0 };
            assert!(at_once < PATIENCE, "the protocol asked to be called at once, {PATIENCE} times in a row");
            self.pass(due.saturating_duration_since(self.now));
            self.tick();
        }
        self.pass(end.saturating_duration_since(self.now));
    }

    /// Lets the deadline that runs now pass; returns which one it was.
    pub fn timeout(&mut self) -> Deadline {
        self.open();
        let which = self.protocol.deadline();
        if self.is_open() {
            self.call(|protocol, _, cx| protocol.timeout(which, cx));
            self.ended = Ended::TimedOut(which);
        }
        which
    }

    /// Lets this side drain.
    pub fn goodbye(&mut self) -> Goodbye {
        self.open();
        self.call(|protocol, _, cx| protocol.goodbye(cx))
    }

    /// Lets this side close.
    pub fn close(&mut self, code: Option<u16>, reason: &str) -> Goodbye {
        self.open();
        self.call(|protocol, _, cx| protocol.close(code, reason, cx))
    }

    /// Gives up the protocol: the bytes it has not decoded.
    pub fn into_parts(self) -> BytesMut {
        self.protocol.into_parts(self.input)
    }

    /// Takes the messages and events seen since the last call, oldest first.
    pub fn seen(&mut self) -> Vec<Seen<P::Incoming, P::Event>> {
        self.seen.drain(..).collect()
    }

    /// Takes the messages seen since the last call, oldest first; events before and between them are forgotten.
    pub fn messages(&mut self) -> Vec<P::Incoming> {
        let message = |seen| match seen {
            Seen::Message(message) => Some(message),
            Seen::Event(_) => None,
        };
        self.seen.drain(..).filter_map(message).collect()
    }

    /// Takes what has been sent since the last call: replies of the protocol, answers and messages of the application.
    pub fn output(&mut self) -> Bytes {
        let finished = self.output.is_finished();
        let output = std::mem::take(&mut self.output);
        if finished {
            self.output.finish();
        }
        output.into_bytes()
    }

    /// Whether the output ends the stream ([`Outbox::finish`]).
    pub fn is_finished(&self) -> bool {
        self.output.is_finished()
    }

    /// Whether nothing is taken any more to be sent ([`Context::shut`]).
    pub fn is_shut(&self) -> bool {
        self.sending.is_shut.get()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> &Ended {
        &self.ended
    }

    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        self.ended == Ended::Open
    }

    /// The error the protocol failed with.
    pub fn error(&self) -> Option<&P::Error> {
        self.error.as_ref()
    }

    /// How many bytes more the protocol asked for when it was asked last.
    pub fn needs(&self) -> usize {
        self.needs
    }

    /// Whether the protocol waits for the application ([`Decoded::Blocked`]).
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Bytes of input that have not been decoded.
    pub fn undecoded(&self) -> &[u8] {
        &self.input
    }

    /// The time in here.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The protocol.
    pub fn protocol(&self) -> &P {
        &self.protocol
    }

    /// All that is left of what the protocol did.
    pub fn into_transcript(mut self) -> Transcript<P> {
        self.open();
        let finished = self.is_finished();
        let output = self.output();
        Transcript { seen: self.seen.into(), output, finished, ended: self.ended }
    }

    /// Forgets what has been seen and sent so far, so that a check sees only what comes.
    pub(super) fn forget(&mut self) {
        self.open();
        self.seen.clear();
        self.output();
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut P, &mut BytesMut, &mut Context<'_, P>) -> R) -> R {
        let mut cx = Context::new(
            self.now,
            self.unix_seconds,
            self.role,
            &mut self.random,
            &mut self.output,
            &self.sending,
            Waker::noop(),
        )
        .with_queued(self.queued)
        .with_handling(self.handling)
        .with_parked(self.parked)
        .with_ended(self.fin && self.input.is_empty());
        call(&mut self.protocol, &mut self.input, &mut cx)
    }

    fn encode(&mut self, message: P::Outgoing) -> Result<(), P::Error> {
        self.sending.encode(&mut self.output, |sending, out| P::encode(sending, message, out))
    }

    /// What a handler has returned.
    fn reply(&mut self, message: P::Outgoing) -> Result<(), P::Error> {
        if !P::ANSWERS {
            return self.encode(message);
        }
        let before = self.output.len();
        self.call(|protocol, _, cx| protocol.answer(message, cx))
            .inspect_err(|_| self.output.truncate(before))
    }

    fn message(&mut self, message: P::Incoming) {
        let answer = self.answer.as_mut().and_then(|answer| answer(&message));
        self.seen.push_back(Seen::Message(message));
        if let Some(answer) = answer {
            self.reply(answer).expect("the answer can be encoded");
        }
    }

    fn wait(&mut self, more: usize) {
        self.needs = more;
        let (needed, limit) = (self.input.len().saturating_add(more), self.protocol.max_message());
        if needed > limit {
            self.ended = Ended::OverLimit { needed, limit };
        }
    }

    fn tick(&mut self) {
        if self.is_open() {
            let next = self.call(|protocol, _, cx| protocol.tick(cx));
            self.next_tick = self.settle(next).flatten();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.unix_rest += time;
        self.unix_seconds += self.unix_rest.as_secs();
        self.unix_rest = Duration::from_nanos(u64::from(self.unix_rest.subsec_nanos()));
    }

    fn settle<T>(&mut self, result: Result<T, P::Error>) -> Option<T> {
        result.map_err(|error| self.fail(error)).ok()
    }

    fn fail(&mut self, error: P::Error) {
        self.ended = Ended::Failed(error.to_string());
        self.error = Some(error);
    }
}

impl<P: Protocol> fmt::Debug for Harness<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("role", &self.role)
            .field("undecoded", &self.input.len())
            .field("output", &self.output)
            .field("seen", &self.seen.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
