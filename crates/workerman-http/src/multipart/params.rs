//! Values with parameters: `form-data; name="a"`, `multipart/form-data; boundary=b`.

use std::borrow::Cow;

/// Splits a value from its parameters.
pub(super) fn split(value: &[u8]) -> (&[u8], Params<'_>) {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    (value[..end].trim_ascii(), Params { rest: &value[end..] })
}

/// The parameters of a value, in their order.
pub(super) struct Params<'a> {
    rest: &'a [u8],
}

/// A name as it was sent, and a value without quotes and backslashes.
type Param<'a> = (&'a [u8], Cow<'a, [u8]>);

/// A parameter that is not written as one.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Broken;

impl<'a> Params<'a> {
    /// The next parameter.
    ///
    /// RFC 9110 section 5.6.6: no white space around `=`, empty parameters are passed over.
    pub(super) fn next(&mut self) -> Result<Option<Param<'a>>, Broken> {
        let mut rest = self.rest.trim_ascii_start();
        while let Some(behind) = rest.strip_prefix(b";") {
            rest = behind.trim_ascii_start();
            if rest.is_empty() || rest[0] == b';' {
                continue;
            }
            let equals = rest.iter().position(|byte| !is_token(*byte)).ok_or(Broken)?;
            let (name, behind) = rest.split_at(equals);
            let behind = behind.strip_prefix(b"=").filter(|_| !name.is_empty()).ok_or(Broken)?;
            let (value, rest) = match behind.strip_prefix(b"\"") {
                Some(quoted) => unquote(quoted)?,
                None => bare(behind)?,
            };
            self.rest = rest;
            return Ok(Some((name, value)));
        }
        if rest.is_empty() { Ok(None) } else { Err(Broken) }
    }
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A value without quotes. More than a token is taken: boundaries with `/`, `:` or `=` come unquoted in practice, and
/// there is one way only to read them.
fn bare(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Broken> {
    let end = text.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    if value.is_empty() || value.contains(&b'"') { Err(Broken) } else { Ok((value.into(), rest)) }
}

/// The rest of a quoted string, behind its first quote.
///
/// Only quotes and backslashes are escaped by backslashes: browsers escape neither (they write `%22`), so that any other
/// backslash is one of a path of Windows. A quote that ends the whole value also ends the string, whatever is before it.
fn unquote(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Broken> {
    let mut value = Cow::Borrowed(&text[..0]);
    let mut begin = 0;
    loop {
        let at = begin + memchr::memchr2(b'"', b'\\', &text[begin..]).ok_or(Broken)?;
        let next = text.get(at + 1);
        let escape = text[at] == b'\\'
            && match next {
                Some(b'"') => !text[at + 2..].trim_ascii().is_empty(),
                Some(b'\\') => true,
                _ => false,
            };
        let end = if text[at] == b'"' || escape { at } else { at + 1 };
        if text[at] == b'"' && begin == 0 {
            value = Cow::Borrowed(&text[..end]);
        } else {
            value.to_mut().extend_from_slice(&text[begin..end]);
        }
        if text[at] == b'"' {
            return Ok((value, &text[at + 1..]));
        }
        if escape {
            value.to_mut().extend(next);
            begin = at + 2;
        } else {
            begin = at + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(value: &[u8]) -> Result<Vec<(String, String)>, Broken> {
        let mut params = split(value).1;
        let mut all = Vec::new();
        while let Some((name, value)) = params.next()? {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            all.push((text(name), text(&value)));
        }
        Ok(all)
    }

    #[test]
    fn parameters_come_in_every_shape() {
        for (value, expected) in [
            (&b"x"[..], &[][..]),
            (b"x;", &[]),
            (b"x ; ;; ", &[]),
            (b"x;a=b", &[("a", "b")]),
            (b"x; a=b ;C=\"d\"", &[("a", "b"), ("C", "d")]),
            (b"x; a=\"\"", &[("a", "")]),
            (b"x; a=\"b;c=d\"; e=f", &[("a", "b;c=d"), ("e", "f")]),
            (br#"x; a="b\"c\\d\e""#, &[("a", r#"b"c\d\e"#)]),
            (br#"x; a="\"""#, &[("a", "\"")]),
            (br#"x; a="c:\dir\f.txt""#, &[("a", r"c:\dir\f.txt")]),
            (br#"x; a="c:\dir\""#, &[("a", r"c:\dir\")]),
            (br#"x; a="c:\dir\\""#, &[("a", r"c:\dir\")]),
            (br#"x; a="b\"; c" ; d=e"#, &[("a", r#"b"; c"#), ("d", "e")]),
            (b"x; a=/b:c=d?", &[("a", "/b:c=d?")]),
            (b"x; a*=UTF-8''%41", &[("a*", "UTF-8''%41")]),
        ] {
            let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
            assert_eq!(all(value), Ok(expected), "{}", String::from_utf8_lossy(value));
        }
        assert_eq!(split(b" form-data ; a=b").0, b"form-data");
    }

    #[test]
    fn what_is_no_parameter_is_broken() {
        for value in [
            &b"x; a"[..],
            b"x; a=",
            b"x; a=;b=c",
            b"x; =b",
            b"x; a =b",
            b"x; a= b",
            b"x; a=b c=d",
            b"x; a=\"b",
            b"x; a=\"b\\\"c",
            b"x; a=\"b\"c",
            b"x; a=b\"c\"",
            b"x; a(=b",
        ] {
            assert_eq!(all(value), Err(Broken), "{}", String::from_utf8_lossy(value));
        }
    }
}
