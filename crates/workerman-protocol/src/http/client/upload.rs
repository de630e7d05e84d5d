//! The body of a request on its way out: as fast as the server takes it, and exactly as long as it was announced.

use std::task::{Context as Polling, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::HttpClient;
use super::request::Announced;
use crate::Context;
use crate::http::chunked::may_trail;
use crate::http::{Body, BodyError, Error, Headers};

/// Most bytes that are put at once, and that may be queued when more is put: 64 KiB.
pub(super) const AT_ONCE: usize = 64 * 1024;

/// What is left of a request after its head.
pub(super) struct Upload {
    body: Body,
    /// What the body has yielded and is not put yet.
    rest: Bytes,
    announced: Announced,
    /// Of an announced length, what has not come yet.
    left: u64,
    /// The server is asked first, and not waited for any longer than this.
    until: Option<Instant>,
    stopped: Pumped,
}

/// Why there is nothing more to put now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pumped {
    /// There is nothing left.
    Done,
    /// As much is queued as may be.
    Full,
    /// The body or the server's consent is awaited, or the next turn.
    Waits,
}

impl Upload {
    pub(super) fn new(body: Body, announced: Announced, until: Option<Instant>) -> Self {
        let left = if let Announced::Length(length) = announced { length } else { 0 };
        let stopped = if announced == Announced::Nothing { Pumped::Done } else { Pumped::Waits };
        Self { body, rest: Bytes::new(), announced, left, until, stopped }
    }

    /// Puts what can be put now.
    pub(super) fn pump(&mut self, cx: &mut Context<'_, HttpClient>) -> Result<Pumped, Error> {
        if self.stopped != Pumped::Done {
            self.stopped = self.put(cx)?;
            if self.stopped == Pumped::Done {
                self.body = Body::empty();
            }
        }
        Ok(self.stopped)
    }

    fn put(&mut self, cx: &mut Context<'_, HttpClient>) -> Result<Pumped, Error> {
        if let Some(until) = self.until {
            if cx.now() < until {
                return Ok(Pumped::Waits);
            }
            self.until = None;
        }
        if cx.queued() >= AT_ONCE {
            return Ok(Pumped::Full);
        }
        let mut room = AT_ONCE;
        loop {
            if self.rest.is_empty() {
                let ends = self.is_whole();
                match self.body.poll_data(&mut Polling::from_waker(cx.waker())) {
                    Poll::Ready(Some(Ok(data))) => self.count(data)?,
                    Poll::Ready(Some(Err(error))) => return Err(Error::Body(error)),
                    // All that was announced has been sent: the end of the stream need not be awaited.
                    Poll::Ready(None) | Poll::Pending if ends => return Ok(Pumped::Done),
                    Poll::Ready(None) => return self.finish(cx).map(|()| Pumped::Done),
                    Poll::Pending => return Ok(Pumped::Waits),
                }
            }
            if room == 0 {
                // The loop has other connections.
                cx.waker().wake_by_ref();
                return Ok(Pumped::Full);
            }
            let piece = self.rest.split_to(self.rest.len().min(room));
            room -= piece.len();
            let out = cx.reply();
            if self.announced == Announced::Chunks {
                // RFC 9112 section 7.1. A body yields no empty piece, which would be the last chunk.
                out.put_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                out.put_bytes(piece);
                out.put_slice(b"\r\n");
            } else {
                out.put_bytes(piece);
            }
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self.announced, Announced::Length(_)) && self.left == 0
    }

    /// Takes a piece, unless it goes beyond what was announced.
    fn count(&mut self, data: Bytes) -> Result<(), Error> {
        if let Announced::Length(announced) = self.announced {
            let got = data.len() as u64;
            self.left = self.left.checked_sub(got).ok_or_else(|| {
                Error::Body(BodyError::Length { announced, got: announced - self.left + got })
            })?;
        }
        self.rest = data;
        Ok(())
    }

    /// The body has ended.
    fn finish(&mut self, cx: &mut Context<'_, HttpClient>) -> Result<(), Error> {
        if let Announced::Length(announced) = self.announced {
            return Err(Error::Body(BodyError::Length { announced, got: announced - self.left }));
        }
        let trailers = self.body.take_trailers().unwrap_or_default();
        write_last_chunk(&trailers, cx);
        Ok(())
    }

    /// The server has agreed to the body.
    pub(super) fn go(&mut self) {
        self.until = None;
    }

    /// Nothing more is sent.
    pub(super) fn stop(&mut self) {
        self.stopped = Pumped::Done;
        self.until = None;
        self.rest = Bytes::new();
        self.body = Body::empty();
    }

    /// Whether the server was asked and has not answered.
    pub(super) fn is_waiting(&self) -> bool {
        self.until.is_some()
    }

    /// How long the server is waited for.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }
}

/// The last chunk and the trailer section (RFC 9112 sections 7.1 and 7.1.2).
fn write_last_chunk(trailers: &Headers, cx: &mut Context<'_, HttpClient>) {
    let out = cx.reply();
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name.as_str())) {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}
