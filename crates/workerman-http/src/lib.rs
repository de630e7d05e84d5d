//! HTTP beyond the codec: what needs files, tasks or a pool of connections.
//!
//! The codec is [`workerman_protocol::http`]; its types are used here as they are. Each part is a feature of its own.
//!
//! # What this crate must never do
//! Frame a message, hold a listener, or block the thread of a loop: files are read and written elsewhere.
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
pub mod client;
pub mod cors;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "multipart")]
pub mod multipart;
pub mod routes;
#[cfg(feature = "session")]
pub mod session;

pub use cors::Cors;
#[cfg(feature = "files")]
pub use files::{Files, ResponseFile, serve_file};
pub use routes::{Params, Routes};
