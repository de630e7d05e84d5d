//! The three ways to run: on this thread, on threads of its own as a future, and all workers of a program.
//!
//! A worker starts on its first loop: state, then the other threads, then `on_worker_start` and the listeners on each.
//! Whatever fails before is the result; nothing has been accepted then.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use workerman_connection::{EventLoop, LoopHandle, LoopSettings};
use workerman_event::{Address, BackendKind, Listener, Signal};
use workerman_protocol::Protocol;

use crate::bind::BoundAddress;
use crate::handle::{Handle, Hook};
use crate::hook::caught;
use crate::worker::MakeState;
use crate::{Error, Result};

/// A worker whose listeners are open and that does not run yet.
#[must_use = "a worker accepts nothing until it is run"]
pub struct Bound<P: Protocol> {
    pub(crate) handle: Handle<P>,
    pub(crate) addresses: Vec<BoundAddress>,
    pub(crate) threads: usize,
    pub(crate) event_loop: BackendKind,
    pub(crate) loop_settings: LoopSettings,
    pub(crate) signals: bool,
    pub(crate) state: Option<MakeState<P>>,
    pub(crate) on_start: Option<Hook<P>>,
}

/// A loop that does not run yet, and what it will listen on.
struct Prepared {
    event_loop: EventLoop,
    own: LoopHandle,
    mine: Vec<(Address, Listener)>,
}

/// What the loops of one worker share while they start and end.
struct Start<P: Protocol> {
    handle: Handle<P>,
    on_start: Option<Hook<P>>,
    event_loop: BackendKind,
    threads: Mutex<Vec<JoinHandle<()>>>,
    failure: Mutex<Option<Error>>,
    /// In a simulation the other loops are tasks: this takes them there.
    #[cfg(feature = "sim")]
    tasks: Option<tokio::sync::mpsc::UnboundedSender<EventLoop>>,
}

impl<P: Protocol> Start<P> {
    /// The first failure is the worker's result; all of it stops.
    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.handle.stop();
    }

    /// Starts one loop: what follows once it runs, on its thread.
    async fn start_loop(self: Arc<Self>, index: usize, own: LoopHandle, mine: Vec<(Address, Listener)>) {
        if self.handle.loops.is_stopping() {
            return;
        }
        if self.on_start.is_some() {
            let start = Arc::clone(&self);
            let hook = caught(async move {
                let Some(on_start) = &start.on_start else { return Ok(()) };
                on_start(&start.handle).await
            });
            if let Err(source) = hook.await {
                let worker = self.handle.name().to_owned();
                self.fail(Error::WorkerStart { worker, source });
                return;
            }
        }
        self.handle.loops.started(index);
        if self.handle.loops.is_stopping() {
            return;
        }
        for (address, listener) in mine {
            if let Err(error) = self.handle.loops.listen(&address, listener, &own, &self.handle.service) {
                self.fail(error);
            }
        }
        tracing::info!(worker = self.handle.name(), addresses = ?self.handle.addresses(), "started");
    }

    /// Starts another loop, on a thread of its own.
    fn spawn_thread(self: &Arc<Self>, index: usize, prepared: Prepared) -> Result<()> {
        let Prepared { event_loop, own, mine } = prepared;
        let start = Arc::clone(self);
        let begins = own.clone();
        own.run(move || drop(workerman_event::spawn(start.start_loop(index, begins, mine))))?;
        #[cfg(feature = "sim")]
        if let Some(tasks) = &self.tasks {
            // As many as there are threads; it fails only when the simulation is over.
            let _ = tasks.send(event_loop);
            return Ok(());
        }
        let start = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name(format!("{}-{index}", self.handle.name()))
            .spawn(move || {
                let _span =
                    tracing::info_span!("worker", name = start.handle.name(), thread = index).entered();
                let ended = event_loop.run(start.event_loop);
                if let Err(error) = ended {
                    start.fail(error.into());
                }
            })
            .map_err(|source| Error::Thread { worker: self.handle.name().to_owned(), source })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }
}

impl<P: Protocol> Bound<P> {
    /// The bound addresses; a port that was 0 is the one that the system chose.
    pub fn addresses(&self) -> Vec<Address> {
        self.addresses.iter().map(|bound| bound.address.clone()).collect()
    }

    /// A handle to stop the worker, to count and to broadcast; usable before and while it runs.
    pub fn handle(&self) -> Handle<P> {
        self.handle.clone()
    }

    /// See [`Worker::run`](crate::Worker::run).
    ///
    /// # Errors
    /// The worker's state or `on_worker_start` fails, or this is called inside a runtime.
    pub fn run(self) -> Result<()> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(Error::InsideRuntime);
        }
        raise_open_files();
        let signals = self.signals;
        self.run_here(signals)
    }

    /// Runs the first loop on this thread.
    fn run_here(self, signals: bool) -> Result<()> {
        let kind = self.event_loop;
        let (event_loop, start) = self.prepare(signals, |_| ())?;
        let _span = tracing::info_span!("worker", name = start.handle.name(), thread = 0).entered();
        if let Err(error) = event_loop.run(kind) {
            start.fail(error.into());
        }
        Self::join(&start)
    }

    /// Everything but running the first loop.
    fn prepare(
        self,
        signals: bool,
        adjust: impl FnOnce(&mut Start<P>),
    ) -> Result<(EventLoop, Arc<Start<P>>)> {
        let mut loops: Vec<Prepared> = (0..self.threads)
            .map(|_| {
                let (event_loop, own) = EventLoop::new(self.loop_settings.clone());
                self.handle.loops.attach(own.clone());
                Prepared { event_loop, own, mine: Vec::new() }
            })
            .collect();
        for bound in self.addresses {
            for (prepared, listener) in loops.iter_mut().zip(bound.listeners) {
                prepared.mine.push((bound.address.clone(), listener));
            }
        }
        let others = loops.split_off(1);
        let first = loops.pop().expect("a worker has at least one thread");
        let mut start = Start {
            handle: self.handle,
            on_start: self.on_start,
            event_loop: self.event_loop,
            threads: Mutex::default(),
            failure: Mutex::default(),
            #[cfg(feature = "sim")]
            tasks: None,
        };
        adjust(&mut start);
        let start = Arc::new(start);
        let Prepared { event_loop, own, mine } = first;
        if start.handle.loops.is_stopping() {
            // Stopped by its handle before it ran.
            own.stop();
            return Ok((event_loop, start));
        }
        if signals {
            for signal in STOP_SIGNALS {
                let handle = start.handle.clone();
                own.on_signal(*signal, move || handle.stop())?;
            }
        }
        let state = self.state;
        let first = Arc::clone(&start);
        let begins = own.clone();
        own.run(move || {
            drop(workerman_event::spawn(async move {
                if let Some(state) = state {
                    let made = caught(state(first.handle.clone()));
                    match made.await {
                        Ok(state) => {
                            first.handle.service.set_state(state);
                        }
                        Err(source) => {
                            let worker = first.handle.name().to_owned();
                            first.fail(Error::State { worker, source });
                            return;
                        }
                    }
                }
                if first.handle.loops.is_stopping() {
                    return;
                }
                for (index, prepared) in others.into_iter().enumerate() {
                    if let Err(error) = first.spawn_thread(index + 1, prepared) {
                        first.fail(error);
                        return;
                    }
                }
                first.start_loop(0, begins, mine).await;
            }));
        })?;
        Ok((event_loop, start))
    }

    /// The end: waits for the other threads, and tells what failed first.
    fn join(start: &Arc<Start<P>>) -> Result<()> {
        start.handle.stop();
        let threads = std::mem::take(&mut *start.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                let source = io::Error::other("the thread panicked");
                start.fail(Error::Thread { worker: start.handle.name().to_owned(), source });
            }
        }
        let failure = start.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }

    /// See [`Worker::serve`](crate::Worker::serve).
    pub fn serve(self) -> Serving<P> {
        raise_open_files();
        let handle = self.handle();
        let (done, ended) = oneshot::channel();
        let name = format!("{}-0", handle.name());
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            let _ = done.send(self.run_here(false));
        });
        match spawned {
            Ok(_) => Serving { handle: Some(handle), ended: Some(ended), failed: None },
            Err(source) => Serving::failed(Error::Thread { worker: handle.name().to_owned(), source }),
        }
    }

    /// Runs inside a simulation: each loop is a task, on a backend from `backend`. Dropping the future is a crash.
    #[cfg(feature = "sim")]
    pub(crate) async fn run_simulated<B: workerman_event::Backend>(
        self,
        backend: impl Fn() -> B,
    ) -> Result<()> {
        let (others, mut more) = tokio::sync::mpsc::unbounded_channel();
        let signals = self.signals;
        let (event_loop, start) = self.prepare(signals, |start| start.tasks = Some(others))?;
        let mut loops = tokio::task::JoinSet::new();
        loops.spawn_local(event_loop.run_among(backend()));
        std::future::poll_fn(|cx| {
            while let Poll::Ready(Some(event_loop)) = more.poll_recv(cx) {
                loops.spawn_local(event_loop.run_among(backend()));
            }
            while let Some(ended) = std::task::ready!(loops.poll_join_next(cx)) {
                if let Err(panic) = ended.map_err(tokio::task::JoinError::try_into_panic) {
                    std::panic::resume_unwind(panic.expect("the loops are aborted by nobody else"));
                }
            }
            Poll::Ready(())
        })
        .await;
        Self::join(&start)
    }
}

impl<P: Protocol> std::fmt::Debug for Bound<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

/// A worker that runs on threads of its own; the future ends when they have ended.
///
/// Dropping it stops the worker gracefully, without waiting.
#[must_use = "dropping it stops the worker"]
pub struct Serving<P: Protocol> {
    handle: Option<Handle<P>>,
    ended: Option<oneshot::Receiver<Result<()>>>,
    failed: Option<Error>,
}

impl<P: Protocol> Serving<P> {
    pub(crate) fn failed(error: Error) -> Self {
        Self { handle: None, ended: None, failed: Some(error) }
    }

    /// A handle of the worker; `None` if it could not be bound.
    pub fn handle(&self) -> Option<Handle<P>> {
        self.handle.clone()
    }
}

impl<P: Protocol> Future for Serving<P> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let Some(ended) = &mut self.ended else { return Poll::Ready(Ok(())) };
        let result = std::task::ready!(Pin::new(ended).poll(cx));
        self.ended = None;
        let gone = |_| {
            let worker = self.handle.as_ref().map_or(String::new(), |handle| handle.name().to_owned());
            Err(Error::Thread { worker, source: io::Error::other("the thread panicked") })
        };
        Poll::Ready(result.unwrap_or_else(gone))
    }
}

impl<P: Protocol> Drop for Serving<P> {
    fn drop(&mut self) {
        if let (Some(handle), true) = (&self.handle, self.ended.is_some()) {
            handle.stop();
        }
    }
}

impl<P: Protocol> std::fmt::Debug for Serving<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// Signals that stop a worker gracefully.
pub(crate) const STOP_SIGNALS: &[Signal] =
    if cfg!(unix) { &[Signal::Interrupt, Signal::Terminate] } else { &[Signal::Interrupt] };

/// Servers need descriptors: the soft limit is raised to the hard one.
pub(crate) fn raise_open_files() {
    match workerman_event::raise_open_files() {
        Ok(files) if files.now != files.before => {
            tracing::info!(before = files.before, now = files.now, "raised the limit of open files");
        }
        Ok(files) => tracing::info!(now = files.now, "limit of open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}
