//! HTTP/1.1 conformance: the data of `tests/data/http`, a second parser to compare with, and what runs a case.

pub mod client;
pub mod data;
pub mod drive;
pub mod mutate;
pub mod reference;
pub mod server;
pub mod socket;
pub mod text;
