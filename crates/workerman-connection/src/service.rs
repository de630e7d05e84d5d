//! A service: one protocol, its callbacks and bounds, and all connections that use them, on any number of loops.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use workerman_protocol::{Outbox, Protocol, Shared};

use crate::remote::Remote;
use crate::shared::RESERVED;
use crate::{Connection, Handlers, Layer, Overflow, SendError, Settings};

type MakeProtocol<P> = Box<dyn Fn() -> P + Send + Sync>;
type MakeLayer = Box<dyn Fn() -> Box<dyn Layer> + Send + Sync>;

/// One protocol, its callbacks and bounds, and all connections that use them: what a worker is to its connections.
///
/// Shared (`Arc`) by the listeners, clients and upgrades that make connections of it, on any number of loops.
pub struct Service<P: Protocol> {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    pub(crate) handlers: Handlers<P>,
    make: MakeProtocol<P>,
    layer: Option<MakeLayer>,
    state: OnceLock<Arc<dyn Any + Send + Sync>>,
    owner: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// Open connections, for the cap.
    pub(crate) live: AtomicUsize,
    /// Loops that have stopped to accept until there is room.
    waiting: Mutex<Vec<Arc<Remote>>>,
    registries: Mutex<Registries<P>>,
}

/// The connections of one service, by loop.
struct Registries<P: Protocol> {
    last: usize,
    /// In the order of their numbers.
    list: Vec<Registry<P>>,
}

/// The connections of one service on one loop, by slot.
struct Registry<P: Protocol> {
    /// Counted from 1 and never reused, so that a walk finds its place again.
    number: usize,
    remote: Arc<Remote>,
    connections: Vec<Option<Connection<P>>>,
}

impl<P: Protocol> Service<P> {
    /// A service whose connections each get a protocol from `make`.
    pub fn new(
        name: impl Into<String>,
        make: impl Fn() -> P + Send + Sync + 'static,
        handlers: Handlers<P>,
        settings: Settings,
    ) -> Self {
        Self {
            name: name.into(),
            settings,
            handlers,
            make: Box::new(make),
            layer: None,
            state: OnceLock::new(),
            owner: OnceLock::new(),
            live: AtomicUsize::new(0),
            waiting: Mutex::default(),
            registries: Mutex::new(Registries { last: 0, list: Vec::new() }),
        }
    }

    /// Puts a layer below the protocol of each connection.
    pub fn layer(mut self, make: impl Fn() -> Box<dyn Layer> + Send + Sync + 'static) -> Self {
        self.layer = Some(Box::new(make));
        self
    }

    /// The name; for logs and tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bounds of its connections.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Number of open connections.
    pub fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets the shared state; only the first call counts. Returns whether it did.
    pub fn set_state(&self, state: Arc<dyn Any + Send + Sync>) -> bool {
        self.state.set(state).is_ok()
    }

    /// The shared state, if it is set and of this type.
    pub fn state<S: Any + Send + Sync>(&self) -> Option<&S> {
        self.state.get()?.downcast_ref()
    }

    /// Notes who runs the service (a worker); only the first call counts. Returns whether it did.
    pub fn set_owner(&self, owner: Arc<dyn Any + Send + Sync>) -> bool {
        self.owner.set(owner).is_ok()
    }

    /// Who runs the service, if that is noted and of this type.
    pub fn owner<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.owner.get()?.downcast_ref()
    }

    pub(crate) fn make_protocol(&self) -> P {
        (self.make)()
    }

    pub(crate) fn make_layer(&self) -> Option<Box<dyn Layer>> {
        self.layer.as_ref().map(|make| make())
    }

    /// Takes a place for one more connection, if there is one.
    pub(crate) fn reserve(&self) -> bool {
        let max = self.settings.max_connections.unwrap_or(usize::MAX);
        let room = |live| (live < max).then_some(live + 1);
        self.live.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_ok()
    }

    /// Whether it is full; if so, the loop is told when there is room.
    pub(crate) fn waits_for_room(&self, remote: &Arc<Remote>) -> bool {
        let full =
            || self.settings.max_connections.is_some_and(|max| self.live.load(Ordering::Acquire) >= max);
        if !full() {
            return false;
        }
        // Looked at again under the lock, which whoever leaves takes after it has left.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !full() {
            return false;
        }
        if !waiting.iter().any(|other| Arc::ptr_eq(other, remote)) {
            waiting.push(Arc::clone(remote));
        }
        true
    }

    /// Gives a place back.
    pub(crate) fn leave(&self) {
        self.live.fetch_sub(1, Ordering::AcqRel);
        if self.settings.max_connections.is_some() {
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            for remote in waiting {
                remote.offer_room();
            }
        }
    }

    fn registries(&self) -> std::sync::MutexGuard<'_, Registries<P>> {
        self.registries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn register(&self, remote: &Arc<Remote>, slot: usize, conn: Connection<P>) {
        if conn.0.clear(RESERVED) & RESERVED == 0 {
            self.live.fetch_add(1, Ordering::AcqRel);
        }
        let mut registries = self.registries();
        let index = registries.list.iter().position(|registry| Arc::ptr_eq(&registry.remote, remote));
        let index = index.unwrap_or_else(|| {
            registries.last += 1;
            let number = registries.last;
            let remote = Arc::clone(remote);
            registries.list.push(Registry { number, remote, connections: Vec::new() });
            registries.list.len() - 1
        });
        let connections = &mut registries.list[index].connections;
        if connections.len() <= slot {
            connections.resize_with(slot + 1, || None);
        }
        let old = connections[slot].replace(conn);
        drop(registries);
        drop(old);
    }

    pub(crate) fn unregister(&self, remote: &Arc<Remote>, slot: usize) {
        let mut registries = self.registries();
        let mut removed = None;
        let mut of_loop = registries.list.iter_mut();
        if let Some(registry) = of_loop.find(|registry| Arc::ptr_eq(&registry.remote, remote)) {
            removed = registry.connections.get_mut(slot).and_then(Option::take);
            while registry.connections.last().is_some_and(Option::is_none) {
                registry.connections.pop();
            }
        }
        registries.list.retain(|registry| !registry.connections.is_empty() || !registry.remote.is_stopped());
        drop(registries);
        drop(removed);
        self.leave();
    }

    /// Walks the open connections in slices: up to `max` of them, and where to go on.
    ///
    /// Connections that come or go between two calls may be missed or seen; none is seen twice in one walk.
    ///
    /// # Examples
    /// ```
    /// # use workerman_connection::{Service, Handlers, Settings, Cursor};
    /// # let service = Service::new("", workerman_protocol::Raw::new, Handlers::new(), Settings::default());
    /// let mut cursor = Cursor::default();
    /// loop {
    ///     let slice = service.slice(&mut cursor, 256);
    ///     if slice.is_empty() {
    ///         break;
    ///     }
    ///     for connection in slice {
    ///         println!("{} {}", connection.id(), connection.peer_addr());
    ///     }
    /// }
    /// ```
    pub fn slice(&self, cursor: &mut Cursor, max: usize) -> Vec<Connection<P>> {
        let registries = self.registries();
        let mut slice = Vec::new();
        let from = cursor.registry;
        for registry in registries.list.iter().filter(|registry| registry.number >= from) {
            if registry.number > cursor.registry {
                *cursor = Cursor { registry: registry.number, slot: 0 };
            }
            for conn in registry.connections.iter().skip(cursor.slot) {
                cursor.slot += 1;
                if let Some(conn) = conn {
                    slice.push(conn.clone());
                    if slice.len() >= max.max(1) {
                        return slice;
                    }
                }
            }
            *cursor = Cursor { registry: registry.number + 1, slot: 0 };
        }
        slice
    }

    /// All open connections, as they are now.
    pub fn connections(&self) -> Vec<Connection<P>> {
        self.slice(&mut Cursor::default(), usize::MAX)
    }

    /// Sends one message to all connections but those that `skip` says; encoded once, its bytes shared.
    ///
    /// # Errors
    /// The message cannot be encoded, or differs between the connections of this protocol; nothing was sent.
    pub fn broadcast_except(
        &self,
        message: impl Into<P::Outgoing>,
        skip: impl Fn(&Connection<P>) -> bool,
    ) -> Result<Broadcast, SendError<P::Error>> {
        self.broadcast_with(message, Overflow::Refuse, skip)
    }

    /// The same; for receivers whose queue is full, what `overflow` says ([`Connection::send_or`]).
    ///
    /// # Errors
    /// As [`broadcast_except`](Self::broadcast_except).
    pub fn broadcast_with(
        &self,
        message: impl Into<P::Outgoing>,
        overflow: Overflow,
        skip: impl Fn(&Connection<P>) -> bool,
    ) -> Result<Broadcast, SendError<P::Error>> {
        let shared = share::<P>(message.into())?;
        let mut result = Broadcast::default();
        let mut cursor = Cursor::default();
        loop {
            let slice = self.slice(&mut cursor, 1024);
            if slice.is_empty() {
                return Ok(result);
            }
            for conn in slice {
                if skip(&conn) {
                    continue;
                }
                match conn.send_shared_or(&shared, overflow) {
                    Ok(_) => result.sent += 1,
                    Err(_) => result.refused += 1,
                }
            }
        }
    }

    /// Sends one message to all connections; encoded once, its bytes shared.
    ///
    /// A receiver whose queue is full is left out and counted; it slows nobody else.
    ///
    /// # Errors
    /// As [`broadcast_except`](Self::broadcast_except).
    pub fn broadcast(&self, message: impl Into<P::Outgoing>) -> Result<Broadcast, SendError<P::Error>> {
        self.broadcast_except(message, |_| false)
    }
}

/// Encodes a message for many connections.
fn share<P: Protocol>(message: P::Outgoing) -> Result<Shared, SendError<P::Error>> {
    if let Some(shared) = P::encode_shared(&message) {
        return Ok(shared);
    }
    if size_of::<P::Sending>() != 0 {
        return Err(SendError::NotShareable);
    }
    let mut out = Outbox::new();
    P::encode(&mut P::Sending::default(), message, &mut out).map_err(SendError::Encode)?;
    Ok(out.into_bytes().into())
}

/// Where a walk over connections goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    registry: usize,
    slot: usize,
}

/// What became of a broadcast.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Broadcast {
    /// Connections that took the message.
    pub sent: usize,
    /// Connections that did not: full or closing.
    pub refused: usize,
}

impl<P: Protocol> std::fmt::Debug for Service<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("connections", &self.len())
            .finish_non_exhaustive()
    }
}
