//! The client's side of a connection: requests out, one at a time, responses in.
//!
//! ```text
//!   Idle ──request taken──► Exchange: head written, body pumped ┐
//!    ▲                                head read, body read      ├──both done──► `Done`
//!    └──────────────────── kept ◄───────────────────────────────┘                 │ not kept
//!                          101, 2xx of CONNECT ──► Switched                        ▼
//!                                                                                 Over
//! ```
//! This file is the state machine; `request` says what can be sent, `upload` sends its body, `head` reads the head of a
//! response and decides how its body is framed, `download` reads the body.

mod download;
pub(super) mod head;
mod request;
#[cfg(test)]
mod tests;
mod upload;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::StatusCode;

use self::download::{Download, Flow};
use self::head::{Framing, Head, Scan};
pub use self::request::ClientRequest;
use self::request::Prepared;
use self::upload::{Pumped, Upload};
use super::chunked::ChunkLimits;
use super::{Body, BodyError, Error, Response};
use crate::{Context, Deadline, Decoded, Eof, Goodbye, Outbox, Protocol, take};

/// Bodies up to this size that have arrived together with their head are handed out in one piece: 64 KiB.
const WHOLE_UP_TO: usize = 64 * 1024;

/// HTTP/1.1 (RFC 9112), the client's side of one connection.
///
/// A [`ClientRequest`] is sent as a message; its response comes as a message as soon as its head is complete, with a
/// body that is read as it arrives: 64 KiB ahead of its reader, then the server has to wait. One request is in progress
/// at a time and one more may wait for it. When both directions of an exchange are through there is an event,
/// [`ClientEvent::Done`], which tells whether the connection can carry another one; where it cannot, it is closed. (A
/// body that ends with the connection has no `Done`: the connection's end follows.)
///
/// The reader is strict, since a response that can be read in two ways can be made to be: no response is shorter than
/// its framing says and none begins with bytes that came before its request.
///
/// An answer that comes before the request's body was sent ends the sending: at once if it is no success, or else when
/// it is complete, so that a server may answer while it reads.
///
/// # Examples
/// ```
/// use std::time::Instant;
/// use workerman_protocol::Role;
/// use workerman_protocol::http::{ClientRequest, HttpClient};
/// use workerman_protocol::testing::Harness;
///
/// let mut client = Harness::new(HttpClient::new(), Instant::now()).role(Role::Client);
/// client.send(ClientRequest::get("http://example.com/")).unwrap();
/// assert_eq!(client.output(), "GET / HTTP/1.1\r\nhost: example.com\r\n\r\n");
/// client.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
/// let response = client.messages().remove(0);
/// assert_eq!(response.status(), 200);
/// assert_eq!(response.into_body().as_bytes().unwrap(), "hi");
/// ```
pub struct HttpClient {
    config: Arc<Config>,
    state: State,
}

/// What the server says besides responses, and what becomes of the connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientEvent {
    /// An interim response (1xx): the final one is still to come.
    Interim(Response),
    /// The exchange is over in both directions.
    Done {
        /// Whether the connection can carry another request; if not, it is closed.
        reusable: bool,
    },
}

/// The sending half of an [`HttpClient`]: the request that waits to be begun.
#[derive(Default)]
pub struct ClientQueue {
    next: Option<Box<Prepared>>,
    /// There will be no other exchange.
    closed: bool,
}

impl fmt::Debug for ClientQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientQueue").field("waits", &self.next.is_some()).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Config {
    max_head: usize,
    max_fields: usize,
    max_interim: usize,
    drain: u64,
    expect: Option<Duration>,
    chunks: ChunkLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_head: 64 * 1024,
            max_fields: 100,
            max_interim: 16,
            drain: 64 * 1024,
            expect: None,
            chunks: ChunkLimits { extensions: 16 * 1024, trailers: 16 * 1024, fields: 100 },
        }
    }
}

enum State {
    /// No request.
    Idle,
    Exchange(Box<Exchange>),
    /// The connection is another protocol's from here on.
    Switched,
    /// There will be no other exchange.
    Over,
    /// The same, and a request had waited for one.
    Lost,
}

/// A request and its response.
struct Exchange {
    /// What is left of the request. (Behind a mutex that is never locked: it makes the codec `Sync` although bodies are
    /// not.)
    upload: Mutex<Upload>,
    /// Nothing is left of it.
    is_sent: bool,
    reading: Reading,
    /// The request is a HEAD (its response has no body) ...
    is_head: bool,
    /// ... or a CONNECT ...
    is_connect: bool,
    /// ... or offers an upgrade.
    upgrades: bool,
    /// Nothing has forbidden yet to keep the connection.
    keep: bool,
    interim: usize,
    /// Bytes of the response have arrived.
    begun: bool,
}

enum Reading {
    Head(Scan),
    Body(Download),
    Done,
}

impl HttpClient {
    /// A client with the default limits.
    pub fn new() -> Self {
        Self { config: Arc::default(), state: State::Idle }
    }

    fn with(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(Arc::make_mut(&mut self.config));
        self
    }

    /// Most bytes of the head of a response; default 64 KiB.
    #[must_use]
    pub fn max_head(self, bytes: usize) -> Self {
        self.with(|config| config.max_head = bytes)
    }

    /// Most fields of a response, and of its trailer section; default 100.
    #[must_use]
    pub fn max_fields(self, fields: usize) -> Self {
        self.with(|config| {
            config.max_fields = fields;
            config.chunks.fields = fields;
        })
    }

    /// Most bytes of chunk extensions in one body; default 16 KiB.
    #[must_use]
    pub fn max_chunk_extensions(self, bytes: usize) -> Self {
        self.with(|config| config.chunks.extensions = bytes)
    }

    /// Most bytes of the trailer section of a body; default 16 KiB.
    #[must_use]
    pub fn max_trailers(self, bytes: usize) -> Self {
        self.with(|config| config.chunks.trailers = bytes)
    }

    /// Most interim responses before the final one; default 16.
    #[must_use]
    pub fn max_interim(self, responses: usize) -> Self {
        self.with(|config| config.max_interim = responses)
    }

    /// How much of a body is read and thrown away for the sake of the connection when nobody wants it; default 64 KiB.
    ///
    /// A longer one ends the connection.
    #[must_use]
    pub fn drain(self, bytes: u64) -> Self {
        self.with(|config| config.drain = bytes)
    }

    /// Asks the server before a body that is not in memory is sent (RFC 9110 section 10.1.1); default never.
    ///
    /// The body is sent when the server has agreed, or when `wait` is over without an answer; never, if the answer is a
    /// final one. It costs a timer of the connection.
    #[must_use]
    pub fn expect_continue(self, wait: Duration) -> Self {
        self.with(|config| config.expect = Some(wait.max(Duration::from_millis(1))))
    }

    /// Begins with the request that waits, if there is one.
    fn begin(&mut self, cx: &mut Context<'_, Self>) -> bool {
        let Some(prepared) = cx.sending(|queue| queue.next.take()) else { return false };
        let expect = self.config.expect.filter(|_| prepared.may_wait());
        prepared.write_head(cx.reply().buffer(), expect.is_some());
        let until = expect.and_then(|wait| cx.now().checked_add(wait));
        self.state = State::Exchange(Box::new(Exchange {
            is_head: prepared.is_head(),
            is_connect: prepared.is_connect(),
            upgrades: prepared.upgrades(),
            keep: !prepared.closes(),
            upload: Mutex::new(prepared.into_upload(until)),
            is_sent: false,
            reading: Reading::Head(Scan::default()),
            interim: 0,
            begun: false,
        }));
        true
    }

    /// There will be no other exchange. A reader hears why.
    fn over(&mut self, why: BodyError, cx: &mut Context<'_, Self>) {
        if let State::Exchange(exchange) = std::mem::replace(&mut self.state, State::Over) {
            if let Reading::Body(download) = exchange.reading {
                download.fail(why);
            }
        }
        shut(cx);
    }

    /// Both directions are through, or one is and the other is given up.
    fn done(&mut self, mut reusable: bool, unread: bool, cx: &mut Context<'_, Self>) -> Decoded<Self> {
        // What follows a response without being asked for cannot be the response to the next request.
        reusable &= !unread;
        self.state = if reusable {
            State::Idle
        } else if shut(cx).is_some() {
            State::Lost
        } else {
            cx.reply().finish();
            State::Over
        };
        Decoded::Event(ClientEvent::Done { reusable })
    }

    fn advance(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Error> {
        match &self.state {
            State::Idle if !input.is_empty() => {
                return Err(Error::Unasked);
            }
            State::Idle => {
                if !self.begin(cx) {
                    return Ok(Decoded::Need(1));
                }
            }
            State::Exchange(_) => {}
            State::Switched => return Ok(Decoded::Blocked),
            State::Over => {
                input.clear();
                return Ok(Decoded::Need(1));
            }
            State::Lost => {
                return Err(Error::Message("the connection ended before the request that waits was begun"));
            }
        }
        let State::Exchange(exchange) = &mut self.state else { return Ok(Decoded::Need(1)) };
        let pumped = exchange.pump(cx)?;
        let decoded = match &mut exchange.reading {
            Reading::Head(_) => return self.head(input, pumped, cx),
            Reading::Body(download) => match download.next(input, self.config.drain)? {
                Flow::Need => Decoded::Need(1),
                Flow::Full => Decoded::Blocked,
                Flow::End => {
                    exchange.reading = Reading::Done;
                    return Ok(self.complete(input, cx));
                }
                Flow::Unwanted => return Ok(self.done(false, true, cx)),
            },
            Reading::Done => return Ok(self.complete(input, cx)),
        };
        Ok(waits(decoded, pumped))
    }

    /// The response has been read to its end.
    fn complete(&mut self, input: &BytesMut, cx: &mut Context<'_, Self>) -> Decoded<Self> {
        let State::Exchange(exchange) = &mut self.state else { return Decoded::Need(1) };
        // A request that is not through by now is cut off: the server has said all it wants to.
        let reusable = exchange.keep && exchange.is_sent;
        self.done(reusable, !input.is_empty(), cx)
    }

    /// Looks for the head of a response.
    fn head(
        &mut self,
        input: &mut BytesMut,
        pumped: Pumped,
        cx: &mut Context<'_, Self>,
    ) -> Result<Decoded<Self>, Error> {
        let State::Exchange(exchange) = &mut self.state else { return Ok(Decoded::Need(1)) };
        let Reading::Head(scan) = &mut exchange.reading else { return Ok(Decoded::Need(1)) };
        exchange.begun = !input.is_empty();
        let Some(end) = scan.find(input, self.config.max_head, self.config.max_fields)? else {
            return Ok(waits(Decoded::Need(1), pumped));
        };
        *scan = Scan::default();
        let head = Head::parse(&take(input, end))?;
        if head.status.is_informational() && !head.upgrades() {
            let event = exchange.interim(head, self.config.max_interim)?;
            return Ok(Decoded::Event(event));
        }
        if head.upgrades() && !(exchange.upgrades && exchange.is_sent) {
            return Err(Error::Response("a switch to another protocol that was not asked for"));
        }
        // RFC 9110 section 9.3.6: a tunnel begins behind the head, whatever it says of a body.
        if head.upgrades() || (exchange.is_connect && head.status.is_success()) {
            self.state = State::Switched;
            shut(cx);
            return Ok(Decoded::Message(head.into_response(Body::empty())));
        }
        let framing = head.framing(exchange.is_head)?;
        exchange.keep &= head.keeps() && !head.has_stray_framing();
        let upload = upload(&mut exchange.upload);
        if !exchange.is_sent && (!head.status.is_success() || upload.is_waiting()) {
            // RFC 9112 section 9.5: who is refused stops sending. The server still waits for the rest, so that only the
            // end of the connection can end the request.
            upload.stop();
            exchange.keep = false;
        }
        let whole = |length: u64| usize::try_from(length).ok().filter(|n| *n <= input.len().min(WHOLE_UP_TO));
        let body = match framing {
            Framing::None => Body::empty(),
            Framing::Length(length) if whole(length).is_some() => take(input, length as usize).into(),
            streamed => {
                exchange.keep &= !matches!(streamed, Framing::Close);
                let (download, incoming) = Download::new(streamed, &self.config.chunks, cx.waker());
                exchange.reading = Reading::Body(download);
                return Ok(Decoded::Message(head.into_response(Body::incoming(incoming))));
            }
        };
        exchange.reading = Reading::Done;
        Ok(Decoded::Message(head.into_response(body)))
    }
}

/// No other request is taken from here on; the one that waited comes out.
fn shut(cx: &mut Context<'_, HttpClient>) -> Option<Box<Prepared>> {
    cx.sending(|queue| {
        queue.closed = true;
        queue.next.take()
    })
}

fn upload(upload: &mut Mutex<Upload>) -> &mut Upload {
    upload.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// Until when a decoder waits that needs input and may have something to send.
fn waits(decoded: Decoded<HttpClient>, pumped: Pumped) -> Decoded<HttpClient> {
    match pumped {
        // Told when everything queued has been written, and still with every arrival.
        Pumped::Full => Decoded::Blocked,
        Pumped::Done | Pumped::Waits => decoded,
    }
}

impl Exchange {
    fn pump(&mut self, cx: &mut Context<'_, HttpClient>) -> Result<Pumped, Error> {
        let upload = upload(&mut self.upload);
        let pumped = upload.pump(cx)?;
        self.is_sent = pumped == Pumped::Done;
        Ok(pumped)
    }

    /// A response of 1xx (RFC 9110 section 15.2).
    fn interim(&mut self, head: Head, most: usize) -> Result<ClientEvent, Error> {
        self.interim += 1;
        if self.interim > most {
            return Err(Error::Limit { what: "the number of interim responses", limit: most as u64 });
        }
        if head.status == StatusCode::CONTINUE {
            upload(&mut self.upload).go();
        }
        Ok(ClientEvent::Interim(head.into_response(Body::empty())))
    }
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

/// A fresh client with the same limits.
impl Clone for HttpClient {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config), state: State::Idle }
    }
}

impl Protocol for HttpClient {
    type Incoming = Response;
    type Outgoing = ClientRequest;
    type Event = ClientEvent;
    type Error = Error;
    type Sending = ClientQueue;

    const ANSWERS: bool = true;

    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Error> {
        self.advance(input, cx).inspect_err(|error| self.over(body_error(error), cx))
    }

    fn encode(queue: &mut ClientQueue, request: ClientRequest, _: &mut Outbox) -> Result<(), Error> {
        if queue.closed {
            return Err(Error::Message("the connection takes no other request"));
        }
        if queue.next.is_some() {
            return Err(Error::Message("another request waits already"));
        }
        queue.next = Some(Box::new(request.prepare()?));
        Ok(())
    }

    fn pump(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Error> {
        // A request is begun by `decode`, which sees whether anything has come that nobody asked for.
        if let State::Exchange(exchange) = &mut self.state {
            if let Err(error) = exchange.pump(cx) {
                self.over(body_error(&error), cx);
                return Err(error);
            }
        }
        Ok(())
    }

    fn eof(&mut self, _: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Eof<Self>, Error> {
        let State::Exchange(exchange) = &mut self.state else { return Ok(Eof::Clean) };
        let ends = match &mut exchange.reading {
            Reading::Body(download) => download.eof(),
            Reading::Head(_) | Reading::Done => false,
        };
        self.over(BodyError::Aborted, cx);
        Ok(if ends { Eof::Clean } else { Eof::Truncated })
    }

    fn goodbye(&mut self, _: &mut Context<'_, Self>) -> Goodbye {
        if matches!(self.state, State::Exchange(_)) { Goodbye::AfterMessage } else { Goodbye::Now }
    }

    fn tick(&mut self, cx: &mut Context<'_, Self>) -> Result<Option<Instant>, Error> {
        let Some(wait) = self.config.expect else { return Ok(None) };
        let mut next = cx.now() + wait;
        if let State::Exchange(exchange) = &mut self.state {
            match upload(&mut exchange.upload).until() {
                Some(until) if until <= cx.now() => cx.waker().wake_by_ref(),
                Some(until) => next = until,
                None => {}
            }
        }
        Ok(Some(next))
    }

    fn deadline(&self) -> Deadline {
        match &self.state {
            State::Exchange(exchange) => match &exchange.reading {
                // The server is not asked for anything before it has everything; whether it takes it is the matter of
                // the deadline for writing.
                Reading::Head(_) if !exchange.is_sent => Deadline::None,
                Reading::Head(_) if exchange.begun => Deadline::Head,
                _ => Deadline::Body,
            },
            State::Switched => Deadline::None,
            State::Idle | State::Over | State::Lost => Deadline::Idle,
        }
    }

    fn timeout(&mut self, _: Deadline, cx: &mut Context<'_, Self>) {
        self.over(BodyError::Timeout, cx);
    }
}

/// What the reader of a body is told when the connection fails.
fn body_error(error: &Error) -> BodyError {
    match error {
        Error::Response(reason) => BodyError::Malformed(reason),
        Error::Limit { what, .. } => BodyError::Malformed(what),
        _ => BodyError::Aborted,
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle => "idle",
            State::Exchange(_) => "exchange",
            State::Switched => "switched",
            State::Over | State::Lost => "over",
        };
        f.debug_struct("HttpClient").field("state", &state).finish_non_exhaustive()
    }
}
