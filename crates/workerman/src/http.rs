//! HTTP/1.1: the worker's constructor and settings; the types are those of `workerman-protocol` and `workerman-http`.

mod table;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

pub use workerman_http::*;
pub use workerman_protocol::http::*;

use crate::{Settings, Worker};

/// How long a connection may be silent between requests: 75 s.
const IDLE: Duration = Duration::from_secs(75);

/// How long a client may take nothing of an answer: 5 minutes.
///
/// The system tells of room only when a good part of its own buffer, which may be megabytes, is free again: a client that
/// reads steadily and slowly must not be taken for one that has stopped.
const SLOW_READER: Duration = Duration::from_secs(300);

/// How long a refused client may be silent that is listened to, so that it gets the refusal and no reset: 5 s.
const LINGER: Duration = Duration::from_secs(5);

impl Worker<Http> {
    /// A worker for HTTP/1.1.
    ///
    /// The handler of a request returns its response, or anything that is one ([`Response`] says what), a `Result` of it
    /// (an error becomes a 500 without its text, or a 4xx if it is one of the request's), or nothing, if it keeps the right to answer later ([`Request::reply`]).
    /// Silent connections are closed after 75 s ([`idle_timeout`](Self::idle_timeout)), and those of clients that take
    /// nothing of their answer after 5 minutes ([`Settings::write_timeout`]); one that is refused while it sends is
    /// listened to until it is silent for 5 s ([`Settings::linger`]), for at most 30 s.
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
        let settings = Settings {
            idle_timeout: Some(IDLE),
            write_timeout: Some(SLOW_READER),
            linger: LINGER,
            ..Settings::default()
        };
        Self::of(&["http", "tcp"], move || http.clone()).also(address).settings(settings)
    }

    /// Decides about each request before its body: collect it, stream it, or answer at once; see
    /// [`Http::on_request_head`].
    pub fn on_request_head(self, admit: impl Fn(&RequestHead) -> Admission + Send + Sync + 'static) -> Self {
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

    /// Compresses answers as clients like it; default no; see [`Http::compress`].
    pub fn compress(self, settings: coding::Compression) -> Self {
        self.configure(|http| http.compress(settings))
    }

    /// Whether each request and its answer are told as an event of `tracing`: level INFO, target `workerman::access`;
    /// default no.
    ///
    /// Its fields: method, target, version, status, bytes of the answer's body, microseconds from the end of the
    /// request's head to the end of the answer, remote address, id.
    pub fn access_log(self, on: bool) -> Self {
        self.configure(|http| if on { http.on_access(log) } else { http.on_access(|_| {}) })
    }

    /// Whether each request has an id, which its answer carries as `X-Request-Id`; default no; see [`Http::request_id`].
    pub fn request_id(self, on: bool) -> Self {
        self.configure(|http| http.request_id(on))
    }
}

/// A tick every so often, from the first poll on; to keep streams of events alive ([`sse::keep_alive`]).
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
/// use workerman::http::{every, sse};
/// use workerman::prelude::*;
///
/// # fn main() -> workerman::Result<()> {
/// Worker::http(":2345")
///     .on_message(|_, _| {
///         let (sender, events) = sse::channel(16);
///         let _ = sender.try_send("welcome");
///         // `sender` goes to whoever has something to tell.
///         # drop(sender);
///         Response::events(sse::keep_alive(events, every(Duration::from_secs(15))))
///     })
///     .run()
/// # }
/// ```
pub fn every(period: Duration) -> Ticks {
    Ticks { period: period.max(Duration::from_millis(1)), next: None }
}

/// Ticks of a period; see [`every`].
#[derive(Debug)]
pub struct Ticks {
    period: Duration,
    next: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Stream for Ticks {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let period = self.period;
        // Made at the first poll: only then there is a runtime for certain.
        let next = self.next.get_or_insert_with(|| Box::pin(tokio::time::sleep(period)));
        std::task::ready!(next.as_mut().poll(cx));
        let at = next.deadline() + period;
        next.as_mut().reset(at);
        Poll::Ready(Some(()))
    }
}

/// One line of the access log.
fn log(access: &Access<'_>) {
    tracing::info!(
        target: "workerman::access",
        method = access.method.map_or("-", |method| method.as_str()),
        request = access.target,
        version = access.version.map(tracing::field::display),
        status = access.status.map_or(0, |status| status.as_u16()),
        bytes = access.body,
        micros = u64::try_from(access.time.as_micros()).unwrap_or(u64::MAX),
        remote = access.remote.map(tracing::field::display),
        id = access.id,
    );
}
