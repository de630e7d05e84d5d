//! A connected stream socket that a backend takes over.

use std::io;
use std::net::TcpStream;
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::os::unix::net::UnixStream;

use crate::Address;

/// A connected stream socket, TCP or unix, not yet driven by a backend.
#[derive(Debug)]
pub struct Stream(StreamInner);

/// The socket of a [`Stream`]; non-blocking.
#[derive(Debug)]
pub(crate) enum StreamInner {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    /// A connection of a simulated network.
    #[cfg(feature = "sim")]
    Sim(crate::sim::SimStream),
}

impl Stream {
    /// Takes over a connected TCP socket of the standard library, which becomes non-blocking.
    ///
    /// # Errors
    /// The system's, if the socket cannot be made non-blocking.
    pub fn from_tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(StreamInner::Tcp(stream)))
    }

    /// Takes over a connected unix socket of the standard library, which becomes non-blocking.
    ///
    /// # Errors
    /// The system's, if the socket cannot be made non-blocking.
    #[cfg(unix)]
    pub fn from_unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(StreamInner::Unix(stream)))
    }

    /// Takes over a descriptor that came from elsewhere; the family is found out.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a stream socket of the internet or unix family; the system's if it is no socket.
    #[cfg(unix)]
    pub fn from_fd(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = socket2::Socket::from(descriptor);
        let local = socket.local_addr()?;
        let stream = socket.r#type()? == socket2::Type::STREAM;
        if stream && local.is_unix() {
            Self::from_unix(OwnedFd::from(socket).into())
        } else if stream && (local.is_ipv4() || local.is_ipv6()) {
            Self::from_tcp(OwnedFd::from(socket).into())
        } else {
            let why = "the descriptor is not a stream socket of the internet or unix family";
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }

    /// The address of this end.
    ///
    /// # Errors
    /// The system's.
    pub fn local_address(&self) -> io::Result<Address> {
        match &self.0 {
            StreamInner::Tcp(stream) => stream.local_addr().map(Address::Tcp),
            #[cfg(unix)]
            StreamInner::Unix(stream) => {
                Ok(Address::Unix(stream.local_addr()?.as_pathname().map(Into::into)))
            }
            #[cfg(feature = "sim")]
            StreamInner::Sim(stream) => stream.local_address(),
        }
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// The system's: `NotConnected` if the peer is gone.
    pub fn peer_address(&self) -> io::Result<Address> {
        match &self.0 {
            StreamInner::Tcp(stream) => stream.peer_addr().map(Address::Tcp),
            #[cfg(unix)]
            StreamInner::Unix(stream) => Ok(Address::Unix(stream.peer_addr()?.as_pathname().map(Into::into))),
            #[cfg(feature = "sim")]
            StreamInner::Sim(stream) => stream.peer_address(),
        }
    }

    /// A connection of a simulated network.
    #[cfg(feature = "sim")]
    pub(crate) fn simulated(stream: crate::sim::SimStream) -> Self {
        Self(StreamInner::Sim(stream))
    }

    pub(crate) fn into_inner(self) -> StreamInner {
        self.0
    }
}
