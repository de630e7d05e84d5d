//! The server's side of a connection: requests in, responses out, in the order of their requests.
//!
//! ```text
//!            head complete                answer begun                 answer written
//!   (none) ───────────────► Waiting ─────────────────────► Sending ─────────────────────► (none)
//!                              ▲                                            │ its request's body
//!                              └── up to `pipeline` of them, in a row       ▼ still arrives
//!                                                                       Answered ────────► (none)
//! ```
//! This file is the state machine. `config` holds the settings, `receive` reads bodies, `answer` begins answers and
//! pumps their bodies, `fit` says which can be sent, `fault` whose fault
//! an error is, `pace` how slow a client may be, `write` knows the bytes of a head.

mod access;
mod answer;
mod config;
mod fault;
mod fit;
mod pace;
mod receive;
#[cfg(all(test, feature = "testing"))]
mod tests;
pub(super) mod write;

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{Buf, BytesMut};

pub use self::access::{Access, RequestId};
use self::access::{OnAccess, Record};
use self::answer::Sending;
pub use self::config::Admission;
use self::config::Config;
use self::receive::{Received, Receiving};
use super::coding::Coding;
use super::link::Answers;
use super::parse::{CLOSE, CONNECTS, EXPECTS, Found, Framing, Parsed, Refusal, Scan, UPGRADES, refuse};
use super::{Body, BodyError, Error, Request, RequestHead, Response, StatusCode};
use crate::{Context, Deadline, Decoded, Eof, Event, Failure, Goodbye, Outbox, Protocol, Recovery, take};

/// HTTP/1.1 (RFC 9110, 9112), the server's side of one connection.
///
/// Requests come as messages; what their handlers return goes out in the same order. A request is handed out when its
/// body is complete in memory, unless [`on_request_head`](Self::on_request_head) chose otherwise. One at a time, unless
/// [`pipeline`](Self::pipeline) allows more.
///
/// What breaks a rule is answered by a complete response (400, 405, 408, 413, 414, 417, 431, 501 or 505) with
/// `Connection: close`, and nothing behind it is looked at.
///
/// # Examples
/// ```
/// use workerman_protocol::http::Http;
/// let http = Http::new().server("example").max_body(1024 * 1024);
/// # drop(http);
/// ```
pub struct Http {
    config: Arc<Config>,
    /// What a connection between requests does not have.
    more: Option<Box<More>>,
    /// How far an unfinished head was looked at.
    scan: Scan,
    /// The number of the next request.
    number: u32,
    /// The request whose answer is next.
    front: Option<Exchange>,
    /// Answers that were completed on top of a full queue and may not have left it.
    unsent: u16,
    bits: u8,
}

/// Nothing more is decoded: the last answer has been written, or another protocol takes over.
const OVER: u8 = 1;
/// This side drains: the next answer is the last.
const LEAVING: u8 = 1 << 1;
/// One empty line before the request line has been skipped.
const SKIPPED: u8 = 1 << 2;
/// The handler that is at work has dropped its token, and may still return an answer.
const DROPPED: u8 = 1 << 3;

/// A flag of an exchange beside those of its head: its request has been handed out.
const HANDED: u8 = 1 << 7;
/// Another: it was handed out before its body.
const STREAMS: u8 = 1 << 6;

/// A request and its answer.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    number: u32,
    /// The flags of its head.
    flags: u8,
    stage: Stage,
    /// The content coding that its client likes best.
    coding: Coding,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The application has not answered yet.
    Waiting,
    /// The head of the answer is written; its body is on its way.
    Sending,
    /// The answer is complete; the rest of the request's body is thrown away.
    Answered,
}

/// What most connections do without most of the time.
#[derive(Default)]
struct More {
    /// Behind the front, oldest first.
    queue: VecDeque<Exchange>,
    /// Answers whose turn has not come.
    ready: Vec<(u32, Response)>,
    /// The body of the youngest request.
    receiving: Option<Receiving>,
    /// The body of the front's answer.
    sending: Option<Sending>,
    /// What is to be said after the last answer.
    refusal: Option<Refusal>,
    /// What the log wants to know of the requests in flight.
    records: Vec<Record>,
    /// Whom to tell of those that never end.
    on_access: Option<OnAccess>,
}

impl More {
    fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.ready.is_empty()
            && self.receiving.is_none()
            && self.sending.is_none()
            && self.refusal.is_none()
            && self.records.is_empty()
    }
}

impl Http {
    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_with(|| {
            let mut more = Box::<More>::default();
            more.on_access.clone_from(&self.config.on_access);
            more
        })
    }

    fn receiving(&mut self) -> Option<&mut Receiving> {
        self.more.as_mut()?.receiving.as_mut()
    }

    fn in_flight(&self) -> usize {
        usize::from(self.front.is_some()) + self.more.as_ref().map_or(0, |more| more.queue.len())
    }

    /// The youngest request in flight.
    fn youngest(&mut self) -> Option<&mut Exchange> {
        match &mut self.more {
            Some(more) if !more.queue.is_empty() => more.queue.back_mut(),
            _ => self.front.as_mut(),
        }
    }

    /// A request in flight by its number.
    fn exchange(&mut self, number: u32) -> Option<&mut Exchange> {
        let queue = self.more.iter_mut().flat_map(|more| more.queue.iter_mut());
        self.front.iter_mut().chain(queue).find(|exchange| exchange.number == number)
    }

    /// Whether the youngest request is the one whose answer is next.
    fn is_alone(&self) -> bool {
        self.more.as_ref().is_none_or(|more| more.queue.is_empty())
    }

    /// Whether another request may be begun while some are in flight.
    fn may_begin(&mut self) -> bool {
        let most = self.config.pipeline;
        if self.more.as_ref().is_some_and(|more| more.refusal.is_some()) {
            return false;
        }
        // Behind a request that may hand the connection over, bytes are not ours to read (RFC 9110 section 7.8).
        let last = self.youngest().is_some_and(|last| last.flags & (CLOSE | UPGRADES | CONNECTS) != 0);
        // One that drains answers what it has handed out, and nothing behind.
        !last && self.bits & LEAVING == 0 && self.in_flight() < most
    }

    /// Whether the client has taken enough of what it asked for to be given more: an answer that waits for it counts as
    /// one in flight, unless it is a small one.
    fn has_room(&mut self, cx: &Context<'_, Self>) -> bool {
        if cx.queued() == 0 {
            self.unsent = 0;
        }
        self.in_flight() + usize::from(self.unsent) < self.config.pipeline
    }

    /// Forgets what an idle connection does without.
    fn tidy(&mut self) {
        if self.more.as_ref().is_some_and(|more| more.is_idle()) {
            self.more = None;
        }
    }

    /// The next head; `None` if it was rejected and the one behind it may be looked at.
    #[inline]
    fn head(
        &mut self,
        input: &mut BytesMut,
        cx: &mut Context<'_, Self>,
    ) -> Result<Option<Decoded<Self>>, Error> {
        if input.is_empty() {
            return Ok(Some(Decoded::Need(1)));
        }
        // RFC 9112 section 2.2: an empty line before the request line is ignored; one, so that it has an end.
        if input[0] == b'\r' && self.bits & SKIPPED == 0 {
            match input.get(1) {
                None => return Ok(Some(Decoded::Need(1))),
                Some(b'\n') => {
                    input.advance(2);
                    self.bits |= SKIPPED;
                    if input.is_empty() {
                        return Ok(Some(Decoded::Need(1)));
                    }
                }
                Some(_) => {}
            }
        }
        match self.scan.look(input, &self.config.limits) {
            Ok(Found::Head(parsed)) => self.begun(parsed, input, cx),
            Ok(Found::Partial) => Ok(Some(Decoded::Need(1))),
            Err(refusal) => self.refuse(refusal.of_head(input), cx).map(Some),
        }
    }

    /// A head is complete.
    #[inline]
    fn begun(
        &mut self,
        parsed: Parsed,
        input: &mut BytesMut,
        cx: &mut Context<'_, Self>,
    ) -> Result<Option<Decoded<Self>>, Error> {
        let (len, framing, mut flags) = (parsed.len, parsed.framing, parsed.flags);
        let number = self.number;
        self.number = number.wrapping_add(1);
        let last = self.config.max_requests.is_some_and(|most| self.number >= most);
        if last || self.bits & LEAVING != 0 {
            flags |= CLOSE;
        }
        self.bits &= !SKIPPED;
        let head = parsed.into_head(input, cx.handle());
        input.advance(len);
        if flags & CONNECTS != 0 {
            if !self.config.connect {
                return self.refuse(refuse(405, "CONNECT is not offered"), cx).map(Some);
            }
            // RFC 9110 section 9.3.6: a body of CONNECT has no meaning.
            if framing != Framing::Length(0) {
                return self.refuse(refuse(400, "CONNECT with a body"), cx).map(Some);
            }
        }
        let recorded = self.config.records();
        if recorded {
            self.record(number, &head, cx);
        }
        let admission = match &self.config.on_request_head {
            None => Admission::Buffer(self.config.max_body),
            Some(admit) => match catch_unwind(AssertUnwindSafe(|| admit(&head))) {
                Ok(admission) => admission,
                // The connection alone ends, with a word.
                Err(_) => {
                    return self.refuse(refuse(500, "on_request_head panicked").of(flags), cx).map(Some);
                }
            },
        };
        let coding =
            self.config.compression.as_ref().map_or(Coding::Identity, |settings| settings.choose(&head));
        let exchange = Exchange { number, flags, stage: Stage::Waiting, coding };
        let body = match (admission, framing) {
            (Admission::Reject(response), framing) => {
                return self.reject(exchange, response, framing, cx).map(|()| None);
            }
            (_, Framing::Length(0)) => Body::empty(),
            (Admission::Buffer(limit), Framing::Length(length)) if length > limit as u64 => {
                return self.refuse(refuse(413, "the body is too long").of(flags), cx).map(Some);
            }
            (Admission::Buffer(_), Framing::Length(length)) if length <= input.len() as u64 => {
                take(input, length as usize).into()
            }
            (Admission::Buffer(limit), framing) => {
                self.begin(exchange);
                let receiving = Receiving::buffered(framing, head, limit, &self.config, flags & EXPECTS != 0);
                self.more().receiving = Some(receiving);
                return Ok(None);
            }
            (Admission::Stream, framing) => {
                self.begin(Exchange { flags: flags | STREAMS, ..exchange });
                let (receiving, body) =
                    Receiving::streamed(framing, &self.config, flags & EXPECTS != 0, cx.waker());
                self.more().receiving = Some(receiving);
                // What has arrived with the head is handed over with it.
                return match self.receive(input, cx)? {
                    Received::Refused(decoded) => Ok(Some(decoded)),
                    _ => Ok(Some(Decoded::Message(self.request(head, body, number)))),
                };
            }
        };
        self.begin(exchange);
        Ok(Some(Decoded::Message(self.request(head, body, number))))
    }

    /// A request that is ready for its handler: the youngest.
    #[inline]
    fn request(&mut self, head: RequestHead, body: Body, number: u32) -> Request {
        if let Some(exchange) = self.youngest() {
            exchange.flags |= HANDED;
        }
        let mut request = Request::new(head, body, number);
        if self.config.request_id {
            if let Some(id) = self.record_of(number).and_then(|record| record.id.clone()) {
                request.extensions_mut().insert(id);
            }
        }
        request
    }

    /// The number of the request that was handed out last, or of the one before: more may have begun behind it.
    #[inline]
    fn handed(&self, parked: bool) -> Option<u32> {
        let is_handed = |exchange: &&Exchange| exchange.flags & HANDED != 0;
        let exchange = match &self.more {
            None => self.front.as_ref().filter(is_handed).filter(|_| !parked),
            Some(more) => {
                self.front.iter().chain(&more.queue).rev().filter(is_handed).nth(usize::from(parked))
            }
        };
        exchange.map(|exchange| exchange.number)
    }

    /// Takes a place in the row.
    #[inline]
    fn begin(&mut self, exchange: Exchange) {
        if self.front.is_none() {
            self.front = Some(exchange);
        } else {
            self.more().queue.push_back(exchange);
        }
    }

    /// A request that breaks a rule, or is beyond a limit: answered when its turn comes, and nothing behind it is read.
    #[cold]
    fn refuse(&mut self, refusal: Refusal, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Error> {
        if self.front.is_some() {
            self.more().refusal = Some(refusal);
            return Ok(Decoded::Blocked);
        }
        Err(self.refuse_now(refusal, cx))
    }

    fn refuse_now(&mut self, refusal: Refusal, cx: &mut Context<'_, Self>) -> Error {
        self.bits |= OVER;
        self.front = None;
        let length = write::refusal(refusal, &self.config, cx.unix_seconds(), cx.reply());
        self.record_refusal(refusal.status, length, cx);
        self.more = None;
        Error::Refused { status: refusal.status, reason: refusal.reason }
    }
}

impl Protocol for Http {
    type Incoming = Request;
    type Outgoing = Response;
    type Event = Event;
    type Error = Error;
    type Sending = Answers;

    const ANSWERS: bool = true;

    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Error> {
        loop {
            // Without a front there may be a refusal whose turn has come.
            if self.front.is_some() || self.more.is_some() {
                self.proceed(cx)?;
            }
            if self.bits & OVER != 0 {
                return Ok(Decoded::Blocked);
            }
            if self.receiving().is_some() {
                match self.receive(input, cx)? {
                    Received::Request(request) => return Ok(Decoded::Message(request)),
                    Received::Need(more) => return Ok(Decoded::Need(more)),
                    Received::Blocked => return Ok(Decoded::Blocked),
                    Received::Refused(decoded) => return Ok(decoded),
                    Received::Complete => continue,
                }
            }
            if self.front.is_some() && !self.may_begin() {
                return Ok(Decoded::Blocked);
            }
            if self.unsent > 0 && !input.is_empty() && !self.has_room(cx) {
                return Ok(Decoded::Blocked);
            }
            if let Some(decoded) = self.head(input, cx)? {
                return Ok(decoded);
            }
        }
    }

    fn pump(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Error> {
        // Also where nothing waits: what was sent all the same must not be the answer to a later request.
        self.proceed(cx)
    }

    fn encode(sending: &mut Answers, mut response: Response, _: &mut Outbox) -> Result<(), Error> {
        match response.take_error() {
            Some(error) => Err(error),
            None => sending.send(response),
        }
    }

    #[inline]
    fn answer(&mut self, response: Response, cx: &mut Context<'_, Self>) -> Result<(), Error> {
        let number = self.handed(cx.parked()).ok_or(Error::NothingToAnswer)?;
        let answered = self.answered(number, response, cx);
        if self.bits & DROPPED != 0 {
            self.bits &= !DROPPED;
            self.collect(None, cx);
        }
        answered
    }

    fn is_answering(&self) -> bool {
        // Events have no end to wait for.
        self.more
            .as_ref()
            .is_some_and(|more| more.sending.as_ref().is_some_and(|sending| !sending.is_endless()))
    }

    fn hands_over(&self) -> bool {
        // The switch is the matter of the youngest request, when that is whole; those before it have their answers first.
        self.is_alone()
            && self.more.as_ref().is_none_or(|more| more.sending.is_none() && more.receiving.is_none())
    }

    fn breaks_off(&self) -> bool {
        // RFC 9112 section 8: a body that the end of the stream ends is complete with it.
        self.more.as_ref().and_then(|more| more.sending.as_ref()).is_some_and(Sending::ends_by_close)
    }

    fn failed(&mut self, failure: Failure<'_>, cx: &mut Context<'_, Self>) -> Recovery {
        let panicked = matches!(failure, Failure::Panic);
        let alone = self.is_alone();
        let number = self.handed(cx.parked());
        let Some(exchange) = number.and_then(|number| self.exchange(number)) else {
            // Answered already.
            return if panicked { Recovery::End } else { Recovery::Continue };
        };
        if panicked {
            exchange.flags |= CLOSE;
        }
        let (number, stage, streams) = (exchange.number, exchange.stage, exchange.flags & STREAMS != 0);
        let waits = self.waiting().any(|waiting| waiting == number)
            && !cx.sending(|answers| answers.is_claimed(number));
        if waits {
            // Without the text: that is for the log.
            let response = match failure {
                Failure::Error(error) => fault::answer(error, streams),
                Failure::Panic => Response::new(StatusCode::INTERNAL_SERVER_ERROR),
            };
            if self.answered(number, response, cx).is_err() {
                return Recovery::End;
            }
        }
        // Older answers are still to come; the flag ends the connection after this one.
        let ends = panicked && alone && (waits || stage != Stage::Waiting);
        if ends { Recovery::End } else { Recovery::Continue }
    }

    fn eof(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Eof<Self>, Error> {
        if let Some(receiving) = self.receiving() {
            receiving.fail(BodyError::Aborted);
            if self.is_alone() {
                return Ok(Eof::Truncated);
            }
            // The requests before the broken one are owed their answers.
            input.clear();
            let more = self.more();
            more.receiving = None;
            more.queue.pop_back();
        }
        if self.front.is_some() {
            // A client that has said all may still read (half-close): it gets what it is owed first.
            return Ok(Eof::Blocked);
        }
        if input.is_empty() {
            return Ok(Eof::Clean);
        }
        // A verdict must not depend on how much came at a time.
        match super::parse::parse(input, &self.config.limits) {
            Err(refusal) => Err(self.refuse_now(refusal.of_head(input), cx)),
            Ok(_) => Ok(Eof::Truncated),
        }
    }

    fn goodbye(&mut self, _: &mut Context<'_, Self>) -> Goodbye {
        self.bits |= LEAVING;
        if self.front.is_none() && matches!(self.deadline(), Deadline::Idle) {
            // Its next request may be on the way: it is answered, with `Connection: close`. Else the drain ends it.
            Goodbye::WhenPeerCloses
        } else {
            Goodbye::AfterMessage
        }
    }

    fn deadline(&self) -> Deadline {
        if let Some(receiving) = self.more.as_ref().and_then(|more| more.receiving.as_ref()) {
            // Not while the client waits for us: to be told to continue, or for the answers of older requests.
            if receiving.waits() || !self.is_alone() { Deadline::None } else { Deadline::Body }
        } else if self.front.is_some() {
            Deadline::None
        } else if self.scan.is_begun() {
            Deadline::Head
        } else {
            Deadline::Idle
        }
    }

    fn timeout(&mut self, which: Deadline, cx: &mut Context<'_, Self>) {
        match which {
            Deadline::Head if self.front.is_none() && self.bits & OVER == 0 => {
                self.refuse_now(refuse(408, "the head took too long"), cx);
            }
            Deadline::Body => {
                if let Some(receiving) = self.receiving() {
                    receiving.fail(BodyError::Timeout);
                }
                // Nothing of an answer must have been written, of this request or of one before it.
                let waits = self.front.filter(|front| front.stage == Stage::Waiting && self.is_alone());
                if let Some(front) = waits {
                    self.refuse_now(refuse(408, "the body made no progress").of(front.flags), cx);
                }
            }
            _ => {}
        }
    }

    fn max_message(&self) -> usize {
        // Each part of a message has a limit of its own, with a status for it.
        usize::MAX
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("number", &self.number)
            .field("front", &self.front)
            .finish_non_exhaustive()
    }
}
