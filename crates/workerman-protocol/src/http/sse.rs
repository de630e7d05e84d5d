//! Server-sent events (`text/event-stream`, the event-stream format of WHATWG HTML section 9.2).
//!
//! A server answers with [`Response::events`]: any stream of [`Event`]s, sent one by one as they come. Where no stream is
//! at hand, [`channel`] makes one with a [sender](EventSender), bounded by its capacity. A line that says nothing keeps
//! proxies from taking a quiet connection for a dead one: [`keep_alive`] adds it at every tick of a stream of ticks, for
//! nobody here knows the time.
//!
//! A browser that lost the connection comes back and says what it got last: [`RequestHead::last_event_id`].
//!
//! A client reads events with [`EventDecoder`], or whole responses with [`EventReader`].

mod channel;
mod decoder;
mod reader;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_core::Stream;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

pub use self::channel::{EventSender, Events, channel};
pub use self::decoder::{EventDecoder, Message};
pub use self::reader::EventReader;
use super::{Body, RequestHead, Response};

/// Events that are ready leave together, up to about so many bytes.
const TOGETHER: usize = 16 * 1024;

/// So many events leave together, at most.
const MOST_TOGETHER: usize = 64;

/// An event that a server sends.
///
/// Its parts are written in this order: comment, event, id, retry, data.
///
/// # Examples
/// ```
/// use workerman_protocol::http::sse::Event;
/// let event = Event::new("first line\nsecond line").event("news").id("7");
/// assert_eq!(event.to_bytes()?, "event: news\nid: 7\ndata: first line\ndata: second line\n\n");
/// # Ok::<(), workerman_protocol::http::sse::EventError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[must_use = "an event does nothing until it is sent"]
pub struct Event {
    comment: Option<Cow<'static, str>>,
    event: Option<Cow<'static, str>>,
    id: Option<Cow<'static, str>>,
    retry: Option<Duration>,
    data: Option<Cow<'static, str>>,
}

/// What can go wrong with events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The name of an event has a line break.
    #[error("the name of an event has a line break")]
    Name,
    /// The id of an event has a line break or a NUL.
    #[error("the id of an event has a line break or a NUL")]
    Id,
    /// As many events as there may be wait for the client.
    #[error("as many events as there may be wait for the client")]
    Full,
    /// The client has left.
    #[error("the client has left")]
    Gone,
    /// A received event is longer than its reader allows.
    #[error("an event is longer than {limit} bytes")]
    TooLong {
        /// Most bytes.
        limit: usize,
    },
}

impl Event {
    /// An event with data: any text; each of its lines becomes one of the event, however it ends (CR LF, LF or CR).
    ///
    /// The client gets the lines with LF between them.
    pub fn new(data: impl Into<Cow<'static, str>>) -> Self {
        Self::default().data(data)
    }

    /// An event whose data is a value as JSON.
    ///
    /// # Errors
    /// JSON cannot express the value.
    #[cfg(feature = "serde")]
    pub fn json(value: impl serde::Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(&value).map(Self::new)
    }

    /// The data, as in [`new`](Self::new). Without data, clients see no event, but take note of id and retry.
    pub fn data(mut self, data: impl Into<Cow<'static, str>>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// The name, which chooses the listener in the browser; without one it is `message`. A line break in it is an error
    /// when the event is sent.
    pub fn event(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.event = Some(name.into());
        self
    }

    /// The id, which the client says when it comes back. A line break or a NUL in it is an error when the event is sent.
    pub fn id(mut self, id: impl Into<Cow<'static, str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// How long the client waits before it comes back, in whole milliseconds.
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry = Some(after);
        self
    }

    /// Text that clients pass over; each of its lines becomes one.
    pub fn comment(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.comment = Some(text.into());
        self
    }

    fn check(&self) -> Result<(), EventError> {
        let broken =
            |text: &Option<Cow<'_, str>>, bad: &[char]| text.as_ref().is_some_and(|text| text.contains(bad));
        if broken(&self.event, &['\r', '\n']) {
            return Err(EventError::Name);
        }
        if broken(&self.id, &['\r', '\n', '\0']) {
            return Err(EventError::Id);
        }
        Ok(())
    }

    /// Appends the event as it is sent, with the empty line behind it.
    ///
    /// # Errors
    /// The name or the id has a character that it cannot have; nothing is appended.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EventError> {
        self.check()?;
        let before = out.len();
        if let Some(text) = &self.comment {
            lines("", text, out);
        }
        if let Some(name) = &self.event {
            line("event", name.as_bytes(), out);
        }
        if let Some(id) = &self.id {
            line("id", id.as_bytes(), out);
        }
        if let Some(retry) = self.retry {
            let millis = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX);
            line("retry", itoa::Buffer::new().format(millis).as_bytes(), out);
        }
        if let Some(data) = &self.data {
            lines("data", data, out);
        }
        if out.len() > before {
            out.put_u8(b'\n');
        }
        Ok(())
    }

    /// The event as it is sent.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn to_bytes(&self) -> Result<Bytes, EventError> {
        let mut out = BytesMut::new();
        self.encode(&mut out)?;
        Ok(out.freeze())
    }
}

/// One line for each line of a text.
fn lines(name: &str, text: &str, out: &mut BytesMut) {
    let mut rest = text.as_bytes();
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
        line(name, &rest[..end], out);
        let width = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + width..];
    }
    line(name, rest, out);
}

fn line(name: &str, text: &[u8], out: &mut BytesMut) {
    out.reserve(name.len() + text.len() + 3);
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(text);
    out.put_u8(b'\n');
}

impl From<&'static str> for Event {
    fn from(data: &'static str) -> Self {
        Self::new(data)
    }
}

impl From<String> for Event {
    fn from(data: String) -> Self {
        Self::new(data)
    }
}

impl Response {
    /// Server-sent events, sent as they come.
    ///
    /// The stream is polled as fast as the client takes the events, and dropped when it leaves; when the stream ends, so
    /// does the response, and browsers come back. An event that [cannot be sent](EventError) breaks the connection off
    /// and is told to `on_error`.
    pub fn events<S>(events: S) -> Self
    where
        S: Stream<Item: Into<Event>> + Send + 'static,
    {
        let body = Encoded { events: Some(Box::pin(events)), failed: None };
        Self::default()
            .header(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))
            .header(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
            .body(Body::stream(body))
    }

    /// Server-sent events that come from the returned sender; at most `capacity` of them wait for the client.
    ///
    /// # Examples
    /// ```
    /// use workerman_protocol::http::Response;
    /// let (sender, response) = Response::event_channel(16);
    /// sender.try_send("hello")?;
    /// assert_eq!(response.content_type(), Some("text/event-stream"));
    /// drop(response);
    /// assert!(sender.is_gone());
    /// # Ok::<(), workerman_protocol::http::sse::EventError>(())
    /// ```
    pub fn event_channel(capacity: usize) -> (EventSender, Self) {
        let (sender, events) = channel(capacity);
        (sender, Self::events(events))
    }
}

impl RequestHead {
    /// The id of the last event that a client got before it lost its connection.
    pub fn last_event_id(&self) -> Option<&str> {
        self.header("last-event-id")
    }
}

/// Events as the bytes of a body: those that are ready leave together, and none waits for another.
struct Encoded<S> {
    /// `None` behind the end.
    events: Option<Pin<Box<S>>>,
    /// Comes behind what was sent before it.
    failed: Option<EventError>,
}

impl<S: Stream<Item: Into<Event>>> Stream for Encoded<S> {
    type Item = Result<Bytes, EventError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut out = BytesMut::new();
        for _ in 0..MOST_TOGETHER {
            if out.len() >= TOGETHER {
                break;
            }
            let Some(events) = &mut self.events else { break };
            match events.as_mut().poll_next(cx) {
                Poll::Ready(Some(event)) => {
                    if let Err(error) = event.into().encode(&mut out) {
                        self.failed = Some(error);
                        self.events = None;
                    }
                }
                Poll::Ready(None) => self.events = None,
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if !out.is_empty() {
            return Poll::Ready(Some(Ok(out.freeze())));
        }
        if self.events.is_some() {
            // Only empty events: others have a turn first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.failed.take().map(Err))
    }
}

/// Events with a comment at each tick before which there was none.
///
/// So a quiet stream says something at least every two ticks. See [`keep_alive`].
pub struct KeepAlive<S, T> {
    events: Pin<Box<S>>,
    ticks: Option<Pin<Box<T>>>,
    /// There was an event since the last tick.
    spoke: bool,
}

/// Adds a comment to a stream of events at each tick of another stream before which there was no event.
///
/// Proxies and browsers drop connections that are quiet for long; 15 seconds between ticks suit most.
pub fn keep_alive<S, T>(events: S, ticks: T) -> KeepAlive<S, T>
where
    S: Stream<Item: Into<Event>>,
    T: Stream<Item = ()>,
{
    KeepAlive { events: Box::pin(events), ticks: Some(Box::pin(ticks)), spoke: false }
}

impl<S, T> Stream for KeepAlive<S, T>
where
    S: Stream<Item: Into<Event>>,
    T: Stream<Item = ()>,
{
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Poll::Ready(event) = self.events.as_mut().poll_next(cx) {
            self.spoke = true;
            return Poll::Ready(event.map(Into::into));
        }
        while let Some(ticks) = &mut self.ticks {
            match std::task::ready!(ticks.as_mut().poll_next(cx)) {
                None => self.ticks = None,
                Some(()) if self.spoke => self.spoke = false,
                Some(()) => return Poll::Ready(Some(Event::default().comment("keep-alive"))),
            }
        }
        Poll::Pending
    }
}

impl<S, T> std::fmt::Debug for KeepAlive<S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeepAlive").field("spoke", &self.spoke).finish_non_exhaustive()
    }
}
