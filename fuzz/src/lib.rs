//! What the HTTP targets share with the conformance tests: a second reader, and the comparison with it.
//!
//! These are the files of the tests. They are included instead of depended on, so that a sanitizer has less to build.
#![forbid(unsafe_code)]

#[path = "../../tests/src/http/client.rs"]
pub mod client;
#[path = "../../tests/src/http/data.rs"]
pub mod data;
#[path = "../../tests/src/http/drive.rs"]
pub mod drive;
#[path = "../../tests/src/http/mutate.rs"]
pub mod mutate;
#[path = "../../tests/src/http/reference.rs"]
pub mod reference;
#[path = "../../tests/src/http/server.rs"]
pub mod server;
#[path = "../../tests/src/http/text.rs"]
pub mod text;
pub mod ws;
