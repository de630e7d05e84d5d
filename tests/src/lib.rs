//! Shared pieces of the integration tests.
#![forbid(unsafe_code)]

pub mod skip;
