//! The bytes of an answer's head, and of chunks.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, StatusCode};

use super::super::chunked::may_trail;
use super::super::date::date;
use super::super::parse::{CLOSE, HEAD, OLD, Refusal};
use super::super::response::Preset;
use super::super::{Headers, Response};
use super::config::Config;
use crate::Outbox;

/// How the end of a body is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Length {
    /// There is none, and nothing is said about it.
    None,
    Known(u64),
    Chunked,
    UntilClose,
}

/// What [`Config::date`] ends with.
const DATE: &[u8] = b"Date: ";

/// Writes the head of an answer; tells whether the connection is to end after it.
#[inline]
pub(super) fn head(
    response: &Response,
    length: Length,
    flags: u8,
    switches: bool,
    config: &Config,
    unix_seconds: u64,
    out: &mut Outbox,
) -> bool {
    let out = out.buffer();
    let status = response.status();
    let headers = response.headers();
    out.reserve(256 + 64 * headers.len());
    let own = |name| !headers.is_empty() && headers.contains(name);
    let (own_date, own_server) = (own("date"), own("server"));
    if status == StatusCode::OK && !own_date && !own_server {
        out.put_slice(&config.ok);
    } else {
        status_line(status, out);
        let (server, date) = config.date.split_at(config.date.len() - DATE.len());
        if !own_server {
            out.put_slice(server);
        }
        // RFC 9110 section 6.6.1: an answer has a date.
        if !own_date {
            out.put_slice(date);
        }
    }
    if !own_date {
        out.put_slice(&date(unix_seconds));
        out.put_slice(b"\r\n");
    }
    // RFC 9110 section 15.4.5: a 304 tells nothing of what it does not have; nor does any other without content.
    if length != Length::None {
        out.put_slice(content_type(response.preset));
    }
    let mut close = flags & CLOSE != 0;
    let mut offers = false;
    let mut own_length = None;
    for (name, value) in headers.iter() {
        if *name == CONNECTION {
            // The protocol's own; the application's wish to close counts.
            close |= value.to_str().is_ok_and(|value| {
                value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"))
            });
        } else if *name == CONTENT_LENGTH {
            own_length = Some(value);
        } else if *name != TRANSFER_ENCODING {
            offers |= *name == UPGRADE;
            field(name, value.as_bytes(), out);
        }
    }
    match length {
        // RFC 9110 section 8.6: an answer to HEAD, and a 304, may tell the length of what they do not have.
        Length::Known(0) if flags & HEAD != 0 && own_length.is_some() => {
            let value = own_length.map_or(&b"0"[..], |value| value.as_bytes());
            field(&CONTENT_LENGTH, value, out);
        }
        Length::Known(length) => {
            out.put_slice(b"Content-Length: ");
            out.put_slice(itoa::Buffer::new().format(length).as_bytes());
            out.put_slice(b"\r\n");
        }
        Length::None if status == StatusCode::NOT_MODIFIED => {
            if let Some(value) = own_length {
                field(&CONTENT_LENGTH, value.as_bytes(), out);
            }
        }
        Length::Chunked => out.put_slice(b"Transfer-Encoding: chunked\r\n"),
        Length::None | Length::UntilClose => {}
    }
    if switches {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            out.put_slice(b"Connection: Upgrade\r\n");
        }
    } else if offers {
        // Section 7.8: whoever says what it could switch to says that this is for the next hop.
        out.put_slice(if close { b"Connection: close, Upgrade\r\n" } else { b"Connection: Upgrade\r\n" });
    } else if close {
        out.put_slice(b"Connection: close\r\n");
    } else if flags & OLD != 0 {
        // RFC 9112 section 9.3: a 1.0 client that asked for it has to be told.
        out.put_slice(b"Connection: keep-alive\r\n");
    }
    out.put_slice(b"\r\n");
    close
}

/// The line of a content type that a constructor chose.
fn content_type(preset: Preset) -> &'static [u8] {
    match preset {
        Preset::None => b"",
        Preset::Text => b"Content-Type: text/plain; charset=utf-8\r\n",
        Preset::Html => b"Content-Type: text/html; charset=utf-8\r\n",
        Preset::Json => b"Content-Type: application/json\r\n",
        Preset::Octets => b"Content-Type: application/octet-stream\r\n",
    }
}

pub(in crate::http) fn status_line(status: StatusCode, out: &mut BytesMut) {
    // RFC 9112 section 2.3: the server's version, not the client's.
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    // The space is there without a reason, too (section 4).
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

/// A field line, its name as it is usually written.
pub(in crate::http) fn field(name: &HeaderName, value: &[u8], out: &mut BytesMut) {
    let mut upper = true;
    let mut rest = name.as_str();
    out.reserve(rest.len() + value.len() + 4);
    if let Some(behind) = rest.strip_prefix("sec-websocket") {
        out.put_slice(b"Sec-WebSocket");
        rest = behind;
        upper = false;
    }
    for byte in rest.bytes() {
        out.put_u8(if upper { byte.to_ascii_uppercase() } else { byte });
        upper = byte == b'-';
    }
    out.put_slice(b": ");
    // RFC 9110 section 5.5: white space around a value is not part of it.
    out.put_slice(value.trim_ascii());
    out.put_slice(b"\r\n");
}

/// A chunk (RFC 9112 section 7.1); none for no bytes, since that would be the last.
pub(super) fn chunk(data: &Bytes, out: &mut Outbox) {
    if data.is_empty() {
        return;
    }
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut left = data.len();
    while left > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    out.put_slice(&digits[at..]);
    out.put_slice(b"\r\n");
    out.put_bytes(data.clone());
    out.put_slice(b"\r\n");
}

/// The end of a chunked body, with its trailers.
pub(super) fn last_chunk(trailers: Option<&Headers>, out: &mut Outbox) {
    let out = out.buffer();
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.iter().flat_map(|trailers| trailers.iter()) {
        if may_trail(name.as_str()) {
            field(name, value.as_bytes(), out);
        }
    }
    out.put_slice(b"\r\n");
}

/// A complete answer to a request that is refused; nothing follows it. Returns the length of its body.
#[cold]
pub(super) fn refusal(refusal: Refusal, config: &Config, unix_seconds: u64, out: &mut Outbox) -> u64 {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let reason = status.canonical_reason().unwrap_or("refused");
    let text = format!("{} {reason}: {}\n", refusal.status, refusal.reason);
    {
        let out = out.buffer();
        status_line(status, out);
        out.put_slice(&config.date);
        out.put_slice(&date(unix_seconds));
        out.put_slice(b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ");
        out.put_slice(itoa::Buffer::new().format(text.len()).as_bytes());
        if status == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 9110 section 15.5.6: it must say what is allowed; CONNECT is what is not.
            out.put_slice(b"\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        }
        out.put_slice(b"\r\nConnection: close\r\n\r\n");
        if !refusal.to_head {
            out.put_slice(text.as_bytes());
        }
    }
    out.finish();
    text.len() as u64
}
