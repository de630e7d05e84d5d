//! Answers: which request they are for, when their turn comes, and the body that is pumped as fast as the client reads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use super::super::coding::compress;
use super::super::link::Answer;
use super::super::parse::{CLOSE, CONNECTS, Framing, HEAD, OLD};
use super::super::{Body, BodyError, Error, Response, StatusCode};
use super::fit::{announced, check};
use super::receive::{CONTINUE, Receiving};
use super::write::{self, Length};
use super::{DROPPED, Exchange, Http, LEAVING, OVER, Stage};
use crate::Context;

/// Most bytes of a body that are put at a time, and most that may wait for the client when more are put: 64 KiB.
const AT_A_TIME: usize = 64 * 1024;

/// The body of an answer on its way out.
pub(super) struct Sending {
    body: Body,
    length: Length,
    announced: u64,
    sent: u64,
    /// It is a stream of events.
    endless: bool,
}

impl Sending {
    /// Whether only the end of the stream tells its end.
    pub(super) fn ends_by_close(&self) -> bool {
        self.length == Length::UntilClose
    }

    /// Whether it goes on until somebody leaves.
    pub(super) fn is_endless(&self) -> bool {
        self.endless
    }
}

impl Http {
    /// The handler of a request has returned.
    #[inline]
    pub(super) fn answered(
        &mut self,
        number: u32,
        mut response: Response,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Error> {
        match self.front {
            Some(front) if front.number == number && front.stage == Stage::Waiting => {
                check(&mut response, front.flags, !self.receives(number))?;
                self.begin_answer(response, cx);
                Ok(())
            }
            _ => self.answered_early(number, response),
        }
    }

    /// Whether the body of a request is still arriving.
    fn receives(&self, number: u32) -> bool {
        let receives = self.more.as_ref().is_some_and(|more| more.receiving.is_some());
        let youngest = self.more.as_ref().and_then(|more| more.queue.back()).or(self.front.as_ref());
        receives && youngest.is_some_and(|youngest| youngest.number == number)
    }

    /// A response where there is no handler any more to be told: a mistake becomes a 500.
    fn checked(&mut self, mut response: Response, number: u32) -> Response {
        let flags = self.exchange(number).map_or(0, |exchange| exchange.flags);
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if check(&mut response, flags, !self.receives(number)).is_ok() {
            return response;
        }
        // Whoever sent it takes the protocol for switched: nothing more may be read by it or by this one.
        if let Some(exchange) = self.exchange(number).filter(|_| switches) {
            exchange.flags |= CLOSE;
        }
        Response::new(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Not the front: it waits for its turn.
    #[cold]
    fn answered_early(&mut self, number: u32, mut response: Response) -> Result<(), Error> {
        let waits = self.waiting().any(|waiting| waiting == number);
        let flags = self.exchange(number).filter(|_| waits).map(|exchange| exchange.flags);
        check(&mut response, flags.ok_or(Error::NothingToAnswer)?, !self.receives(number))?;
        self.more().ready.push((number, response));
        Ok(())
    }

    /// Requests without an answer, oldest first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u32> {
        let queue = self.more.iter().flat_map(|more| more.queue.iter());
        self.front
            .iter()
            .chain(queue)
            .filter(|exchange| exchange.stage == Stage::Waiting)
            .map(|exchange| exchange.number)
            .filter(|number| {
                !self.more.as_ref().is_some_and(|more| more.ready.iter().any(|(ready, _)| ready == number))
            })
    }

    /// Goes on with answers as far as that is possible now.
    pub(super) fn proceed(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Error> {
        let handled = if cx.handling() { self.handed(cx.parked()) } else { None };
        self.collect(handled, cx);
        while let Some(front) = self.front {
            match front.stage {
                Stage::Sending => {
                    if !self.pump_body(cx)? {
                        break;
                    }
                    self.complete(cx);
                }
                Stage::Waiting => {
                    let Some(more) = &mut self.more else { break };
                    let Some(at) = more.ready.iter().position(|(number, _)| *number == front.number) else {
                        break;
                    };
                    let (_, response) = more.ready.swap_remove(at);
                    let response = self.checked(response, front.number);
                    self.begin_answer(response, cx);
                }
                Stage::Answered => break,
            }
        }
        if self.front.is_none() && self.bits & OVER == 0 {
            if let Some(refusal) = self.more.as_mut().and_then(|more| more.refusal.take()) {
                return Err(self.refuse_now(refusal, cx));
            }
            self.tidy();
        }
        Ok(())
    }

    /// Takes over what tokens and `send` have left.
    ///
    /// `handled`: the request whose handler is at work. That it has dropped its token is not its last word.
    pub(super) fn collect(&mut self, handled: Option<u32>, cx: &mut Context<'_, Self>) {
        let mut unanswered: Vec<u32> = Vec::new();
        let mut dropped = false;
        let answers = cx.sending(|sending| {
            if sending.is_empty() {
                return Vec::new();
            }
            unanswered.extend(self.waiting());
            let mut answers = sending.take(handled);
            dropped = !sending.is_empty();
            for answer in &mut answers {
                // One without a number is not for a request that somebody has a token for.
                let number = answer
                    .number
                    .or_else(|| unanswered.iter().copied().find(|number| !sending.is_claimed(*number)));
                answer.number = number.filter(|number| unanswered.contains(number));
                if let Some(number) = number {
                    sending.settle(number);
                    unanswered.retain(|waiting| *waiting != number);
                }
            }
            answers
        });
        if dropped {
            self.bits |= DROPPED;
        }
        for Answer { number, response } in answers {
            if let Some(number) = number {
                let response = response.unwrap_or_else(|| Response::new(StatusCode::INTERNAL_SERVER_ERROR));
                self.more().ready.push((number, response));
            }
        }
    }

    /// Begins the answer of the front, and completes it if its body is in memory.
    fn begin_answer(&mut self, mut response: Response, cx: &mut Context<'_, Self>) {
        let Some(mut exchange) = self.front else { return };
        if self.bits & LEAVING != 0 && self.is_alone() {
            exchange.flags |= CLOSE;
        }
        if self.is_alone() {
            let streams = response.body_ref().as_bytes().is_none() && exchange.flags & HEAD == 0;
            if let Some(receiving) = self.receiving() {
                if streams && receiving.continues() {
                    // An answer that goes on may be made of a body which nobody has asked for yet.
                    cx.reply().put_slice(CONTINUE);
                }
                if !receiving.can_be_left() {
                    exchange.flags |= CLOSE;
                }
            }
        }
        if let Some(settings) = &self.config.compression {
            response = compress(response, exchange.coding, exchange.flags & HEAD != 0, settings);
        }
        if self.config.records() {
            self.record_answer(exchange.number, &mut response);
        }
        let status = response.status();
        let mut body = std::mem::take(response.body_mut());
        let known = body.len().or_else(|| announced(&response));
        let switches = status == StatusCode::SWITCHING_PROTOCOLS
            || (exchange.flags & CONNECTS != 0 && status.is_success());
        // RFC 9110 section 6.4.1: which answers have no content, whatever they say.
        let bodiless = switches || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let old = exchange.flags & OLD != 0;
        let length = if bodiless {
            Length::None
        } else {
            match known {
                // RFC 9110 section 15.3.6: nothing is to be shown, and that has to be said.
                _ if status == StatusCode::RESET_CONTENT => Length::Known(0),
                Some(_) if body.trailers().is_some() && !old => Length::Chunked,
                Some(length) => Length::Known(length),
                None if old => Length::UntilClose,
                None => Length::Chunked,
            }
        };
        if length == Length::UntilClose {
            exchange.flags |= CLOSE;
        }
        let date = cx.unix_seconds();
        // Nothing comes behind what a client that has ended its stream has asked: RFC 9112 section 9.6 wants that said.
        // The end itself is the matter of `eof`.
        let ended = cx.ended() && self.is_alone();
        let flags = if ended { exchange.flags | CLOSE } else { exchange.flags };
        let out = cx.reply();
        let close = write::head(&response, length, flags, switches, &self.config, date, out);
        if close && !ended && !switches {
            exchange.flags |= CLOSE;
        }
        let mut sent = 0;
        let empty = bodiless || status == StatusCode::RESET_CONTENT || exchange.flags & HEAD != 0;
        match body.take_bytes() {
            Some(_) if empty => {}
            Some(bytes) if length != Length::Chunked => {
                sent = bytes.len() as u64;
                out.put_bytes(bytes);
            }
            Some(bytes) => {
                sent = bytes.len() as u64;
                write::chunk(&bytes, out);
                write::last_chunk(body.trailers(), out);
            }
            None if empty => {}
            None => {
                let announced = known.unwrap_or(0);
                let endless =
                    response.content_type().is_some_and(|kind| kind.starts_with("text/event-stream"));
                exchange.stage = Stage::Sending;
                self.front = Some(exchange);
                self.more().sending = Some(Sending { body, length, announced, sent: 0, endless });
                return;
            }
        }
        self.front = Some(exchange);
        if let Some(record) = self.record_of(exchange.number) {
            record.body = sent;
        }
        if switches {
            self.record_end(exchange.number, cx.now());
            self.bits |= OVER;
            self.front = None;
        } else {
            self.complete(cx);
        }
    }

    /// Puts the next part of the front's body; `true` when that was the last.
    fn pump_body(&mut self, cx: &mut Context<'_, Self>) -> Result<bool, Error> {
        let Some(sending) = self.more.as_mut().and_then(|more| more.sending.as_mut()) else {
            return Ok(true);
        };
        let mut put = 0;
        while cx.queued() < AT_A_TIME && put < AT_A_TIME {
            let mut task = std::task::Context::from_waker(cx.waker());
            // The stream is the user's code.
            let polled = catch_unwind(AssertUnwindSafe(|| sending.body.poll_data(&mut task)))
                .unwrap_or_else(|_| Poll::Ready(Some(Err(BodyError::Source("the stream panicked".into())))));
            match polled {
                Poll::Pending => return Ok(false),
                Poll::Ready(Some(Ok(piece))) => {
                    put += piece.len();
                    sending.sent += piece.len() as u64;
                    match sending.length {
                        Length::Chunked => write::chunk(&piece, cx.reply()),
                        Length::Known(length) if sending.sent > length => return Err(self.broken_length()),
                        _ => cx.reply().put_bytes(piece),
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.bits |= OVER;
                    return Err(Error::Body(error));
                }
                Poll::Ready(None) => {
                    match sending.length {
                        Length::Chunked => write::last_chunk(sending.body.trailers(), cx.reply()),
                        Length::Known(length) if sending.sent != length => return Err(self.broken_length()),
                        _ => {}
                    }
                    let sent = sending.sent;
                    if let Some(more) = &mut self.more {
                        more.sending = None;
                    }
                    if let Some(record) = self.front.and_then(|front| self.record_of(front.number)) {
                        record.body = sent;
                    }
                    return Ok(true);
                }
            }
        }
        if put > 0 && sending.endless {
            // Nothing waits for its end, so nobody else asks for the rest.
            cx.waker().wake_by_ref();
        }
        Ok(false)
    }

    #[cold]
    fn broken_length(&mut self) -> Error {
        self.bits |= OVER;
        let (announced, got) = self
            .more
            .as_ref()
            .and_then(|more| more.sending.as_ref())
            .map_or((0, 0), |sending| (sending.announced, sending.sent));
        Error::Body(BodyError::Length { announced, got })
    }

    /// The answer of the front is written.
    #[inline]
    fn complete(&mut self, cx: &mut Context<'_, Self>) {
        let Some(Exchange { number, .. }) = self.front else { return };
        if self.config.records() {
            self.record_end(number, cx.now());
        }
        if cx.queued() >= AT_A_TIME {
            self.unsent = self.unsent.saturating_add(1);
        }
        let Some(front) = self.front else { return };
        let close = front.flags & CLOSE != 0;
        if close || (self.bits & LEAVING != 0 && self.is_alone()) {
            self.end(cx);
            return;
        }
        if let Some(front) = &mut self.front {
            front.stage = Stage::Answered;
        }
        if self.more.is_none() {
            self.front = None;
        } else {
            self.leave_front(cx);
        }
    }

    /// The front has its answer: it leaves, unless the rest of its body is still to come.
    pub(super) fn leave_front(&mut self, _: &mut Context<'_, Self>) {
        let Some(more) = &mut self.more else {
            self.front = None;
            return;
        };
        if !more.queue.is_empty() || more.receiving.is_none() {
            self.front = more.queue.pop_front();
            self.tidy();
        }
    }

    /// Nothing is said after what has been.
    pub(super) fn end(&mut self, cx: &mut Context<'_, Self>) {
        cx.reply().finish();
        self.bits |= OVER;
        self.front = None;
        self.more = None;
    }

    /// A request that `on_request_head` has answered.
    pub(super) fn reject(
        &mut self,
        mut exchange: Exchange,
        response: Response,
        framing: Framing,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Error> {
        use super::super::parse::EXPECTS;
        use super::receive::DRAIN;
        let has_body = framing != Framing::Length(0);
        let small = matches!(framing, Framing::Length(length) if length <= DRAIN);
        // A client that waits for `100 Continue` will not send its body, or perhaps it will.
        let keeps = !has_body || (small && exchange.flags & EXPECTS == 0);
        if !keeps {
            exchange.flags |= CLOSE;
        }
        let number = exchange.number;
        self.begin(exchange);
        if has_body && keeps {
            let receiving = Receiving::discarded(framing, &self.config);
            self.more().receiving = Some(receiving);
        }
        let response = self.checked(response, number);
        if self.is_alone() {
            self.begin_answer(response, cx);
        } else {
            self.more().ready.push((number, response));
        }
        Ok(())
    }
}
