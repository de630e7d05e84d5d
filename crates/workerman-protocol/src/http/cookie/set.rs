//! A cookie that a response sets.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::date::date;
use super::super::parse::is_token;

/// What stays as it is in a value: the unreserved characters of RFC 3986 section 2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Most bytes of name and value together: browsers drop what is longer (RFC 6265bis section 5.6).
const MAX_PAIR: usize = 4096;

/// Most bytes of a domain or a path: browsers pass over what is longer (RFC 6265bis section 5.6).
const MAX_ATTRIBUTE: usize = 1024;

/// A cookie that a response sets, with its attributes.
///
/// It is checked when it is written, by [`to_value`](Self::to_value) or
/// [`Response::cookie`](super::super::Response::cookie), against what browsers would drop without a word: the prefixes
/// `__Secure-` and `__Host-`, and `SameSite=None` or `Partitioned` without `Secure`.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use workerman_protocol::http::{Cookie, SameSite};
/// let cookie = Cookie::new("theme", "dark blue")
///     .path("/")
///     .max_age(Duration::from_secs(3600))
///     .http_only()
///     .same_site(SameSite::Lax);
/// assert_eq!(cookie.to_value()?, "theme=dark%20blue; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax");
/// # Ok::<(), workerman_protocol::http::CookieError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "a cookie is set by `Response::cookie`"]
pub struct Cookie {
    name: Cow<'static, str>,
    /// As it is sent.
    value: String,
    domain: Option<String>,
    max_age: Option<u64>,
    path: Option<String>,
    secure: bool,
    http_only: bool,
    same_site: Option<SameSite>,
    /// In seconds since 1970.
    expires: Option<u64>,
    partitioned: bool,
}

/// Whether a browser sends a cookie with requests that other sites cause.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SameSite {
    /// Never.
    Strict,
    /// Only when the user goes to the site, by a link for one.
    Lax,
    /// Always; the cookie must be `Secure`.
    None,
}

impl SameSite {
    fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// Why a cookie cannot be set, or would be dropped by browsers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum CookieError {
    /// The name is empty or not a token.
    Name,
    /// A raw value has characters that cookies cannot have.
    Value,
    /// Name and value are too long together.
    TooLong,
    /// The domain is not the name of a host.
    Domain,
    /// The path does not begin with `/`, or has characters that it cannot have.
    Path,
    /// The cookie must be `Secure`: for a prefix of its name, `SameSite=None` or `Partitioned`.
    Insecure,
    /// The prefix of the name forbids a domain and demands the path `/`, or demands `HttpOnly`.
    Prefix,
}

impl CookieError {
    /// The same as static text.
    pub(in super::super) fn reason(self) -> &'static str {
        match self {
            Self::Name => "the name of a cookie must be a token",
            Self::Value => "the value of a cookie has a forbidden character",
            Self::TooLong => "name and value of a cookie are longer than 4096 bytes",
            Self::Domain => "the domain of a cookie must be the name of a host",
            Self::Path => {
                "the path of a cookie must begin with a slash, without semicolon and control characters"
            }
            Self::Insecure => "the cookie must be secure, for its prefix, partition or SameSite=None",
            Self::Prefix => "the prefix of the cookie's name demands other attributes",
        }
    }
}

impl Cookie {
    /// A cookie of any text: all but letters, digits and `-._~` is percent-encoded in UTF-8.
    ///
    /// [`Request::decoded_cookie`](super::super::RequestHead::decoded_cookie) brings the text back.
    pub fn new(name: impl Into<Cow<'static, str>>, value: impl AsRef<str>) -> Self {
        Self::raw(name, utf8_percent_encode(value.as_ref(), ENCODED).to_string())
    }

    /// A cookie whose value is sent as it is: visible ASCII without space, `"`, `,`, `;` and `\`, or such a text in
    /// double quotes.
    pub fn raw(name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            domain: None,
            max_age: None,
            path: None,
            secure: false,
            http_only: false,
            same_site: None,
            expires: None,
            partitioned: false,
        }
    }

    /// A cookie that deletes another: name, domain and path must be the other's.
    pub fn removal(name: impl Into<Cow<'static, str>>) -> Self {
        Self { max_age: Some(0), expires: Some(0), ..Self::raw(name, String::new()) }
    }

    /// Sends the cookie to the hosts below this one, too; empty for the host itself only, which is the default.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into()).filter(|domain| !domain.is_empty());
        self
    }

    /// How long the cookie is kept, in whole seconds. By default until the browser is closed; browsers keep none for
    /// more than 400 days.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age.as_secs());
        self
    }

    /// Sends the cookie only with requests to this path and what is below it. By default to the folder of the path that
    /// set it.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into()).filter(|path| !path.is_empty());
        self
    }

    /// Sends the cookie only over TLS.
    pub fn secure(mut self) -> Self {
        self.secure = true;
        self
    }

    /// Hides the cookie from the scripts of a page.
    pub fn http_only(mut self) -> Self {
        self.http_only = true;
        self
    }

    /// Whether the cookie comes along when other sites cause a request. By default browsers choose, most of them
    /// [`SameSite::Lax`].
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = Some(same_site);
        self
    }

    /// When the cookie is dropped, for old clients: where both are there, the [age](Self::max_age) counts.
    pub fn expires(mut self, at: SystemTime) -> Self {
        self.expires = Some(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
        self
    }

    /// Keeps a cookie of an embedded page apart for each page that embeds it (CHIPS).
    pub fn partitioned(mut self) -> Self {
        self.partitioned = true;
        self
    }

    /// The value of the `Set-Cookie` field.
    ///
    /// Attributes come in this order: Domain, Max-Age, Path, Secure, HttpOnly, SameSite, Expires, Partitioned.
    ///
    /// # Errors
    /// Name, value or an attribute have forbidden characters or are too long, or browsers would drop the cookie.
    pub fn to_value(&self) -> Result<HeaderValue, CookieError> {
        self.check()?;
        let mut text = String::with_capacity(self.name.len() + self.value.len() + 96);
        let _ = write!(text, "{}={}", self.name, self.value);
        if let Some(domain) = &self.domain {
            let _ = write!(text, "; Domain={domain}");
        }
        if let Some(age) = self.max_age {
            let _ = write!(text, "; Max-Age={age}");
        }
        if let Some(path) = &self.path {
            let _ = write!(text, "; Path={path}");
        }
        if self.secure {
            text.push_str("; Secure");
        }
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        if let Some(same_site) = self.same_site {
            let _ = write!(text, "; SameSite={}", same_site.name());
        }
        if let Some(expires) = self.expires {
            let _ = write!(text, "; Expires={}", String::from_utf8_lossy(&date(expires)));
        }
        if self.partitioned {
            text.push_str("; Partitioned");
        }
        HeaderValue::try_from(text).map_err(|_| CookieError::Value)
    }

    fn check(&self) -> Result<(), CookieError> {
        if !is_token(self.name.as_bytes()) {
            return Err(CookieError::Name);
        }
        let value = &self.value;
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        if !bare.bytes().all(is_cookie_octet) {
            return Err(CookieError::Value);
        }
        if self.name.len() + value.len() > MAX_PAIR {
            return Err(CookieError::TooLong);
        }
        if self.domain.as_deref().is_some_and(|domain| !is_host(domain)) {
            return Err(CookieError::Domain);
        }
        if self.path.as_deref().is_some_and(|path| !is_path(path)) {
            return Err(CookieError::Path);
        }
        self.check_prefix()?;
        let cross_site = self.same_site == Some(SameSite::None);
        if (cross_site || self.partitioned) && !self.secure {
            return Err(CookieError::Insecure);
        }
        Ok(())
    }

    /// RFC 6265bis section 4.1.3, in any case, as browsers do it.
    fn check_prefix(&self) -> Result<(), CookieError> {
        let has = |prefix: &str| {
            self.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let (host, script) = (has("__Host-"), has("__Http-") || has("__Host-Http-"));
        if !host && !script && !has("__Secure-") {
            return Ok(());
        }
        if !self.secure {
            return Err(CookieError::Insecure);
        }
        let fits = !host || (self.domain.is_none() && self.path.as_deref() == Some("/"));
        if fits && (!script || self.http_only) { Ok(()) } else { Err(CookieError::Prefix) }
    }
}

/// RFC 6265bis section 4.1.1.
fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

fn is_host(domain: &str) -> bool {
    // A dot before the name means nothing any more.
    let name = domain.strip_prefix('.').unwrap_or(domain);
    !name.is_empty()
        && domain.len() <= MAX_ATTRIBUTE
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= MAX_ATTRIBUTE
        && path.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';')
        // White space at the end would be cut off.
        && !path.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cookie: &Cookie) -> String {
        cookie.to_value().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn every_attribute_has_its_place() {
        let cookie = Cookie::new("id", "7")
            .partitioned()
            .expires(UNIX_EPOCH + Duration::from_secs(784_111_777))
            .same_site(SameSite::None)
            .http_only()
            .secure()
            .path("/a b")
            .max_age(Duration::from_millis(60_999))
            .domain("example.com");
        assert_eq!(
            text(&cookie),
            "id=7; Domain=example.com; Max-Age=60; Path=/a b; Secure; HttpOnly; SameSite=None; \
             Expires=Sun, 06 Nov 1994 08:49:37 GMT; Partitioned"
        );
        assert_eq!(text(&Cookie::new("id", "").domain("").path("")), "id=");
        assert_eq!(text(&Cookie::new("a", "x").same_site(SameSite::Strict)), "a=x; SameSite=Strict");
    }

    #[test]
    fn a_removal_is_over_at_once() {
        assert_eq!(
            text(&Cookie::removal("id").path("/")),
            "id=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        );
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(text(&Cookie::new("a", "").expires(before)), "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn values_are_encoded_or_checked() {
        assert_eq!(text(&Cookie::new("a", "b;c=\"d\" \u{e9}~")), "a=b%3Bc%3D%22d%22%20%C3%A9~");
        assert_eq!(text(&Cookie::raw("a", "b=c%20/+")), "a=b=c%20/+");
        assert_eq!(text(&Cookie::raw("a", "\"b\"")), "a=\"b\"");
        for bad in ["b;c", "b c", "b,c", "b\\c", "\"b", "\"", "b\r\nc", "\u{e9}", "\0"] {
            assert_eq!(Cookie::raw("a", bad).to_value(), Err(CookieError::Value), "{bad:?}");
        }
    }

    #[test]
    fn what_browsers_would_drop_is_an_error() {
        let c = |name: &'static str| Cookie::new(name, "1");
        for (cookie, error) in [
            (c(""), CookieError::Name),
            (c("a=b"), CookieError::Name),
            (c("a;b"), CookieError::Name),
            (c("a\r\nb"), CookieError::Name),
            (c("a").domain("ex ample"), CookieError::Domain),
            (c("a").domain("a;b"), CookieError::Domain),
            (c("a").domain("."), CookieError::Domain),
            (c("a").path("a"), CookieError::Path),
            (c("a").path("/;Secure"), CookieError::Path),
            (c("a").path("/\n"), CookieError::Path),
            (c("a").path("/ "), CookieError::Path),
            (c("a").path(format!("/{}", "a".repeat(MAX_ATTRIBUTE))), CookieError::Path),
            (c("a").same_site(SameSite::None), CookieError::Insecure),
            (c("a").partitioned(), CookieError::Insecure),
            (c("__Secure-a"), CookieError::Insecure),
            (c("__secure-a"), CookieError::Insecure),
            (c("__Host-a").path("/"), CookieError::Insecure),
            (c("__Host-a").secure(), CookieError::Prefix),
            (c("__Host-a").secure().path("/a"), CookieError::Prefix),
            (c("__host-a").secure().path("/").domain("a.b"), CookieError::Prefix),
            (c("__Http-a").secure(), CookieError::Prefix),
            (c("__Host-Http-a").secure().path("/"), CookieError::Prefix),
            (Cookie::raw("a", "b".repeat(MAX_PAIR)), CookieError::TooLong),
        ] {
            assert_eq!(cookie.to_value(), Err(error), "{cookie:?}");
        }
        for good in [
            c("__Secure-a").secure(),
            c("__Host-a").secure().path("/"),
            c("__Host-Http-a").secure().path("/").http_only(),
            c("a").domain(".example.com"),
            Cookie::raw("a", "b".repeat(MAX_PAIR - 1)),
        ] {
            assert!(good.to_value().is_ok(), "{good:?}");
        }
    }
}
