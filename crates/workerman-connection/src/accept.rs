//! From an accepted socket to an endpoint, and the cap of a service.

use std::sync::Arc;
use std::time::Instant;

use workerman_event::{Address, Backend, ListenerId, Token};
use workerman_protocol::{Protocol, Role};

use crate::Service;
use crate::drive::Drive;
use crate::endpoint::{Endpoint, connection};
use crate::panics::guard;
use crate::remote::Remote;
use crate::shared::{RESERVED, place_of};
use crate::slots::Slots;

/// Makes endpoints for the connections of one listener, their protocol erased.
pub(crate) trait Accept {
    /// Takes one of the service's places for a connection; `false` if it is full.
    fn reserve(&self) -> bool;
    /// Gives a place back whose connection could not be made.
    fn give_back(&self);
    /// Whether the service is full; if so, the loop is told when it is no longer.
    fn waits(&self) -> bool;
    /// The local address of a connection: the listener's, where that says it, or what `ask` says.
    fn local(&mut self, ask: &mut dyn FnMut() -> Option<Address>) -> Option<Arc<Address>>;
    fn accept(
        &mut self,
        id: Token,
        peer: Address,
        local: Option<Arc<Address>>,
        now: Instant,
    ) -> Box<dyn Drive>;
    fn name(&self) -> &str;
}

pub(crate) struct Acceptor<P: Protocol> {
    service: Arc<Service<P>>,
    remote: Arc<Remote>,
    /// The listener's address, if it is that of all its connections.
    fixed: bool,
    /// The local address of the last connection, which usually is that of the next.
    local: Option<Arc<Address>>,
}

impl<P: Protocol> Acceptor<P> {
    pub(crate) fn new(service: Arc<Service<P>>, remote: Arc<Remote>, listener: Option<Address>) -> Self {
        // A listener on all addresses does not tell on which one a connection came in.
        let local = listener.filter(|address| !address.ip().is_some_and(|ip| ip.is_unspecified()));
        Self { service, remote, fixed: local.is_some(), local: local.map(Arc::new) }
    }
}

impl<P: Protocol> Accept for Acceptor<P> {
    fn reserve(&self) -> bool {
        self.service.reserve()
    }

    fn give_back(&self) {
        self.service.leave();
    }

    fn waits(&self) -> bool {
        self.service.waits_for_room(&self.remote)
    }

    fn local(&mut self, ask: &mut dyn FnMut() -> Option<Address>) -> Option<Arc<Address>> {
        if !self.fixed {
            let local = ask();
            if self.local.as_deref() != local.as_ref() {
                self.local = local.map(Arc::new);
            }
        }
        self.local.clone()
    }

    fn accept(
        &mut self,
        id: Token,
        peer: Address,
        local: Option<Arc<Address>>,
        now: Instant,
    ) -> Box<dyn Drive> {
        let conn = connection(Arc::clone(&self.service), Arc::clone(&self.remote), place_of(id), peer, local);
        conn.0.set(RESERVED);
        Box::new(Endpoint::new(conn, Role::Server, id, now))
    }

    fn name(&self) -> &str {
        &self.service.name
    }
}

impl Slots {
    /// A connection that has a place of its service.
    pub(super) fn welcome<B: Backend>(&mut self, io: &mut B, listener: ListenerId, id: Token, peer: Address) {
        let Some(listening) = self.listeners.get_mut(&listener) else { return };
        let local = listening.accept.local(&mut || io.local_address(id).ok());
        let now = io.now();
        self.local.remote.counters.accepted.add(1);
        match guard(|| listening.accept.accept(id, peer, local, now)) {
            Ok(endpoint) => self.install(io, id, endpoint),
            Err(panic) => {
                listening.accept.give_back();
                self.local.remote.counters.panics.add(1);
                tracing::error!(%panic, "a protocol panicked when it was made");
                io.close(id);
            }
        }
    }

    /// Pauses a listener whose service is full.
    pub(super) fn look_at_cap<B: Backend>(&mut self, io: &mut B, id: ListenerId) {
        let Some(listening) = self.listeners.get_mut(&id) else { return };
        if listening.accept.waits() {
            listening.capped = true;
            io.pause_accept(id);
        } else if listening.early.is_some() {
            // The place became free between the two looks.
            listening.capped = true;
            io.pause_accept(id);
            self.local.remote.offer_room();
        }
    }

    /// A service that was full has places again: goes on to accept.
    pub(super) fn lift_caps<B: Backend>(&mut self, io: &mut B) {
        let capped = self.listeners.iter().filter(|(_, listening)| listening.capped);
        let capped: Vec<_> = capped.map(|(id, _)| *id).collect();
        for id in capped {
            let Some(listening) = self.listeners.get_mut(&id) else { continue };
            if listening.early.is_some() && listening.accept.reserve() {
                if let Some((early, peer)) = listening.early.take() {
                    io.set_read(early, true);
                    self.welcome(io, id, early, peer);
                }
            }
            let Some(listening) = self.listeners.get_mut(&id) else { continue };
            if listening.accept.waits() || listening.early.is_some() {
                // Told again when there is room.
                self.look_at_cap(io, id);
                continue;
            }
            listening.capped = false;
            if !listening.paused {
                io.resume_accept(id);
            }
        }
    }
}
