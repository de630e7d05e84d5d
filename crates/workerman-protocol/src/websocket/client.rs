//! The client's side of a connection.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::config::{Config, settings};
use super::core::{Core, Side};
use super::deflate::{Deflate, Offer};
use super::frame::MAX_HEADER;
use super::handshake::{ClientStep, Connecting, Hello};
use super::send::{self, Sending};
use super::{CloseCode, Error, Event, Message, Open, Outgoing};
use crate::http::switch;
use crate::{Context, Deadline, Decoded, Eof, Failure, Farewell, Goodbye, Outbox, Protocol, Recovery};

/// WebSocket (RFC 6455), the client's side of one connection.
///
/// It begins with the handshake; [`Event::Open`] tells that the connection is open. A clone is a fresh connection with the same
/// settings and the same request.
///
/// # Examples
/// ```
/// use workerman_protocol::websocket::{WebsocketClient, handshake::Hello};
/// let client = WebsocketClient::new(Hello::new("ws://example.com/chat")?).max_message(64 * 1024);
/// # drop(client);
/// # Ok::<(), workerman_protocol::websocket::handshake::HandshakeError>(())
/// ```
pub struct WebsocketClient {
    core: Core,
    hello: Arc<Hello>,
    opening: Opening,
}

enum Opening {
    /// Nothing has happened.
    New,
    Connecting(Box<(Connecting, Option<Offer>)>),
    Done,
}

impl WebsocketClient {
    /// A client with the default settings, which opens its connection with this request.
    pub fn new(hello: Hello) -> Self {
        Self::of(Arc::default(), Arc::new(hello))
    }

    fn of(config: Arc<Config>, hello: Arc<Hello>) -> Self {
        Self { core: Core::new(config), hello, opening: Opening::New }
    }

    /// Whether it owns nothing on the heap.
    #[cfg(all(test, feature = "testing"))]
    pub(super) fn is_idle(&self) -> bool {
        self.is_open() && self.core.more.is_none()
    }

    /// Changes the request that opens the connection: sub-protocols, fields.
    #[must_use]
    pub fn request(mut self, change: impl FnOnce(Hello) -> Hello) -> Self {
        self.hello = Arc::new(change(Arc::unwrap_or_clone(self.hello)));
        self
    }

    /// The request that opens the connection.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    fn is_open(&self) -> bool {
        matches!(self.opening, Opening::Done)
    }

    /// Goes on with the handshake.
    #[cold]
    fn connect(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Error> {
        let Opening::Connecting(connecting) = &mut self.opening else { return Ok(Decoded::Need(1)) };
        let connected = match connecting.0.step(input) {
            Ok(ClientStep::Need) => return Ok(Decoded::Need(1)),
            Ok(ClientStep::Open(connected)) => *connected,
            Err(error) => {
                self.opening = Opening::Done;
                self.core.end();
                return Err(error.into());
            }
        };
        let offer = connecting.1.take();
        self.opening = Opening::Done;
        self.core.start(cx.now());
        let agreed = match offer.map(|offer| offer.confirm(&connected.agreement.extensions)) {
            Some(Err(error)) => return Err(self.core.fail(error.into(), cx)),
            Some(Ok(agreed)) => agreed,
            None => None,
        };
        self.core.agree(agreed, cx);
        cx.release();
        Ok(Decoded::Event(Event::Open(Open::connected(connected))))
    }
}

settings!(WebsocketClient);

impl Side for WebsocketClient {
    const CLIENT: bool = true;
}

impl Protocol for WebsocketClient {
    type Incoming = Message;
    type Outgoing = Outgoing;
    type Event = Event;
    type Error = Error;
    type Sending = Sending;

    const HOLDS: bool = true;

    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Error> {
        self.core.start(cx.now());
        let offer = self.core.config.deflate.as_ref().map(Deflate::offer);
        let connecting = Connecting::new(Arc::clone(&self.hello), offer.as_ref().map(Offer::to_string))?;
        connecting.write(cx.reply().buffer())?;
        self.opening = Opening::Connecting(Box::new((connecting, offer)));
        Ok(())
    }

    #[inline]
    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Error> {
        if !self.is_open() {
            return self.connect(input, cx);
        }
        self.core.decode(input, cx)
    }

    #[inline]
    fn encode(sending: &mut Sending, message: Outgoing, out: &mut Outbox) -> Result<(), Error> {
        send::encode::<true>(sending, message, out)
    }

    fn size_hint(message: &Outgoing) -> usize {
        send::size_hint(message)
    }

    #[inline]
    fn free(bits: u8) -> Sending {
        Sending::free(bits)
    }

    fn eof(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> Result<Eof<Self>, Error> {
        match &mut self.opening {
            Opening::Connecting(connecting) => Err(connecting.0.ended().into()),
            Opening::New => Ok(Eof::Truncated),
            Opening::Done => Ok(self.core.eof(input)),
        }
    }

    fn failed(&mut self, _: Failure<'_>, cx: &mut Context<'_, Self>) -> Recovery {
        if self.is_open() {
            // RFC 6455 section 7.4.1 has 1011 for servers; the registry for both.
            self.core.leave(CloseCode::UNEXPECTED, "", cx);
        }
        Recovery::End
    }

    fn goodbye(&mut self, cx: &mut Context<'_, Self>) -> Goodbye {
        if self.is_open() { self.core.goodbye(cx) } else { Goodbye::Now }
    }

    fn close(&mut self, code: Option<u16>, reason: &str, cx: &mut Context<'_, Self>) -> Goodbye {
        if self.is_open() { self.core.close(code, reason, cx) } else { Goodbye::Now }
    }

    fn tick(&mut self, cx: &mut Context<'_, Self>) -> Result<Option<Instant>, Error> {
        if !self.is_open() {
            self.core.start(cx.now());
        }
        self.core.tick(cx)
    }

    fn deadline(&self) -> Deadline {
        if self.is_open() { self.core.deadline() } else { Deadline::Handshake }
    }

    fn timeout(&mut self, which: Deadline, cx: &mut Context<'_, Self>) {
        if self.is_open() {
            self.core.timeout(which, cx);
        }
    }

    fn farewell(&self) -> Option<Farewell> {
        self.core.farewell()
    }

    fn max_message(&self) -> usize {
        self.core.config.max_frame.max(switch::MAX_HEAD).saturating_add(MAX_HEADER)
    }
}

/// A fresh connection with the same settings and the same request.
impl Clone for WebsocketClient {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.core.config), Arc::clone(&self.hello))
    }
}

impl fmt::Debug for WebsocketClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebsocketClient").field("open", &self.is_open()).finish_non_exhaustive()
    }
}
