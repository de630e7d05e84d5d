//! What can go wrong.

use super::CloseCode;
use super::deflate::NegotiationError;
use super::handshake::{HandshakeError, Refusal};

/// Why a connection failed, or why something cannot be sent.
///
/// Text of a peer never appears in it, so that it can be logged as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke the protocol (1002).
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
    /// The peer sent text that is not UTF-8 (1007).
    #[error("the peer sent text that is not UTF-8")]
    Utf8,
    /// The peer sent data that cannot be inflated (1007).
    #[error("the peer sent a compressed message that cannot be inflated")]
    Inflate,
    /// The peer sent a message of a kind that is not taken (1003).
    #[error("the peer sent a message of a kind that is not taken here")]
    Unsupported,
    /// The peer sent more than the settings allow (1009).
    #[error("the peer sent more than is allowed: {what} exceeds the limit of {limit}")]
    TooBig {
        /// What is too big: a frame, a message, the number of fragments.
        what: &'static str,
        /// The most that is allowed.
        limit: usize,
    },
    /// The peer did not answer a ping in time.
    #[error("the peer did not answer a ping in time")]
    NoPong,
    /// A ping or pong to be sent is longer than 125 bytes (RFC 6455 section 5.5).
    #[error("a control frame of {length} bytes: at most 125 are possible")]
    ControlTooLong {
        /// Its length.
        length: usize,
    },
    /// The system has no random numbers to give, so that nothing can be masked.
    #[error("the system has no random numbers to give")]
    NoRandom,
    /// A handshake broke a rule or a limit, or came from a page that is not allowed.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The application's answer to a handshake cannot be sent; the client got a 500.
    #[error("the answer to a handshake cannot be sent: {0}")]
    Answer(Box<str>),
    /// The server has agreed to a compression that was not offered (1010).
    #[error("the server's answer to the offer of compression is wrong: {0}")]
    Extension(#[from] NegotiationError),
    /// A client's handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

impl Error {
    /// The code of the close frame that tells the peer, where one is sent (RFC 6455 section 7.4.1).
    pub fn close_code(&self) -> Option<CloseCode> {
        Some(match self {
            Self::Protocol(_) => CloseCode::PROTOCOL,
            Self::Utf8 | Self::Inflate => CloseCode::INVALID,
            Self::Unsupported => CloseCode::UNSUPPORTED,
            Self::TooBig { .. } => CloseCode::TOO_BIG,
            Self::Extension(_) => CloseCode::EXTENSION,
            _ => return None,
        })
    }
}
