//! Cookies: those of a request, and those that a response sets (RFC 6265bis).

mod set;

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

pub use self::set::{Cookie, CookieError, SameSite};
use super::{Fields, RequestHead};

/// Names and values of the cookies of a request, as they were sent, in their order.
///
/// Reading is tolerant, since all kinds of cookies exist: fields are split at `;`, pairs at their first `=`, spaces and
/// tabs around both are dropped, and a pair without `=` is passed over, as is one that is not UTF-8. Values are neither
/// decoded nor freed of quotes.
#[derive(Clone, Debug)]
pub struct Cookies<'a> {
    fields: Fields<'a>,
    /// What is left of the present field.
    rest: &'a [u8],
}

impl<'a> Iterator for Cookies<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                self.rest = self.fields.find(|(name, _)| name.eq_ignore_ascii_case("cookie"))?.1;
            }
            let end = memchr::memchr(b';', self.rest);
            let pair = &self.rest[..end.unwrap_or(self.rest.len())];
            self.rest = end.map_or(&[], |end| &self.rest[end + 1..]);
            let Ok(pair) = std::str::from_utf8(pair) else { continue };
            if let Some((name, value)) = pair.split_once('=') {
                return Some((name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t'])));
            }
        }
    }
}

impl RequestHead {
    /// All cookies, in their order: browsers send the more specific of equal names first.
    ///
    /// # Examples
    /// ```
    /// use workerman_protocol::http::Request;
    /// let request = Request::builder("GET", "/").header("cookie", "a=1; b=\"2\"; a=3").build()?;
    /// assert_eq!(request.cookies().collect::<Vec<_>>(), [("a", "1"), ("b", "\"2\""), ("a", "3")]);
    /// assert_eq!(request.cookie("a"), Some("1"));
    /// # Ok::<(), workerman_protocol::http::Error>(())
    /// ```
    pub fn cookies(&self) -> Cookies<'_> {
        Cookies { fields: self.fields(), rest: &[] }
    }

    /// The value of a cookie as it was sent, the first of several: the more specific one.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// The value of a cookie without quotes around it and with its percent-encodings decoded: what
    /// [`Cookie::new`] was given.
    pub fn decoded_cookie(&self, name: &str) -> Option<Cow<'_, str>> {
        let value = self.cookie(name)?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        Some(percent_decode_str(value).decode_utf8_lossy())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Request;
    use super::*;

    fn request(fields: &[&str]) -> Request {
        let request = Request::builder("GET", "/");
        fields.iter().fold(request, |request, field| request.append("Cookie", *field)).build().unwrap()
    }

    #[test]
    fn cookies_are_read_tolerantly_from_every_field() {
        let request = request(&[" a=1;b = 2 ;;c; =d;e=", "a=3; f=x=y; g=\"q\""]);
        let expected =
            [("a", "1"), ("b", "2"), ("", "d"), ("e", ""), ("a", "3"), ("f", "x=y"), ("g", "\"q\"")];
        assert_eq!(request.cookies().collect::<Vec<_>>(), expected);
        assert_eq!((request.cookie("a"), request.cookie("A"), request.cookie("c")), (Some("1"), None, None));
        assert_eq!(request.decoded_cookie("g").as_deref(), Some("q"));
        assert_eq!(self::request(&[]).cookies().count(), 0);
    }

    #[test]
    fn a_pair_that_is_not_text_hides_no_other() {
        let request = Request::builder("GET", "/");
        let request = request.header("cookie", &b"a=1; b=\xff; c=3"[..]).build().unwrap();
        assert_eq!(request.cookies().collect::<Vec<_>>(), [("a", "1"), ("c", "3")]);
    }

    proptest! {
        #[test]
        fn what_a_response_sets_a_request_brings_back(value in ".{0,60}") {
            let field = Cookie::new("name", &value).to_value().unwrap();
            let request = request(&[field.to_str().unwrap()]);
            let read = request.decoded_cookie("name");
            prop_assert_eq!(read.as_deref(), Some(value.as_str()));
        }

        #[test]
        fn no_field_is_a_panic(field in "[a=;\" \t%]{0,40}") {
            let request = request(&[&field]);
            prop_assert!(request.cookies().count() <= field.len() + 1);
        }
    }
}
