//! WebSocket: the worker's constructor and settings, the client, and upgrades of HTTP requests; the types are those of
//! `workerman-protocol`.
//!
//! ```no_run
//! use workerman::prelude::*;
//!
//! # fn main() -> workerman::Result<()> {
//! Worker::websocket("0.0.0.0:2346").on_message(|_, message| format!("hello {message}")).run()
//! # }
//! ```
//! The order of callbacks: `on_connect` (accepted), [`on_handshake`](Worker::on_handshake) (may refuse), the handshake is
//! answered, [`on_open`](Worker::on_open), then `on_message`, [`on_ping`](Worker::on_ping) and [`on_pong`](Worker::on_pong)
//! as they come, `on_close` once, with the code and the reason that the sides told each other. What is sent inside of each
//! leaves in this order; what is sent before the connection is open waits until then, up to the high-water mark.
//!
//! A page and its socket on one port: see [`UpgradeRequest`].

mod upgrade;

use std::time::Duration;

use workerman_connection::{Connection, Outcome};
pub use workerman_protocol::websocket::handshake::{
    Accept, Agreement, Handshake, HandshakeError, Hello, Policy, Refusal, Refused, Upgrade, Verdict,
};
pub use workerman_protocol::websocket::*;

pub use self::upgrade::{UpgradeRequest, Upgrades};
use crate::http::Request;
use crate::{Bytes, Worker};

impl Worker<Websocket> {
    /// A worker for WebSocket, on any path.
    ///
    /// A message is [text or bytes](Message); what a handler returns is sent, text as text and bytes as bytes. Silent clients
    /// are pinged after 30 s and closed 10 s later ([`heartbeat`](Self::heartbeat)). Pages of other hosts cannot connect with
    /// the cookies of their visitors ([`origins`](Self::origins)).
    ///
    /// # Examples
    /// ```no_run
    /// use workerman::prelude::*;
    ///
    /// # fn main() -> workerman::Result<()> {
    /// Worker::websocket("0.0.0.0:2346")
    ///     .on_open(|conn, _| conn.send("welcome"))
    ///     .on_message(|conn, message| conn.worker().broadcast(message).map(drop))
    ///     .run()
    /// # }
    /// ```
    pub fn websocket(address: impl AsRef<str>) -> Self {
        Self::unbound().also(address)
    }

    fn unbound() -> Self {
        let websocket = Websocket::new();
        Self::of(&["websocket", "ws", "tcp"], move || websocket.clone()).always(logged)
    }

    /// Settings and callbacks for connections that begin as requests of an HTTP worker; finished by
    /// [`upgrades`](Self::upgrades).
    pub fn websocket_upgrades() -> Self {
        Self::unbound()
    }

    /// Finishes [`websocket_upgrades`](Self::websocket_upgrades): made once, shared by all requests that are upgraded.
    ///
    /// Addresses, threads, state, layer and the callbacks of the worker itself mean nothing here: those of the HTTP worker
    /// count. The connections have no `conn.worker()`: broadcast by `conn.service()`, and see [`Upgrades::state`].
    pub fn upgrades(self) -> Upgrades {
        Upgrades::of(self)
    }

    /// Decides about each handshake that breaks no rule: accept it (perhaps with a sub-protocol or fields of one's own), or
    /// answer it with a response instead.
    ///
    /// It returns an [`Accept`], a [`Response`](crate::http::Response), a `Result` of them, or nothing, which accepts as the
    /// settings say. If it panics, the client gets a 500.
    ///
    /// # Examples
    /// ```no_run
    /// use workerman::prelude::*;
    ///
    /// # fn main() -> workerman::Result<()> {
    /// Worker::websocket("0.0.0.0:2346")
    ///     .on_handshake(|_, request| match request.query_value("token").as_deref() {
    ///         Some("secret") => Ok(Accept::new()),
    ///         _ => Err(Response::text("who are you?").with_status(401)),
    ///     })
    ///     .on_message(|_, message| message)
    ///     .run()
    /// # }
    /// ```
    #[doc(alias = "onWebSocketConnect")]
    pub fn on_handshake<V: Into<Verdict>>(
        self,
        f: impl Fn(&Connection<Websocket>, &Request) -> V + Send + Sync + 'static,
    ) -> Self {
        self.asking().with_handlers(|handlers| handlers.on_handshake(f))
    }

    /// Like [`on_handshake`](Self::on_handshake), with an async closure: to ask a database, for one.
    ///
    /// It has 10 s ([`Settings::handshake_timeout`](crate::Settings::handshake_timeout)); then the client gets a 503.
    pub fn on_handshake_async<V: Into<Verdict>>(
        self,
        f: impl AsyncFn(&Connection<Websocket>, &Request) -> V + Send + Sync + 'static,
    ) -> Self {
        self.asking().with_handlers(|handlers| handlers.on_handshake_async(f))
    }

    fn asking(self) -> Self {
        self.always(|websocket| logged(websocket).ask(true))
    }

    /// Called when the handshake is complete, before the first message.
    ///
    /// The [`Open`] has the request and the sub-protocol.
    #[doc(alias = "onWebSocketConnected")]
    pub fn on_open<M, R: Outcome<Websocket, M>>(
        self,
        f: impl Fn(&Connection<Websocket>, Open) -> R + Send + Sync + 'static,
    ) -> Self {
        self.with_handlers(|handlers| handlers.on_open(f))
    }

    /// Like [`on_open`](Self::on_open), with an async closure; messages wait for it.
    pub fn on_open_async<M, R: Outcome<Websocket, M>>(
        self,
        f: impl AsyncFn(&Connection<Websocket>, Open) -> R + Send + Sync + 'static,
    ) -> Self {
        self.with_handlers(|handlers| handlers.on_open_async(f))
    }

    /// Called with each ping. The pong is sent without it.
    #[doc(alias = "onWebSocketPing")]
    pub fn on_ping<M, R: Outcome<Websocket, M>>(
        self,
        f: impl Fn(&Connection<Websocket>, Bytes) -> R + Send + Sync + 'static,
    ) -> Self {
        self.with_handlers(|handlers| handlers.on_ping(f))
    }

    /// Called with each pong, also with those that the heartbeat has asked for.
    #[doc(alias = "onWebSocketPong")]
    pub fn on_pong<M, R: Outcome<Websocket, M>>(
        self,
        f: impl Fn(&Connection<Websocket>, Bytes) -> R + Send + Sync + 'static,
    ) -> Self {
        self.with_handlers(|handlers| handlers.on_pong(f))
    }

    /// Called with each part of a message as it arrives, in place of `on_message`: for messages that are too large to be had
    /// at once.
    pub fn on_fragment<M, R: Outcome<Websocket, M>>(
        self,
        f: impl Fn(&Connection<Websocket>, Fragment) -> R + Send + Sync + 'static,
    ) -> Self {
        self.configure(|websocket| websocket.fragments(true))
            .with_handlers(|handlers| handlers.on_fragment(f))
    }

    /// Most bytes of a received message; default 10 MiB; see [`Websocket::max_message`].
    #[doc(alias = "maxPackageSize")]
    pub fn max_message(self, bytes: usize) -> Self {
        self.configure(|websocket| websocket.max_message(bytes))
    }

    /// Most bytes of a received frame; default 10 MiB; see [`Websocket::max_frame`].
    pub fn max_frame(self, bytes: usize) -> Self {
        self.configure(|websocket| websocket.max_frame(bytes))
    }

    /// Most fragments of a received message; default 131,072; see [`Websocket::max_fragments`].
    pub fn max_fragments(self, fragments: u32) -> Self {
        self.configure(|websocket| websocket.max_fragments(fragments))
    }

    /// Takes only text, or only bytes; see [`Websocket::only`].
    pub fn only(self, kind: impl Into<Option<Kind>>) -> Self {
        self.configure(|websocket| websocket.only(kind))
    }

    /// Compresses messages for clients that offer it; default no; see [`Websocket::compress`].
    ///
    /// # Examples
    /// ```no_run
    /// use workerman::prelude::*;
    /// use workerman::websocket::deflate::Deflate;
    ///
    /// # fn main() -> workerman::Result<()> {
    /// Worker::websocket("0.0.0.0:2346").compress(Deflate::new().min_size(256)).on_message(|_, message| message).run()
    /// # }
    /// ```
    pub fn compress(self, settings: impl Into<Option<deflate::Deflate>>) -> Self {
        self.configure(|websocket| websocket.compress(settings))
    }

    /// When a silent client is pinged, and how long it has to answer; default 30 s and 10 s; see [`Websocket::heartbeat`].
    pub fn heartbeat(self, ping_after: Duration, pong_within: Duration) -> Self {
        self.configure(|websocket| websocket.heartbeat(ping_after, pong_within))
    }

    /// Never pings of its own accord; see [`Websocket::no_heartbeat`].
    pub fn no_heartbeat(self) -> Self {
        self.configure(Websocket::no_heartbeat)
    }

    /// The sub-protocols that are spoken, the best first; default none; see [`Policy::protocols`].
    ///
    /// # Panics
    /// If a name is not a token, or twice in the list.
    pub fn protocols<S: Into<String>>(self, protocols: impl IntoIterator<Item = S>) -> Self {
        self.configure(|websocket| websocket.protocols(protocols))
    }

    /// The pages that connections are taken from; default: of the same host, if their requests have cookies; see
    /// [`Policy::origins`].
    ///
    /// # Panics
    /// If an element is no origin.
    pub fn origins<S: AsRef<str>>(self, origins: impl IntoIterator<Item = S>) -> Self {
        self.configure(|websocket| websocket.origins(origins))
    }
}

/// The same, with a line in the log for each page that is refused.
fn logged(websocket: Websocket) -> Websocket {
    websocket.on_refusal(log)
}

/// A page that is refused is a mistake of the settings, or an attack: somebody should know.
fn log(refusal: &Refusal) {
    if let Some(origin) = refusal.origin() {
        tracing::warn!(
            origin,
            host = refusal.host(),
            "refused a WebSocket handshake: {}; `origins([..])` of the worker says which pages may connect",
            refusal.reason()
        );
    } else {
        tracing::debug!(status = refusal.status(), "refused a WebSocket handshake: {}", refusal.reason());
    }
}
