//! Real-time servers in three lines: typed messages, graceful stops, the speed of a hand-written event loop.
//!
//! ```no_run
//! use workerman::prelude::*;
//!
//! fn main() -> workerman::Result<()> {
//!     Worker::text("0.0.0.0:2347").on_message(|_, line| format!("hello {line}")).run()
//! }
//! ```
//!
//! The nouns are those of Workerman: a [`Worker`] listens, a [`Connection`] talks, a [`Protocol`] turns bytes into
//! messages, an event loop drives them. [`Client`] makes connections, [`Timer`] calls back later.
//!
//! - **Three ways to run**: [`Worker::run`] on this thread, [`Worker::serve`] inside an async program, [`run_all`] for all
//!   workers of a program.
//! - **Handlers** are closures, sync or async; what they return is sent. An error or a panic in one ends its connection
//!   and nothing else.
//! - **Everything is bounded**: queues, messages, handshakes, stops; each bound is a setting with a default.
//! - **Tests in virtual time** (feature `sim`): the same worker on a simulated network, replayable by its seed.
//! - **Any tokio library works** inside handlers: each thread is a tokio `LocalRuntime`.
//!
//! The layers below can be used alone: `workerman-protocol` (codecs without input and output), `workerman-event` (the event
//! loop), `workerman-connection` (connections, without this facade).
//!
//! # What this crate must never do
//! Hold logic of connections or protocols: it names things, binds addresses, starts threads, and stops them.
#![forbid(unsafe_code)]

mod bind;
mod error;
mod handle;
mod hook;
#[cfg(feature = "http")]
pub mod http;
mod join;
mod run;
mod run_all;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "websocket")]
pub mod websocket;
mod worker;

pub use bytes::{Bytes, BytesMut};
#[cfg(feature = "codec")]
pub use workerman_connection::codec;
pub use workerman_connection::{
    BoxError, Broadcast, Client, CloseReason, Connection, Cursor, Drained, Error as ConnectionError,
    Exclusive, Handlers, Layer, LoopHandle, LoopSettings, Outcome, Overflow, Received, Reconnect, SendError,
    Sent, Service, Settings, Snapshot, Target, Timeout, Timer, sleep,
};
pub use workerman_event::{
    Address, BACKEND_VARIABLE, BackendKind, KeepAlive, ListenOptions, Listener, Signal, block_on, spawn,
};
pub use workerman_protocol::{self as protocol, Frame, Line, Protocol, Raw, Text};

pub use error::{Error, Result};
pub use handle::{Handle, WorkerConnection};
pub use hook::{HookOutcome, Hooked};
pub use run::{Bound, Serving};
pub use run_all::{AnyBound, AnyServing, AnyWorker, Workers, run_all};
pub use worker::Worker;

/// What most programs need: `use workerman::prelude::*`.
pub mod prelude {
    #[cfg(feature = "http-client")]
    pub use crate::http::client::ClientHttp;
    #[cfg(feature = "http")]
    pub use crate::http::{Admission, Body, Http, Request, Response};
    #[cfg(feature = "websocket")]
    pub use crate::websocket::{
        Accept, Message, Outgoing, UpgradeRequest, Upgrades, Websocket, WebsocketClient,
    };
    pub use crate::{
        Address, Bytes, Client, CloseReason, Connection, Frame, Handle, Line, Protocol, Raw, Reconnect,
        SendError, Sent, Settings, Text, Timer, Worker, WorkerConnection, run_all, sleep,
    };
}

/// The servers of the READMEs compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../README.md")]
struct Readme;
