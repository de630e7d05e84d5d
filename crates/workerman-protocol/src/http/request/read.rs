//! A request read as text, JSON or pairs.

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};

use super::super::coding::Coding;
use super::super::form::{self, FormValue, Pairs};
use super::super::{Body, BodyError, Response};
use super::Request;

/// Why a request cannot be read as what a handler wants of it.
///
/// As the error of a handler, or as a cause of that, it is answered by its [`status`](Self::status) and nothing more.
/// Converted into a [`Response`] it says what is wrong with the request as well: `?` does that in a handler that returns
/// `Result<_, Response>`.
///
/// # Examples
/// ```
/// use workerman_protocol::http::{Request, Response};
/// fn handle(request: &Request) -> Result<Response, Response> {
///     let name = request.text()?;
///     Ok(Response::text(format!("hello {name}")))
/// }
/// let request = Request::builder("POST", "/").body(vec![0xff]).build()?;
/// assert_eq!(handle(&request).unwrap_err().status(), 400);
/// # Ok::<(), workerman_protocol::http::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadRequest {
    /// The body is, as it says itself, of another type.
    #[error("the content type is not {expected}")]
    ContentType {
        /// What is expected.
        expected: &'static str,
    },
    /// The body is not UTF-8.
    #[error("the body is not text in UTF-8")]
    NotText,
    /// The body is not JSON, or not of the type that is expected.
    #[cfg(feature = "serde")]
    #[error("the body is not the JSON that is expected: {0}")]
    Json(#[source] serde_json::Error),
    /// The body is not a form of the type that is expected.
    #[cfg(feature = "serde")]
    #[error("the body is not the form that is expected: {0}")]
    Form(#[source] serde_urlencoded::de::Error),
    /// The query is not of the type that is expected.
    #[cfg(feature = "serde")]
    #[error("the query is not what is expected: {0}")]
    Query(#[source] serde_urlencoded::de::Error),
    /// Too many of something.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// The body is in a content coding that is unknown or not built in.
    #[error("the content coding of the body is not known")]
    Coding,
    /// The body is broken, too large or incomplete.
    #[error(transparent)]
    Body(BodyError),
    /// The body arrives in pieces: it has to be [read into memory](Request::buffer) first. The application's mistake,
    /// not the client's.
    #[error("the body has not been read into memory")]
    Streamed,
}

impl BadRequest {
    /// The status that says it to the client: 400, 408 or 413 for a body that broke
    /// off or is too large, 415 for a wrong content type or coding, 500 if it is not to blame.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::ContentType { .. } | Self::Coding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::Timeout) => StatusCode::REQUEST_TIMEOUT,
            Self::Streamed => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl BadRequest {
    /// The answer, without a word about what is wrong.
    pub(crate) fn bare(&self) -> Response {
        let response = Response::new(self.status());
        if !matches!(self, Self::Coding) {
            return response;
        }
        // RFC 9110 section 15.5.16: what would have been accepted.
        let known: Vec<_> = Coding::AVAILABLE.iter().map(|coding| coding.name()).collect();
        let known = if known.is_empty() { "identity".to_owned() } else { known.join(", ") };
        response.header(ACCEPT_ENCODING, known)
    }
}

impl From<BadRequest> for Response {
    fn from(error: BadRequest) -> Self {
        let bare = error.bare();
        // Nothing that the client can do something about.
        if matches!(error, BadRequest::Streamed) {
            return bare;
        }
        bare.body(error.to_string()).header(CONTENT_TYPE, "text/plain; charset=utf-8")
    }
}

impl Request {
    /// Reads a streamed body into memory, so that [`bytes`](Self::bytes), [`text`](Self::text) and the like have it.
    ///
    /// Does nothing if it is there already. What of it was read before is not in it.
    ///
    /// # Errors
    /// The body is longer than `limit` bytes, or broke off; it is empty then.
    pub async fn buffer(&mut self, limit: usize) -> Result<&Bytes, BodyError> {
        if self.body.as_bytes().is_none() {
            let whole = match self.body.bytes(limit).await {
                Ok(bytes) => Body::from(bytes),
                Err(error) => {
                    self.body = Body::empty();
                    return Err(error);
                }
            };
            let trailers = self.body.take_trailers();
            self.body = match trailers {
                Some(trailers) => whole.with_trailers(trailers),
                None => whole,
            };
        }
        self.body.as_bytes().ok_or(BodyError::Aborted)
    }

    fn whole(&self) -> Result<&Bytes, BadRequest> {
        self.body.as_bytes().ok_or(BadRequest::Streamed)
    }

    /// The body as text.
    ///
    /// # Errors
    /// It is not UTF-8, or not in memory.
    pub fn text(&self) -> Result<&str, BadRequest> {
        std::str::from_utf8(self.whole()?).map_err(|_| BadRequest::NotText)
    }

    /// The pairs of a form, decoded.
    ///
    /// # Errors
    /// The body is not a form by its content type, or not in memory.
    pub fn form_pairs(&self) -> Result<Pairs<'_>, BadRequest> {
        if !self.is_form() {
            return Err(BadRequest::ContentType { expected: "application/x-www-form-urlencoded" });
        }
        Ok(Pairs::new(self.whole()?))
    }

    /// The query with nested names, by the rules that users of the original know.
    ///
    /// `a[]=1` appends to a list, `a[k]=1` sets a key, both nest. The last of several texts of one name wins. In names of
    /// variables `.`, space and a lone `[` become `_`. The result is a [`FormValue::Map`].
    ///
    /// # Errors
    /// There are more than 1000 ([`MAX_VARIABLES`](super::super::MAX_VARIABLES)) variables, or a name has more than 64 ([`MAX_DEPTH`](super::super::MAX_DEPTH)) levels.
    pub fn php_query(&self) -> Result<FormValue, BadRequest> {
        form::nest(self.query_pairs())
    }

    /// A form with nested names; see [`php_query`](Self::php_query).
    ///
    /// # Errors
    /// As [`form_pairs`](Self::form_pairs) and [`php_query`](Self::php_query).
    pub fn php_form(&self) -> Result<FormValue, BadRequest> {
        form::nest(self.form_pairs()?)
    }
}

#[cfg(feature = "serde")]
impl Request {
    /// The body as JSON of a type.
    ///
    /// # Errors
    /// The content type is not `application/json` and does not end with `+json`; the body is not JSON, not of this type, or
    /// not in memory.
    ///
    /// # Examples
    /// ```
    /// use workerman_protocol::http::Request;
    /// let request = Request::builder("POST", "/").json(&[1, 2, 3]).build()?;
    /// let numbers: Vec<u8> = request.json()?;
    /// assert_eq!(numbers, [1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn json<'de, T: serde::Deserialize<'de>>(&'de self) -> Result<T, BadRequest> {
        if !self.is_json() {
            return Err(BadRequest::ContentType { expected: "application/json" });
        }
        serde_json::from_slice(self.whole()?).map_err(BadRequest::Json)
    }

    /// The body as a form of a type; names do not nest.
    ///
    /// # Errors
    /// The content type is not `application/x-www-form-urlencoded`; the body is not of this type, or not in memory.
    pub fn form<'de, T: serde::Deserialize<'de>>(&'de self) -> Result<T, BadRequest> {
        self.form_pairs()?;
        serde_urlencoded::from_bytes(self.whole()?).map_err(BadRequest::Form)
    }

    /// The query as a type; names do not nest.
    ///
    /// # Errors
    /// It is not of this type.
    ///
    /// # Examples
    /// ```
    /// use workerman_protocol::http::Request;
    /// let request = Request::builder("GET", "/?page=2&size=10").build()?;
    /// let query: std::collections::BTreeMap<&str, u32> = request.query_as()?;
    /// assert_eq!((query["page"], query["size"]), (2, 10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn query_as<'de, T: serde::Deserialize<'de>>(&'de self) -> Result<T, BadRequest> {
        serde_urlencoded::from_str(self.query().unwrap_or_default()).map_err(BadRequest::Query)
    }
}
