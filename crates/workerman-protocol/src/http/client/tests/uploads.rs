//! Bodies on their way out, and answers that come before they are through.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::Stream;

use super::{Reader, client, pieces};
use crate::http::{Body, ClientRequest, HttpClient};
use crate::testing::Harness;
use crate::{Deadline, Protocol, Role};

type Queue = Arc<Mutex<VecDeque<Option<Result<Bytes, std::io::Error>>>>>;

/// A stream that yields what is put into its queue; `None` is its end.
struct Fed(Queue);

impl Stream for Fed {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.lock().unwrap().pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

fn fed() -> (Queue, Body) {
    let queue = Queue::default();
    (Arc::clone(&queue), Body::stream(Fed(queue)))
}

fn put(queue: &Queue, piece: &'static str) {
    queue.lock().unwrap().push_back(Some(Ok(Bytes::from_static(piece.as_bytes()))));
}

fn upload(body: Body) -> Harness<HttpClient> {
    let mut harness = client();
    harness.send(ClientRequest::post("http://h/", body)).unwrap();
    harness
}

const HEAD: &str = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";

#[test]
fn a_body_leaves_as_it_comes() {
    let (queue, body) = fed();
    let mut harness = upload(body);
    assert_eq!(harness.output(), HEAD);
    assert_eq!(harness.protocol().deadline(), Deadline::None, "the server is not asked for anything yet");
    put(&queue, "abc");
    harness.decode();
    assert_eq!(harness.output(), "3\r\nabc\r\n");
    put(&queue, "de");
    queue.lock().unwrap().push_back(None);
    harness.pump();
    assert_eq!(harness.output(), "2\r\nde\r\n0\r\n\r\n", "also while nothing may be decoded");
    harness.decode();
    assert_eq!(harness.protocol().deadline(), Deadline::Body);
}

#[test]
fn at_most_64_kib_are_put_at_once_and_none_onto_a_full_queue() {
    let large = vec![b'x'; 200_000];
    let mut harness = upload(large.clone().into());
    let head = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 200000\r\n\r\n".len();
    let mut sent = harness.output().to_vec();
    assert_eq!(sent.len(), head + 64 * 1024);
    assert!(harness.is_blocked());
    harness.set_queued(64 * 1024);
    harness.decode();
    assert!(harness.is_blocked() && harness.output().is_empty());
    harness.set_queued(0);
    for _ in 0..4 {
        harness.decode();
        sent.extend(harness.output());
    }
    assert_eq!(&sent[head..], large);
    assert!(!harness.is_blocked(), "now the response is awaited");
}

#[test]
fn a_body_keeps_its_announced_length_or_fails() {
    let sized = |length: u64, parts: &[&'static str]| {
        ClientRequest::post("http://h/", pieces(parts)).header("content-length", length)
    };
    for (request, got) in [
        (sized(4, &["abc"]), "3 bytes instead of the 4"),
        (sized(2, &["abc"]), "3 bytes instead of the 2"),
        (sized(3, &["abc", "d"]), "4 bytes instead of the 3"),
        (sized(0, &["a"]), "1 bytes instead of the 0"),
    ] {
        let mut harness = client();
        harness.send(request).unwrap();
        let ended = harness.ended().to_string();
        assert!(ended.contains(got), "{ended}");
        assert!(!harness.is_finished());
    }
    let mut harness = client();
    harness.send(sized(3, &["ab", "c"])).unwrap();
    assert!(harness.is_open() && harness.output().ends_with(b"\r\n\r\nabc"));
}

#[test]
fn a_body_that_fails_ends_the_connection_without_a_last_chunk() {
    let (queue, body) = fed();
    let mut harness = upload(body);
    put(&queue, "abc");
    queue.lock().unwrap().push_back(Some(Err(std::io::Error::other("disk on fire"))));
    harness.decode();
    assert_eq!(harness.output(), format!("{HEAD}3\r\nabc\r\n"));
    assert!(harness.ended().to_string().contains("disk on fire"), "{}", harness.ended());
}

#[test]
fn a_refusal_stops_the_upload_and_is_delivered() {
    let (queue, body) = fed();
    let mut harness = upload(body);
    harness.output();
    harness.feed(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    let mut reader = Reader::default();
    reader.read(&mut harness);
    put(&queue, "abc");
    harness.decode();
    assert_eq!(harness.output(), "", "nothing more is sent");
    let outcome = reader.outcome(&harness);
    assert_eq!((outcome.whole().status, outcome.reusable(), outcome.finished), (413, Some(false), true));
}

#[test]
fn a_server_may_answer_while_it_reads() {
    let (queue, body) = fed();
    let mut harness = upload(body);
    let mut reader = Reader::default();
    harness.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in ["ab", "cd"] {
        put(&queue, piece);
        harness.decode();
        assert!(harness.output().ends_with(format!("2\r\n{piece}\r\n").as_bytes()));
        harness.feed(format!("2\r\n{piece}\r\n").as_bytes());
        reader.read(&mut harness);
    }
    queue.lock().unwrap().push_back(None);
    harness.decode();
    assert!(harness.output().ends_with(b"0\r\n\r\n"));
    harness.feed(b"0\r\n\r\n");
    reader.read(&mut harness);
    let outcome = reader.outcome(&harness);
    assert_eq!((outcome.whole().body.as_slice(), outcome.reusable()), (&b"abcd"[..], Some(true)));
}

#[test]
fn an_answer_that_is_complete_before_the_request_ends_the_connection() {
    let (_queue, body) = fed();
    let mut harness = upload(body);
    harness.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut reader = Reader::default();
    reader.read(&mut harness);
    let outcome = reader.outcome(&harness);
    assert_eq!((outcome.whole().body.as_slice(), outcome.reusable()), (&b"ok"[..], Some(false)));
    assert!(outcome.finished);
}

fn expecting() -> Harness<HttpClient> {
    let expecting = HttpClient::new().expect_continue(Duration::from_secs(1));
    let mut harness = Harness::new(expecting, Instant::now()).role(Role::Client);
    harness.open();
    harness.advance(Duration::from_millis(2500));
    harness.send(ClientRequest::post("http://h/", pieces(&["abc"]))).unwrap();
    let head = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n";
    assert_eq!(harness.output(), head);
    harness
}

#[test]
fn a_server_that_is_asked_first_gets_the_body_when_it_agrees() {
    let mut harness = expecting();
    harness.feed(b"HTTP/1.1 102 Processing\r\n\r\n");
    assert_eq!(harness.output(), "");
    harness.feed(b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(harness.output(), "3\r\nabc\r\n0\r\n\r\n");
}

#[test]
fn a_server_that_is_asked_first_and_says_nothing_gets_the_body_in_time() {
    let mut harness = expecting();
    harness.advance(Duration::from_millis(999));
    harness.decode();
    assert_eq!(harness.output(), "");
    harness.advance(Duration::from_millis(1));
    harness.decode();
    assert_eq!(harness.output(), "3\r\nabc\r\n0\r\n\r\n");
}

#[test]
fn a_server_that_is_asked_first_and_declines_never_gets_the_body() {
    for status in ["417 No", "200 OK"] {
        let mut harness = expecting();
        harness.feed(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        harness.advance(Duration::from_secs(5));
        harness.decode();
        assert_eq!(harness.output(), "");
        assert!(harness.is_finished(), "the server may wait for it still");
    }
}

#[test]
fn what_is_in_memory_is_sent_without_asking() {
    let expecting = HttpClient::new().expect_continue(Duration::from_secs(1));
    let mut harness = Harness::new(expecting, Instant::now()).role(Role::Client);
    harness.send(ClientRequest::post("http://h/", "abc")).unwrap();
    assert!(harness.output().ends_with(b"content-length: 3\r\n\r\nabc"));
}
