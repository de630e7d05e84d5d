//! The events of a response that a client got.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_core::Stream;

use super::super::{Body, ReadError, Response};
use super::{EventDecoder, Message};

/// The events of a response, as they come: [`next`](Self::next), or as a [`Stream`].
pub struct EventReader {
    body: Body,
    decoder: EventDecoder,
    /// What has been received and not been decoded.
    rest: Bytes,
    ended: bool,
}

impl Response {
    /// Most bytes of an event that [`into_events`](Self::into_events) reads: 1 MiB.
    pub const MAX_EVENT: usize = 1024 * 1024;

    /// Reads the body as server-sent events.
    ///
    /// Status and content type are not looked at; a browser wants 200 and `text/event-stream`.
    pub fn into_events(self) -> EventReader {
        let decoder = EventDecoder::new(Self::MAX_EVENT);
        EventReader { body: self.into_body(), decoder, rest: Bytes::new(), ended: false }
    }
}

impl EventReader {
    /// The next event; `None` when the server has ended the stream.
    ///
    /// # Errors
    /// The body broke off, or an event is longer than [`MAX_EVENT`](Response::MAX_EVENT). Nothing comes behind an error.
    pub async fn next(&mut self) -> Option<Result<Message, ReadError>> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, ReadError>>> {
        while !self.ended {
            let mut input = &self.rest[..];
            let decoded = self.decoder.decode(&mut input);
            self.rest.advance(self.rest.len() - input.len());
            match decoded {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(error) => {
                    self.end();
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
            match std::task::ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(error)) => {
                    self.end();
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => self.end(),
            }
        }
        Poll::Ready(None)
    }

    fn end(&mut self) {
        self.ended = true;
        self.rest = Bytes::new();
        self.body = Body::empty();
    }

    /// The id to come back with: that of the last complete event.
    pub fn last_event_id(&self) -> &str {
        self.decoder.last_event_id()
    }

    /// How long the server wants the client to wait before it comes back, if it has said so.
    pub fn retry(&self) -> Option<Duration> {
        self.decoder.retry()
    }
}

impl Stream for EventReader {
    type Item = Result<Message, ReadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(cx)
    }
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReader").field("ended", &self.ended).finish_non_exhaustive()
    }
}
