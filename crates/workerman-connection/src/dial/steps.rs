//! The dials of a loop: each event goes to its dial, and what the dial answers is done.

use workerman_event::Backend;
use workerman_protocol::Random;

use super::{Dial, DialEvent, Dialed, Redial};
use crate::CloseReason;
use crate::panics::guard;
use crate::slots::Slots;
use crate::turn::DialPort;

impl Slots {
    /// A new dial.
    pub(crate) fn begin_dial<B: Backend>(&mut self, io: &mut B, dial: Box<dyn Dial>) {
        let id = dial.id();
        self.dials.insert(id, dial);
        self.step_dial(io, id, DialEvent::Start);
        self.cancel_if_ending(io, id);
    }

    /// A loop that drains or stops makes no new connections: they would only hold it up.
    fn cancel_if_ending<B: Backend>(&mut self, io: &mut B, id: u64) {
        if self.stopping || self.is_draining() {
            self.step_dial(io, id, DialEvent::Cancel(CloseReason::Shutdown));
        }
    }

    /// A connection was lost that has a policy to connect again.
    pub(crate) fn redial<B: Backend>(&mut self, io: &mut B, redial: Redial) {
        let Redial { dial, cancelled, came_up } = redial;
        let id = dial.id();
        self.dials.insert(id, dial);
        self.step_dial(io, id, DialEvent::Lost { cancelled, came_up });
        self.cancel_if_ending(io, id);
    }

    pub(crate) fn step_dial<B: Backend>(&mut self, io: &mut B, id: u64, event: DialEvent) {
        let Some(dial) = self.dials.remove(&id) else { return };
        let now = io.now();
        let mut random = Random::new(self.random_seed());
        let mut port = DialPort { slots: self, io, dial: id };
        let dialed = guard(|| dial.step(event, &mut port, now, &mut random));
        match dialed {
            Ok(Dialed::On(dial, deadline)) => {
                self.dials.insert(id, dial);
                self.dial_deadlines.schedule(deadline, id);
            }
            Ok(Dialed::Up(token, endpoint)) => {
                self.local.remote.counters.connected.add(1);
                self.install(io, token, endpoint);
            }
            Ok(Dialed::Gone) => {}
            Err(panic) => {
                self.local.remote.counters.panics.add(1);
                tracing::error!(%panic, "a client panicked while it connected");
            }
        }
    }
}
