//! Whether a response can be sent as the answer to a request: its status, and the fields that are the protocol's own.

use http::HeaderValue;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::super::parse::{HEAD, UPGRADES};
use super::super::{Error, Response, StatusCode};

/// Whether a response can be sent as the answer to a request with these flags; `whole`: its body has arrived.
#[inline]
pub(super) fn check(response: &mut Response, flags: u8, whole: bool) -> Result<(), Error> {
    if let Some(error) = response.take_error() {
        return Err(error);
    }
    if !response.headers().is_empty() {
        check_framing(response, flags)?;
    }
    match response.status().as_u16() {
        200..=599 => Ok(()),
        // RFC 9110 section 15.2.2: a switch is an answer to an offer; the others of 1xx are not final. Section 7.8: the new
        // protocol begins behind the whole request.
        101 if flags & UPGRADES == 0 => Err(Error::Message("a switch of protocols that nobody has offered")),
        101 if !whole => Err(Error::Message("a switch of protocols within the body of its request")),
        101 => Ok(()),
        100..=199 => Err(Error::Message("a status of 1xx, which is no answer")),
        // Section 15: clients take it for an error of the server's.
        _ => Err(Error::Message("a status beyond 599")),
    }
}

/// The framing is the protocol's. What an application says about it must be true.
fn check_framing(response: &Response, flags: u8) -> Result<(), Error> {
    let headers = response.headers();
    // One that a client got has said how it came here, and that is over.
    if headers.contains(TRANSFER_ENCODING) && response.version().is_none() {
        return Err(Error::Field {
            name: TRANSFER_ENCODING.as_str().into(),
            reason: "the protocol chooses how a body is framed",
        });
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH);
    let Some(length) = lengths.next() else { return Ok(()) };
    let wrong = |reason| Err(Error::Field { name: CONTENT_LENGTH.as_str().into(), reason });
    let Some(length) = number(length) else { return wrong("it is not a number") };
    if lengths.next().is_some() {
        return wrong("there can be only one");
    }
    match response.body_ref().len() {
        // RFC 9110 section 8.6: these say what they do not have.
        Some(0) if flags & HEAD != 0 || response.status() == StatusCode::NOT_MODIFIED => Ok(()),
        Some(body) if body != length => wrong("the body has another length"),
        _ => Ok(()),
    }
}

/// The length that a response announces for a body of unknown length.
pub(super) fn announced(response: &Response) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH).and_then(number)
}

/// RFC 9110 section 8.6: digits, and nothing else.
fn number(value: &HeaderValue) -> Option<u64> {
    let value = value.as_bytes().trim_ascii();
    let digits = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}
