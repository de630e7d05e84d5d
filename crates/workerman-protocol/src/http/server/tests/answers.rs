//! Tests of what an answer says: the end of the connection, its fields, its status.

use http::HeaderValue;

use super::super::super::BadRequest;
use super::*;

#[test]
fn an_answer_says_that_the_connection_ends_behind_it_with_the_clients_stream() {
    let close = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    let open = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let answer = || Response::new(StatusCode::OK).body("hi");
    let mut one = harness(Http::new());
    one.feed(GET);
    one.eof();
    one.answer_last(answer()).unwrap();
    assert_eq!((&*text(&mut one), one.ended()), (close, &Ended::Clean));

    // Only behind the last one, whether it is in flight or not.
    for pipeline in [1, 2] {
        let mut two = harness(Http::new().pipeline(pipeline));
        two.feed(&[GET, GET].concat());
        two.eof();
        two.send(answer()).unwrap();
        assert_eq!(text(&mut two), open);
        two.send(answer()).unwrap();
        assert_eq!((&*text(&mut two), two.ended()), (close, &Ended::Clean));
    }

    let mut old = harness(Http::new());
    old.feed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    old.eof();
    old.answer_last(answer()).unwrap();
    assert_eq!(text(&mut old), close);
}

#[test]
fn an_answer_that_waits_for_the_client_is_in_flight() {
    let mut harness = harness(Http::new());
    harness.feed(&[GET, GET, GET].concat());
    assert_eq!(harness.messages().len(), 1);
    harness.answer_last(Response::bytes(vec![b'b'; 100_000])).unwrap();
    assert!(harness.is_blocked() && harness.messages().is_empty());
    // Most of it is written: its memory is still in use.
    assert!(harness.output().len() > 100_000);
    harness.set_queued(1);
    harness.feed(GET);
    assert!(harness.is_blocked() && harness.messages().is_empty());
    harness.set_queued(0);
    harness.decode();
    assert_eq!(harness.messages().len(), 1);
    // A small one is not worth waiting for.
    harness.set_queued(30_000);
    harness.answer_last(Response::bytes(vec![b'b'; 10_000])).unwrap();
    assert_eq!(harness.messages().len(), 1);
    // It counts only for what comes next.
    harness.answer_last(Response::bytes(vec![b'b'; 100_000])).unwrap();
    harness.set_queued(100_000);
    harness.feed(b"");
    assert_eq!(harness.protocol().deadline(), Deadline::Idle);
}

/// What is said in answer to a request, and whether it is an error.
fn answered(request: &str, response: Response) -> Result<String, Error> {
    let mut harness = harness(Http::new().server("own").connect(true));
    harness.feed(request.as_bytes());
    harness.answer_last(response)?;
    Ok(String::from_utf8(harness.output().to_vec()).unwrap())
}

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const HEAD_OF: &str = "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn white_space_around_a_value_is_not_sent() {
    let said = answered(PLAIN, Response::of(200).header("x-a", " \ta b\t ").header("x-b", "  ")).unwrap();
    assert!(said.contains("\r\nX-A: a b\r\nX-B: \r\n"), "{said}");
}

#[test]
fn a_status_that_is_no_answer_is_an_error() {
    for status in [100, 101, 102, 103, 199, 600, 999] {
        assert!(answered(PLAIN, Response::of(status)).is_err(), "{status}");
        let status = StatusCode::from_u16(status).unwrap();
        assert!(answered(PLAIN, Response::new(status)).is_err(), "{status}");
    }
    for status in [200, 226, 300, 418, 599] {
        assert!(answered(PLAIN, Response::of(status)).unwrap().contains("\r\nContent-Length: 0\r\n"));
    }
    // One that comes too late to tell the handler.
    let mut late = harness(Http::new());
    late.feed(GET);
    late.send(Response::new(StatusCode::from_u16(600).unwrap())).unwrap();
    assert!(text(&mut late).starts_with("HTTP/1.1 500 "));
}

#[test]
fn a_tunnel_begins_behind_the_head() {
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
    let said = answered(connect, Response::text("").header("content-length", "0")).unwrap();
    assert!(
        said.starts_with("HTTP/1.1 200 OK\r\nServer: own\r\nDate: ") && said.ends_with(" GMT\r\n\r\n"),
        "{said}"
    );
    let refused = answered(connect, Response::text("no").with_status(403)).unwrap();
    assert!(refused.ends_with("\r\nContent-Length: 2\r\n\r\nno"), "{refused}");
}

#[test]
fn a_length_that_is_set_must_be_true() {
    let with = |length: &str| Response::of(200).body("hi").header("content-length", length);
    for length in ["3", "1", "0", "x", "+2", "-2", "2, 2", "", "99999999999999999999"] {
        assert!(matches!(answered(PLAIN, with(length)), Err(Error::Field { .. })), "{length:?}");
    }
    let twice = with("2").append("content-length", "2");
    assert!(matches!(answered(PLAIN, twice), Err(Error::Field { .. })));
    assert!(answered(PLAIN, with("2")).unwrap().ends_with("\r\nContent-Length: 2\r\n\r\nhi"));

    // What a stream announces is kept, or the connection breaks.
    let stream = |length: &str| {
        Response::of(200).body(Body::stream(Pieces(vec![Ok("abc")]))).header("content-length", length)
    };
    assert!(answered(PLAIN, stream("3")).unwrap().ends_with("\r\nContent-Length: 3\r\n\r\nabc"));
    for length in ["2", "4"] {
        let mut broken = harness(Http::new());
        broken.feed(GET);
        broken.answer_last(stream(length)).unwrap();
        assert!(matches!(broken.error(), Some(Error::Body(BodyError::Length { .. }))), "{length}");
    }

    // Of what they do not have.
    let none = || Response::of(200).header("content-length", "77");
    assert!(answered(HEAD_OF, none()).unwrap().ends_with("\r\nContent-Length: 77\r\n\r\n"));
    assert!(answered(HEAD_OF, with("3")).is_err());
    assert!(answered(PLAIN, none().with_status(304)).unwrap().ends_with("\r\nContent-Length: 77\r\n\r\n"));
    for status in [200, 204, 205] {
        assert!(answered(PLAIN, none().with_status(status)).is_err(), "{status}");
    }
}

#[test]
fn date_and_server_can_be_set() {
    let dated = Response::of(200).header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let said = answered(PLAIN, dated.header("server", "mine")).unwrap();
    assert_eq!(
        said,
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: mine\r\nContent-Length: 0\r\n\r\n"
    );
    let said = answered(PLAIN, Response::of(404).header("server", "mine")).unwrap();
    assert!(said.starts_with("HTTP/1.1 404 Not Found\r\nDate: Thu, 01 Jan 1970 "), "{said}");
    assert_eq!(said.matches("Server: ").count(), 1, "{said}");
    let said = answered(PLAIN, Response::of(200).header("x", "y")).unwrap();
    assert!(said.starts_with("HTTP/1.1 200 OK\r\nServer: own\r\nDate: Thu, "), "{said}");
}

#[test]
fn the_framing_is_not_the_applications() {
    for coding in ["chunked", "gzip, chunked", "identity"] {
        let response = Response::of(200).header("transfer-encoding", coding);
        assert!(matches!(answered(PLAIN, response), Err(Error::Field { .. })), "{coding}");
    }
    // What somebody else's client has received can be passed on.
    let mut received = http::Response::new("hi");
    received.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
    let said = answered(PLAIN, received.into()).unwrap();
    assert!(said.ends_with("\r\nContent-Length: 2\r\n\r\nhi") && !said.contains("chunked"), "{said}");
}

#[test]
fn an_answer_without_content_has_no_type_of_ours() {
    for status in [204, 304] {
        let said = answered(PLAIN, Response::text("").with_status(status).header("etag", "\"a\"")).unwrap();
        assert!(said.ends_with("GMT\r\nEtag: \"a\"\r\n\r\n"), "{said}");
    }
    let said = answered(HEAD_OF, Response::text("hi")).unwrap();
    assert!(said.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    // With an id, which is written into its fields.
    let mut named = harness(Http::new().request_id(true));
    named.feed(GET);
    named.answer_last(Response::text("").with_status(304)).unwrap();
    let said = text(&mut named);
    assert!(said.contains("X-Request-Id: ") && !said.contains("Content-Type"), "{said}");
}

#[test]
fn an_offer_to_upgrade_is_for_the_next_hop() {
    let offer = || Response::of(426).header("upgrade", "websocket");
    assert!(answered(PLAIN, offer()).unwrap().ends_with("Content-Length: 0\r\nConnection: Upgrade\r\n\r\n"));
    let said = answered(PLAIN, offer().header("connection", "close")).unwrap();
    assert!(said.ends_with("\r\nConnection: close, Upgrade\r\n\r\n"));
}

#[derive(Debug, thiserror::Error)]
#[error("secret")]
struct Wrapped<E: std::error::Error + 'static>(#[source] E);

#[test]
fn a_request_that_cannot_be_read_is_its_clients_fault() {
    let fails = |error: &(dyn std::error::Error + 'static), streams: bool| {
        let admit = move |_: &RequestHead| if streams { Admission::Stream } else { Admission::Buffer(9) };
        let mut harness = harness(Http::new().on_request_head(admit));
        harness.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(harness.failed(Failure::Error(error)), Recovery::Continue);
        text(&mut harness)
    };
    let cases = [
        (BadRequest::NotText, "400"),
        (BadRequest::ContentType { expected: "x" }, "415"),
        (BadRequest::TooMany { what: "variables", limit: 9 }, "400"),
        (BadRequest::Body(BodyError::TooLarge { limit: 9 }), "413"),
        (BadRequest::Body(BodyError::Timeout), "408"),
        (BadRequest::Streamed, "500"),
    ];
    for (error, status) in cases {
        let said = fails(&error, false);
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status} ")) && said.ends_with("Content-Length: 0\r\n\r\n")
        );
        assert_eq!(fails(&Wrapped(error), false), said);
    }
    assert!(fails(&BadRequest::Coding, false).contains("\r\nAccept-Encoding: "));
    // An error of a body is one of the request's if that has a body which can fail.
    let too_large = BodyError::TooLarge { limit: 1 };
    assert!(fails(&too_large, true).starts_with("HTTP/1.1 413 "));
    assert!(fails(&BodyError::Malformed("x"), true).starts_with("HTTP/1.1 400 "));
    assert!(fails(&BodyError::Source("disk".into()), true).starts_with("HTTP/1.1 500 "));
    assert!(fails(&too_large, false).starts_with("HTTP/1.1 500 "));
    assert!(fails(&Wrapped(too_large), true).starts_with("HTTP/1.1 500 "));
}
