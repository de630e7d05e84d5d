//! Why a client's handshake failed.

use std::fmt;

use bytes::Bytes;

use super::key::KeyError;
use crate::http::{Headers, Response, StatusCode, header};

/// Why a client's connection was not opened, or cannot be asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The server answered with another status than 101: a refusal, or a redirect.
    #[error("the server answered the handshake with {0}")]
    Refused(Box<Refused>),
    /// The server's answer breaks a rule.
    #[error("the server's answer to the handshake is wrong: {0}")]
    Answer(&'static str),
    /// The server ended its stream before its answer was complete.
    #[error("the server ended the connection within the handshake")]
    Ended,
    /// The address cannot be connected to.
    #[error("not an address of a WebSocket: {0}")]
    Uri(&'static str),
    /// A field cannot be sent.
    #[error("bad header field {name}: {reason}")]
    Field {
        /// Its name.
        name: Box<str>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// An answer to a handshake that is none: its status, its fields, and the head of its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    status: StatusCode,
    headers: Headers,
    pub(super) body: Bytes,
}

impl Refused {
    /// Most bytes of the body that are kept: 1 KiB.
    pub const MAX_BODY: usize = 1024;

    pub(super) fn of(response: &mut Response) -> Self {
        let headers = std::mem::take(response.headers_mut());
        Self { status: response.status(), headers, body: Bytes::new() }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The fields.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Where a redirect points to. It is not followed: whoever asked decides whom it trusts.
    pub fn location(&self) -> Option<&str> {
        self.headers.get_str(header::LOCATION).filter(|_| self.status.is_redirection())
    }

    /// The beginning of the body, at most 1 KiB.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// The status and its meaning; of what the server wrote nothing, so that it can be logged.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status.as_str())?;
        self.status.canonical_reason().map_or(Ok(()), |reason| write!(f, " {reason}"))
    }
}
