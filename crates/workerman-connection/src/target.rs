//! Addresses as users write them: `host:port`, `:port`, `[::1]:port`, `unix:///path`, with or without a scheme.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use crate::Error;

/// Where to listen or to connect, as it was written.
///
/// # Examples
/// ```
/// use workerman_connection::Target;
/// assert_eq!(Target::parse("text://[::1]:80", &["tcp", "text"])?, Target::Host { host: "::1".into(), port: 80 });
/// assert_eq!(Target::parse(":8080", &[])?, Target::Host { host: String::new(), port: 8080 });
/// assert!(Target::parse("http://localhost:80", &["text"]).is_err());
/// # Ok::<_, workerman_connection::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// A name or a literal IP address, and a port. An empty host means all addresses of this machine.
    Host {
        /// Without brackets.
        host: String,
        /// 0 lets the system choose, for a listener.
        port: u16,
    },
    /// A unix stream socket.
    Unix(PathBuf),
}

impl Target {
    /// Parses an address; a scheme must be one of `schemes` (or `unix`).
    ///
    /// # Errors
    /// [`Error::Address`] with the address and what is wrong with it.
    pub fn parse(address: &str, schemes: &[&str]) -> Result<Self, Error> {
        let bad = |reason: String| Error::Address { address: address.to_owned(), reason };
        let rest = match address.split_once("://") {
            Some(("unix", path)) => {
                if path.is_empty() || path.contains('\0') {
                    return Err(bad("a unix socket needs a path, as in unix:///run/app.sock".into()));
                }
                return Ok(Self::Unix(path.into()));
            }
            Some((scheme, rest)) if schemes.contains(&scheme) => rest,
            Some((scheme, _)) => {
                return Err(bad(format!(
                    "the scheme `{scheme}` does not match the protocol (expected {})",
                    schemes.join(" or ")
                )));
            }
            None => address,
        };
        let (host, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| bad("the port is missing: an address is host:port".into()))?;
        let number = port
            .parse::<u16>()
            .ok()
            .filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| bad(format!("`{port}` is not a port (0 to 65535)")))?;
        let host = if let Some(inner) = host.strip_prefix('[') {
            inner
                .strip_suffix(']')
                .filter(|inner| inner.split('%').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()))
                .ok_or_else(|| bad(format!("`{host}` is not an IPv6 address in brackets")))?
        } else {
            if host.contains(':') {
                return Err(bad("an IPv6 address needs brackets, as in [::1]:80".into()));
            }
            if host.bytes().any(|byte| byte <= b' ' || matches!(byte, b'/' | b'[' | b']' | b'@' | 0x7f)) {
                return Err(bad(format!("`{host}` is not a host name")));
            }
            host
        };
        Ok(Self::Host { host: host.to_owned(), port: number })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } if matches!(host.parse(), Ok(IpAddr::V6(_))) => {
                write!(f, "[{host}]:{port}")
            }
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        let host = |host: &str, port| Target::Host { host: host.into(), port };
        for (text, target) in [
            ("127.0.0.1:80", host("127.0.0.1", 80)),
            ("localhost:0", host("localhost", 0)),
            (":65535", host("", 65535)),
            ("[::]:1", host("::", 1)),
            ("[fe80::1%eth0]:1", host("fe80::1%eth0", 1)),
            ("text://a.b:7", host("a.b", 7)),
            ("unix:///run/x.sock", Target::Unix("/run/x.sock".into())),
        ] {
            assert_eq!(Target::parse(text, &["text"]).unwrap(), target, "{text}");
        }
    }

    #[test]
    fn every_mistake_names_the_address() {
        for text in [
            "",
            "host",
            "host:",
            "host:x",
            "host:65536",
            "host:-1",
            "host:+1",
            "::1:80",
            "[::1:80",
            "[x]:80",
            "http://h:1",
            "unix://",
            "a b:1",
            "h/x:1",
        ] {
            let error = Target::parse(text, &["text"]).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{text}: {error}");
        }
    }
}
