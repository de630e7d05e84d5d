//! WebSocket (RFC 6455), server and client, without input or output.

mod client;
mod close;
mod config;
mod error;
pub mod handshake;
mod message;
mod server;
mod utf8;

pub use client::WebsocketClient;
pub use close::{CloseCode, CloseFrame};
pub use error::Error;
pub use message::{Fragment, Kind, Message, Outgoing};
pub use server::Websocket;
pub use utf8::Utf8Bytes;

use bytes::Bytes;

/// What a peer says besides messages, and what happens to a connection besides them.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A ping. It has been answered already.
    Ping(Bytes),
    /// A pong, asked for or not.
    Pong(Bytes),
    /// A part of a message, where the settings ask for parts.
    Fragment(Fragment),
}
