//! What the handshake of another protocol needs of HTTP: one request or response head, and one answer.

use bytes::{Buf, BufMut, BytesMut};
use http::StatusCode;

use super::chunked::{Chunk, ChunkLimits, Chunked};
use super::client::head::{Framing, Head, Scan as ResponseScan};
use super::date::date;
use super::parse::{Found, Limits, Refusal, Scan};
use super::server::write::{field, status_line};
use super::{Body, Error, Request, Response};
use crate::Outbox;

/// Most bytes of a head, before its empty line, and of its first line.
const HEAD: usize = 16 * 1024;
/// Most bytes of a head, with its empty line.
pub(crate) const MAX_HEAD: usize = HEAD + 4;
const LINE: usize = 8 * 1024;
/// Most fields.
const FIELDS: usize = 100;

/// Reads the head of a request.
#[derive(Default)]
pub(crate) struct RequestReader(Scan);

/// Why a request cannot be read: the status of the answer, and the rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unreadable {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

impl RequestReader {
    /// Takes the head out of the front of `input` once it is complete; its body, if it has one, stays there.
    pub(crate) fn read(&mut self, input: &mut BytesMut) -> Result<Option<Request>, Unreadable> {
        if input.is_empty() {
            return Ok(None);
        }
        let limits = Limits { line: LINE, head: HEAD, fields: FIELDS };
        match self.0.look(input, &limits) {
            Ok(Found::Partial) => Ok(None),
            Ok(Found::Head(parsed)) => {
                let length = parsed.len;
                let head = parsed.into_head(input, None);
                input.advance(length);
                Ok(Some(Request::new(head, Body::empty(), 0)))
            }
            Err(Refusal { status, reason, .. }) => Err(Unreadable { status, reason }),
        }
    }
}

/// Appends a complete answer that ends the connection, or one that switches protocols. `to_head`: without its body.
///
/// # Errors
/// A mistake was made in building it, or its body is not in memory; nothing was appended.
pub(crate) fn write(
    mut response: Response,
    to_head: bool,
    unix_seconds: u64,
    out: &mut Outbox,
) -> Result<(), Error> {
    if let Some(error) = response.take_error() {
        return Err(error);
    }
    let Some(body) = response.body_ref().as_bytes().cloned() else {
        return Err(Error::Message("the body of an answer to a handshake must be in memory"));
    };
    // Puts the content type of a constructor among the fields.
    response.headers_mut();
    let status = response.status();
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    if status.is_informational() && !switches {
        return Err(Error::Message("a status of 1xx that is no answer to a handshake"));
    }
    let buffer = out.buffer();
    status_line(status, buffer);
    // RFC 9110 section 6.6.1: all but interim answers have a date.
    if !switches && !response.headers().contains("date") {
        buffer.put_slice(b"Date: ");
        buffer.put_slice(&date(unix_seconds));
        buffer.put_slice(b"\r\n");
    }
    let own = ["connection", "content-length", "transfer-encoding"];
    for (name, value) in response.headers().iter().filter(|(name, _)| !own.contains(&name.as_str())) {
        field(name, value.as_bytes(), buffer);
    }
    if switches {
        buffer.put_slice(b"Connection: Upgrade\r\n\r\n");
        return Ok(());
    }
    // RFC 9110 section 8.6, 15.3.5 and 15.4.5.
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        buffer.put_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    buffer.put_slice(b"Connection: close\r\n\r\n");
    if !to_head && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        out.put_bytes(body);
    }
    Ok(())
}

/// Reads the head of a response.
#[derive(Default)]
pub(crate) struct ResponseReader(ResponseScan);

/// The head of a response, and where its body ends.
pub(crate) struct ResponseHead {
    pub(crate) response: Response,
    /// Where the body ends: after so many bytes, or `None` with the connection.
    pub(crate) length: Option<u64>,
    /// The body is in chunks.
    pub(crate) chunked: bool,
}

impl ResponseReader {
    /// Takes the head out of the front of `input` once it is complete.
    pub(crate) fn read(&mut self, input: &mut BytesMut) -> Result<Option<ResponseHead>, Error> {
        let Some(length) = self.0.find(input, HEAD, FIELDS)? else { return Ok(None) };
        self.0 = ResponseScan::default();
        let head = Head::parse(&input.split_to(length).freeze())?;
        // An interim answer, and one that switches protocols, has no body whatever it says (RFC 9112 section 6.3).
        let framing = if head.status.is_informational() { Framing::None } else { head.framing(false)? };
        let response = head.into_response(Body::empty());
        let (length, chunked) = match framing {
            Framing::None => (Some(0), false),
            Framing::Length(length) => (Some(length), false),
            Framing::Chunked => (None, true),
            Framing::Close => (None, false),
        };
        Ok(Some(ResponseHead { response, length, chunked }))
    }
}

/// Reads the beginning of a body in chunks.
pub(crate) struct ChunkReader(Chunked);

impl Default for ChunkReader {
    fn default() -> Self {
        Self(Chunked::new(ChunkLimits { extensions: HEAD, trailers: HEAD, fields: FIELDS }))
    }
}

impl ChunkReader {
    /// Moves up to `room` bytes of data from `input` to `body`; whether there will be no more.
    pub(crate) fn read(&mut self, input: &mut BytesMut, room: usize, body: &mut BytesMut) -> bool {
        let full = body.len() + room;
        while body.len() < full {
            match self.0.next(input) {
                Ok(Chunk::Data(ready)) => {
                    let piece = input.split_to(ready.min(full - body.len()));
                    self.0.took(piece.len());
                    body.put_slice(&piece);
                }
                Ok(Chunk::Need(_)) => return false,
                // Broken chunks end it as well as the last one.
                Ok(Chunk::End(_)) | Err(_) => return true,
            }
        }
        true
    }
}
