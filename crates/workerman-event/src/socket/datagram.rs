//! A datagram socket that a backend takes over.

use std::io;
use std::net::{SocketAddr, UdpSocket};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Protocol, Socket, Type};

use super::{BALANCED, DatagramOptions, named};

/// A bound UDP socket, not yet driven by a backend.
#[derive(Debug)]
pub struct Datagram(DatagramInner);

/// The socket of a [`Datagram`]; non-blocking.
#[derive(Debug)]
pub(crate) enum DatagramInner {
    Udp(UdpSocket),
    /// A socket of a simulated network.
    #[cfg(feature = "sim")]
    Sim(crate::sim::SimDatagram),
}

impl Datagram {
    /// Opens a socket bound to `address`; port 0 lets the system choose one.
    ///
    /// # Errors
    /// The system's, its kind kept, its text naming the address.
    pub fn bind(address: SocketAddr, options: &DatagramOptions) -> io::Result<Self> {
        bound_socket(address, options, options.reuse_port)
            .map(Self::bound)
            .map_err(|why| named("cannot bind datagrams to", address, &why))
    }

    fn bound(socket: Socket) -> Self {
        Self(DatagramInner::Udp(socket.into()))
    }

    /// Opens `count` sockets of one address, over which the system spreads the peers.
    ///
    /// As [`Listener::bind_many`](crate::Listener::bind_many): reuse-port sockets on Linux, else one socket, cloned.
    ///
    /// # Errors
    /// As [`Datagram::bind`]; `InvalidInput` if `count` is 0.
    pub fn bind_many(address: SocketAddr, options: &DatagramOptions, count: usize) -> io::Result<Vec<Self>> {
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("no socket asked for on {address}"),
            ));
        }
        if BALANCED {
            let prove = |address| bound_socket(address, options, false);
            let open = |address| bound_socket(address, options, true).map(Self::bound);
            return super::bind_shared(address, count, options.reuse_port, prove, open)
                .map_err(|why| named("cannot bind datagrams to", address, &why));
        }
        let mut sockets = vec![Self::bind(address, options)?];
        for _ in 1..count {
            sockets.push(sockets[0].try_clone()?);
        }
        Ok(sockets)
    }

    /// Takes over a UDP socket of the standard library, which becomes non-blocking.
    ///
    /// # Errors
    /// The system's, if the socket cannot be made non-blocking.
    pub fn from_udp(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self(DatagramInner::Udp(socket)))
    }

    /// Takes over a descriptor that came from elsewhere.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a datagram socket of the internet family; the system's if it is no socket.
    #[cfg(unix)]
    pub fn from_fd(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(descriptor);
        let local = socket.local_addr()?;
        if socket.r#type()? != Type::DGRAM || !(local.is_ipv4() || local.is_ipv6()) {
            let why = "the descriptor is not a datagram socket of the internet family";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Self::from_udp(OwnedFd::from(socket).into())
    }

    /// Sets the only peer: others are not heard, and a datagram without an address goes to it.
    ///
    /// # Errors
    /// The system's, its kind kept, its text naming the peer.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        match &self.0 {
            DatagramInner::Udp(socket) => {
                socket.connect(peer).map_err(|why| named("cannot connect datagrams to", peer, &why))
            }
            #[cfg(feature = "sim")]
            DatagramInner::Sim(socket) => socket.connect(peer),
        }
    }

    /// The address it is bound to, with the port that the system chose.
    ///
    /// # Errors
    /// The system's.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            DatagramInner::Udp(socket) => socket.local_addr(),
            #[cfg(feature = "sim")]
            DatagramInner::Sim(socket) => Ok(socket.local_address()),
        }
    }

    /// A second handle of the same socket: each datagram reaches one of both.
    ///
    /// # Errors
    /// The system's, if it is out of descriptors; `Unsupported` for a simulated socket.
    pub fn try_clone(&self) -> io::Result<Self> {
        match &self.0 {
            DatagramInner::Udp(socket) => Ok(Self(DatagramInner::Udp(socket.try_clone()?))),
            #[cfg(feature = "sim")]
            DatagramInner::Sim(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The descriptor, to hand it to another process; `None` if the socket is a simulated one.
    #[cfg(unix)]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            DatagramInner::Udp(socket) => Some(socket.as_fd()),
            #[cfg(feature = "sim")]
            DatagramInner::Sim(_) => None,
        }
    }

    pub(crate) fn into_inner(self) -> DatagramInner {
        self.0
    }

    /// A socket of a simulated network.
    #[cfg(feature = "sim")]
    pub(crate) fn simulated(socket: crate::sim::SimDatagram) -> Self {
        Self(DatagramInner::Sim(socket))
    }
}

fn bound_socket(address: SocketAddr, options: &DatagramOptions, shared: bool) -> io::Result<Socket> {
    let socket = super::internet_socket(address, Type::DGRAM, Protocol::UDP)?;
    if options.reuse_address {
        socket.set_reuse_address(true)?;
    }
    if shared {
        super::set_reuse_port(&socket)?;
    }
    if let (Some(only), true) = (options.ipv6_only, address.is_ipv6()) {
        socket.set_only_v6(only)?;
    }
    if options.broadcast {
        socket.set_broadcast(true)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
