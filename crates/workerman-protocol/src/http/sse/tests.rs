//! Tests of server-sent events, both ways.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use proptest::prelude::*;

use super::super::ReadError;
use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn new() -> (Arc<Self>, Waker) {
        let count = Arc::<Self>::default();
        (Arc::clone(&count), Waker::from(count))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn text(event: &Event) -> String {
    String::from_utf8(event.to_bytes().unwrap().to_vec()).unwrap()
}

fn next<S: Stream>(stream: &mut Pin<Box<S>>, waker: &Waker) -> Poll<Option<S::Item>> {
    stream.as_mut().poll_next(&mut Context::from_waker(waker))
}

/// A stream that says what its test puts into it.
struct Script<T>(std::vec::IntoIter<Poll<T>>);

fn script<T>(steps: Vec<Poll<T>>) -> Script<T> {
    Script(steps.into_iter())
}

impl<T> Unpin for Script<T> {}

impl<T> Stream for Script<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        match self.0.next() {
            Some(Poll::Ready(item)) => Poll::Ready(Some(item)),
            Some(Poll::Pending) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

#[test]
fn parts_have_their_order() {
    let event = Event::new("d").id("i").event("e").retry(Duration::from_millis(1500)).comment("c");
    assert_eq!(text(&event), ": c\nevent: e\nid: i\nretry: 1500\ndata: d\n\n");
    assert_eq!(text(&Event::default()), "");
    assert_eq!(text(&Event::default().comment("ping")), ": ping\n\n");
    assert_eq!(text(&Event::default().id("")), "id: \n\n");
    assert_eq!(text(&Event::new("")), "data: \n\n");
    assert_eq!(text(&"a".into()), text(&Event::new("a")));
    #[cfg(feature = "serde")]
    assert_eq!(text(&Event::json(["a\nb"]).unwrap()), "data: [\"a\\nb\"]\n\n");
}

#[test]
fn every_line_of_a_text_is_a_line() {
    assert_eq!(text(&Event::new("a\nb\r\nc\rd")), "data: a\ndata: b\ndata: c\ndata: d\n\n");
    assert_eq!(text(&Event::new("\n\r\r\n")), "data: \ndata: \ndata: \ndata: \n\n");
    assert_eq!(text(&Event::default().comment("a\rdata: b")), ": a\n: data: b\n\n");
}

#[test]
fn names_and_ids_have_one_line() {
    for bad in ["a\nb", "a\r", "\n"] {
        assert_eq!(Event::new("").event(bad).to_bytes(), Err(EventError::Name));
        assert_eq!(Event::new("").id(bad).to_bytes(), Err(EventError::Id));
    }
    assert_eq!(Event::new("").id("a\0").to_bytes(), Err(EventError::Id));
    assert!(Event::new("\0").event("a\0").to_bytes().is_ok());
}

#[test]
fn events_leave_as_they_come() {
    let steps = ["a", "b"].map(|text| Poll::Ready(Event::new(text))).into_iter();
    let steps = steps.chain([Poll::Pending, Poll::Ready(Event::default()), Poll::Ready(Event::new("c"))]);
    let mut response = Response::events(script(steps.collect()));
    assert_eq!(response.content_type(), Some("text/event-stream"));
    assert_eq!(response.headers().get_str("cache-control"), Some("no-cache"));
    let (_, waker) = Count::new();
    let mut cx = Context::from_waker(&waker);
    let mut polled = || response.body_mut().poll_data(&mut cx).map(|data| data.map(Result::unwrap));
    assert_eq!(polled(), Poll::Ready(Some("data: a\n\ndata: b\n\n".into())), "what is there leaves together");
    assert_eq!(polled(), Poll::Ready(Some("data: c\n\n".into())));
    assert_eq!(polled(), Poll::Ready(None));
}

#[test]
fn a_source_that_is_always_ready_lets_others_in() {
    let many = (0..1000).map(|_| Poll::Ready(Event::new("x")));
    let mut body = Response::events(script(many.collect())).into_body();
    let (woken, waker) = Count::new();
    let mut cx = Context::from_waker(&waker);
    let mut sizes = Vec::new();
    while let Poll::Ready(Some(Ok(data))) = body.poll_data(&mut cx) {
        sizes.push(data.len() / "data: x\n\n".len());
    }
    assert_eq!((sizes.iter().sum::<usize>(), sizes[0]), (1000, MOST_TOGETHER));

    // Nothing but nothing: it asks to be polled again.
    let mut body =
        Response::events(script((0..100).map(|_| Poll::Ready(Event::default())).collect())).into_body();
    assert!(body.poll_data(&mut cx).is_pending());
    assert_eq!(woken.count(), 1);
    assert!(matches!(body.poll_data(&mut cx), Poll::Ready(None)));
}

#[test]
fn an_event_that_cannot_be_sent_breaks_the_body_off_behind_the_others() {
    let events =
        vec![Poll::Ready(Event::new("a")), Poll::Ready(Event::new("b").id("\n")), Poll::Ready("c".into())];
    let mut body = Response::events(script(events)).into_body();
    let (_, waker) = Count::new();
    let mut cx = Context::from_waker(&waker);
    assert!(matches!(body.poll_data(&mut cx), Poll::Ready(Some(Ok(data))) if data == "data: a\n\n"));
    assert!(matches!(body.poll_data(&mut cx), Poll::Ready(Some(Err(_)))));
    assert!(matches!(body.poll_data(&mut cx), Poll::Ready(None)));
}

#[test]
fn a_quiet_stream_says_something_at_every_tick() {
    use Poll::{Pending, Ready};
    let events = vec![Pending, Ready("a"), Pending, Pending, Pending, Ready("b")];
    let ticks = vec![Ready(()), Ready(()), Pending, Ready(())];
    let mut stream = Box::pin(keep_alive(script(events), script(ticks)));
    let (_, waker) = Count::new();
    let comment = Event::default().comment("keep-alive");
    assert_eq!(next(&mut stream, &waker), Ready(Some(comment.clone())));
    assert_eq!(next(&mut stream, &waker), Ready(Some("a".into())));
    // The tick behind an event only marks that it was.
    assert_eq!(next(&mut stream, &waker), Pending);
    assert_eq!(next(&mut stream, &waker), Ready(Some(comment)));
    // No more ticks, but the events go on.
    assert_eq!(next(&mut stream, &waker), Pending);
    assert_eq!(next(&mut stream, &waker), Ready(Some("b".into())));
    assert_eq!(next(&mut stream, &waker), Ready(None));
}

#[test]
fn a_channel_is_bounded_and_wakes_both_ways() {
    let (sender, events) = channel(2);
    let mut events = Box::pin(events);
    let (reads, reader) = Count::new();
    assert!(next(&mut events, &reader).is_pending());
    sender.try_send("a").unwrap();
    assert_eq!(reads.count(), 1);
    sender.clone().try_send("b").unwrap();
    assert_eq!(sender.try_send("c"), Err(EventError::Full));
    assert_eq!(sender.try_send(Event::new("").id("\r")), Err(EventError::Id));

    let (writes, writer) = Count::new();
    let mut cx = Context::from_waker(&writer);
    {
        let mut waiting = pin!(sender.send("c"));
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(next(&mut events, &reader), Poll::Ready(Some("a".into())));
        assert_eq!(writes.count(), 1, "once, however often it was polled");
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
    }
    // One that gives up leaves no place behind.
    assert!(pin!(sender.send("d")).poll(&mut cx).is_pending());
    assert_eq!(next(&mut events, &reader), Poll::Ready(Some("b".into())));
    assert_eq!(writes.count(), 1);
    drop(sender);
    assert_eq!(next(&mut events, &reader), Poll::Ready(Some("c".into())));
    assert_eq!(next(&mut events, &reader), Poll::Ready(None));
}

#[test]
fn a_sender_notices_that_its_client_left() {
    let (sender, response) = Response::event_channel(1);
    sender.try_send("a").unwrap();
    let (writes, writer) = Count::new();
    let mut cx = Context::from_waker(&writer);
    let mut waiting = pin!(sender.send("b"));
    let mut gone = pin!(sender.gone());
    assert!(waiting.as_mut().poll(&mut cx).is_pending() && gone.as_mut().poll(&mut cx).is_pending());
    drop(response);
    assert_eq!(writes.count(), 2);
    assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(Err(EventError::Gone)));
    assert_eq!(gone.as_mut().poll(&mut cx), Poll::Ready(()));
    assert!(sender.is_gone() && sender.try_send("c") == Err(EventError::Gone));
}

#[test]
fn the_last_sender_ends_the_response() {
    let (sender, events) = channel(0);
    let mut events = Box::pin(events);
    let (reads, reader) = Count::new();
    assert!(next(&mut events, &reader).is_pending());
    let other = sender.clone();
    drop(sender);
    assert_eq!(reads.count(), 0);
    other.try_send("a").unwrap();
    drop(other);
    assert_eq!(next(&mut events, &reader), Poll::Ready(Some("a".into())));
    assert_eq!(next(&mut events, &reader), Poll::Ready(None));
}

#[test]
fn a_client_says_what_it_got_last() {
    use super::super::Request;
    let request = Request::builder("GET", "/").header("Last-Event-ID", "7 \u{e9}").build().unwrap();
    assert_eq!(request.last_event_id(), Some("7 \u{e9}"));
}

/// All events of a stream that comes in pieces of `step` bytes: name, data, last id.
fn read(stream: &[u8], step: usize) -> Vec<(String, String, String)> {
    let mut decoder = EventDecoder::new(1 << 16);
    let mut messages = Vec::new();
    for mut piece in stream.chunks(step) {
        while let Some(message) = decoder.decode(&mut piece).unwrap() {
            messages.push((message.event, message.data, message.last_event_id));
        }
        assert!(piece.is_empty());
    }
    messages
}

#[test]
fn streams_are_read_by_the_rules_wherever_they_are_cut() {
    let message = |data: &str, id: &str| ("message".to_owned(), data.to_owned(), id.to_owned());
    let named = |event: &str, data: &str| (event.to_owned(), data.to_owned(), String::new());
    for (stream, expected) in [
        (&b"data: a\n\n"[..], vec![message("a", "")]),
        (b"\xef\xbb\xbfdata: a\r\n\r\ndata:b\r\r", vec![message("a", ""), message("b", "")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", vec![message("b", "")]),
        (b"\xef\xbbdata: a\n\ndata: b\n\n", vec![message("b", "")]),
        (b"data:  a \ndata\ndata:\n\n", vec![message(" a \n\n", "")]),
        (b"data\n\n", vec![message("", "")]),
        (b"event: x\ndata: 1\n\nevent: y\n\ndata: 2\n\n", vec![named("x", "1"), message("2", "")]),
        (b"event: x\nevent:\ndata: 1\n\n", vec![message("1", "")]),
        // An id stays until the next; one with NUL is none; an event without data sets it all the same.
        (
            b"id: 1\ndata: a\n\ndata: b\n\nid: x\0y\ndata: c\n\nid: 2\n\ndata: d\n\nid\ndata: e\n\n",
            vec![
                message("a", "1"),
                message("b", "1"),
                message("c", "1"),
                message("d", "2"),
                message("e", ""),
            ],
        ),
        // Comments, unknown and misspelled fields, names with spaces.
        (b":data: a\n: b\ndata : c\n data: d\nDATA: e\nother: f\n:\n\ndata: g\n\n", vec![message("g", "")]),
        (b"data: a\xff\n\n", vec![message("a\u{fffd}", "")]),
        // Not complete.
        (b"data: a\n\ndata: b\n", vec![message("a", "")]),
        (b"data: a\n\ndata: b", vec![message("a", "")]),
    ] {
        for step in 1..=stream.len() {
            assert_eq!(read(stream, step), expected, "{} by {step}", stream.escape_ascii());
        }
    }
}

#[test]
fn the_wait_before_coming_back_is_a_number() {
    let retry = |stream: &[u8]| {
        let mut decoder = EventDecoder::new(100);
        assert_eq!(decoder.decode(&mut &stream[..]), Ok(None));
        decoder.retry()
    };
    assert_eq!(retry(b"retry: 1500\n"), Some(Duration::from_millis(1500)));
    assert_eq!(
        retry(b"retry: 1500\nretry: x\nretry: +1\nretry\nretry: -1\n"),
        Some(Duration::from_millis(1500))
    );
    assert_eq!(retry(b"retry: 99999999999999999999999\n"), None);
}

#[test]
fn an_event_has_a_limit() {
    let read = |stream: &[u8], step: usize| {
        let mut decoder = EventDecoder::new(20);
        stream.chunks(step).try_for_each(|mut piece| {
            while decoder.decode(&mut piece)?.is_some() {}
            Ok(())
        })
    };
    for step in [1, 7, 100] {
        assert_eq!(read(b"data: 12345678901234\n\ndata: 12345678901234\n\n", step), Ok(()));
        let over = Err(EventError::TooLong { limit: 20 });
        assert_eq!(read(b"data: 123456789012345\n\n", step), over);
        assert_eq!(read(b"data: 12345\ndata: 12345\ndata: 123\n\n", step), over);
        assert_eq!(read(b":                    ", step), over);
        assert_eq!(read(b"id: 0123456789\ndata: 012345\n\n", step), over);
    }
}

#[test]
fn a_response_is_read_event_by_event() {
    let (_, waker) = Count::new();
    let mut cx = Context::from_waker(&waker);
    let events =
        vec![Poll::Ready(Event::new("a").id("1")), Poll::Pending, Poll::Ready(Event::new("b").event("x"))];
    let mut reader = Response::events(script(events)).into_events();
    let mut polled = || pin!(reader.next()).poll(&mut cx).map(|next| next.map(Result::unwrap));
    assert!(
        matches!(polled(), Poll::Ready(Some(message)) if message.data == "a" && message.last_event_id == "1")
    );
    assert!(matches!(polled(), Poll::Ready(Some(message)) if message.data == "b" && message.event == "x"));
    assert_eq!(polled(), Poll::Ready(None));
    assert_eq!(reader.last_event_id(), "1");

    let long = "x".repeat(Response::MAX_EVENT + 1);
    let mut reader = Response::text(format!("data: {long}\n\ndata: a\n\n")).into_events();
    let mut polled = || pin!(reader.next()).poll(&mut cx);
    assert!(matches!(polled(), Poll::Ready(Some(Err(ReadError::Event(EventError::TooLong { .. }))))));
    assert!(matches!(polled(), Poll::Ready(None)), "nothing comes behind an error");
}

fn lines_with_lf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

proptest! {
    #[test]
    fn what_is_sent_is_received(
        events in proptest::collection::vec(
            (
                proptest::option::of("[^\r\n]{0,8}"),
                proptest::option::of("[^\r\n\0]{0,8}"),
                proptest::option::of("(\r|\n|:| |data|[^\r\n]){0,8}"),
                proptest::option::of("(\r|\n|:| |data|[^\r\n]){0,12}"),
            ),
            0..6,
        ),
        step in 1_usize..40,
    ) {
        let mut stream = BytesMut::new();
        let mut expected = Vec::new();
        let mut last = String::new();
        for (name, id, comment, data) in events {
            let mut event = Event { comment: comment.map(Into::into), ..Event::default() };
            if let Some(name) = &name {
                event = event.event(name.clone());
            }
            if let Some(id) = id {
                last.clone_from(&id);
                event = event.id(id);
            }
            if let Some(data) = data {
                let name = name.filter(|name| !name.is_empty()).unwrap_or("message".into());
                expected.push((name, lines_with_lf(&data), last.clone()));
                event = event.data(data);
            }
            event.encode(&mut stream).unwrap();
        }
        prop_assert_eq!(read(&stream, step), expected);
    }

    #[test]
    fn it_does_not_matter_where_a_stream_is_cut(
        stream in "(data|id|event|retry|:|: |\r|\n|\r\n|\u{feff}|x|\0){0,60}",
        step in 1_usize..10,
    ) {
        prop_assert_eq!(read(stream.as_bytes(), step), read(stream.as_bytes(), usize::MAX));
    }
}
