//! HTTP/1.1: the worker's constructor and settings; the types are those of `workerman-protocol` and `workerman-http`.

use std::time::Duration;

pub use workerman_http::*;
pub use workerman_protocol::http::*;

use crate::Worker;

/// How long a connection may be silent between requests: 75 s.
const IDLE: Duration = Duration::from_secs(75);

impl Worker<Http> {
    /// A worker for HTTP/1.1.
    ///
    /// The handler of a request returns its response, or anything that is one ([`Response`] says what), a `Result` of it
    /// (an error becomes a 500 without its text), or nothing, if it keeps the right to answer later ([`Request::reply`]).
    /// Silent connections are closed after 75 s ([`idle_timeout`](Self::idle_timeout)).
    ///
    /// # Examples
    /// ```no_run
    /// use workerman::prelude::*;
    ///
    /// # fn main() -> workerman::Result<()> {
    /// Worker::http("0.0.0.0:2345")
    ///     .on_message(|_, request| Response::text(format!("you asked for {}", request.path())))
    ///     .run()
    /// # }
    /// ```
    pub fn http(address: impl AsRef<str>) -> Self {
        let http = Http::new();
        Self::of(&["http", "tcp"], move || http.clone()).also(address).idle_timeout(IDLE)
    }

    /// Decides about each request before its body: collect it, stream it, or answer at once; see
    /// [`Http::on_request_head`].
    pub fn on_request_head(
        self,
        admit: impl Fn(&RequestHead) -> Admission + Send + Sync + 'static,
    ) -> Self {
        self.configure(|http| http.on_request_head(admit))
    }

    /// How many requests of a connection may be in flight; default 1; see [`Http::pipeline`].
    pub fn pipeline(self, requests: usize) -> Self {
        self.configure(|http| http.pipeline(requests))
    }

    /// Most bytes of a body that is collected in memory; default 10 MiB; see [`Http::max_body`].
    pub fn max_body(self, bytes: usize) -> Self {
        self.configure(|http| http.max_body(bytes))
    }

    /// The `Server` field of each answer; default none; see [`Http::server`].
    ///
    /// # Panics
    /// If the name has characters that a field value cannot have.
    pub fn server(self, name: &str) -> Self {
        self.configure(|http| http.server(name))
    }
}
