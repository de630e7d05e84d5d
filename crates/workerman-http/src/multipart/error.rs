//! What can go wrong with a form.

use std::io;

use workerman_protocol::http::{BodyError, Response, StatusCode};

/// Why a form cannot be read.
///
/// As a [`Response`] it tells the client its [`status`](Self::status) and what the client did wrong, nothing else.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MultipartError {
    /// The content type is not `multipart/form-data` with a boundary.
    #[error("not a multipart form: {0}")]
    ContentType(&'static str),
    /// The body breaks a rule.
    #[error("malformed form: {0}")]
    Malformed(&'static str),
    /// A limit was exceeded.
    #[error("{what} of the form exceed the limit of {limit}")]
    TooLarge {
        /// Of what, in the plural.
        what: &'static str,
        /// The limit, in bytes or pieces.
        limit: u64,
    },
    /// The body ended before its end: the client left, for one.
    #[error("cannot read the form: {0}")]
    Body(#[from] BodyError),
    /// A temporary file could not be written or read.
    #[error("cannot store the form: {0}")]
    Storage(#[from] io::Error),
    /// An error has ended the form before.
    #[error("the form has ended with an error before")]
    Ended,
}

impl MultipartError {
    /// The status of the answer: 400, 408, 413, 415, or 500 where the client is not to blame.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } | Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::Timeout) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::Source(_)) | Self::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Malformed(_) | Self::Body(_) | Self::Ended => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<MultipartError> for Response {
    fn from(error: MultipartError) -> Self {
        let status = error.status();
        if status.is_server_error() {
            return Self::new(status);
        }
        Self::text(format!("{error}\n")).with_status(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_status() {
        let cases = [
            (MultipartError::ContentType("x"), 415),
            (MultipartError::Malformed("x"), 400),
            (MultipartError::TooLarge { what: "parts", limit: 1 }, 413),
            (MultipartError::Body(BodyError::Aborted), 400),
            (MultipartError::Body(BodyError::Timeout), 408),
            (MultipartError::Body(BodyError::TooLarge { limit: 1 }), 413),
            (MultipartError::Storage(io::Error::other("secret")), 500),
            (MultipartError::Ended, 400),
        ];
        for (error, status) in cases {
            let text = error.to_string();
            let response = Response::from(error);
            assert_eq!(response.status(), status, "{text}");
            let body = response.body_ref().as_bytes().unwrap();
            // The server's troubles are not for the client.
            assert_eq!(body.is_empty(), status == 500, "{text}");
        }
    }
}
