//! From an address as it was written to listeners, one per loop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use workerman_connection::Target;
use workerman_event::{Address, ListenOptions, Listener};

use crate::{Error, Result};

/// The listeners of one address: as many as there are loops.
pub(crate) struct BoundAddress {
    pub(crate) address: Address,
    pub(crate) listeners: Vec<Listener>,
}

/// Where listeners and names come from: the system, or a simulated network.
pub(crate) trait Binder: Send + Sync {
    /// The addresses of a name, each at most once.
    fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
    /// One listener for each of so many loops.
    fn listen(&self, address: &Address, options: &ListenOptions, loops: usize) -> io::Result<Vec<Listener>>;
}

/// The real one.
pub(crate) struct System;

impl Binder for System {
    fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
        let mut seen = Vec::new();
        found.retain(|address| {
            let new = !seen.contains(address);
            seen.push(*address);
            new
        });
        Ok(found)
    }

    fn listen(&self, address: &Address, options: &ListenOptions, loops: usize) -> io::Result<Vec<Listener>> {
        if loops == 1 && !options.reuse_port {
            return Ok(vec![Listener::bind(address, options)?]);
        }
        Listener::bind_many(address, options, loops)
    }
}

/// Binds everything that `target` means.
pub(crate) fn bind(
    target: &Target,
    options: &ListenOptions,
    loops: usize,
    binder: &dyn Binder,
) -> Result<Vec<BoundAddress>> {
    match target {
        Target::Unix(path) => Ok(vec![one(&Address::from(path.clone()), options, loops, binder)?]),
        Target::Host { host, port } if host.is_empty() => everywhere(*port, options, loops, binder),
        Target::Host { host, port } => {
            let mut bound: Vec<BoundAddress> = Vec::new();
            for mut address in look_up(host, *port, binder)? {
                // A name with several addresses and port 0: one port for all of them.
                if let (0, Some(port)) =
                    (address.port(), bound.first().and_then(|first| first.address.port()))
                {
                    address.set_port(port);
                }
                bound.push(one(&address.into(), options, loops, binder)?);
            }
            Ok(bound)
        }
    }
}

/// All addresses of this machine: two listeners, so that no peer has an address that is IPv4 in IPv6's clothes.
fn everywhere(
    port: u16,
    options: &ListenOptions,
    loops: usize,
    binder: &dyn Binder,
) -> Result<Vec<BoundAddress>> {
    let v4 = one(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into(), options, loops, binder)?;
    let port = v4.address.port().unwrap_or(port);
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into();
    match one(&v6, &options.clone().ipv6_only(true), loops, binder) {
        Ok(v6) => Ok(vec![v4, v6]),
        // A machine without IPv6.
        Err(Error::AddressNotAvailable { .. }) => Ok(vec![v4]),
        Err(Error::Listen { source, .. })
            if matches!(source.kind(), io::ErrorKind::Unsupported) || no_ipv6(&source) =>
        {
            Ok(vec![v4])
        }
        Err(error) => Err(error),
    }
}

/// EAFNOSUPPORT (on Linux, on the BSDs, on Windows) has no kind of its own.
fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(97 | 47 | 10047))
}

/// The system's own error inside of one that names the address, as ours do as well.
fn plain(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|named| named.source()?.downcast_ref::<io::Error>());
    match inner {
        Some(inner) => match inner.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(inner.kind(), inner.to_string()),
        },
        None => error,
    }
}

fn look_up(host: &str, port: u16, binder: &dyn Binder) -> Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let resolve = |source| Error::Resolve { address: format!("{host}:{port}"), source };
    let found = binder.look_up(host, port).map_err(resolve)?;
    if found.is_empty() {
        return Err(resolve(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(found)
}

fn one(
    address: &Address,
    options: &ListenOptions,
    loops: usize,
    binder: &dyn Binder,
) -> Result<BoundAddress> {
    let named = |source: io::Error| {
        let address = address.to_string();
        match source.kind() {
            io::ErrorKind::AddrInUse => Error::AddressInUse { address },
            io::ErrorKind::PermissionDenied => Error::PermissionDenied { address },
            io::ErrorKind::AddrNotAvailable => Error::AddressNotAvailable { address },
            _ => Error::Listen { address, source: plain(source) },
        }
    };
    let listeners = binder.listen(address, options, loops).map_err(named)?;
    let local = listeners.first().map_or(Ok(address.clone()), Listener::local_address).map_err(named)?;
    Ok(BoundAddress { address: local, listeners })
}
