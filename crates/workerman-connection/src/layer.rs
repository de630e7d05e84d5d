//! The optional layer between the socket and the protocol: TLS, PROXY protocol, SOCKS5, CONNECT.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use workerman_protocol::Outbox;

use crate::BoxError;

/// A transformation between the wire and the protocol: pure, like a protocol, and below it.
///
/// Wire bytes come in and plain bytes go up; plain bytes come down and wire bytes go out; in between the layer may
/// owe the peer bytes of its own (a handshake, an alert). Until it [is established](Self::is_established) the
/// protocol is not opened, and what the application sends waits above it. A connection without a layer pays nothing.
pub trait Layer: Send + 'static {
    /// The connection is up: what this side says first.
    ///
    /// # Errors
    /// The connection ends after what was put on the wire.
    fn open(&mut self, now: Instant, wire: &mut Outbox) -> Result<(), BoxError>;

    /// Takes all of `input` and appends what it means to `plain`, and what is owed for it to `wire`.
    ///
    /// # Errors
    /// What the peer sent is not this layer. The connection ends after what was put on the wire.
    fn receive(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
        plain: &mut BytesMut,
        wire: &mut Outbox,
    ) -> Result<Received, BoxError>;

    /// Whether the handshake is complete, so that plain bytes can flow.
    fn is_established(&self) -> bool;

    /// Takes all of `plain` and appends it, transformed, to `wire`. Called only once established.
    ///
    /// # Errors
    /// The connection ends.
    fn send(&mut self, plain: &mut Outbox, wire: &mut Outbox) -> Result<(), BoxError>;

    /// This side ends its stream: the close notice, if there is one.
    fn close(&mut self, wire: &mut Outbox);

    /// The socket's stream has ended.
    ///
    /// # Errors
    /// It ended without the layer's own end, so that the plain stream may have been cut.
    fn eof(&mut self) -> Result<(), BoxError>;

    /// How long the handshake may take; `None` leaves it to the connection's setting.
    fn handshake_timeout(&self) -> Option<Duration> {
        None
    }
}

/// What [`Layer::receive`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// The stream goes on.
    More,
    /// The peer ended the plain stream (a close notice).
    End,
}

impl fmt::Debug for dyn Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layer")
    }
}
