//! Tests of which responses are compressed, and how.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use super::*;

/// Some tests count the streams of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

const TEXT: &str = "all work and no play makes jack a dull boy\n";

fn long() -> String {
    TEXT.repeat(100)
}

fn gzip(response: Response) -> Response {
    compress(response, Coding::Gzip, false, &Compression::default())
}

fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get_str(name)
}

fn unpacked(response: &mut Response) -> Vec<u8> {
    let packed = collect(response.body_mut()).unwrap();
    decode_bytes(&packed, &[Coding::Gzip], 1 << 30).unwrap().to_vec()
}

#[test]
fn a_body_in_memory_is_compressed_at_once() {
    let mut response = gzip(Response::text(long()).header("etag", "\"7\"").header("vary", "origin"));
    assert_eq!(field(&response, "content-encoding"), Some("gzip"));
    assert_eq!(field(&response, "etag"), Some("W/\"7\""));
    let vary: Vec<_> = response.headers().get_all("vary").map(|value| value.to_str().unwrap()).collect();
    assert_eq!(vary, ["origin", "accept-encoding"]);
    assert_eq!(response.content_type(), Some("text/plain; charset=utf-8"));
    assert!(response.body_ref().as_bytes().unwrap().len() < 200);
    assert_eq!(unpacked(&mut response), long().as_bytes());
}

#[test]
fn trailers_stay_behind_the_body() {
    let trailers: Headers =
        [(http::header::EXPIRES, http::HeaderValue::from_static("x"))].into_iter().collect();
    let small = gzip(Response::text(long()).trailers(trailers.clone()));
    assert!(field(&small, "content-encoding").is_some());
    assert_eq!(small.body_ref().trailers(), Some(&trailers));
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut streamed = gzip(Response::text(body(vec![ready("x")]).with_trailers(trailers.clone())));
    assert_eq!(unpacked(&mut streamed), b"x");
    assert_eq!(streamed.body_ref().trailers(), Some(&trailers));
}

#[test]
fn what_should_not_be_compressed_is_left_alone() {
    let untouched = |response: Response| {
        let length = response.body_ref().len();
        let fields = response.headers().len();
        let response = gzip(response);
        assert_eq!((response.body_ref().len(), response.headers().len()), (length, fields), "{response:?}");
    };
    untouched(Response::text(TEXT));
    untouched(Response::bytes(long()));
    untouched(Response::new(http::StatusCode::OK).body(long()));
    untouched(Response::text(long()).header("content-type", "image/png"));
    untouched(Response::text(long()).header("content-encoding", "br"));
    untouched(Response::text(long()).header("content-range", "bytes 0-9/10"));
    untouched(Response::text(long()).header("repr-digest", "sha-256=:x:"));
    untouched(Response::text(long()).header("cache-control", "private, No-Transform"));
    for status in [101, 204, 206, 304] {
        untouched(Response::text(long()).with_status(status));
    }
    untouched(Response::events(Nothing));
    assert!(gzip(Response::text(long()).header("a", "\n")).error().is_some());
}

struct Nothing;

impl Stream for Nothing {
    type Item = crate::http::sse::Event;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

#[test]
fn a_client_that_accepts_nothing_is_told_on_what_it_depends() {
    let plain = compress(Response::text(long()), Coding::Identity, false, &Compression::default());
    assert_eq!((field(&plain, "vary"), field(&plain, "content-encoding")), (Some("accept-encoding"), None));
    for said in ["*", "Origin, Accept-Encoding"] {
        let plain = gzip(Response::text(long()).header("vary", said));
        assert_eq!(plain.headers().get_all("vary").count(), 1);
    }
    // It would have got larger.
    let noise = gzip(Response::text(noise(5000)).header("etag", "\"7\""));
    assert_eq!((field(&noise, "vary"), field(&noise, "content-encoding")), (Some("accept-encoding"), None));
    assert_eq!((field(&noise, "etag"), noise.body_ref().len()), (Some("\"7\""), Some(5000)));
}

#[test]
fn the_answer_to_head_has_the_fields_of_get() {
    let whole = |head| compress(Response::text(long()), Coding::Gzip, head, &Compression::default());
    let (get, head) = (whole(false), whole(true));
    assert_eq!((get.headers(), get.body_ref().len()), (head.headers(), head.body_ref().len()));
    // Of a body that was not even made, the length cannot be known.
    let told = |length: &str| {
        let response = Response::text("").header("content-length", length);
        compress(response, Coding::Gzip, true, &Compression::default())
    };
    let large = told("5000");
    assert_eq!(
        (field(&large, "content-encoding"), field(&large, "vary")),
        (Some("gzip"), Some("accept-encoding"))
    );
    assert_eq!((field(&large, "content-length"), large.body_ref().len()), (None, None));
    assert_eq!(field(&told("10"), "content-length"), Some("10"));
    assert!(compress(Response::text(""), Coding::Gzip, true, &Compression::default()).headers().is_empty());
}

#[test]
fn a_stream_is_compressed_as_it_comes_and_flushed_where_it_pauses() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let steps =
        vec![ready("one "), ready("two "), Poll::Pending, Poll::Pending, ready("three"), Poll::Pending];
    let mut response = gzip(Response::text(body(steps)));
    assert_eq!(field(&response, "content-encoding"), Some("gzip"));
    let mut decoder = Decoder::new(Coding::Gzip, 100).unwrap();
    let mut unpack = |polled: Poll<Option<Result<Bytes, BodyError>>>| match polled {
        Poll::Ready(Some(data)) => {
            let mut out = Vec::new();
            decoder.decode(&mut &data.unwrap()[..], &mut out).unwrap();
            String::from_utf8(out).unwrap()
        }
        Poll::Ready(None) => "end".into(),
        Poll::Pending => "pending".into(),
    };
    assert_eq!(unpack(poll(response.body_mut())), "one two ");
    assert_eq!(unpack(poll(response.body_mut())), "pending", "there is nothing to flush");
    assert_eq!(unpack(poll(response.body_mut())), "three");
    assert_eq!(unpack(poll(response.body_mut())), "", "the end of the coding");
    assert_eq!(unpack(poll(response.body_mut())), "end");
    assert!(decoder.finish().is_ok());
}

#[test]
fn a_stream_that_fails_does_not_end() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let steps = vec![ready("one"), Poll::Ready(Err(std::io::ErrorKind::Other.into()))];
    let mut response = gzip(Response::text(body(steps)));
    assert!(matches!(collect(response.body_mut()), Err(BodyError::Source(_))));
    assert!(matches!(poll(response.body_mut()), Poll::Ready(None)));
}

#[test]
fn a_large_body_is_compressed_in_turns() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let large = TEXT.repeat(50_000);
    let mut response = gzip(Response::text(large.clone()));
    assert!(response.body_ref().as_bytes().is_none() && response.body_ref().len().is_none());
    let count = Arc::<Count>::default();
    let waker = Waker::from(Arc::clone(&count));
    let mut packed = Vec::new();
    let mut pauses = 0;
    loop {
        match response.body_mut().poll_data(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(data)) => packed.extend_from_slice(&data.unwrap()),
            Poll::Ready(None) => break,
            Poll::Pending => pauses += 1,
        }
    }
    assert_eq!(count.0.load(Ordering::Relaxed), pauses, "each pause asks to be polled again");
    assert!(packed.len() < large.len() / 50);
    assert_eq!(decode_bytes(&packed, &[Coding::Gzip], large.len()).unwrap(), large);
}

#[test]
fn there_is_a_limit_on_streams() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = Compression::default().max_streams(1);
    let stream = || compress(Response::text(body(vec![ready("x")])), Coding::Gzip, false, &settings);
    let first = stream();
    assert!(field(&first, "content-encoding").is_some());
    let mut second = stream();
    assert_eq!((field(&second, "content-encoding"), field(&second, "vary")), (None, Some("accept-encoding")));
    assert_eq!(collect(second.body_mut()).unwrap(), b"x");
    drop(first);
    assert!(field(&stream(), "content-encoding").is_some());
}

#[test]
fn settings_are_followed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = Compression::default().min_size(3).events(true).level(Coding::Gzip, 9);
    let with = |response: Response| {
        field(&compress(response, Coding::Gzip, false, &settings), "content-encoding").is_some()
    };
    assert!(
        with(Response::text("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")) && !with(Response::text("aa"))
    );
    assert!(with(Response::events(Nothing)));
    assert!(!with(Response::text(Body::sized(2, Script(vec![ready("ab")].into_iter())))));
    let request = Request::builder("GET", "/").header("accept-encoding", "gzip").build().unwrap();
    assert_eq!(settings.choose(&request), Coding::Gzip);
    assert_eq!(settings.clone().offer(&[]).choose(&request), Coding::Identity);
}
