#![forbid(unsafe_code)]
//! Workerman for Rust.
