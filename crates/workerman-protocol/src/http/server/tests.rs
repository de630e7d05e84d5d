//! Tests of the server's side: order, framing of answers, bodies both ways, refusals.

mod answers;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_core::Stream;

use super::super::Headers;
use super::*;
use crate::testing::{Ended, Harness};

fn harness(http: Http) -> Harness<Http> {
    Harness::new(http, Instant::now())
}

fn text(harness: &mut Harness<Http>) -> String {
    String::from_utf8(harness.output().to_vec())
        .unwrap()
        .replace("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", "")
}

/// Pieces, each when it is asked for.
struct Pieces(Vec<Result<&'static str, &'static str>>);

impl Stream for Pieces {
    type Item = Result<&'static str, &'static str>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready((!self.0.is_empty()).then(|| self.0.remove(0)))
    }
}

const GET: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-Y: z\r\n\r\n";

#[test]
fn a_request_is_answered() {
    let mut harness = harness(Http::new());
    harness.feed(GET);
    let requests = harness.messages();
    let request = &requests[0];
    assert_eq!((request.method().as_str(), request.path(), request.query()), ("GET", "/a", Some("b")));
    assert_eq!((request.header("x-y"), request.host()), (Some("z"), Some("x")));
    assert!(harness.is_blocked());
    harness.answer_last(Response::text("hi")).unwrap();
    assert_eq!(
        harness.output(),
        "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 2\r\n\r\nhi"
    );
    harness.feed(GET);
    assert_eq!(harness.messages().len(), 1);
    assert_eq!(harness.protocol().deadline(), Deadline::None);
    harness.answer_last(Response::of(204)).unwrap();
    assert_eq!(text(&mut harness), "HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(harness.protocol().deadline(), Deadline::Idle);
    harness.eof();
    assert_eq!(*harness.ended(), Ended::Clean);
}

#[test]
fn what_an_answer_needs_follows_from_the_request() {
    let cases = [
        ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", false),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
            true,
        ),
        (
            "GET / HTTP/1.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
            true,
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi",
            false,
        ),
    ];
    for (request, answer, ends) in cases {
        let mut harness = harness(Http::new());
        harness.feed(request.as_bytes());
        harness.answer_last(Response::new(StatusCode::OK).body("hi")).unwrap();
        assert_eq!((&*text(&mut harness), harness.is_finished()), (answer, ends), "{request}");
    }
}

#[test]
fn a_streamed_answer_is_chunked_or_as_long_as_announced() {
    let pieces = || Pieces(vec![Ok("abc"), Ok(""), Ok("0123456789abcdef")]);
    let mut harness = harness(Http::new());
    harness.feed(GET);
    harness.answer_last(Response::new(StatusCode::OK).body(Body::stream(pieces()))).unwrap();
    assert_eq!(
        text(&mut harness),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
    );
    harness.feed(GET);
    harness.answer_last(Response::new(StatusCode::OK).body(Body::sized(19, pieces()))).unwrap();
    assert_eq!(text(&mut harness), "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\nabc0123456789abcdef");
    harness.feed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    harness.answer_last(Response::new(StatusCode::OK).body(Body::stream(pieces()))).unwrap();
    assert_eq!(text(&mut harness), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc0123456789abcdef");
    assert!(harness.is_finished());
}

#[test]
fn a_body_that_breaks_off_breaks_the_connection() {
    let broken = [
        Body::stream(Pieces(vec![Ok("abc"), Err("disk")])),
        Body::sized(10, Pieces(vec![Ok("abc")])),
        Body::sized(2, Pieces(vec![Ok("abc")])),
    ];
    for body in broken {
        let mut harness = harness(Http::new());
        harness.feed(GET);
        harness.answer_last(Response::new(StatusCode::OK).body(body)).unwrap();
        assert!(matches!(harness.error(), Some(Error::Body(_))), "{:?}", harness.error());
        assert!(!text(&mut harness).ends_with("0\r\n\r\n"));
    }
}

#[test]
fn trailers_go_behind_chunks() {
    let trailers: Headers = [
        ("x-sum".parse().unwrap(), http::HeaderValue::from_static("1")),
        ("host".parse().unwrap(), http::HeaderValue::from_static("2")),
    ]
    .into_iter()
    .collect();
    let mut harness = harness(Http::new());
    harness.feed(GET);
    harness
        .answer_last(Response::new(StatusCode::OK).body(Body::from("ab").with_trailers(trailers)))
        .unwrap();
    assert_eq!(
        text(&mut harness),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n"
    );
}

#[test]
fn bodies_are_collected() {
    let mut harness = harness(Http::new().max_body(10));
    harness.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(harness.output(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!((harness.needs(), harness.protocol().deadline()), (5, Deadline::Body));
    harness.feed(b"abcde");
    assert_eq!(harness.messages()[0].bytes().unwrap(), "abcde");
    harness.answer_last(Response::of(200)).unwrap();
    harness.output();
    let chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nfghij\r\n0\r\nX-A: b\r\n\r\n";
    harness.feed(chunked);
    let requests = harness.messages();
    assert_eq!(requests[0].bytes().unwrap(), "abcdefghij");
    assert_eq!(requests[0].trailers().unwrap().get_str("x-a"), Some("b"));
}

#[test]
fn too_long_bodies_are_refused_before_they_are_read() {
    for input in [
        &b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\na",
    ] {
        let mut harness = harness(Http::new().max_body(10));
        harness.feed(input);
        let answer = text(&mut harness);
        assert!(
            answer.starts_with("HTTP/1.1 413 Content Too Large\r\n")
                || answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"),
            "{answer}"
        );
        assert!(answer.contains("\r\nConnection: close\r\n") && harness.is_finished());
    }
}

fn poll(body: &mut Body) -> Poll<Option<Result<Bytes, BodyError>>> {
    body.poll_data(&mut Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn a_streamed_body_is_read_while_it_arrives() {
    let mut harness = harness(Http::new().on_request_head(|_| Admission::Stream));
    harness.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let mut requests = harness.messages();
    let body = requests[0].body_mut();
    assert_eq!((harness.output().len(), body.len()), (0, Some(5)), "nobody has asked for it yet");
    assert!(poll(body).is_pending());
    harness.decode();
    assert_eq!(harness.output(), "HTTP/1.1 100 Continue\r\n\r\n");
    harness.feed(b"abc");
    assert!(matches!(poll(body), Poll::Ready(Some(Ok(data))) if data == "abc"));
    harness.feed(b"deGET");
    assert!(matches!(poll(body), Poll::Ready(Some(Ok(data))) if data == "de"));
    assert!(matches!(poll(body), Poll::Ready(None)));
    harness.answer_last(Response::of(200)).unwrap();
    assert_eq!(
        (text(&mut harness).as_str(), harness.undecoded()),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &b"GET"[..])
    );
}

#[test]
fn a_full_reader_stops_the_decoder_and_an_abort_is_an_error() {
    let mut harness = harness(Http::new().on_request_head(|_| Admission::Stream));
    harness.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n");
    let mut requests = harness.messages();
    harness.feed(&[b'a'; 100_000]);
    assert!(harness.is_blocked());
    assert_eq!(harness.undecoded().len(), 100_000 - 64 * 1024);
    let body = requests[0].body_mut();
    assert!(poll(body).is_ready());
    harness.decode();
    assert!(!harness.is_blocked());
    harness.eof();
    while let Poll::Ready(Some(Ok(_))) = poll(body) {}
    assert!(matches!(*harness.ended(), Ended::Truncated));
}

#[test]
fn a_body_that_nobody_reads_is_thrown_away_or_ends_the_connection() {
    let stream = || Http::new().on_request_head(|_| Admission::Stream);
    let mut small = harness(stream());
    small.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n");
    drop(small.messages());
    small.answer_last(Response::of(200)).unwrap();
    assert_eq!(text(&mut small), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    small.feed(&[b'a'; 60_000]);
    small.feed(GET);
    assert_eq!(small.messages().len(), 1);

    let mut large = harness(stream());
    large.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n");
    drop(large.messages());
    large.answer_last(Response::of(200)).unwrap();
    assert!(text(&mut large).contains("Connection: close") && large.is_finished());

    let mut waiting = harness(stream());
    waiting.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n");
    drop(waiting.messages());
    waiting.answer_last(Response::of(200)).unwrap();
    assert!(text(&mut waiting).contains("Connection: close") && waiting.is_finished());
}

#[test]
fn rejected_requests_are_answered_and_the_next_one_is_read() {
    let mut harness = harness(Http::new().on_request_head(|head| match head.path() {
        "/no" => Admission::Reject(Response::of(403)),
        _ => Admission::Buffer(100),
    }));
    harness.feed(
        b"POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert_eq!(harness.messages().len(), 1);
    assert_eq!(text(&mut harness), "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    harness.answer_last(Response::of(200)).unwrap();
    harness.output();
    harness.feed(b"POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n");
    assert!(harness.is_finished());
}

#[test]
fn a_refusal_is_complete_and_comes_after_older_answers() {
    let mut harness = harness(Http::new().pipeline(4));
    harness.feed(GET);
    let first = harness.messages();
    harness.feed(GET);
    harness.feed(b"BAD\r\n\r\n");
    assert_eq!((harness.messages().len(), harness.output().len()), (1, 0));
    // Without a token: `send` is for the oldest.
    harness.send(Response::text("one")).unwrap();
    harness.send(Response::text("two")).unwrap();
    drop(first);
    let answers = text(&mut harness);
    let places: Vec<_> =
        ["one", "two", "400 Bad Request"].iter().map(|part| answers.find(part).unwrap()).collect();
    assert!(places.is_sorted());
    assert!(matches!(harness.error(), Some(Error::Refused { status: 400, .. })));
    assert!(harness.is_finished());
}

#[test]
fn answers_leave_in_the_order_of_their_requests() {
    let mut harness = harness(Http::new().pipeline(2));
    harness.feed(&[GET, GET, GET].concat());
    assert_eq!(harness.messages().len(), 2, "the third waits for room");
    harness.answer_last(Response::text("second")).unwrap();
    assert_eq!(harness.output(), "");
    harness.send(Response::text("first")).unwrap();
    let answers = text(&mut harness);
    assert!(answers.find("first").unwrap() < answers.find("second").unwrap());
    assert_eq!(harness.messages().len(), 1);
}

#[test]
fn failures_are_answered_without_their_text() {
    let mut harness = harness(Http::new());
    harness.feed(GET);
    assert_eq!(harness.failed(Failure::Error(&fmt::Error)), Recovery::Continue);
    assert_eq!(text(&mut harness), "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    harness.feed(GET);
    assert_eq!(harness.failed(Failure::Panic), Recovery::End);
    assert!(text(&mut harness).ends_with("Content-Length: 0\r\nConnection: close\r\n\r\n"));
}

#[test]
fn a_response_with_a_mistake_is_an_error_and_a_500() {
    let mut harness = harness(Http::new());
    harness.feed(GET);
    let injected = Response::text("x").header("x-a", "b\r\nc: d");
    assert!(matches!(harness.answer_last(injected), Err(Error::Field { .. })));
    assert_eq!(harness.failed(Failure::Error(&fmt::Error)), Recovery::Continue);
    assert!(text(&mut harness).starts_with("HTTP/1.1 500 "));
    assert!(harness.send(Response::text("x").header("x\n", "b")).is_err());
    harness.feed(GET);
    assert!(harness.answer_last(Response::of(101)).is_err(), "nothing was offered");
}

#[test]
fn the_decoder_stops_behind_an_upgrade() {
    let upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nraw bytes";
    let mut switched = harness(Http::new().pipeline(4));
    switched.feed(upgrade);
    assert_eq!((switched.messages().len(), switched.undecoded()), (1, &b"raw bytes"[..]));
    switched.answer_last(Response::of(101).header("upgrade", "echo")).unwrap();
    assert_eq!(
        text(&mut switched),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
    );
    assert!(switched.is_blocked() && !switched.is_finished());
    assert_eq!(switched.into_parts(), "raw bytes");

    let mut refused = harness(Http::new());
    refused.feed(&[&upgrade[..upgrade.len() - 9], GET].concat());
    refused.answer_last(Response::of(404)).unwrap();
    assert_eq!(refused.messages().len(), 2);
}

#[test]
fn connect_is_for_applications_that_take_it() {
    let connect = b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nxyz";
    let mut closed = harness(Http::new());
    closed.feed(connect);
    assert!(text(&mut closed).contains("\r\nAllow: ") && closed.is_finished());
    let mut open = harness(Http::new().connect(true));
    open.feed(connect);
    open.answer_last(Response::of(200)).unwrap();
    assert_eq!((text(&mut open).as_str(), open.undecoded()), ("HTTP/1.1 200 OK\r\n\r\n", &b"xyz"[..]));
}

#[test]
fn timeouts_answer_408_where_a_request_has_begun() {
    let mut head = harness(Http::new());
    head.feed(b"GET / HT");
    assert_eq!(head.timeout(), Deadline::Head);
    assert!(text(&mut head).starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    let mut body = harness(Http::new());
    body.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
    assert_eq!(body.timeout(), Deadline::Body);
    assert!(text(&mut body).starts_with("HTTP/1.1 408 "));
    let mut idle = harness(Http::new());
    idle.open();
    assert_eq!((idle.timeout(), idle.output().len()), (Deadline::Idle, 0));
}

#[test]
fn after_goodbye_the_next_answer_is_the_last() {
    let mut harness = harness(Http::new());
    harness.open();
    assert_eq!(harness.goodbye(), Goodbye::WhenPeerCloses);
    harness.feed(GET);
    harness.answer_last(Response::of(200)).unwrap();
    assert!(text(&mut harness).contains("Connection: close") && harness.is_finished());
}

#[test]
fn requests_before_a_broken_one_get_their_answers() {
    let mut harness = harness(Http::new().pipeline(2));
    harness.feed(&[GET, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"].concat());
    harness.eof();
    assert!(harness.is_open());
    harness.send(Response::text("one")).unwrap();
    assert!(text(&mut harness).ends_with("\r\n\r\none"));
    assert_eq!((harness.messages().len(), harness.ended()), (1, &Ended::Clean));
}

#[test]
fn one_empty_line_is_tolerated() {
    let mut one = harness(Http::new());
    one.feed(&[b"\r\n", GET].concat());
    assert_eq!(one.messages().len(), 1);
    let mut two = harness(Http::new());
    two.feed(&[b"\r\n\r\n", GET].concat());
    assert!(text(&mut two).starts_with("HTTP/1.1 400 "));
}

#[test]
fn an_idle_connection_owns_nothing() {
    let mut harness = harness(Http::new().on_request_head(|_| Admission::Stream));
    harness.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
    drop(harness.messages());
    harness.answer_last(Response::new(StatusCode::OK).body(Body::stream(Pieces(vec![Ok("a")])))).unwrap();
    assert!(harness.protocol().more.is_none() && harness.protocol().front.is_none());
    assert!(size_of::<Http>() <= 40, "{} bytes", size_of::<Http>());
}

#[test]
fn accesses_are_told_with_the_id_of_their_request() {
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = Arc::clone(&log);
    let http = Http::new().request_id(true).on_access(move |access| {
        let method = access.method.map_or("-", |method| method.as_str());
        let status = access.status.map_or(0, |status| status.as_u16());
        let line =
            format!("{method} {} {status} {} {}", access.target, access.body, access.id.unwrap_or("-"));
        told.lock().unwrap().push(line);
    });
    let new = |http: Http| harness(http);
    let mut harness = new(http);
    harness.feed(b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-Request-Id: r-1\r\n\r\n");
    assert_eq!(harness.messages()[0].id(), Some("r-1"));
    harness.answer_last(Response::text("four")).unwrap();
    assert!(text(&mut harness).contains("\r\nX-Request-Id: r-1\r\n"));
    assert!(harness.protocol().more.is_none(), "an idle connection remembers nothing");
    harness.feed(b"GET /s HTTP/1.1\r\nHost: x\r\nX-Request-Id: bad id\r\n\r\n");
    let id = harness.messages()[0].id().unwrap().to_owned();
    assert_eq!(id.len(), 32);
    let body = Body::stream(Pieces(vec![Ok("abc"), Ok("de")]));
    harness.answer_last(Response::new(StatusCode::OK).body(body)).unwrap();
    harness.feed(b"POST /p HTTP/1.1\r\nHost: x\r\nX-Request-Id: r-3\r\nTransfer-Encoding: chunked\r\n\r\nx");
    let mut second = new(harness.protocol().clone());
    second.feed(b"BAD\r\n\r\n");
    second = new(second.protocol().clone());
    second.feed(b"GET /gone HTTP/1.1\r\nHost: x\r\nX-Request-Id: r-4\r\n\r\n");
    drop(second);
    let log = log.lock().unwrap();
    assert!(log[2].starts_with("POST /p 400 ") && log[2].ends_with(" r-3"), "{}", log[2]);
    assert!(log[3].starts_with("-  400 "), "{}", log[3]);
    assert_eq!(
        *log,
        ["GET /a?b 200 4 r-1", &format!("GET /s 200 5 {id}"), &log[2], &log[3], "GET /gone 0 0 r-4"]
    );
}

#[cfg(feature = "gzip")]
#[test]
fn answers_are_compressed_as_the_client_likes() {
    let mut harness = harness(Http::new().compress(super::super::coding::Compression::default()));
    let get = |accept: &str| format!("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {accept}\r\n\r\n");
    harness.feed(get("gzip").as_bytes());
    harness.answer_last(Response::text("a".repeat(5000))).unwrap();
    let answer = harness.output();
    let head = String::from_utf8_lossy(&answer[..300.min(answer.len())]).into_owned();
    assert!(head.contains("\r\nContent-Encoding: gzip\r\n") && head.contains("\r\nVary: "), "{head}");
    assert!(answer.len() < 500);
    harness.feed(get("identity").as_bytes());
    harness.answer_last(Response::text("a".repeat(5000))).unwrap();
    let answer = text(&mut harness);
    assert!(answer.contains("Content-Length: 5000\r\n") && answer.contains("Vary: "), "{}", &answer[..200]);
    harness.feed(get("gzip").as_bytes());
    harness.answer_last(Response::text("short")).unwrap();
    assert!(text(&mut harness).ends_with("short"));
}

#[test]
fn content_is_reset_without_content() {
    let mut harness = harness(Http::new());
    harness.feed(GET);
    harness.answer_last(Response::text("hello").with_status(205)).unwrap();
    let answer = text(&mut harness);
    assert!(answer.contains("\r\nContent-Length: 0\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}
