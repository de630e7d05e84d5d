//! The settings of a server's connections: shared by all of them, changed only while a worker is built.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

use super::super::chunked::ChunkLimits;
use super::super::coding::Compression;
use super::super::parse::Limits;
use super::super::{RequestHead, Response};
use super::access::OnAccess;
use super::pace::Rate;
use super::{Access, Http, Scan};

/// What becomes of a request whose head is complete and whose body has not been decoded.
#[derive(Debug)]
pub enum Admission {
    /// Its body is collected in memory, up to so many bytes (413 beyond), and it is handed out when it is complete.
    Buffer(usize),
    /// It is handed out at once; its body is read while it arrives.
    Stream,
    /// It is answered at once; its body is never kept.
    Reject(Response),
}

type OnRequestHead = Arc<dyn Fn(&RequestHead) -> Admission + Send + Sync>;

/// What all connections of a server share.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) limits: Limits,
    pub(super) chunks: ChunkLimits,
    pub(super) max_body: usize,
    pub(super) body_rate: Option<Rate>,
    pub(super) pipeline: usize,
    pub(super) max_requests: Option<u32>,
    pub(super) connect: bool,
    pub(super) on_request_head: Option<OnRequestHead>,
    pub(super) on_access: Option<OnAccess>,
    pub(super) request_id: bool,
    pub(super) compression: Option<Compression>,
    /// The front of a head with status 200, up to the date.
    pub(super) ok: Bytes,
    /// The `Server` line, if there is one, and the name of the date field.
    pub(super) date: Bytes,
}

impl Config {
    /// Whether anything is to be remembered of a request besides how to answer it.
    pub(super) fn records(&self) -> bool {
        self.request_id || self.on_access.is_some()
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Http {
    /// The same settings, for another connection.
    fn clone(&self) -> Self {
        Self::with(Arc::clone(&self.config))
    }
}

impl Http {
    /// The defaults: requests of up to 10 MiB in memory, one at a time.
    pub fn new() -> Self {
        let mut http = Self::with(Arc::new(Config {
            limits: Limits { line: 8 * 1024, head: 16 * 1024, fields: 100 },
            chunks: ChunkLimits { extensions: 16 * 1024, trailers: 16 * 1024, fields: 100 },
            max_body: crate::DEFAULT_MAX_MESSAGE,
            body_rate: Some(Rate { bytes: 240, grace: Duration::from_secs(30) }),
            pipeline: 1,
            max_requests: None,
            connect: false,
            on_request_head: None,
            on_access: None,
            request_id: false,
            compression: None,
            ok: Bytes::new(),
            date: Bytes::new(),
        }));
        http.constants(None);
        http
    }

    fn with(config: Arc<Config>) -> Self {
        Self { config, more: None, scan: Scan::default(), number: 0, front: None, unsent: 0, bits: 0 }
    }

    fn config(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }

    /// Puts together what does not change between answers.
    fn constants(&mut self, server: Option<&[u8]>) {
        let server = server.map(|name| [b"Server: ", name, b"\r\n"].concat()).unwrap_or_default();
        let date = [&server[..], b"Date: "].concat();
        let config = self.config();
        config.ok = [b"HTTP/1.1 200 OK\r\n", &date[..]].concat().into();
        config.date = date.into();
    }

    /// Most bytes of a request line; default 8 KiB. Beyond: 414.
    #[must_use]
    pub fn max_request_line(mut self, bytes: usize) -> Self {
        self.config().limits.line = bytes;
        self
    }

    /// Most bytes of a request head, before its empty line; default 16 KiB, at most 1 GiB. Beyond: 431. Trailers have
    /// the same limit.
    #[must_use]
    pub fn max_head(mut self, bytes: usize) -> Self {
        let bytes = bytes.min(1 << 30);
        self.config().limits.head = bytes;
        self.config().chunks.trailers = bytes;
        self
    }

    /// Most fields of a head, and of the trailers; default 100. Beyond: 431.
    #[must_use]
    pub fn max_fields(mut self, fields: usize) -> Self {
        self.config().limits.fields = fields;
        self.config().chunks.fields = fields;
        self
    }

    /// Most bytes of a body that is collected in memory; default 10 MiB. Beyond: 413.
    #[must_use]
    #[doc(alias = "maxPackageSize")]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.config().max_body = bytes;
        self
    }

    /// How slowly a body may arrive: the time that the server has waited for it is at most `grace`, and one second more for
    /// each `bytes_per_second` bytes of it; default 240 bytes per second, after 30 s. Beyond: 408, or the end of the
    /// connection where an answer has begun.
    ///
    /// A client that sends a byte now and then makes progress, and would hold its connection for ever. What counts is the
    /// mean from the beginning, and only the time in which it was the client's turn: not that in which nobody reads a
    /// streamed body. A rate of 0 is none.
    #[must_use]
    pub fn min_body_rate(mut self, bytes_per_second: u32, grace: Duration) -> Self {
        self.config().body_rate = (bytes_per_second > 0).then_some(Rate { bytes: bytes_per_second, grace });
        self
    }

    /// Most bytes of chunk extensions in one body; default 16 KiB. Beyond: 413.
    #[must_use]
    pub fn max_chunk_extensions(mut self, bytes: usize) -> Self {
        self.config().chunks.extensions = bytes;
        self
    }

    /// How many requests of a connection may be in flight; default 1, at most 1024.
    ///
    /// With more than one, the next request is handed out while an earlier one, whose handler kept a
    /// [`Reply`](crate::http::Reply), is unanswered. Answers leave in the order of the requests. One that makes more than
    /// 64 KiB wait for the client counts as in flight until all of it is written: so many bodies are in memory at most.
    #[must_use]
    pub fn pipeline(mut self, requests: usize) -> Self {
        self.config().pipeline = requests.clamp(1, 1024);
        self
    }

    /// Most requests on one connection; default none. The last answer says `Connection: close`.
    #[must_use]
    pub fn max_requests(mut self, requests: u32) -> Self {
        self.config().max_requests = Some(requests.max(1));
        self
    }

    /// The `Server` field of each answer; default none.
    ///
    /// # Panics
    /// If the name has characters that a field value cannot have.
    #[must_use]
    pub fn server(mut self, name: &str) -> Self {
        let name = HeaderValue::from_str(name).expect("a name for the Server field is visible text");
        self.constants(Some(name.as_bytes()));
        self
    }

    /// Whether CONNECT requests are handed out; default no: 405.
    ///
    /// After an answer with a status of 2xx the connection waits to be [upgraded](crate::Protocol::into_parts).
    #[must_use]
    pub fn connect(mut self, on: bool) -> Self {
        self.config().connect = on;
        self
    }

    /// Decides about each request when its head is complete, before a byte of its body is decoded; default
    /// [`Admission::Buffer`] up to [`max_body`](Self::max_body).
    ///
    /// A client that waits for `100 Continue` gets it when its body is wanted: at once for `Buffer`, at the first read
    /// for `Stream`, never for `Reject`.
    #[must_use]
    pub fn on_request_head(
        mut self,
        admit: impl Fn(&RequestHead) -> Admission + Send + Sync + 'static,
    ) -> Self {
        self.config().on_request_head = Some(Arc::new(admit));
        self
    }

    /// Tells of each request and its answer; default nobody.
    ///
    /// Called on the loop's thread when the last byte of the answer has been handed to the connection, and for requests
    /// whose answer never came to its end.
    #[must_use]
    pub fn on_access(mut self, tell: impl Fn(&Access<'_>) + Send + Sync + 'static) -> Self {
        self.config().on_access = Some(Arc::new(tell));
        self
    }

    /// Whether each request has an id, [`Request::id`](crate::http::Request::id), which its answer carries as
    /// `X-Request-Id`; default no.
    ///
    /// A request that comes with such a field keeps its id, if it is at most 128 harmless characters.
    #[must_use]
    pub fn request_id(mut self, on: bool) -> Self {
        self.config().request_id = on;
        self
    }

    /// Compresses answers as clients like it; default no.
    ///
    /// Which codings there are is a matter of features (`gzip`, `brotli`, `zstd`). What is small, compressed already, a part
    /// of something, or says `no-transform` is left alone; see [`Compression`].
    #[must_use]
    pub fn compress(mut self, settings: Compression) -> Self {
        self.config().compression = Some(settings);
        self
    }
}
