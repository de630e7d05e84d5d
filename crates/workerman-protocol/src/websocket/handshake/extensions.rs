//! The syntax of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1):
//!
//! ```text
//! extension-list   = 1#extension
//! extension        = token *( ";" extension-param )
//! extension-param  = token [ "=" ( token | quoted-string ) ]    ; what is quoted must be a token, too
//! ```

use std::fmt;

use super::list::trim;
use crate::http::{is_token, is_token_byte};

/// An extension that is offered or accepted: its name, and its parameters in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extension {
    name: Box<str>,
    parameters: Vec<(Box<str>, Option<Box<str>>)>,
}

impl Extension {
    /// The name, as it was written: a token.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parameters in their order, with their values; one that is repeated is there as often.
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = (&str, Option<&str>)> {
        self.parameters.iter().map(|(name, value)| (&**name, value.as_deref()))
    }

    /// Reads all lines of a field; `None` if they do not follow the grammar.
    ///
    /// Empty elements of the list are ignored (RFC 9110 section 5.6.1.2), but a line of nothing else is an error.
    pub fn parse_all<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<Self>> {
        let mut all = Vec::new();
        for line in lines {
            let before = all.len();
            let mut reader = Reader(line);
            loop {
                reader.skip_white();
                if !reader.at(b',') && !reader.0.is_empty() {
                    all.push(reader.extension()?);
                }
                if reader.0.is_empty() {
                    break;
                }
                if !reader.take(b',') {
                    return None;
                }
            }
            if all.len() == before {
                return None;
            }
        }
        Some(all)
    }
}

/// As it is sent; values never need quotes.
impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (name, value) in &self.parameters {
            write!(f, "; {name}")?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

/// What is left of a line.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn skip_white(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    fn at(&self, byte: u8) -> bool {
        self.0.first() == Some(&byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.at(byte);
        if there {
            self.0 = &self.0[1..];
        }
        there
    }

    /// An extension, with the white space behind it.
    fn extension(&mut self) -> Option<Extension> {
        let name = self.token()?;
        let mut parameters = Vec::new();
        self.skip_white();
        while self.take(b';') {
            self.skip_white();
            let name = self.token()?;
            self.skip_white();
            let mut value = None;
            if self.take(b'=') {
                self.skip_white();
                value = Some(if self.at(b'"') { self.quoted()? } else { self.token()? });
                self.skip_white();
            }
            parameters.push((name, value));
        }
        Some(Extension { name, parameters })
    }

    fn token(&mut self) -> Option<Box<str>> {
        let length = self.0.iter().take_while(|byte| is_token_byte(**byte)).count();
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        (length > 0).then(|| std::str::from_utf8(token).ok().map(Box::from))?
    }

    /// A quoted string (RFC 9110 section 5.6.4) that is a token without its quotes and backslashes (RFC 6455 section
    /// 9.1).
    fn quoted(&mut self) -> Option<Box<str>> {
        let mut text = Vec::new();
        let mut bytes = self.0.iter().enumerate().skip(1);
        let end = loop {
            match bytes.next()? {
                (at, b'"') => break at,
                (_, b'\\') => text.push(*bytes.next()?.1),
                (_, byte) => text.push(*byte),
            }
        };
        self.0 = &self.0[end + 1..];
        if !is_token(&text) {
            return None;
        }
        String::from_utf8(text).ok().map(String::into_boxed_str)
    }
}

/// The value of a single token field, without the white space around it.
pub(super) fn single_token(value: &[u8]) -> Option<&str> {
    let value = trim(value);
    if is_token(value) { std::str::from_utf8(value).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Vec<String>> {
        let all = Extension::parse_all([line.as_bytes()])?;
        Some(all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn extensions_and_their_parameters_keep_their_order() {
        assert_eq!(parse("foo").unwrap(), ["foo"]);
        assert_eq!(
            parse(
                "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate"
            )
            .unwrap(),
            ["permessage-deflate; client_max_window_bits; server_max_window_bits=10", "permessage-deflate"]
        );
        assert_eq!(parse(" a ;b = c\t;  d , e ").unwrap(), ["a; b=c; d", "e"]);
        assert_eq!(parse("a; x=1; x=2").unwrap(), ["a; x=1; x=2"]);
        let two = Extension::parse_all([&b"a, b"[..], b"c"]).unwrap();
        assert_eq!(two.len(), 3);
        let one = &Extension::parse_all([&b"a; b; c=d"[..]]).unwrap()[0];
        assert_eq!(one.name(), "a");
        assert_eq!(one.parameters().collect::<Vec<_>>(), [("b", None), ("c", Some("d"))]);
    }

    #[test]
    fn what_is_quoted_is_a_token() {
        assert_eq!(parse(r#"a; b="c""#).unwrap(), ["a; b=c"]);
        assert_eq!(parse(r#"a; b="\c\d" ; e"#).unwrap(), ["a; b=cd; e"]);
        for wrong in
            [r#"a; b="""#, r#"a; b="c d""#, r#"a; b="c,d""#, r#"a; b="c"#, r#"a; b="c\"#, r#"a; b="\"""#]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn empty_elements_are_ignored_and_empty_lines_are_not() {
        assert_eq!(parse(", a ,, b,").unwrap(), ["a", "b"]);
        assert_eq!(parse(""), None);
        assert_eq!(parse(" , "), None);
        assert!(Extension::parse_all([&b"a"[..], b""]).is_none());
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        for wrong in [
            ";",
            "a;",
            "a;;b",
            "a; =b",
            "a; b=",
            "a; b=c d",
            "a b",
            "a; b c",
            "a=b",
            "=",
            "\"a\"",
            "a; \"b\"",
            "a; b=c=d",
            "a; b=\"c\"d",
            "a/b",
            "a; b=c/d",
            "a\u{e9}",
            "a; b=\u{e9}",
            "a(b)",
            "a; b, ;",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
