//! A request, as a server's handler gets it.

mod builder;
mod read;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

pub use self::builder::RequestBuilder;
pub use self::read::BadRequest;
use super::link::Reply;
use super::server::RequestId;
use super::{Body, Headers, RequestHead};

/// A request: its head, its body, and how to answer it.
///
/// All methods of [`RequestHead`] are there too (`request.method()`, `request.header("accept")`).
pub struct Request {
    head: RequestHead,
    body: Body,
    /// Which request of its connection this is.
    number: u32,
    /// What most requests never have.
    extras: Option<Box<Extras>>,
}

#[derive(Default)]
struct Extras {
    remote: Option<SocketAddr>,
    /// The body is no longer in the content coding that the head tells.
    decompressed: bool,
    params: Vec<(Box<str>, String)>,
    extensions: http::Extensions,
}

impl Request {
    pub(super) fn new(head: RequestHead, body: Body, number: u32) -> Self {
        Self { head, body, number, extras: None }
    }

    /// The head.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// The path with its percent-encodings decoded; bytes that are not UTF-8 are replaced.
    pub fn decoded_path(&self) -> Cow<'_, str> {
        percent_decode_str(self.path()).decode_utf8_lossy()
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The body, to be read.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Gives the body away, without [trailers](Self::trailers) that have arrived: what a client said of its own message
    /// is not for the next one.
    pub fn into_body(mut self) -> Body {
        drop(self.body.take_trailers());
        self.body
    }

    /// The body, if it is complete in memory: always, unless `on_request_head` chose to stream it.
    pub fn bytes(&self) -> Option<&Bytes> {
        self.body.as_bytes()
    }

    /// Fields behind the body, once it has been read to its end.
    pub fn trailers(&self) -> Option<&Headers> {
        self.body.trailers()
    }

    /// The right to answer later, from anywhere; the handler then returns nothing.
    ///
    /// Only the first token of a request counts.
    pub fn reply(&self) -> Reply {
        Reply::new(self.head.half.as_ref(), self.number)
    }

    /// The address of the client, where it has one of the internet: the peer's, unless somebody knew
    /// [better](Self::set_remote).
    pub fn remote(&self) -> Option<SocketAddr> {
        self.extras.as_ref().and_then(|extras| extras.remote).or_else(|| self.head.remote())
    }

    /// Corrects the address of the client, as what trusts a proxy's word may do.
    pub fn set_remote(&mut self, remote: SocketAddr) {
        self.extras.get_or_insert_default().remote = Some(remote);
    }

    /// A part of the path that a route has a name for.
    pub fn param(&self, name: &str) -> Option<&str> {
        let params = &self.extras.as_ref()?.params;
        params.iter().find(|(own, _)| **own == *name).map(|(_, value)| value.as_str())
    }

    /// Names a part of the path, as routes do.
    pub fn set_param(&mut self, name: impl Into<Box<str>>, value: impl Into<String>) {
        self.extras.get_or_insert_default().params.push((name.into(), value.into()));
    }

    /// Values attached by what has seen the request before.
    pub fn extensions(&self) -> Option<&http::Extensions> {
        self.extras.as_ref().map(|extras| &extras.extensions)
    }

    /// The id of the request, if the server [gives them](super::Http::request_id).
    pub fn id(&self) -> Option<&str> {
        self.extensions()?.get::<RequestId>().map(RequestId::as_str)
    }

    pub(super) fn is_decompressed(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.decompressed)
    }

    pub(super) fn set_decompressed(&mut self) {
        self.extras.get_or_insert_default().decompressed = true;
    }

    pub(super) fn take_extensions(&mut self) -> Option<http::Extensions> {
        self.extras.as_mut().map(|extras| std::mem::take(&mut extras.extensions))
    }

    /// Values to be attached, one of each type.
    pub fn extensions_mut(&mut self) -> &mut http::Extensions {
        &mut self.extras.get_or_insert_default().extensions
    }
}

impl Deref for Request {
    type Target = RequestHead;

    fn deref(&self) -> &RequestHead {
        &self.head
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("head", &self.head).field("body", &self.body).finish_non_exhaustive()
    }
}
