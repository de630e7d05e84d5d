//! Where a URL leads: scheme, host and port; and what it carries besides.

use std::fmt;

use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::Error;

/// Scheme, host and port: what connections are kept by (RFC 6454 section 4).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Origin {
    pub(super) secure: bool,
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of a URL.
    pub(super) fn of(uri: &Uri) -> Result<Self, &'static str> {
        let secure = match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
            Some(_) => return Err("only http and https are spoken"),
            None => return Err("it has no scheme"),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        let (_, place) = authority.as_str().rsplit_once('@').unwrap_or(("", authority.as_str()));
        let (host, port) = match place.find(']') {
            Some(end) => place.split_at(end + 1),
            None => place.split_at(place.find(':').unwrap_or(place.len())),
        };
        if matches!(host, "" | "[]") {
            return Err("it has no host");
        }
        let port = match port.strip_prefix(':').unwrap_or(port) {
            // Nothing behind the colon is as good as no colon (RFC 3986 section 3.2.3).
            "" if secure => 443,
            "" => 80,
            port => port.parse().map_err(|_| "its port is not a number up to 65535")?,
        };
        if port == 0 {
            return Err("its port is 0");
        }
        Ok(Self { secure, host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A URL as a user writes it: absolute, with a scheme that is spoken.
pub(super) fn parse(url: &str) -> Result<Uri, Error> {
    let bad = |reason| Error::Url { url: url.to_owned(), reason };
    let uri: Uri = url.trim().parse().map_err(|_| bad("it is not a valid URI"))?;
    Origin::of(&uri).map_err(bad)?;
    Ok(uri)
}

/// Basic authentication (RFC 7617) of the user information in a URL.
pub(super) fn credentials(uri: &Uri) -> Option<HeaderValue> {
    let (user_info, _) = uri.authority()?.as_str().rsplit_once('@')?;
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let decode = |text| percent_decode_str(text).collect::<Vec<u8>>();
    Some(basic(&decode(user), &decode(password)))
}

/// The value of an `Authorization` field (RFC 7617 section 2).
pub(super) fn basic(user: &[u8], password: &[u8]) -> HeaderValue {
    let mut value = "Basic ".to_owned();
    base64(&[user, b":", password].concat(), &mut value);
    // Letters, digits and three signs.
    let mut value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8], out: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            out.push(if digit <= group.len() {
                char::from(ALPHABET[(bits >> (18 - 6 * digit)) as usize & 63])
            } else {
                '='
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (url, origin) in [
            ("http://Example.COM", "example.com:80"),
            ("HTTP://h:/x", "h:80"),
            ("https://h/", "h:443"),
            ("http://user:pass@h:8080/?q", "h:8080"),
            ("http://[::1]", "[::1]:80"),
            ("http://u@[::1]:81/", "[::1]:81"),
        ] {
            assert_eq!(Origin::of(&parse(url).unwrap()).unwrap().to_string(), origin);
        }
        let of = |url| Origin::of(&parse(url).unwrap()).unwrap();
        assert_eq!(of("http://h"), of("http://H:80/other"));
        assert_ne!(of("http://h:443"), of("https://h:443"));
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for url in [
            "",
            "h",
            "/path",
            "h:80/x",
            "ftp://h/",
            "http://",
            "http:///x",
            "http://:80/",
            "http://h:65536/",
            "http://h:0/",
            "http://h:x/",
            "http://a b/",
            "http://[]/",
            "http://u@/",
            "http://u@:80/",
        ] {
            assert!(matches!(parse(url), Err(Error::Url { .. })), "{url}");
        }
    }

    #[test]
    fn credentials_are_encoded_as_the_rfc_does() {
        // The examples of RFC 7617 section 2 and RFC 4648 section 10.
        assert_eq!(basic(b"Aladdin", b"open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            let mut out = String::new();
            base64(plain.as_bytes(), &mut out);
            assert_eq!(out, encoded);
        }
        assert_eq!(credentials(&"http://a%20b:c%3Ad@h/".parse().unwrap()).unwrap(), basic(b"a b", b"c:d"));
        assert_eq!(credentials(&"http://me@h/".parse().unwrap()).unwrap(), basic(b"me", b""));
        assert!(credentials(&"http://h/@".parse().unwrap()).is_none());
    }
}
