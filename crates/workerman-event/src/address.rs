//! Addresses of endpoints: a TCP address, or the path of a unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where an endpoint is: an IP address and port, or a unix socket.
///
/// # Examples
/// ```
/// use workerman_event::Address;
/// let address = Address::from("[::1]:80".parse::<std::net::SocketAddr>().unwrap());
/// assert_eq!(address.port(), Some(80));
/// assert_eq!(address.to_string(), "[::1]:80");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A unix stream socket; `None` for an unnamed one (usually the connecting side).
    Unix(Option<Arc<Path>>),
}

impl Address {
    /// The IP address, if there is one.
    #[doc(alias = "getRemoteIp")]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }

    /// The port, if there is one.
    #[doc(alias = "getRemotePort")]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// The IP address and port, if there are.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The path of a named unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(Some(path)) => Some(path),
            _ => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(Some(path.into()))
    }
}

/// `1.2.3.4:80`, `[::1]:80`, `unix:///run/app.sock`, or `unix:` for an unnamed one.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Some(path)) => write!(f, "unix://{}", path.display()),
            Self::Unix(None) => f.write_str("unix:"),
        }
    }
}
