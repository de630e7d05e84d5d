//! The loop of one thread: its handle for everybody, and the future that runs it on a backend.
//!
//! A turn: input and output of at most so many events, due timers, due deadlines, what came in from outside
//! (connections with something queued, commands), connections with work left over, replies that were held back. Then
//! it sleeps, or yields to the other tasks of the thread and goes on.

#[cfg(feature = "sim")]
use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use workerman_event::{Alarm, Backend, BackendKind, Listener, Signal};
use workerman_protocol::Protocol;

use crate::accept::{Accept, Acceptor};
use crate::client::Dial;
use crate::counters::Snapshot;
use crate::panics::dispose;
use crate::remote::Remote;
use crate::slots::Slots;
use crate::timer::{self, Local};
use crate::{Error, LoopSettings, Service};

/// What a command may do on the loop's thread.
pub(crate) trait Control {
    fn listen(&mut self, key: u64, listener: Listener, accept: Box<dyn Accept>) -> io::Result<()>;
    fn unlisten(&mut self, key: u64);
    fn accepting(&mut self, key: u64, on: bool);
    fn dial(&mut self, dial: Box<dyn Dial>);
    fn watch_signal(&mut self, signal: Signal, call: Box<dyn FnMut()>) -> io::Result<()>;
    fn drain(&mut self, limit: Duration, done: Box<dyn FnOnce(Drained)>);
    fn stop(&mut self);
}

/// What became of the connections of a loop that was drained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Drained {
    /// Connections that ended within the time.
    pub finished: usize,
    /// Connections that were cut at its end.
    pub cut: usize,
}

/// A handle of an event loop: what other threads, and callbacks, may ask of it.
#[derive(Clone)]
pub struct LoopHandle {
    pub(crate) remote: Arc<Remote>,
}

static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

impl LoopHandle {
    /// The loop whose turn runs on this thread, or whose thread this is.
    pub fn current() -> Option<Self> {
        timer::current().map(|local| Self { remote: Arc::clone(&local.remote) })
    }

    /// Starts to accept connections of `service` on a bound listener.
    ///
    /// # Errors
    /// [`Error::Stopped`]. A listener that the backend refuses is logged.
    pub fn listen<P: Protocol>(
        &self,
        service: Arc<Service<P>>,
        listener: Listener,
    ) -> Result<Listening, Error> {
        self.listen_as(service, listener, true)
    }

    /// Like [`listen`](Self::listen), and accepts nothing before [`Listening::resume_accept`].
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub fn listen_paused<P: Protocol>(
        &self,
        service: Arc<Service<P>>,
        listener: Listener,
    ) -> Result<Listening, Error> {
        self.listen_as(service, listener, false)
    }

    fn listen_as<P: Protocol>(
        &self,
        service: Arc<Service<P>>,
        listener: Listener,
        accepting: bool,
    ) -> Result<Listening, Error> {
        let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
        let remote = Arc::clone(&self.remote);
        self.remote.post(Box::new(move |control| {
            let address = listener.local_address().ok();
            let accept = Box::new(Acceptor::new(service, remote, address.clone()));
            if let Err(error) = control.listen(key, listener, accept) {
                tracing::error!(?address, %error, "cannot listen");
            } else if !accepting {
                control.accepting(key, false);
            }
        }))?;
        Ok(Listening { key, remote: Arc::clone(&self.remote) })
    }

    /// Calls `f` on the loop's thread, between two turns; a panic in it is caught and logged.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn run(&self, f: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.remote.post(Box::new(|_| f()))
    }

    /// Calls `f` on the loop's thread each time the process gets `signal`.
    ///
    /// # Errors
    /// [`Error::Stopped`]. A signal that the system does not have is logged.
    pub fn on_signal(&self, signal: Signal, f: impl FnMut() + Send + 'static) -> Result<(), Error> {
        self.remote.post(Box::new(move |control| {
            if let Err(error) = control.watch_signal(signal, Box::new(f)) {
                tracing::error!(?signal, %error, "cannot watch a signal");
            }
        }))
    }

    /// Drains: stops to accept, says goodbye to each connection in its protocol's way, lets what is in progress
    /// finish, and cuts what is left after `limit`. The loop goes on.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn drain(&self, limit: Duration) -> Result<Drained, Error> {
        let (done, drained) = oneshot::channel();
        self.remote.post(Box::new(move |control| {
            control.drain(
                limit,
                Box::new(move |result| {
                    let _ = done.send(result);
                }),
            );
        }))?;
        drained.await.map_err(|_| Error::Stopped)
    }

    /// Stops the loop at once: connections that are still open are cut with reason `Shutdown`.
    pub fn stop(&self) {
        let _ = self.remote.post(Box::new(|control| control.stop()));
    }

    /// Whether the loop has stopped.
    pub fn is_stopped(&self) -> bool {
        self.remote.is_stopped()
    }

    /// The loop's counters, now.
    pub fn snapshot(&self) -> Snapshot {
        self.remote.counters.snapshot(self.remote.queued.load(Ordering::Relaxed))
    }
}

impl std::fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoopHandle").field("stopped", &self.is_stopped()).finish()
    }
}

/// A listener of a loop; dropping this handle changes nothing.
#[derive(Clone)]
pub struct Listening {
    key: u64,
    remote: Arc<Remote>,
}

impl Listening {
    /// Closes the listener; open connections stay.
    pub fn unlisten(&self) {
        let key = self.key;
        let _ = self.remote.post(Box::new(move |control| control.unlisten(key)));
    }

    /// Stops to accept; newcomers wait in the backlog.
    #[doc(alias = "pauseAccept")]
    pub fn pause_accept(&self) {
        let key = self.key;
        let _ = self.remote.post(Box::new(move |control| control.accepting(key, false)));
    }

    /// Accepts again.
    #[doc(alias = "resumeAccept")]
    pub fn resume_accept(&self) {
        let key = self.key;
        let _ = self.remote.post(Box::new(move |control| control.accepting(key, true)));
    }
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("key", &self.key).finish_non_exhaustive()
    }
}

/// An event loop that is not running yet.
pub struct EventLoop {
    remote: Arc<Remote>,
}

impl EventLoop {
    /// A loop, and the handle to talk to it; what the handle is asked before the loop runs is done first.
    pub fn new(settings: LoopSettings) -> (Self, LoopHandle) {
        let remote = Remote::new(settings);
        (Self { remote: Arc::clone(&remote) }, LoopHandle { remote })
    }

    /// Runs the loop on this thread, in a tokio runtime of its own, until it is stopped.
    ///
    /// # Errors
    /// The backend does not start, or this thread runs a runtime already.
    pub fn run(self, kind: BackendKind) -> Result<(), Error> {
        let future = async move {
            match kind {
                #[cfg(target_os = "linux")]
                BackendKind::Epoll => {
                    self.run_on(workerman_event::epoll::Epoll::new().map_err(Error::Start)?).await;
                }
                _ => self.run_on(workerman_event::tokio_backend::Tokio::new()).await,
            }
            Ok(())
        };
        workerman_event::block_on(future).map_err(Error::Start)?
    }

    /// Runs the loop on `backend`, as a task of a thread's `LocalRuntime`, until it is stopped.
    pub async fn run_on<B: Backend>(self, backend: B) {
        let local = Rc::new(Local::new(Arc::clone(&self.remote)));
        // The thread's own tasks find the loop too.
        let _thread = timer::Thread::enter(&local);
        drive(self, local, backend).await;
    }

    /// Like [`run_on`](Self::run_on), for a thread that several loops share, as in a simulation.
    ///
    /// The tasks that callbacks spawn are kept in a tokio `LocalSet`: those are the ones that find this loop
    /// ([`LoopHandle::current`], timers, clients), and they end with it. The runtime must not be a `LocalRuntime`,
    /// which would take them for itself.
    #[cfg(feature = "sim")]
    pub async fn run_among<B: Backend>(self, backend: B) {
        let local = Rc::new(Local::new(Arc::clone(&self.remote)));
        let tasks = tokio::task::LocalSet::new();
        let mut run = std::pin::pin!(tasks.run_until(drive(self, Rc::clone(&local), backend)));
        poll_fn(|cx| {
            let _thread = timer::Thread::enter(&local);
            run.as_mut().poll(cx)
        })
        .await;
    }
}

/// A loop that is given up (before it ran, or by dropping the future that runs it) takes nothing any more.
impl Drop for EventLoop {
    fn drop(&mut self) {
        for command in self.remote.stop().commands {
            dispose(command);
        }
    }
}

/// Runs the loop until it is stopped.
async fn drive<B: Backend>(_given_up_when_dropped: EventLoop, local: Rc<Local>, mut backend: B) {
    let seed = backend.seed();
    let slots = Slots::new(Rc::clone(&local), seed, backend.refresh());
    let mut driver = Driver { slots, backend, alarm: Alarm::default() };
    // Unconstrained: the turn has its own budget, and tokio's would be spent by the sockets of one turn.
    tokio::task::unconstrained(async {
        while poll_fn(|cx| driver.poll(cx)).await == Turn::Again {
            // Not just a wake-up of this task: the runtime looks at its sockets and timers in between, so that
            // other tasks of the thread are served while the loop is busy.
            tokio::task::yield_now().await;
        }
    })
    .await;
    driver.finish();
}

impl std::fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLoop").finish_non_exhaustive()
    }
}

#[derive(PartialEq, Eq)]
enum Turn {
    Again,
    Stop,
}

struct Driver<B: Backend> {
    backend: B,
    slots: Slots,
    alarm: Alarm,
}

impl<B: Backend> Driver<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let local = Rc::clone(&self.slots.local);
        let remote = &local.remote;
        let _current = timer::Current::enter(&local);
        remote.begin(cx.waker());
        let events = remote.settings.events_per_turn;
        let io = &mut self.backend;
        let began = io.refresh();
        self.slots.begin_turn(io.unix_time().as_secs());
        let mut more = io.poll_turn(cx, events, &mut self.slots).is_ready();
        let now = io.refresh();
        self.slots.run_timers(now);
        self.slots.run_deadlines(io, now);
        self.slots.run_inbox(io);
        more |= self.slots.run_again(io);
        more |= self.slots.run_held(io);
        self.slots.settle_drain();
        let end = io.refresh();
        self.slots.turn_took(end, end.saturating_duration_since(began));
        if self.slots.is_over(end) {
            return Poll::Ready(Turn::Stop);
        }
        if more {
            return Poll::Ready(Turn::Again);
        }
        self.alarm.set(self.slots.next_deadline());
        if self.alarm.poll(cx).is_ready() || !remote.sleep() {
            return Poll::Ready(Turn::Again);
        }
        Poll::Pending
    }

    /// Cuts what is left.
    fn finish(&mut self) {
        let local = Rc::clone(&self.slots.local);
        let _current = timer::Current::enter(&local);
        self.slots.shut_down(&mut self.backend);
    }
}

/// The sooner of two instants.
pub(crate) fn sooner(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
