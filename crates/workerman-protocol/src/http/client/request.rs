//! What can be sent: a request, checked and framed before its first byte leaves.

use std::fmt;
use std::time::Instant;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Uri};

use super::head::{content_length, has_option};
use super::upload::Upload;
use crate::http::{Body, Error, Headers};

/// A request to be sent by an [`HttpClient`](super::HttpClient): method, URI, fields, body.
///
/// `Transfer-Encoding` and `Expect` are the protocol's own. `Host` and `Content-Length` are written as the URI and the
/// body demand; a `Host` of one's own replaces the URI's, and a `Content-Length` of one's own announces the length of a
/// body that does not know it.
///
/// # Examples
/// ```
/// use workerman_protocol::http::ClientRequest;
/// let request = ClientRequest::post("http://example.com/items?x=1", "{}").header("content-type", "application/json");
/// assert_eq!(request.uri().path(), "/items");
/// ```
pub struct ClientRequest {
    method: Method,
    uri: Uri,
    headers: Headers,
    body: Body,
    absolute: bool,
    /// The first mistake that was made in building it.
    error: Option<Box<Error>>,
}

impl ClientRequest {
    /// A request without a body. A method or URI that is none makes it an error when it is sent.
    ///
    /// A URI without a host (`/path`) needs a `Host` field. For `CONNECT` it is `host:port`; `*` is for `OPTIONS`.
    pub fn new(method: impl TryInto<Method>, uri: impl TryInto<Uri>) -> Self {
        let mut request = Self {
            method: Method::GET,
            uri: Uri::default(),
            headers: Headers::new(),
            body: Body::empty(),
            absolute: false,
            error: None,
        };
        match method.try_into() {
            Ok(method) => request.method = method,
            Err(_) => request.spoil(Error::Message("the method is not a token")),
        }
        match uri.try_into() {
            Ok(uri) => request.uri = uri,
            Err(_) => request.spoil(Error::Message("the URI is not valid")),
        }
        request
    }

    /// A GET request.
    pub fn get(uri: impl TryInto<Uri>) -> Self {
        Self::new(Method::GET, uri)
    }

    /// A POST request.
    pub fn post(uri: impl TryInto<Uri>, body: impl Into<Body>) -> Self {
        Self::new(Method::POST, uri).body(body)
    }

    /// Sets a field; every older value of it is replaced.
    ///
    /// A name or value that HTTP forbids (a line break, for one) makes the request an error when it is sent.
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
            (Ok(name), Ok(value)) => put(&mut self.headers, name, value),
            (Ok(name), Err(_)) => self.spoil(field_error(&name, "its value has a forbidden character")),
            (Err(_), _) => self.spoil(Error::Field { name: "?".into(), reason: "its name is not a token" }),
        }
        self
    }

    fn spoil(&mut self, error: Error) {
        self.error.get_or_insert_with(|| Box::new(error));
    }

    /// Replaces the fields.
    #[must_use]
    pub fn with_headers(mut self, headers: impl Into<Headers>) -> Self {
        self.headers = headers.into();
        self
    }

    /// Replaces the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the whole URI as target, as a proxy wants it (RFC 9112 section 3.2.2); default only path and query.
    #[must_use]
    pub fn absolute_form(mut self) -> Self {
        self.absolute = true;
        self
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The URI.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The fields.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The fields, to be changed.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// The body, to be looked at.
    pub fn body_ref(&self) -> &Body {
        &self.body
    }

    /// Checks and frames it.
    pub(super) fn prepare(self) -> Result<Prepared, Error> {
        if let Some(error) = self.error {
            return Err(*error);
        }
        for name in [TRANSFER_ENCODING, EXPECT] {
            if self.headers.contains(&name) {
                return Err(field_error(&name, "the protocol writes it itself"));
            }
        }
        let host = host(&self.uri, &self.headers)?;
        let target = target(&self.method, &self.uri, self.absolute)?;
        let announced = announced(&self.method, &self.headers, &self.body)?;
        Ok(Prepared { method: self.method, target, host, headers: self.headers, body: self.body, announced })
    }
}

impl fmt::Debug for ClientRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRequest")
            .field("method", &self.method)
            .field("uri", &self.uri)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl<B: Into<Body>> From<http::Request<B>> for ClientRequest {
    fn from(request: http::Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        Self::new(parts.method, parts.uri).with_headers(parts.headers).body(body)
    }
}

fn field_error(name: &HeaderName, reason: &'static str) -> Error {
    Error::Field { name: name.to_string().into(), reason }
}

/// How the end of a request's body is announced (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Announced {
    /// No field says anything: there is no body.
    Nothing,
    Length(u64),
    Chunks,
}

/// The value of the Host field: the user's, or the authority of the URI (RFC 9112 section 3.2).
fn host(uri: &Uri, headers: &Headers) -> Result<HeaderValue, Error> {
    let mut own = headers.get_all(HOST);
    match (own.next(), own.next()) {
        (Some(_), Some(_)) => Err(field_error(&HOST, "there can be only one")),
        (Some(host), None) => Ok(host.clone()),
        _ => {
            let authority = uri.authority().ok_or(Error::Message("the URI has no host"))?.as_str();
            // RFC 9110 section 4.2.4: no user information in what is sent.
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            if host.is_empty() {
                return Err(Error::Message("the URI has no host"));
            }
            HeaderValue::from_str(host).map_err(|_| Error::Message("the host is not valid"))
        }
    }
}

/// The target in its form (RFC 9112 section 3.2).
fn target(method: &Method, uri: &Uri, absolute: bool) -> Result<String, Error> {
    let authority = || {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    };
    if *method == Method::CONNECT {
        return match uri.authority().and_then(http::uri::Authority::port_u16) {
            Some(_) if uri.path_and_query().is_none() => Ok(authority().to_owned()),
            _ => Err(Error::Message("the target of CONNECT is a host and a port")),
        };
    }
    let mut target = String::new();
    if absolute {
        let scheme = uri.scheme_str().ok_or(Error::Message("the absolute form needs a scheme and a host"))?;
        target.push_str(scheme);
        target.push_str("://");
        target.push_str(authority());
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    match path {
        // Section 3.2.4: `OPTIONS *` for a server as a whole, which in absolute form has an empty path.
        "*" if *method != Method::OPTIONS => return Err(Error::Message("the target `*` is for OPTIONS")),
        "*" if absolute => return Ok(target),
        "*" => {}
        _ if !path.starts_with('/') => target.push('/'),
        _ => {}
    }
    for byte in path.bytes() {
        // RFC 3986 section 2: a URI is ASCII.
        if byte.is_ascii_graphic() {
            target.push(char::from(byte));
        } else {
            target.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(target)
}

fn announced(method: &Method, headers: &Headers, body: &Body) -> Result<Announced, Error> {
    let mut own = headers.get_all(CONTENT_LENGTH);
    let given = own.next().map(content_length).transpose();
    let given = given.map_err(|_| field_error(&CONTENT_LENGTH, "it is not a number"))?;
    if own.next().is_some() {
        return Err(field_error(&CONTENT_LENGTH, "there can be only one"));
    }
    let length = body.len();
    if given.is_some() && length.is_some() && given != length {
        return Err(field_error(&CONTENT_LENGTH, "the body has another length"));
    }
    if body.trailers().is_some() {
        // Only chunks carry trailers.
        return if given.is_none() {
            Ok(Announced::Chunks)
        } else {
            Err(field_error(&CONTENT_LENGTH, "a body with trailers is sent in chunks"))
        };
    }
    // RFC 9110 sections 9.3.6 and 9.3.8.
    let bodiless = *method == Method::CONNECT || *method == Method::TRACE;
    match given.or(length) {
        Some(0) if bodiless => Ok(Announced::Nothing),
        _ if bodiless => Err(Error::Message("a request of this method has no body")),
        // Section 8.6: a length of 0 is said where a body could be expected.
        Some(0) if given.is_none() && ![Method::POST, Method::PUT, Method::PATCH].contains(method) => {
            Ok(Announced::Nothing)
        }
        Some(length) => Ok(Announced::Length(length)),
        None => Ok(Announced::Chunks),
    }
}

/// A request that can be sent.
pub(super) struct Prepared {
    method: Method,
    target: String,
    host: HeaderValue,
    headers: Headers,
    body: Body,
    announced: Announced,
}

impl Prepared {
    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    pub(super) fn is_connect(&self) -> bool {
        self.method == Method::CONNECT
    }

    /// Whether it offers another protocol (RFC 9110 section 7.8).
    pub(super) fn upgrades(&self) -> bool {
        self.headers.contains(UPGRADE)
    }

    /// Whether it is to be the last one.
    pub(super) fn closes(&self) -> bool {
        has_option(&self.headers, "close")
    }

    /// Whether its body is worth a question in advance.
    pub(super) fn may_wait(&self) -> bool {
        self.announced != Announced::Nothing && self.body.as_bytes().is_none()
    }

    /// Appends the request line and the fields (RFC 9112 sections 3 and 5).
    pub(super) fn write_head(&self, out: &mut BytesMut, expect: bool) {
        let field = |out: &mut BytesMut, name: &[u8], value: &[u8]| {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        };
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.extend_from_slice(b" ");
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        // RFC 9110 section 7.2: first of all.
        field(out, b"host", self.host.as_bytes());
        for (name, value) in
            self.headers.iter().filter(|(name, _)| **name != HOST && **name != CONTENT_LENGTH)
        {
            field(out, name.as_str().as_bytes(), value.as_bytes());
        }
        if self.upgrades() && !has_option(&self.headers, "upgrade") {
            field(out, CONNECTION.as_str().as_bytes(), b"upgrade");
        }
        match self.announced {
            Announced::Nothing => {}
            Announced::Length(length) => field(out, b"content-length", length.to_string().as_bytes()),
            Announced::Chunks => field(out, b"transfer-encoding", b"chunked"),
        }
        if expect {
            field(out, b"expect", b"100-continue");
        }
        out.extend_from_slice(b"\r\n");
    }

    pub(super) fn into_upload(self, until: Option<Instant>) -> Upload {
        Upload::new(self.body, self.announced, until)
    }
}
