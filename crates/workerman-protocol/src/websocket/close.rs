//! Close codes and close frames (RFC 6455 sections 5.5.1 and 7.4).

use std::fmt;

use super::Error;

/// Why a connection is closed, as a number (RFC 6455 section 7.4).
///
/// # Examples
/// ```
/// use workerman_protocol::websocket::CloseCode;
/// assert_eq!(CloseCode::AWAY.to_string(), "1001 (going away)");
/// assert!(CloseCode::from(4000).is_sendable() && !CloseCode::ABNORMAL.is_sendable());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: a server stops, or a page is left.
    pub const AWAY: Self = Self(1001);
    /// 1002: a frame broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// 1003: a kind of data that is not taken (bytes where only text is understood).
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1005: the peer closed without a code. Never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection ended without a close frame. Never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: text that is not UTF-8, or data that cannot be inflated.
    pub const INVALID: Self = Self(1007);
    /// 1008: a message that breaks a rule of the application.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message that is too big.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: the client wanted an extension that the server did not agree to.
    pub const EXTENSION: Self = Self(1010);
    /// 1011: the server met a condition that it did not expect.
    pub const UNEXPECTED: Self = Self(1011);
    /// 1012: the server restarts.
    pub const RESTART: Self = Self(1012);
    /// 1013: the server is overloaded; try again later.
    pub const TRY_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid answer from the server behind it.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: the handshake of TLS failed. Never sent.
    pub const TLS: Self = Self(1015);

    /// The number.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether it may stand in a close frame: 1000 to 1003, 1007 to 1014, and 3000 to 4999, which libraries and applications
    /// give a meaning to (RFC 6455 section 7.4.2, and the registry of the IANA).
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// What a code of the registry means, in words.
    pub const fn meaning(self) -> Option<&'static str> {
        Some(match self.0 {
            1000 => "normal closure",
            1001 => "going away",
            1002 => "protocol error",
            1003 => "unsupported data",
            1005 => "no code received",
            1006 => "abnormal closure",
            1007 => "invalid payload data",
            1008 => "policy violation",
            1009 => "message too big",
            1010 => "extension missing",
            1011 => "internal error",
            1012 => "service restart",
            1013 => "try again later",
            1014 => "bad gateway",
            1015 => "TLS handshake failed",
            _ => return None,
        })
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl PartialEq<u16> for CloseCode {
    fn eq(&self, code: &u16) -> bool {
        self.0 == *code
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some(meaning) => write!(f, "{} ({meaning})", self.0),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Most bytes of a reason: what is left of a control frame beside the code.
pub(super) const MAX_REASON: usize = 123;

/// The longest start of `reason` that fits a close frame, cut between characters.
pub(super) fn fitting(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// Reads the payload of a close frame (RFC 6455 section 5.5.1): nothing, or a code and a reason.
pub(super) fn parse(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, Error> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        // Half a code is none.
        return if payload.is_empty() { Ok(None) } else { Err(Error::Protocol("a close frame of one byte")) };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_sendable() {
        return Err(Error::Protocol("a close code that may not be sent"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Error::Utf8)?;
    Ok(Some((code, reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_that_may_be_sent() {
        let sendable =
            |range: std::ops::RangeInclusive<u16>| range.map(CloseCode).all(CloseCode::is_sendable);
        let refused =
            |mut range: std::ops::RangeInclusive<u16>| !range.any(|code| CloseCode(code).is_sendable());
        assert!(sendable(1000..=1003) && sendable(1007..=1014) && sendable(3000..=4999));
        assert!(refused(0..=999) && refused(1004..=1006) && refused(1015..=2999) && refused(5000..=u16::MAX));
    }

    #[test]
    fn reads_what_a_close_frame_may_hold() {
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"\x03\xe8"), Ok(Some((CloseCode::NORMAL, ""))));
        assert_eq!(parse("\x0f\u{0}é".as_bytes()), Ok(Some((CloseCode(0x0f00), "é"))));
        assert!(matches!(parse(b"\x03"), Err(Error::Protocol(_))));
        assert!(matches!(parse(b"\x03\xed"), Err(Error::Protocol(_))));
        assert_eq!(parse(b"\x03\xe8\xff"), Err(Error::Utf8));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(fitting("short"), "short");
        assert_eq!(fitting(&"a".repeat(200)).len(), 123);
        assert_eq!(fitting(&"é".repeat(100)), "é".repeat(61));
    }
}
