//! The body of a request on its way in: collected, streamed to its reader, or thrown away.

use std::task::Waker;

use bytes::BytesMut;

use super::super::body::{Feed, Room, channel};
use super::super::chunked::{Chunk, ChunkError, Chunked, Part};
use super::super::parse::{Framing, Refusal, refuse};
use super::super::{Body, BodyError, Error, Headers, Request, RequestHead};
use super::config::Config;
use super::pace::Pace;
use super::{Exchange, Http, Stage};
use crate::{Context, Decoded, take};

/// Most bytes of a body that nobody reads that are thrown away to keep its connection: 64 KiB.
pub(super) const DRAIN: u64 = 64 * 1024;

/// RFC 9110 section 15.2.1.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A body that has not arrived whole.
pub(super) struct Receiving {
    left: Left,
    to: To,
    /// The client waits for `100 Continue`.
    expects: bool,
    /// Bytes that were thrown away.
    drained: u64,
    pace: Pace,
}

enum Left {
    Length(u64),
    Chunked(Chunked),
}

/// Where it goes.
enum To {
    Memory { head: Option<RequestHead>, limit: usize, collected: BytesMut },
    Reader(Option<Feed>),
}

/// What became of the input.
pub(super) enum Received {
    /// The body is complete: here is its request.
    Request(Request),
    /// The body is complete; its request was handed out before.
    Complete,
    Need(usize),
    /// Its reader has no room, or nobody reads it and it is too much to throw away.
    Blocked,
    /// It was refused; this is what to answer to the decoder's caller.
    Refused(Decoded<Http>),
}

impl Receiving {
    fn new(framing: Framing, to: To, config: &Config, expects: bool) -> Self {
        let left = match framing {
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunked(Chunked::new(config.chunks.clone())),
        };
        Self { left, to, expects, drained: 0, pace: Pace::default() }
    }

    pub(super) fn buffered(
        framing: Framing,
        head: RequestHead,
        limit: usize,
        config: &Config,
        expects: bool,
    ) -> Self {
        let to = To::Memory { head: Some(head), limit, collected: BytesMut::new() };
        Self::new(framing, to, config, expects)
    }

    pub(super) fn streamed(framing: Framing, config: &Config, expects: bool, waker: &Waker) -> (Self, Body) {
        let length = match framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        };
        let (feed, incoming) = channel(length, waker.clone());
        (Self::new(framing, To::Reader(Some(feed)), config, expects), Body::incoming(incoming))
    }

    /// A body that nobody will read.
    pub(super) fn discarded(framing: Framing, config: &Config) -> Self {
        Self::new(framing, To::Reader(None), config, false)
    }

    /// Its reader, if there is one, learns that it broke off.
    pub(super) fn fail(&mut self, error: BodyError) {
        if let To::Reader(feed) = &mut self.to {
            if let Some(feed) = feed.take() {
                feed.fail(error);
            }
        }
    }

    /// Whether the connection can go on after an answer that is begun now: the body is still being read, or the rest
    /// is small enough to be thrown away.
    pub(super) fn can_be_left(&self) -> bool {
        let reader = match &self.to {
            To::Memory { .. } => false,
            To::Reader(feed) => feed.as_ref().is_some_and(|feed| feed.room() != Room::Deaf),
        };
        // A client that was never told to continue may send its body or not: nobody knows what comes next.
        !self.expects && (reader || matches!(self.left, Left::Length(left) if left <= DRAIN))
    }

    /// Whether the client is to be told to continue before an answer begins: it waits for that, and somebody has its body.
    pub(super) fn continues(&mut self) -> bool {
        let reader = matches!(&self.to, To::Reader(Some(feed)) if feed.room() != Room::Deaf);
        reader && std::mem::take(&mut self.expects)
    }

    /// Whether the client waits to be told to continue, and nobody has asked for its body yet.
    pub(super) fn waits(&self) -> bool {
        self.expects && matches!(self.room(), Room::Unasked(_))
    }

    fn room(&self) -> Room {
        match &self.to {
            To::Memory { .. } => Room::Bytes(usize::MAX),
            To::Reader(feed) => feed.as_ref().map_or(Room::Deaf, Feed::room),
        }
    }

    /// Takes what is there of the body; `Ok(true)` when it is complete.
    fn advance(&mut self, input: &mut BytesMut) -> Result<Step, Broken> {
        loop {
            let ready = match &mut self.left {
                Left::Length(0) => return Ok(Step::Complete(None)),
                Left::Length(left) => {
                    let ready = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    if let To::Memory { collected, .. } = &mut self.to {
                        // In one piece, in the buffer that it was read into.
                        if (input.len() as u64) < *left {
                            return Ok(Step::Need((*left - input.len() as u64) as usize));
                        }
                        *collected = input.split_to(ready);
                        *left = 0;
                        continue;
                    }
                    if ready == 0 {
                        return Ok(Step::Need(1));
                    }
                    ready
                }
                Left::Chunked(chunked) => match chunked.next(input)? {
                    Chunk::End(trailers) => return Ok(Step::Complete(trailers)),
                    Chunk::Need(more) => {
                        if let To::Memory { limit, collected, .. } = &self.to {
                            // What was announced meets the limit before it is waited for.
                            if chunked.announced() > (limit - collected.len()) as u64 {
                                return Err(Broken::too_long(*limit));
                            }
                            return Ok(Step::Need(more));
                        }
                        return Ok(Step::Need(1));
                    }
                    Chunk::Data(ready) => ready,
                },
            };
            let room = match self.room() {
                Room::Bytes(0) | Room::Unasked(0) => return Ok(Step::Full),
                Room::Bytes(room) | Room::Unasked(room) => room,
                Room::Deaf => {
                    self.drained += ready as u64;
                    if self.drained > DRAIN {
                        return Ok(Step::Full);
                    }
                    usize::MAX
                }
            };
            let taken = ready.min(room);
            match &mut self.to {
                To::Memory { limit, collected, .. } => {
                    if taken > *limit - collected.len() {
                        return Err(Broken::too_long(*limit));
                    }
                    collected.extend_from_slice(&input.split_to(taken));
                }
                To::Reader(feed) => {
                    let piece = take(input, taken);
                    if let Some(feed) = feed {
                        feed.push(piece);
                    }
                }
            }
            match &mut self.left {
                Left::Length(left) => *left -= taken as u64,
                Left::Chunked(chunked) => chunked.took(taken),
            }
        }
    }
}

enum Step {
    Complete(Option<Headers>),
    Need(usize),
    Full,
}

/// Why a body is refused, and what its reader is told.
struct Broken {
    refusal: Refusal,
    reader: BodyError,
}

impl Broken {
    fn too_long(limit: usize) -> Self {
        let reader = BodyError::TooLarge { limit: limit as u64 };
        Self { refusal: refuse(413, "the body is too long"), reader }
    }
}

impl From<ChunkError> for Broken {
    fn from(error: ChunkError) -> Self {
        let refusal = match error {
            ChunkError::Malformed(reason) => refuse(400, reason),
            ChunkError::TooLarge { what: Part::Extensions, .. } => {
                refuse(413, "too many bytes of chunk extensions")
            }
            ChunkError::TooLarge { what, .. } => refuse(431, what.name()),
        };
        let reader = match error {
            ChunkError::Malformed(reason) => BodyError::Malformed(reason),
            ChunkError::TooLarge { what: Part::Extensions, limit } => {
                BodyError::TooLarge { limit: limit as u64 }
            }
            ChunkError::TooLarge { what, .. } => BodyError::Malformed(what.name()),
        };
        Self { refusal, reader }
    }
}

impl Http {
    /// Reads on in the body of the youngest request.
    pub(super) fn receive(
        &mut self,
        input: &mut BytesMut,
        cx: &mut Context<'_, Self>,
    ) -> Result<Received, Error> {
        let (alone, rate, now) = (self.is_alone(), self.config.body_rate, cx.now());
        let Some(receiving) = self.receiving() else { return Ok(Received::Complete) };
        let before = input.len();
        if rate.is_some_and(|rate| !receiving.pace.arrived(before, now, rate)) {
            receiving.fail(BodyError::Timeout);
            return self.refuse_body(refuse(408, "the body came too slowly"), cx).map(Received::Refused);
        }
        let step = receiving.advance(input);
        let nothing = input.is_empty() && before == 0;
        match step {
            Ok(Step::Complete(trailers)) => self.received(trailers, cx),
            Ok(Step::Need(more)) => {
                let wanted = matches!(receiving.room(), Room::Bytes(_));
                if receiving.expects && before > 0 {
                    // It did not wait.
                    receiving.expects = false;
                } else if receiving.expects && wanted && alone && nothing {
                    receiving.expects = false;
                    // Behind the answers of earlier requests.
                    let waits = self.front.is_some_and(|front| front.stage == Stage::Waiting);
                    if waits {
                        cx.reply().put_slice(CONTINUE);
                    }
                }
                if let Some(receiving) = self.receiving() {
                    let its_turn = alone && !receiving.waits();
                    receiving.pace.waits(input.len(), its_turn.then_some(now));
                }
                Ok(Received::Need(more))
            }
            Ok(Step::Full) => {
                receiving.pace.waits(input.len(), None);
                if receiving.room() == Room::Deaf
                    && self.front.is_some_and(|front| front.stage == Stage::Answered)
                {
                    // Nobody reads it, and there is too much of it: the answer is out, so the connection ends.
                    self.end(cx);
                }
                Ok(Received::Blocked)
            }
            Err(Broken { refusal, reader }) => {
                receiving.fail(reader);
                self.refuse_body(refusal, cx).map(Received::Refused)
            }
        }
    }

    /// A body is complete.
    fn received(&mut self, trailers: Option<Headers>, cx: &mut Context<'_, Self>) -> Result<Received, Error> {
        let receiving = self.more.as_mut().and_then(|more| more.receiving.take());
        let number = self.youngest().map_or(0, |exchange| exchange.number);
        let received = match receiving.map(|receiving| receiving.to) {
            Some(To::Memory { head: Some(head), collected, .. }) => {
                // A small body must not pin a large buffer.
                let mut collected = collected;
                let length = collected.len();
                let body = Body::from(take(&mut collected, length));
                let body = match trailers {
                    Some(trailers) => body.with_trailers(trailers),
                    None => body,
                };
                Received::Request(self.request(head, body, number))
            }
            Some(To::Reader(Some(feed))) => {
                feed.finish(trailers);
                Received::Complete
            }
            _ => Received::Complete,
        };
        if matches!(self.front, Some(Exchange { stage: Stage::Answered, .. })) && self.is_alone() {
            self.leave_front(cx);
        }
        self.tidy();
        Ok(received)
    }

    /// The body of the youngest request breaks a rule.
    #[cold]
    fn refuse_body(&mut self, refusal: Refusal, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Error> {
        let alone = self.is_alone();
        let youngest = self.youngest().map(|exchange| *exchange);
        let begun = youngest.is_some_and(|exchange| exchange.stage != Stage::Waiting);
        let refusal = refusal.of(youngest.map_or(0, |exchange| exchange.flags));
        if let Some(more) = &mut self.more {
            more.receiving = None;
            if !alone {
                more.queue.pop_back();
            }
        }
        if !alone {
            return self.refuse(refusal, cx);
        }
        self.front = None;
        if begun {
            // Its answer is on the way already: nothing can be said any more.
            self.bits |= super::OVER;
            return Err(Error::Refused { status: refusal.status, reason: refusal.reason });
        }
        Err(self.refuse_now(refusal, cx))
    }
}
