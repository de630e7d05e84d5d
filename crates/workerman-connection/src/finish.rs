//! The second half of an endpoint: writing, and the ways in which a connection ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use workerman_protocol::{Protocol, Role};

use crate::cork::recycle;
use crate::drive::{Env, Gone, Io, Next};
use crate::endpoint::{Ending, Endpoint};
use crate::outcome::Settled;
use crate::panics::{dispose, dispose_all, guard, guarded};
use crate::session::Phase;
use crate::shared::{
    BACKLOG, CLOSED, CROSSED, EXCLUSIVE, FINISHED, FREE, HELD, LOGGED, QUEUED, SHUT, Shared, WISHED, bump,
};
use crate::{CloseReason, Error};

impl<P: Protocol> Endpoint<P> {
    /// Writes what is queued, looks at the marks, and takes the steps of ending that have become possible. `true`:
    /// something was written, and nothing is left.
    pub(super) fn flush(&mut self, io: &mut dyn Io, env: &mut Env<'_>, next: &mut Next) -> bool {
        let finished = env.out.is_finished() || self.session.pending().is_finished();
        if finished || self.conn.0.flags() & FINISHED != 0 {
            // The protocol ends the stream behind what it has just said.
            self.session.flush_and_close(CloseReason::Local);
        }
        if !matches!(self.session.phase(), Phase::Open | Phase::Handshake) {
            self.conn.0.shut_down();
            self.give_up_held();
        }
        let flags = self.conn.0.flags();
        if flags & SHUT != 0 || !(Shared::<P>::STATELESS || flags & FREE != 0) {
            // Sends of this batch, or the last ones that won against `SHUT`.
            self.take_outside(env);
        }
        next.hold = self.holds(env);
        let Ok(written) = self.write(io, env, next.hold) else {
            next.gone = Gone::Close;
            return false;
        };
        self.account(env);
        let emptied = written > 0 && self.accounted == 0;
        self.proceed(io, env, next);
        if next.gone != Gone::No {
            self.bury(env);
        }
        emptied
    }

    /// Whether replies wait for the handler that is suspended, so that they leave together with its own.
    fn holds(&mut self, env: &mut Env<'_>) -> bool {
        self.has_task()
            && !env.flush_held
            && self.session.phase() == Phase::Open
            && !self.blocked_write
            && self.conn.0.flags() & CROSSED == 0
            && !(env.out.is_empty() && self.session.pending_len() == 0)
    }

    /// Writes, unless replies are held back; returns how much.
    pub(super) fn write(&mut self, io: &mut dyn Io, env: &mut Env<'_>, hold: bool) -> Result<usize, ()> {
        if self.session.phase() == Phase::Closed {
            // It was reset, and what was queued before is lost: what would come behind that must not go out without it.
            self.session.pending().clear(0);
            recycle(env.out);
            return Ok(0);
        }
        if let Some(below) = &mut self.below {
            below.plain_out.append(env.out);
            recycle(env.out);
            if below.layer.is_established() && !below.plain_out.is_empty() {
                if let Err(error) = below.layer.send(&mut below.plain_out, self.session.pending()) {
                    // It will never go out; what waits must not keep the connection from ending.
                    below.plain_out.clear(0);
                    self.fail(&Error::Layer(error), CloseReason::Protocol, env);
                }
            }
        } else if self.session.pending_len() == 0 && !hold && !self.blocked_write {
            // The way of nearly every batch: one write straight from the cork.
            let mut taken = 0;
            if !env.out.is_empty() {
                let had = env.out.len();
                match io.send(env.out) {
                    Ok(written) => {
                        taken = written;
                        self.wrote(written, env);
                        if written < had {
                            self.blocked_write = true;
                            self.session.pending().append(env.out);
                        }
                        self.session.wrote(written, env.now);
                    }
                    Err(error) => {
                        recycle(env.out);
                        self.broke(error, env);
                        return Err(());
                    }
                }
            }
            recycle(env.out);
            return Ok(taken);
        } else {
            self.session.pending().append(env.out);
            recycle(env.out);
        }
        if hold || self.blocked_write || self.session.pending_len() == 0 {
            return Ok(0);
        }
        let had = self.session.pending_len();
        match io.send(self.session.pending()) {
            Ok(written) => {
                self.wrote(written, env);
                self.session.wrote(written, env.now);
                self.blocked_write = written < had;
                if !self.blocked_write {
                    // An idle connection owns no buffer.
                    self.session.pending().clear(0);
                }
                Ok(written)
            }
            Err(error) => {
                self.broke(error, env);
                Err(())
            }
        }
    }

    pub(super) fn wrote(&mut self, written: usize, env: &Env<'_>) {
        if self.closing && written > 0 {
            let grace = self.closing_grace();
            self.session.stand_until(env.now + grace);
        }
        bump(&self.conn.0.traffic.bytes_out, written as u64);
        env.remote.counters.bytes_out.add(written as u64);
    }

    /// Tells the handles and the loop how much is queued; notices a drain.
    pub(super) fn account(&mut self, env: &mut Env<'_>) {
        let queued = self.queued();
        let shared = &self.conn.0;
        if queued > self.accounted {
            env.remote.queued.fetch_add(queued - self.accounted, Ordering::Relaxed);
        } else if queued < self.accounted {
            env.remote.queued.fetch_sub(self.accounted - queued, Ordering::Relaxed);
        }
        self.accounted = queued;
        shared.set_pending(queued);
        if shared.flags() & BACKLOG != 0 {
            shared.refill(queued);
        }
        if self.session.is_full() {
            // What is held has not drained.
            let apart = if self.waits_apart() { shared.lock().waiting() } else { 0 };
            if self.session.drains(queued + apart, &shared.service.settings) {
                shared.clear(CROSSED);
                self.set_drained();
            }
        }
    }

    /// The steps of ending that need an empty queue.
    fn proceed(&mut self, io: &mut dyn Io, env: &mut Env<'_>, next: &mut Next) {
        let queued = self.queued();
        let empty = queued == 0 && self.conn.0.flags() & QUEUED == 0;
        if self.session.phase() == Phase::Open && empty {
            if self.half_close && !self.session.is_half_closed() && !self.waits_apart() {
                if !self.say_close(io, env, next) {
                    return;
                }
                io.shutdown_write();
                self.session.half_close();
                if self.end_handled {
                    self.session.flush_and_close(CloseReason::PeerClosed);
                }
            }
            if self.session.phase() == Phase::Open {
                next.switch = self.switch_now(io, env);
                return;
            }
            self.conn.0.set(SHUT);
        }
        // A layer whose handshake never finished holds plain bytes that can never go out.
        let stuck = self.below.as_ref().is_some_and(|below| !below.layer.is_established());
        if self.session.phase() == Phase::Flushing && (empty || (stuck && self.session.pending_len() == 0)) {
            if !self.say_close(io, env, next) {
                return;
            }
            // A peer that has ended and has been read to its end needs no linger: the close sends the FIN.
            let closes = self.session.peer_ended() && self.below.is_none();
            if !closes && !self.session.is_half_closed() {
                io.shutdown_write();
            }
            let settings = &self.conn.0.service.settings;
            self.session.lingers(settings, env.now);
            if self.ending == Ending::AtFin {
                self.announce(env);
            }
        }
        match self.session.phase() {
            Phase::Lingering { until } if self.session.peer_ended() || env.now >= until => {
                self.session.closed(CloseReason::Local);
                next.gone = Gone::Close;
            }
            Phase::Closed => {
                next.gone = if self.session.aborts() { Gone::Abort } else { Gone::Close };
            }
            _ => {}
        }
    }

    /// The layer's close notice, once. `false`: it has not been written whole yet, or the socket broke.
    fn say_close(&mut self, io: &mut dyn Io, env: &mut Env<'_>, next: &mut Next) -> bool {
        let Some(below) = &mut self.below else { return true };
        if !std::mem::replace(&mut below.close_said, true) && below.layer.is_established() {
            below.layer.close(self.session.pending());
            if self.write(io, env, false).is_err() {
                next.gone = Gone::Close;
                return false;
            }
            self.account(env);
        }
        self.session.pending_len() == 0
    }

    /// The socket failed.
    pub(super) fn broke(&mut self, why: io::Error, env: &mut Env<'_>) {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
        let peer = matches!(why.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected);
        if !peer && matches!(self.session.phase(), Phase::Open | Phase::Handshake) {
            self.tell(&Error::Io(why), env);
        }
        self.session.closed(CloseReason::Reset);
        self.bury(env);
    }

    /// The last rites: handlers dropped, `on_close` called, accounts settled.
    pub(super) fn bury(&mut self, env: &mut Env<'_>) {
        self.drop_work();
        self.announce(env);
        self.give_up_held();
        let shared = &self.conn.0;
        if shared.flags() & LOGGED != 0 {
            shared.unlog(&mut shared.lock());
        }
        // A client that connects again sends then what it had not begun to send; a stateful encoder begins anew.
        let keep = self.dialer().is_some() && Shared::<P>::STATELESS;
        let counted = if keep {
            0
        } else {
            let mut core = shared.lock();
            core.out.clear(0);
            std::mem::take(&mut core.counted)
        };
        let ours = std::mem::take(&mut self.accounted) + counted;
        if ours > 0 {
            env.remote.queued.fetch_sub(ours, Ordering::Relaxed);
        }
        shared.set_pending(0);
    }

    /// Whether something sent waits apart that will go out.
    fn waits_apart(&self) -> bool {
        self.conn.0.flags() & (HELD | EXCLUSIVE | BACKLOG) != 0
    }

    /// Drops what is held on a connection that ends, unless the client will connect again.
    fn give_up_held(&self) {
        let again = || self.dialer().is_some_and(|redial| redial.will_retry(&self.session.reason()));
        if self.waits_apart() && !(self.is_held() && again()) {
            self.conn.0.drop_held();
        }
    }

    /// Something went wrong that ends the connection; what is queued still goes out.
    pub(super) fn fail(&mut self, error: &Error, reason: CloseReason, env: &mut Env<'_>) {
        if !matches!(self.session.phase(), Phase::Open | Phase::Handshake) {
            tracing::debug!(id = self.conn.0.id, %error, "error on a connection that was ending");
            return;
        }
        self.tell(error, env);
        self.end_after(error, reason);
    }

    /// Ends after an error that `on_error` was told; what is queued still goes out.
    pub(super) fn end_after(&mut self, error: &Error, reason: CloseReason) {
        let reason = match error {
            Error::Reply(_) => CloseReason::Limit,
            _ => reason,
        };
        self.session.flush_and_close(reason);
        self.conn.0.set(SHUT);
    }

    /// Tells `on_error`, which may still send.
    pub(super) fn tell(&mut self, error: &Error, env: &mut Env<'_>) {
        env.remote.counters.errors.add(1);
        tracing::debug!(id = self.conn.0.id, worker = %self.conn.0.service.name, %error, "connection error");
        let conn = &self.conn;
        if let Some(on_error) = &conn.0.service.handlers.on_error {
            if let Err(panic) = guard(|| on_error(conn, error)) {
                env.remote.counters.panics.add(1);
                tracing::error!(id = conn.0.id, worker = %conn.0.service.name, %panic, "on_error panicked");
            }
        }
    }

    /// A callback panicked: only this connection ends.
    pub(super) fn panicked(&mut self, panic: String, env: &mut Env<'_>) {
        self.count_panic(&panic, env);
        self.fail(&Error::Panic(panic), CloseReason::Panic, env);
    }

    pub(super) fn count_panic(&self, panic: &str, env: &mut Env<'_>) {
        env.remote.counters.panics.add(1);
        tracing::error!(id = self.conn.0.id, worker = %self.conn.0.service.name, %panic, "a callback panicked");
    }

    /// `on_close`, exactly once, and the end of the handle.
    pub(super) fn announce(&mut self, env: &mut Env<'_>) {
        if std::mem::replace(&mut self.announced, true) {
            return;
        }
        let reason = self.session.reason();
        let shared = &self.conn.0;
        let again = self.dialer().is_some_and(|redial| redial.will_retry(&reason));
        if !again {
            shared.set(SHUT | CLOSED);
        }
        // Also a client that will connect again takes nothing from its `on_close`.
        shared.set(SHUT);
        let counters = &env.remote.counters;
        counters.closed[reason.index()].add(1);
        // What was said is told, whatever the connection itself knows of the end.
        let farewell = if self.opened { guard(|| self.session.farewell()) } else { Ok(None) };
        let reason = match farewell {
            Ok(None) => reason,
            Ok(Some(farewell)) => CloseReason::Said(farewell),
            Err(panic) => {
                counters.panics.add(1);
                tracing::error!(id = shared.id, worker = %shared.service.name, %panic, "a protocol panicked");
                CloseReason::Panic
            }
        };
        counters.live.set(counters.live.read().wrapping_sub(1));
        // A client whose layer never came up tells its end all the same: it gives up.
        if self.greeted || (self.session.role() == Role::Client && !again) {
            let conn = &self.conn;
            let settled = guard(|| match &conn.0.service.handlers.on_close {
                Some(on_close) => on_close(conn, reason),
                None => Settled::Done,
            });
            match settled {
                Ok(Settled::Done) => {}
                // To whom?
                Ok(Settled::Reply(message)) => dispose(message),
                Ok(Settled::Later(task)) => {
                    drop(workerman_event::spawn(async move {
                        if let Some(Err(error)) = guarded(task).await {
                            tracing::debug!(%error, "on_close failed");
                        }
                    }));
                }
                Ok(Settled::Fail(error)) => {
                    counters.errors.add(1);
                    tracing::debug!(id = conn.0.id, %error, "on_close failed");
                }
                Err(panic) => {
                    counters.panics.add(1);
                    tracing::error!(id = conn.0.id, worker = %conn.0.service.name, %panic, "on_close panicked");
                }
            }
        }
        if let Some(forward) = self.rare.as_mut().and_then(|rare| rare.forward.take()) {
            if let Err(panic) = guard(|| forward.closed()) {
                tracing::error!(%panic, "a pipe panicked");
            }
            dispose(forward);
        }
        let shared = Arc::clone(&self.conn.0);
        shared.service.unregister(&shared.remote, self.slot as usize);
        if !again || shared.lock().wishes.as_ref().is_some_and(|wishes| wishes.end.is_some()) {
            // Over for good; perhaps because `on_close` said so.
            shared.set(SHUT | CLOSED);
            dispose(self.rare.as_mut().and_then(|rare| rare.redial.take()));
            shared.clear(WISHED);
            let (wishes, extensions) = {
                let mut core = shared.lock();
                (core.wishes.take(), core.take_extensions())
            };
            dispose(wishes);
            dispose_all(extensions.into_values());
        }
        shared.release();
    }

    /// Queues what the protocol says first, before anything that was sent while there was no connection.
    pub(super) fn reply_first(&mut self, env: &mut Env<'_>) {
        if env.reply.is_finished() {
            self.conn.0.set(SHUT | FINISHED);
        }
        match &mut self.below {
            Some(below) => below.plain_out.append(env.reply),
            None => self.session.pending().append(env.reply),
        }
        env.reply.clear(4096);
    }
}
