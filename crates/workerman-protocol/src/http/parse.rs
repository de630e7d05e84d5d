//! The strict reading of a request head (RFC 9112 sections 2 to 6): what two implementations could read in two ways is
//! refused. `httparse` finds the pieces; every rule on top of it stands here, beside its section.

mod host;
mod plain;
mod scan;
#[cfg(test)]
mod tests;
mod tokens;

use std::mem::MaybeUninit;

use http::Method;

pub(crate) use self::host::is_host;
pub(super) use self::scan::{Found, Scan};
use self::tokens::Codings;
pub(crate) use self::tokens::{is_token, is_token_byte};
use super::link::Answers;
use super::{RequestHead, Version};
use crate::Handle;

/// Fields that are found without an allocation.
const INLINE_FIELDS: usize = 128;

/// What a head may be at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of the request line, without its line break.
    pub(super) line: usize,
    /// Bytes before the empty line.
    pub(super) head: usize,
    /// Fields.
    pub(super) fields: usize,
}

/// Why a request is not taken: the status of the answer, and the rule for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    /// The request is a HEAD: the answer has no content (RFC 9110 section 9.3.2).
    pub(super) to_head: bool,
}

pub(super) const fn refuse(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason, to_head: false }
}

impl Refusal {
    /// The refusal of a request with these flags.
    pub(super) const fn of(self, flags: u8) -> Self {
        Self { to_head: flags & HEAD != 0, ..self }
    }

    /// The refusal of a head that begins with these bytes.
    pub(super) fn of_head(self, head: &[u8]) -> Self {
        Self { to_head: head.starts_with(b"HEAD "), ..self }
    }
}

/// How the body of a request is framed (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// So many bytes; 0 without a body.
    Length(u64),
    Chunked,
}

/// The client wants the connection to end after this exchange.
pub(super) const CLOSE: u8 = 1;
/// The answer has no body, whatever it says.
pub(super) const HEAD: u8 = 1 << 1;
/// A client of HTTP/1.0.
pub(super) const OLD: u8 = 1 << 2;
/// The client waits for `100 Continue`.
pub(super) const EXPECTS: u8 = 1 << 3;
/// The client offers to switch protocols.
pub(super) const UPGRADES: u8 = 1 << 4;
/// The client wants a tunnel.
pub(super) const CONNECTS: u8 = 1 << 5;

/// A complete head, checked.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Parsed {
    /// Bytes of the input that it takes.
    pub(super) len: usize,
    pub(super) framing: Framing,
    pub(super) flags: u8,
    method: Method,
    target: (u32, u32),
    fields: u32,
    version: Version,
}

impl Parsed {
    /// The head as the application sees it. `input` is what it was parsed from.
    pub(super) fn into_head(self, input: &[u8], half: Option<Handle<Answers>>) -> RequestHead {
        RequestHead {
            // A copy: a kept request must not pin the loop's read buffer.
            bytes: input[..self.len].into(),
            method: self.method,
            target: self.target,
            fields: self.fields,
            version: self.version,
            half,
            length: match self.framing {
                Framing::Length(length) => Some(length),
                Framing::Chunked => None,
            },
        }
    }
}

/// Parses the head at the front of `input`; `None` if its end is not there yet.
///
/// Looks at no more than `limits.head` allows, so that the verdict does not depend on how the input was split.
pub(super) fn parse(input: &[u8], limits: &Limits) -> Result<Option<Parsed>, Refusal> {
    let most = limits.head.saturating_add(4).min(input.len());
    let input = &input[..most];
    if let Some(parsed) = plain::parse(input, limits) {
        return Ok(Some(parsed));
    }
    general(input, limits)
}

/// The general way; its verdict counts.
fn general(input: &[u8], limits: &Limits) -> Result<Option<Parsed>, Refusal> {
    let mut inline = [const { MaybeUninit::uninit() }; INLINE_FIELDS];
    if limits.fields <= INLINE_FIELDS {
        return parse_with(input, limits, &mut inline[..limits.fields]);
    }
    let mut slots = vec![MaybeUninit::uninit(); limits.fields];
    parse_with(input, limits, &mut slots)
}

#[inline]
fn parse_with<'a>(
    input: &'a [u8],
    limits: &Limits,
    slots: &mut [MaybeUninit<httparse::Header<'a>>],
) -> Result<Option<Parsed>, Refusal> {
    if matches!(input.first(), Some(b'\r' | b'\n')) {
        return Err(refuse(400, "a line break where a request line must be"));
    }
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(input, slots) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return scan::partial(input, limits).map(|()| None),
        Err(httparse::Error::Version) if scan::awaits_version(input) => {
            return scan::partial(input, limits).map(|()| None);
        }
        Err(error) => {
            // The limit of the head comes first where it is reached first.
            for most in limits.head..input.len() {
                parse(&input[..most], limits)?;
            }
            return Err(scan::refusal(input, error, limits));
        }
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(refuse(400, "no request line"));
    };
    let fields = request.headers;
    let offset = |part: &str| part.as_ptr() as usize - input.as_ptr() as usize;

    let first = fields.first().map_or(len - 2, |field| offset(field.name));
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    // RFC 9112 section 2.2: a bare LF may be taken as a line end by others, so it is refused. Values have no line
    // breaks, so each one is right before the next name, or at the end.
    let mut whole = ends_line(input, len) && ends_line(input, len - 2);
    let mut seen = Seen::default();
    let mut said = Ok(());
    for field in fields.iter() {
        whole &= ends_line(input, offset(field.name));
        if let Err(refusal) = seen.field(field.name.as_bytes(), field.value) {
            said = said.and(Err(refusal));
        }
    }
    if !whole {
        return Err(refuse(400, "a line that does not end with CR LF"));
    }
    if first - 2 > limits.line {
        return Err(refuse(414, "the request line is too long"));
    }
    if len - 4 >= limits.head {
        return Err(refuse(431, "the head is too long"));
    }
    said?;
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| refuse(400, "the method is not a token"))?;
    host::check_target(&method, target)?;
    seen.host(version)?;
    let (framing, mut flags) = seen.framing(version)?;
    if method == Method::HEAD {
        flags |= HEAD;
    }
    if method == Method::CONNECT {
        flags |= CONNECTS;
    }
    let begin = offset(target);
    Ok(Some(Parsed {
        len,
        framing,
        flags,
        target: (begin as u32, (begin + target.len()) as u32),
        fields: first as u32,
        version,
        method,
    }))
}

/// Whether a line end is right before this place.
#[inline]
fn ends_line(input: &[u8], at: usize) -> bool {
    matches!(input.get(at.wrapping_sub(2)..at), Some([b'\r', b'\n']))
}

/// What the fields of a head say about framing and the connection.
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    hosts: u8,
    length: Option<&'a [u8]>,
    lengths: u8,
    codings: Codings,
    coded: bool,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    upgrade: bool,
    expects: bool,
}

impl<'a> Seen<'a> {
    #[inline(always)]
    fn field(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Refusal> {
        // By length and first letter: most fields are of no interest here.
        let letter = name.first().map_or(0, |byte| byte | 0x20);
        match name.len() {
            4 if letter == b'h' && name.eq_ignore_ascii_case(b"host") => {
                self.host = Some(value);
                self.hosts = self.hosts.saturating_add(1);
            }
            6 if letter == b'e' && name.eq_ignore_ascii_case(b"expect") => {
                // RFC 9110 section 10.1.1: an expectation that cannot be met is answered with 417.
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(refuse(417, "an unknown expectation"));
                }
                self.expects = true;
            }
            7 if letter == b'u' && name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            10 if letter == b'c' && name.eq_ignore_ascii_case(b"connection") => {
                // What nearly every client says.
                if value == b"keep-alive" {
                    self.keep_alive = true;
                    return Ok(());
                }
                for option in tokens::list(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    self.upgrade_option |= option.eq_ignore_ascii_case(b"upgrade");
                }
            }
            14 if letter == b'c' && name.eq_ignore_ascii_case(b"content-length") => {
                self.length = Some(value);
                self.lengths = self.lengths.saturating_add(1);
            }
            17 if letter == b't' && name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.coded = true;
                self.codings.add(value)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112 section 3.2: exactly one in HTTP/1.1, never two, and a valid value.
    fn host(&self, version: Version) -> Result<(), Refusal> {
        match (self.host, self.hosts) {
            (_, 2..) => Err(refuse(400, "more than one Host")),
            (Some(host), _) if !is_host(host) => Err(refuse(400, "an invalid Host")),
            (None, _) if version == Version::Http11 => Err(refuse(400, "no Host")),
            _ => Ok(()),
        }
    }

    /// RFC 9112 sections 6.1 to 6.3, and 9.3 for the connection.
    fn framing(&self, version: Version) -> Result<(Framing, u8), Refusal> {
        let framing = if self.coded {
            if version == Version::Http10 {
                return Err(refuse(400, "Transfer-Encoding in a request of HTTP/1.0"));
            }
            if self.lengths > 0 {
                return Err(refuse(400, "Content-Length beside Transfer-Encoding"));
            }
            self.codings.check()?;
            Framing::Chunked
        } else if self.lengths > 1 {
            return Err(refuse(400, "more than one Content-Length"));
        } else {
            Framing::Length(self.length.map_or(Ok(0), tokens::length)?)
        };
        let mut flags = 0;
        if version == Version::Http10 {
            flags |= OLD;
        } else {
            // RFC 9110 section 10.1.1: an expectation of a 1.0 client is ignored; section 7.8: so is its upgrade.
            if self.expects && framing != Framing::Length(0) {
                flags |= EXPECTS;
            }
            if self.upgrade && self.upgrade_option {
                flags |= UPGRADES;
            }
        }
        if self.close || (version == Version::Http10 && !self.keep_alive) {
            flags |= CLOSE;
        }
        Ok((framing, flags))
    }
}
