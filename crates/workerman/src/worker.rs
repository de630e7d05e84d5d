//! The builder: a protocol, addresses, callbacks, bounds.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use workerman_connection::{
    BoxError, CloseReason, Connection, Handlers, Layer, LoopSettings, Outcome, Service, Settings, Target,
};
use workerman_event::{BackendKind, ListenOptions};
use workerman_protocol::{Frame, Protocol, Raw, Text};

use crate::bind::{self, Binder, BoundAddress};
use crate::handle::{Handle, Hook, Loops, Owner};
use crate::hook::HookOutcome;
use crate::run::{Bound, Serving};
use crate::{Error, Result};

/// Makes the state of a worker, on its first loop.
pub(crate) type MakeState<P> = Box<
    dyn FnOnce(
            Handle<P>,
        )
            -> Pin<Box<dyn Future<Output = std::result::Result<Arc<dyn Any + Send + Sync>, BoxError>>>>
        + Send,
>;

/// The name of a worker that was given none.
const UNNAMED: &str = "none";

/// A server: a protocol, where it listens, what it does with messages.
///
/// A plain builder; nothing happens before [`run`](Self::run), [`serve`](Self::serve), [`bind`](Self::bind) or
/// [`run_all`](crate::run_all). Handlers may be sync or async, and return nothing, a reply, the status of a send, an
/// `Option` or a `Result` of these; see [`Outcome`].
///
/// # Examples
/// ```no_run
/// use workerman::prelude::*;
///
/// fn main() -> workerman::Result<()> {
///     Worker::text("0.0.0.0:2347")
///         .on_connect(|conn| conn.send("welcome"))
///         .on_message(|_, line| format!("you said {line}"))
///         .run()
/// }
/// ```
#[must_use = "a worker does nothing until it is run"]
pub struct Worker<P: Protocol> {
    name: String,
    targets: Vec<Result<Target, workerman_connection::Error>>,
    schemes: &'static [&'static str],
    make: Box<dyn Fn() -> P + Send + Sync>,
    /// What every protocol has that is set, because a callback needs it.
    always: Option<fn(P) -> P>,
    layer: Option<Box<dyn Fn() -> Box<dyn Layer> + Send + Sync>>,
    handlers: Handlers<P>,
    settings: Settings,
    loop_settings: LoopSettings,
    listen: ListenOptions,
    threads: usize,
    event_loop: Option<BackendKind>,
    stop_timeout: Duration,
    signals: bool,
    state: Option<MakeState<P>>,
    on_start: Option<Hook<P>>,
    on_stop: Option<Hook<P>>,
}

impl Worker<Raw> {
    /// A worker for bytes as they come.
    pub fn tcp(address: impl AsRef<str>) -> Self {
        Self::of(&["tcp"], Raw::new).also(address)
    }

    /// A worker that listens nowhere: for timers, clients, or addresses that are added later by its handle.
    pub fn detached() -> Self {
        Self::of(&["tcp"], Raw::new)
    }
}

impl Worker<Text> {
    /// A worker for lines of text.
    pub fn text(address: impl AsRef<str>) -> Self {
        Self::of(&["text", "tcp"], Text::new).also(address)
    }
}

impl Worker<Frame> {
    /// A worker for frames with a four-byte length.
    pub fn frame(address: impl AsRef<str>) -> Self {
        Self::of(&["frame", "tcp"], Frame::new).also(address)
    }
}

impl<P: Protocol> Worker<P> {
    /// A worker for any protocol; each connection gets a clone of `protocol`.
    pub fn with(protocol: P, address: impl AsRef<str>) -> Self
    where
        P: Clone + Sync,
    {
        Self::of(&["tcp"], move || protocol.clone()).also(address)
    }

    /// Like [`with`](Self::with), for a protocol that cannot be cloned: `make` is called for each connection.
    pub fn with_fn(make: impl Fn() -> P + Send + Sync + 'static, address: impl AsRef<str>) -> Self {
        Self::of(&["tcp"], make).also(address)
    }

    pub(crate) fn of(schemes: &'static [&'static str], make: impl Fn() -> P + Send + Sync + 'static) -> Self {
        Self {
            name: UNNAMED.to_owned(),
            targets: Vec::new(),
            schemes,
            make: Box::new(make),
            always: None,
            layer: None,
            handlers: Handlers::new(),
            settings: Settings::default(),
            loop_settings: LoopSettings::default(),
            listen: ListenOptions::default(),
            threads: 1,
            event_loop: None,
            stop_timeout: Duration::from_secs(2),
            signals: true,
            state: None,
            on_start: None,
            on_stop: None,
        }
    }

    /// Listens on one more address: `host:port`, `:port` (all addresses of the machine), `[::]:port`, a name with
    /// several addresses, `unix:///path`, each with or without the protocol's scheme (`text://host:port`).
    pub fn also(mut self, address: impl AsRef<str>) -> Self {
        self.targets.push(Target::parse(address.as_ref(), self.schemes));
        self
    }

    /// Sets the protocol itself, with bounds of its own; each connection gets a clone of it.
    ///
    /// # Examples
    /// ```
    /// use workerman::prelude::*;
    ///
    /// let worker = Worker::text("text://127.0.0.1:0").protocol(Text::new().max_message(4096));
    /// # worker.bind().unwrap();
    /// ```
    pub fn protocol(mut self, protocol: P) -> Self
    where
        P: Clone + Sync,
    {
        let protocol = match self.always {
            Some(change) => change(protocol),
            None => protocol,
        };
        self.make = Box::new(move || protocol.clone());
        self
    }

    /// Changes the protocol that the worker was made with: for the settings of one protocol on the builder.
    #[cfg_attr(not(feature = "http"), allow(dead_code))] // the builders of protocols with settings of their own use it
    pub(crate) fn configure(self, change: impl FnOnce(P) -> P) -> Self
    where
        P: Clone + Sync,
    {
        let protocol = change((self.make)());
        self.protocol(protocol)
    }

    /// Changes the protocol, and every one that is set later.
    #[cfg(feature = "websocket")]
    pub(crate) fn always(mut self, change: fn(P) -> P) -> Self
    where
        P: Clone + Sync,
    {
        self.always = Some(change);
        self.configure(|protocol| protocol)
    }

    /// Changes the callbacks.
    #[cfg(feature = "websocket")]
    pub(crate) fn with_handlers(mut self, change: impl FnOnce(Handlers<P>) -> Handlers<P>) -> Self {
        self.handlers = change(self.handlers);
        self
    }

    /// Gives up the worker for what its connections have in common.
    #[cfg(feature = "websocket")]
    pub(crate) fn into_service(self) -> (P, Service<P>) {
        let protocol = (self.make)();
        (protocol, Service::new(self.name, self.make, self.handlers, self.settings))
    }

    /// The name, for logs and tables; default `none`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The name that the worker was given, if any.
    #[cfg(feature = "sim")]
    pub(crate) fn given_name(&self) -> Option<&str> {
        (self.name != UNNAMED).then_some(&self.name)
    }

    /// Number of threads, each with its own loop and listener; default 1, at least 1. The system spreads connections
    /// over them.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// The event loop's backend; default what `WORKERMAN_EVENT_LOOP` says, else the best one of the system.
    pub fn event_loop(mut self, kind: BackendKind) -> Self {
        self.event_loop = Some(kind);
        self
    }

    /// The bounds of each connection.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The bounds of each loop.
    pub fn loop_settings(mut self, settings: LoopSettings) -> Self {
        self.loop_settings = settings;
        self
    }

    /// How to listen: backlog, address reuse, keep-alive, mode of a unix socket.
    pub fn listen_options(mut self, options: ListenOptions) -> Self {
        self.listen = options;
        self
    }

    /// Most connections at a time, over all threads; default none. Beyond it newcomers wait in the backlog.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = Some(connections.max(1));
        self
    }

    /// The high-water mark of a connection's queue, in bytes; default 1 MiB.
    #[doc(alias = "maxSendBufferSize")]
    pub fn high_water(mut self, bytes: usize) -> Self {
        self.settings.high_water = bytes;
        self
    }

    /// Most bytes that a connection's queue may hold; default 16 MiB.
    pub fn hard_limit(mut self, bytes: usize) -> Self {
        self.settings.hard_limit = bytes;
        self
    }

    /// Closes a connection that has been silent for so long; default never.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle_timeout = Some(timeout);
        self
    }

    /// How long a graceful stop may take before connections are cut; default 2 s.
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
        self
    }

    /// Whether [`run`](Self::run) stops gracefully on SIGINT and SIGTERM; default yes.
    pub fn stop_on_signals(mut self, on: bool) -> Self {
        self.signals = on;
        self
    }

    /// Puts a layer below the protocol of each connection.
    pub fn layer(mut self, make: impl Fn() -> Box<dyn Layer> + Send + Sync + 'static) -> Self {
        self.layer = Some(Box::new(make));
        self
    }

    /// Makes the shared state of the worker before anything is accepted; connections reach it by `conn.state()`.
    ///
    /// It runs once, on the worker's first loop; an error ends the start of the worker with [`Error::State`].
    ///
    /// # Examples
    /// ```no_run
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use workerman::prelude::*;
    ///
    /// # fn main() -> workerman::Result<()> {
    /// Worker::text(":2347")
    ///     .state(async |_| Ok(AtomicU64::new(0)))
    ///     .on_message(|conn, _| {
    ///         let seen = conn.state::<AtomicU64>().fetch_add(1, Ordering::Relaxed);
    ///         format!("{seen} lines before")
    ///     })
    ///     .run()
    /// # }
    /// ```
    pub fn state<S: Any + Send + Sync>(
        mut self,
        make: impl AsyncFnOnce(Handle<P>) -> std::result::Result<S, BoxError> + Send + 'static,
    ) -> Self {
        self.state = Some(Box::new(move |worker| {
            Box::pin(async move {
                let state: Arc<dyn Any + Send + Sync> = Arc::new(make(worker).await?);
                Ok(state)
            })
        }));
        self
    }

    /// Called on each thread before it accepts; an error ends the start of the worker.
    #[doc(alias = "onWorkerStart")]
    pub fn on_worker_start<M, R: HookOutcome<M>>(
        mut self,
        f: impl Fn(&Handle<P>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_start = Some(Box::new(move |worker| f(worker).hooked()));
        self
    }

    /// Called on each thread when the worker stops, before its connections are drained.
    #[doc(alias = "onWorkerStop")]
    pub fn on_worker_stop<M, R: HookOutcome<M>>(
        mut self,
        f: impl Fn(&Handle<P>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_stop = Some(Box::new(move |worker| f(worker).hooked()));
        self
    }

    /// Called when a connection is up, before its first message; see [`Handlers::on_connect`].
    #[doc(alias = "onConnect")]
    pub fn on_connect<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_connect(f);
        self
    }

    /// Like [`on_connect`](Self::on_connect), with an async closure; messages wait for it.
    pub fn on_connect_async<M, R: Outcome<P, M>>(
        mut self,
        f: impl AsyncFn(&Connection<P>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_connect_async(f);
        self
    }

    /// Called with each message; see [`Handlers::on_message`].
    ///
    /// For an async closure there is [`on_message_async`](Self::on_message_async): here the compiler would call it "not
    /// general enough", because its future borrows the connection.
    #[doc(alias = "onMessage")]
    pub fn on_message<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>, P::Incoming) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_message(f);
        self
    }

    /// Like [`on_message`](Self::on_message), with an async closure (`async |conn, message| ..`).
    pub fn on_message_async<M, R: Outcome<P, M>>(
        mut self,
        f: impl AsyncFn(&Connection<P>, P::Incoming) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_message_async(f);
        self
    }

    /// Called with each event of the protocol; see [`Handlers::on_event`].
    pub fn on_event<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>, P::Event) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_event(f);
        self
    }

    /// Called exactly once when a connection ends; see [`Handlers::on_close`].
    #[doc(alias = "onClose")]
    #[doc(alias = "onWebSocketClose")]
    pub fn on_close<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>, CloseReason) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_close(f);
        self
    }

    /// Called with what went wrong on a connection, before it closes; see [`Handlers::on_error`].
    #[doc(alias = "onError")]
    pub fn on_error(
        mut self,
        f: impl Fn(&Connection<P>, &workerman_connection::Error) + Send + Sync + 'static,
    ) -> Self {
        self.handlers = self.handlers.on_error(f);
        self
    }

    /// Called once when the queue of a connection reaches its high-water mark.
    #[doc(alias = "onBufferFull")]
    pub fn on_buffer_full(mut self, f: impl Fn(&Connection<P>) + Send + Sync + 'static) -> Self {
        self.handlers = self.handlers.on_buffer_full(f);
        self
    }

    /// Called once when a queue that was full is at or under its low-water mark again.
    #[doc(alias = "onBufferDrain")]
    pub fn on_buffer_drain(mut self, f: impl Fn(&Connection<P>) + Send + Sync + 'static) -> Self {
        self.handlers = self.handlers.on_buffer_drain(f);
        self
    }

    /// Opens the listeners; nothing is accepted before the worker runs.
    ///
    /// # Errors
    /// An address cannot be understood, looked up or bound; the error names it.
    pub fn bind(self) -> Result<Bound<P>> {
        self.bind_with(Box::new(bind::System))
    }

    /// Opens the listeners with `binder`: the system's, or a simulated network's.
    pub(crate) fn bind_with(self, binder: Box<dyn Binder>) -> Result<Bound<P>> {
        let event_loop = match self.event_loop {
            Some(kind) => kind,
            None => BackendKind::from_env()?,
        };
        let mut addresses: Vec<BoundAddress> = Vec::new();
        for target in self.targets {
            addresses.extend(bind::bind(&target?, &self.listen, self.threads, &*binder)?);
        }
        let loops = Arc::new(Loops::new(self.listen, self.schemes, self.stop_timeout, binder));
        addresses.iter().for_each(|bound| loops.bound(&bound.address));
        let on_stop = Arc::new(self.on_stop);
        let mut service = Service::new(self.name, self.make, self.handlers, self.settings);
        if let Some(layer) = self.layer {
            service = service.layer(layer);
        }
        service.set_owner(Arc::new(Owner { loops: Arc::clone(&loops), on_stop: Arc::clone(&on_stop) }));
        Ok(Bound {
            handle: Handle { service: Arc::new(service), loops, on_stop },
            addresses,
            threads: self.threads,
            event_loop,
            loop_settings: self.loop_settings,
            signals: self.signals,
            state: self.state,
            on_start: self.on_start,
        })
    }

    /// Runs the worker on this thread (and `threads - 1` more) until it is stopped: by its handle, or by SIGINT or
    /// SIGTERM, which drain it.
    ///
    /// # Errors
    /// An address cannot be bound, the worker's state or `on_worker_start` fails, or this is called inside a runtime.
    #[doc(alias = "runAll")]
    pub fn run(self) -> Result<()> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(Error::InsideRuntime);
        }
        self.bind()?.run()
    }

    /// Runs the worker on threads of its own, inside somebody else's async program; the future ends when it is
    /// stopped. Dropping the future stops the worker gracefully.
    ///
    /// Signals are left alone. An address that cannot be bound is the future's error.
    pub fn serve(self) -> Serving<P> {
        #[cfg(feature = "sim")]
        if workerman_event::sim::is_running() {
            return Serving::failed(Error::InsideSimulation);
        }
        match self.bind() {
            Ok(bound) => bound.serve(),
            Err(error) => Serving::failed(error),
        }
    }
}

impl<P: Protocol> std::fmt::Debug for Worker<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.name)
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit<P: Protocol>(worker: &Worker<P>) -> usize {
        P::max_message(&(worker.make)())
    }

    #[test]
    fn a_change_of_the_protocol_keeps_what_was_set_before() {
        let worker = Worker::text("127.0.0.1:0").protocol(Text::new().max_message(7));
        let unchanged = worker.configure(|text| text);
        assert_eq!(limit(&unchanged), 7);
        let changed = unchanged.configure(|text| text.max_message(8));
        assert_eq!([limit(&changed), limit(&changed)], [8, 8]);
    }
}
