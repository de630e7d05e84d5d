//! Shared pieces of the integration tests.
#![forbid(unsafe_code)]

pub mod asking;
#[cfg(unix)]
pub mod browser;
#[allow(missing_docs)] // the names of the bodies say what they test
pub mod conformance;
pub mod http;
pub mod http_server;
#[cfg(unix)]
pub mod program;
pub mod scripted;
pub mod serving;
pub mod shaking;
pub mod simulation;
pub mod skip;
pub mod toy;
pub mod websocket;
pub mod websocket_peer;
pub mod workers;
pub mod xor;
