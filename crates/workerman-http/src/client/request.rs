//! A request that is put together.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;
use workerman_protocol::http::{Body, Error as HttpError, Headers};

use super::origin::{basic, parse};
use super::pool::Pool;
use super::response::offer_codings;
use super::send::{Outgoing, Payload, send};
use super::{Error, Response};

/// What stays as it is in a name or value of a query: unreserved characters (RFC 3986 section 2.3).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request of an [`Agent`](super::Agent), sent by [`send`](Self::send).
///
/// A mistake (a field with a line break, a URL that is none) is told by `send`; the first one counts.
#[must_use = "nothing is sent before `send`"]
pub struct RequestBuilder {
    pool: Arc<Pool>,
    method: Method,
    url: Result<Uri, Error>,
    headers: Headers,
    query: String,
    body: Body,
    /// The request's own, if it has one.
    timeout: Option<Option<Duration>>,
    error: Option<Error>,
}

impl RequestBuilder {
    pub(super) fn new(pool: Arc<Pool>, method: impl TryInto<Method>, url: &str) -> Self {
        let mut request = Self {
            pool,
            method: Method::GET,
            url: parse(url),
            headers: Headers::new(),
            query: String::new(),
            body: Body::empty(),
            timeout: None,
            error: None,
        };
        match method.try_into() {
            Ok(Method::CONNECT) => {
                request.spoil(Error::Request(HttpError::Message("a pool of connections makes no tunnels")));
            }
            Ok(method) => request.method = method,
            Err(_) => request.spoil(Error::Request(HttpError::Message("the method is not a token"))),
        }
        request
    }

    fn spoil(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// Sets a field; every older value of it is replaced.
    pub fn header(self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        self.field(name, value, Headers::insert)
    }

    /// Adds a field behind those that are there, of the same name or not.
    pub fn append(self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        self.field(name, value, Headers::append)
    }

    fn field(
        mut self,
        name: impl TryInto<HeaderName>,
        value: impl TryInto<HeaderValue>,
        put: impl FnOnce(&mut Headers, HeaderName, HeaderValue),
    ) -> Self {
        let bad = |name: String, reason| Error::Request(HttpError::Field { name: name.into(), reason });
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => put(&mut self.headers, name, value),
            (Ok(name), Err(_)) => {
                self.spoil(bad(name.to_string(), "its value has a forbidden character"));
            }
            (Err(_), _) => self.spoil(bad("?".to_owned(), "its name is not a token")),
        }
        self
    }

    /// Basic authentication (RFC 7617).
    pub fn basic_auth(mut self, user: impl AsRef<str>, password: impl AsRef<str>) -> Self {
        self.headers.insert(AUTHORIZATION, basic(user.as_ref().as_bytes(), password.as_ref().as_bytes()));
        self
    }

    /// A bearer token (RFC 6750).
    pub fn bearer_auth(self, token: impl AsRef<str>) -> Self {
        let value = HeaderValue::try_from(format!("Bearer {}", token.as_ref())).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        match value {
            Ok(value) => self.header(AUTHORIZATION, value),
            // Told as any other bad value.
            Err(_) => self.header(AUTHORIZATION, "\n"),
        }
    }

    /// Adds a name and a value to the query, encoded.
    pub fn query_pair(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query.extend(utf8_percent_encode(name.as_ref(), QUERY));
        self.query.push('=');
        self.query.extend(utf8_percent_encode(value.as_ref(), QUERY));
        self
    }

    /// The body: text, bytes, or a [stream](Body::stream), which is sent as fast as the server takes it.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// A form of pairs as the body, and its content type.
    pub fn form_pairs<N: AsRef<str>, V: AsRef<str>>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut form = String::new();
        for (name, value) in pairs {
            if !form.is_empty() {
                form.push('&');
            }
            form.extend(utf8_percent_encode(name.as_ref(), QUERY));
            form.push('=');
            form.extend(utf8_percent_encode(value.as_ref(), QUERY));
        }
        self.typed("application/x-www-form-urlencoded", form)
    }

    /// Adds a value to the query: a struct, a map, a list of pairs.
    #[cfg(feature = "serde")]
    pub fn query<T: serde::Serialize + ?Sized>(mut self, values: &T) -> Self {
        match serde_urlencoded::to_string(values) {
            Ok(encoded) if encoded.is_empty() => {}
            Ok(encoded) => {
                if !self.query.is_empty() {
                    self.query.push('&');
                }
                self.query.push_str(&encoded);
            }
            Err(error) => self.spoil(Error::Encode(error.into())),
        }
        self
    }

    /// A form as the body, of a struct, a map or a list of pairs, and its content type.
    #[cfg(feature = "serde")]
    pub fn form<T: serde::Serialize + ?Sized>(mut self, values: &T) -> Self {
        match serde_urlencoded::to_string(values) {
            Ok(form) => return self.typed("application/x-www-form-urlencoded", form),
            Err(error) => self.spoil(Error::Encode(error.into())),
        }
        self
    }

    /// A value as JSON as the body, and its content type.
    #[cfg(feature = "serde")]
    pub fn json<T: serde::Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => return self.typed("application/json", json),
            Err(error) => self.spoil(Error::Encode(error.into())),
        }
        self
    }

    fn typed(mut self, content_type: &'static str, body: impl Into<Body>) -> Self {
        if !self.headers.contains(CONTENT_TYPE) {
            self.headers.append(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        self.body(body)
    }

    /// How long all of it may take, in place of the [agent's](super::AgentBuilder::timeout); `None` for ever.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = Some(timeout.into());
        self
    }

    /// Sends the request; the response is there when its head is.
    ///
    /// Dropped before, it takes the connection along: the server sees the end of it.
    ///
    /// # Errors
    /// The request cannot be sent, no connection can be had, the server does not answer, or not in HTTP, or not in
    /// time. A status of 400 or more is none; see [`Response::error_for_status`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with a timer.
    pub async fn send(self) -> Result<Response, Error> {
        let mut uri = self.url?;
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.query.is_empty() {
            uri = with_query(&uri, &self.query)?;
        }
        let settings = &self.pool.settings;
        let mut headers = self.headers;
        for (name, value) in settings.headers.iter() {
            if !headers.contains(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        if headers.contains(UPGRADE) {
            // The connection would be another protocol's, and here it is the pool's.
            let reason = "a pool of connections makes no upgrades";
            return Err(Error::Request(HttpError::Message(reason)));
        }
        let offered = offer_codings(&mut headers, settings);
        let deadline = self.timeout.unwrap_or(settings.timeout);
        let deadline = deadline.and_then(|timeout| Instant::now().checked_add(timeout));
        let body = Payload::new(self.body);
        let mut request = Outgoing { method: self.method, uri, headers, body, offered };
        request.authorize();
        send(&self.pool, request, deadline).await
    }
}

/// The URL with more behind its query.
fn with_query(uri: &Uri, more: &str) -> Result<Uri, Error> {
    let query = match uri.query() {
        None | Some("") => more.to_owned(),
        Some(query) => format!("{query}&{more}"),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = format!("{}?{query}", uri.path()).parse().ok();
    let bad = || Error::Url { url: uri.to_string(), reason: "its query is too long" };
    if parts.path_and_query.is_none() {
        return Err(bad());
    }
    Uri::from_parts(parts).map_err(|_| bad())
}

impl std::fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
