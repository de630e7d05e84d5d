//! Tests of requests.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;

use super::super::{BadRequest, Body, BodyError, Error, FormValue, Headers, Request, Response, Version};

/// The result of a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

/// A stream of pieces that are there.
struct Pieces(std::vec::IntoIter<&'static str>);

impl Stream for Pieces {
    type Item = Result<&'static str, std::io::Error>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

fn streamed(pieces: Vec<&'static str>) -> Body {
    Body::stream(Pieces(pieces.into_iter()))
}

#[test]
fn a_built_request_is_written_as_a_client_would() {
    let request = Request::builder("PROPFIND", "/a%20b?c=d")
        .header("X-Kind", "one")
        .append("x-kind", "two")
        .body("hi")
        .remote("127.0.0.1:9".parse().unwrap())
        .param("id", "7")
        .build()
        .unwrap();
    assert_eq!(
        request.head().raw().escape_ascii().to_string(),
        r"PROPFIND /a%20b?c=d HTTP/1.1\r\nhost: localhost\r\nx-kind: one\r\nx-kind: two\r\ncontent-length: 2\r\n\r\n"
    );
    assert_eq!((request.path(), request.query(), request.host()), ("/a%20b", Some("c=d"), Some("localhost")));
    assert_eq!(request.decoded_path(), "/a b");
    assert_eq!(request.header_all("X-KIND").collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((request.content_length(), request.text().unwrap()), (Some(2), "hi"));
    assert_eq!((request.remote().unwrap().port(), request.param("id")), (9, Some("7")));
    assert!(request.reply().is_gone());

    let old = Request::builder("GET", "/").version(Version::Http10).build().unwrap();
    assert_eq!(old.head().raw().escape_ascii().to_string(), r"GET / HTTP/1.0\r\n\r\n");
    let chunked = Request::builder("POST", "/").header("Host", "a").body(streamed(vec![])).build().unwrap();
    assert_eq!(
        chunked.head().raw().escape_ascii().to_string(),
        r"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(chunked.content_length(), None);
}

#[test]
fn what_no_client_could_send_is_not_built() {
    for (method, target) in [
        ("G T", "/"),
        ("", "/"),
        ("GET", ""),
        ("GET", "a"),
        ("GET", "*"),
        ("GET", "/ HTTP/1.1\r\nx: y"),
        ("GET", "/\u{7f}"),
        ("CONNECT", "/"),
    ] {
        assert!(Request::builder(method, target).build().is_err(), "{method} {target}");
    }
    for target in ["/%c3%a9", "http://a/b", "/?"] {
        assert!(Request::builder("GET", target).build().is_ok(), "{target}");
    }
    assert!(Request::builder("OPTIONS", "*").build().is_ok());
    assert!(Request::builder("CONNECT", "a:1").build().is_ok());
    let bad = |name: &str, value: &str| Request::builder("GET", "/").header(name, value).build();
    assert!(matches!(bad("a b", "c"), Err(Error::Field { .. })));
    assert!(matches!(bad("a", "c\r\nd: e"), Err(Error::Field { .. })));
    assert!(matches!(bad("Content-Length", "1"), Err(Error::Field { .. })));
    assert!(matches!(bad("transfer-encoding", "chunked"), Err(Error::Field { .. })));
}

#[test]
fn a_streamed_body_is_read_into_memory_on_demand() {
    let mut request = Request::builder("POST", "/").body(streamed(vec!["ab", "c"])).build().unwrap();
    assert!(matches!(request.text(), Err(BadRequest::Streamed)));
    assert_eq!(now(request.buffer(3)).unwrap(), "abc");
    assert_eq!(request.text().unwrap(), "abc");
    assert_eq!(now(request.buffer(0)).unwrap(), "abc", "it is there already");

    let trailers: Headers = [(http::header::ETAG, http::HeaderValue::from_static("x"))].into_iter().collect();
    let body = streamed(vec!["a"]).with_trailers(trailers.clone());
    let mut request = Request::builder("POST", "/").body(body).build().unwrap();
    now(request.buffer(9)).unwrap();
    assert_eq!(request.trailers(), Some(&trailers));

    let mut request = Request::builder("POST", "/").body(streamed(vec!["ab", "c"])).build().unwrap();
    assert!(matches!(now(request.buffer(2)), Err(BodyError::TooLarge { limit: 2 })));
    assert_eq!(request.bytes(), Some(&Bytes::new()));
}

#[test]
fn forms_are_read_by_their_content_type() {
    let request =
        Request::builder("POST", "/?a[]=1&a[]=2").form([("b[c]", "d e"), ("f", "&")]).build().unwrap();
    assert!(request.is_form() && !request.is_json() && !request.is_multipart());
    let pairs: Vec<_> = request.form_pairs().unwrap().collect();
    assert_eq!(pairs, [("b[c]".into(), "d e".into()), ("f".into(), "&".into())]);
    let form = request.php_form().unwrap();
    assert_eq!(form.get("b").and_then(|b| b.get("c")).and_then(FormValue::text), Some("d e"));
    assert_eq!(request.php_query().unwrap().get("a").unwrap().len(), 2);

    let text =
        Request::builder("POST", "/").header("content-type", "text/plain").body("a=b").build().unwrap();
    assert!(matches!(text.form_pairs(), Err(BadRequest::ContentType { .. })));
    assert_eq!(Response::from(text.php_form().unwrap_err()).status(), 415);
}

#[test]
fn what_a_client_did_wrong_is_told_to_it() {
    let told = |error: BadRequest| {
        let response = Response::from(error);
        let body = response.body_ref().as_bytes().unwrap().clone();
        (response.status().as_u16(), String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(told(BadRequest::NotText), (400, "the body is not text in UTF-8".into()));
    assert_eq!(told(BadRequest::TooMany { what: "variables", limit: 3 }).1, "more than 3 variables");
    assert_eq!(told(BadRequest::Streamed), (500, String::new()));
}

#[cfg(feature = "serde")]
mod serde_ {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn json_needs_its_content_type() {
        let body = |kind: &'static str, body: &'static str| {
            Request::builder("POST", "/").header("content-type", kind).body(body).build().unwrap()
        };
        assert_eq!(body("application/json", "[1]").json::<Vec<u8>>().unwrap(), [1]);
        assert_eq!(body("application/merge-patch+json; a=b", "\"x\"").json::<&str>().unwrap(), "x");
        assert!(matches!(body("text/plain", "[1]").json::<Vec<u8>>(), Err(BadRequest::ContentType { .. })));
        let error = body("application/json", "[256]").json::<Vec<u8>>().unwrap_err();
        assert!(matches!(&error, BadRequest::Json(inner) if inner.is_data()) && error.status() == 400);
        assert!(body("application/json", "[1] x").json::<Vec<u8>>().is_err());
        assert!(body("application/json", "").json::<Vec<u8>>().is_err());
        // Deeper than the stack should go.
        let deep = Request::builder("POST", "/")
            .header("content-type", "application/json")
            .body("[".repeat(100_000));
        assert!(deep.build().unwrap().json::<FormLike>().is_err());
    }

    #[derive(Debug)]
    struct FormLike;

    impl<'de> serde::Deserialize<'de> for FormLike {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Vec::<Self>::deserialize(deserializer).map(|_| Self)
        }
    }

    #[test]
    fn forms_and_queries_become_types() {
        type Map = BTreeMap<String, u32>;
        let request = Request::builder("POST", "/?page=2").form([("size", "10")]).build().unwrap();
        assert_eq!(request.query_as::<Map>().unwrap(), [("page".to_owned(), 2)].into());
        assert_eq!(request.form::<Map>().unwrap(), [("size".to_owned(), 10)].into());
        let bad = Request::builder("POST", "/?page=x").form([("size", "-1")]).build().unwrap();
        assert!(matches!(bad.query_as::<Map>(), Err(BadRequest::Query(_))));
        assert!(matches!(bad.form::<Map>(), Err(BadRequest::Form(_))));
        let none = Request::builder("POST", "/").build().unwrap();
        assert!(none.query_as::<Map>().unwrap().is_empty());
        assert!(matches!(none.form::<Map>(), Err(BadRequest::ContentType { .. })));
        let json = Request::builder("POST", "/").json(&[1]).build().unwrap();
        assert!(json.is_json() && json.text().unwrap() == "[1]");
    }
}
