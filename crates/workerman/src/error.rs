//! What can go wrong with a worker.

use std::io;

use workerman_connection::{BoxError, SendError};

/// Why a worker could not be started, or a call of the facade failed.
///
/// Its `Debug` form is its text: that is what `fn main() -> workerman::Result<()>` shows the user.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another program, or another worker, listens on the address.
    #[error("address in use: {address}")]
    AddressInUse {
        /// Which one.
        address: String,
    },
    /// The address may not be used by this user (a port below 1024, a directory that cannot be written).
    #[error("permission denied: cannot listen on {address}")]
    PermissionDenied {
        /// Which one.
        address: String,
    },
    /// The address is none of this machine's.
    #[error("address not available on this machine: {address}")]
    AddressNotAvailable {
        /// Which one.
        address: String,
    },
    /// The name of an address could not be looked up.
    #[error("cannot look up {address}: {source}")]
    Resolve {
        /// Which one.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Listening on an address failed in another way.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which one.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// `run` or `run_all` was called inside an async runtime, which it would block.
    #[error("called inside an async runtime: use `.serve().await` there")]
    InsideRuntime,
    /// The worker does not run yet, or is stopping.
    #[error("the worker is not running")]
    NotRunning,
    /// A worker would start threads inside a simulation, which has one thread and a clock of its own.
    #[cfg(feature = "sim")]
    #[error("called inside a simulation, which cannot have threads: give the worker to `Sim::worker`")]
    InsideSimulation,
    /// The state of a worker could not be made.
    #[error("worker {worker}: its state failed: {source}")]
    State {
        /// Which worker.
        worker: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// `on_worker_start` failed.
    #[error("worker {worker}: on_worker_start failed: {source}")]
    WorkerStart {
        /// Which worker.
        worker: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// A thread of a worker could not be started, or ended by a panic of ours.
    #[error("worker {worker}: a thread failed: {source}")]
    Thread {
        /// Which worker.
        worker: String,
        /// Why.
        source: io::Error,
    },
    /// A signal cannot be watched.
    #[error("cannot watch signals: {0}")]
    Signal(#[source] io::Error),
    /// A message was not taken; a [`SendError`] in a box, so that `?` works on `send`.
    #[error("not sent: {0}")]
    Send(#[source] BoxError),
    /// An error of the connection layer.
    #[error(transparent)]
    Connection(#[from] workerman_connection::Error),
    /// The environment asks for an event loop that does not exist here.
    #[error(transparent)]
    EventLoop(#[from] workerman_event::Error),
    /// Any input or output error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<E: std::error::Error + Send + Sync + 'static> From<SendError<E>> for Error {
    fn from(error: SendError<E>) -> Self {
        Self::Send(error.into())
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The result of most calls of the facade.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;
