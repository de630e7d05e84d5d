//! Where a redirect leads, and what goes along (RFC 9110 section 15.4).

use http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION};
use http::{Method, StatusCode, Uri};
use workerman_protocol::http::Headers;

use super::Error;
use super::origin::Origin;
use super::resolve::resolve;

/// Fields that belong to a body that is not sent again.
const OF_THE_BODY: [&str; 6] =
    ["content-type", "content-length", "content-encoding", "content-language", "content-location", "digest"];

/// A redirect.
#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) uri: Uri,
    pub(super) method: Method,
    /// The body goes along.
    pub(super) keeps_body: bool,
}

impl Redirect {
    /// What a response to a request of `method` for `uri` asks for, if it is a redirect.
    pub(super) fn of(
        status: StatusCode,
        headers: &Headers,
        method: &Method,
        uri: &Uri,
    ) -> Result<Option<Self>, Error> {
        let to_get = match status.as_u16() {
            // A POST becomes a GET: allowed by the RFC, expected by everybody.
            301 | 302 => *method == Method::POST,
            303 => ![Method::GET, Method::HEAD].contains(method),
            307 | 308 => false,
            _ => return Ok(None),
        };
        let mut locations = headers.get_all(LOCATION);
        let Some(location) = locations.next() else { return Ok(None) };
        let bad = |reason| {
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            Err(Error::Redirect { location, reason })
        };
        // RFC 9110 section 5.3: a field that is no list is there once. Which one is meant nobody knows.
        if locations.any(|other| other != location) {
            return bad("there is another one");
        }
        let Some(to) = resolve(uri, location.as_bytes()) else { return bad("it is no URI") };
        if let Err(reason) = Origin::of(&to) {
            return bad(reason);
        }
        let method = if to_get { Method::GET } else { method.clone() };
        Ok(Some(Self { uri: to, method, keeps_body: !to_get }))
    }

    /// Takes out of `headers` what must not go along.
    pub(super) fn strip(&self, headers: &mut Headers, from: &Uri) {
        if !self.keeps_body {
            for name in OF_THE_BODY {
                headers.remove(name);
            }
        }
        if Origin::of(&self.uri).ok() != Origin::of(from).ok() {
            // Section 15.4: what was meant for one origin is not told to another.
            for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, HOST] {
                headers.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn redirect(status: u16, method: &str, location: &str) -> Result<Option<Redirect>, Error> {
        let headers = [(LOCATION, HeaderValue::from_str(location).unwrap())].into_iter().collect();
        let (status, method) = (StatusCode::from_u16(status).unwrap(), method.parse().unwrap());
        Redirect::of(status, &headers, &method, &"http://h/a/b".parse().unwrap())
    }

    #[test]
    fn methods_change_as_the_rfc_allows() {
        for (status, method, then) in [
            (301, "GET", "GET"),
            (301, "POST", "GET"),
            (301, "PUT", "PUT"),
            (301, "HEAD", "HEAD"),
            (302, "POST", "GET"),
            (302, "DELETE", "DELETE"),
            (303, "POST", "GET"),
            (303, "PUT", "GET"),
            (303, "HEAD", "HEAD"),
            (307, "POST", "POST"),
            (308, "PUT", "PUT"),
        ] {
            let redirect = redirect(status, method, "c").unwrap().unwrap();
            assert_eq!(redirect.method.as_str(), then, "{status} {method}");
            assert_eq!(redirect.keeps_body, method == then, "{status} {method}");
            assert_eq!(redirect.uri, "http://h/a/c");
        }
    }

    #[test]
    fn other_responses_are_no_redirects() {
        for status in [200, 201, 300, 304, 305, 306, 309, 404] {
            assert!(redirect(status, "GET", "c").unwrap().is_none(), "{status}");
        }
        let found =
            Redirect::of(StatusCode::FOUND, &Headers::new(), &Method::GET, &"http://h".parse().unwrap());
        assert!(found.unwrap().is_none(), "without a location");
    }

    #[test]
    fn one_location_is_followed() {
        let of = |locations: &[&'static str]| {
            let headers = locations.iter().map(|to| (LOCATION, HeaderValue::from_static(to))).collect();
            Redirect::of(StatusCode::FOUND, &headers, &Method::GET, &"http://h/".parse().unwrap())
        };
        assert_eq!(of(&["/a", "/a"]).unwrap().unwrap().uri, "http://h/a");
        assert!(matches!(of(&["/a", "/b"]), Err(Error::Redirect { .. })));
    }

    #[test]
    fn only_http_is_followed() {
        for location in ["ftp://h/", "file:///etc/passwd", "javascript:alert(1)", "http://h:0/", "http://"] {
            assert!(matches!(redirect(302, "GET", location), Err(Error::Redirect { .. })), "{location}");
        }
    }

    #[test]
    fn credentials_stay_at_their_origin() {
        let all = ["authorization", "cookie", "proxy-authorization", "host", "content-type", "accept"];
        let headers: Headers =
            all.iter().map(|name| (name.parse().unwrap(), HeaderValue::from_static("x"))).collect();
        for (to, method, kept) in [
            ("/c", "GET", &all[..]),
            ("http://H:80/c", "GET", &all[..]),
            ("http://other/", "GET", &["content-type", "accept"]),
            ("http://h:81/", "GET", &["content-type", "accept"]),
            ("https://h/", "GET", &["content-type", "accept"]),
            ("/c", "POST", &["authorization", "cookie", "proxy-authorization", "host", "accept"]),
        ] {
            let redirect = redirect(302, method, to).unwrap().unwrap();
            let mut headers = headers.clone();
            redirect.strip(&mut headers, &"http://h/a/b".parse().unwrap());
            let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, kept, "{to}");
        }
    }
}
