//! Small grammars inside of field values.

use super::{Refusal, refuse};

/// The elements of a comma-separated list, without the white space around them (RFC 9110 section 5.6.1).
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether a byte may be in a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// The bytes of tokens.
pub(super) static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9'
            | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

/// Whether it is a token.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

/// The value of a Content-Length (RFC 9110 section 8.6): digits and nothing else, one number.
pub(super) fn length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(refuse(400, "a Content-Length that is not a number"));
    }
    value
        .iter()
        .try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .ok_or(refuse(413, "a Content-Length beyond all limits"))
}

/// The transfer codings of a request, over all lines of the field (RFC 9112 section 6.1).
#[derive(Default)]
pub(super) struct Codings {
    count: usize,
    chunked: usize,
    chunked_last: bool,
    unknown: bool,
}

impl Codings {
    pub(super) fn add(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for coding in list(value) {
            self.count += 1;
            self.chunked_last = coding.eq_ignore_ascii_case(b"chunked");
            if self.chunked_last {
                self.chunked += 1;
                continue;
            }
            let end = coding.iter().position(|byte| *byte == b';').unwrap_or(coding.len());
            let name = coding[..end].trim_ascii_end();
            if !is_token(name) {
                return Err(refuse(400, "a Transfer-Encoding that is not a list of codings"));
            }
            if name.eq_ignore_ascii_case(b"chunked") {
                return Err(refuse(400, "chunked has no parameters"));
            }
            self.unknown = true;
        }
        Ok(())
    }

    /// Chunked, once and alone: the only coding that is understood.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match self {
            // RFC 9112 section 7.1: chunked must not be applied twice; section 6.3: it must come last.
            Self { chunked: 2.., .. } => Err(refuse(400, "chunked more than once")),
            Self { chunked: 1, chunked_last: false, .. } => {
                Err(refuse(400, "chunked is not the last coding"))
            }
            // RFC 9112 section 6.1: a coding that is not understood is answered with 501.
            Self { unknown: true, .. } => Err(refuse(501, "a transfer coding that is not understood")),
            _ => Ok(()),
        }
    }
}
