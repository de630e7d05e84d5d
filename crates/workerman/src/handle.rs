//! The handle of a worker, and what connections know of theirs.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use workerman_connection::{
    Broadcast, Connection, Cursor, Drained, Listening, LoopHandle, SendError, Service, Snapshot, Target,
};
use workerman_event::{Address, ListenOptions, Listener};
use workerman_protocol::Protocol;

use crate::bind::{self, Binder};
use crate::hook::{Hooked, caught};
use crate::{Error, Result};

pub(crate) type Hook<P> = Box<dyn Fn(&Handle<P>) -> Hooked + Send + Sync>;

/// The loops and listeners of a running worker.
pub(crate) struct Loops {
    state: Mutex<State>,
    pub(crate) options: ListenOptions,
    pub(crate) schemes: &'static [&'static str],
    pub(crate) stop_timeout: Duration,
    pub(crate) binder: Box<dyn Binder>,
}

#[derive(Default)]
struct State {
    loops: Vec<OneLoop>,
    listening: Vec<(Address, Vec<Listening>)>,
    stopping: bool,
    /// Listeners that come do not accept yet.
    paused: bool,
}

struct OneLoop {
    handle: LoopHandle,
    /// `on_worker_start` is done there, so `on_worker_stop` is due.
    started: bool,
}

impl Loops {
    pub(crate) fn new(
        options: ListenOptions,
        schemes: &'static [&'static str],
        stop_timeout: Duration,
        binder: Box<dyn Binder>,
    ) -> Self {
        Self { state: Mutex::default(), options, schemes, stop_timeout, binder }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a loop, and returns its number.
    pub(crate) fn attach(&self, handle: LoopHandle) -> usize {
        let mut state = self.lock();
        state.loops.push(OneLoop { handle, started: false });
        state.loops.len() - 1
    }

    /// Notes that `on_worker_start` is done on a loop.
    pub(crate) fn started(&self, index: usize) {
        if let Some(one) = self.lock().loops.get_mut(index) {
            one.started = true;
        }
    }

    fn has_started(&self, index: usize) -> bool {
        self.lock().loops.get(index).is_some_and(|one| one.started)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// An address is bound: it counts as one that is listened on before the loops accept.
    pub(crate) fn bound(&self, address: &Address) {
        self.lock().listening.push((address.clone(), Vec::new()));
    }

    /// Lets a loop listen on an address that was bound, unless it has been given up meanwhile.
    pub(crate) fn listen<P: Protocol>(
        &self,
        address: &Address,
        listener: Listener,
        on: &LoopHandle,
        service: &Arc<Service<P>>,
    ) -> Result<()> {
        let mut state = self.lock();
        let paused = state.paused;
        let Some((_, all)) = state.listening.iter_mut().find(|(at, _)| at == address) else { return Ok(()) };
        let service = Arc::clone(service);
        all.push(if paused { on.listen_paused(service, listener)? } else { on.listen(service, listener)? });
        Ok(())
    }

    fn handles(&self) -> Vec<LoopHandle> {
        self.lock().loops.iter().map(|one| one.handle.clone()).collect()
    }
}

/// A worker that is bound or running: stop it, drain it, count, broadcast, listen on more.
///
/// `Clone + Send + Sync`; it keeps nothing running. From a callback: `conn.worker()`.
pub struct Handle<P: Protocol> {
    pub(crate) service: Arc<Service<P>>,
    pub(crate) loops: Arc<Loops>,
    pub(crate) on_stop: Arc<Option<Hook<P>>>,
}

impl<P: Protocol> Clone for Handle<P> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            loops: Arc::clone(&self.loops),
            on_stop: Arc::clone(&self.on_stop),
        }
    }
}

impl<P: Protocol> Handle<P> {
    /// The name of the worker.
    pub fn name(&self) -> &str {
        self.service.name()
    }

    /// The addresses that the worker listens on now, with the ports that the system chose; known from
    /// `on_worker_start` on.
    #[doc(alias = "getSocketName")]
    pub fn addresses(&self) -> Vec<Address> {
        self.loops.lock().listening.iter().map(|(address, _)| address.clone()).collect()
    }

    /// All open connections, on all threads.
    pub fn connections(&self) -> Vec<Connection<P>> {
        self.service.connections()
    }

    /// Walks the open connections in slices; see [`Service::slice`].
    pub fn slice(&self, cursor: &mut Cursor, max: usize) -> Vec<Connection<P>> {
        self.service.slice(cursor, max)
    }

    /// Number of open connections.
    pub fn connection_count(&self) -> usize {
        self.service.len()
    }

    /// Sends a message to all connections of all threads; encoded once, its bytes shared.
    ///
    /// # Errors
    /// The message cannot be encoded; nothing was sent. A receiver that is full is counted, not an error.
    pub fn broadcast(
        &self,
        message: impl Into<P::Outgoing>,
    ) -> std::result::Result<Broadcast, SendError<P::Error>> {
        self.service.broadcast(message)
    }

    /// Like [`broadcast`](Self::broadcast), without the connections for which `skip` is true.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_except(
        &self,
        message: impl Into<P::Outgoing>,
        skip: impl Fn(&Connection<P>) -> bool,
    ) -> std::result::Result<Broadcast, SendError<P::Error>> {
        self.service.broadcast_except(message, skip)
    }

    /// The shared state of the worker, if it has one of this type.
    pub fn try_state<S: Any + Send + Sync>(&self) -> Option<&S> {
        self.service.state()
    }

    /// The counters of all loops of the worker, added up.
    pub fn counters(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for handle in self.loops.handles() {
            sum.add(&handle.snapshot());
        }
        sum
    }

    /// The worker's loops.
    pub fn loops(&self) -> Vec<LoopHandle> {
        self.loops.handles()
    }

    /// Listens on one more address, on all threads; returns the bound addresses.
    ///
    /// # Errors
    /// The address cannot be understood or bound (the error names it), or the worker does not run.
    pub fn listen(&self, address: impl AsRef<str>) -> Result<Vec<Address>> {
        let target = Target::parse(address.as_ref(), self.loops.schemes)?;
        let handles = self.loops.handles();
        if handles.is_empty() || self.loops.is_stopping() {
            return Err(Error::NotRunning);
        }
        let mut addresses = Vec::new();
        for bound in bind::bind(&target, &self.loops.options, handles.len(), &*self.loops.binder)? {
            self.loops.bound(&bound.address);
            for (handle, listener) in handles.iter().zip(bound.listeners) {
                self.loops.listen(&bound.address, listener, handle, &self.service)?;
            }
            addresses.push(bound.address);
        }
        Ok(addresses)
    }

    /// Closes all listeners; open connections stay. Idempotent.
    pub fn unlisten(&self) {
        let listening = std::mem::take(&mut self.loops.lock().listening);
        for listening in listening.iter().flat_map(|(_, all)| all) {
            listening.unlisten();
        }
    }

    /// Closes the listeners of one address; `false` if there is none.
    pub fn unlisten_from(&self, address: &Address) -> bool {
        let mut state = self.loops.lock();
        let Some(index) = state.listening.iter().position(|(at, _)| at == address) else { return false };
        let (_, all) = state.listening.remove(index);
        drop(state);
        all.iter().for_each(Listening::unlisten);
        true
    }

    /// Stops to accept, on addresses that are added later too; newcomers wait in the backlog. Idempotent.
    #[doc(alias = "pauseAccept")]
    pub fn pause_accept(&self) {
        self.accepting(false);
    }

    /// Accepts again. Idempotent.
    #[doc(alias = "resumeAccept")]
    pub fn resume_accept(&self) {
        self.accepting(true);
    }

    fn accepting(&self, on: bool) {
        let mut state = self.loops.lock();
        state.paused = !on;
        for listening in state.listening.iter().flat_map(|(_, all)| all) {
            if on {
                listening.resume_accept();
            } else {
                listening.pause_accept();
            }
        }
    }

    /// Drains all threads: stops to accept, says goodbye to each connection, cuts what is left after `limit`.
    ///
    /// The worker goes on without listeners; [`stop`](Self::stop) ends it.
    pub async fn drain(&self, limit: Duration) -> Drained {
        self.loops.lock().listening.clear();
        let drains: Vec<_> = self
            .loops
            .handles()
            .into_iter()
            .map(|handle| async move { handle.drain(limit).await.unwrap_or_default() })
            .collect();
        let mut sum = Drained::default();
        // All drains are asked for at once by the first poll of each; waiting for one after the other is enough.
        for drained in crate::join::all(drains).await {
            sum.finished += drained.finished;
            sum.cut += drained.cut;
        }
        sum
    }

    /// Stops the worker gracefully: `on_worker_stop`, then a drain of at most the worker's stop timeout (2 s), then
    /// the end of its threads. Returns at once; callable from anywhere, any number of times.
    #[doc(alias = "stopAll")]
    pub fn stop(&self) {
        let handles = {
            let mut state = self.loops.lock();
            state.listening.clear();
            if std::mem::replace(&mut state.stopping, true) {
                return;
            }
            state.loops.iter().map(|one| one.handle.clone()).collect::<Vec<_>>()
        };
        for (index, handle) in handles.iter().enumerate() {
            self.stop_loop(index, handle);
        }
    }

    /// The end of one loop, on its own thread.
    fn stop_loop(&self, index: usize, handle: &LoopHandle) {
        let worker = self.clone();
        let stop = handle.clone();
        let posted = handle.run(move || {
            drop(workerman_event::spawn(async move {
                let limit = worker.loops.stop_timeout;
                if worker.on_stop.is_some() && worker.loops.has_started(index) {
                    let stopping = worker.clone();
                    let hook = caught(async move {
                        let Some(on_stop) = &*stopping.on_stop else { return Ok(()) };
                        on_stop(&stopping).await
                    });
                    // The hook may take as long as the drain, not for ever.
                    match tokio::time::timeout(limit, hook).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => {
                            tracing::error!(worker = worker.name(), %error, "on_worker_stop failed");
                        }
                        Err(_) => {
                            tracing::error!(worker = worker.name(), ?limit, "on_worker_stop takes too long");
                        }
                    }
                }
                match stop.drain(limit).await {
                    Ok(drained) if drained.cut > 0 => {
                        tracing::warn!(worker = worker.name(), cut = drained.cut, "connections were cut");
                    }
                    _ => {}
                }
                stop.stop();
            }));
        });
        if posted.is_err() {
            handle.stop();
        }
    }
}

impl<P: Protocol> std::fmt::Debug for Handle<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("name", &self.name()).field("addresses", &self.addresses()).finish()
    }
}

/// What a connection knows of its worker; in the prelude.
pub trait WorkerConnection<P: Protocol> {
    /// The worker that accepted the connection.
    ///
    /// # Panics
    /// If the connection belongs to no worker of this crate (it is a client's, or of a hand-made service).
    fn worker(&self) -> Handle<P>;

    /// The shared state of the worker.
    ///
    /// # Panics
    /// If the worker has no state of this type; inside a callback that ends the connection alone.
    fn state<S: Any + Send + Sync>(&self) -> &S;
}

impl<P: Protocol> WorkerConnection<P> for Connection<P> {
    fn worker(&self) -> Handle<P> {
        let owner = self.service().owner::<Owner<P>>().expect("the connection was accepted by a worker");
        Handle {
            service: Arc::clone(self.service()),
            loops: Arc::clone(&owner.loops),
            on_stop: Arc::clone(&owner.on_stop),
        }
    }

    fn state<S: Any + Send + Sync>(&self) -> &S {
        self.service().state().unwrap_or_else(|| {
            panic!(
                "worker {} has no state of type {}: set one with `.state(..)`",
                self.service().name(),
                std::any::type_name::<S>()
            )
        })
    }
}

/// What a service keeps of its worker.
pub(crate) struct Owner<P: Protocol> {
    pub(crate) loops: Arc<Loops>,
    pub(crate) on_stop: Arc<Option<Hook<P>>>,
}
