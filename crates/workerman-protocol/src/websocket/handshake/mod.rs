//! The handshake that opens a connection (RFC 6455 section 4): one request and one answer of HTTP.
//!
//! A server checks a request by every rule there is ([`check`]), and only what passes ([`Upgrade`]) can open a
//! connection. It may ask the application first ([`Handshake`]). A client says what it wants ([`Hello`]), and checks the
//! answer as strictly.

mod accept;
mod check;
mod client;
mod error;
mod extensions;
mod hello;
mod key;
mod list;
mod origin;
mod server;
#[cfg(test)]
mod tests;
mod token;
mod verify;

pub use accept::{Accept, Agreement};
pub use check::{Policy, Refusal, Upgrade, check};
pub use error::{HandshakeError, Refused};
pub use extensions::Extension;
pub use hello::Hello;
pub use key::{Answer, Key, KeyError};
pub use token::{Gone, Handshake, Verdict};

pub(super) use client::{Connected, Connecting, Step as ClientStep};
pub(super) use server::{Accepted, Accepting, Step};
