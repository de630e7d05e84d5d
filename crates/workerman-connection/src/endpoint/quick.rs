//! The shortest way out: what others have sent to a connection that has nothing else to do. Of a broadcast this is the
//! way to nearly every receiver.

use workerman_protocol::Protocol;

use super::Endpoint;
use crate::drive::{Env, Gone, Io, Next};
use crate::shared::{
    BACKLOG, CROSSED, FINISHED, FREE, HELD, LOGGED, QUEUED, SHUT, Shared, UPGRADED, WAITED, WISHED, WOKEN,
};

/// With one of these a batch has more to do than to write.
const MORE: u32 = SHUT | FINISHED | UPGRADED | HELD | WISHED | WOKEN | CROSSED | WAITED | BACKLOG;

impl<P: Protocol> Endpoint<P> {
    /// Writes what is queued, if that is all there is to do; `None` leaves everything to a batch.
    pub(super) fn write_queued(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Option<Next> {
        let flags = self.conn.0.flags();
        let free = Shared::<P>::STATELESS || flags & FREE != 0;
        if P::ANSWERS || !free || flags & MORE != 0 || flags & (QUEUED | LOGGED) == 0 || !self.is_quiet() {
            return None;
        }
        let mut next = Next::default();
        let written = if flags & QUEUED == 0 {
            self.write_logged(io, env)
        } else {
            self.take_outside(env);
            self.write(io, env, false).map(|_| ())
        };
        if written.is_err() {
            next.gone = Gone::Close;
            return Some(next);
        }
        if self.accounted != 0 || self.session.pending_len() != 0 {
            self.account(env);
        }
        next.again = self.conn.0.flags() & (WISHED | QUEUED) != 0;
        next.deadline = self.session.deadline(&self.conn.0.service.settings, None, false);
        Some(next)
    }

    /// Writes what is in the loop's log, from there.
    fn write_logged(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Result<(), ()> {
        let pending = self.session.pending();
        let sent = self.conn.0.take_logged(|bytes| {
            let sent = io.send_slice(bytes)?;
            if sent < bytes.len() {
                pending.put_slice(&bytes[sent..]);
            }
            Ok::<_, std::io::Error>((sent, bytes.len()))
        });
        match sent {
            None => Ok(()),
            Some(Ok((written, all))) => {
                self.wrote(written, env);
                self.blocked_write = written < all;
                if self.blocked_write {
                    self.session.wrote(written, env.now);
                }
                Ok(())
            }
            Some(Err(error)) => {
                self.broke(error, env);
                Err(())
            }
        }
    }

    /// Whether no input, handler, layer or ending waits for a batch.
    fn is_quiet(&self) -> bool {
        self.opened
            && self.session.is_quiet()
            && self.task.is_none()
            && self.parked.is_none()
            && self.below.is_none()
            && self.rare.is_none()
            && !(self.paused || self.blocked_decode || self.blocked_write || self.lent || self.drained)
            && !(self.half_close || self.leaving || self.closing || self.arrived || self.sent)
    }
}
