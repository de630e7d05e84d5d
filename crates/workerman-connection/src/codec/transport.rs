//! A protocol over a byte stream of tokio.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use workerman_protocol::{Goodbye, Outbox, Protocol, Role};

use super::framer::{Driver, FramerError, Step};

/// Bytes that may wait to be written before a [`Transport`] makes its user wait, unless told otherwise: 64 KiB.
pub const DEFAULT_MAX_UNSENT: usize = 64 * 1024;

/// Room for each read.
const READ: usize = 8 * 1024;

/// What a peer said.
pub enum Received<P: Protocol> {
    /// A message.
    Message(P::Incoming),
    /// An event of the protocol (a ping, a head).
    Event(P::Event),
}

impl<P: Protocol> Received<P> {
    /// The message, if it is one.
    pub fn message(self) -> Option<P::Incoming> {
        match self {
            Self::Message(message) => Some(message),
            Self::Event(_) => None,
        }
    }
}

impl<P: Protocol> fmt::Debug for Received<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message(_) => "Message(..)",
            Self::Event(_) => "Event(..)",
        })
    }
}

/// Where the reading side is.
enum Reading<E> {
    Open,
    /// What is owed has to be written, then this error is told.
    Ending(Option<FramerError<E>>),
    Over,
}

/// A protocol over any `AsyncRead + AsyncWrite` of tokio, without an event loop of this crate; see [`framed`].
pub struct Transport<T, P: Protocol> {
    io: T,
    driver: Driver<P>,
    input: BytesMut,
    /// Messages and replies, in order.
    out: Outbox,
    reading: Reading<P::Error>,
    /// The peer has ended its stream.
    ended: bool,
    /// Written, but not flushed.
    dirty: bool,
    /// Our side of the stream is shut down.
    shut: bool,
    max_unsent: usize,
}

/// Speaks `protocol` over `io`: the messages and events of the peer by [`next`](Transport::next), ours by
/// [`send`](Transport::send).
///
/// The protocol's own replies (a greeting, a pong, a refusal) are written at once by whichever of the two runs, in order
/// with the messages. As long as the peer does not take them, nothing more of it is read: memory stays bounded by
/// [`max_unsent`](Transport::max_unsent), the protocol's `max_message`, and one message. There are no ticks and no
/// deadlines: see the [module](super).
///
/// # Examples
/// ```
/// # #[cfg(feature = "frame")] {
/// use workerman_connection::codec::{Received, framed};
/// use workerman_protocol::{Frame, Role};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (io, peer) = tokio::io::duplex(1024);
/// let mut here = framed(io, Frame::new(), Role::Server);
/// let mut there = framed(peer, Frame::new(), Role::Client);
/// there.send("hello").await?;
/// if let Some(Received::Message(frame)) = here.next().await.transpose()? {
///     assert_eq!(frame, "hello");
///     here.send(frame).await?;
/// }
/// # assert_eq!(there.next().await.transpose()?.and_then(Received::message).unwrap(), "hello");
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// # }).unwrap();
/// # }
/// ```
pub fn framed<T, P: Protocol>(io: T, protocol: P, role: Role) -> Transport<T, P> {
    Transport {
        io,
        driver: Driver::new(protocol, role),
        input: BytesMut::new(),
        out: Outbox::new(),
        reading: Reading::Open,
        ended: false,
        dirty: false,
        shut: false,
        max_unsent: DEFAULT_MAX_UNSENT,
    }
}

impl<T, P: Protocol> Transport<T, P> {
    /// Sets how many bytes may wait to be written before reading stops and senders wait; default 64 KiB, at least 1.
    #[must_use]
    pub fn max_unsent(mut self, bytes: usize) -> Self {
        self.max_unsent = bytes.max(1);
        self
    }

    /// Seeds the protocol's random source (from here on), for tests; default is a seed from the system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.driver.seed(seed);
        self
    }

    /// Number of bytes that wait to be written.
    pub fn unsent(&self) -> usize {
        self.out.len() + self.driver.replies.len()
    }

    /// The stream.
    pub fn io(&self) -> &T {
        &self.io
    }

    /// Gives up the stream to another protocol, with the bytes that are not decoded and those that are not written.
    pub fn into_parts(mut self) -> Parts<T> {
        self.out.append(&mut self.driver.replies);
        Parts { io: self.io, unread: self.driver.into_parts(self.input), unsent: self.out }
    }
}

/// What is left of a [`Transport`].
#[derive(Debug)]
pub struct Parts<T> {
    /// The stream.
    pub io: T,
    /// Received and not decoded, oldest first.
    pub unread: BytesMut,
    /// To be written before anything else.
    pub unsent: Outbox,
}

impl<T: AsyncRead + AsyncWrite + Unpin, P: Protocol> Transport<T, P> {
    /// The next message or event; `None` when the peer has ended its stream, or the protocol its own.
    ///
    /// It can be dropped at any point (in a `select!`) without a loss. After an error comes `None`; what can still
    /// be sent then, if anything, is up to the protocol.
    ///
    /// # Errors
    /// What the peer sent is not this protocol, is too long or ends within a message, or the stream failed. What the
    /// protocol had to say about it has been written before the error is told.
    pub async fn next(&mut self) -> Option<Result<Received<P>, FramerError<P::Error>>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Sends a message: encodes it and writes everything that waits.
    ///
    /// Dropped while it waits for room, it sends nothing; dropped later, the message leaves with what is written next.
    ///
    /// # Errors
    /// The message has no encoding (nothing of it is sent), the protocol has ended this side, or the stream failed.
    pub async fn send(&mut self, message: impl Into<P::Outgoing>) -> Result<(), FramerError<P::Error>> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Queues a message, to leave with what is written next; waits only while too many bytes wait already.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn feed(&mut self, message: impl Into<P::Outgoing>) -> Result<(), FramerError<P::Error>> {
        let message = message.into();
        self.collect();
        self.driver.begin()?;
        if self.out.len() >= self.max_unsent {
            let below = self.max_unsent - 1;
            poll_fn(|cx| self.poll_write_down_to(below, cx)).await?;
        }
        if self.shut || self.out.is_finished() {
            return Err(FramerError::Finished);
        }
        self.driver.encode(message, &mut self.out)
    }

    /// Writes everything that waits, replies included.
    ///
    /// # Errors
    /// The stream failed.
    pub async fn flush(&mut self) -> Result<(), FramerError<P::Error>> {
        poll_fn(|cx| self.poll_flush(cx)).await.map_err(FramerError::Io)
    }

    /// Says goodbye in the protocol's way, and ends this side of the stream when the protocol says that it ends now.
    ///
    /// Otherwise, as the returned [`Goodbye`] tells: receive on until the peer has ended, then drop the transport. To be
    /// called once.
    ///
    /// # Errors
    /// The stream failed.
    pub async fn close(&mut self, code: Option<u16>, reason: &str) -> Result<Goodbye, FramerError<P::Error>> {
        let goodbye = self.driver.call(Waker::noop(), |protocol, cx| protocol.close(code, reason, cx));
        self.collect();
        if goodbye == Goodbye::Now {
            self.out.finish();
        }
        self.flush().await?;
        Ok(goodbye)
    }

    /// The poll form of [`next`](Self::next).
    ///
    /// # Errors
    /// As [`next`](Self::next).
    #[allow(clippy::type_complexity, reason = "it is the signature of a stream")]
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Received<P>, FramerError<P::Error>>>> {
        loop {
            let flushed = match (self.poll_flush(cx), &mut self.reading) {
                (_, Reading::Over) => return Poll::Ready(None),
                (Poll::Ready(Err(error)), reading) => {
                    // What made the connection end says more than that its last words could not be written.
                    let first = match std::mem::replace(reading, Reading::Over) {
                        Reading::Ending(Some(first)) => first,
                        _ => FramerError::Io(error),
                    };
                    return Poll::Ready(Some(Err(first)));
                }
                (Poll::Ready(Ok(())), Reading::Ending(error)) => {
                    let error = error.take();
                    self.reading = Reading::Over;
                    return Poll::Ready(error.map(Err));
                }
                (Poll::Pending, Reading::Ending(_)) => return Poll::Pending,
                (flushed, Reading::Open) => flushed.is_ready(),
            };
            if self.out.is_finished() {
                self.input = BytesMut::new();
                self.reading = Reading::Ending(self.driver.begin().err());
                continue;
            }
            // The peer has to take what it is owed before it is asked for more.
            if !flushed && self.out.len() >= self.max_unsent {
                return Poll::Pending;
            }
            let blocked = match self.driver.next(&mut self.input, self.ended, cx.waker()) {
                Ok(Step::Message(message)) => return self.deliver(Received::Message(message), cx),
                Ok(Step::Event(event)) => return self.deliver(Received::Event(event), cx),
                Ok(Step::Need) => false,
                Ok(Step::Blocked) => true,
                Ok(Step::End) => {
                    self.reading = Reading::Ending(None);
                    continue;
                }
                Err(error) => {
                    self.reading = Reading::Ending(Some(error));
                    continue;
                }
            };
            if !self.driver.replies.is_empty() || self.driver.replies.is_finished() {
                continue;
            }
            if blocked && (self.ended || self.input.len() >= self.driver.max_message()) {
                // `send` or the protocol's own waker goes on from here.
                return Poll::Pending;
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(n)) => self.ended = n == 0,
                Poll::Ready(Err(error)) => self.reading = Reading::Ending(Some(FramerError::Io(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Writes everything that waits.
    ///
    /// # Errors
    /// The stream failed; what was not written is thrown away.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.collect();
        std::task::ready!(self.poll_write_down_to(0, cx))?;
        if self.dirty {
            std::task::ready!(pin!(self.io.flush()).poll(cx))?;
            self.dirty = false;
        }
        if self.out.is_finished() && !self.shut {
            std::task::ready!(pin!(self.io.shutdown()).poll(cx))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Replies go out in order with the messages.
    fn collect(&mut self) {
        self.out.append(&mut self.driver.replies);
    }

    /// Replies that came with a message leave now, not when the application asks for the next.
    #[allow(clippy::type_complexity, reason = "it is the signature of a stream")]
    fn deliver(
        &mut self,
        received: Received<P>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Received<P>, FramerError<P::Error>>>> {
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            self.reading = Reading::Ending(Some(FramerError::Io(error)));
        }
        Poll::Ready(Some(Ok(received)))
    }

    fn poll_write_down_to(&mut self, len: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out.len() > len {
            // `write_buf` and `read_buf` keep nothing between two polls, so a future can be made for each.
            let written = match std::task::ready!(pin!(self.io.write_buf(&mut self.out)).poll(cx)) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                result => result,
            };
            if let Err(error) = written {
                self.out.advance(self.out.len());
                return Poll::Ready(Err(error));
            }
            self.dirty = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(READ);
        pin!(self.io.read_buf(&mut self.input)).poll(cx)
    }
}

impl<T, P: Protocol> fmt::Debug for Transport<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("undecoded", &self.input.len())
            .field("unsent", &self.unsent())
            .finish_non_exhaustive()
    }
}
