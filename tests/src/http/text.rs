//! Bytes as readable text: the notation of the conformance data.
//!
//! Printable ASCII stands for itself, except for these:
//!
//! | written | means |
//! |---|---|
//! | `\r` `\n` `\t` `\s` `\0` | carriage return, line feed, tab, space (where it could not be seen), NUL |
//! | `\xNN` | the byte of these two hexadecimal digits |
//! | `\\` `\{` `\}` | the character itself |
//! | `{N*text}` | the text, N times |
//! | `{}` | what a row of the case says |
//!
//! Everything else is an error: a slip in the data must not become a test of something else.

/// Most bytes that one text may stand for.
pub const MAX_BYTES: usize = 32 << 20;

/// The bytes that `text` stands for; `{}` stands for `row`.
///
/// # Errors
/// What is wrong with the text.
pub fn bytes(text: &str, row: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match first {
            '\\' => {
                let (byte, after) = escape(rest)?;
                out.push(byte);
                rest = after;
            }
            '{' => {
                let inside = &rest[1..];
                let end = closing(inside).ok_or_else(|| format!("no closing brace in {text:?}"))?;
                rest = &inside[end + 1..];
                let inside = &inside[..end];
                if inside.is_empty() {
                    out.extend_from_slice(row.ok_or("{} without rows")?);
                } else {
                    let (times, what) = inside
                        .split_once('*')
                        .ok_or_else(|| format!("{{{inside}}} is neither a row nor a repetition"))?;
                    let times: usize = times.parse().map_err(|_| format!("no number: {times:?}"))?;
                    let what = bytes(what, row)?;
                    if out.len().saturating_add(what.len().saturating_mul(times)) > MAX_BYTES {
                        return Err(format!("more than {MAX_BYTES} bytes"));
                    }
                    out.extend(what.repeat(times));
                }
            }
            '}' => return Err(format!("a closing brace without an opening one in {text:?}")),
            ' '..='~' => {
                out.push(first as u8);
                rest = &rest[1..];
            }
            other => return Err(format!("{other:?} must be escaped")),
        }
    }
    Ok(out)
}

/// The byte of the escape at the front, and what is behind it.
fn escape(text: &str) -> Result<(u8, &str), String> {
    let unknown = || format!("unknown escape at {text:?}");
    let kind = *text.as_bytes().get(1).ok_or_else(unknown)?;
    let byte = match kind {
        b'r' => b'\r',
        b'n' => b'\n',
        b't' => b'\t',
        b's' => b' ',
        b'0' => 0,
        b'\\' | b'{' | b'}' => kind,
        b'x' => {
            let digits = text.get(2..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(unknown)?;
            return Ok((byte, &text[4..]));
        }
        _ => return Err(unknown()),
    };
    Ok((byte, &text[2..]))
}

/// Where the brace that is open here closes.
fn closing(text: &str) -> Option<usize> {
    let (mut open, mut escaped) = (0_usize, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// Bytes in this notation, for messages; what is long is cut in the middle.
pub fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 2000;
    if bytes.len() > 2 * SHOWN {
        let left = bytes.len() - 2 * SHOWN;
        return format!("{}...{left} bytes...{}", show(&bytes[..SHOWN]), show(&bytes[bytes.len() - SHOWN..]));
    }
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\\' | b'{' | b'}' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_escape_means_its_byte() {
        let text = r"a\r\n\t\s\0\x7F\xff\\\{\}";
        assert_eq!(bytes(text, None).unwrap(), b"a\r\n\t \0\x7f\xff\\{}");
    }

    #[test]
    fn repetitions_nest_and_take_rows() {
        assert_eq!(bytes("<{3*ab}>", None).unwrap(), b"<ababab>");
        assert_eq!(bytes(r"{2*x{2*\}}}", None).unwrap(), b"x}}x}}");
        assert_eq!(bytes("{0*x}", None).unwrap(), b"");
        assert_eq!(bytes("-{}-{2*{}}", Some(b"\r{")).unwrap(), b"-\r{-\r{\r{");
    }

    #[test]
    fn a_slip_is_an_error() {
        for text in [
            r"\q",
            r"\",
            r"\x1",
            r"\x+1",
            r"\xg0",
            "{",
            "}",
            "{3x}",
            "{x*3}",
            "{-1*x}",
            "{1*x",
            "\t",
            "\u{e9}",
            "{}",
            "{999999999*0123456789}",
        ] {
            assert!(bytes(text, None).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&show(&all), None).unwrap(), all);
    }
}
