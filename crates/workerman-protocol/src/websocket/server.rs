//! The server's side of a connection.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::config::{Config, settings};
use super::core::{Core, Side};
use super::deflate::{Agreed, Deflate};
use super::frame::MAX_HEADER;
use super::handshake::{self, Accept, Accepted, Accepting, Agreement, Policy, Refusal, Step, Upgrade};
use super::send::{self, Sending};
use super::{CloseCode, Error, Event, Message, Open, Outgoing, compression};
use crate::http::{Request, Response, switch};
use crate::{
    Context, Deadline, Decoded, Eof, Failure, Farewell, Goodbye, Outbox, Protocol, Recovery, Shared,
};

/// WebSocket (RFC 6455), the server's side of one connection.
///
/// It begins with the handshake: [`Event::Handshake`] asks the application, if the settings say so; [`Event::Open`] tells that the
/// connection is open. Then messages come, and events. What a value of this type is cloned for are its settings: a clone is
/// a fresh connection.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use workerman_protocol::websocket::Websocket;
/// let websocket = Websocket::new()
///     .max_message(64 * 1024)
///     .heartbeat(Duration::from_secs(20), Duration::from_secs(5))
///     .protocols(["chat"]);
/// # drop(websocket);
/// ```
pub struct Websocket {
    core: Core,
    /// The handshake, until it is complete.
    opening: Option<Box<Opening>>,
}

enum Opening {
    /// Nothing has happened.
    New,
    Accepting(Accepting),
    /// It was complete before.
    Adopted(Open, Option<Agreed>),
}

impl Websocket {
    /// A server with the default settings.
    pub fn new() -> Self {
        Self::of(Arc::default())
    }

    fn of(config: Arc<Config>) -> Self {
        Self { core: Core::new(config), opening: Some(Box::new(Opening::New)) }
    }

    /// Sets the sub-protocols that are offered, the best first; default none. See [`Policy::protocols`].
    ///
    /// # Panics
    /// If a name is not a token, or twice in the list.
    #[must_use]
    pub fn protocols<S: Into<String>>(self, protocols: impl IntoIterator<Item = S>) -> Self {
        self.policy(|policy| policy.protocols(protocols))
    }

    /// Sets the pages that connections are taken from; default: of the same host, if their requests have cookies. See
    /// [`Policy::origins`].
    ///
    /// # Panics
    /// If an element is no origin.
    #[must_use]
    pub fn origins<S: AsRef<str>>(self, origins: impl IntoIterator<Item = S>) -> Self {
        self.policy(|policy| policy.origins(origins))
    }

    fn policy(self, change: impl FnOnce(Policy) -> Policy) -> Self {
        self.with(|config| config.policy = change(std::mem::take(&mut config.policy)))
    }

    /// Asks the application about each handshake ([`Event::Handshake`]); default off: what passes all rules is accepted.
    #[must_use]
    pub fn ask(self, ask: bool) -> Self {
        self.with(|config| config.asks = ask)
    }

    /// Whether it owns nothing on the heap.
    #[cfg(all(test, feature = "testing"))]
    pub(super) fn is_idle(&self) -> bool {
        self.opening.is_none() && self.core.more.is_none()
    }

    /// Tells of each handshake that is refused, besides the answer to it: for logs; default nobody.
    #[must_use]
    pub fn on_refusal(self, told: fn(&Refusal)) -> Self {
        self.policy(|policy| policy.on_refusal(told))
    }

    /// Checks a request that another protocol has read, by these settings.
    ///
    /// # Errors
    /// It is no handshake, a wrong one, or one that the settings do not allow; the refusal knows the answer.
    pub fn check(&self, request: &Request) -> Result<Upgrade, Refusal> {
        handshake::check(request, &self.core.config.policy)
    }

    /// The connection of a handshake that another protocol has read: what its client is to be answered, and the protocol that
    /// goes on behind this answer.
    ///
    /// # Errors
    /// `accept` has a field that cannot be sent, or a sub-protocol that the client has not offered.
    pub fn upgrade(
        &self,
        request: Request,
        upgrade: Upgrade,
        accept: Accept,
    ) -> Result<(Response, Self), crate::http::Error> {
        let (response, agreement, agreed) = self.agree(upgrade, accept)?;
        let mut next = self.clone();
        next.opening = Some(Box::new(Opening::Adopted(Open::accepted(request, agreement), agreed)));
        Ok((response, next))
    }

    /// What is answered to a handshake, and agreed on by it.
    fn agree(
        &self,
        upgrade: Upgrade,
        accept: Accept,
    ) -> Result<(Response, Agreement, Option<Agreed>), crate::http::Error> {
        let deflate = self.core.config.deflate.as_ref().filter(|_| accept.compresses());
        let agreed = deflate.and_then(|deflate| deflate.accept(upgrade.offered_extensions()));
        let settled = upgrade.settle(accept, agreed.as_ref().map(Agreed::to_string))?;
        let agreement = Agreement {
            protocol: settled.protocol().map(Box::from),
            extensions: compression::said(agreed.as_ref()),
        };
        Ok((settled.response(), agreement, agreed))
    }

    /// Goes on with the handshake.
    #[cold]
    fn accept(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Error> {
        let Some(opening) = &mut self.opening else { return Ok(Decoded::Need(1)) };
        let config = &self.core.config;
        let step = match &mut **opening {
            Opening::Accepting(accepting) => {
                accepting.step(input, &config.policy, config.asks, cx.peer(), cx.waker())
            }
            Opening::New => Step::Need,
            Opening::Adopted(..) => {
                let Some(Opening::Adopted(open, agreed)) = self.opening.take().map(|opening| *opening) else {
                    return Ok(Decoded::Need(1));
                };
                return Ok(self.opened(open, agreed, cx));
            }
        };
        match step {
            Step::Need => Ok(Decoded::Need(1)),
            Step::Blocked => Ok(Decoded::Blocked),
            Step::Ask(token) => Ok(Decoded::Event(Event::Handshake(token))),
            Step::Open(accepted) => self.settle(*accepted, cx),
            Step::Refuse(refusal) => {
                self.refuse(&refusal, cx);
                Err(Error::Refused(Box::new(refusal)))
            }
            Step::Reject(response) => {
                self.over();
                if let Err(error) = self.answer_with(response, cx) {
                    return Err(self.mistaken(&error, cx));
                }
                cx.reply().finish();
                Ok(Decoded::Need(1))
            }
        }
    }

    /// A handshake is accepted: the answer.
    fn settle(&mut self, accepted: Accepted, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Error> {
        let Accepted { request, upgrade, accept } = accepted;
        let (response, agreement, agreed) = match self.agree(upgrade, accept) {
            Ok(agreed) => agreed,
            Err(error) => return Err(self.mistaken(&error, cx)),
        };
        if let Err(error) = self.answer_with(response, cx) {
            return Err(self.mistaken(&error, cx));
        }
        Ok(self.opened(Open::accepted(request, agreement), agreed, cx))
    }

    fn opened(&mut self, open: Open, agreed: Option<Agreed>, cx: &mut Context<'_, Self>) -> Decoded<Self> {
        self.opening = None;
        self.core.start(cx.now());
        self.core.agree(agreed, cx);
        cx.release();
        Decoded::Event(Event::Open(open))
    }

    fn answer_with(
        &mut self,
        response: Response,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), crate::http::Error> {
        let unix_seconds = cx.unix_seconds();
        switch::write(response, false, unix_seconds, cx.reply())
    }

    fn refuse(&mut self, refusal: &Refusal, cx: &mut Context<'_, Self>) {
        self.over();
        let unix_seconds = cx.unix_seconds();
        // Our own answers have no mistakes.
        let _ = switch::write(refusal.response(), refusal.to_head(), unix_seconds, cx.reply());
    }

    /// The application's answer cannot be sent: the client gets another one.
    fn mistaken(&mut self, error: &crate::http::Error, cx: &mut Context<'_, Self>) -> Error {
        self.over();
        let _ = self.answer_with(Response::of(500), cx);
        Error::Answer(error.to_string().into())
    }

    /// There will be no connection.
    fn over(&mut self) {
        self.opening = None;
        self.core.end();
    }
}

settings!(Websocket);

impl Side for Websocket {
    const CLIENT: bool = false;
}

impl Protocol for Websocket {
    type Incoming = Message;
    type Outgoing = Outgoing;
    type Event = Event;
    type Error = Error;
    type Sending = Sending;

    const HOLDS: bool = true;

    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Error> {
        self.core.start(cx.now());
        if let Some(Opening::New) = self.opening.as_deref() {
            self.opening = Some(Box::new(Opening::Accepting(Accepting::new())));
        }
        Ok(())
    }

    #[inline]
    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Error> {
        if self.opening.is_some() {
            return self.accept(input, cx);
        }
        self.core.decode(input, cx)
    }

    #[inline]
    fn encode(sending: &mut Sending, message: Outgoing, out: &mut Outbox) -> Result<(), Error> {
        send::encode::<false>(sending, message, out)
    }

    fn size_hint(message: &Outgoing) -> usize {
        send::size_hint(message)
    }

    #[inline]
    fn free(bits: u8) -> Sending {
        Sending::free(bits)
    }

    fn encode_shared(message: &Outgoing) -> Option<Shared> {
        send::encode_shared(message)
    }

    #[inline]
    fn append_shared(sending: &mut Sending, shared: &Shared, out: &mut Outbox) -> Result<(), Error> {
        send::append_shared(sending, shared, out);
        Ok(())
    }

    fn eof(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> Result<Eof<Self>, Error> {
        if self.opening.is_some() {
            return Ok(if input.is_empty() { Eof::Clean } else { Eof::Truncated });
        }
        Ok(self.core.eof(input))
    }

    fn failed(&mut self, _: Failure<'_>, cx: &mut Context<'_, Self>) -> Recovery {
        match self.opening.as_deref() {
            None => self.core.leave(CloseCode::UNEXPECTED, "", cx),
            // Without the text: that is for the log.
            Some(Opening::New | Opening::Accepting(_)) => self.refuse(&Refusal::failed(), cx),
            Some(Opening::Adopted(..)) => {}
        }
        Recovery::End
    }

    fn goodbye(&mut self, cx: &mut Context<'_, Self>) -> Goodbye {
        if self.opening.is_some() { Goodbye::Now } else { self.core.goodbye(cx) }
    }

    fn close(&mut self, code: Option<u16>, reason: &str, cx: &mut Context<'_, Self>) -> Goodbye {
        if self.opening.is_some() { Goodbye::Now } else { self.core.close(code, reason, cx) }
    }

    fn tick(&mut self, cx: &mut Context<'_, Self>) -> Result<Option<Instant>, Error> {
        if self.opening.is_some() {
            // The silence begins when it is open.
            self.core.start(cx.now());
        }
        self.core.tick(cx)
    }

    fn deadline(&self) -> Deadline {
        if self.opening.is_some() { Deadline::Handshake } else { self.core.deadline() }
    }

    fn timeout(&mut self, which: Deadline, cx: &mut Context<'_, Self>) {
        match self.opening.as_deref_mut() {
            Some(Opening::Accepting(accepting)) => {
                let refusal = accepting.timeout();
                self.refuse(&refusal, cx);
            }
            Some(_) => {}
            None => self.core.timeout(which, cx),
        }
    }

    fn farewell(&self) -> Option<Farewell> {
        self.core.farewell()
    }

    fn max_message(&self) -> usize {
        // The limits are checked in the header, with the right code; this is for the connection that waits for the rest.
        self.core.config.max_frame.max(switch::MAX_HEAD).saturating_add(MAX_HEADER)
    }
}

impl Default for Websocket {
    fn default() -> Self {
        Self::new()
    }
}

/// A fresh connection with the same settings.
impl Clone for Websocket {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.core.config))
    }
}

impl fmt::Debug for Websocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Websocket").field("open", &self.opening.is_none()).finish_non_exhaustive()
    }
}
