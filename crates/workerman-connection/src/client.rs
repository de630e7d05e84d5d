//! Clients: the builder, and the loop thread that clients outside of any loop share.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use workerman_event::BackendKind;
#[cfg(feature = "frame")]
use workerman_protocol::Frame;
use workerman_protocol::Protocol;
#[cfg(feature = "raw")]
use workerman_protocol::Raw;
#[cfg(feature = "text")]
use workerman_protocol::Text;

use crate::dial::Dialer;
pub(crate) use crate::dial::{Dial, DialEvent, Sockets};
use crate::event_loop::EventLoop;
use crate::{
    CloseReason, Connection, Error, Handlers, Layer, LoopHandle, LoopSettings, Outcome, Service, Settings,
    Target,
};

/// When and how often to connect again.
///
/// The pause after the n-th failure in a row is `first × 2ⁿ⁻¹`, at most `cap`, of which a random half is taken off,
/// so that a thousand clients do not come back in the same moment. A connection that was up resets the count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconnect {
    /// The first pause; default 100 ms.
    pub first: Duration,
    /// The longest pause; default 30 s.
    pub cap: Duration,
    /// Most attempts in a row; default none.
    pub max_attempts: Option<u32>,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), cap: Duration::from_secs(30), max_attempts: None }
    }
}

type MakeLayer = Box<dyn Fn() -> Box<dyn Layer> + Send + Sync>;
/// Why a client gave up.
pub(crate) type LastError = Arc<Mutex<Option<Error>>>;

/// A connection to be made, with the same callbacks as a worker.
///
/// Made inside a callback (or a task of a loop's thread) it lives on that loop; elsewhere on one loop thread that all
/// clients of the program share. The [`Connection`] that [`connect`](Self::connect) returns can be sent to at once: what
/// is sent before the connection is up waits, up to the high-water mark.
///
/// Names are looked up without blocking; every address is tried, IPv6 and IPv4 in turn, 250 ms apart (RFC 8305); the
/// first that answers is taken. A failed attempt is told to `on_error`; `on_close` is called once for each `on_connect`,
/// and once (with [`CloseReason::ConnectFailed`]) when the client gives up.
#[doc(alias = "AsyncTcpConnection")]
pub struct Client<P: Protocol> {
    target: Result<Target, Error>,
    name: String,
    make: Box<dyn Fn() -> P + Send + Sync>,
    layer: Option<MakeLayer>,
    handlers: Handlers<P>,
    settings: Settings,
    timeout: Duration,
    reconnect: Option<Reconnect>,
}

#[cfg(feature = "raw")]
impl Client<Raw> {
    /// A client for bytes as they come.
    pub fn tcp(address: impl AsRef<str>) -> Self {
        Self::to(address.as_ref(), &["tcp"], Raw::new)
    }
}

#[cfg(feature = "text")]
impl Client<Text> {
    /// A client for lines.
    pub fn text(address: impl AsRef<str>) -> Self {
        Self::to(address.as_ref(), &["text", "tcp"], Text::new)
    }
}

#[cfg(feature = "frame")]
impl Client<Frame> {
    /// A client for length-prefixed frames.
    pub fn frame(address: impl AsRef<str>) -> Self {
        Self::to(address.as_ref(), &["frame", "tcp"], Frame::new)
    }
}

impl<P: Protocol> Client<P> {
    /// A client for any protocol; each connection gets a clone of `protocol`.
    pub fn with(protocol: P, address: impl AsRef<str>) -> Self
    where
        P: Clone + Sync,
    {
        Self::to(address.as_ref(), &["tcp"], move || protocol.clone())
    }

    pub(crate) fn to(address: &str, schemes: &[&str], make: impl Fn() -> P + Send + Sync + 'static) -> Self {
        Self {
            target: Target::parse(address, schemes).and_then(|target| match target {
                Target::Host { host, port } if host.is_empty() || port == 0 => Err(Error::Address {
                    address: address.to_owned(),
                    reason: "a client needs a host and a port to connect to".into(),
                }),
                target => Ok(target),
            }),
            name: "client".to_owned(),
            make: Box::new(make),
            layer: None,
            handlers: Handlers::new(),
            settings: Settings::default(),
            timeout: Duration::from_secs(10),
            reconnect: None,
        }
    }

    /// Sets where to.
    #[cfg(feature = "websocket")]
    pub(crate) fn aim(&mut self, target: Result<Target, Error>) {
        self.target = target;
    }

    /// Changes the protocol; returns a copy of it.
    #[cfg(feature = "websocket")]
    pub(crate) fn remake(mut self, change: impl FnOnce(P) -> P) -> (Self, P)
    where
        P: Clone + Sync,
    {
        let protocol = change((self.make)());
        let copy = protocol.clone();
        self.make = Box::new(move || protocol.clone());
        (self, copy)
    }

    /// Changes the callbacks.
    #[cfg(feature = "websocket")]
    pub(crate) fn with_handlers(mut self, change: impl FnOnce(Handlers<P>) -> Handlers<P>) -> Self {
        self.handlers = change(self.handlers);
        self
    }

    /// The name, for logs; default `client`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Puts a layer below the protocol: a new one for each connection.
    pub fn layer(mut self, make: impl Fn() -> Box<dyn Layer> + Send + Sync + 'static) -> Self {
        self.layer = Some(Box::new(make));
        self
    }

    /// The bounds of the connection.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// How long one attempt may take, name resolution included; default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Connects again when the connection is lost or cannot be made; default never. Any `close`, `end` or `abort` of
    /// the handle cancels it.
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.reconnect = Some(policy);
        self
    }

    /// Replaces all callbacks.
    pub fn handlers(mut self, handlers: Handlers<P>) -> Self {
        self.handlers = handlers;
        self
    }

    /// See [`Handlers::on_connect`].
    pub fn on_connect<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_connect(f);
        self
    }

    /// See [`Handlers::on_connect_async`].
    pub fn on_connect_async<M, R: Outcome<P, M>>(
        mut self,
        f: impl AsyncFn(&Connection<P>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_connect_async(f);
        self
    }

    /// See [`Handlers::on_message`].
    pub fn on_message<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>, P::Incoming) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_message(f);
        self
    }

    /// See [`Handlers::on_message_async`].
    pub fn on_message_async<M, R: Outcome<P, M>>(
        mut self,
        f: impl AsyncFn(&Connection<P>, P::Incoming) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_message_async(f);
        self
    }

    /// See [`Handlers::on_event`].
    pub fn on_event<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>, P::Event) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_event(f);
        self
    }

    /// See [`Handlers::on_close`].
    pub fn on_close<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>, CloseReason) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_close(f);
        self
    }

    /// See [`Handlers::on_error`]; also called with each failed attempt.
    pub fn on_error(mut self, f: impl Fn(&Connection<P>, &Error) + Send + Sync + 'static) -> Self {
        self.handlers = self.handlers.on_error(f);
        self
    }

    /// See [`Handlers::on_buffer_full`].
    pub fn on_buffer_full(mut self, f: impl Fn(&Connection<P>) + Send + Sync + 'static) -> Self {
        self.handlers = self.handlers.on_buffer_full(f);
        self
    }

    /// See [`Handlers::on_buffer_drain`].
    pub fn on_buffer_drain(mut self, f: impl Fn(&Connection<P>) + Send + Sync + 'static) -> Self {
        self.handlers = self.handlers.on_buffer_drain(f);
        self
    }

    /// Starts to connect; returns at once with the handle.
    ///
    /// # Errors
    /// The address cannot be understood, or there is no loop to connect on. A failed connect is told to `on_error`.
    pub fn connect(self) -> Result<Connection<P>, Error> {
        let handle = LoopHandle::current().map_or_else(shared_loop, Ok)?;
        self.connect_on(&handle)
    }

    /// Starts to connect on a given loop.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_on(self, handle: &LoopHandle) -> Result<Connection<P>, Error> {
        Ok(self.start(handle)?.0)
    }

    fn start(self, handle: &LoopHandle) -> Result<(Connection<P>, LastError), Error> {
        let target = self.target?;
        let mut service = Service::new(self.name, self.make, self.handlers, self.settings);
        if let Some(layer) = self.layer {
            service = service.layer(layer);
        }
        let service = Arc::new(service);
        let last = Arc::new(Mutex::new(None));
        let dialer =
            Dialer::new(service, &handle.remote, target, self.timeout, self.reconnect, Arc::clone(&last));
        let conn = dialer.connection();
        handle.remote.post(Box::new(move |control| control.dial(Box::new(dialer))))?;
        Ok((conn, last))
    }

    /// Runs the client on this thread until its connection is over for good: a client-only program.
    ///
    /// # Errors
    /// The address cannot be understood, a loop cannot be started (inside a runtime, for one), or the client gave up
    /// connecting.
    pub fn run(self) -> Result<(), Error> {
        let kind = BackendKind::from_env().map_err(|error| Error::Start(std::io::Error::other(error)))?;
        let (event_loop, handle) = EventLoop::new(LoopSettings::default());
        let linger = self.settings.linger;
        let (conn, last) = self.start(&handle)?;
        let stop = handle.clone();
        handle.run(move || {
            drop(workerman_event::spawn(async move {
                conn.closed().await;
                // The last bytes may be lingering on their way to the peer.
                let _ = stop.drain(linger).await;
                stop.stop();
            }));
        })?;
        event_loop.run(kind)?;
        let last = last.lock().unwrap_or_else(PoisonError::into_inner).take();
        last.map_or(Ok(()), Err)
    }
}

impl<P: Protocol> std::fmt::Debug for Client<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("target", &self.target).finish_non_exhaustive()
    }
}

/// The loop of the thread that clients outside of any loop share; started at first use.
fn shared_loop() -> Result<LoopHandle, Error> {
    #[cfg(feature = "sim")]
    if workerman_event::sim::is_running() {
        return Err(Error::Start(std::io::Error::other(
            "a client outside of any loop would start a thread, and this is a simulation: \
             make it in a callback or a task of a simulated worker",
        )));
    }
    static SHARED: OnceLock<Mutex<Option<LoopHandle>>> = OnceLock::new();
    let mut shared = SHARED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = shared.as_ref().filter(|handle| !handle.is_stopped()) {
        return Ok(handle.clone());
    }
    let kind = BackendKind::from_env().map_err(|error| Error::Start(std::io::Error::other(error)))?;
    let (started, start) = mpsc::channel();
    let (event_loop, handle) = EventLoop::new(LoopSettings::default());
    let up = started.clone();
    handle.run(move || {
        let _ = up.send(Ok(()));
    })?;
    std::thread::Builder::new()
        .name("workerman-clients".to_owned())
        .spawn(move || {
            if let Err(error) = event_loop.run(kind) {
                let _ = started.send(Err(error));
            }
        })
        .map_err(Error::Start)?;
    start.recv().unwrap_or(Err(Error::Stopped))?;
    *shared = Some(handle.clone());
    Ok(handle)
}
