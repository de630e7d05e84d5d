//! A response: what a server's handler returns, and what a client gets.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};

use super::{Body, Error, Headers, Version};

/// A response: status, fields, body.
///
/// `Content-Length`, `Transfer-Encoding`, `Connection` and `Date` are the protocol's own: it writes them as the request
/// and the body demand.
///
/// # Examples
/// ```
/// use workerman_protocol::http::Response;
/// let response = Response::text("hi").header("x-kind", "greeting");
/// assert_eq!(response.status(), 200);
/// assert_eq!(response.headers().get_str("X-Kind"), Some("greeting"));
/// ```
#[derive(Default)]
pub struct Response {
    status: StatusCode,
    /// The content type of the constructors, which costs no field.
    pub(super) preset: Preset,
    pub(super) version: Option<Version>,
    headers: Headers,
    body: Body,
    /// The first mistake that was made in building it.
    error: Option<Box<Error>>,
}

/// A content type that a constructor chose.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum Preset {
    #[default]
    None,
    Text,
    Html,
    Json,
    Octets,
}

impl Preset {
    pub(super) fn value(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Text => Some("text/plain; charset=utf-8"),
            Self::Html => Some("text/html; charset=utf-8"),
            Self::Json => Some("application/json"),
            Self::Octets => Some("application/octet-stream"),
        }
    }
}

impl Response {
    /// An empty response.
    pub fn new(status: StatusCode) -> Self {
        Self { status, ..Self::default() }
    }

    /// An empty response with a status as a number; one that is none (100 to 999) makes it an error.
    pub fn of(status: u16) -> Self {
        Self::default().with_status(status)
    }

    /// A text in UTF-8.
    pub fn text(body: impl Into<Body>) -> Self {
        Self { preset: Preset::Text, body: body.into(), ..Self::default() }
    }

    /// A page in UTF-8.
    pub fn html(body: impl Into<Body>) -> Self {
        Self { preset: Preset::Html, body: body.into(), ..Self::default() }
    }

    /// Bytes of no particular type.
    pub fn bytes(body: impl Into<Body>) -> Self {
        Self { preset: Preset::Octets, body: body.into(), ..Self::default() }
    }

    /// JSON that is text already.
    pub fn json_text(body: impl Into<Body>) -> Self {
        Self { preset: Preset::Json, body: body.into(), ..Self::default() }
    }

    /// A redirect with 302 Found.
    pub fn redirect(location: impl TryInto<HeaderValue>) -> Self {
        Self::new(StatusCode::FOUND).header(LOCATION, location)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Sets the status.
    #[must_use]
    pub fn with_status(mut self, status: impl TryInto<StatusCode>) -> Self {
        match status.try_into() {
            Ok(status) => self.status = status,
            Err(_) => self.spoil(Error::Message("the status is not a number from 100 to 999")),
        }
        self
    }

    /// Sets a field; every older value of it is replaced.
    ///
    /// A name or value that HTTP forbids (a line break, for one) makes the response an error: the client gets a 500, and
    /// `on_error` is told.
    #[must_use]
    pub fn header(self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        self.field(name, value, Headers::insert)
    }

    /// Adds a field behind those that are there, of the same name or not.
    #[must_use]
    pub fn append(self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        self.field(name, value, Headers::append)
    }

    fn field(
        mut self,
        name: impl TryInto<HeaderName>,
        value: impl TryInto<HeaderValue>,
        put: impl FnOnce(&mut Headers, HeaderName, HeaderValue),
    ) -> Self {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => {
                if name == CONTENT_TYPE {
                    self.preset = Preset::None;
                }
                put(&mut self.headers, name, value);
            }
            (Ok(name), Err(_)) => self.spoil(Error::Field {
                name: name.to_string().into(),
                reason: "its value has a forbidden character",
            }),
            (Err(_), _) => {
                self.spoil(Error::Field { name: "?".into(), reason: "its name is not a token" });
            }
        }
        self
    }

    /// Notes the first mistake.
    pub(super) fn spoil(&mut self, error: Error) {
        self.error.get_or_insert_with(|| Box::new(error));
    }

    /// The mistake that was made in building it, if any: it will be answered as a 500.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_deref()
    }

    pub(super) fn take_error(&mut self) -> Option<Error> {
        self.error.take().map(|error| *error)
    }

    /// The fields, without the content type of a constructor; see [`content_type`](Self::content_type).
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The fields, to be changed.
    pub fn headers_mut(&mut self) -> &mut Headers {
        // Whoever looks for the content type finds it here.
        if let Some(value) = std::mem::take(&mut self.preset).value() {
            self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
        }
        &mut self.headers
    }

    /// The content type, wherever it came from.
    pub fn content_type(&self) -> Option<&str> {
        self.preset.value().or_else(|| self.headers.get_str("content-type"))
    }

    /// Replaces the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// The body, to be read or replaced.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// The body, to be looked at.
    pub fn body_ref(&self) -> &Body {
        &self.body
    }

    /// Gives the body away.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// The version of a response that a client got.
    pub fn version(&self) -> Option<Version> {
        self.version
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl From<StatusCode> for Response {
    fn from(status: StatusCode) -> Self {
        Self::new(status)
    }
}

impl From<&'static str> for Response {
    fn from(text: &'static str) -> Self {
        Self::html(text)
    }
}

impl From<String> for Response {
    fn from(text: String) -> Self {
        Self::html(text)
    }
}

impl From<Bytes> for Response {
    fn from(bytes: Bytes) -> Self {
        Self::bytes(bytes)
    }
}

impl From<Vec<u8>> for Response {
    fn from(bytes: Vec<u8>) -> Self {
        Self::bytes(bytes)
    }
}
