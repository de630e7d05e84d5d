//! A response: what a server's handler returns, and what a client gets.

mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use futures_core::Stream;
use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE, UPGRADE};
use http::{HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

pub use self::read::ReadError;
use super::cookie::Cookie;
use super::parse::is_token;
use super::{Body, BoxError, Error, Headers, Version};

/// What a reference may not have as it is (RFC 3986 section 2); `%` begins what is encoded already.
const IN_REFERENCE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A response: status, fields, body.
///
/// `Content-Length`, `Transfer-Encoding`, `Connection` and `Date` are written as the request and the body demand. A
/// `Date` or `Server` that is set here takes the place of the server's own. A `Content-Length` must be that of the body,
/// announces one that is streamed, or says what the answer to HEAD and a 304 do not have; a `Transfer-Encoding` is an
/// error.
///
/// A mistake in building one (a line break in a field, a cookie that browsers would drop) is kept in it, the first one:
/// the client gets a 500, and `on_error` is told. So nothing has to be unwrapped on the way.
///
/// What becomes one by itself: `&'static str` and `String` (a page, `text/html; charset=utf-8`, as in the original),
/// `Bytes` and `Vec<u8>` (`application/octet-stream`), a [`StatusCode`] (no body), a pair of a status and one of these,
/// an [`http::Response`].
///
/// # Examples
/// ```
/// use workerman_protocol::http::{Cookie, Response, StatusCode};
/// let response = Response::text("hi").header("x-kind", "greeting").cookie(Cookie::new("seen", "yes"));
/// assert_eq!(response.status(), 200);
/// assert_eq!(response.headers().get_str("X-Kind"), Some("greeting"));
/// assert_eq!(response.headers().get_str("Set-Cookie"), Some("seen=yes"));
///
/// let page = Response::from((StatusCode::NOT_FOUND, "<h1>nothing here</h1>"));
/// assert_eq!((page.status().as_u16(), page.content_type()), (404, Some("text/html; charset=utf-8")));
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

    /// An empty response with a status as a number; one that is none (100 to 599) makes it an error.
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

    /// A value as JSON.
    ///
    /// One that JSON cannot express (a map with keys that are no text, an error of its own) makes the response an error.
    ///
    /// # Examples
    /// ```
    /// use workerman_protocol::http::Response;
    /// let response = Response::json([1, 2, 3]);
    /// assert_eq!(response.body_ref().as_bytes().unwrap(), "[1,2,3]");
    /// assert_eq!(response.content_type(), Some("application/json"));
    /// ```
    #[cfg(feature = "serde")]
    pub fn json(value: impl serde::Serialize) -> Self {
        match serde_json::to_vec(&value) {
            Ok(text) => Self::json_text(text),
            Err(error) => {
                let mut response = Self::default();
                response.spoil(Error::Body(super::BodyError::Source(error.into())));
                response
            }
        }
    }

    /// A body that is read from a stream of pieces while it is sent: in chunks, as fast as the client takes it, and
    /// dropped when the client leaves.
    ///
    /// Of no particular type until a `Content-Type` is set. For one of known length, or with trailers, see [`Body`].
    pub fn stream<S, B, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<BoxError>,
    {
        Self::bytes(Body::stream(stream))
    }

    /// A redirect with 302 Found; [`with_status`](Self::with_status) makes it another: 301, 303, 307, 308.
    ///
    /// `location` is a reference: an address or a path. What has no place in one, spaces and all but ASCII, is
    /// percent-encoded; a control character makes the response an error. Where a client may choose the location, check
    /// that it stays on the site: `//elsewhere` does not.
    ///
    /// # Examples
    /// ```
    /// use workerman_protocol::http::Response;
    /// let response = Response::redirect("/a b?c=\u{e9}").with_status(303);
    /// assert_eq!(response.headers().get_str("location"), Some("/a%20b?c=%C3%A9"));
    /// ```
    pub fn redirect(location: impl AsRef<str>) -> Self {
        let location = location.as_ref();
        let mut response = Self::new(StatusCode::FOUND);
        if location.bytes().any(|byte| byte.is_ascii_control()) {
            response.spoil(Error::Field {
                name: "location".into(),
                reason: "its value has a forbidden character",
            });
            return response;
        }
        response.header(LOCATION, utf8_percent_encode(location, IN_REFERENCE).to_string())
    }

    /// A page that is not there: 404 with a short text.
    pub fn not_found() -> Self {
        Self::text("404 Not Found\n").with_status(StatusCode::NOT_FOUND)
    }

    /// An answer without a body that says so: 204.
    pub fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT)
    }

    /// Takes the client's offer to speak another protocol: 101, with its name as the client wrote it in `Upgrade`.
    ///
    /// Without such an offer it cannot be sent.
    pub fn switching_protocols(name: &str) -> Self {
        let mut response = Self::new(StatusCode::SWITCHING_PROTOCOLS);
        // RFC 9110 section 7.8: a name, and maybe a version behind a slash.
        if name.splitn(2, '/').all(|part| is_token(part.as_bytes())) {
            return response.header(UPGRADE, name);
        }
        response.spoil(Error::Field {
            name: "upgrade".into(),
            reason: "the name of the protocol is not a token",
        });
        response
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Sets the status.
    ///
    /// One that HTTP does not have (100 to 599) makes the response an error; so does one of 1xx as an answer, but for the
    /// [switch](Self::switching_protocols) that a client has offered.
    #[must_use]
    pub fn with_status(mut self, status: impl TryInto<StatusCode>) -> Self {
        match status.try_into() {
            // RFC 9110 section 15.
            Ok(status) if status.as_u16() < 600 => self.status = status,
            _ => self.spoil(Error::Message("the status is not a number from 100 to 599")),
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

    /// Sets a cookie, beside those that are set already.
    ///
    /// One that cannot be set, or that browsers would drop, makes the response an error.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // a cookie is made where it is set
    pub fn cookie(mut self, cookie: Cookie) -> Self {
        match cookie.to_value() {
            Ok(value) => self.headers.append(SET_COOKIE, value),
            Err(error) => self.spoil(Error::Message(error.reason())),
        }
        self
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

    /// The fields to be changed, without the content type of a constructor.
    pub(super) fn fields_mut(&mut self) -> &mut Headers {
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

    /// Puts fields behind the body. They are sent in chunks; a client of HTTP/1.0 does not get them.
    #[must_use]
    pub fn trailers(mut self, trailers: Headers) -> Self {
        self.body = self.body.with_trailers(trailers);
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
