//! Bytes that are known to be UTF-8.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;
use std::str::Utf8Error;

use bytes::Bytes;

/// [`Bytes`] that are UTF-8: text that is cheap to clone and can be sent on without a copy.
///
/// It is a `&str` wherever one is wanted.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use workerman_protocol::websocket::Utf8Bytes;
///
/// let text = Utf8Bytes::try_from(Bytes::from("grüezi"))?;
/// assert!(text.starts_with("grü") && text.len() == 7);
/// assert!(Utf8Bytes::try_from(Bytes::from_static(b"\xff")).is_err());
/// # Ok::<(), std::str::Utf8Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utf8Bytes(Bytes);

impl Utf8Bytes {
    /// Text that lives as long as the program; nothing is allocated.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Text that has been checked by the caller.
    #[inline]
    pub(super) fn checked(bytes: Bytes) -> Self {
        debug_assert!(std::str::from_utf8(&bytes).is_ok());
        Self(bytes)
    }

    /// The text.
    ///
    /// (It is looked at again for this: without `unsafe` there is no other way from bytes to a `str`. That is fast, some
    /// gigabytes a second, but keep the result where you need it often.)
    #[inline]
    pub fn as_str(&self) -> &str {
        // What was made of a `str` or checked is UTF-8, so the other arm is never taken.
        str_of(&self.0).unwrap_or_default()
    }

    /// The bytes of the text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of the text, shared.
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// From this many bytes on the vectorised check is the faster one.
const WIDE_FROM: usize = 64;

/// The bytes as text, checked in the way that is the fastest for their number.
#[inline]
fn str_of(bytes: &[u8]) -> Option<&str> {
    if bytes.len() < WIDE_FROM {
        std::str::from_utf8(bytes).ok()
    } else {
        simdutf8::basic::from_utf8(bytes).ok()
    }
}

/// Whether the bytes are UTF-8, checked in the way that is the fastest for their number.
#[inline]
pub(super) fn is_utf8(bytes: &[u8]) -> bool {
    str_of(bytes).is_some()
}

impl Deref for Utf8Bytes {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Utf8Bytes {
    fn as_ref(&self) -> &str {
        self
    }
}

impl AsRef<[u8]> for Utf8Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<str> for Utf8Bytes {
    fn borrow(&self) -> &str {
        self
    }
}

impl fmt::Display for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<&str> for Utf8Bytes {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&String> for Utf8Bytes {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<Box<str>> for Utf8Bytes {
    fn from(text: Box<str>) -> Self {
        String::from(text).into()
    }
}

impl From<Cow<'_, str>> for Utf8Bytes {
    fn from(text: Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<char> for Utf8Bytes {
    fn from(character: char) -> Self {
        (&*character.encode_utf8(&mut [0; 4])).into()
    }
}

impl TryFrom<Bytes> for Utf8Bytes {
    type Error = Utf8Error;

    /// # Errors
    /// The bytes are not UTF-8.
    fn try_from(bytes: Bytes) -> Result<Self, Utf8Error> {
        if !is_utf8(&bytes) {
            // The plain check says where.
            std::str::from_utf8(&bytes)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<Vec<u8>> for Utf8Bytes {
    type Error = Utf8Error;

    /// # Errors
    /// The bytes are not UTF-8.
    fn try_from(bytes: Vec<u8>) -> Result<Self, Utf8Error> {
        Bytes::from(bytes).try_into()
    }
}

impl From<Utf8Bytes> for Bytes {
    fn from(text: Utf8Bytes) -> Self {
        text.0
    }
}

impl From<Utf8Bytes> for String {
    fn from(text: Utf8Bytes) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq<str> for Utf8Bytes {
    fn eq(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }
}

impl PartialEq<&str> for Utf8Bytes {
    fn eq(&self, text: &&str) -> bool {
        self.0 == text.as_bytes()
    }
}

impl PartialEq<String> for Utf8Bytes {
    fn eq(&self, text: &String) -> bool {
        self.0 == text.as_bytes()
    }
}

impl PartialEq<Utf8Bytes> for str {
    fn eq(&self, text: &Utf8Bytes) -> bool {
        text == self
    }
}

impl PartialEq<Utf8Bytes> for &str {
    fn eq(&self, text: &Utf8Bytes) -> bool {
        text == *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_text_becomes_text() {
        let texts: [Utf8Bytes; 6] = [
            "é".into(),
            String::from("é").into(),
            (&String::from("é")).into(),
            Cow::Borrowed("é").into(),
            Box::<str>::from("é").into(),
            'é'.into(),
        ];
        assert!(texts.iter().all(|text| text == "é" && *text.as_bytes() == [0xc3, 0xa9]));
        assert_eq!(Utf8Bytes::from_static("é"), texts[0]);
        assert_eq!(format!("{0} {0:?}", texts[0]), "é \"é\"");
    }

    #[test]
    fn bytes_are_checked_whatever_their_length() {
        for length in [0, 1, 63, 64, 65, 1000] {
            let good = vec![b'a'; length];
            assert_eq!(Utf8Bytes::try_from(good).unwrap().len(), length);
            for bad in 0..length {
                let mut bytes = vec![b'a'; length];
                bytes[bad] = 0x80;
                let error = Utf8Bytes::try_from(Bytes::from(bytes)).unwrap_err();
                assert_eq!(error.valid_up_to(), bad);
            }
        }
    }

    #[test]
    fn nothing_is_copied_on_the_way_to_bytes_and_back() {
        let bytes = Bytes::from(vec![b'a'; 100]);
        let text = Utf8Bytes::try_from(bytes.clone()).unwrap();
        assert_eq!(text.clone().into_bytes().as_ptr(), bytes.as_ptr());
        assert_eq!(Bytes::from(text).as_ptr(), bytes.as_ptr());
    }
}
