//! A response, as the caller of an agent gets it.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, RANGE};
use http::{HeaderValue, StatusCode, Uri};
use tokio::time::{Instant, timeout_at};
use workerman_protocol::http::coding::Coding;
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
    /// `offered`: codings were, so that the body may be coded.
    pub(super) fn new(
        mut answer: Answer,
        url: Uri,
        settings: &AgentBuilder,
        deadline: Option<Instant>,
        offered: bool,
    ) -> Self {
        if offered && answer.status() != StatusCode::PARTIAL_CONTENT {
            // Nothing grows in here: whoever reads piece by piece decides how long, and the rest has its own limit.
            answer = answer.decompress(u64::MAX);
        }
        let headers = std::mem::take(answer.headers_mut());
        let (status, version) = (answer.status(), answer.version().unwrap_or(Version::Http11));
        let limit = settings.max_body;
        Self { status, version, headers, url, body: answer.into_body(), deadline, limit }
    }

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
        // RFC 9110 section 15: a code beyond 599 is to be taken as a server's error.
        if self.status.as_u16() >= 400 {
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

/// Says which content codings can be decoded (RFC 9110 section 12.5.3); `false`: the request has its own mind about it.
pub(super) fn offer_codings(headers: &mut Headers, settings: &AgentBuilder) -> bool {
    // A part of a coded body could not be decoded.
    let own = headers.contains(ACCEPT_ENCODING) || headers.contains(RANGE);
    if own || !settings.decompress || Coding::AVAILABLE.is_empty() {
        return false;
    }
    let names: Vec<&str> = Coding::AVAILABLE.iter().map(|coding| coding.name()).collect();
    let Ok(names) = HeaderValue::try_from(names.join(", ")) else { return false };
    headers.append(ACCEPT_ENCODING, names);
    true
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("url", &self.url)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
