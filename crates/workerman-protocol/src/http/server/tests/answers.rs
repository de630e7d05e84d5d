//! Tests of what an answer says: the end of the connection, its fields, its status.

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
