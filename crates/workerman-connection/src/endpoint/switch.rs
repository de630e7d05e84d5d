//! Another protocol takes over a live slot: what moves from endpoint to endpoint, and when.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use workerman_event::Address;
use workerman_protocol::{Protocol, Role};

use super::{Below, Endpoint, abandon, connection};
use crate::drive::{Drive, Env, Io};
use crate::session::{Parts, Phase, Session};
use crate::shared::{CLOSED, MARKED, NOWHERE, Shared};
use crate::{CloseReason, Connection, Service};

/// Builds the endpoint of the next protocol from what the old one leaves.
pub(crate) type SwitchTo = Box<dyn FnOnce(Legacy) -> Box<dyn Drive> + Send>;

/// What moves from endpoint to endpoint on a live slot.
pub(crate) struct Legacy {
    pub(crate) parts: Parts,
    pub(crate) below: Option<Box<Below>>,
    pub(crate) peer: Address,
    pub(crate) local: Option<Arc<Address>>,
    pub(crate) role: Role,
    pub(crate) place: u64,
    pub(crate) accounted: usize,
    pub(crate) bytes: (u64, u64),
    pub(crate) reading: bool,
    pub(crate) blocked: bool,
    pub(crate) now: Instant,
}

/// The next connection on the slot of `old`, and what makes its endpoint when the time has come.
pub(crate) fn switch<P: Protocol, Q: Protocol>(
    old: &Arc<Shared<P>>,
    protocol: Q,
    service: Arc<Service<Q>>,
) -> (Connection<Q>, SwitchTo) {
    let (peer, local) = {
        let core = old.lock();
        (core.peer.clone(), core.local.clone())
    };
    // Its sends are kept until the switch: the place is set then.
    let conn = connection(service, Arc::clone(&old.remote), NOWHERE, peer, local);
    let next = conn.clone();
    let successor = Successor(Some(conn.clone()));
    let switch: SwitchTo = Box::new(move |legacy| {
        successor.takes_over();
        let slot = (legacy.place >> 32) as u32;
        let layered = legacy.below.is_some();
        let mut endpoint = Endpoint::on(conn, protocol, legacy.role, legacy.below, slot, legacy.now);
        if layered {
            endpoint.session = endpoint.session.established();
        }
        endpoint.session.adopt(legacy.parts);
        endpoint.accounted = legacy.accounted;
        endpoint.reading = legacy.reading;
        endpoint.blocked_write = legacy.blocked;
        let shared = &endpoint.conn.0;
        {
            let mut core = shared.lock();
            core.peer = legacy.peer;
            core.local = legacy.local;
        }
        shared.pending.store(endpoint.session.pending_len(), Ordering::Relaxed);
        shared.traffic.bytes_in.store(legacy.bytes.0, Ordering::Relaxed);
        shared.traffic.bytes_out.store(legacy.bytes.1, Ordering::Relaxed);
        shared.place.store(legacy.place, Ordering::SeqCst);
        shared.clear(MARKED);
        Box::new(endpoint)
    });
    (next, switch)
}

/// The handle that `upgrade` has returned, until its protocol takes over: if the old one ends before, so does it.
struct Successor<P: Protocol>(Option<Connection<P>>);

impl<P: Protocol> Successor<P> {
    fn takes_over(mut self) {
        self.0 = None;
    }
}

impl<P: Protocol> Drop for Successor<P> {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            abandon(&conn.0);
        }
    }
}

impl<P: Protocol> Endpoint<P> {
    /// Hands the slot to the next protocol, if that is wished and nothing of this one is still running.
    pub(crate) fn switch_now(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Option<Box<dyn Drive>> {
        let busy = self.task.is_some() || self.parked.is_some() || !self.session.hands_over();
        if busy || self.session.phase() != Phase::Open {
            return None;
        }
        let switch = self.take_switch()?;
        if self.lent {
            self.lent = false;
            if let Some(buffer) = io.reclaim() {
                self.session.refill(buffer);
            }
        }
        let shared = Arc::clone(&self.conn.0);
        let role = self.session.role();
        let placeholder = Session::new(shared.service.make_protocol(), role, false, env.now);
        let session = std::mem::replace(&mut self.session, placeholder);
        shared.service.unregister(&shared.remote, self.slot as usize);
        self.announced = true;
        let (peer, local) = {
            let core = shared.lock();
            (core.peer.clone(), core.local.clone())
        };
        let legacy = Legacy {
            parts: session.into_parts(),
            below: self.below.take(),
            peer,
            local,
            role,
            place: shared.place.swap(NOWHERE, Ordering::SeqCst),
            accounted: std::mem::take(&mut self.accounted),
            bytes: (
                shared.traffic.bytes_in.load(Ordering::Relaxed),
                shared.traffic.bytes_out.load(Ordering::Relaxed),
            ),
            reading: self.reading,
            blocked: self.blocked_write,
            now: env.now,
        };
        shared.set(CLOSED);
        shared.release();
        self.session.closed(CloseReason::Local);
        Some(switch(legacy))
    }
}
