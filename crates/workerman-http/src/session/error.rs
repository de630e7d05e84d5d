//! What can go wrong with sessions.

use std::io;
use std::time::Duration;

use workerman_protocol::http::{BoxError, Response, StatusCode};

/// Why a session cannot be opened or saved.
///
/// As a [`Response`] it is an empty 503 where it may help to try again, else an empty 500.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Other requests held the session for as long as this one would wait.
    #[error("the session was in use for {waited:?}")]
    Busy {
        /// How long that was.
        waited: Duration,
    },
    /// The values are too large.
    #[error("the session has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Size of the values as JSON, in bytes.
        size: usize,
        /// Most bytes.
        limit: usize,
    },
    /// The store failed.
    #[error("the store of the sessions failed: {0}")]
    Store(#[from] StoreError),
    /// A value has no form in JSON.
    #[error("the value has no form in JSON: {0}")]
    Value(#[source] serde_json::Error),
    /// The system has no randomness for an id.
    #[error("the system has no randomness")]
    Random,
}

/// Why a store cannot do what it shall.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("cannot read or write the session: {0}")]
    Io(#[from] io::Error),
    /// The store has as many sessions as it may.
    #[error("there are {limit} sessions, no more are taken")]
    Full {
        /// Most sessions.
        limit: usize,
    },
    /// What is stored is larger than it may be.
    #[error("the stored session has more than {limit} bytes")]
    TooLarge {
        /// Most bytes.
        limit: u64,
    },
    /// Anything else.
    #[error("{0}")]
    Other(#[source] BoxError),
}

impl SessionError {
    /// The status of the answer: 503 where it may help to try again, else 500.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Busy { .. } | Self::Store(StoreError::Full { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<SessionError> for Response {
    fn from(error: SessionError) -> Self {
        Self::new(error.status())
    }
}
