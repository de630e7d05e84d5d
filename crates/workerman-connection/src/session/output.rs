//! The output half of a session: what the protocol says besides what it replies while it decodes.

use workerman_protocol::{Deadline, Failure, Goodbye, Protocol, Recovery, SendingHalf};

use super::{Session, Stage, Turn};
use crate::{CloseReason, Timeout};

impl<P: Protocol> Session<P> {
    /// Answers a message with what its handler has returned.
    ///
    /// # Errors
    /// It has no encoding: what the protocol had put is taken back.
    #[inline]
    pub fn answer(
        &mut self,
        message: P::Outgoing,
        turn: &mut Turn<'_>,
        sending: &dyn SendingHalf<P::Sending>,
    ) -> Result<(), P::Error> {
        if self.stage != Stage::Open {
            return Ok(());
        }
        let before = turn.reply.len();
        let answered =
            self.protocol.answer(message, &mut Self::context(self.role, self.has_ended(), turn, sending));
        answered.inspect_err(|_| turn.reply.truncate(before))
    }

    /// Lets the protocol write while nothing may be decoded.
    ///
    /// # Errors
    /// What the protocol says.
    pub fn pump(
        &mut self,
        turn: &mut Turn<'_>,
        sending: &dyn SendingHalf<P::Sending>,
    ) -> Result<(), P::Error> {
        if self.stage != Stage::Open {
            return Ok(());
        }
        self.protocol.pump(&mut Self::context(self.role, self.has_ended(), turn, sending))
    }

    /// Whether an answer that has begun is still being made.
    pub fn is_answering(&self) -> bool {
        self.stage == Stage::Open && self.protocol.is_answering()
    }

    /// Whether another protocol may take over now.
    pub fn hands_over(&self) -> bool {
        self.protocol.hands_over()
    }

    /// The handler of a message failed: asks the protocol what to say, and whether to go on.
    pub fn failed(
        &mut self,
        failure: Failure<'_>,
        turn: &mut Turn<'_>,
        sending: &dyn SendingHalf<P::Sending>,
    ) -> Recovery {
        if self.stage != Stage::Open {
            return Recovery::End;
        }
        self.protocol.failed(failure, &mut Self::context(self.role, self.has_ended(), turn, sending))
    }

    /// This side drains: asks the protocol what to say and when to end.
    pub fn goodbye(&mut self, turn: &mut Turn<'_>, sending: &dyn SendingHalf<P::Sending>) -> Goodbye {
        let goodbye = self.protocol.goodbye(&mut Self::context(self.role, self.has_ended(), turn, sending));
        self.leave(goodbye, CloseReason::Shutdown);
        goodbye
    }

    /// This side closes with a code: asks the protocol what to say and when to end.
    pub fn close_with_code(
        &mut self,
        code: Option<u16>,
        reason: &str,
        turn: &mut Turn<'_>,
        sending: &dyn SendingHalf<P::Sending>,
    ) -> Goodbye {
        let goodbye =
            self.protocol.close(code, reason, &mut Self::context(self.role, self.has_ended(), turn, sending));
        self.leave(goodbye, CloseReason::Local);
        goodbye
    }

    fn leave(&mut self, goodbye: Goodbye, reason: CloseReason) {
        if self.stage == Stage::Open {
            self.set_reason(reason);
            self.leaving |= goodbye == Goodbye::AfterMessage;
        }
    }

    /// The protocol's last words after a deadline.
    pub fn timeout(&mut self, which: Timeout, turn: &mut Turn<'_>, sending: &dyn SendingHalf<P::Sending>) {
        let which = match which {
            Timeout::Handshake => Deadline::Handshake,
            Timeout::Head => Deadline::Head,
            Timeout::Body => Deadline::Body,
            _ => Deadline::Idle,
        };
        if self.stage == Stage::Open {
            self.protocol.timeout(which, &mut Self::context(self.role, self.has_ended(), turn, sending));
        }
    }

    /// The protocol's tick.
    ///
    /// # Errors
    /// What the protocol says.
    pub fn tick(
        &mut self,
        turn: &mut Turn<'_>,
        sending: &dyn SendingHalf<P::Sending>,
    ) -> Result<(), P::Error> {
        self.set_tick(None);
        if self.stage == Stage::Open {
            let tick = self.protocol.tick(&mut Self::context(self.role, self.has_ended(), turn, sending))?;
            self.set_tick(tick);
        }
        Ok(())
    }
}
