//! A protocol as a codec of `tokio_util`.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};
use workerman_protocol::{Context, Decoded, Eof, Event, Outbox, Protocol, Random, Role};

/// Most bytes of replies that a [`Framer`] keeps for its user, unless told otherwise: 1 MiB.
pub const DEFAULT_MAX_REPLIES: usize = 1024 * 1024;

/// Why a [`Framer`] or a [`Transport`](crate::codec::Transport) failed; `E` is the protocol's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FramerError<E> {
    /// The protocol refused what the peer sent, or a message to be sent.
    #[error(transparent)]
    Protocol(E),
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The next message would be longer than the protocol allows.
    #[error("a message of at least {needed} bytes exceeds the limit of {limit}")]
    TooLong {
        /// Bytes it takes at least.
        needed: usize,
        /// The limit.
        limit: usize,
    },
    /// The peer ended its stream within a message.
    #[error("the stream ended within a message")]
    Truncated,
    /// The protocol waits for the application, and a `Framed` cannot wait any longer: the stream has ended, or too much
    /// has arrived. Use [`framed`](crate::codec::framed) for such a protocol.
    #[error("the protocol waits for the application with {waiting} bytes undecoded")]
    Blocked {
        /// Bytes that wait.
        waiting: usize,
    },
    /// The protocol owes the peer more replies than may be kept, and nobody wrote them.
    #[error("{waiting} bytes of replies wait to be written, more than the limit of {limit}")]
    RepliesUnsent {
        /// Bytes that wait.
        waiting: usize,
        /// The limit.
        limit: usize,
    },
    /// Nothing can be sent any more: the protocol has ended its side of the stream, or could not begin.
    #[error("this side of the stream has ended")]
    Finished,
}

/// What the decoding half of a protocol found.
pub(super) enum Step<P: Protocol> {
    Message(P::Incoming),
    Event(P::Event),
    /// More bytes are needed.
    Need,
    Blocked,
    /// The stream has ended, between messages.
    End,
}

/// A protocol and what surrounds it; the driver of both adapters.
pub(super) struct Driver<P: Protocol> {
    protocol: P,
    sending: Mutex<P::Sending>,
    /// What the protocol owes the peer.
    pub(super) replies: Outbox,
    random: Random,
    role: Role,
    /// Why the protocol could not begin, until somebody is told.
    failed: Option<P::Error>,
    /// The protocol could not begin: nothing is encoded.
    unopened: bool,
    /// The protocol has failed: nothing more is decoded.
    over: bool,
}

impl<P: Protocol> Driver<P> {
    /// Opens the protocol. If that fails, what it had to say is in the replies, and the error is told later.
    pub(super) fn new(protocol: P, role: Role) -> Self {
        let mut driver = Self {
            protocol,
            sending: Mutex::default(),
            replies: Outbox::new(),
            random: Random::new(fastrand::u64(..)),
            role,
            failed: None,
            unopened: false,
            over: false,
        };
        if let Err(error) = driver.call(Waker::noop(), P::open) {
            driver.failed = Some(error);
            driver.unopened = true;
            driver.over = true;
        }
        driver
    }

    pub(super) fn call<R>(&mut self, waker: &Waker, f: impl FnOnce(&mut P, &mut Context<'_, P>) -> R) -> R {
        let now = tokio::time::Instant::now().into_std();
        let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (random, replies) = (&mut self.random, &mut self.replies);
        let mut cx = Context::new(now, unix_seconds, self.role, random, replies, &self.sending, waker);
        f(&mut self.protocol, &mut cx)
    }

    pub(super) fn max_message(&self) -> usize {
        self.protocol.max_message()
    }

    /// Why the protocol could not begin, once.
    pub(super) fn begin(&mut self) -> Result<(), FramerError<P::Error>> {
        self.failed.take().map_or(Ok(()), |error| Err(FramerError::Protocol(error)))
    }

    /// Decodes; an error is told once, then nothing is decoded any more.
    pub(super) fn next(
        &mut self,
        input: &mut BytesMut,
        ended: bool,
        waker: &Waker,
    ) -> Result<Step<P>, FramerError<P::Error>> {
        self.begin()?;
        if self.over {
            input.clear();
            return Ok(if ended { Step::End } else { Step::Need });
        }
        let result = self.step(input, ended, waker);
        self.over = result.is_err();
        result
    }

    fn step(
        &mut self,
        input: &mut BytesMut,
        ended: bool,
        waker: &Waker,
    ) -> Result<Step<P>, FramerError<P::Error>> {
        match self.call(waker, |protocol, cx| protocol.decode(input, cx)).map_err(FramerError::Protocol)? {
            Decoded::Message(message) => Ok(Step::Message(message)),
            Decoded::Event(event) => Ok(Step::Event(event)),
            Decoded::Blocked => Ok(Step::Blocked),
            Decoded::Need(_) if ended => {
                let eof = self.call(waker, |protocol, cx| protocol.eof(input, cx));
                match eof.map_err(FramerError::Protocol)? {
                    Eof::Message(message) => Ok(Step::Message(message)),
                    Eof::Clean => Ok(Step::End),
                    Eof::Truncated => Err(FramerError::Truncated),
                    Eof::Blocked => Ok(Step::Blocked),
                }
            }
            Decoded::Need(more) => {
                let needed = input.len().saturating_add(more.max(1));
                let limit = self.protocol.max_message();
                if needed > limit { Err(FramerError::TooLong { needed, limit }) } else { Ok(Step::Need) }
            }
        }
    }

    /// Appends a message to `out`, or nothing and says why.
    pub(super) fn encode(
        &mut self,
        message: P::Outgoing,
        out: &mut Outbox,
    ) -> Result<(), FramerError<P::Error>> {
        self.begin()?;
        if self.unopened {
            return Err(FramerError::Finished);
        }
        let before = out.len();
        let sending = self.sending.get_mut().unwrap_or_else(PoisonError::into_inner);
        P::encode(sending, message, out).map_err(|error| {
            out.truncate(before);
            FramerError::Protocol(error)
        })?;
        if P::ANSWERS {
            // The message is with the decoding half now, which writes it.
            self.call(Waker::noop(), P::pump).map_err(FramerError::Protocol)?;
            out.append(&mut self.replies);
        }
        Ok(())
    }

    pub(super) fn into_parts(self, unread: BytesMut) -> BytesMut {
        self.protocol.into_parts(unread)
    }

    pub(super) fn seed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }
}

/// A protocol as a codec, for [`tokio_util::codec::Framed`] and the like.
///
/// It is a `Decoder<Item = P::Incoming>` and an `Encoder<P::Outgoing>`. Input is bounded by the protocol's
/// [`max_message`](Protocol::max_message).
///
/// # Replies
/// A decoder cannot write, so what the protocol itself owes the peer (a greeting, a pong, a refusal) waits here. It
/// goes out in front of the next message that is sent, in the right order; if nothing is to be sent, write it:
/// ```
/// # use tokio_util::codec::Framed;
/// # use workerman_connection::codec::Framer;
/// # use workerman_protocol::Protocol;
/// # fn write<T, P: Protocol>(framed: &mut Framed<T, Framer<P>>) {
/// let replies = framed.codec_mut().take_replies();
/// framed.write_buffer_mut().extend_from_slice(&replies); // then flush it
/// # }
/// ```
/// Look for them after each message and **after an error** as well: the last words of a protocol that refuses its peer
/// are among them. If more than [`max_replies`](Self::max_replies) bytes wait, decoding fails. For a protocol that
/// replies by itself, [`framed`](crate::codec::framed) is the simpler way: it writes them at once.
///
/// # Limits
/// There are no ticks and no deadlines. A protocol that answers [`Decoded::Blocked`] is tried again with the next bytes
/// only, and fails with [`FramerError::Blocked`] if these exceed `max_message` or the stream ends.
///
/// # Examples
/// ```
/// # #[cfg(feature = "text")] {
/// use futures_util::{SinkExt, StreamExt};
/// use tokio_util::codec::Framed;
/// use workerman_connection::codec::Framer;
/// use workerman_protocol::{Role, Text};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (io, peer) = tokio::io::duplex(1024);
/// let mut here = Framed::new(io, Framer::new(Text::new(), Role::Server));
/// let mut there = Framed::new(peer, Framer::new(Text::new(), Role::Client));
/// there.send("hello".into()).await?;
/// let line = here.next().await.expect("a line")?;
/// assert_eq!(line, "hello");
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// # }).unwrap();
/// # }
/// ```
pub struct Framer<P: Protocol> {
    driver: Driver<P>,
    on_event: Box<dyn FnMut(P::Event) + Send>,
    /// A message on its way to the buffer of the `Framed`.
    scratch: Outbox,
    max_replies: usize,
    finished: bool,
}

impl<P: Protocol<Event = Event>> Framer<P> {
    /// A codec of a protocol without events; opens it, so that a greeting may already be among the replies.
    ///
    /// If the protocol cannot begin, the first use of the codec says why.
    pub fn new(protocol: P, role: Role) -> Self {
        Self::with_events(protocol, role, |event| match event {})
    }
}

impl<P: Protocol> Framer<P> {
    /// A codec of a protocol whose events (pings, heads) are given to `on_event`, in order between the messages.
    pub fn with_events(protocol: P, role: Role, on_event: impl FnMut(P::Event) + Send + 'static) -> Self {
        let driver = Driver::new(protocol, role);
        Self {
            finished: driver.replies.is_finished(),
            driver,
            on_event: Box::new(on_event),
            scratch: Outbox::new(),
            max_replies: DEFAULT_MAX_REPLIES,
        }
    }

    /// Sets the most bytes of replies that may wait; default 1 MiB ([`DEFAULT_MAX_REPLIES`]).
    #[must_use]
    pub fn max_replies(mut self, bytes: usize) -> Self {
        self.max_replies = bytes;
        self
    }

    /// Seeds the protocol's random source (from here on), for tests; default is a seed from the system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.driver.seed(seed);
        self
    }

    /// Whether the protocol owes the peer something.
    pub fn has_replies(&self) -> bool {
        !self.driver.replies.is_empty()
    }

    /// What the protocol owes the peer; whoever takes it has to write it before anything that is encoded later.
    pub fn take_replies(&mut self) -> Bytes {
        std::mem::take(&mut self.driver.replies).into_bytes()
    }

    /// Whether the protocol has ended its side of the stream: write what is left, then shut the write side down.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The bytes that are not decoded yet, `unread` being what the `Framed` holds: for another protocol that takes
    /// over.
    pub fn into_parts(self, unread: BytesMut) -> BytesMut {
        self.driver.into_parts(unread)
    }

    fn advance(
        &mut self,
        input: &mut BytesMut,
        ended: bool,
    ) -> Result<Option<P::Incoming>, FramerError<P::Error>> {
        loop {
            if self.finished {
                input.clear();
                return self.driver.begin().map(|()| None);
            }
            let (waiting, limit) = (self.driver.replies.len(), self.max_replies);
            if waiting > limit {
                return Err(FramerError::RepliesUnsent { waiting, limit });
            }
            let step = self.driver.next(input, ended, Waker::noop());
            self.finished |= self.driver.replies.is_finished();
            match step? {
                Step::Message(message) => return Ok(Some(message)),
                Step::Event(event) => (self.on_event)(event),
                Step::Blocked if ended || input.len() > self.driver.max_message() => {
                    return Err(FramerError::Blocked { waiting: input.len() });
                }
                Step::Need | Step::Blocked | Step::End => return Ok(None),
            }
        }
    }
}

impl<P: Protocol> Decoder for Framer<P> {
    type Item = P::Incoming;
    type Error = FramerError<P::Error>;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<P::Incoming>, Self::Error> {
        self.advance(input, false)
    }

    fn decode_eof(&mut self, input: &mut BytesMut) -> Result<Option<P::Incoming>, Self::Error> {
        self.advance(input, true)
    }
}

impl<P: Protocol> Encoder<P::Outgoing> for Framer<P> {
    type Error = FramerError<P::Error>;

    /// Replies first, then the message; the replies also if the message is refused.
    fn encode(&mut self, message: P::Outgoing, out: &mut BytesMut) -> Result<(), Self::Error> {
        pour(&mut self.driver.replies, out);
        if self.finished {
            return Err(self.driver.begin().err().unwrap_or(FramerError::Finished));
        }
        let encoded = self.driver.encode(message, &mut self.scratch);
        self.finished |= self.scratch.is_finished();
        pour(&mut self.scratch, out);
        // The buffer for one large message is not kept for ever.
        self.scratch.clear(DEFAULT_MAX_REPLIES);
        encoded
    }
}

fn pour(from: &mut Outbox, to: &mut BytesMut) {
    to.reserve(from.len());
    while from.has_remaining() {
        let n = from.chunk().len();
        to.extend_from_slice(from.chunk());
        from.advance(n);
    }
}

impl<P: Protocol> fmt::Debug for Framer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framer")
            .field("replies", &self.driver.replies.len())
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}
