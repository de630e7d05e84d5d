//! The protocol contract of workerman, and its sans-I/O codecs.
//!
//! A [`Protocol`] turns bytes into messages and messages into bytes, and does nothing else: no socket, no clock, no
//! thread, no runtime. One value serves one connection. A custom protocol writes [`decode`](Protocol::decode) and
//! [`encode`](Protocol::encode); everything else has a default.
//!
//! # Two halves
//! Decoding and sending are two halves. The decoding half is the protocol value itself; it belongs to the event loop
//! and is never locked. The sending half is [`Protocol::Sending`], shared by everybody who holds a handle of the
//! connection; a protocol whose encoder needs no state uses `()`, and its sends inside callbacks take no lock at all.
//! What one half must know of the other goes through [`Context::sending`], visibly.
//!
//! A protocol whose answers are made of messages and requests alike, as those of HTTP, sets [`Protocol::ANSWERS`]: what a
//! handler returns is given to the decoding half, which writes it ([`Protocol::answer`]), and the encoder only hands
//! over what is sent otherwise.
//!
//! # Bytes in
//! `decode` is asked again and again, and looks at the front of the input: it returns a message, an event (what the peer
//! says besides messages), how many bytes it needs, or that it is blocked until the application has answered. TCP cuts a
//! stream anywhere, so it must not matter where; and the peer may be hostile, so a number it sends meets its limit
//! before anything is waited for, nothing is scanned twice, and memory follows what has arrived, not what has been
//! announced. [`take`] takes a message in the way that suits its size: a small one is copied, so that a kept message
//! pins no read buffer; a large one is split off.
//!
//! # Bytes out
//! `encode` appends to an [`Outbox`]: small pieces are copied together, large ones kept by reference, and all of it leaves in
//! one vectored write. What the protocol itself owes the peer goes to [`Context::reply`] and leaves in order with the
//! rest. A message for a thousand connections is encoded once, if its bytes are the same for all
//! ([`Protocol::encode_shared`]).
//!
//! A protocol with a handshake has its senders *held* until it is done ([`Protocol::HOLDS`]); one whose encoder needs no
//! state but what the handshake has agreed on sets its sending half *free* then ([`Context::free`]), and is as fast as
//! one without state.
//!
//! # The codecs
//! | codec | feature | messages |
//! |---|---|---|
//! | `Raw` | `raw` | bytes as they come |
//! | `Text` | `text` | lines, as `Line`: bytes that are usually text |
//! | `Frame` | `frame` | four bytes, big-endian, with the total length; then the message |
//! | `http::Http`, `http::HttpClient` | `http` | requests and responses, their bodies streamed |
//! | `websocket::Websocket`, `websocket::WebsocketClient` | `websocket` | text and bytes, in frames, maybe compressed |
//!
//! To test one of your own, see the module `testing` (feature `testing`).
//!
//! # What this crate must never do
//! Input and output, reading a clock, spawning, depending on tokio. Time, random numbers and the peer's bytes come in
//! as arguments; what must go out is put into an [`Outbox`].
//!
//! # Examples
//! A protocol of one-byte-length messages:
//! ```
//! use bytes::{Buf, Bytes, BytesMut};
//! use workerman_protocol::{Context, Decoded, Event, Outbox, Protocol, take};
//!
//! #[derive(Default)]
//! struct Short;
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("a message of {0} bytes does not fit 255")]
//! struct TooLong(usize);
//!
//! impl Protocol for Short {
//!     type Incoming = Bytes;
//!     type Outgoing = Bytes;
//!     type Event = Event;
//!     type Error = TooLong;
//!     type Sending = ();
//!
//!     fn decode(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> Result<Decoded<Self>, TooLong> {
//!         let Some(&length) = input.first() else { return Ok(Decoded::Need(1)) };
//!         let length = usize::from(length);
//!         if input.len() <= length {
//!             return Ok(Decoded::Need(1 + length - input.len()));
//!         }
//!         input.advance(1);
//!         Ok(Decoded::Message(take(input, length)))
//!     }
//!
//!     fn encode(_: &mut (), message: Bytes, out: &mut Outbox) -> Result<(), TooLong> {
//!         let length = u8::try_from(message.len()).map_err(|_| TooLong(message.len()))?;
//!         out.put_slice(&[length]);
//!         out.put_bytes(message);
//!         Ok(())
//!     }
//! }
//! ```
#![forbid(unsafe_code)]

mod context;
#[cfg(any(feature = "text", feature = "frame"))]
mod error;
mod farewell;
#[cfg(feature = "frame")]
mod frame;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "text")]
mod line;
mod outbox;
mod protocol;
mod random;
#[cfg(feature = "raw")]
mod raw;
mod shared;
mod take;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "text")]
mod text;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use context::{Context, Handle, SendingHalf, SendingHandle};
#[cfg(any(feature = "text", feature = "frame"))]
pub use error::CodecError;
pub use farewell::Farewell;
#[cfg(feature = "frame")]
pub use frame::Frame;
#[cfg(feature = "text")]
pub use line::Line;
pub use outbox::{Outbox, SHARE_FROM};
pub use protocol::{
    DEFAULT_MAX_MESSAGE, Deadline, Decoded, Eof, Event, Failure, Goodbye, Protocol, Recovery, Role,
};
pub use random::Random;
#[cfg(feature = "raw")]
pub use raw::Raw;
pub use shared::Shared;
pub use take::{COPY_UP_TO, take};
#[cfg(feature = "text")]
pub use text::Text;

/// The example of the README runs as a test.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../README.md")]
struct Readme;
