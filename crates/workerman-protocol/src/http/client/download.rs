//! The body of a response on its way to its reader.

use std::task::Waker;

use bytes::{Buf, BytesMut};

use super::head::Framing;
use crate::http::body::{Feed, Incoming, Room, channel};
use crate::http::chunked::{Chunk, ChunkError, ChunkLimits, Chunked};
use crate::http::{BodyError, Error, Headers};
use crate::take;

/// A body that arrives.
pub(super) struct Download {
    framed: Framed,
    feed: Option<Feed>,
    /// Bytes that were thrown away because nobody reads.
    wasted: u64,
}

enum Framed {
    /// So many bytes are missing.
    Length(u64),
    Chunked(Chunked),
    /// Up to the end of the connection.
    Close,
}

/// How far it went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// More bytes are needed.
    Need,
    /// The reader has as much ahead as may be.
    Full,
    /// The body is complete.
    End,
    /// Nobody reads it, and there is too much of it to be read away.
    Unwanted,
}

impl Download {
    pub(super) fn new(framing: Framing, limits: &ChunkLimits, waker: &Waker) -> (Self, Incoming) {
        let (framed, left) = match framing {
            Framing::None => (Framed::Length(0), Some(0)),
            Framing::Length(length) => (Framed::Length(length), Some(length)),
            Framing::Chunked => (Framed::Chunked(Chunked::new(limits.clone()).unfolding()), None),
            Framing::Close => (Framed::Close, None),
        };
        let (feed, incoming) = channel(left, waker.clone());
        (Self { framed, feed: Some(feed), wasted: 0 }, incoming)
    }

    /// Moves what is there to the reader; up to `drain` bytes are read away when there is none.
    pub(super) fn next(&mut self, input: &mut BytesMut, drain: u64) -> Result<Flow, Error> {
        loop {
            let ready = match &mut self.framed {
                Framed::Length(0) => return Ok(self.end(None)),
                Framed::Length(left) => {
                    let left = usize::try_from(*left).unwrap_or(usize::MAX);
                    left.min(input.len())
                }
                Framed::Close => input.len(),
                Framed::Chunked(chunked) => match chunked.next(input).map_err(chunk_error)? {
                    Chunk::Data(ready) => ready,
                    Chunk::End(trailers) => return Ok(self.end(trailers)),
                    Chunk::Need(_) => 0,
                },
            };
            let room = match self.feed.as_ref().map_or(Room::Deaf, Feed::room) {
                Room::Unasked(room) | Room::Bytes(room) => Some(room),
                Room::Deaf => None,
            };
            let taken = match room {
                None if self.is_too_long(drain) => return Ok(Flow::Unwanted),
                _ if ready == 0 => return Ok(Flow::Need),
                Some(0) => return Ok(Flow::Full),
                Some(room) => {
                    let taken = ready.min(room);
                    let piece = take(input, taken);
                    if let Some(feed) = &self.feed {
                        feed.push(piece);
                    }
                    taken
                }
                None => {
                    input.advance(ready);
                    self.wasted = self.wasted.saturating_add(ready as u64);
                    ready
                }
            };
            match &mut self.framed {
                Framed::Length(left) => *left -= taken as u64,
                Framed::Chunked(chunked) => chunked.took(taken),
                Framed::Close => {}
            }
        }
    }

    /// Whether more would have to be read away than is allowed.
    fn is_too_long(&self, drain: u64) -> bool {
        match self.framed {
            Framed::Length(left) => left > drain - self.wasted.min(drain),
            Framed::Chunked(_) => self.wasted > drain,
            // There is nothing to be saved.
            Framed::Close => true,
        }
    }

    fn end(&mut self, trailers: Option<Headers>) -> Flow {
        if let Some(feed) = self.feed.take() {
            feed.finish(trailers);
        }
        Flow::End
    }

    /// The connection has ended: whether the body has, too.
    pub(super) fn eof(&mut self) -> bool {
        let ends = matches!(self.framed, Framed::Close);
        if ends {
            self.end(None);
        }
        ends
    }

    /// The body broke off.
    pub(super) fn fail(self, why: BodyError) {
        if let Some(feed) = self.feed {
            feed.fail(why);
        }
    }
}

fn chunk_error(error: ChunkError) -> Error {
    match error {
        ChunkError::Malformed(reason) => Error::Response(reason),
        ChunkError::TooLarge { what, limit } => Error::Limit { what: what.name(), limit: limit as u64 },
    }
}
