//! What can go wrong with HTTP messages.

use std::borrow::Cow;

/// Any error of a user's body or encoder.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why an HTTP message is refused or cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer's request breaks a rule; it was answered with this status.
    #[error("request refused with {status}: {reason}")]
    Refused {
        /// The status that the peer got.
        status: u16,
        /// Which rule.
        reason: &'static str,
    },
    /// The peer's response breaks a rule.
    #[error("not an HTTP/1 response: {0}")]
    Response(&'static str),
    /// The server has said something although no request was sent that it could answer; one that waits to be sent was not
    /// begun.
    #[error("bytes that no request has asked for")]
    Unasked,
    /// A limit on what the peer may send was exceeded.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit, in bytes or pieces.
        limit: u64,
    },
    /// A field cannot be sent: its name or value has forbidden characters, or it is the protocol's own.
    #[error("bad header field {name}: {reason}")]
    Field {
        /// The name as it was given, shortened.
        name: Cow<'static, str>,
        /// What is wrong.
        reason: &'static str,
    },
    /// A message cannot be sent.
    #[error("cannot send the message: {0}")]
    Message(&'static str),
    /// An answer that no request waits for.
    #[error("no request of this connection waits for an answer")]
    NothingToAnswer,
    /// The peer ended its stream within a message.
    #[error("the peer ended its stream within a message")]
    Truncated,
    /// A body that was to be sent failed or did not keep its announced length; the connection cannot go on.
    #[error("the body failed: {0}")]
    Body(#[source] BodyError),
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The connection ended within the body.
    #[error("the connection ended within the body")]
    Aborted,
    /// The body is longer than its reader allows.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// Most bytes.
        limit: u64,
    },
    /// The body made no progress for too long.
    #[error("the body made no progress for too long")]
    Timeout,
    /// The peer's framing of the body is broken.
    #[error("the body is malformed: {0}")]
    Malformed(&'static str),
    /// A streamed body is shorter or longer than the length that was announced for it.
    #[error("the body has {got} bytes instead of the {announced} announced")]
    Length {
        /// What was announced.
        announced: u64,
        /// What came, so far.
        got: u64,
    },
    /// The body's source failed.
    #[error("the source of the body failed: {0}")]
    Source(#[source] BoxError),
}
