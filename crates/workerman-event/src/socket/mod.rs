//! Sockets before a backend drives them: bound listeners, connected streams, datagram sockets, and their options.

mod datagram;
mod listener;
mod options;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(unix)]
mod unix;

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

pub use datagram::Datagram;
pub(crate) use datagram::DatagramInner;
pub use listener::Listener;
pub(crate) use listener::ListenerInner;
#[cfg(any(target_os = "linux", test))]
pub(crate) use listener::ListenerParts;
pub(crate) use options::ConnectionOptions;
pub use options::{DEFAULT_BACKLOG, DatagramOptions, KeepAlive, ListenOptions};
pub use stream::Stream;
pub(crate) use stream::StreamInner;
#[cfg(unix)]
pub(crate) use unix::Unlink;

/// Nothing to remove where there are no unix sockets.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) enum Unlink {}

/// Whether the system spreads connections over the sockets that share a port. macOS and BSD give them all to one.
const BALANCED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// How often a port that the system chose is chosen again, when somebody else was faster to take it.
const PORT_ATTEMPTS: usize = 16;

/// The same kind of error, with what was tried in front of its text; the system's own error is its source.
pub(crate) fn named(what: &str, place: impl std::fmt::Display, why: &io::Error) -> io::Error {
    let source = match why.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(why.kind(), why.to_string()),
    };
    io::Error::new(why.kind(), Named { text: format!("{what} {place}: {why}"), source })
}

/// What was tried, where, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Named {
    text: String,
    source: io::Error,
}

fn internet_socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(unix)]
fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket2::SockRef::from(socket).set_reuse_port(true)
}

#[cfg(not(unix))]
fn set_reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no reuse-port"))
}

/// Binds `count` sockets that share one address.
///
/// Unless the address is shared with others `knowingly`, `prove` binds it once without the option, which proves that
/// it is free: between sockets with the option the kernel would silently share it. `open` then opens each.
fn bind_shared<S>(
    address: SocketAddr,
    count: usize,
    knowingly: bool,
    prove: impl Fn(SocketAddr) -> io::Result<Socket>,
    open: impl Fn(SocketAddr) -> io::Result<S>,
) -> io::Result<Vec<S>> {
    let any_port = address.port() == 0;
    let mut attempts = if any_port { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let mut chosen = address;
        if any_port || !knowingly {
            let proof = prove(address)?.local_addr()?.as_socket();
            chosen = proof.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        }
        // The proof is closed by now: who takes the port in between is noticed only if he does not share it.
        match (0..count).map(|_| open(chosen)).collect() {
            Err(why) if why.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            result => return result,
        }
    }
}
