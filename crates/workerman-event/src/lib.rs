//! The event loop of workerman: one trait, three backends, and the clock, timers and sockets that go with them.
//!
//! A [`Backend`] **delivers data, not readiness**: it reads for you and hands the bytes to a [`Sink`], so that epoll,
//! tokio's reactor, a completion queue and a simulator all fit behind one interface. The sink gets the backend back
//! with each call and can write, pause or close inside a turn.
//!
//! - [`Epoll`](epoll::Epoll) (Linux, the default there): our own edge-triggered epoll instance, registered in the
//!   thread's tokio runtime.
//! - [`Tokio`](tokio_backend::Tokio) (every platform, the reference): tokio's sockets.
//! - `Sim` (feature `sim`): an in-memory network with virtual time, seeded and replayable.
//!
//! Every event-loop thread is a tokio `LocalRuntime` ([`block_on`]), so whatever runs on it may use any tokio library.
//!
//! # What this layer must never do
//! It knows no protocol, keeps no message, calls no user code but the sink, and never blocks. Outside of it nobody
//! reads the clock or opens a socket.
#![forbid(unsafe_code)]

mod address;
mod alarm;
mod backend;
mod chunk;
mod deadlines;
#[cfg(target_os = "linux")]
pub mod epoll;
mod kind;
mod limits;
mod resolver;
mod runtime;
mod signals;
#[cfg(feature = "sim")]
pub mod sim;
mod socket;
mod timers;
pub mod tokio_backend;

pub use address::Address;
pub use alarm::Alarm;
pub use backend::{Backend, DatagramId, ListenerId, ResolveId, Signal, Sink, Token};
pub use deadlines::Deadlines;
pub use kind::{BACKEND_VARIABLE, BackendKind, Error};
pub use limits::{OpenFiles, raise_open_files};
pub use runtime::{JoinHandle, block_on, spawn};
pub use signals::Signals;
pub use socket::{DEFAULT_BACKLOG, Datagram, DatagramOptions, KeepAlive, ListenOptions, Listener, Stream};
pub use timers::{Removed, TimerId, Timers};
