//! Where a simulated worker's listeners and names come from.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use workerman_event::sim::{HostAddr, Network};
use workerman_event::{Address, ListenOptions, Listener};

use crate::bind::Binder;

/// The sockets of one host of the simulated network.
pub(super) struct Simulated {
    pub(super) network: Network,
    pub(super) host: HostAddr,
}

impl Binder for Simulated {
    fn look_up(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if name.eq_ignore_ascii_case("localhost") {
            return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
        }
        if self.network.host_name(self.host).is_some_and(|own| own.eq_ignore_ascii_case(name)) {
            return Ok(vec![(self.host.ip(), port).into(), (self.host.ipv6(), port).into()]);
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "in a simulation a worker listens on an IP address, localhost, or its own host's name",
        ))
    }

    fn listen(&self, address: &Address, options: &ListenOptions, loops: usize) -> io::Result<Vec<Listener>> {
        let mut options = options.clone();
        options.reuse_port |= loops > 1;
        let mut address = address.clone();
        let mut listeners = Vec::new();
        for _ in 0..loops {
            let listener = self.network.bind(self.host, address.clone(), &options)?;
            // The port that the first one was given, if it was 0.
            address = listener.local_address().clone();
            listeners.push(listener.into());
        }
        Ok(listeners)
    }
}
