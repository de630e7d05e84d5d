//! WebSocket (RFC 6455), server and client, without input or output.
//!
//! [`Websocket`] is the server's side of a connection, [`WebsocketClient`] the client's. They are two types because they
//! differ in what an encoder must know without asking: a client masks everything, a server nothing.
//!
//! A connection begins with its [handshake]; what is sent before its end is held back and follows it. Then [`Message`]s
//! come and go, text or bytes, and [`Event`]s tell what else the peer says. Pings are answered before anybody asks, and a
//! peer that is silent for too long is sent one. Messages can be [compressed](deflate), if both sides want it.
//!
//! # Strictness
//! Every rule of RFC 6455 is checked, and as soon as it can be: a header as far as it has arrived, a length before the
//! first byte of its payload, text up to the byte that makes it impossible, even within a frame whose rest never comes. Who
//! breaks one is told by a close frame with the [code](CloseCode) for it, and the connection fails with an [`Error`].
//!
//! # Memory
//! An open connection that waits for nothing takes the forty bytes of its protocol value, and nothing on the heap. A
//! message has three limits (bytes, bytes of a frame, fragments), which are checked before anything is waited for; memory
//! follows what has arrived. A large frame is unmasked where the loop has read it, and handed out without a copy.
//!
//! # The end
//! Either side says goodbye by a close frame, and the other one answers it; nothing is sent behind it. Then the server ends
//! the stream. [`Protocol::farewell`](crate::Protocol::farewell) has the code and the reason, and knows who began.
//!
//! # Examples
//! ```
//! # #[cfg(feature = "testing")] {
//! use std::time::Instant;
//! use workerman_protocol::{Protocol, testing::Harness, websocket::Websocket};
//!
//! let mut harness = Harness::new(Websocket::new(), Instant::now());
//! harness.feed(b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//!     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
//! assert!(harness.output().starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
//!
//! harness.feed(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
//! assert_eq!(harness.messages(), ["Hello"]);
//! harness.send("you, too")?;
//! assert_eq!(harness.output(), &b"\x81\x08you, too"[..]);
//!
//! harness.feed(b"\x88\x82\0\0\0\0\x03\xe8");
//! assert_eq!(harness.output(), &b"\x88\x02\x03\xe8"[..]);
//! let farewell = harness.protocol().farewell().unwrap();
//! assert!(farewell.code == 1000 && farewell.by_peer && farewell.clean);
//! # }
//! # Ok::<(), workerman_protocol::websocket::Error>(())
//! ```

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
pub use close::CloseCode;
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
