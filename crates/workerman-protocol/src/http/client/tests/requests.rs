//! What leaves for a request.

use http::Method;

use super::{client, pieces};
use crate::http::{Body, ClientRequest, Headers};

fn sent(request: ClientRequest) -> String {
    let mut harness = client();
    harness.send(request).unwrap();
    String::from_utf8(harness.output().to_vec()).unwrap()
}

fn refused(request: ClientRequest) -> String {
    let mut harness = client();
    let error = harness.send(request).unwrap_err();
    assert_eq!(harness.output(), "");
    error.to_string()
}

#[test]
fn heads_are_written_as_method_uri_and_body_demand() {
    let new = |method: &str, uri: &str| ClientRequest::new(method, uri);
    for (request, expected) in [
        (new("GET", "http://h/"), "GET / HTTP/1.1\r\nhost: h\r\n\r\n"),
        (new("GET", "http://h"), "GET / HTTP/1.1\r\nhost: h\r\n\r\n"),
        (new("GET", "http://h?q=1"), "GET /?q=1 HTTP/1.1\r\nhost: h\r\n\r\n"),
        (new("GET", "http://h:8080/a/b?c=d#e"), "GET /a/b?c=d HTTP/1.1\r\nhost: h:8080\r\n\r\n"),
        (new("GET", "http://[::1]:80/"), "GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n"),
        (new("GET", "http://user:secret@h/"), "GET / HTTP/1.1\r\nhost: h\r\n\r\n"),
        (new("GET", "/x").header("Host", "own"), "GET /x HTTP/1.1\r\nhost: own\r\n\r\n"),
        (new("GET", "http://h/").header("host", "own"), "GET / HTTP/1.1\r\nhost: own\r\n\r\n"),
        (new("BREW", "http://h/pot"), "BREW /pot HTTP/1.1\r\nhost: h\r\n\r\n"),
        (new("OPTIONS", "*").header("host", "h"), "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n"),
        (new("CONNECT", "h:443"), "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n"),
        (new("GET", "http://u:p@h/x?y").absolute_form(), "GET http://h/x?y HTTP/1.1\r\nhost: h\r\n\r\n"),
        // RFC 9110 section 8.6: a length is said where a body is expected, and nowhere else without one.
        (new("POST", "http://h/"), "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"),
        (new("DELETE", "http://h/"), "DELETE / HTTP/1.1\r\nhost: h\r\n\r\n"),
        (
            ClientRequest::post("http://h/", "abc"),
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (new("GET", "http://h/").body("abc"), "GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc"),
        (
            ClientRequest::post("http://h/", "abc").header("content-length", "3"),
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (
            ClientRequest::post("http://h/", pieces(&["abc", "", "de"])),
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        ),
        (
            ClientRequest::post("http://h/", pieces(&["abc", "de"])).header("content-length", 5),
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nabcde",
        ),
        (
            new("GET", "http://h/").header("A", "1").append("a", "2").header("upgrade", "x"),
            "GET / HTTP/1.1\r\nhost: h\r\na: 1\r\na: 2\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        ),
    ] {
        assert_eq!(sent(request), expected);
    }
}

#[test]
fn a_target_is_ascii() {
    let head = sent(ClientRequest::get("http://h/p\u{fc}?q=\u{fc}"));
    assert!(head.starts_with("GET /p%C3%BC?q=%C3%BC HTTP/1.1\r\n"), "{head}");
}

#[test]
fn trailers_make_chunks_and_only_harmless_ones_leave() {
    let trailers: Headers = [("x-sum", "1"), ("content-length", "9"), ("transfer-encoding", "chunked")]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let request = ClientRequest::post("http://h/", Body::from("ab").with_trailers(trailers));
    assert_eq!(
        sent(request),
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-sum: 1\r\n\r\n"
    );
}

#[test]
fn what_cannot_be_sent_is_refused_before_a_byte_leaves() {
    let new = |method: &str, uri: &str| ClientRequest::new(method, uri);
    for (request, expected) in [
        (new("GE T", "http://h/"), "the method is not a token"),
        (new("GET", "http://h/a b"), "the URI is not valid"),
        (new("GET", "http://h/\r\nx: y"), "the URI is not valid"),
        (new("GET", "/"), "the URI has no host"),
        (new("GET", "http://user@/"), "the URI"),
        (new("GET", "*").header("host", "h"), "the target `*` is for OPTIONS"),
        (new("GET", "/").header("host", "h").absolute_form(), "the absolute form needs a scheme"),
        (new("CONNECT", "h"), "the target of CONNECT is a host and a port"),
        (new("CONNECT", "http://h:1/"), "the target of CONNECT is a host and a port"),
        (new("CONNECT", "h:1").body("x"), "a request of this method has no body"),
        (new("TRACE", "http://h/").body(pieces(&["x"])), "a request of this method has no body"),
        (new("GET", "http://h/").header("a", "b\r\nc: d"), "bad header field a"),
        (new("GET", "http://h/").header("a\r\n", "b"), "its name is not a token"),
        (new("GET", "http://h/").append("host", "a").append("host", "b"), "host: there can be only one"),
        (new("GET", "http://h/").header("transfer-encoding", "chunked"), "the protocol writes it itself"),
        (new("GET", "http://h/").header("expect", "100-continue"), "the protocol writes it itself"),
        (ClientRequest::post("http://h/", "abc").header("content-length", "2"), "another length"),
        (ClientRequest::post("http://h/", "abc").header("content-length", "+3"), "it is not a number"),
        (
            ClientRequest::post("http://h/", "a").append("content-length", "1").append("content-length", "1"),
            "there can be only one",
        ),
    ] {
        let error = refused(request);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn requests_of_the_http_crate_are_taken() {
    let request = http::Request::post("http://h/x").header("a", "b").body("hello").unwrap();
    let request = ClientRequest::from(request);
    assert_eq!((request.method(), request.headers().len()), (&Method::POST, 1));
    assert_eq!(sent(request), "POST /x HTTP/1.1\r\nhost: h\r\na: b\r\ncontent-length: 5\r\n\r\nhello");
}

#[test]
fn one_request_waits_for_the_one_in_progress_and_a_third_is_refused() {
    let mut harness = client();
    harness.send(ClientRequest::get("http://h/1")).unwrap();
    harness.send(ClientRequest::get("http://h/2")).unwrap();
    let error = harness.send(ClientRequest::get("http://h/3")).unwrap_err();
    assert_eq!(error.to_string(), "cannot send the message: another request waits already");
    assert_eq!(harness.output(), "GET /1 HTTP/1.1\r\nhost: h\r\n\r\n");
    harness.feed(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(harness.output(), "GET /2 HTTP/1.1\r\nhost: h\r\n\r\n");
    harness.feed(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    assert_eq!(harness.messages().len(), 2);
    assert!(harness.is_finished());
    assert!(harness.send(ClientRequest::get("http://h/4")).is_err(), "the connection is over");
}

#[test]
fn a_request_that_waits_for_a_connection_that_ends_is_an_error() {
    let mut harness = client();
    harness.send(ClientRequest::get("http://h/1")).unwrap();
    harness.send(ClientRequest::get("http://h/2")).unwrap();
    harness.feed(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    assert_eq!(harness.messages().len(), 1);
    let ended = harness.ended().to_string();
    assert!(ended.contains("the connection ended before the request that waits was begun"), "{ended}");
}
