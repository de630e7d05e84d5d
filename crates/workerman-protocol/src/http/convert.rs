//! What becomes a response, and the way between our messages and those of the `http` crate.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Body, Error, Request, Response, Version};

/// What the targets of the `http` crate may not have, while those of requests do.
const NOT_IN_URI: &AsciiSet =
    &CONTROLS.add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

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

impl From<Cow<'static, str>> for Response {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<Bytes> for Response {
    fn from(bytes: Bytes) -> Self {
        Self::bytes(bytes)
    }
}

impl From<BytesMut> for Response {
    fn from(bytes: BytesMut) -> Self {
        Self::bytes(bytes)
    }
}

impl From<Vec<u8>> for Response {
    fn from(bytes: Vec<u8>) -> Self {
        Self::bytes(bytes)
    }
}

impl From<&'static [u8]> for Response {
    fn from(bytes: &'static [u8]) -> Self {
        Self::bytes(bytes)
    }
}

impl From<Body> for Response {
    fn from(body: Body) -> Self {
        Self::bytes(body)
    }
}

#[cfg(feature = "serde")]
impl From<serde_json::Value> for Response {
    fn from(value: serde_json::Value) -> Self {
        Self::json(value)
    }
}

/// A response with another status.
impl<T: Into<Response>> From<(StatusCode, T)> for Response {
    fn from((status, response): (StatusCode, T)) -> Self {
        response.into().with_status(status)
    }
}

/// For handlers whose error is an answer as well: `?` makes one of a [`BadRequest`](super::BadRequest).
impl<T: Into<Response>> From<Result<T, Response>> for Response {
    fn from(result: Result<T, Response>) -> Self {
        result.map_or_else(|response| response, Into::into)
    }
}

impl<B: Into<Body>> From<http::Response<B>> for Response {
    /// Takes status, fields and body over; what the message has of extensions is lost, as is its version.
    fn from(response: http::Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        let mut response = Self::new(parts.status).body(body);
        *response.headers_mut() = parts.headers.into();
        // The framing follows from the body.
        response.headers_mut().remove(TRANSFER_ENCODING);
        response
    }
}

impl Response {
    /// The response as one of the `http` crate.
    ///
    /// # Errors
    /// A mistake was made in [building](Self::error) it.
    pub fn into_http(mut self) -> Result<http::Response<Body>, Error> {
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        let headers: HeaderMap = std::mem::take(self.headers_mut()).into();
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = self.status();
        *response.version_mut() = self.version().map_or(http::Version::HTTP_11, Into::into);
        *response.headers_mut() = headers;
        *response.body_mut() = self.into_body();
        Ok(response)
    }
}

impl TryFrom<Response> for http::Response<Body> {
    type Error = Error;

    fn try_from(response: Response) -> Result<Self, Error> {
        response.into_http()
    }
}

impl From<Version> for http::Version {
    fn from(version: Version) -> Self {
        match version {
            Version::Http10 => Self::HTTP_10,
            Version::Http11 => Self::HTTP_11,
        }
    }
}

impl Request {
    /// The request as one of the `http` crate, for services that are written for it.
    ///
    /// Its extensions come along, and the client's address as a [`SocketAddr`] among them. Take the
    /// [token](Self::reply) first if the answer comes later.
    ///
    /// # Errors
    /// The target is none that an [`http::Uri`] can be: one of more than 64 KiB.
    ///
    /// # Examples
    /// ```
    /// use workerman_protocol::http::Request;
    /// let request = Request::builder("POST", "/a?b").header("x-kind", "one").body("hi").build()?;
    /// let request = request.into_http()?;
    /// assert_eq!((request.uri().path(), request.uri().query()), ("/a", Some("b")));
    /// assert_eq!(request.headers()["x-kind"], "one");
    /// # Ok::<(), workerman_protocol::http::Error>(())
    /// ```
    pub fn into_http(mut self) -> Result<http::Request<Body>, Error> {
        let mut request = http::Request::new(Body::empty());
        *request.method_mut() = self.method().clone();
        *request.uri_mut() = uri(self.target())?;
        *request.version_mut() = self.version().into();
        let headers = request.headers_mut();
        for (name, value) in self.fields() {
            let broken = |_| Error::Message("a field that the http crate does not take");
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken(()))?;
            headers.append(name, HeaderValue::from_bytes(value).map_err(|_| broken(()))?);
        }
        if let Some(extensions) = self.take_extensions() {
            *request.extensions_mut() = extensions;
        }
        if let Some(remote) = self.remote() {
            request.extensions_mut().insert::<SocketAddr>(remote);
        }
        *request.body_mut() = self.into_body();
        Ok(request)
    }
}

/// Some characters that requests may have in their targets, a `Uri` may not: they are encoded.
fn uri(target: &str) -> Result<Uri, Error> {
    let encoded = || utf8_percent_encode(target, NOT_IN_URI).to_string().parse();
    target
        .parse()
        .or_else(|_| encoded())
        .map_err(|_| Error::Message("the target is no URI of the http crate"))
}

impl TryFrom<Request> for http::Request<Body> {
    type Error = Error;

    fn try_from(request: Request) -> Result<Self, Error> {
        request.into_http()
    }
}

impl<B: Into<Body>> TryFrom<http::Request<B>> for Request {
    type Error = Error;

    /// Reads a message of the `http` crate as if a client had sent it: by the rules of the server, in HTTP/1.1 or 1.0.
    /// Its extensions come along; a [`SocketAddr`] among them is the client's address.
    fn try_from(request: http::Request<B>) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let target = match parts.uri.path_and_query() {
            Some(path) => path.as_str(),
            None => authority.unwrap_or("/"),
        };
        let mut builder = Self::builder(parts.method, target).body(body);
        if parts.version == http::Version::HTTP_10 {
            builder = builder.version(Version::Http10);
        }
        if let (Some(authority), false) = (authority, parts.headers.contains_key(HOST)) {
            // RFC 9110 section 7.2: without what HTTP does not know, user and password.
            builder = builder.header(HOST, authority.rsplit('@').next().unwrap_or(authority));
        }
        for (name, value) in &parts.headers {
            // The framing follows from the body.
            if name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
                builder = builder.append(name, value);
            }
        }
        let mut request = builder.build()?;
        if let Some(remote) = parts.extensions.get::<SocketAddr>() {
            request.set_remote(*remote);
        }
        if !parts.extensions.is_empty() {
            *request.extensions_mut() = parts.extensions;
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;

    use super::*;

    #[test]
    fn natural_types_are_responses() {
        let kind = |response: Response| {
            let body = String::from_utf8(response.body_ref().as_bytes().unwrap().to_vec()).unwrap();
            (response.status().as_u16(), response.content_type().map(str::to_owned), body)
        };
        let page = |body: &str| (200, Some("text/html; charset=utf-8".to_owned()), body.to_owned());
        let octets = |body: &str| (200, Some("application/octet-stream".to_owned()), body.to_owned());
        assert_eq!(kind("a".into()), page("a"));
        assert_eq!(kind(String::from("a").into()), page("a"));
        assert_eq!(kind(Cow::Borrowed("a").into()), page("a"));
        assert_eq!(kind(Cow::<str>::Owned("a".into()).into()), page("a"));
        assert_eq!(kind(Bytes::from("a").into()), octets("a"));
        assert_eq!(kind(b"a"[..].into()), octets("a"));
        assert_eq!(kind(vec![b'a'].into()), octets("a"));
        assert_eq!(kind(Body::from("a").into()), octets("a"));
        assert_eq!(kind(StatusCode::GONE.into()), (410, None, String::new()));
        assert_eq!(kind((StatusCode::CREATED, "a").into()).0, 201);
        let result = |ok: bool| if ok { Ok("a") } else { Err(Response::not_found()) };
        assert_eq!(kind(result(true).into()), page("a"));
        assert_eq!(kind(result(false).into()).0, 404);
        #[cfg(feature = "serde")]
        assert_eq!(kind(serde_json::json!({"a": 1}).into()).2, r#"{"a":1}"#);
    }

    #[test]
    fn a_response_goes_both_ways() {
        let ours = Response::text("hi").with_status(201u16).append("x-a", "1").append("x-a", "2");
        let theirs = ours.into_http().unwrap();
        assert_eq!((theirs.status().as_u16(), theirs.version()), (201, http::Version::HTTP_11));
        assert_eq!(theirs.headers()["content-type"], "text/plain; charset=utf-8");
        let ours = Response::from(theirs);
        assert_eq!(ours.headers().get_all("x-a").count(), 2);
        assert_eq!(ours.content_type(), Some("text/plain; charset=utf-8"));
        assert_eq!(ours.body_ref().as_bytes().unwrap(), "hi");
        assert!(Response::text("").header("a", "b\r\n").into_http().is_err());
    }

    #[test]
    fn a_request_goes_both_ways() {
        let mut ours = Request::builder("POST", "/a{b}?c=%20|")
            .header("host", "a.b:1")
            .append("x-a", "1")
            .append("x-a", b"\xff".as_slice())
            .body("hi")
            .remote(([127, 0, 0, 1], 9).into())
            .build()
            .unwrap();
        ours.extensions_mut().insert(7u8);
        let theirs = http::Request::try_from(ours).unwrap();
        // A brace may have been encoded on the way.
        assert_eq!(percent_decode_str(&theirs.uri().to_string()).decode_utf8().unwrap(), "/a{b}?c= |");
        assert_eq!(theirs.headers()["content-length"], "2");
        assert_eq!(theirs.extensions().get(), Some(&7u8));
        let ours = Request::try_from(theirs).unwrap();
        assert_eq!((ours.host(), ours.content_length()), (Some("a.b:1"), Some(2)));
        assert_eq!(ours.fields().filter(|(name, _)| *name == "x-a").count(), 2);
        assert_eq!(ours.remote().map(|remote| remote.port()), Some(9));
        assert_eq!(ours.extensions().and_then(|extensions| extensions.get()), Some(&7u8));
    }

    #[test]
    fn every_form_of_a_target_is_converted() {
        for (method, target) in
            [("OPTIONS", "*"), ("CONNECT", "a.b:443"), ("GET", "/"), ("GET", "http://a.b/c?d")]
        {
            let ours = Request::builder(method, target).build().unwrap();
            let theirs = ours.into_http().unwrap();
            assert_eq!((theirs.method().as_str(), theirs.uri().to_string().as_str()), (method, target));
            let ours = Request::try_from(theirs).unwrap();
            assert!(target.ends_with(ours.target()), "{target} became {}", ours.target());
        }
        let foreign = http::Request::get("http://user@a.b/c").body(()).unwrap();
        let ours = Request::try_from(foreign).unwrap();
        assert_eq!((ours.host(), ours.target()), (Some("a.b"), "/c"));
        let long = format!("/{}", "a".repeat(70_000));
        assert!(Request::builder("GET", long).build().unwrap().into_http().is_err());
    }
}
