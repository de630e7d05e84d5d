//! The id of a session: a secret that whoever knows it has the session.

use std::fmt;
use std::sync::Arc;

use super::SessionError;

/// Random bytes in a new id: 160 bits, where 128 are asked for.
const RANDOM: usize = 20;

/// The id of a session.
///
/// Whoever knows it has the session, so `Debug` shows its first characters only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// A new id: 40 hexadecimal digits from the random source of the system.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> Result<Self, SessionError> {
        let mut bytes = [0; RANDOM];
        getrandom::fill(&mut bytes).map_err(|_| SessionError::Random)?;
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let text: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
        Ok(Self(text.into()))
    }

    /// An id as a client may send it: 16 to 256 letters, digits, commas and hyphens. It need not be known to any store.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b',' | b'-');
        ((16..=256).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({}...)", &self.0[..4])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn new_ids_are_valid_and_differ() {
        let ids: BTreeSet<SessionId> = (0..100).map(|_| SessionId::random().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        for id in ids {
            assert_eq!(id.as_str().len() * 4, 160);
            assert_eq!(SessionId::parse(id.as_str()), Some(id.clone()));
            assert!(!format!("{id:?}").contains(&id.as_str()[4..]));
        }
    }

    #[test]
    fn only_harmless_texts_are_ids() {
        for (text, valid) in [
            ("0123456789abcdef".to_owned(), true),
            ("0123456789ABC,-f".to_owned(), true),
            ("0123456789abcde".to_owned(), false),
            ("a".repeat(256), true),
            ("a".repeat(257), false),
            ("../../../../etc/passwd".to_owned(), false),
            ("0123456789abcde_".to_owned(), false),
            ("0123456789abcde\0".to_owned(), false),
            ("0123456789abcdé".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(SessionId::parse(&text).is_some(), valid, "{text:?}");
        }
    }
}
