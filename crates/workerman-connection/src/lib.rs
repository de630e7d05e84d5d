//! Connections of workerman: a pure session, a cheap handle that works from anywhere, and the loop that drives them.
//!
//! - [`session::Session`] is the core: bytes in, messages out, life cycle, deadlines. It does no input or output.
//! - [`Connection`] is the handle: `Clone + Send + Sync`, of a server's or a client's connection alike.
//! - [`Service`] is what connections have in common: protocol, callbacks ([`Handlers`]), bounds ([`Settings`]).
//! - [`EventLoop`] runs any number of services and clients on one thread, over any backend of `workerman-event`.
//! - [`Client`] makes connections; [`Timer`] calls back later.
//!
//! # The order of things
//! Everything that arrived for a connection is decoded and handled, then written once. What a callback asks of the
//! loop (close, pause, upgrade, listen) is done after it has returned. Callbacks never nest, are never called with a
//! lock held, and a panic in one ends its connection alone.
//!
//! # What this crate must never do
//! Read the clock or open a socket (that is the backend's), know a concrete protocol, keep anything without a bound.
#![forbid(unsafe_code)]

mod accept;
mod client;
#[cfg(feature = "codec")]
pub mod codec;
mod connection;
mod cork;
mod counters;
mod dial;
mod drain;
mod drive;
mod endpoint;
mod error;
mod event_loop;
mod exclusive;
mod extensions;
mod fanout;
mod finish;
mod half;
mod handlers;
mod held;
mod later;
mod layer;
pub mod outcome;
mod panics;
mod pipe;
mod push;
mod remote;
mod rounds;
mod service;
pub mod session;
mod settings;
mod shared;
mod slots;
mod target;
mod timer;
mod turn;
mod waiting;
#[cfg(feature = "websocket")]
mod websocket;

pub use client::{Client, Reconnect};
pub use connection::Connection;
pub use counters::Snapshot;
pub use error::{BoxError, CloseReason, Error, Overflow, SendError, Sent, Timeout};
pub use event_loop::{Drained, EventLoop, Listening, LoopHandle};
pub use exclusive::Exclusive;
pub use handlers::Handlers;
pub use layer::{Layer, Received};
pub use outcome::Outcome;
pub use service::{Broadcast, Cursor, Service};
pub use settings::{LoopSettings, Settings};
pub use target::Target;
pub use timer::{Timer, sleep};
