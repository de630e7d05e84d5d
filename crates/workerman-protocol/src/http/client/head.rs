//! The head of a response: found in linear time, read strictly (RFC 9112 sections 4, 5 and 6).

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::http::{Body, Error, Headers, Response, Version};

/// How far an unfinished head has been looked at.
#[derive(Default)]
pub(in crate::http) struct Scan {
    scanned: usize,
    /// Where the line begins that is not complete.
    line: usize,
    /// Complete lines.
    lines: usize,
}

impl Scan {
    /// The length of the head, empty line included, once it is there. Nonsense is refused as early as it can be told.
    pub(in crate::http) fn find(
        &mut self,
        input: &[u8],
        max_head: usize,
        max_fields: usize,
    ) -> Result<Option<usize>, Error> {
        // Looks at no more than is allowed, so that the verdict does not depend on how the input was split.
        let input = &input[..input.len().min(max_head)];
        if self.lines == 0 {
            check_prefix(input)?;
        }
        for at in memchr::memchr_iter(b'\n', &input[self.scanned..]) {
            let at = self.scanned + at;
            // RFC 9112 section 2.2 lets a recipient take a bare LF as a line end. Two that do not agree about it see
            // different messages.
            let Some(b"\r") = at.checked_sub(1).map(|before| &input[before..at]) else {
                return Err(Error::Response("a line that does not end with CR LF"));
            };
            let line = &input[self.line..at - 1];
            if line.is_empty() {
                return Ok(Some(at + 1));
            }
            if self.lines == 0 {
                status_line(line)?;
            }
            if self.lines > max_fields {
                return Err(Error::Limit { what: "the number of fields", limit: max_fields as u64 });
            }
            self.line = at + 1;
            self.lines += 1;
        }
        self.scanned = input.len();
        if input.len() >= max_head {
            return Err(Error::Limit { what: "the head of the response", limit: max_head as u64 });
        }
        Ok(None)
    }
}

const NO_STATUS_LINE: Error = Error::Response("it does not begin with a status line of HTTP/1");

fn check_prefix(input: &[u8]) -> Result<(), Error> {
    const PREFIX: &[u8] = b"HTTP/1.";
    let known = input.len().min(PREFIX.len());
    if input[..known] == PREFIX[..known] { Ok(()) } else { Err(NO_STATUS_LINE) }
}

/// `HTTP-version SP status-code SP [ reason-phrase ]` (RFC 9112 section 4).
///
/// The second space is missing from some servers' answers where there is no reason; nothing else can be meant by it.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode), Error> {
    let Some((version, rest)) = line.split_at_checked(9) else { return Err(NO_STATUS_LINE) };
    let version = match version {
        b"HTTP/1.0 " => Version::Http10,
        // RFC 9110 section 2.5: a higher minor version can be read as the highest that is known.
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9', b' '] => Version::Http11,
        _ => return Err(NO_STATUS_LINE),
    };
    let (code, reason) = rest.split_at_checked(3).ok_or(NO_STATUS_LINE)?;
    let status = StatusCode::from_bytes(code).map_err(|_| Error::Response("an invalid status code"))?;
    // RFC 9110 section 15: valid codes are 100 to 599; others of three digits are to be taken as a server's error, and
    // are left for the caller to see.
    let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    match reason {
        [] => {}
        [b' ', reason @ ..] if reason.iter().all(is_text) => {}
        _ => return Err(Error::Response("an invalid reason phrase")),
    }
    Ok((version, status))
}

/// A complete head, its fields checked.
#[derive(Debug)]
pub(in crate::http) struct Head {
    pub(in crate::http) status: StatusCode,
    version: Version,
    headers: Headers,
}

/// Where the body of a response ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum Framing {
    /// There is none.
    None,
    Length(u64),
    Chunked,
    /// Where the connection ends.
    Close,
}

impl Head {
    /// `head` is what [`Scan::find`] has found.
    pub(in crate::http) fn parse(head: &Bytes) -> Result<Self, Error> {
        let mut lines = Lines(head);
        let (version, status) = status_line(lines.next().unwrap_or_default())?;
        let mut headers = Headers::new();
        let mut lines = lines.peekable();
        while let Some(line) = lines.next() {
            // RFC 9112 section 5.1: no white space before the colon; it would be no token. Nor is what a fold begins with,
            // which can only follow a field.
            let colon = memchr::memchr(b':', line).ok_or(Error::Response("a field line without a colon"))?;
            let name = HeaderName::from_bytes(&line[..colon])
                .map_err(|_| Error::Response("an invalid field name"))?;
            let mut value = head.slice_ref(trim(&line[colon + 1..]));
            // RFC 9112 section 5.2: a user agent replaces a fold by a space.
            while let Some(more) = lines.next_if(|line| matches!(line, [b' ' | b'\t', ..])) {
                value = [&value[..], trim(more)].join(&b' ').into();
            }
            let value = value.slice_ref(trim(&value));
            // RFC 9110 section 5.5: no NUL, no bare CR, no control characters.
            let value = HeaderValue::from_maybe_shared(value)
                .map_err(|_| Error::Response("an invalid field value"))?;
            headers.append(name, value);
        }
        Ok(Self { status, version, headers })
    }

    pub(in crate::http) fn into_response(self, body: Body) -> Response {
        let mut response = Response::new(self.status).body(body);
        response.version = Some(self.version);
        *response.headers_mut() = self.headers;
        response
    }

    /// Whether the server keeps the connection (RFC 9112 section 9.3).
    pub(super) fn keeps(&self) -> bool {
        let says = |option| has_option(&self.headers, option);
        !says("close") && (self.version == Version::Http11 || says("keep-alive"))
    }

    /// Whether the server switches to another protocol.
    pub(super) fn upgrades(&self) -> bool {
        self.status == StatusCode::SWITCHING_PROTOCOLS
    }

    /// Where the body ends: RFC 9112 section 6.3, in its order.
    pub(in crate::http) fn framing(&self, is_head: bool) -> Result<Framing, Error> {
        let mut lengths = self.headers.get_all(CONTENT_LENGTH);
        let length = lengths.next().map(content_length).transpose()?;
        if lengths.next().is_some() {
            // Item 5 lets equal ones pass. Nobody sends two without something in between having gone wrong.
            return Err(Error::Response("more than one Content-Length"));
        }
        let chunked = self.is_chunked()?;
        if chunked && length.is_some() {
            // Item 3: an attempt at smuggling, perhaps.
            return Err(Error::Response("Content-Length beside Transfer-Encoding"));
        }
        if is_head || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Framing::None);
        }
        Ok(match length {
            Some(length) => Framing::Length(length),
            None if chunked => Framing::Chunked,
            None => Framing::Close,
        })
    }

    /// Whether it says to have a body where there can be none: what follows is not to be trusted.
    pub(super) fn has_stray_framing(&self) -> bool {
        let length = self.headers.get(CONTENT_LENGTH);
        self.status == StatusCode::NO_CONTENT
            && (self.headers.contains(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0"))
    }

    fn is_chunked(&self) -> Result<bool, Error> {
        let mut codings = self.headers.get_all(TRANSFER_ENCODING).flat_map(|value| list(value.as_bytes()));
        let Some(first) = codings.next() else {
            // A field that names no coding leaves open where the body ends.
            let named = self.headers.contains(TRANSFER_ENCODING);
            return if named { Err(Error::Response("an empty Transfer-Encoding")) } else { Ok(false) };
        };
        if self.version == Version::Http10 {
            // RFC 9112 section 6.1: faulty framing.
            return Err(Error::Response("Transfer-Encoding in a response of HTTP/1.0"));
        }
        // No other coding was asked for: TE is never sent with one (RFC 9110 section 10.1.4).
        if !first.eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
            return Err(Error::Response("a transfer coding other than chunked"));
        }
        Ok(true)
    }
}

/// The lines of a head, without their ends, up to the empty one.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.0)?;
        let line = &self.0[..end.saturating_sub(1)];
        self.0 = &self.0[end + 1..];
        (!line.is_empty()).then_some(line)
    }
}

/// Optional white space around a value (RFC 9110 section 5.6.3), and nothing else.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The elements of a comma-separated list (RFC 9110 section 5.6.1), empty ones left out.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// Whether `Connection` has this option.
pub(super) fn has_option(headers: &Headers, option: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .flat_map(|value| list(value.as_bytes()))
        .any(|own| own.eq_ignore_ascii_case(option.as_bytes()))
}

/// Digits and nothing else (RFC 9110 section 8.6).
pub(super) fn content_length(value: &HeaderValue) -> Result<u64, Error> {
    let digits = value.as_bytes();
    let number = digits.iter().try_fold(0u64, |sum, digit| {
        let digit = u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        sum.checked_mul(10)?.checked_add(digit)
    });
    number.filter(|_| !digits.is_empty()).ok_or(Error::Response("an invalid Content-Length"))
}
