//! The head of a part: its name, the name of its file, its type (RFC 7578 section 4).

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::percent_decode;

use super::params::{self, Broken};
use super::{Limits, MultipartError};

/// The head of a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartHead {
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
    /// Field lines and the empty line, as they were sent and checked.
    raw: Bytes,
}

impl PartHead {
    /// The name of the field.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the part is a file: it has the name of one, be it empty.
    pub fn is_file(&self) -> bool {
        self.file_name.is_some()
    }

    /// The name of the file as the client sent it, of `filename*` before `filename`; empty when none was chosen.
    ///
    /// It is a label and never a path: it may be `../../etc/passwd`. What is not UTF-8 in it is replaced.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// The last component of the client's file name, fit to be the name of a file in a folder of yours.
    ///
    /// It has no `/`, `\` or `:`, no control characters and none that turn the direction of text, is neither `.` nor
    /// `..`, and has at most 255 bytes; `None` if nothing is left. Two files may well have the same.
    pub fn safe_file_name(&self) -> Option<String> {
        let name = self.file_name()?.rsplit(['/', '\\', ':']).next()?;
        let turns =
            |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let name: String = name.chars().filter(|c| !c.is_control() && !turns(*c)).collect();
        let mut end = name.trim().len().min(255);
        while !name.trim().is_char_boundary(end) {
            end -= 1;
        }
        let name = name.trim()[..end].trim_end();
        (!matches!(name, "" | "." | "..")).then(|| name.to_owned())
    }

    /// The type of the part, as the client says; `None` means `text/plain` (RFC 7578 section 4.4).
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The first value of a field of the head, if it is text. `name` is compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) =
            fields(&self.raw).filter_map(Result::ok).find(|(own, _)| is(own, name.as_bytes()))?;
        std::str::from_utf8(value).ok()
    }

    /// Number of bytes that the head takes, roughly.
    pub(super) fn weight(&self) -> usize {
        2 * self.raw.len()
    }

    /// Reads a head that ends with an empty line.
    pub(super) fn parse(raw: Bytes, limits: &Limits) -> Result<Self, MultipartError> {
        let mut disposition = None;
        let mut content_type = None;
        for field in fields(&raw) {
            let (name, value) = field?;
            if is(name, b"content-disposition") {
                if disposition.replace(value).is_some() {
                    return Err(MultipartError::Malformed("a part has two dispositions"));
                }
            } else if is(name, b"content-type") {
                if content_type.replace(value).is_some() {
                    return Err(MultipartError::Malformed("a part has two content types"));
                }
            } else if is(name, b"content-transfer-encoding") && !is_identity(value) {
                // Deprecated by RFC 7578 section 4.7, never sent by a browser; ignored, it would give wrong bytes.
                return Err(MultipartError::Malformed("a part is in a transfer encoding"));
            }
        }
        let disposition = disposition.ok_or(MultipartError::Malformed("a part has no disposition"))?;
        let (name, file_name) = names(disposition)?;
        for text in [Some(&name), file_name.as_ref()].into_iter().flatten() {
            if text.len() > limits.name {
                return Err(MultipartError::TooLarge { what: "bytes of a name", limit: limits.name as u64 });
            }
        }
        let content_type = content_type.map(|value| String::from_utf8_lossy(value).into_owned());
        Ok(Self { name, file_name, content_type, raw })
    }
}

fn is(own: &[u8], name: &[u8]) -> bool {
    own.eq_ignore_ascii_case(name)
}

fn is_identity(encoding: &[u8]) -> bool {
    is(encoding, b"binary") || is(encoding, b"8bit") || is(encoding, b"7bit")
}

/// The fields of a head: as strict as those of HTTP (RFC 9112 section 5), so that nobody reads them otherwise.
fn fields(raw: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), MultipartError>> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', rest)?;
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        (!line.is_empty()).then(|| field(line))
    })
}

fn field(line: &[u8]) -> Result<(&[u8], &[u8]), MultipartError> {
    let bad = MultipartError::Malformed("a part has a field that is none");
    let Some(colon) = memchr::memchr(b':', line) else { return Err(bad) };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    // A folded line begins with white space, which is no token.
    let forbidden = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    if name.is_empty() || !name.iter().all(|byte| params::is_token(*byte)) || value.iter().any(forbidden) {
        return Err(bad);
    }
    Ok((name, value))
}

/// The name of the field and that of the file (RFC 7578 section 4.2).
fn names(disposition: &[u8]) -> Result<(String, Option<String>), MultipartError> {
    let (kind, mut params) = params::split(disposition);
    if !is(kind, b"form-data") {
        return Err(MultipartError::Malformed("a part is no form-data"));
    }
    let (mut name, mut plain, mut extended) = (None, None, None);
    let broken = |_: Broken| MultipartError::Malformed("a disposition has a broken parameter");
    while let Some((own, value)) = params.next().map_err(broken)? {
        let again = if is(own, b"name") {
            name.replace(value).is_some()
        } else if is(own, b"filename") {
            plain.replace(value).is_some()
        } else if is(own, b"filename*") {
            extended.replace(value).is_some()
        } else {
            false
        };
        if again {
            return Err(MultipartError::Malformed("a disposition has a parameter twice"));
        }
    }
    let name = name.ok_or(MultipartError::Malformed("a part has no name"))?;
    let name = String::from_utf8(unescape(name).into_owned())
        .map_err(|_| MultipartError::Malformed("the name of a part is not UTF-8"))?;
    let file_name = match (extended, plain) {
        // RFC 6266 section 4.3: the extended one counts where both are there. RFC 7578 forbids it; it is sent.
        (Some(extended), _) => Some(
            decode_extended(&extended)
                .ok_or(MultipartError::Malformed("a file name is in no known encoding"))?,
        ),
        (None, Some(plain)) => Some(String::from_utf8_lossy(&unescape(plain)).into_owned()),
        (None, None) => None,
    };
    Ok((name, file_name))
}

/// Takes back what browsers escape in names: quotes and line breaks, and nothing else (HTML, "multipart/form-data
/// encoding algorithm").
fn unescape(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', &text).is_none() {
        return text;
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some((first, behind)) = rest.split_first() {
        let escaped = match behind {
            [b'2', b'2', ..] if *first == b'%' => Some(b'"'),
            [b'0', b'd' | b'D', ..] if *first == b'%' => Some(b'\r'),
            [b'0', b'a' | b'A', ..] if *first == b'%' => Some(b'\n'),
            _ => None,
        };
        plain.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    plain.into()
}

/// `charset'language'percent-encoded` (RFC 8187 section 3.2.1); `None` for another charset, or if it is broken.
fn decode_extended(value: &[u8]) -> Option<String> {
    let mut pieces = value.splitn(3, |byte| *byte == b'\'');
    let (charset, _language, text) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let attr = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte);
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = match behind {
            [high, low, behind @ ..]
                if *first == b'%' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                behind
            }
            _ if attr(*first) => behind,
            _ => return None,
        };
    }
    let decoded: Vec<u8> = percent_decode(text).collect();
    if is(charset, b"utf-8") {
        String::from_utf8(decoded).ok()
    } else if is(charset, b"iso-8859-1") {
        Some(decoded.into_iter().map(char::from).collect())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<PartHead, MultipartError> {
        PartHead::parse(Bytes::from(format!("{head}\r\n\r\n")), &Limits::new())
    }

    fn disposition(params: &str) -> Result<PartHead, MultipartError> {
        parse(&format!("Content-Disposition: form-data{params}"))
    }

    #[test]
    fn names_come_in_every_shape() {
        for (params, name, file) in [
            (r#"; name="a""#, "a", None),
            ("; name=a", "a", None),
            (r#";name="a";filename="b.txt""#, "a", Some("b.txt")),
            (r#"; filename="b;name=c"; NAME="a""#, "a", Some("b;name=c")),
            (r#"; name=""; filename="""#, "", Some("")),
            (r#"; name="f[a][]""#, "f[a][]", None),
            // As browsers escape.
            (r#"; name="a%22b%0D%0Ac%25%2"; filename="%0a%41%""#, "a\"b\r\nc%25%2", Some("\n%41%")),
            // As curl and others do.
            (r#"; name="a\"b\\c"; filename="C:\dir\f.txt""#, r#"a"b\c"#, Some(r"C:\dir\f.txt")),
            (r#"; name="ключ"; filename="名.txt""#, "ключ", Some("名.txt")),
            (r#"; name=a; filename*=UTF-8''%e2%82%ac%20rates"#, "a", Some("€ rates")),
            (r#"; name=a; filename*=utf-8'en'b; filename="c""#, "a", Some("b")),
            (r#"; name=a; filename="c"; FileName*=iso-8859-1''%A3%20!"#, "a", Some("£ !")),
            (r#"; name=a; other="x"; filename=b"#, "a", Some("b")),
        ] {
            let head = disposition(params).unwrap();
            assert_eq!((head.name(), head.file_name()), (name, file), "{params}");
            assert_eq!(head.is_file(), file.is_some());
        }
    }

    #[test]
    fn ambiguous_and_broken_heads_are_malformed() {
        let two = "Content-Disposition: form-data; name=a\r\n";
        for head in [
            "Content-Type: text/plain".to_owned(),
            "Content-Disposition: attachment; name=a".to_owned(),
            "Content-Disposition: form-data".to_owned(),
            "Content-Disposition: form-data; filename=a".to_owned(),
            "Content-Disposition: form-data; name=a; name=b".to_owned(),
            "Content-Disposition: form-data; name=a; filename=b; filename=c".to_owned(),
            "Content-Disposition: form-data; name=a; filename*=utf-8''b; filename*=utf-8''c".to_owned(),
            "Content-Disposition: form-data; name=a; filename*=b".to_owned(),
            "Content-Disposition: form-data; name=a; filename*=utf-16''b".to_owned(),
            "Content-Disposition: form-data; name=a; filename*=utf-8''%ff".to_owned(),
            "Content-Disposition: form-data; name=a; filename*=utf-8''%4".to_owned(),
            "Content-Disposition: form-data; name=a; filename*=utf-8''a/b".to_owned(),
            "Content-Disposition: form-data; name=\"a".to_owned(),
            "Content-Disposition: form-data;\r\n name=a".to_owned(),
            "Content-Disposition : form-data; name=a".to_owned(),
            "Content-Disposition: form-data; name=a\rb".to_owned(),
            "Content-Disposition: form-data; name=\"a\0b\"".to_owned(),
            format!("{two}Content-Disposition: form-data; name=a"),
            format!("{two}Content-Type: a/b\r\nContent-Type: a/b"),
            format!("{two}Content-Transfer-Encoding: base64"),
            format!("{two}nonsense"),
            format!("{two}: nonsense"),
        ] {
            assert!(matches!(parse(&head), Err(MultipartError::Malformed(_))), "{head:?}");
        }
        let raw = Bytes::from_static(b"Content-Disposition: form-data; name=\"\xff\"\r\n\r\n");
        assert!(matches!(PartHead::parse(raw, &Limits::new()), Err(MultipartError::Malformed(_))));
    }

    #[test]
    fn file_names_that_are_not_utf_8_are_replaced() {
        let raw =
            Bytes::from_static(b"content-disposition: form-data; name=a; filename=\"\xe4.txt\"\r\n\r\n");
        let head = PartHead::parse(raw, &Limits::new()).unwrap();
        assert_eq!(head.file_name(), Some("\u{fffd}.txt"));
    }

    #[test]
    fn long_names_are_too_large() {
        let limits = Limits::new().max_name(3);
        for (params, fits) in [
            ("name=abc; filename=abc", true),
            ("name=abcd", false),
            ("name=a; filename=abcd", false),
            ("name=a; filename*=utf-8''%E2%82%AC", true),
        ] {
            let raw = Bytes::from(format!("Content-Disposition: form-data; {params}\r\n\r\n"));
            let parsed = PartHead::parse(raw, &limits);
            assert_eq!(parsed.is_ok(), fits, "{params}");
            assert!(fits || matches!(parsed, Err(MultipartError::TooLarge { limit: 3, .. })), "{params}");
        }
    }

    #[test]
    fn other_fields_can_be_looked_up() {
        let head = parse(
            "X-One: 1\r\nContent-Disposition: form-data; name=a\r\nCONTENT-TYPE:  image/png \r\nX-one: 2\r\nContent-Transfer-Encoding: BINARY",
        )
        .unwrap();
        assert_eq!(head.content_type(), Some("image/png"));
        assert_eq!(head.header("x-ONE"), Some("1"));
        assert_eq!(head.header("x-two"), None);
        assert_eq!(disposition("; name=a").unwrap().content_type(), None);
    }

    #[test]
    fn a_safe_name_has_no_folder_and_no_tricks() {
        let long = "é".repeat(200);
        for (sent, safe) in [
            ("a.txt", Some("a.txt")),
            ("../../etc/passwd", Some("passwd")),
            (r"C:\Users\me\a b.txt", Some("a b.txt")),
            ("C:evil.txt", Some("evil.txt")),
            ("a\u{1}\r\nb\u{202e}txt.exe", Some("abtxt.exe")),
            ("/", None),
            ("..", None),
            ("a/..", None),
            (" . ", None),
            ("", None),
            ("\0", None),
            (".hidden", Some(".hidden")),
            (&long, Some(&long[..254])),
        ] {
            let head = PartHead {
                name: "a".into(),
                file_name: Some(sent.into()),
                content_type: None,
                raw: Bytes::new(),
            };
            assert_eq!(head.safe_file_name().as_deref(), safe, "{sent:?}");
        }
        assert_eq!(disposition("; name=a").unwrap().safe_file_name(), None);
    }
}
