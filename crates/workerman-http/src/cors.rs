//! Requests of pages from other origins: the server's side of the CORS protocol of the Fetch standard.
//!
//! A browser lets a page of one origin read the response of another only if that response says so, and asks first (a
//! *preflight*) whether it may send what a form could not send. [`Cors`] says it.
//!
//! This protects users of browsers, not the server: other clients ignore it, and a request that needs no preflight
//! has its effect whatever the answer says.
//!
//! # Examples
//! ```
//! use std::time::Duration;
//! use workerman_http::cors::Cors;
//! use workerman_protocol::http::{Method, Request, Response};
//!
//! let cors = Cors::origins(["https://example.com"])
//!     .methods([Method::GET, Method::PUT])
//!     .headers(["content-type"])
//!     .max_age(Duration::from_secs(600))
//!     .build()?;
//!
//! let handle = |request: Request| -> Response {
//!     if let Some(response) = cors.preflight(request.head()) {
//!         return response;
//!     }
//!     let grant = cors.grant(request.head());
//!     grant.apply(Response::text("hello"))
//! };
//! let request = Request::builder("GET", "/").header("origin", "https://example.com").build()?;
//! let response = handle(request);
//! assert_eq!(response.headers().get_str("access-control-allow-origin"), Some("https://example.com"));
//! assert_eq!(response.headers().get_str("vary"), Some("origin"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use workerman_protocol::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, VARY,
};
use workerman_protocol::http::{HeaderName, HeaderValue, Method, RequestHead, Response, StatusCode};

/// Which pages of other origins may use a server; see the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Cors {
    policy: Arc<Policy>,
}

struct Policy {
    origins: Origins,
    methods: Option<HeaderValue>,
    headers: Headers,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<HeaderValue>,
}

enum Origins {
    Any,
    List(Vec<String>),
    Matching(Box<dyn Fn(&str) -> bool + Send + Sync>),
}

enum Headers {
    List(Option<HeaderValue>),
    /// Whatever is asked for.
    Any,
}

/// Why a policy cannot be built.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorsError {
    /// What any page may see must not depend on who its user is: the standard forbids it.
    #[error("credentials cannot be allowed to every origin: list the origins")]
    CredentialsForAny,
    /// Not as a browser writes an origin.
    #[error(
        "{origin} is not an origin: it is a scheme, `://`, a host and perhaps a port, without a path, or `null`"
    )]
    Origin {
        /// As it was given.
        origin: String,
    },
    /// Not the name of a header field.
    #[error("{name} is not the name of a header field")]
    Header {
        /// As it was given.
        name: String,
    },
}

impl Cors {
    /// Every page may use the server, but never with cookies.
    pub fn any() -> CorsBuilder {
        CorsBuilder::new(Origins::Any)
    }

    /// Pages of these origins may use the server, like `https://example.com` or `http://localhost:8080`.
    pub fn origins<O: Into<String>>(origins: impl IntoIterator<Item = O>) -> CorsBuilder {
        CorsBuilder::new(Origins::List(origins.into_iter().map(Into::into).collect()))
    }

    /// Pages of those origins may use the server for which the closure says yes.
    ///
    /// It gets the origin as the browser sends it, in lower case. `null` is what a page from a file or in a sandbox
    /// sends, whoever wrote it.
    pub fn matching(matches: impl Fn(&str) -> bool + Send + Sync + 'static) -> CorsBuilder {
        CorsBuilder::new(Origins::Matching(Box::new(matches)))
    }

    /// The answer to a preflight, or `None` if the request is none.
    ///
    /// It is a 204, or without any field of the protocol a 403 if the origin may not use the server (which is what the
    /// standard encourages).
    pub fn preflight(&self, head: &RequestHead) -> Option<Response> {
        Self::is_preflight(head).then(|| self.answer_preflight(head, || None))
    }

    /// Whether a request is a preflight: OPTIONS with the method that is meant.
    pub(crate) fn is_preflight(head: &RequestHead) -> bool {
        *head.method() == Method::OPTIONS
            && head.header_bytes("origin").is_some()
            && head.header_bytes("access-control-request-method").is_some()
    }

    /// Answers a preflight; `methods` is for a policy that has none.
    pub(crate) fn answer_preflight(
        &self,
        head: &RequestHead,
        methods: impl FnOnce() -> Option<String>,
    ) -> Response {
        let policy = &*self.policy;
        let grant = self.grant(head);
        let mut response = if grant.origin.is_some() {
            let mut response = Response::new(StatusCode::NO_CONTENT);
            if let Some(methods) = &policy.methods {
                response = response.header(ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
            } else if let Some(methods) = methods() {
                response = response.header(ACCESS_CONTROL_ALLOW_METHODS, methods);
            }
            match &policy.headers {
                Headers::List(Some(list)) => {
                    response = response.header(ACCESS_CONTROL_ALLOW_HEADERS, list.clone());
                }
                Headers::List(None) => {}
                Headers::Any => {
                    // Not `*`: that would not be `Authorization`, and with credentials nothing but a field of that name.
                    if let Some(asked) = asked_headers(head) {
                        response = response.header(ACCESS_CONTROL_ALLOW_HEADERS, asked);
                    }
                }
            }
            if let Some(age) = &policy.max_age {
                response = response.header(ACCESS_CONTROL_MAX_AGE, age.clone());
            }
            response
        } else {
            Response::new(StatusCode::FORBIDDEN)
        };
        response = grant.apply_to(response, false);
        if matches!(policy.headers, Headers::Any) {
            response = response.append(VARY, HeaderValue::from_static("access-control-request-headers"));
        }
        response
    }

    /// Looks at the origin of a request, so that its response can say whether that may read it.
    pub fn grant(&self, head: &RequestHead) -> Grant {
        let origin = match &self.policy.origins {
            // The same for all, so that a cache may keep one response, also of a request without an origin.
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::List(list) => {
                origin(head).filter(|origin| list.iter().any(|own| own == origin)).and_then(value)
            }
            Origins::Matching(matches) => origin(head).filter(|origin| matches(origin)).and_then(value),
        };
        Grant { policy: Arc::clone(&self.policy), origin }
    }
}

/// The origin of a request, in the form that browsers send; two are none.
fn origin(head: &RequestHead) -> Option<&str> {
    let mut all = head.fields().filter(|(name, _)| name.eq_ignore_ascii_case("origin"));
    let (_, only) = all.next()?;
    if all.next().is_some() {
        return None;
    }
    std::str::from_utf8(only).ok()
}

fn value(origin: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(origin).ok()
}

/// The fields that a preflight asks for, if they are names.
fn asked_headers(head: &RequestHead) -> Option<HeaderValue> {
    let asked = head.header("access-control-request-headers")?;
    let names = asked.split(',').map(|name| HeaderName::try_from(name.trim()));
    let names: Vec<HeaderName> = names.collect::<Result<_, _>>().ok()?;
    list(names.iter().map(HeaderName::as_str))
}

/// Names as the value of a field; `None` if there are none.
fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<HeaderValue> {
    let text = names.into_iter().collect::<Vec<_>>().join(", ");
    // Made of tokens, it is always a value.
    HeaderValue::try_from(text).ok().filter(|value| !value.is_empty())
}

/// What the response to one request will say about its origin.
#[must_use = "`apply` adds it to the response"]
pub struct Grant {
    policy: Arc<Policy>,
    /// What is allowed, if anything.
    origin: Option<HeaderValue>,
}

impl Grant {
    /// Whether the request's page may read the response.
    pub fn is_allowed(&self) -> bool {
        self.origin.is_some()
    }

    /// Adds the fields to a response; those of the handler's own are replaced.
    ///
    /// `Vary: origin` is there whenever the answer depends on the origin: also if the request had none, or another one,
    /// or else a cache would give this response to somebody else.
    pub fn apply(self, response: Response) -> Response {
        self.apply_to(response, true)
    }

    fn apply_to(self, mut response: Response, expose: bool) -> Response {
        for name in
            [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS]
        {
            response.headers_mut().remove(name);
        }
        let varies = !matches!(self.policy.origins, Origins::Any);
        if varies && !varies_by_origin(&response) {
            response = response.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = self.origin else { return response };
        response = response.header(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.policy.credentials {
            response = response.header(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(names) = self.policy.expose.clone().filter(|_| expose) {
            response = response.header(ACCESS_CONTROL_EXPOSE_HEADERS, names);
        }
        response
    }
}

fn varies_by_origin(response: &Response) -> bool {
    response
        .headers()
        .get_all(VARY)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| matches!(name.trim(), "*") || name.trim().eq_ignore_ascii_case("origin"))
}

/// Collects what pages may do; made by [`Cors::any`], [`Cors::origins`] and [`Cors::matching`].
#[must_use = "`build` makes the policy"]
pub struct CorsBuilder {
    origins: Origins,
    methods: Vec<Method>,
    headers: Option<Vec<String>>,
    expose: Vec<String>,
    credentials: bool,
    max_age: Option<Duration>,
}

impl CorsBuilder {
    fn new(origins: Origins) -> Self {
        Self {
            origins,
            methods: Vec::new(),
            headers: Some(Vec::new()),
            expose: Vec::new(),
            credentials: false,
            max_age: None,
        }
    }

    /// Methods that pages may use; GET, HEAD and POST are always allowed, which is also the default.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Fields that pages may send, beside those that any page may send; none by default.
    pub fn headers<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.headers = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Lets pages send any field.
    pub fn any_header(mut self) -> Self {
        self.headers = None;
        self
    }

    /// Fields of responses that pages may read, beside those that any page may read; none by default.
    pub fn expose<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.expose = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether pages may send cookies, and read what comes for them; by default they may not.
    pub fn credentials(mut self, allow: bool) -> Self {
        self.credentials = allow;
        self
    }

    /// How long a browser may remember the answer to a preflight, in whole seconds; by default it decides (mostly 5 s).
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Builds the policy.
    ///
    /// # Errors
    /// Credentials for every origin; an origin or a name that is none.
    pub fn build(self) -> Result<Cors, CorsError> {
        let origins = match self.origins {
            Origins::Any if self.credentials => return Err(CorsError::CredentialsForAny),
            Origins::List(list) => {
                let list: Result<_, _> = list.into_iter().map(normal).collect();
                Origins::List(list?)
            }
            other => other,
        };
        let headers = match &self.headers {
            Some(list) => Headers::List(names(list)?),
            None => Headers::Any,
        };
        let policy = Policy {
            origins,
            methods: list(self.methods.iter().map(Method::as_str)),
            headers,
            expose: names(&self.expose)?,
            credentials: self.credentials,
            max_age: self.max_age.map(|age| age.as_secs().into()),
        };
        Ok(Cors { policy: Arc::new(policy) })
    }
}

/// An origin as browsers write it: in lower case, without the port that the scheme has anyway.
fn normal(origin: String) -> Result<String, CorsError> {
    let text = origin.to_ascii_lowercase();
    if text == "null" {
        return Ok(text);
    }
    let valid = text.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty()
            && !host.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_graphic())
            && !host.contains(['/', '?', '#', '@', '*', ','])
    });
    if !valid {
        return Err(CorsError::Origin { origin });
    }
    let without = match text.split_once("://") {
        Some(("http", _)) => text.strip_suffix(":80"),
        Some(("https", _)) => text.strip_suffix(":443"),
        _ => None,
    };
    Ok(without.unwrap_or(&text).to_owned())
}

fn names(names: &[String]) -> Result<Option<HeaderValue>, CorsError> {
    for name in names {
        HeaderName::try_from(name).map_err(|_| CorsError::Header { name: name.clone() })?;
    }
    Ok(list(names.iter().map(String::as_str)))
}

impl fmt::Debug for Cors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cors").field("credentials", &self.policy.credentials).finish_non_exhaustive()
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl fmt::Debug for CorsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CorsBuilder").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
