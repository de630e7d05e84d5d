//! What the benches share: servers to compare with, load generators, and the means to measure a process.
//!
//! The bare epoll server ([`floor`]) is the denominator of every ratio; the hand-written tokio server ([`plain`]) is
//! what a good programmer writes without a framework. Both echo what the load generator ([`load`]) sends, and the
//! `loopback` bench runs them beside our own server, each in a process of its own. The `compare` bench does the same for
//! HTTP ([`http`]) and for WebSocket ([`websocket`]), with servers of others, which are packages outside the workspace.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod codec;
#[cfg(target_os = "linux")]
pub mod floor;
pub mod http;
#[cfg(target_os = "linux")]
pub mod load;
#[cfg(target_os = "linux")]
pub mod meter;
pub mod plain;
#[cfg(target_os = "linux")]
pub mod process;
#[cfg(target_os = "linux")]
pub mod rounds;
pub mod spread;
#[cfg(target_os = "linux")]
pub mod traffic;
pub mod websocket;
pub mod wire;
