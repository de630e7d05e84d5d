//! What the protocol says: its own words and, where it writes the answers, those of the handlers; and what it makes of a
//! handler that fails.

use std::sync::atomic::Ordering;

use workerman_protocol::{Failure, Protocol, Recovery, SendingHalf};

use super::batch::Parked;
use super::{Endpoint, turn};
use crate::cork::{CORK, cork, cork_reply, count_answer};
use crate::drive::Env;
use crate::half::Half;
use crate::panics::dispose;
use crate::session::{Phase, Session, Turn};
use crate::shared::{CROSSED, FINISHED, FREE, HELD, QUEUED, SHUT, Shared, UPGRADED};
use crate::{CloseReason, Error, SendError};

impl<P: Protocol> Endpoint<P> {
    /// Asks the session within a batch: what the protocol says is queued behind what was sent before.
    #[inline]
    pub(super) fn ask<R>(
        &mut self,
        env: &mut Env<'_>,
        f: impl FnOnce(&mut Session<P>, &mut Turn<'_>, &dyn SendingHalf<P::Sending>) -> R,
    ) -> R {
        if P::ANSWERS {
            return self.ask_in_cork(env, f);
        }
        let (works, held) = (self.works(), self.is_held());
        let said = f(&mut self.session, &mut turn(env, &self.waker, works), &Half(&self.conn.0));
        if !env.reply.is_empty() || env.reply.is_finished() {
            self.reply(held, env);
        }
        said
    }

    /// The same for a protocol that says everything itself: straight into the cork.
    #[inline]
    fn ask_in_cork<R>(
        &mut self,
        env: &mut Env<'_>,
        f: impl FnOnce(&mut Session<P>, &mut Turn<'_>, &dyn SendingHalf<P::Sending>) -> R,
    ) -> R {
        let (handling, parked) = self.works();
        let (session, shared) = (&mut self.session, &self.conn.0);
        let Env { now, unix_seconds, queued, .. } = *env;
        CORK.with_borrow_mut(|cork| {
            cork.forget_partial();
            let before = cork.out.len();
            let random = &mut *env.random;
            let (reply, waker) = (&mut cork.out, &self.waker);
            let mut turn = Turn { now, unix_seconds, random, reply, queued, waker, handling, parked };
            let said = f(session, &mut turn, &Half(shared));
            let after = cork.out.len();
            if after > before && queued + after >= shared.service.settings.high_water {
                shared.set(CROSSED);
            }
            if cork.out.is_finished() {
                shared.set(SHUT | FINISHED);
            }
            said
        })
    }

    /// Asks the session outside of a batch: what the protocol says is queued behind what senders have queued.
    pub(super) fn ask_outside<R>(
        &mut self,
        env: &mut Env<'_>,
        f: impl FnOnce(&mut Session<P>, &mut Turn<'_>, &dyn SendingHalf<P::Sending>) -> R,
    ) -> R {
        self.take_outside(env);
        env.queued = self.queued();
        let (works, held) = (self.works(), self.is_held());
        let said = f(&mut self.session, &mut turn(env, &self.waker, works), &Half(&self.conn.0));
        if !held && (!env.reply.is_empty() || env.reply.is_finished()) {
            // Behind what senders have queued meanwhile.
            self.take_outside(env);
        }
        self.reply_first(env);
        said
    }

    /// Whether what is sent is held until the protocol releases it.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        Shared::<P>::HOLDS && self.conn.0.flags() & HELD != 0
    }

    /// Queues the protocol's own reply, in order with the application's messages; `held`: those were held before it.
    fn reply(&mut self, held: bool, env: &mut Env<'_>) {
        if held {
            // It may end with what was held, and what is sent since comes behind that.
            self.reply_first(env);
            env.queued = self.queued();
            self.conn.0.pending.store(env.queued, Ordering::Relaxed);
            cork(self.conn.0.id, env.queued);
            return;
        }
        if env.reply.is_finished() {
            self.conn.0.set(SHUT | FINISHED);
        }
        if Shared::<P>::STATELESS || self.conn.0.flags() & FREE != 0 {
            cork_reply(env.reply);
        } else {
            let mut core = self.conn.0.lock();
            core.out.append(env.reply);
            drop(core);
            self.conn.0.set(QUEUED);
        }
        env.reply.clear(4096);
    }

    /// Lets a protocol that writes the answers write while it may not decode.
    #[inline]
    pub(super) fn pump(&mut self, env: &mut Env<'_>) {
        if P::ANSWERS {
            self.pump_now(env);
        }
    }

    /// Lets a protocol that writes the answers look at what was sent.
    #[cold]
    pub(super) fn pump_sent(&mut self, env: &mut Env<'_>) {
        self.take_outside(env);
        self.sent = false;
        self.pump_now(env);
    }

    fn pump_now(&mut self, env: &mut Env<'_>) {
        if !self.opened || self.session.phase() != Phase::Open || self.conn.0.flags() & FINISHED != 0 {
            return;
        }
        if let Err(error) = self.ask(env, Session::pump) {
            self.fail(&Error::Protocol(error.into()), CloseReason::Protocol, env);
        }
    }

    /// What the handler of a message has returned, for a protocol that writes the answers.
    #[inline]
    pub(super) fn answer(&mut self, message: P::Outgoing, env: &mut Env<'_>) {
        let mut flags = self.conn.0.flags.load(Ordering::Acquire);
        if flags & QUEUED != 0 {
            // What its handler has sent comes first.
            self.pump_sent(env);
            flags = self.conn.0.flags();
        }
        // Of one that is handed over the answer still counts: it may be the switch.
        let upgraded = flags & UPGRADED != 0;
        if (flags & SHUT != 0 && !upgraded) || self.session.phase() != Phase::Open {
            // Its handler has closed the connection: nobody's error.
            dispose(message);
            return;
        }
        let answered = self.ask(env, |session, turn, sending| session.answer(message, turn, sending));
        count_answer(answered.is_ok());
        if let Err(error) = answered {
            if upgraded {
                // It has been answered before.
                tracing::debug!(id = self.conn.0.id, %error, "an answer behind an upgrade was dropped");
                return;
            }
            self.message_failed(&Error::Reply(SendError::Encode(error).into()), env);
        }
    }

    /// Whether the handler of a message is at work, and whether a decoded message waits for it.
    #[inline]
    pub(super) fn works(&self) -> (bool, bool) {
        (self.handling, matches!(self.parked.as_deref(), Some(Parked::Message(_))))
    }

    /// The handler of a message returned an error.
    #[cold]
    pub(super) fn message_failed(&mut self, error: &Error, env: &mut Env<'_>) {
        // What the handler has returned, as it was.
        let own: &(dyn std::error::Error + 'static) = match error {
            Error::Handler(own) => &**own,
            other => other,
        };
        self.recover(error, Failure::Error(own), CloseReason::Handler, env);
    }

    /// The handler of a message panicked.
    #[cold]
    pub(super) fn message_panicked(&mut self, panic: String, env: &mut Env<'_>) {
        self.count_panic(&panic, env);
        self.recover(&Error::Panic(panic), Failure::Panic, CloseReason::Panic, env);
    }

    /// `on_error` is told, then the protocol says something and whether to go on.
    fn recover(&mut self, error: &Error, failure: Failure<'_>, reason: CloseReason, env: &mut Env<'_>) {
        if self.session.phase() != Phase::Open {
            self.fail(error, reason, env);
            return;
        }
        self.tell(error, env);
        if self.conn.0.flags() & QUEUED != 0 {
            // What its handler or `on_error` has sent may be the answer.
            self.pump_sent(env);
        }
        let recovery = self.ask(env, |session, turn, sending| session.failed(failure, turn, sending));
        if recovery == Recovery::End {
            self.end_after(error, reason);
        }
    }
}
