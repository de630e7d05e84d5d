//! What kind of content a file has, by its name, and what a browser is to do with it.

use std::ffi::OsStr;
use std::path::Path;

use workerman_protocol::http::HeaderValue;

/// The content type by the ending of a name; `None` for an ending that nobody knows.
///
/// Texts are taken for UTF-8.
pub(crate) fn content_type(name: &Path) -> Option<HeaderValue> {
    let kind = mime_guess::from_path(name).first_raw()?;
    Some(match kind {
        // The usual ones without an allocation.
        "text/html" => HeaderValue::from_static("text/html; charset=utf-8"),
        "text/css" => HeaderValue::from_static("text/css; charset=utf-8"),
        "text/javascript" => HeaderValue::from_static("text/javascript; charset=utf-8"),
        "text/plain" => HeaderValue::from_static("text/plain; charset=utf-8"),
        // Two names of old for one type (RFC 9239 section 6).
        "application/javascript" | "application/x-javascript" => {
            HeaderValue::from_static("text/javascript; charset=utf-8")
        }
        _ if kind.starts_with("text/") => HeaderValue::try_from(format!("{kind}; charset=utf-8")).ok()?,
        _ => HeaderValue::from_static(kind),
    })
}

/// The content type of bytes that nobody knows more about (RFC 9110 section 8.3).
pub(crate) const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// `Content-Disposition: attachment` with a name for the file (RFC 6266).
///
/// What old clients cannot read of it is replaced by `_` in `filename`, and `filename*` (RFC 8187) has all of it. Only
/// the last part of a path is used, and control characters are left out, as is what is no text.
pub(crate) fn attachment(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let name = if name.is_empty() { "unknown" } else { &*name };
    // A percent sign invites some clients to decode (RFC 6266 appendix D).
    let plain: String = name
        .chars()
        .map(|c| if (c.is_ascii_graphic() && !matches!(c, '"' | '%')) || c == ' ' { c } else { '_' })
        .collect();
    if plain == name {
        return format!("attachment; filename=\"{name}\"");
    }
    let extended = percent_encoding::utf8_percent_encode(name, NOT_PLAIN);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}")
}

/// All that is no `attr-char` (RFC 8187 section 3.2.1).
const NOT_PLAIN: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> Option<String> {
        content_type(Path::new(name)).map(|kind| kind.to_str().unwrap().to_owned())
    }

    #[test]
    fn types_follow_the_ending() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a.HTM", "text/html; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.csv", "text/csv; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.wasm", "application/wasm"),
            ("a.svg", "image/svg+xml"),
            ("a.b.png", "image/png"),
            ("a.woff2", "font/woff2"),
            ("a.mp4", "video/mp4"),
            ("a.pdf", "application/pdf"),
            ("a.tar.gz", "application/gzip"),
        ] {
            assert_eq!(kind(name).as_deref(), Some(expected), "{name}");
        }
        for name in ["README", "a.unheard-of", ".html", "a."] {
            assert_eq!(kind(name), None, "{name}");
        }
    }

    #[test]
    fn rfc_6266_names_of_attachments() {
        for (name, expected) in [
            ("a b.txt", "attachment; filename=\"a b.txt\""),
            ("/tmp/a.txt", "attachment; filename=\"a.txt\""),
            ("c:\\tmp\\a.txt", "attachment; filename=\"a.txt\""),
            ("", "attachment; filename=\"unknown\""),
            ("\u{20ac}.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%E2%82%AC.txt"),
            ("a\"b", "attachment; filename=\"a_b\"; filename*=UTF-8''a%22b"),
            ("50%", "attachment; filename=\"50_\"; filename*=UTF-8''50%25"),
            ("a\r\nx: y", "attachment; filename=\"ax: y\""),
        ] {
            assert_eq!(attachment(OsStr::new(name)), expected, "{name}");
            HeaderValue::try_from(attachment(OsStr::new(name))).unwrap();
        }
    }
}
