//! A line of text that a peer sent, or that is to be sent.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::Utf8Error;

use bytes::Bytes;

/// A message of the [`Text`](crate::Text) protocol: bytes that are usually, but not certainly, UTF-8.
///
/// What a peer sends is anything; so a line is bytes (it dereferences to `[u8]`), of which [`to_str`](Self::to_str)
/// makes a `&str` if they are one, while `{line}` prints what is not UTF-8 as `U+FFFD`. It compares with strings, is
/// cheap to clone (the bytes are shared), and can be sent back as it is. Strings, bytes and vectors convert into it.
///
/// # Examples
/// ```
/// use workerman_protocol::Line;
///
/// let line = Line::from("salut");
/// assert_eq!(line, "salut");
/// assert_eq!(format!("hello {line}"), "hello salut");
/// assert!(line.starts_with(b"sa"));
/// assert_eq!(line.to_str(), Ok("salut"));
///
/// let odd = Line::from(vec![b'a', 0xff]);
/// assert!(odd.to_str().is_err());
/// assert_eq!(odd.to_string(), "a\u{fffd}");
/// ```
#[derive(Clone, Default)]
pub struct Line {
    bytes: Bytes,
    /// It came from the decoder, so that it has no line feed; the encoder need not look again.
    unbroken: bool,
}

impl Line {
    /// A line that is known to have no line feed.
    #[inline]
    pub(crate) fn unbroken(bytes: Bytes) -> Self {
        Self { bytes, unbroken: true }
    }

    /// Where the first line feed is, if there is one.
    #[inline]
    pub(crate) fn line_break(&self) -> Option<usize> {
        if self.unbroken { None } else { memchr::memchr(b'\n', &self.bytes) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text, if it is UTF-8.
    ///
    /// # Errors
    /// It is not; the error says where.
    pub fn to_str(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.bytes)
    }

    /// The text, with `U+FFFD` for what is not UTF-8; a copy is made only then.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// The bytes, shared with this line's clones.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Line {}

impl PartialOrd for Line {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Line {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl Hash for Line {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl Deref for Line {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Line {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Lossy: what is not UTF-8 becomes `U+FFFD`.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_string_lossy())
    }
}

/// As a string literal, with what is not UTF-8 as `\xNN`.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.bytes.utf8_chunks() {
            write!(f, "{}", chunk.valid().escape_debug())?;
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        f.write_str("\"")
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<&String> for Line {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Cow<'_, str>> for Line {
    fn from(text: Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<&[u8]> for Line {
    fn from(bytes: &[u8]) -> Self {
        Bytes::copy_from_slice(bytes).into()
    }
}

impl<const N: usize> From<&[u8; N]> for Line {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<Vec<u8>> for Line {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Bytes> for Line {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self { bytes, unbroken: false }
    }
}

impl From<&Line> for Line {
    fn from(line: &Line) -> Self {
        line.clone()
    }
}

impl From<Line> for Bytes {
    #[inline]
    fn from(line: Line) -> Self {
        line.bytes
    }
}

macro_rules! compares_with {
    ($($other:ty),*) => {$(
        impl PartialEq<$other> for Line {
            fn eq(&self, other: &$other) -> bool {
                let other: &[u8] = other.as_ref();
                *self.bytes == *other
            }
        }

        impl PartialEq<Line> for $other {
            fn eq(&self, other: &Line) -> bool {
                other == self
            }
        }
    )*};
}

compares_with!(str, &str, String, [u8], &[u8], Vec<u8>, Bytes);

impl<const N: usize> PartialEq<&[u8; N]> for Line {
    fn eq(&self, other: &&[u8; N]) -> bool {
        *self.bytes == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_sendable_becomes_a_line() {
        let owned = String::from("text");
        let local: &str = &owned;
        let lines: [Line; 9] = [
            "text".into(),
            local.into(),
            (&owned).into(),
            owned.clone().into(),
            Cow::Borrowed(local).into(),
            b"text".into(),
            b"text".to_vec().into(),
            Bytes::from_static(b"text").into(),
            (&Line::from("text")).into(),
        ];
        for line in lines {
            assert_eq!(line, "text");
        }
    }

    #[test]
    fn compares_with_what_text_is_compared_with() {
        let line = Line::from("quit");
        let (string, bytes) = (String::from("quit"), Bytes::from_static(b"quit"));
        assert!(line == "quit" && line == *"quit" && line == string && line == bytes);
        assert!(line == b"quit" && line == b"quit"[..] && line == bytes.to_vec());
        assert_eq!("quit", line);
        assert_eq!(string, line);
        assert!(line != "quit " && line != "qui");
        assert!(matches!(&*line, b"quit"));
    }

    #[test]
    fn prints_lossily_and_debugs_exactly() {
        let line = Line::from(b"caf\xc3\xa9 \xff\"\t");
        assert_eq!(line.to_string(), "caf\u{e9} \u{fffd}\"\t");
        assert_eq!(format!("{line:?}"), r#""café \xff\"\t""#);
        assert_eq!(format!("[{:>6}]", Line::from("ab")), "[    ab]");
        assert_eq!(line.to_str().unwrap_err().valid_up_to(), 6);
    }

    #[test]
    fn where_a_line_comes_from_makes_no_difference() {
        let [decoded, made] = [Line::unbroken(Bytes::from_static(b"same")), Line::from("same")];
        assert_eq!(decoded, made);
        assert_eq!(decoded.cmp(&made), Ordering::Equal);
        assert_eq!(decoded.cmp(&Line::from("samf")), Ordering::Less);
        assert!(std::collections::HashSet::from([decoded]).contains(&made));
    }

    #[test]
    fn clones_share_the_bytes() {
        let line = Line::from("shared");
        assert_eq!(line.clone().as_bytes().as_ptr(), line.as_bytes().as_ptr());
    }
}
