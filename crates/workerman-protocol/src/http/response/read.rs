//! Reading the response that a client got.

use bytes::Bytes;

use super::super::BodyError;
use super::super::sse::EventError;
use super::Response;

/// Why the body of a response cannot be read as what is wanted of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The body broke off, or is too long.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A server-sent event is longer than its reader allows.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The body is not UTF-8.
    #[error("the body is not text in UTF-8")]
    NotText,
    /// The body is not JSON, or not of the type that is expected.
    #[cfg(feature = "serde")]
    #[error("the body is not the JSON that is expected: {0}")]
    Json(#[source] serde_json::Error),
}

impl Response {
    /// Most bytes that [`read_bytes`](Self::read_bytes) and the like take into memory: 10 MiB.
    ///
    /// For another limit there is [`Body::bytes`](super::super::Body::bytes), for none the body as a stream.
    pub const MAX_READ: usize = 10 * 1024 * 1024;

    /// Reads the body to its end.
    ///
    /// # Errors
    /// It broke off, or is longer than [`MAX_READ`](Self::MAX_READ).
    pub async fn read_bytes(&mut self) -> Result<Bytes, ReadError> {
        Ok(self.body.bytes(Self::MAX_READ).await?)
    }

    /// Reads the body to its end, as text in UTF-8.
    ///
    /// # Errors
    /// It broke off, is longer than [`MAX_READ`](Self::MAX_READ), or is not UTF-8.
    pub async fn read_text(&mut self) -> Result<String, ReadError> {
        let bytes = Vec::from(self.read_bytes().await?);
        String::from_utf8(bytes).map_err(|_| ReadError::NotText)
    }

    /// Reads the body to its end, as JSON of a type; what content type it says it has is not looked at.
    ///
    /// # Errors
    /// It broke off, is longer than [`MAX_READ`](Self::MAX_READ), or is not JSON of this type.
    #[cfg(feature = "serde")]
    pub async fn read_json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, ReadError> {
        serde_json::from_slice(&self.read_bytes().await?).map_err(ReadError::Json)
    }
}
