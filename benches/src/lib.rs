//! What the benches share: two servers to compare with, a load generator, and the means to measure a process.
//!
//! The bare epoll server ([`floor`]) is the denominator of every ratio; the hand-written tokio server ([`plain`]) is
//! what a good programmer writes without a framework. Both echo what the load generator ([`load`]) sends, and the
//! `loopback` bench runs them beside our own server, each in a process of its own.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod codec;
#[cfg(target_os = "linux")]
pub mod floor;
#[cfg(target_os = "linux")]
pub mod load;
#[cfg(target_os = "linux")]
pub mod meter;
pub mod plain;
#[cfg(target_os = "linux")]
pub mod process;
pub mod spread;
pub mod wire;
