//! What a socket is set to before it is used.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// The backlog asked for when nothing else is said; the system clamps it (`net.core.somaxconn` on Linux).
pub const DEFAULT_BACKLOG: u32 = 102_400;

/// How an idle TCP connection is probed: the kernel asks a silent peer whether it is still there.
///
/// Whole seconds; the default is 55 s of silence, 55 s between probes, one probe. Where the system has no such
/// setting, its own value is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeepAlive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between two probes.
    pub interval: Duration,
    /// Unanswered probes after which the connection is reset.
    pub probes: u32,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(55), interval: Duration::from_secs(55), probes: 1 }
    }
}

impl KeepAlive {
    #[cfg_attr(target_os = "openbsd", allow(clippy::unused_self))]
    fn parameters(self) -> TcpKeepalive {
        let parameters = TcpKeepalive::new();
        #[cfg(not(target_os = "openbsd"))]
        let parameters = parameters.with_time(self.idle);
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows))]
        let parameters = parameters.with_interval(self.interval).with_retries(self.probes);
        parameters
    }
}

/// How a listener is opened, and what its accepted connections are set to.
///
/// # Examples
/// ```
/// use workerman_event::ListenOptions;
/// let options = ListenOptions::default().backlog(1024).ipv6_only(true).keep_alive(None);
/// assert_eq!(options.backlog, 1024);
/// assert!(options.no_delay);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Connections the kernel queues before they are accepted; clamped by the system. Default
    /// [`DEFAULT_BACKLOG`].
    pub backlog: u32,
    /// Binds although old connections of the address are still in `TIME_WAIT`. Default true; no effect on Windows,
    /// where the option would let two servers share a port.
    pub reuse_address: bool,
    /// Shares the address knowingly with other sockets that have this option too, also of other programs. Default
    /// false.
    pub reuse_port: bool,
    /// Switches Nagle's algorithm off on accepted connections. Default true.
    pub no_delay: bool,
    /// Keep-alive probes on accepted connections. Default [`KeepAlive::default`].
    pub keep_alive: Option<KeepAlive>,
    /// Whether an IPv6 socket refuses IPv4 peers; `None` leaves it to the system. Default `None`.
    pub ipv6_only: Option<bool>,
    /// Permission bits of a unix socket's file, such as `0o660`; `None` leaves them to the umask. Default `None`.
    pub mode: Option<u32>,
    /// User id that shall own a unix socket's file. Default `None`: who binds it.
    pub owner: Option<u32>,
    /// Group id that shall own a unix socket's file. Default `None`: the group of who binds it.
    pub group: Option<u32>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: DEFAULT_BACKLOG,
            reuse_address: true,
            reuse_port: false,
            no_delay: true,
            keep_alive: Some(KeepAlive::default()),
            ipv6_only: None,
            mode: None,
            owner: None,
            group: None,
        }
    }
}

impl ListenOptions {
    /// Sets [`ListenOptions::backlog`].
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets [`ListenOptions::reuse_address`].
    #[must_use]
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Sets [`ListenOptions::reuse_port`].
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Sets [`ListenOptions::no_delay`].
    #[must_use]
    pub fn no_delay(mut self, on: bool) -> Self {
        self.no_delay = on;
        self
    }

    /// Sets [`ListenOptions::keep_alive`].
    #[must_use]
    pub fn keep_alive(mut self, keep_alive: impl Into<Option<KeepAlive>>) -> Self {
        self.keep_alive = keep_alive.into();
        self
    }

    /// Sets [`ListenOptions::ipv6_only`].
    #[must_use]
    pub fn ipv6_only(mut self, on: impl Into<Option<bool>>) -> Self {
        self.ipv6_only = on.into();
        self
    }

    /// Sets [`ListenOptions::mode`].
    #[must_use]
    pub fn mode(mut self, bits: impl Into<Option<u32>>) -> Self {
        self.mode = bits.into();
        self
    }

    /// Sets [`ListenOptions::owner`].
    #[must_use]
    pub fn owner(mut self, user_id: impl Into<Option<u32>>) -> Self {
        self.owner = user_id.into();
        self
    }

    /// Sets [`ListenOptions::group`].
    #[must_use]
    pub fn group(mut self, group_id: impl Into<Option<u32>>) -> Self {
        self.group = group_id.into();
        self
    }

    pub(super) fn connection(&self) -> ConnectionOptions {
        ConnectionOptions { no_delay: self.no_delay, keep_alive: self.keep_alive }
    }

    /// The backlog as `listen(2)` takes it.
    pub(super) fn clamped_backlog(&self) -> i32 {
        i32::try_from(self.backlog).unwrap_or(i32::MAX)
    }
}

/// What a connected TCP socket is set to; the default is what outgoing connections get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ConnectionOptions {
    pub(crate) no_delay: bool,
    pub(crate) keep_alive: Option<KeepAlive>,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self { no_delay: true, keep_alive: Some(KeepAlive::default()) }
    }
}

impl ConnectionOptions {
    /// Whether an accepted socket has the options of its listener: then they are set once for all, and accepting
    /// costs no system call for them.
    pub(crate) const INHERITED: bool = cfg!(any(target_os = "linux", target_os = "android"));

    /// Sets the options on a TCP socket, connected or listening.
    #[allow(clippy::needless_pass_by_value)] // it is a reference already
    pub(crate) fn apply(self, socket: SockRef<'_>) -> io::Result<()> {
        if self.no_delay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(keep_alive) = self.keep_alive {
            socket.set_tcp_keepalive(&keep_alive.parameters())?;
        }
        Ok(())
    }

    /// Sets the options on an accepted TCP socket, if its listener could not do so. Failure is the peer's being
    /// gone already, which the first read reports.
    #[cfg_attr(target_os = "linux", allow(dead_code))]
    pub(crate) fn apply_accepted(self, socket: SockRef<'_>) {
        if !Self::INHERITED {
            let _ = self.apply(socket);
        }
    }
}

/// How a datagram socket is opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct DatagramOptions {
    /// Binds although another socket has the address; on Linux both then share it silently. Default false.
    pub reuse_address: bool,
    /// Shares the address knowingly with other sockets that have this option too. Default false.
    pub reuse_port: bool,
    /// Whether an IPv6 socket refuses IPv4 peers; `None` leaves it to the system. Default `None`.
    pub ipv6_only: Option<bool>,
    /// Allows to send to broadcast addresses. Default false.
    pub broadcast: bool,
    /// Bytes of the kernel's receive buffer; clamped by the system. Default: the system's.
    pub receive_buffer: Option<usize>,
    /// Bytes of the kernel's send buffer; clamped by the system. Default: the system's.
    pub send_buffer: Option<usize>,
}

impl DatagramOptions {
    /// Sets [`DatagramOptions::reuse_address`].
    #[must_use]
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Sets [`DatagramOptions::reuse_port`].
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Sets [`DatagramOptions::ipv6_only`].
    #[must_use]
    pub fn ipv6_only(mut self, on: impl Into<Option<bool>>) -> Self {
        self.ipv6_only = on.into();
        self
    }

    /// Sets [`DatagramOptions::broadcast`].
    #[must_use]
    pub fn broadcast(mut self, on: bool) -> Self {
        self.broadcast = on;
        self
    }

    /// Sets [`DatagramOptions::receive_buffer`].
    #[must_use]
    pub fn receive_buffer(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.receive_buffer = bytes.into();
        self
    }

    /// Sets [`DatagramOptions::send_buffer`].
    #[must_use]
    pub fn send_buffer(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.send_buffer = bytes.into();
        self
    }
}
