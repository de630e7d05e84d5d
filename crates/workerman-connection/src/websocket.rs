//! WebSocket: the callbacks of its events, and its client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use workerman_protocol::Protocol;
use workerman_protocol::http::{HeaderName, HeaderValue, Request};
use workerman_protocol::websocket::deflate::Deflate;
use workerman_protocol::websocket::handshake::{Hello, Verdict};
use workerman_protocol::websocket::{Event, Fragment, Open, Websocket, WebsocketClient};

use crate::outcome::{Settled, settle_async};
use crate::{Client, Connection, Error, Handlers, Outcome, Target};

/// The callbacks of WebSocket connections, of servers and of clients.
///
/// The order: `on_connect` (the socket is connected), [`on_handshake`](Self::on_handshake), `on_open`, then messages, pings
/// and pongs as they come, `on_close`. What is sent before the connection is open waits, and leaves in order behind the
/// handshake.
impl<P: Protocol<Event = Event>> Handlers<P> {
    /// Called when the handshake is complete, before the first message.
    ///
    /// The [`Open`] knows the request (at a server), the answer (at a client), and the sub-protocol.
    #[doc(alias = "onWebSocketConnected")]
    pub fn on_open<M, R: Outcome<P, M>>(
        self,
        f: impl Fn(&Connection<P>, Open) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_kind(move |conn, event| match event {
            Event::Open(open) => Ok(f(conn, open).settle(conn)),
            other => Err(other),
        })
    }

    /// Like [`on_open`](Self::on_open), with an async closure; messages wait for it.
    pub fn on_open_async<M, R: Outcome<P, M>>(
        self,
        f: impl AsyncFn(&Connection<P>, Open) -> R + Send + Sync + 'static,
    ) -> Self {
        let f = Arc::new(f);
        self.on_kind(move |conn, event| match event {
            Event::Open(open) => {
                let (f, own) = (Arc::clone(&f), conn.clone());
                Ok(settle_async(async move { f(&own, open).await }, conn.clone()))
            }
            other => Err(other),
        })
    }

    /// Called with each ping. The pong is sent without it.
    #[doc(alias = "onWebSocketPing")]
    pub fn on_ping<M, R: Outcome<P, M>>(
        self,
        f: impl Fn(&Connection<P>, Bytes) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_kind(move |conn, event| match event {
            Event::Ping(payload) => Ok(f(conn, payload).settle(conn)),
            other => Err(other),
        })
    }

    /// Called with each pong, also with those that the heartbeat has asked for.
    #[doc(alias = "onWebSocketPong")]
    pub fn on_pong<M, R: Outcome<P, M>>(
        self,
        f: impl Fn(&Connection<P>, Bytes) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_kind(move |conn, event| match event {
            Event::Pong(payload) => Ok(f(conn, payload).settle(conn)),
            other => Err(other),
        })
    }

    /// Called with each part of a message as it arrives, if the protocol delivers fragments instead of messages
    /// ([`Websocket::fragments`]).
    pub fn on_fragment<M, R: Outcome<P, M>>(
        self,
        f: impl Fn(&Connection<P>, Fragment) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_kind(move |conn, event| match event {
            Event::Fragment(fragment) => Ok(f(conn, fragment).settle(conn)),
            other => Err(other),
        })
    }
}

impl Handlers<Websocket> {
    /// Decides about each handshake that breaks no rule, if the protocol asks ([`Websocket::ask`]).
    ///
    /// It returns `Accept`, a response, a `Result` of them, or nothing to accept as the settings say. If it panics, the
    /// client gets a 500.
    #[doc(alias = "onWebSocketConnect")]
    pub fn on_handshake<V: Into<Verdict>>(
        self,
        f: impl Fn(&Connection<Websocket>, &Request) -> V + Send + Sync + 'static,
    ) -> Self {
        self.on_kind(move |conn, event| match event {
            Event::Handshake(token) => {
                let verdict = f(conn, token.request());
                // Of a client that has left nobody has to be told.
                let _ = token.decide_by(verdict);
                Ok(Settled::Done)
            }
            other => Err(other),
        })
    }

    /// Like [`on_handshake`](Self::on_handshake), with an async closure. It has as long as the handshake
    /// ([`Settings::handshake_timeout`](crate::Settings::handshake_timeout)); then the client gets a 503, and it is
    /// dropped.
    pub fn on_handshake_async<V: Into<Verdict>>(
        self,
        f: impl AsyncFn(&Connection<Websocket>, &Request) -> V + Send + Sync + 'static,
    ) -> Self {
        let f = Arc::new(f);
        self.on_kind(move |conn, event| match event {
            Event::Handshake(token) => {
                let (f, own) = (Arc::clone(&f), conn.clone());
                let decide = async move {
                    let verdict = f(&own, token.request()).await;
                    let _ = token.decide_by(verdict);
                };
                Ok(settle_async(decide, conn.clone()))
            }
            other => Err(other),
        })
    }
}

/// WebSocket clients.
impl Client<WebsocketClient> {
    /// A client for `ws://host[:port][/path][?query]`.
    ///
    /// What is sent before the connection is open waits, and leaves behind the handshake. An answer that opens no connection
    /// is told to `on_error`: a refusal or a redirect with its status and the head of its body
    /// ([`HandshakeError::Refused`](workerman_protocol::websocket::handshake::HandshakeError::Refused)).
    ///
    /// `wss://` is an error of [`connect`](Self::connect) until there is a layer for TLS.
    ///
    /// # Examples
    /// ```no_run
    /// use workerman_connection::Client;
    /// let socket = Client::websocket("ws://localhost:2346/chat")
    ///     .on_open(|conn, _| conn.send("hello"))
    ///     .on_message(|_, message| println!("{message}"))
    ///     .connect()?;
    /// # Ok::<(), workerman_connection::Error>(())
    /// ```
    #[doc(alias = "AsyncTcpConnection")]
    pub fn websocket(address: impl AsRef<str>) -> Self {
        let address = address.as_ref();
        // Also for what is never connected to.
        let local = || Hello::to("localhost", "/").expect("a name of a host is one");
        let (hello, target) = if address.starts_with("unix://") {
            (local(), Target::parse(address, &[]))
        } else {
            match Hello::new(address) {
                Ok(hello) => {
                    let target = Target::parse(&format!("{}:{}", hello.host(), hello.port()), &[]);
                    (hello, target)
                }
                Err(error) => {
                    let (address, reason) = (address.to_owned(), error.to_string());
                    (local(), Err(Error::Address { address, reason }))
                }
            }
        };
        let protocol = WebsocketClient::new(hello);
        let mut client = Self::to("localhost:80", &[], move || protocol.clone());
        client.aim(target);
        client
    }

    /// Offers sub-protocols, the best first; default none. The server's choice is told to `on_open`.
    pub fn protocols<S: Into<String>>(self, protocols: impl IntoIterator<Item = S>) -> Self {
        self.configure(|protocol| protocol.request(|hello| hello.protocols(protocols)))
    }

    /// Adds a field to the request (`Cookie`, `Authorization`, `Origin`), behind those of the same name.
    ///
    /// One that cannot be sent, or is the protocol's own, is an error of [`connect`](Self::connect).
    #[doc(alias = "headers")]
    pub fn header(self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        self.configure(|protocol| protocol.request(|hello| hello.header(name, value)))
    }

    /// See [`WebsocketClient::max_message`]; default 10 MiB.
    pub fn max_message(self, bytes: usize) -> Self {
        self.configure(|protocol| protocol.max_message(bytes))
    }

    /// See [`WebsocketClient::max_frame`]; default 10 MiB.
    pub fn max_frame(self, bytes: usize) -> Self {
        self.configure(|protocol| protocol.max_frame(bytes))
    }

    /// Offers to compress messages; default no; see [`WebsocketClient::compress`].
    pub fn compress(self, settings: impl Into<Option<Deflate>>) -> Self {
        self.configure(|protocol| protocol.compress(settings))
    }

    /// See [`WebsocketClient::heartbeat`]; default after 30 s of silence, 10 s for the answer.
    #[doc(alias = "websocketPingInterval")]
    pub fn heartbeat(self, ping_after: Duration, pong_within: Duration) -> Self {
        self.configure(|protocol| protocol.heartbeat(ping_after, pong_within))
    }

    /// See [`WebsocketClient::no_heartbeat`].
    pub fn no_heartbeat(self) -> Self {
        self.configure(WebsocketClient::no_heartbeat)
    }

    /// See [`Handlers::on_open`].
    #[doc(alias = "onWebSocketConnect")]
    pub fn on_open<M, R: Outcome<WebsocketClient, M>>(
        self,
        f: impl Fn(&Connection<WebsocketClient>, Open) -> R + Send + Sync + 'static,
    ) -> Self {
        self.with_handlers(|handlers| handlers.on_open(f))
    }

    /// See [`Handlers::on_open_async`].
    pub fn on_open_async<M, R: Outcome<WebsocketClient, M>>(
        self,
        f: impl AsyncFn(&Connection<WebsocketClient>, Open) -> R + Send + Sync + 'static,
    ) -> Self {
        self.with_handlers(|handlers| handlers.on_open_async(f))
    }

    /// See [`Handlers::on_ping`].
    #[doc(alias = "onWebSocketPing")]
    pub fn on_ping<M, R: Outcome<WebsocketClient, M>>(
        self,
        f: impl Fn(&Connection<WebsocketClient>, Bytes) -> R + Send + Sync + 'static,
    ) -> Self {
        self.with_handlers(|handlers| handlers.on_ping(f))
    }

    /// See [`Handlers::on_pong`].
    #[doc(alias = "onWebSocketPong")]
    pub fn on_pong<M, R: Outcome<WebsocketClient, M>>(
        self,
        f: impl Fn(&Connection<WebsocketClient>, Bytes) -> R + Send + Sync + 'static,
    ) -> Self {
        self.with_handlers(|handlers| handlers.on_pong(f))
    }

    /// Delivers the parts of messages as they arrive, in place of messages; see [`Handlers::on_fragment`].
    pub fn on_fragment<M, R: Outcome<WebsocketClient, M>>(
        self,
        f: impl Fn(&Connection<WebsocketClient>, Fragment) -> R + Send + Sync + 'static,
    ) -> Self {
        self.configure(|protocol| protocol.fragments(true)).with_handlers(|handlers| handlers.on_fragment(f))
    }

    /// Changes the protocol; a mistake in its request is found by `connect`.
    fn configure(self, change: impl FnOnce(WebsocketClient) -> WebsocketClient) -> Self {
        let (mut client, protocol) = self.remake(change);
        let hello = protocol.hello();
        if let Some(mistake) = hello.error() {
            let address = format!("ws://{}:{}{}", hello.host(), hello.port(), hello.target());
            client.aim(Err(Error::Address { address, reason: mistake.to_string() }));
        }
        client
    }
}
