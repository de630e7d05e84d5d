//! Lists of tokens in field values (RFC 9110 section 5.6.1).

use crate::http::is_token;

/// Optional white space around a value (RFC 9110 section 5.6.3), and nothing else.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The tokens of all lines of a field, in order; `None` if something else is among them.
///
/// A recipient ignores empty elements (RFC 9110 section 5.6.1.2), but a line of nothing else is no list of at least one.
pub(super) fn tokens<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<&'a str>> {
    let mut tokens = Vec::new();
    for line in lines {
        let before = tokens.len();
        for element in line.split(|byte| *byte == b',').map(trim) {
            if element.is_empty() {
                continue;
            }
            if !is_token(element) {
                return None;
            }
            tokens.push(std::str::from_utf8(element).ok()?);
        }
        if tokens.len() == before {
            return None;
        }
    }
    Some(tokens)
}

/// The elements of all lines, tokens or not; for fields whose other elements are not ours to judge.
pub(super) fn elements<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    lines.into_iter().flat_map(|line| line.split(|byte| *byte == b',')).map(trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_many_lines_are_one_list() {
        assert_eq!(tokens([&b"a, b"[..], b"\tc ,d"]), Some(vec!["a", "b", "c", "d"]));
        assert_eq!(tokens([&b", a,,b ,"[..]]), Some(vec!["a", "b"]));
        assert_eq!(tokens([]), Some(vec![]));
    }

    #[test]
    fn what_is_no_token_spoils_the_list() {
        for wrong in [&b""[..], b" ", b",", b"a b", b"a;b", b"\"a\"", b"a, \xe9", b"a/b", b"a\x0bb"] {
            assert_eq!(tokens([wrong]), None, "{wrong:?}");
        }
        assert_eq!(tokens([&b"a"[..], b""]), None);
    }
}
