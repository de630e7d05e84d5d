//! A response, as the caller of an agent gets it.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use http::{StatusCode, Uri};
use tokio::time::{Instant, timeout_at};
use workerman_protocol::http::{Body, Headers, Response as Answer, Version};

use super::error::Timeout;
use super::{AgentBuilder, Error};

/// A response: its head is here, its body arrives as it is read.
///
/// Dropped before its end it gives up its connection, unless at most 64 KiB are left to be read.
pub struct Response {
    status: StatusCode,
    version: Version,
    headers: Headers,
    url: Uri,
    body: Body,
    deadline: Option<Instant>,
    limit: usize,
}

impl Response {
    /// `asked`: for a body, which may be coded.
    pub(super) fn new(
        mut answer: Answer,
        url: Uri,
        settings: &AgentBuilder,
        deadline: Option<Instant>,
        asked: bool,
    ) -> Self {
        let headers = std::mem::take(answer.headers_mut());
        let (status, version) = (answer.status(), answer.version().unwrap_or(Version::Http11));
        let limit = settings.max_body;
        let body = answer.into_body();
        let mut response = Self { status, version, headers, url, body, deadline, limit };
        if asked && settings.decompress {
            response.decode();
        }
        response
    }

    #[allow(clippy::unused_self)] // there is nothing that it could decode
    fn decode(&mut self) {}

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The version that the server speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The fields. `Content-Encoding` and `Content-Length` are gone if the body is decompressed.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The first value of a field, if it is visible ASCII.
    pub fn header(&self, name: impl AsRef<str>) -> Option<&str> {
        self.headers.get_str(name)
    }

    /// Where it came from, after redirects.
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// Number of bytes of the body that are still to come, where that is known.
    pub fn content_length(&self) -> Option<u64> {
        self.body.len()
    }

    /// Makes a failure of a status of 400 or more.
    ///
    /// # Errors
    /// [`Error::Status`].
    pub fn error_for_status(self) -> Result<Self, Error> {
        if self.status.is_client_error() || self.status.is_server_error() {
            return Err(Error::Status(self.status));
        }
        Ok(self)
    }

    /// The next piece of the body; `None` at its end. Only the timeout for reading applies.
    ///
    /// # Errors
    /// The body broke off: that is never its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.body.data().await.transpose().map_err(Error::Body)
    }

    /// Fields behind the body, once it has been read to its end.
    pub fn trailers(&self) -> Option<&Headers> {
        self.body.trailers()
    }

    /// The whole body.
    ///
    /// # Errors
    /// It broke off, is longer than [`AgentBuilder::max_body`] or was not complete in time.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        let limit = self.limit;
        let deadline = self.deadline;
        let reading = async { self.body.bytes(limit).await.map_err(Error::Body) };
        within(deadline, reading).await
    }

    /// The whole body as text in UTF-8; what is none is replaced.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String, Error> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8(Vec::from(bytes))
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The whole body, read as JSON.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`Error::Decode`].
    #[cfg(feature = "serde")]
    pub async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, Error> {
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Decode(error.into()))
    }

    /// The body alone, to be read as a stream or sent on. Only the timeout for reading applies.
    pub fn into_body(self) -> Body {
        self.body
    }
}

async fn within<T>(
    deadline: Option<Instant>,
    reading: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match deadline {
        Some(deadline) => {
            timeout_at(deadline, reading).await.unwrap_or(Err(Error::Timeout(Timeout::Request)))
        }
        None => reading.await,
    }
}

/// Says which content codings can be decoded, unless the request says it.
pub(super) fn offer_codings(_: &mut Headers, _: &AgentBuilder) {}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("url", &self.url)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
