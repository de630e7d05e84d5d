//! A request of an HTTP worker becomes a WebSocket connection.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use workerman_connection::{Broadcast, Connection, SendError, Service};
use workerman_protocol::http::{Http, Request, Response};
use workerman_protocol::websocket::handshake::Accept;
use workerman_protocol::websocket::{Error, Outgoing, Websocket};

use crate::Worker;

/// What upgraded connections have in common: settings and callbacks, made once and shared by all requests; cheap to clone.
///
/// Made by [`Worker::upgrades`]; requests are upgraded by [`UpgradeRequest`].
#[derive(Clone)]
pub struct Upgrades {
    protocol: Websocket,
    service: Arc<Service<Websocket>>,
}

impl Upgrades {
    pub(super) fn of(worker: Worker<Websocket>) -> Self {
        let (protocol, service) = worker.into_service();
        Self { protocol, service: Arc::new(service) }
    }

    /// Sets what connections reach by `conn.state()`; only the first call counts.
    #[must_use]
    pub fn state<S: Any + Send + Sync>(self, state: S) -> Self {
        self.service.set_state(Arc::new(state));
        self
    }

    /// The connections: to count them, walk over them, send to them.
    pub fn service(&self) -> &Arc<Service<Websocket>> {
        &self.service
    }

    /// Sends a message to all connections; see [`Service::broadcast`].
    ///
    /// # Errors
    /// The message cannot be encoded.
    pub fn broadcast(&self, message: impl Into<Outgoing>) -> Result<Broadcast, SendError<Error>> {
        self.service.broadcast(message)
    }

    /// Number of open connections.
    pub fn len(&self) -> usize {
        self.service.len()
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.service.is_empty()
    }

    /// Checks a request, and hands its connection over; the answer.
    fn take(&self, request: Request, accept: Accept) -> Response {
        let upgrade = match self.protocol.check(&request) {
            Ok(upgrade) => upgrade,
            Err(refusal) => return refusal.response(),
        };
        // Of a request without a connection (made by a test) the answer is all there is.
        let conn = request.head().handle().and_then(Connection::<Http>::of_handle);
        let (response, protocol) = match self.protocol.upgrade(request, upgrade, accept) {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::warn!(%error, "a WebSocket handshake cannot be accepted like this");
                return Response::of(500);
            }
        };
        match conn.map(|conn| conn.upgrade(protocol, &self.service)) {
            None | Some(Ok(_)) => response,
            // It is closing, or somebody has taken it over already.
            Some(Err(_)) => Response::of(503),
        }
    }
}

impl fmt::Debug for Upgrades {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrades").field("service", &self.service).finish_non_exhaustive()
    }
}

/// Makes WebSocket connections of requests: one port for a page and its socket.
///
/// # Examples
/// ```no_run
/// use workerman::http::routes::Routes;
/// use workerman::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let echo = Worker::websocket_upgrades().on_message(|_, message| message).upgrades();
/// let routes = Routes::builder()
///     .get("/", |_| "<script>new WebSocket('ws://' + location.host + '/socket')</script>")
///     .get("/socket", move |request: Request| request.upgrade(&echo))
///     .build()?;
/// Worker::http("0.0.0.0:2345").routes(routes).run()?;
/// # Ok(())
/// # }
/// ```
pub trait UpgradeRequest {
    /// The answer to a request that wants a WebSocket; return it from the handler of the request.
    ///
    /// If the request is a handshake that breaks no rule, its connection becomes one of `upgrades` behind the answer; what
    /// has been read beyond the request moves along. The `on_handshake` of `upgrades` is not asked: the handler has
    /// decided. Otherwise it is the right refusal (400, 403, 405, 426), and the connection stays as it is.
    fn upgrade(self, upgrades: &Upgrades) -> Response;

    /// The same, with a sub-protocol, or fields of one's own, in the answer.
    fn upgrade_with(self, upgrades: &Upgrades, accept: Accept) -> Response;
}

impl UpgradeRequest for Request {
    fn upgrade(self, upgrades: &Upgrades) -> Response {
        upgrades.take(self, Accept::new())
    }

    fn upgrade_with(self, upgrades: &Upgrades, accept: Accept) -> Response {
        upgrades.take(self, accept)
    }
}
