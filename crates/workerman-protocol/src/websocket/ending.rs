//! Closing, and what is said without being asked: close frames and pongs (RFC 6455 sections 5.5 and 7).

use bytes::{Buf, BytesMut};

use super::close::{self, CloseCode, fitting};
use super::core::{Core, DEAF, HEARD, OVER, OWES, SENT, Side};
use super::frame::{CLOSE, MAX_CONTROL, PING, PONG};
use super::{Error, send};
use crate::{Context, Deadline, Decoded, Eof, Farewell, Goodbye, Outbox};

/// With more than this many bytes on their way to the peer a pong waits: 64 KiB.
const CONGESTED: usize = 64 * 1024;

/// Appends a control frame of this side.
fn control<P: Side>(opcode: u8, payload: &[u8], out: &mut Outbox) {
    let before = out.len();
    let written = if P::CLIENT {
        send::control::<true>(opcode, payload, out)
    } else {
        send::control::<false>(opcode, payload, out)
    };
    if written.is_err() {
        // Without random numbers there is no mask, and a client says nothing without one.
        out.truncate(before);
    }
}

impl Core {
    /// Sends a close frame, once; the reason is cut to what fits.
    fn send_close<P: Side>(&mut self, code: Option<CloseCode>, reason: &str, cx: &mut Context<'_, P>) {
        if self.has(SENT) {
            return;
        }
        self.bits |= SENT;
        // RFC 6455 section 5.5.1: no data frame may follow.
        cx.shut();
        let mut payload = [0; MAX_CONTROL];
        let length = match code {
            // RFC 6455 section 7.4.1: some codes are never sent; a reason needs a code in front.
            Some(code) if code.is_sendable() => {
                let reason = fitting(reason).as_bytes();
                payload[..2].copy_from_slice(&code.get().to_be_bytes());
                payload[2..2 + reason.len()].copy_from_slice(reason);
                2 + reason.len()
            }
            _ => 0,
        };
        control::<P>(CLOSE, &payload[..length], cx.reply());
    }

    fn remember(&mut self, code: u16, text: &str, by_peer: bool, clean: bool) {
        self.more().last.get_or_insert_with(|| Farewell { code, text: text.into(), by_peer, clean });
    }

    /// The connection fails (RFC 6455 section 7.1.7): the peer is told why, if it is its fault.
    #[cold]
    pub(super) fn fail<P: Side>(&mut self, error: Error, cx: &mut Context<'_, P>) -> Error {
        self.forget();
        self.bits |= OVER;
        match error.close_code() {
            Some(code) => self.leave(code, &error.to_string(), cx),
            // RFC 6455 section 7.1.5: nobody is there to be told.
            None => self.remember(CloseCode::ABNORMAL.get(), &error.to_string(), false, false),
        }
        error
    }

    /// Says why this side ends the connection, without waiting for an answer.
    pub(super) fn leave<P: Side>(&mut self, code: CloseCode, text: &str, cx: &mut Context<'_, P>) {
        self.remember(code.get(), text, false, false);
        self.send_close(Some(code), text, cx);
    }

    /// This side closes.
    pub(super) fn close<P: Side>(
        &mut self,
        code: Option<u16>,
        reason: &str,
        cx: &mut Context<'_, P>,
    ) -> Goodbye {
        if self.has(OVER) {
            return Goodbye::Now;
        }
        let code = CloseCode::from(code.unwrap_or(1000));
        self.remember(code.get(), reason, false, false);
        self.send_close(Some(code), reason, cx);
        // Who has closed hears no messages any more.
        self.bits |= DEAF;
        Goodbye::WhenPeerCloses
    }

    /// This side drains. What the peer has sent before it knew is still received.
    pub(super) fn goodbye<P: Side>(&mut self, cx: &mut Context<'_, P>) -> Goodbye {
        if self.has(OVER) {
            return Goodbye::Now;
        }
        let text = if P::CLIENT { "the client goes away" } else { "the server goes away" };
        self.leave(CloseCode::AWAY, text, cx);
        Goodbye::WhenPeerCloses
    }

    /// The peer has ended its stream, and everything in front of its end has been read.
    pub(super) fn eof<P: Side>(&mut self, input: &BytesMut) -> Eof<P> {
        let within = !input.is_empty() || self.is_within_message();
        // RFC 6455 section 7.1.5: an end without a close frame has a code that nobody sends.
        self.remember(CloseCode::ABNORMAL.get(), "", true, false);
        if within && !self.has(OVER) { Eof::Truncated } else { Eof::Clean }
    }

    /// What was said about the end.
    pub(super) fn farewell(&self) -> Option<Farewell> {
        self.more.as_ref()?.last.clone()
    }

    /// Which deadline runs.
    pub(super) fn deadline(&self) -> Deadline {
        // A client that has answered a close frame waits for the server to end the stream, but not for ever.
        if self.has(OVER) { Deadline::Handshake } else { Deadline::Idle }
    }

    /// A deadline has passed.
    pub(super) fn timeout<P: Side>(&mut self, which: Deadline, cx: &mut Context<'_, P>) {
        if which == Deadline::Idle {
            self.leave(CloseCode::AWAY, "nothing was received for too long", cx);
        }
    }

    /// The peer's close frame is the first thing in the input, and ends at `end`.
    pub(super) fn closed_by_peer<P: Side>(
        &mut self,
        payload: &[u8],
        end: usize,
        input: &mut BytesMut,
        cx: &mut Context<'_, P>,
    ) -> Result<Option<Decoded<P>>, Error> {
        let said = close::parse(payload)?;
        if cx.handling() && !self.has(SENT) {
            // RFC 6455 section 5.5.1: the answer may wait until a message has been sent; here, what the handler at work
            // has to say. It is looked at again when that is done.
            return Ok(Some(Decoded::Blocked));
        }
        input.advance(end);
        self.bits |= HEARD;
        self.forget();
        if self.has(SENT) {
            if let Some(last) = &mut self.more().last {
                last.clean = true;
            }
        } else {
            let (code, text) = said.unwrap_or((CloseCode::NO_STATUS, ""));
            self.remember(code.get(), text, true, true);
            self.send_close(Some(code), "", cx);
        }
        self.bits = (self.bits | OVER) & !OWES;
        if !P::CLIENT {
            // RFC 6455 section 7.1.1: the server ends the stream, the client waits for that.
            cx.reply().finish();
        }
        Ok(None)
    }

    /// A ping is answered at once, or later if the peer takes nothing at the moment: then the latest one (RFC 6455 section
    /// 5.5.3), so that a flood of them does not pile up.
    pub(super) fn answer_ping<P: Side>(&mut self, payload: &[u8], cx: &mut Context<'_, P>) {
        if self.has(SENT) {
            return;
        }
        if cx.queued() > CONGESTED {
            self.bits |= OWES;
            self.more().pong = payload.to_vec();
        } else {
            self.settled();
            control::<P>(PONG, payload, cx.reply());
        }
    }

    /// Sends the pong that is owed, if there is room.
    pub(super) fn pay<P: Side>(&mut self, cx: &mut Context<'_, P>) {
        if self.has(OWES) && (cx.queued() <= CONGESTED || self.has(SENT)) {
            let payload = self.settled();
            if !self.has(SENT) {
                control::<P>(PONG, &payload, cx.reply());
            }
        }
    }

    /// No pong is owed.
    fn settled(&mut self) -> Vec<u8> {
        if !self.has(OWES) {
            return Vec::new();
        }
        self.bits &= !OWES;
        let payload = std::mem::take(&mut self.more().pong);
        self.tidy();
        payload
    }

    /// Sends the ping of the heartbeat.
    pub(super) fn ping<P: Side>(&mut self, cx: &mut Context<'_, P>) {
        control::<P>(PING, &[], cx.reply());
    }
}
