//! The body of a message: nothing, bytes in memory, what arrives from the peer, or any stream.

mod channel;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http_body::{Frame, SizeHint};

pub(crate) use self::channel::{Feed, Incoming, Room, channel};
use super::{BodyError, BoxError, Headers};

type Boxed = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>;

/// The body of a request or a response, on either side.
///
/// One that is complete in memory is [`Bytes`] and costs nothing more; one that arrives or leaves in pieces is read by
/// [`data`](Self::data), or as a [`Stream`] or an [`http_body::Body`].
///
/// # Examples
/// ```
/// use workerman_protocol::http::Body;
/// let body = Body::from("hello");
/// assert_eq!(body.as_bytes().unwrap(), "hello");
/// assert_eq!(body.len(), Some(5));
/// ```
#[derive(Default)]
pub struct Body {
    kind: Kind,
    trailers: Option<Box<Headers>>,
}

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    /// Locked for its length alone; what reads it owns it. So a body is `Sync` whatever is in it.
    Boxed(Mutex<Boxed>),
}

fn owned(boxed: &mut Mutex<Boxed>) -> &mut Boxed {
    boxed.get_mut().unwrap_or_else(PoisonError::into_inner)
}

fn locked(boxed: &Mutex<Boxed>) -> MutexGuard<'_, Boxed> {
    boxed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Body {
    /// A body of no bytes.
    pub const fn empty() -> Self {
        Self { kind: Kind::Empty, trailers: None }
    }

    /// A body that is read from a stream of pieces; its length is not known, so it is sent in chunks.
    ///
    /// The stream is polled only as fast as the peer takes its bytes, and dropped when the peer leaves.
    pub fn stream<S, B, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<BoxError>,
    {
        Self::boxed(Streamed { stream: Box::pin(stream), left: None })
    }

    /// Like [`stream`](Self::stream), with a length that is announced as `Content-Length`.
    ///
    /// A stream that yields fewer or more bytes breaks the connection off, so that the peer notices.
    pub fn sized<S, B, E>(length: u64, stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<BoxError>,
    {
        Self::boxed(Streamed { stream: Box::pin(stream), left: Some(length) })
    }

    /// Any [`http_body::Body`], trailers included.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::boxed(Foreign(Box::pin(body)))
    }

    fn boxed(body: impl http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static) -> Self {
        Self { kind: Kind::Boxed(Mutex::new(Box::pin(body))), trailers: None }
    }

    pub(crate) fn incoming(incoming: Incoming) -> Self {
        Self { kind: Kind::Incoming(incoming), trailers: None }
    }

    /// The same body with trailer fields behind it; they are sent only in chunks.
    #[must_use]
    pub fn with_trailers(mut self, trailers: Headers) -> Self {
        self.trailers = Some(Box::new(trailers));
        self
    }

    /// The bytes, if the whole body is in memory.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        static NOTHING: Bytes = Bytes::new();
        match &self.kind {
            Kind::Empty => Some(&NOTHING),
            Kind::Full(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Takes the bytes out, if the whole body is in memory; it is empty afterwards.
    pub fn take_bytes(&mut self) -> Option<Bytes> {
        match &mut self.kind {
            Kind::Empty => Some(Bytes::new()),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Some(bytes)
            }
            _ => None,
        }
    }

    /// Number of bytes that are still to come, where that is known.
    #[allow(clippy::len_without_is_empty)] // a body that may be empty is not known to be
    pub fn len(&self) -> Option<u64> {
        match &self.kind {
            Kind::Empty => Some(0),
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::Incoming(incoming) => incoming.left(),
            Kind::Boxed(boxed) => locked(boxed).size_hint().exact(),
        }
    }

    /// Fields behind the body: known once it has been read to its end.
    pub fn trailers(&self) -> Option<&Headers> {
        self.trailers.as_deref()
    }

    pub(crate) fn take_trailers(&mut self) -> Option<Headers> {
        self.trailers.take().map(|trailers| *trailers)
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The body broke off: the peer left, it made no progress, or its source failed. That is never the end.
    pub async fn data(&mut self) -> Option<Result<Bytes, BodyError>> {
        poll_fn(|cx| self.poll_data(cx)).await
    }

    /// Like [`data`](Self::data), by polling.
    ///
    /// # Errors
    /// As [`data`](Self::data).
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match &mut self.kind {
                Kind::Empty => return Poll::Ready(None),
                Kind::Full(bytes) => {
                    let bytes = std::mem::take(bytes);
                    self.kind = Kind::Empty;
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Kind::Incoming(incoming) => {
                    let polled = std::task::ready!(incoming.poll(cx));
                    if polled.as_ref().is_none_or(Result::is_err) {
                        if let Some(trailers) = incoming.take_trailers() {
                            self.trailers = Some(Box::new(trailers));
                        }
                        self.kind = Kind::Empty;
                    }
                    return Poll::Ready(polled);
                }
                Kind::Boxed(boxed) => match std::task::ready!(owned(boxed).as_mut().poll_frame(cx)) {
                    None => self.kind = Kind::Empty,
                    Some(Err(error)) => {
                        self.kind = Kind::Empty;
                        let error = match error.downcast::<BodyError>() {
                            Ok(own) => *own,
                            Err(other) => BodyError::Source(other),
                        };
                        return Poll::Ready(Some(Err(error)));
                    }
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) if data.is_empty() => {}
                        Ok(data) => return Poll::Ready(Some(Ok(data))),
                        Err(frame) => {
                            if let Ok(trailers) = frame.into_trailers() {
                                self.trailers = Some(Box::new(trailers.into()));
                            }
                        }
                    },
                },
            }
        }
    }

    /// Reads the whole body into memory.
    ///
    /// # Errors
    /// It is longer than `limit` bytes, or broke off.
    pub async fn bytes(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        let too_large = || BodyError::TooLarge { limit: limit as u64 };
        if self.len().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        if let Some(bytes) = self.take_bytes() {
            return Ok(bytes);
        }
        let Some(first) = self.data().await.transpose()? else { return Ok(Bytes::new()) };
        let mut whole = None::<BytesMut>;
        while let Some(next) = self.data().await.transpose()? {
            let whole = whole.get_or_insert_with(|| BytesMut::from(&first[..]));
            if whole.len() + next.len() > limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&next);
        }
        let whole = whole.map_or(first, BytesMut::freeze);
        if whole.len() > limit { Err(too_large()) } else { Ok(whole) }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Empty => "empty",
            Kind::Full(_) => "in memory",
            Kind::Incoming(_) => "incoming",
            Kind::Boxed(_) => "streamed",
        };
        f.debug_struct("Body").field("kind", &kind).field("len", &self.len()).finish_non_exhaustive()
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let kind = if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) };
        Self { kind, trailers: None }
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<BytesMut> for Body {
    fn from(bytes: BytesMut) -> Self {
        bytes.freeze().into()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match std::task::ready!(this.poll_data(cx)) {
            Some(data) => Poll::Ready(Some(data.map(Frame::data))),
            None => Poll::Ready(this.take_trailers().map(|trailers| Ok(Frame::trailers(trailers.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Empty) && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Boxed(boxed) => locked(boxed).size_hint(),
            _ => self.len().map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_data(cx)
    }
}

/// A stream as a body.
struct Streamed<S> {
    stream: Pin<Box<S>>,
    /// What is still to come of the announced length.
    left: Option<u64>,
}

impl<S, B, E> http_body::Body for Streamed<S>
where
    S: Stream<Item = Result<B, E>>,
    B: Into<Bytes>,
    E: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = std::task::ready!(self.stream.as_mut().poll_next(cx));
        Poll::Ready(match next {
            Some(Ok(data)) => {
                let data = data.into();
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(data.len() as u64);
                }
                Some(Ok(Frame::data(data)))
            }
            Some(Err(error)) => Some(Err(error.into())),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// Somebody else's body with its error boxed.
struct Foreign<B>(Pin<Box<B>>);

impl<B> http_body::Body for Foreign<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.as_mut().poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
