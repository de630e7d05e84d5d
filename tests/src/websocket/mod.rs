//! WebSocket: the conformance data, what runs it, and an independent other side.

pub mod codec;
pub mod data;
pub mod drive;
pub mod handshake;
pub mod opening;
pub mod peer;
pub mod reference;
pub mod socket;
