//! From an accepted socket to an endpoint.

use std::sync::Arc;
use std::time::Instant;

use workerman_event::{Address, Token};
use workerman_protocol::{Protocol, Role};

use crate::Service;
use crate::drive::Drive;
use crate::endpoint::{Endpoint, connection};
use crate::remote::Remote;
use crate::shared::place_of;

/// Makes endpoints for the connections of one listener, their protocol erased.
pub(crate) trait Accept {
    /// Whether the service may have another connection.
    fn has_room(&self) -> bool;
    /// Whether the local address of a connection is the listener's; `None`: ask the socket.
    fn local(&self) -> Option<&Address>;
    fn accept(&mut self, id: Token, peer: Address, local: Option<Address>, now: Instant) -> Box<dyn Drive>;
    fn name(&self) -> &str;
}

pub(crate) struct Acceptor<P: Protocol> {
    service: Arc<Service<P>>,
    remote: Arc<Remote>,
    local: Option<Address>,
}

impl<P: Protocol> Acceptor<P> {
    pub(crate) fn new(service: Arc<Service<P>>, remote: Arc<Remote>, listener: Option<Address>) -> Self {
        // A listener on all addresses does not tell on which one a connection came in.
        let local = listener.filter(|address| !address.ip().is_some_and(|ip| ip.is_unspecified()));
        Self { service, remote, local }
    }
}

impl<P: Protocol> Accept for Acceptor<P> {
    fn has_room(&self) -> bool {
        self.service.has_room()
    }

    fn local(&self) -> Option<&Address> {
        self.local.as_ref()
    }

    fn accept(&mut self, id: Token, peer: Address, local: Option<Address>, now: Instant) -> Box<dyn Drive> {
        let conn = connection(Arc::clone(&self.service), Arc::clone(&self.remote), place_of(id), peer, local);
        Box::new(Endpoint::new(conn, Role::Server, id, now))
    }

    fn name(&self) -> &str {
        &self.service.name
    }
}
