//! Tests of bodies and of the channel below them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::channel::AHEAD;
use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll(body: &mut Body, waker: &Waker) -> Poll<Option<Result<Bytes, BodyError>>> {
    body.poll_data(&mut Context::from_waker(waker))
}

fn fed(left: Option<u64>) -> (Feed, Body, Arc<Count>, Arc<Count>) {
    let (writer, reader) = (Arc::<Count>::default(), Arc::<Count>::default());
    let (feed, incoming) = channel(left, Waker::from(Arc::clone(&writer)));
    (feed, Body::incoming(incoming), writer, reader)
}

#[test]
fn pieces_come_in_order_and_then_the_trailers() {
    let (feed, mut body, writer, reader) = fed(None);
    let waker = Waker::from(Arc::clone(&reader));
    assert_eq!(feed.room(), Room::Unasked(AHEAD));
    assert!(poll(&mut body, &waker).is_pending());
    assert_eq!((feed.room(), writer.0.load(Ordering::Relaxed)), (Room::Bytes(AHEAD), 1));
    feed.push("a".into());
    feed.push("b".into());
    assert_eq!(reader.0.load(Ordering::Relaxed), 1);
    let trailers: Headers = [(http::header::ETAG, http::HeaderValue::from_static("x"))].into_iter().collect();
    feed.finish(Some(trailers.clone()));
    assert!(matches!(poll(&mut body, &waker), Poll::Ready(Some(Ok(data))) if data == "a"));
    assert!(matches!(poll(&mut body, &waker), Poll::Ready(Some(Ok(data))) if data == "b"));
    assert!(body.trailers().is_none());
    assert!(matches!(poll(&mut body, &waker), Poll::Ready(None)));
    assert_eq!(body.trailers(), Some(&trailers));
}

#[test]
fn a_full_channel_wakes_its_writer_when_it_has_room() {
    let (feed, mut body, writer, reader) = fed(Some(AHEAD as u64 + 10));
    let waker = Waker::from(reader);
    feed.push(vec![0; AHEAD].into());
    feed.push(vec![0; 10].into());
    assert_eq!(feed.room(), Room::Unasked(0));
    assert_eq!(body.len(), Some(AHEAD as u64 + 10));
    assert!(poll(&mut body, &waker).is_ready());
    assert_eq!((feed.room(), writer.0.load(Ordering::Relaxed)), (Room::Bytes(AHEAD - 10), 1));
    assert!(poll(&mut body, &waker).is_ready());
    assert_eq!(writer.0.load(Ordering::Relaxed), 1, "there was room: nobody waited");
}

#[test]
fn an_abort_is_an_error_and_a_dropped_reader_is_noticed() {
    let (feed, mut body, _, reader) = fed(Some(3));
    let waker = Waker::from(reader);
    feed.push("a".into());
    drop(feed);
    assert!(matches!(poll(&mut body, &waker), Poll::Ready(Some(Ok(_)))));
    assert!(matches!(poll(&mut body, &waker), Poll::Ready(Some(Err(BodyError::Aborted)))));

    let (feed, body, writer, _) = fed(None);
    drop(body);
    assert_eq!((feed.room(), writer.0.load(Ordering::Relaxed)), (Room::Deaf, 1));
}
