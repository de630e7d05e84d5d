//! A bound listener, and how it comes to be.

use std::io;
use std::net::{SocketAddr, TcpListener};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use socket2::{Protocol, SockRef, Socket, Type};

use super::{BALANCED, ConnectionOptions, ListenOptions, Unlink, named};
use crate::Address;

/// A bound, listening stream socket: TCP or unix, not yet driven by a backend.
///
/// It is `Send`: bind it on one thread, hand it to the loop of another. The file of a unix socket is removed when the
/// last clone of the listener that bound it is dropped; an adopted one is left alone.
///
/// # Examples
/// ```
/// use workerman_event::{Address, Listener, ListenOptions};
/// # fn main() -> std::io::Result<()> {
/// let address = Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
/// let listener = Listener::bind(&address, &ListenOptions::default())?;
/// assert_ne!(listener.local_address()?.port(), Some(0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Listener(ListenerParts);

/// What a backend takes a listener apart into.
#[derive(Debug)]
pub(crate) struct ListenerParts {
    pub(crate) inner: ListenerInner,
    /// What accepted TCP sockets are set to, where they do not inherit it.
    pub(crate) accepted: ConnectionOptions,
    /// Removes the socket's file with the last clone; a backend keeps it as long as it listens.
    pub(crate) unlink: Option<Arc<Unlink>>,
}

/// The socket of a [`Listener`]; non-blocking.
#[derive(Debug)]
pub(crate) enum ListenerInner {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
    /// A listener of a simulated network.
    #[cfg(feature = "sim")]
    Sim(crate::sim::SimListener),
}

impl Listener {
    /// Opens a listener.
    ///
    /// Port 0 lets the system choose one. With [`ListenOptions::reuse_port`] the address is shared with whatever
    /// other socket has that option; without it, a used address is an error.
    ///
    /// A unix socket's file that nobody listens on any more is replaced; any other file is left alone.
    ///
    /// # Errors
    /// The system's, its kind kept, its text naming the address: `AddrInUse`, `AddrNotAvailable`,
    /// `PermissionDenied`, for unix sockets also `AlreadyExists` (a file that is no socket) and `InvalidInput` (a path
    /// too long, or none).
    pub fn bind(address: &Address, options: &ListenOptions) -> io::Result<Self> {
        match address {
            Address::Tcp(tcp) => bind_tcp(*tcp, options, options.reuse_port)
                .map(|listener| Self::bound_tcp(listener, options))
                .map_err(|why| named("cannot listen on", address, &why)),
            Address::Unix(_) => Self::bind_unix(address, options),
        }
    }

    /// Opens `count` listeners of one address, over which the system spreads the connections: one for each process or
    /// thread that shall accept.
    ///
    /// On Linux these are reuse-port sockets; one bind without the option proves first that the address is free,
    /// unless [`ListenOptions::reuse_port`] says that it may be shared. With port 0 all get the same port. For unix
    /// sockets, and where the system does not balance, it is one socket, cloned.
    ///
    /// # Errors
    /// As [`Listener::bind`]; `InvalidInput` if `count` is 0.
    pub fn bind_many(address: &Address, options: &ListenOptions, count: usize) -> io::Result<Vec<Self>> {
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("no listener asked for on {address}"),
            ));
        }
        if let (Address::Tcp(tcp), true) = (address, BALANCED) {
            let prove = |address| bound_socket(address, options, false);
            let open = |address| bind_tcp(address, options, true);
            let listeners = super::bind_shared(*tcp, count, options.reuse_port, prove, open)
                .map_err(|why| named("cannot listen on", address, &why))?;
            return Ok(listeners.into_iter().map(|listener| Self::bound_tcp(listener, options)).collect());
        }
        let mut listeners = vec![Self::bind(address, options)?];
        for _ in 1..count {
            listeners.push(listeners[0].try_clone()?);
        }
        Ok(listeners)
    }

    fn bound_tcp(listener: TcpListener, options: &ListenOptions) -> Self {
        let inner = ListenerInner::Tcp(listener);
        Self(ListenerParts { inner, accepted: options.connection(), unlink: None })
    }

    #[cfg(unix)]
    fn bind_unix(address: &Address, options: &ListenOptions) -> io::Result<Self> {
        let path = address.path().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "cannot listen on a unix socket without a path")
        })?;
        let (listener, unlink) =
            super::unix::bind(path, options).map_err(|why| named("cannot listen on", address, &why))?;
        let (inner, accepted) = (ListenerInner::Unix(listener), options.connection());
        Ok(Self(ListenerParts { inner, accepted, unlink: Some(Arc::new(unlink)) }))
    }

    #[cfg(not(unix))]
    fn bind_unix(address: &Address, _: &ListenOptions) -> io::Result<Self> {
        let why = io::Error::new(io::ErrorKind::Unsupported, "this system has no unix sockets");
        Err(named("cannot listen on", address, &why))
    }

    /// Takes over a listening TCP socket of the standard library.
    ///
    /// It becomes non-blocking and gets no further options; see [`Listener::with_options`].
    ///
    /// # Errors
    /// The system's, if the socket cannot be made non-blocking.
    pub fn from_tcp(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::adopted(ListenerInner::Tcp(listener)))
    }

    /// Takes over a listening unix socket of the standard library; its file is not removed.
    ///
    /// # Errors
    /// The system's, if the socket cannot be made non-blocking.
    #[cfg(unix)]
    pub fn from_unix(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::adopted(ListenerInner::Unix(listener)))
    }

    /// Takes over a descriptor that came from elsewhere (a parent process, a service manager).
    ///
    /// The family is found out; a unix socket's file is not removed.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a stream socket of the internet or unix family; the system's if it is no socket.
    #[cfg(unix)]
    pub fn from_fd(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(descriptor);
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is not a stream socket"));
        }
        let local = socket.local_addr()?;
        if local.is_unix() {
            Self::from_unix(OwnedFd::from(socket).into())
        } else if local.is_ipv4() || local.is_ipv6() {
            Self::from_tcp(OwnedFd::from(socket).into())
        } else {
            let why = "the descriptor is neither an internet nor a unix socket";
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }

    fn adopted(inner: ListenerInner) -> Self {
        let accepted = ConnectionOptions { no_delay: false, keep_alive: None };
        Self(ListenerParts { inner, accepted, unlink: None })
    }

    /// Sets what accepted connections get (no-delay, keep-alive) on a listener that is open already: for an adopted
    /// one.
    ///
    /// # Errors
    /// The system's.
    pub fn with_options(mut self, options: &ListenOptions) -> io::Result<Self> {
        self.0.accepted = options.connection();
        if let ListenerInner::Tcp(listener) = &self.0.inner {
            self.0.accepted.apply(SockRef::from(listener))?;
        }
        Ok(self)
    }

    /// The address it is bound to, with the port that the system chose.
    ///
    /// # Errors
    /// The system's.
    pub fn local_address(&self) -> io::Result<Address> {
        match &self.0.inner {
            ListenerInner::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            #[cfg(unix)]
            ListenerInner::Unix(listener) => {
                let address = listener.local_addr()?;
                Ok(Address::Unix(address.as_pathname().map(Into::into)))
            }
            #[cfg(feature = "sim")]
            ListenerInner::Sim(listener) => Ok(listener.local_address().clone()),
        }
    }

    /// A second handle of the same socket: both accept from one queue.
    ///
    /// # Errors
    /// The system's, if it is out of descriptors; `Unsupported` for a simulated listener.
    pub fn try_clone(&self) -> io::Result<Self> {
        let inner = match &self.0.inner {
            ListenerInner::Tcp(listener) => ListenerInner::Tcp(listener.try_clone()?),
            #[cfg(unix)]
            ListenerInner::Unix(listener) => ListenerInner::Unix(listener.try_clone()?),
            #[cfg(feature = "sim")]
            ListenerInner::Sim(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self(ListenerParts { inner, accepted: self.0.accepted, unlink: self.0.unlink.clone() }))
    }

    /// The descriptor, to hand it to another process; `None` if the listener is a simulated one.
    #[cfg(unix)]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.0.inner {
            ListenerInner::Tcp(listener) => Some(listener.as_fd()),
            ListenerInner::Unix(listener) => Some(listener.as_fd()),
            #[cfg(feature = "sim")]
            ListenerInner::Sim(_) => None,
        }
    }

    pub(crate) fn into_parts(self) -> ListenerParts {
        self.0
    }

    /// A listener of a simulated network.
    #[cfg(feature = "sim")]
    pub(crate) fn simulated(listener: crate::sim::SimListener) -> Self {
        Self::adopted(ListenerInner::Sim(listener))
    }
}

fn bind_tcp(address: SocketAddr, options: &ListenOptions, shared: bool) -> io::Result<TcpListener> {
    let socket = bound_socket(address, options, shared)?;
    if ConnectionOptions::INHERITED {
        options.connection().apply(SockRef::from(&socket))?;
    }
    socket.listen(options.clamped_backlog())?;
    Ok(Socket::into(socket))
}

fn bound_socket(address: SocketAddr, options: &ListenOptions, shared: bool) -> io::Result<Socket> {
    let socket = super::internet_socket(address, Type::STREAM, Protocol::TCP)?;
    if options.reuse_address && !cfg!(windows) {
        socket.set_reuse_address(true)?;
    }
    if shared {
        super::set_reuse_port(&socket)?;
    }
    if let (Some(only), true) = (options.ipv6_only, address.is_ipv6()) {
        socket.set_only_v6(only)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
