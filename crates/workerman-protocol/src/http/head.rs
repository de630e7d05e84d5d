//! The head of a request: bytes that have been checked once, and a view of their fields.

use std::fmt;
use std::net::SocketAddr;

use http::Method;

use super::link::Answers;
use crate::Handle;

/// The version of HTTP that a message is written in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        })
    }
}

/// The head of a request, complete and checked; nothing of its body has been decoded.
///
/// Fields are looked up in the bytes as they came, so one that nobody reads costs nothing.
#[derive(Clone)]
pub struct RequestHead {
    /// From the method to the empty line, checked by `parse`.
    pub(super) bytes: Box<[u8]>,
    pub(super) method: Method,
    /// Where the target is in `bytes`.
    pub(super) target: (u32, u32),
    /// Where the field lines begin.
    pub(super) fields: u32,
    pub(super) version: Version,
    /// The connection that it came on.
    pub(super) half: Option<Handle<Answers>>,
    /// `Content-Length`, where the body is framed by it; 0 without a body, `None` for chunks.
    pub(super) length: Option<u64>,
}

impl RequestHead {
    /// The method; any token is one.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The request target as it was sent: a path with its query, an absolute URI, `host:port` or `*`.
    pub fn target(&self) -> &str {
        // `parse` lets nothing else through.
        std::str::from_utf8(&self.bytes[self.target.0 as usize..self.target.1 as usize]).unwrap_or_default()
    }

    /// The path of the target, not decoded; `*` and the authority of a CONNECT as they are.
    pub fn path(&self) -> &str {
        let target = self.origin();
        match memchr::memchr(b'?', target.as_bytes()) {
            // Of a URI without a path (RFC 9110 section 4.2.3).
            Some(0) => "/",
            Some(end) => &target[..end],
            None => target,
        }
    }

    /// The query of the target, without its `?`.
    pub fn query(&self) -> Option<&str> {
        let target = self.origin();
        memchr::memchr(b'?', target.as_bytes()).map(|at| &target[at + 1..])
    }

    /// The target without scheme and authority.
    fn origin(&self) -> &str {
        let target = self.target();
        if target.starts_with('/') || self.method == Method::CONNECT {
            return target;
        }
        let Some(at) = target.find("://") else { return target };
        let rest = &target[at + 3..];
        match rest.find(['/', '?']) {
            Some(begin) => &rest[begin..],
            None => "/",
        }
    }

    /// The version that the client speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The first value of a field, if it is text. `name` is compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.header_bytes(name)?).ok()
    }

    /// The first value of a field.
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All values of a field that are text, in their order.
    pub fn header_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// All fields in their order: names as they were sent, values without the white space around them.
    pub fn fields(&self) -> Fields<'_> {
        Fields { rest: &self.bytes[self.fields as usize..] }
    }

    /// The head as it was sent, from the method to the empty line.
    pub fn raw(&self) -> &[u8] {
        &self.bytes
    }

    /// The authority that the request is for: of an absolute target, else the `Host` field (RFC 9112 section 3.3).
    pub fn host(&self) -> Option<&str> {
        let target = self.target();
        if self.method == Method::CONNECT {
            return Some(target);
        }
        if !target.starts_with('/') {
            if let Some(at) = target.find("://") {
                let rest = &target[at + 3..];
                return Some(&rest[..rest.find(['/', '?']).unwrap_or(rest.len())]);
            }
        }
        self.header("host").filter(|host| !host.is_empty())
    }

    /// The address of the peer, where it has one of the internet.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.half.as_ref()?.peer()
    }

    /// A handle of the connection that it came on, where there is one: for what takes the connection over.
    pub fn handle(&self) -> Option<&Handle<Answers>> {
        self.half.as_ref()
    }

    /// The length of the body: 0 where there is none, `None` for one in chunks.
    pub fn content_length(&self) -> Option<u64> {
        self.length
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("target", &self.target())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The fields of a head, in their order.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    /// Checked field lines, up to and with the empty line.
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // The empty line has no colon before its CR.
        let end = memchr::memchr(b'\r', self.rest)?;
        let line = &self.rest[..end];
        let colon = memchr::memchr(b':', line)?;
        self.rest = self.rest.get(end + 2..).unwrap_or_default();
        Some((std::str::from_utf8(&line[..colon]).ok()?, line[colon + 1..].trim_ascii()))
    }
}
