//! What can go wrong with a request.

use std::fmt;
use std::io;

use http::StatusCode;
use workerman_connection::{Error as ConnectionError, Timeout as Expired};
use workerman_protocol::http::{BodyError, Error as HttpError};

/// Why there is no response, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL cannot be understood or used.
    #[error("bad URL `{url}`: {reason}")]
    Url {
        /// As it was written.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The request cannot be sent as it is: a field, a length, a body that failed.
    #[error("bad request: {0}")]
    Request(#[source] HttpError),
    /// Values for a body or a query that have no encoding.
    #[error("cannot encode: {0}")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// As many requests wait for a connection to this origin as may.
    #[error("{limit} requests wait for a connection to {origin} already")]
    Busy {
        /// Where to.
        origin: String,
        /// Most that may wait.
        limit: usize,
    },
    /// No connection could be made.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not: the last address that was tried.
        source: io::Error,
    },
    /// The server ended the connection before its answer was complete.
    #[error("the server closed the connection before it had answered")]
    Closed,
    /// The connection failed, or there is no event loop for it.
    #[error("connection failed: {0}")]
    Connection(#[source] io::Error),
    /// The answer is not HTTP/1, or beyond a limit.
    #[error("bad response: {0}")]
    Response(#[source] HttpError),
    /// It took too long.
    #[error("timed out: {0}")]
    Timeout(Timeout),
    /// There were more redirects than are followed.
    #[error("more than {limit} redirects")]
    TooManyRedirects {
        /// Most that are followed.
        limit: usize,
    },
    /// A redirect leads nowhere.
    #[error("cannot follow the redirect to `{location}`: {reason}")]
    Redirect {
        /// As the server wrote it.
        location: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The body of the response broke off, or is too long.
    #[error("bad response body: {0}")]
    Body(#[source] BodyError),
    /// The body is not what it was to be read as.
    #[error("cannot decode the body: {0}")]
    Decode(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// [`Response::error_for_status`](super::Response::error_for_status): the status is a failure.
    #[error("the server answered {0}")]
    Status(StatusCode),
}

/// What took too long.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Timeout {
    /// All of it.
    Request,
    /// The server made no progress.
    Read,
    /// The server did not take what was sent.
    Write,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "the request took too long",
            Self::Read => "the server made no progress",
            Self::Write => "the server took nothing of what was sent",
        })
    }
}

impl Error {
    /// Whether it is a timeout of any kind, that of connecting included.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Body(BodyError::Timeout) => true,
            Self::Connect { source, .. } => source.kind() == io::ErrorKind::TimedOut,
            _ => false,
        }
    }

    /// What a connection's `on_error` was told, to be given to the one who waits.
    pub(super) fn of_connection(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::Connect { address, source } => {
                Self::Connect { address: address.clone(), source: copy_io(source) }
            }
            ConnectionError::Protocol(source) => match source.downcast_ref::<HttpError>() {
                Some(error) => Self::of_protocol(error),
                None => Self::Connection(io::Error::other(source.to_string())),
            },
            ConnectionError::Truncated => Self::Closed,
            ConnectionError::Timeout(Expired::Head | Expired::Body | Expired::Idle) => {
                Self::Timeout(Timeout::Read)
            }
            ConnectionError::Timeout(Expired::Write) => Self::Timeout(Timeout::Write),
            ConnectionError::Io(source) => Self::Connection(copy_io(source)),
            other => Self::Connection(io::Error::other(other.to_string())),
        }
    }

    fn of_protocol(error: &HttpError) -> Self {
        match error {
            HttpError::Response(reason) => Self::Response(HttpError::Response(reason)),
            HttpError::Unasked => Self::Response(HttpError::Unasked),
            HttpError::Limit { what, limit } => Self::Response(HttpError::Limit { what, limit: *limit }),
            HttpError::Body(error) => Self::Request(HttpError::Body(match error {
                BodyError::TooLarge { limit } => BodyError::TooLarge { limit: *limit },
                BodyError::Timeout => BodyError::Timeout,
                BodyError::Aborted => BodyError::Aborted,
                BodyError::Malformed(reason) => BodyError::Malformed(reason),
                BodyError::Length { announced, got } => {
                    BodyError::Length { announced: *announced, got: *got }
                }
                other => BodyError::Source(other.to_string().into()),
            })),
            HttpError::Truncated => Self::Closed,
            other => Self::Connection(io::Error::other(other.to_string())),
        }
    }
}

/// `io::Error` cannot be cloned.
fn copy_io(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
