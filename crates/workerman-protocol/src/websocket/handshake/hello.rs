//! The client's request (RFC 6455 section 4.1): what is asked for, checked before its first byte leaves.

use bytes::{BufMut, BytesMut};

use super::error::HandshakeError;
use super::key::Key;
use crate::http::{HeaderName, HeaderValue, Headers, header, is_host, is_token};

/// The request that a client opens its connection with: where to, sub-protocols, fields of one's own.
///
/// # Examples
/// ```
/// use workerman_protocol::websocket::handshake::{Hello, Key};
///
/// let hello = Hello::new("ws://example.com/chat?room=1")?.protocols(["chat"]).header("cookie", "id=1");
/// let mut out = bytes::BytesMut::new();
/// hello.write(&Key::of(*b"the sample nonce"), None, &mut out)?;
/// assert!(out.starts_with(b"GET /chat?room=1 HTTP/1.1\r\nHost: example.com\r\n"));
/// # Ok::<(), workerman_protocol::websocket::handshake::HandshakeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hello {
    target: String,
    authority: String,
    /// How much of the authority is the host.
    host: usize,
    port: u16,
    pub(super) protocols: Vec<Box<str>>,
    headers: Headers,
    /// The first mistake.
    error: Option<HandshakeError>,
}

/// The port of `ws` (RFC 6455 section 3).
const PORT: u16 = 80;

impl Hello {
    /// A request for `ws://host[:port][/path][?query]` (RFC 6455 section 3).
    ///
    /// # Errors
    /// It is no such URI; `wss` needs a layer for TLS, which is not there yet.
    pub fn new(uri: &str) -> Result<Self, HandshakeError> {
        let (scheme, rest) = uri.split_once("://").ok_or(HandshakeError::Uri("it begins with ws://"))?;
        if scheme.eq_ignore_ascii_case("wss") {
            return Err(HandshakeError::Uri("wss needs the TLS layer, which is still to come; use ws"));
        }
        if !scheme.eq_ignore_ascii_case("ws") {
            return Err(HandshakeError::Uri("it begins with ws://"));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        Self::to(authority, target)
    }

    /// A request for a target at an authority, `host[:port]`: where the connection goes elsewhere, through a proxy or a
    /// unix socket.
    ///
    /// # Errors
    /// One of them is not valid.
    pub fn to(authority: &str, target: &str) -> Result<Self, HandshakeError> {
        // RFC 6455 section 3: no fragments; a `#` in a path is `%23`.
        if target.contains('#') {
            return Err(HandshakeError::Uri("it has a fragment"));
        }
        // Its grammar is that of RFC 3986 without user information: passwords belong into a field.
        if authority.contains('@') {
            return Err(HandshakeError::Uri("it has a user name; use an Authorization field"));
        }
        if !authority.is_ascii() {
            return Err(HandshakeError::Uri("a host with other letters than ASCII is written in punycode"));
        }
        if !is_host(authority.as_bytes()) {
            return Err(HandshakeError::Uri("it has no valid host"));
        }
        let bracket = authority.rfind(']').unwrap_or(0);
        let host = authority[bracket..].find(':').map_or(authority.len(), |at| bracket + at);
        let port = match authority.get(host + 1..) {
            None | Some("") => PORT,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(HandshakeError::Uri("it has no valid port"))?,
        };
        Ok(Self {
            target: encoded(target)?,
            authority: authority.to_owned(),
            host,
            port,
            protocols: Vec::new(),
            headers: Headers::new(),
            error: None,
        })
    }

    /// The sub-protocols to offer, the best first; default none.
    ///
    /// A server that chooses none of them opens the connection all the same, without one.
    #[must_use]
    pub fn protocols<S: Into<String>>(mut self, protocols: impl IntoIterator<Item = S>) -> Self {
        self.protocols = protocols.into_iter().map(|name| name.into().into_boxed_str()).collect();
        for (at, name) in self.protocols.iter().enumerate() {
            // RFC 6455 section 4.1, item 10.
            let reason = if !is_token(name.as_bytes()) {
                "the name of a sub-protocol has a forbidden character"
            } else if self.protocols[..at].contains(name) {
                "a sub-protocol is there twice"
            } else {
                continue;
            };
            let mistake = HandshakeError::Field { name: "sec-websocket-protocol".into(), reason };
            self.error.get_or_insert(mistake);
            break;
        }
        self
    }

    /// Adds a field, behind those of the same name; a `Host` of one's own replaces that of the URI.
    ///
    /// A name or value that HTTP forbids (a line break, for one), and a field that is the protocol's own, are errors when
    /// the request is written.
    #[must_use]
    pub fn header(mut self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        let (name, reason) = match (name.try_into(), value.try_into()) {
            (Ok(name), _) if OWN.contains(&name) => (name.as_str().into(), "the protocol writes it itself"),
            (Ok(name), _) if name == header::HOST && self.headers.contains(header::HOST) => {
                ("host".into(), "there can be only one")
            }
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
                return self;
            }
            (Ok(name), Err(_)) => (name.as_str().into(), "its value has a forbidden character"),
            (Err(_), _) => ("?".into(), "its name is not a token"),
        };
        self.error.get_or_insert(HandshakeError::Field { name, reason });
        self
    }

    /// The host to connect to; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        &self.authority[..self.host]
    }

    /// The port to connect to; 80 where the URI has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as they are sent.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The first mistake that was made in building it, if any.
    pub fn error(&self) -> Option<&HandshakeError> {
        self.error.as_ref()
    }

    /// Appends the request (RFC 6455 section 4.1); `extensions` is what is offered, as it is said.
    ///
    /// # Errors
    /// A mistake was made in building it; nothing was appended.
    pub fn write(
        &self,
        key: &Key,
        extensions: Option<&str>,
        out: &mut BytesMut,
    ) -> Result<(), HandshakeError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let mut line = |name: &str, value: &[u8]| {
            out.put_slice(name.as_bytes());
            out.put_slice(value);
            out.put_slice(b"\r\n");
        };
        line("GET ", &[self.target.as_bytes(), b" HTTP/1.1"].concat());
        // Item 4: the port is left out where it is the scheme's own.
        let host = match self.headers.get(header::HOST) {
            Some(host) => host.as_bytes(),
            None if self.port == PORT => self.host().as_bytes(),
            None => self.authority.as_bytes(),
        };
        line("Host: ", host);
        line("Upgrade: ", b"websocket");
        line("Connection: ", b"Upgrade");
        line("Sec-WebSocket-Key: ", key.as_str().as_bytes());
        line("Sec-WebSocket-Version: ", b"13");
        if !self.protocols.is_empty() {
            line("Sec-WebSocket-Protocol: ", self.protocols.join(", ").as_bytes());
        }
        if let Some(extensions) = extensions {
            line("Sec-WebSocket-Extensions: ", extensions.as_bytes());
        }
        for (name, value) in self.headers.iter().filter(|(name, _)| **name != header::HOST) {
            line(&format!("{name}: "), value.as_bytes());
        }
        out.put_slice(b"\r\n");
        Ok(())
    }
}

/// The fields of a handshake that are the protocol's own.
const OWN: [HeaderName; 12] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A target as it is sent: with a path, and without spaces and other letters than ASCII (RFC 3986 section 2).
fn encoded(target: &str) -> Result<String, HandshakeError> {
    let mut text = String::with_capacity(target.len() + 1);
    if !target.starts_with('/') {
        text.push('/');
    }
    for byte in target.bytes() {
        if byte.is_ascii_control() {
            return Err(HandshakeError::Uri("it has a control character"));
        }
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(text)
}
