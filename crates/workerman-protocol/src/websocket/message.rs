//! Messages, and what can be sent.

use std::borrow::Cow;
use std::fmt;

use bytes::{Bytes, BytesMut};

use super::Utf8Bytes;

/// A message, received or to be sent: text or bytes.
///
/// What is text becomes [`Text`](Self::Text), what is bytes [`Binary`](Self::Binary).
///
/// # Examples
/// ```
/// use workerman_protocol::websocket::Message;
///
/// let message = Message::from("one");
/// assert_eq!(message.as_text(), Some("one"));
/// assert_eq!(format!("hello {message}"), "hello one");
/// assert!(!Message::from(vec![1, 2, 3]).is_text());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    /// Text; a peer's has been checked to be UTF-8.
    Text(Utf8Bytes),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// The payload, whatever its kind.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text, if it is one; see [`Utf8Bytes::as_str`] for what it costs.
    #[inline]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// Whether it is text.
    #[inline]
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Its kind.
    #[inline]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Binary(_) => Kind::Binary,
        }
    }

    /// Bytes of the payload.
    #[inline]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload, shared, whatever its kind.
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text.
    ///
    /// # Errors
    /// It is not text: the bytes.
    pub fn into_text(self) -> Result<Utf8Bytes, Bytes> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Binary(bytes) => Err(bytes),
        }
    }

    /// The message, to be sent compressed or not, whatever the settings say of messages of its size. Where no compression was
    /// negotiated it is never compressed.
    #[must_use]
    pub fn compress(self, compress: bool) -> Outgoing {
        Outgoing::Message { message: self, compress: Some(compress) }
    }
}

/// The text as it is; bytes as text, as far as they are one.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => fmt::Display::fmt(text, f),
            Self::Binary(bytes) => fmt::Display::fmt(&String::from_utf8_lossy(bytes), f),
        }
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<Message> for Bytes {
    fn from(message: Message) -> Self {
        message.into_bytes()
    }
}

impl PartialEq<str> for Message {
    fn eq(&self, text: &str) -> bool {
        matches!(self, Self::Text(own) if own == text)
    }
}

impl PartialEq<&str> for Message {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

impl PartialEq<[u8]> for Message {
    fn eq(&self, bytes: &[u8]) -> bool {
        matches!(self, Self::Binary(own) if own == bytes)
    }
}

impl PartialEq<&[u8]> for Message {
    fn eq(&self, bytes: &&[u8]) -> bool {
        self == *bytes
    }
}

/// A received message is compared with what was sent.
impl PartialEq<Outgoing> for Message {
    fn eq(&self, sent: &Outgoing) -> bool {
        matches!(sent, Outgoing::Message { message, .. } if message == self)
    }
}

/// Text or bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Text: UTF-8 from its first byte to its last.
    Text,
    /// Bytes.
    Binary,
}

/// What can be sent: a message, or what there is besides messages.
///
/// Whatever makes a [`Message`] makes one of these: `conn.send("text")`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outgoing {
    /// A message.
    Message {
        /// The message.
        message: Message,
        /// Whether to compress it, where compression was negotiated; `None`: as the settings say.
        compress: Option<bool>,
    },
    /// A ping of at most 125 bytes. (The heartbeat sends its own.)
    Ping(Bytes),
    /// A pong that answers no ping, of at most 125 bytes. (Pings are answered without it.)
    Pong(Bytes),
    /// A part of a message, for one that is too large or too slow to be had at once.
    ///
    /// Between the first and the last one nothing but fragments of the same message may be sent on the connection, pings and
    /// pongs excepted: see that nobody else sends meanwhile.
    Fragment(Fragment),
}

impl Outgoing {
    /// A ping of at most 125 bytes.
    pub fn ping(payload: impl Into<Bytes>) -> Self {
        Self::Ping(payload.into())
    }
}

/// A part of a message, received as it arrives or sent as it comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// The kind of the message.
    pub kind: Kind,
    /// Whether it is the first of its message.
    pub first: bool,
    /// Whether it is the last of its message. A message of one fragment has both.
    pub last: bool,
    /// The bytes; of a received text message always whole characters. May be empty.
    pub data: Bytes,
}

impl Fragment {
    /// The data as text, if it is a fragment of text. One to be sent need not be cut between characters: then it is none.
    pub fn as_text(&self) -> Option<&str> {
        if self.kind == Kind::Text { std::str::from_utf8(&self.data).ok() } else { None }
    }
}

impl From<Fragment> for Outgoing {
    fn from(fragment: Fragment) -> Self {
        Self::Fragment(fragment)
    }
}

impl From<Message> for Outgoing {
    #[inline]
    fn from(message: Message) -> Self {
        Self::Message { message, compress: None }
    }
}

impl From<&Message> for Outgoing {
    fn from(message: &Message) -> Self {
        message.clone().into()
    }
}

impl From<&Message> for Message {
    fn from(message: &Message) -> Self {
        message.clone()
    }
}

/// The conversions into a message, and into what can be sent.
macro_rules! makes {
    ($kind:ident: $($from:ty),* $(,)?) => {$(
        impl From<$from> for Message {
            #[inline]
            fn from(from: $from) -> Self {
                Self::$kind(from.into())
            }
        }

        impl From<$from> for Outgoing {
            #[inline]
            fn from(from: $from) -> Self {
                Message::from(from).into()
            }
        }
    )*};
}

makes!(Text: Utf8Bytes, &str, String, &String, Box<str>, Cow<'_, str>, char);
makes!(Binary: Bytes, Vec<u8>, Box<[u8]>, &'static [u8], BytesMut);

impl From<&Utf8Bytes> for Message {
    fn from(text: &Utf8Bytes) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&Utf8Bytes> for Outgoing {
    fn from(text: &Utf8Bytes) -> Self {
        Message::from(text).into()
    }
}

impl From<&Bytes> for Message {
    fn from(bytes: &Bytes) -> Self {
        Self::Binary(bytes.clone())
    }
}

impl From<&Bytes> for Outgoing {
    fn from(bytes: &Bytes) -> Self {
        Message::from(bytes).into()
    }
}

impl<const N: usize> From<&'static [u8; N]> for Message {
    fn from(bytes: &'static [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<&'static [u8; N]> for Outgoing {
    fn from(bytes: &'static [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_text_and_bytes_become_bytes() {
        let texts: [Message; 5] = [
            "a".into(),
            String::from("a").into(),
            Utf8Bytes::from("a").into(),
            'a'.into(),
            Cow::Borrowed("a").into(),
        ];
        assert!(texts.iter().all(|text| text.is_text() && text == "a" && text.as_bytes() == b"a"));
        let binaries: [Message; 4] = [
            b"a".into(),
            vec![b'a'].into(),
            Bytes::from_static(b"a").into(),
            BytesMut::from(&b"a"[..]).into(),
        ];
        assert!(binaries.iter().all(|bytes| !bytes.is_text() && bytes == b"a".as_slice() && bytes != "a"));
    }

    #[test]
    fn shows_itself_as_text() {
        assert_eq!(format!("<{}>", Message::from("é")), "<é>");
        assert_eq!(format!("<{}>", Message::from(b"a\xff")), "<a\u{fffd}>");
    }

    #[test]
    fn compression_can_be_chosen_for_one_message() {
        let sent = Message::from("a").compress(false);
        assert_eq!(sent, Outgoing::Message { message: "a".into(), compress: Some(false) });
        assert!(Message::from("a") == sent && Message::from("b") != sent);
    }
}
