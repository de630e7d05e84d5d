//! The key of a handshake and the answer to it (RFC 6455 sections 4.1 and 4.2.2).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// What the key is joined with before it is hashed (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// 16 bytes in base64: what a client sends in `Sec-WebSocket-Key`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 24]);

impl Key {
    /// A key from the system's random source: a new one for each handshake (RFC 6455 section 4.1, item 7).
    ///
    /// # Errors
    /// The system has no random numbers to give.
    pub fn random() -> Result<Self, KeyError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| KeyError)?;
        Ok(Self::of(nonce))
    }

    /// The key of given bytes; for tests and simulations.
    pub fn of(nonce: [u8; 16]) -> Self {
        let mut text = [0; 24];
        // 16 bytes are 24 characters.
        let written = STANDARD.encode_slice(nonce, &mut text);
        debug_assert_eq!(written, Ok(24));
        Self(text)
    }

    /// The key in a field: base64 of exactly 16 bytes, in its only form: standard alphabet, padded, no stray bits
    /// (RFC 6455 section 4.2.1, item 5; RFC 4648 section 4).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text: [u8; 24] = value.try_into().ok()?;
        // Room for what 24 characters are at most.
        let mut nonce = [0; 18];
        let length = STANDARD.decode_slice(text, &mut nonce).ok()?;
        (length == 16).then_some(Self(text))
    }

    /// The key as it is sent.
    pub fn as_str(&self) -> &str {
        // Only base64 gets in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// What the server must answer to it in `Sec-WebSocket-Accept`: base64 of the SHA-1 of the key and the GUID
    /// (RFC 6455 section 4.2.2, item 5.4).
    pub fn answer(&self) -> Answer {
        let hash = Sha1::new().chain_update(self.0).chain_update(GUID).finalize();
        let mut text = [0; 28];
        let written = STANDARD.encode_slice(hash, &mut text);
        debug_assert_eq!(written, Ok(28));
        Answer(text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.as_str()).finish()
    }
}

/// The answer to a [`Key`]: what a server sends in `Sec-WebSocket-Accept`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Answer([u8; 28]);

impl Answer {
    /// The answer as it is sent.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answer").field(&self.as_str()).finish()
    }
}

/// The system has no random numbers to give.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the system has no random numbers to give")]
pub struct KeyError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        // Section 1.3.
        let key = Key::parse(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(key, Key::of(*b"the sample nonce"));
        assert_eq!(key.as_str(), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(key.answer().as_str(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_not_base64_of_sixteen_bytes_is_no_key() {
        for wrong in [
            &b""[..],
            b"dGhlIHNhbXBsZSBub25jZQ",         // no padding
            b"dGhlIHNhbXBsZSBub25jZQ=",        // half of it
            b"dGhlIHNhbXBsZSBub25jZR==",       // bits behind the last byte
            b"dGhlIHNhbXBsZSBub25jZQ== ",      // white space
            b"dGhlIHNhbXBsZSBub25jZ===",       // 15 bytes and a part
            b"dGhlIHNhbXBsZSBub25jZWE=",       // 17 bytes
            b"dGhlIHNhbXBsZSBub25jZWFh",       // 18 bytes
            b"dGhlIHNhbXBsZSBub2-_ZQ==",       // the alphabet of URLs
            b"dGhlIHNhbXBs\nSBub25jZQ==",      // a line break
            b"dGhlIHNhbXBsZSBub25jZQ==dGhlIA", // more
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff==",
        ] {
            assert_eq!(Key::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn no_two_random_keys_are_the_same() {
        let keys: Vec<Key> = (0..8).map(|_| Key::random().unwrap()).collect();
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(Key::parse(key.as_str().as_bytes()), Some(*key));
            assert!(!keys[..at].contains(key));
        }
    }
}
