//! What a server says to a handshake that it takes, and what was agreed on by it.

use super::Extension;
use super::check::Upgrade;
use crate::http::{Error, HeaderName, HeaderValue, Headers, Response, header};

/// How a handshake is accepted: the sub-protocol, fields of one's own, compression.
///
/// # Examples
/// ```
/// use workerman_protocol::websocket::handshake::Accept;
/// let accept = Accept::new().protocol("chat.v2").header("set-cookie", "seen=yes").compress(false);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a handshake is accepted by returning this, or by giving it to its token"]
pub struct Accept {
    protocol: Protocol,
    headers: Headers,
    compress: bool,
    /// The first mistake.
    error: Option<(Box<str>, &'static str)>,
}

#[derive(Clone, Debug)]
enum Protocol {
    /// The policy's choice.
    Policy,
    None,
    Own(Box<str>),
}

impl Default for Accept {
    fn default() -> Self {
        Self { protocol: Protocol::Policy, headers: Headers::new(), compress: true, error: None }
    }
}

/// The fields of an answer to a handshake that are the protocol's own.
const OWN: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::UPGRADE,
];

impl Accept {
    /// Accepts as the settings say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses a sub-protocol, one that the client offers; default the policy's choice.
    pub fn protocol(mut self, name: impl Into<String>) -> Self {
        self.protocol = Protocol::Own(name.into().into());
        self
    }

    /// Chooses no sub-protocol, although the policy has a choice.
    pub fn no_protocol(mut self) -> Self {
        self.protocol = Protocol::None;
        self
    }

    /// Adds a field to the answer, behind those of the same name.
    ///
    /// A name or value that HTTP forbids (a line break, for one), and a field that is the protocol's own, make the
    /// handshake fail: the client gets a 500.
    pub fn header(mut self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        let mistake = match (name.try_into(), value.try_into()) {
            (Ok(name), _) if OWN.contains(&name) => (name.as_str().into(), "the protocol writes it itself"),
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
                return self;
            }
            (Ok(name), Err(_)) => (name.as_str().into(), "its value has a forbidden character"),
            (Err(_), _) => ("?".into(), "its name is not a token"),
        };
        self.error.get_or_insert(mistake);
        self
    }

    /// Whether messages may be compressed, if the settings and the client agree to it; default yes.
    pub fn compress(mut self, on: bool) -> Self {
        self.compress = on;
        self
    }

    /// Whether extensions may be agreed on.
    pub fn compresses(&self) -> bool {
        self.compress
    }
}

impl Upgrade {
    /// Settles the handshake; `extension` is what the server agrees to, as it is said.
    ///
    /// # Errors
    /// `accept` has a field that cannot be sent, or a sub-protocol that the client has not offered.
    pub(in crate::websocket) fn settle(
        self,
        accept: Accept,
        extension: Option<String>,
    ) -> Result<Settled, Error> {
        if let Some((name, reason)) = accept.error {
            return Err(Error::Field { name: String::from(name).into(), reason });
        }
        let protocol = match accept.protocol {
            Protocol::Policy => self.protocol().map(Box::from),
            Protocol::None => None,
            // RFC 6455 section 4.2.2, item 5.5: one that the client's handshake has.
            Protocol::Own(name) if self.offered.contains(&name) => Some(name),
            Protocol::Own(_) => {
                return Err(Error::Message("the sub-protocol is not one that the client offers"));
            }
        };
        Ok(Settled { answer: self.answer, protocol, extension, headers: accept.headers })
    }
}

/// A handshake that is settled: the proof that a connection may be opened, and what its client is told.
#[derive(Clone, Debug)]
pub(in crate::websocket) struct Settled {
    answer: super::key::Answer,
    protocol: Option<Box<str>>,
    extension: Option<String>,
    headers: Headers,
}

impl Settled {
    /// The sub-protocol.
    pub(in crate::websocket) fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The answer (RFC 6455 section 4.2.2, item 5).
    pub(in crate::websocket) fn response(self) -> Response {
        let mut response = Response::switching_protocols("websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, self.answer.as_str());
        if let Some(protocol) = self.protocol {
            response = response.header(header::SEC_WEBSOCKET_PROTOCOL, String::from(protocol));
        }
        if let Some(extension) = self.extension {
            response = response.header(header::SEC_WEBSOCKET_EXTENSIONS, extension);
        }
        response.headers_mut().extend(self.headers);
        response
    }
}

/// What a server and a client have agreed on.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Agreement {
    /// The sub-protocol.
    pub protocol: Option<Box<str>>,
    /// The extensions, with their parameters as the server says them.
    pub extensions: Vec<Extension>,
}
