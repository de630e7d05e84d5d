//! Which pages may open a connection (RFC 6455 section 10.2, RFC 6454).
//!
//! A browser lets every page open a connection to every server, sends the server's cookies along, and tells in `Origin`
//! which page it was. So a server that trusts cookies must look at it, or any page can act in the name of its visitors.
//! Other programs send no `Origin`, or any they like: the check protects the users of browsers, and nothing else.

use std::net::Ipv6Addr;

/// Which origins a server takes connections from.
///
/// - A request without `Origin` comes from no browser: it passes.
/// - Without a list, a request with cookies (or other credentials that browsers send by themselves, in `Authorization`)
///   must come from a page of the host that it is sent to; one without passes: it is as good as anybody's.
/// - With a list, every request with an `Origin` must come from one of it, cookies or not.
///
/// Elements of a list, compared without regard to case:
/// - an origin, `https://example.com` or `http://localhost:8080`; without a port it is that of the scheme;
/// - `https://*.example.com`, all hosts below that one, itself not included;
/// - `null`, which sandboxed frames, local files and some redirects are called: **any** page can make itself such a one,
///   so it is nobody's but where it is listed by itself;
/// - `*`, every origin, `null` too: for servers that give everybody the same, and those who have other proof than cookies.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Origins {
    /// `None`: the rule for cookies.
    allowed: Option<Vec<Allowed>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Allowed {
    Any,
    Null,
    Exact(Origin),
    /// All hosts that end with this, which begins with a dot.
    Below(Origin),
    /// What is no origin, as it was written: custom schemes (of browser extensions, of apps) have no ports to compare.
    Opaque(Box<str>),
}

/// Scheme, host and port: lower case, and with the port that a scheme has by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

/// Why a request is refused for its origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stranger {
    /// It has cookies, and its page is of another host.
    CrossSite,
    /// It is not on the list.
    NotListed,
}

impl Origins {
    /// Only these; see the type. `Err` is the element that is none.
    pub(crate) fn listed<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self, String> {
        let parse = |text: S| Allowed::parse(text.as_ref()).ok_or_else(|| text.as_ref().to_owned());
        Ok(Self { allowed: Some(origins.into_iter().map(parse).collect::<Result<_, _>>()?) })
    }

    /// Whether a request may come from this origin, `credentials` says whether a browser would have sent some along.
    pub(super) fn check(&self, origin: &[u8], host: &str, credentials: bool) -> Result<(), Stranger> {
        let text = std::str::from_utf8(origin).unwrap_or_default();
        match &self.allowed {
            Some(list) if list.iter().any(|allowed| allowed.takes(text)) => Ok(()),
            Some(_) => Err(Stranger::NotListed),
            None if !credentials || is_same(text, host) => Ok(()),
            None => Err(Stranger::CrossSite),
        }
    }
}

/// Whether the page is of the host that the request is for. A proxy may have ended TLS: the scheme is not compared, and a
/// port that is not said is that of the page's scheme.
fn is_same(origin: &str, host: &str) -> bool {
    let Some(origin) = Origin::parse(origin) else { return false };
    let Some((name, port)) = split_host(host) else { return false };
    let standard = standard_port(&origin.scheme);
    standard.is_some() && origin.host == name && origin.port == port.or(standard)
}

impl Allowed {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => return Some(Self::Any),
            "null" => return Some(Self::Null),
            _ => {}
        }
        let below = text.split_once("://*.");
        // A star that is anywhere else is a part of a name, by the grammar, and a mistake.
        if below.map_or(text, |(_, rest)| rest).contains('*') {
            return None;
        }
        if let Some((scheme, rest)) = below {
            let mut below = Origin::parse(&format!("{scheme}://{rest}"))?;
            // Not of numbers: the parts of an address mean nothing to each other.
            if below.host.starts_with('[') || below.host.ends_with(|last: char| last.is_ascii_digit()) {
                return None;
            }
            below.host.insert(0, '.');
            return Some(Self::Below(below));
        }
        let origin = Origin::parse(text)?;
        let opaque = standard_port(&origin.scheme).is_none();
        Some(if opaque { Self::Opaque(text.to_ascii_lowercase().into()) } else { Self::Exact(origin) })
    }

    fn takes(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Null => text == "null",
            Self::Exact(own) => Origin::parse(text).is_some_and(|origin| origin == *own),
            Self::Below(own) => Origin::parse(text).is_some_and(|origin| {
                origin.scheme == own.scheme && origin.port == own.port && {
                    // Something before the dot.
                    origin.host.len() > own.host.len() && origin.host.ends_with(&own.host)
                }
            }),
            Self::Opaque(own) => own.eq_ignore_ascii_case(text),
        }
    }
}

impl Origin {
    /// `scheme "://" host [ ":" port ]` and nothing behind it (RFC 6454 section 7).
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let letters = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !letters || !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = split_host(rest)?;
        let port = port.or_else(|| standard_port(&scheme));
        Some(Self { scheme, host, port })
    }
}

fn standard_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// `host [ ":" port ]`, the host in lower case.
fn split_host(text: &str) -> Option<(String, Option<u16>)> {
    if !crate::http::is_host(text.as_bytes()) {
        return None;
    }
    let end = match text.rfind(']') {
        Some(bracket) => bracket + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(end);
    let port = match port.strip_prefix(':') {
        None | Some("") => None,
        Some(digits) => Some(digits.parse().ok()?),
    };
    let mut host = host.to_ascii_lowercase();
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        // One address has many spellings.
        if let Ok(address) = address.parse::<Ipv6Addr>() {
            host = format!("[{address}]");
        }
    }
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(list: &[&str]) -> Origins {
        Origins::listed(list).unwrap()
    }

    fn takes(list: &[&str], origin: &str) -> bool {
        listed(list).check(origin.as_bytes(), "any.example", false).is_ok()
    }

    fn same(origin: &str, host: &str) -> bool {
        Origins::default().check(origin.as_bytes(), host, true).is_ok()
    }

    #[test]
    fn with_cookies_the_page_must_be_of_the_same_host() {
        assert!(same("http://example.com", "example.com"));
        assert!(same("https://example.com", "example.com"), "a proxy has ended TLS");
        assert!(same("https://example.com", "example.com:443"));
        assert!(same("http://example.com:80", "EXAMPLE.com"));
        assert!(same("http://localhost:8080", "localhost:8080"));
        assert!(same("http://[::1]:8080", "[0:0:0:0:0:0:0:1]:8080"));
        for (origin, host) in [
            ("http://evil.example", "example.com"),
            ("http://example.com.evil.example", "example.com"),
            ("http://sub.example.com", "example.com"),
            ("http://example.com", "sub.example.com"),
            ("http://example.com:8080", "example.com"),
            ("http://example.com", "example.com:8080"),
            ("https://example.com", "example.com:80"),
            ("null", "example.com"),
            ("null", "null"),
            ("", "example.com"),
            ("example.com", "example.com"),
            ("http://example.com/", "example.com"),
            ("http://example.com@evil.example", "evil.example"),
            ("chrome-extension://example.com", "example.com"),
            ("http://example.com http://example.com", "example.com"),
        ] {
            assert!(!same(origin, host), "{origin} at {host}");
        }
        assert!(Origins::default().check(b"\xff", "example.com", true).is_err());
    }

    #[test]
    fn without_cookies_every_page_is_as_good_as_anybody() {
        for origin in ["http://evil.example", "null", "nonsense"] {
            assert_eq!(Origins::default().check(origin.as_bytes(), "example.com", false), Ok(()));
        }
    }

    #[test]
    fn a_list_counts_with_and_without_cookies() {
        let list = listed(&["https://example.com", "http://localhost:3000"]);
        for credentials in [false, true] {
            let check = |origin: &[u8]| list.check(origin, "evil.example", credentials);
            assert_eq!(check(b"https://example.com"), Ok(()));
            assert_eq!(check(b"https://EXAMPLE.com:443"), Ok(()));
            assert_eq!(check(b"http://localhost:3000"), Ok(()));
            let refused = Err(Stranger::NotListed);
            assert_eq!(check(b"http://example.com"), refused, "the scheme counts");
            assert_eq!(check(b"http://evil.example"), refused, "its own host is not on the list");
            assert_eq!(check(b"http://localhost"), refused);
            assert_eq!(check(b"null"), refused);
            assert_eq!(check(b""), refused);
        }
        assert!(!takes(&[], "https://example.com"), "an empty list has nobody");
    }

    #[test]
    fn wildcards_stand_for_hosts_below() {
        let list = ["https://*.example.com"];
        assert!(takes(&list, "https://a.example.com") && takes(&list, "https://a.b.EXAMPLE.com"));
        for wrong in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "https://a.example.com:8443",
            "http://a.example.com",
            "https://a.example.com.evil.example",
            "null",
        ] {
            assert!(!takes(&list, wrong), "{wrong}");
        }
        assert!(takes(&["http://*.local:81"], "http://box.local:81"));
    }

    #[test]
    fn null_is_taken_where_it_is_listed() {
        assert!(takes(&["null"], "null") && !takes(&["null"], "NULL"));
        assert!(takes(&["*"], "null") && takes(&["*"], "https://any.example"));
        assert!(!takes(&["https://example.com"], "null"));
    }

    #[test]
    fn custom_schemes_are_compared_as_they_are() {
        assert!(takes(&["chrome-extension://abcdef"], "chrome-extension://abcdef"));
        assert!(takes(&["app://local"], "app://LOCAL"));
        assert!(!takes(&["app://local"], "app://local.evil"));
    }

    #[test]
    fn what_is_no_origin_cannot_be_listed() {
        for wrong in [
            "",
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com/page",
            "http://a b",
            "https://*",
            "https://*.",
            "https://*.10.0.0.1",
            "*.example.com",
            "1://a",
            "https://user@example.com",
            "https://example.com:99999",
            "https://ex*mple.com/x",
        ] {
            assert_eq!(Origins::listed([wrong]), Err(wrong.to_owned()));
        }
    }
}
