//! WebSocket: the conformance data, and what runs it.

pub mod handshake;
