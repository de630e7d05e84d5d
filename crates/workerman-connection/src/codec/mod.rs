//! Adapters both ways between [`Protocol`](workerman_protocol::Protocol) and [`tokio_util::codec`].
//!
//! | from | to | by |
//! |---|---|---|
//! | a codec that is `Default`, or a type that names how one is made | a protocol | [`Foreign`] |
//! | a codec as a value, configured at run time | a protocol | [`foreign`], [`ForeignWith`] |
//! | a protocol | a codec for `tokio_util::codec::Framed` | [`Framer`] |
//! | a protocol | messages over any `AsyncRead + AsyncWrite` | [`framed`], [`Transport`] |
//!
//! # What gets lost on the way
//! Nothing that was said: a protocol's own replies are written by [`Transport`] at once, and by [`Framer`] in front
//! of what is sent next (or when they are asked for). But the ways of a codec and of a protocol differ:
//! - A codec has no clock. [`Framer`] and [`Transport`] read tokio's for
//!   [`Context::now`](workerman_protocol::Context::now), but call neither
//!   [`tick`](workerman_protocol::Protocol::tick) nor [`timeout`](workerman_protocol::Protocol::timeout): there are no
//!   heartbeats and no deadlines; put `tokio::time::timeout` around what must not last.
//! - A codec tells nobody how many bytes it needs, so a [`Foreign`] one is asked again with each arrival of bytes. One that
//!   scans from the start each time, or that counts on its whole message being in one piece, costs what it costs.
mod foreign;
mod framer;
mod transport;

pub use foreign::{Foreign, ForeignError, ForeignSending, ForeignWith, MakeCodec, foreign};
pub use framer::{DEFAULT_MAX_REPLIES, Framer, FramerError};
pub use transport::{DEFAULT_MAX_UNSENT, Parts, Received, Transport, framed};
