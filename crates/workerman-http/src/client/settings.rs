//! The bounds of an agent: data with defaults.

use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use workerman_protocol::http::{Headers, HttpClient};

use super::Agent;
use super::pool::Pool;

/// The settings of an [`Agent`]; each has a default.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use workerman_http::client::Agent;
/// let http = Agent::builder().timeout(Duration::from_secs(5)).max_redirects(0).build();
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is made before `build`"]
pub struct AgentBuilder {
    pub(super) max_connections: usize,
    pub(super) max_waiting: usize,
    pub(super) max_idle: usize,
    pub(super) idle_timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) read_timeout: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) max_redirects: usize,
    pub(super) max_body: usize,
    pub(super) decompress: bool,
    pub(super) headers: Headers,
    pub(super) codec: HttpClient,
}

impl Default for AgentBuilder {
    fn default() -> Self {
        let agent = HeaderValue::from_static(concat!("workerman/", env!("CARGO_PKG_VERSION")));
        Self {
            max_connections: 128,
            max_waiting: 1024,
            max_idle: 1024,
            idle_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(30),
            read_timeout: Some(Duration::from_secs(30)),
            timeout: Some(Duration::from_secs(30)),
            max_redirects: 5,
            max_body: 10 * 1024 * 1024,
            decompress: true,
            headers: [(USER_AGENT, agent)].into_iter().collect(),
            codec: HttpClient::new(),
        }
    }
}

impl AgentBuilder {
    /// Most connections to one origin, those that are being made included; default 128, at least 1.
    #[doc(alias = "max_conn_per_addr")]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// Most requests that wait for a connection to one origin; default 1024. The next is [`Error::Busy`](super::Error).
    pub fn max_waiting(mut self, requests: usize) -> Self {
        self.max_waiting = requests;
        self
    }

    /// Most idle connections to all origins together; default 1024. One more is closed when it becomes idle.
    pub fn max_idle(mut self, connections: usize) -> Self {
        self.max_idle = connections;
        self
    }

    /// How long an idle connection is kept; default 15 s.
    #[doc(alias = "keepalive_timeout")]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How long it may take to make a connection, name resolution included; default 30 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the server may make no progress: until its answer begins, and between two pieces of a body; also the
    /// whole time for the head of an answer. Default 30 s.
    pub fn read_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.read_timeout = timeout.into();
        self
    }

    /// How long a request may take, redirects and a body that is read as a whole included; default 30 s. A request can
    /// have [its own](super::RequestBuilder::timeout).
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Most redirects that are followed; default 5, and 0 for none: then a redirect is a response like any other.
    pub fn max_redirects(mut self, redirects: usize) -> Self {
        self.max_redirects = redirects;
        self
    }

    /// Most bytes of a body that is read as a whole, after decompression; default 10 MiB.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Whether to ask for compressed bodies and to decompress them; default yes, as far as the features `gzip`, `brotli`
    /// and `zstd` go.
    pub fn decompress(mut self, on: bool) -> Self {
        self.decompress = on;
        self
    }

    /// Asks before a streamed body is sent (`Expect: 100-continue`), and waits so long for the answer; default never.
    pub fn expect_continue(mut self, wait: Duration) -> Self {
        self.codec = self.codec.expect_continue(wait);
        self
    }

    /// Fields of every request that does not set them itself; default is a `User-Agent`.
    pub fn headers(mut self, headers: impl Into<Headers>) -> Self {
        self.headers = headers.into();
        self
    }

    /// The protocol of the connections, for its limits; each gets a clone.
    pub fn protocol(mut self, protocol: HttpClient) -> Self {
        self.codec = protocol;
        self
    }

    /// The client.
    pub fn build(self) -> Agent {
        Agent { pool: Pool::new(self) }
    }
}
