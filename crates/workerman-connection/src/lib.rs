#![forbid(unsafe_code)]
//! Connections.
