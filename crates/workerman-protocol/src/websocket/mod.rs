//! WebSocket (RFC 6455), server and client, without input or output.

mod client;
mod close;
mod compression;
mod config;
mod core;
pub mod deflate;
mod ending;
mod error;
mod frame;
pub mod handshake;
mod heartbeat;
mod mask;
mod message;
mod open;
mod receive;
mod send;
mod server;
#[cfg(all(test, feature = "testing"))]
mod tests;
mod utf8;
mod validator;

pub use client::WebsocketClient;
pub use close::{CloseCode, CloseFrame};
pub use error::Error;
pub use handshake::Handshake;
#[cfg(any(test, feature = "testing"))]
pub use mask::seed_masking_keys;
pub use message::{Fragment, Kind, Message, Outgoing};
pub use open::Open;
pub use send::Sending;
pub use server::Websocket;
pub use utf8::Utf8Bytes;

use bytes::Bytes;

/// What a peer says besides messages, and what happens to a connection besides them.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A handshake that the application decides about, where the settings say so.
    Handshake(Handshake),
    /// The handshake is complete: messages can come and go.
    Open(Open),
    /// A ping. It has been answered already.
    Ping(Bytes),
    /// A pong, asked for or not.
    Pong(Bytes),
    /// A part of a message, where the settings ask for parts.
    Fragment(Fragment),
}

/// For comparisons in tests: a handshake that waits is like no other, and open connections are the same if the same was agreed
/// on.
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open(own), Self::Open(other)) => own.agreement() == other.agreement(),
            (Self::Ping(own), Self::Ping(other)) | (Self::Pong(own), Self::Pong(other)) => own == other,
            (Self::Fragment(own), Self::Fragment(other)) => own == other,
            _ => false,
        }
    }
}
