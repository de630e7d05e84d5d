//! Pairs of names and values, as queries and forms carry them, and what a content type says.

mod nested;

use std::borrow::Cow;
use std::fmt;

pub(super) use self::nested::nest;
pub use self::nested::{FormValue, MAX_DEPTH, MAX_VARIABLES};
use super::RequestHead;

/// Names and values of a query or a form, decoded, in their order (`application/x-www-form-urlencoded` of the URL
/// standard).
///
/// `+` and `%XX` are decoded; bytes that are not UTF-8 are replaced. Nothing is copied that has nothing to decode.
#[derive(Clone)]
pub struct Pairs<'a>(form_urlencoded::Parse<'a>);

impl<'a> Pairs<'a> {
    pub(super) fn new(encoded: &'a [u8]) -> Self {
        Self(form_urlencoded::parse(encoded))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl fmt::Debug for Pairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl RequestHead {
    /// The pairs of the query, decoded.
    ///
    /// # Examples
    /// ```
    /// use workerman_protocol::http::Request;
    /// let request = Request::builder("GET", "/find?q=big+cats&page=2").build()?;
    /// let pairs: Vec<_> = request.query_pairs().collect();
    /// assert_eq!(pairs[0], ("q".into(), "big cats".into()));
    /// assert_eq!(request.query_value("page").as_deref(), Some("2"));
    /// # Ok::<(), workerman_protocol::http::Error>(())
    /// ```
    pub fn query_pairs(&self) -> Pairs<'_> {
        Pairs::new(self.query().unwrap_or_default().as_bytes())
    }

    /// The first value of a name in the query, decoded.
    ///
    /// For nested names, and the last of several values, see [`Request::php_query`](super::Request::php_query).
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_pairs().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// The content type of the body, as it was sent.
    pub fn content_type(&self) -> Option<&str> {
        self.header("content-type")
    }

    /// Whether the body says that it is JSON: `application/json`, or a type that ends with `+json`.
    pub fn is_json(&self) -> bool {
        self.content_type().is_some_and(is_json)
    }

    /// Whether the body says that it is a form of pairs: `application/x-www-form-urlencoded`.
    pub fn is_form(&self) -> bool {
        self.content_type().is_some_and(is_form)
    }

    /// Whether the body says that it is a form of parts: `multipart/form-data`.
    pub fn is_multipart(&self) -> bool {
        self.content_type().is_some_and(|text| media_type(text).eq_ignore_ascii_case("multipart/form-data"))
    }
}

/// Type and subtype of a content type, without its parameters (RFC 9110 section 8.3.1).
pub(super) fn media_type(content_type: &str) -> &str {
    let end = content_type.find(';').unwrap_or(content_type.len());
    content_type[..end].trim_matches([' ', '\t'])
}

/// Whether a name ends with another, without regard to case.
pub(super) fn ends_with(name: &str, end: &str) -> bool {
    let (name, end) = (name.as_bytes(), end.as_bytes());
    name.len() >= end.len() && name[name.len() - end.len()..].eq_ignore_ascii_case(end)
}

pub(super) fn is_json(content_type: &str) -> bool {
    let media_type = media_type(content_type);
    media_type.eq_ignore_ascii_case("application/json")
        // The suffix of a structured syntax (RFC 6839 section 3.1).
        || (media_type.contains('/') && ends_with(media_type, "+json"))
}

pub(super) fn is_form(content_type: &str) -> bool {
    media_type(content_type).eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_compared_without_parameters_and_case() {
        assert!(is_json("application/json") && is_json("Application/JSON ; charset=utf-8"));
        assert!(is_json("application/problem+json") && is_json("application/vnd.api+JSON;v=1"));
        assert!(!is_json("text/plain") && !is_json("+json") && !is_json("application/jsonp") && !is_json(""));
        assert!(
            is_form("application/x-www-form-urlencoded;charset=utf-8") && !is_form("multipart/form-data")
        );
    }

    #[test]
    fn pairs_are_decoded_in_their_order() {
        let pairs: Vec<_> = Pairs::new(b"a=1&b=%C3%A9+x&&c&=d&a=%ff").collect();
        let expected = [("a", "1"), ("b", "\u{e9} x"), ("c", ""), ("", "d"), ("a", "\u{fffd}")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.into(), value.into())));
    }
}
