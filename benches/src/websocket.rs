//! WebSocket: the messages of each case, the client's side of the handshake, the load, the floor, and our codec alone.

pub mod case;
pub mod codec;
#[cfg(target_os = "linux")]
pub mod floor;
pub mod handshake;
#[cfg(target_os = "linux")]
pub mod load;
pub mod messages;
#[cfg(target_os = "linux")]
mod receivers;

pub use case::{Case, Kind};
