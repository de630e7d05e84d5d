//! The heartbeat: a ping after silence, the end after a missed pong.

use std::time::{Duration, Instant};

use super::Error;
use super::core::{Core, HEARD, OVER, PINGED, SENT, Side};
use crate::Context;

/// Milliseconds, as connections count them: at most twelve days, so that times can be compared across a wrap.
fn millis(time: Duration) -> u32 {
    const MOST: u32 = 1 << 30;
    u32::try_from(time.as_millis()).map_or(MOST, |millis| millis.min(MOST))
}

impl Core {
    /// The connection is open from now on: the silence begins.
    pub(super) fn start(&mut self, now: Instant) {
        self.heard = self.time(now);
    }

    /// Pings, or ends the connection, where it is time; tells when it will be next.
    pub(super) fn tick<P: Side>(&mut self, cx: &mut Context<'_, P>) -> Result<Option<Instant>, Error> {
        let Some(ping_after) = self.config.ping_after else { return Ok(None) };
        if self.has(SENT | OVER) {
            // The closing handshake has a deadline of its own.
            return Ok(None);
        }
        let (ping_after, pong_within) = (millis(ping_after), millis(self.config.pong_within));
        let now = self.time(cx.now());
        if self.has(HEARD) || cx.handling() || cx.parked() {
            // While the application is at work, what the peer has sent may wait to be read: it cannot be blamed.
            self.heard = now;
            self.bits &= !(HEARD | PINGED);
        }
        if self.has(PINGED) {
            let left = self.due.wrapping_sub(now) as i32;
            if left > 0 {
                return Ok(after(cx, left as u32));
            }
            if cx.queued() == 0 {
                return Err(self.fail(Error::NoPong, cx));
            }
            // The ping may be behind what is still on its way; that has a deadline of its own.
            self.due = now.wrapping_add(pong_within);
            return Ok(after(cx, pong_within));
        }
        let silence = now.wrapping_sub(self.heard);
        let spread = ping_after / 8;
        if silence >= ping_after - spread {
            self.ping(cx);
            self.bits |= PINGED;
            self.due = now.wrapping_add(pong_within);
            return Ok(after(cx, pong_within));
        }
        let early = cx.random().below(u64::from(spread) + 1) as u32;
        Ok(after(cx, (ping_after - early).saturating_sub(silence)))
    }
}

fn after<P: Side>(cx: &Context<'_, P>, millis: u32) -> Option<Instant> {
    cx.now().checked_add(Duration::from_millis(u64::from(millis.max(1))))
}
