//! Requests made by hand, for tests of handlers.

use std::net::SocketAddr;

use bytes::{BufMut, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method};

use super::super::parse::{Limits, parse};
use super::super::{Body, Error, Headers, Version};
use super::Request;

/// Makes a [`Request`] without a connection: for tests of handlers.
///
/// The head is written as a client would send it and read by the rules of the server. `Host` is `localhost` if nothing else is said, and the field that
/// frames the body is added.
#[derive(Debug)]
#[must_use = "`build` makes the request"]
pub struct RequestBuilder {
    method: Option<Method>,
    target: String,
    version: Version,
    headers: Headers,
    body: Body,
    remote: Option<SocketAddr>,
    params: Vec<(Box<str>, String)>,
    /// The first mistake.
    error: Option<Error>,
}

impl Request {
    /// Begins a request that no client sent: for tests of handlers.
    ///
    /// # Examples
    /// ```
    /// use workerman_protocol::http::{Request, Response};
    /// fn greet(request: &Request) -> Response {
    ///     Response::text(format!("hello {}", request.query_value("name").unwrap_or("you".into())))
    /// }
    /// let request = Request::builder("GET", "/greet?name=Ann").header("accept", "text/plain").build()?;
    /// assert_eq!(greet(&request).body_ref().as_bytes().unwrap(), "hello Ann");
    /// # Ok::<(), workerman_protocol::http::Error>(())
    /// ```
    pub fn builder(method: impl TryInto<Method>, target: impl Into<String>) -> RequestBuilder {
        RequestBuilder {
            method: method.try_into().ok(),
            target: target.into(),
            version: Version::Http11,
            headers: Headers::new(),
            body: Body::empty(),
            remote: None,
            params: Vec::new(),
            error: None,
        }
    }
}

impl RequestBuilder {
    /// The version; HTTP/1.1 if nothing is said.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sets a field: every older value of it is replaced.
    pub fn header(self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        self.field(name, value, Headers::insert)
    }

    /// Adds a field behind those that are there.
    pub fn append(self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        self.field(name, value, Headers::append)
    }

    fn field(
        mut self,
        name: impl TryInto<HeaderName>,
        value: impl TryInto<HeaderValue>,
        put: impl FnOnce(&mut Headers, HeaderName, HeaderValue),
    ) -> Self {
        let error = match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(_)) if name == CONTENT_LENGTH || name == TRANSFER_ENCODING => {
                Error::Field { name: name.to_string().into(), reason: "it follows from the body" }
            }
            (Ok(name), Ok(value)) => {
                put(&mut self.headers, name, value);
                return self;
            }
            (Ok(name), Err(_)) => {
                Error::Field { name: name.to_string().into(), reason: "its value has a forbidden character" }
            }
            (Err(_), _) => Error::Field { name: "?".into(), reason: "its name is not a token" },
        };
        self.error.get_or_insert(error);
        self
    }

    /// The body: framed by its length if that is known, else in chunks.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// A body of JSON, with its content type.
    #[cfg(feature = "serde")]
    pub fn json(mut self, value: &(impl serde::Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(text) => {
                self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                self.body(text)
            }
            Err(_) => {
                self.error.get_or_insert(Error::Message("the value has no form in JSON"));
                self
            }
        }
    }

    /// A form as the body, with its content type.
    pub fn form<N: AsRef<str>, V: AsRef<str>>(mut self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.body(text)
    }

    /// The address of the client.
    pub fn remote(mut self, remote: SocketAddr) -> Self {
        self.remote = Some(remote);
        self
    }

    /// A part of the path that a route has a name for.
    pub fn param(mut self, name: impl Into<Box<str>>, value: impl Into<String>) -> Self {
        self.params.push((name.into(), value.into()));
        self
    }

    /// Makes the request.
    ///
    /// # Errors
    /// No server would take it: method, target or a field break a rule.
    pub fn build(self) -> Result<Request, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let method = self.method.ok_or(Error::Message("the method is not a token"))?;
        // It must not look like more than a target.
        if self.target.bytes().any(|byte| byte <= b' ') {
            return Err(Error::Message("the target has a forbidden character"));
        }
        let bytes = write(&method, &self.target, self.version, &self.headers, &self.body);
        // Exactly as much as was written: the limits are those of a server.
        let limits = Limits { line: bytes.len(), head: bytes.len(), fields: self.headers.len() + 2 };
        let parsed = match parse(&bytes, &limits) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Err(Error::Message("the head is incomplete")),
            Err(refusal) => {
                return Err(Error::Refused { status: refusal.status, reason: refusal.reason });
            }
        };
        let mut request = Request::new(parsed.into_head(&bytes, None), self.body, 0);
        for (name, value) in self.params {
            request.set_param(name, value);
        }
        if let Some(remote) = self.remote {
            request.set_remote(remote);
        }
        Ok(request)
    }
}

fn write(method: &Method, target: &str, version: Version, headers: &Headers, body: &Body) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(256);
    bytes.put_slice(format!("{method} {target} {version}\r\n").as_bytes());
    if version == Version::Http11 && !headers.contains(HOST) {
        // RFC 9112 section 3.2.3: the authority of the target, for a tunnel.
        let host = if *method == Method::CONNECT { target } else { "localhost" };
        bytes.put_slice(format!("host: {host}\r\n").as_bytes());
    }
    for (name, value) in headers.iter() {
        bytes.put_slice(name.as_str().as_bytes());
        bytes.put_slice(b": ");
        bytes.put_slice(value.as_bytes());
        bytes.put_slice(b"\r\n");
    }
    match body.len() {
        Some(0) => {}
        Some(length) => bytes.put_slice(format!("content-length: {length}\r\n").as_bytes()),
        None => bytes.put_slice(b"transfer-encoding: chunked\r\n"),
    }
    bytes.put_slice(b"\r\n");
    bytes
}
