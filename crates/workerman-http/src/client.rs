//! A client that keeps its connections: pool, redirects, timeouts, streamed bodies both ways.
//!
//! ```no_run
//! use workerman_connection::Client;
//! use workerman_http::client::ClientHttp;
//!
//! # async fn run() -> Result<(), workerman_http::client::Error> {
//! let http = Client::http();
//! let page = http.get("http://example.com/").send().await?.error_for_status()?.text().await?;
//! # let _ = page; Ok(()) }
//! ```
//!
//! An [`Agent`] is a cheap handle: clone it, keep it, use it from any thread whose tokio runtime has a timer (that of
//! `workerman::block_on` has). Its connections live on the event loop of the thread that asked for them, or, where there
//! is none, on the loop that all such clients of the program share.
//!
//! # How a request becomes a connection
//! Each origin (scheme, host, port) has a pool: the connection that became idle last is taken; if there is none, a new
//! one is made, up to a bound; beyond it requests wait in line, up to another bound. A connection is put back when both
//! directions of an exchange are through and nothing forbids it. A request whose future is dropped takes its connection
//! along; a response that is dropped before its end does so if more than 64 KiB are left of it.
//!
//! # What is sent twice, and what is not
//! A server may close an idle connection in the moment in which a request leaves. So a request is sent a second time,
//! on a new connection, if it is idempotent (RFC 9110 section 9.2.2), its body can be had again, the first went to a
//! connection that had been used before, and not one byte came back.
//!
//! # Time
//! Three timeouts: to connect (30 s), for the server to make progress (30 s), and for all of it (30 s): from
//! [`send`](RequestBuilder::send) to the end of [`bytes`](Response::bytes), [`text`](Response::text) or
//! [`json`](Response::json), redirects included. A body that is read piece by piece has left the last one behind with
//! its head: streams may take as long as they go on.

mod error;
mod line;
mod origin;
mod pool;
mod redirect;
mod request;
mod resolve;
mod response;
mod send;
mod settings;

use std::sync::Arc;

use http::Method;
use workerman_protocol::http::HttpClient;

pub use self::error::{Error, Timeout};
use self::pool::Pool;
pub use self::request::RequestBuilder;
pub use self::response::Response;
pub use self::settings::AgentBuilder;

/// An HTTP client with a pool of connections; see the [module](self).
///
/// Clones share the pool. When the last one is gone, idle connections are closed; responses that are still read go on.
#[derive(Clone)]
pub struct Agent {
    pool: Arc<Pool>,
}

impl Agent {
    /// A client with the default settings.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// The settings of a client, to be changed.
    pub fn builder() -> AgentBuilder {
        AgentBuilder::default()
    }

    /// A GET request.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A HEAD request: the head of what GET would give.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A POST request.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A PUT request.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A PATCH request.
    pub fn patch(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A request with any method but CONNECT; a method or URL that is none is told by
    /// [`send`](RequestBuilder::send).
    ///
    /// User name and password in the URL become basic authentication.
    pub fn request(&self, method: impl TryInto<Method>, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(Arc::clone(&self.pool), method, url.as_ref())
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").finish_non_exhaustive()
    }
}

/// [`Client::http`](Self::http): an [`Agent`] where the other protocols have their clients.
pub trait ClientHttp {
    /// An HTTP client with a pool of connections.
    #[must_use]
    fn http() -> Agent {
        Agent::new()
    }

    /// The settings of such a client, to be changed.
    fn http_builder() -> AgentBuilder {
        Agent::builder()
    }
}

/// For this one alone, so that `Client::http()` says all there is to be said.
impl ClientHttp for workerman_connection::Client<HttpClient> {}
