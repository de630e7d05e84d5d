//! Tests of codings: there and back, and limits.

#[cfg(feature = "gzip")]
mod responses;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use proptest::prelude::*;

use super::super::{BadRequest, Body, BodyError, Request};
#[cfg(feature = "gzip")]
use super::super::{Headers, Response};
use super::*;

/// A stream that says what its test puts into it.
struct Script(std::vec::IntoIter<Poll<Result<Bytes, std::io::Error>>>);

impl Stream for Script {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.next() {
            Some(Poll::Ready(item)) => Poll::Ready(Some(item)),
            Some(Poll::Pending) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

fn body(steps: Vec<Poll<Result<Bytes, std::io::Error>>>) -> Body {
    Body::stream(Script(steps.into_iter()))
}

fn ready(data: impl Into<Bytes>) -> Poll<Result<Bytes, std::io::Error>> {
    Poll::Ready(Ok(data.into()))
}

fn poll(body: &mut Body) -> Poll<Option<Result<Bytes, BodyError>>> {
    body.poll_data(&mut Context::from_waker(Waker::noop()))
}

/// All that a body says, passing over its pauses, of which there may be a thousand.
fn collect(body: &mut Body) -> Result<Vec<u8>, BodyError> {
    let mut all = Vec::new();
    let mut pauses = 0;
    loop {
        match poll(body) {
            Poll::Ready(Some(data)) => all.extend_from_slice(&data?),
            Poll::Ready(None) => return Ok(all),
            Poll::Pending => pauses += 1,
        }
        assert!(pauses < 1000, "it never ends");
    }
}

fn pack(coding: Coding, pieces: &[&[u8]]) -> Vec<u8> {
    let mut encoder = Encoder::new(coding, None).unwrap();
    let mut out = Vec::new();
    for piece in pieces {
        encoder.write(piece, &mut out).unwrap();
    }
    encoder.finish(&mut out).unwrap();
    out
}

/// Bytes that no compressor makes smaller.
fn noise(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

#[test]
fn names_are_codings() {
    assert_eq!(Coding::from_name("X-GZip"), Some(Coding::Gzip));
    assert_eq!(Coding::from_name("BR"), Some(Coding::Brotli));
    assert_eq!((Coding::from_name("deflate"), Coding::from_name("")), (None, None));
    assert!(Coding::Identity.is_available() && Encoder::new(Coding::Identity, None).is_none());
    for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
        assert_eq!(Coding::from_name(&coding.to_string()), Some(coding));
        assert_eq!(Encoder::new(coding, None).is_some(), coding.is_available());
        assert_eq!(Decoder::new(coding, 1).is_some(), coding.is_available());
    }
}

#[test]
fn what_is_packed_is_unpacked() {
    let long = "the same again and again, ".repeat(20_000);
    let noise = noise(300_000);
    for &coding in Coding::AVAILABLE {
        let long = long.as_bytes();
        let bodies: [&[&[u8]]; 6] =
            [&[], &[b""], &[b"a"], &[b"a", b"", b"b"], &[long, b"x"], &[&noise, &noise[7..]]];
        for pieces in bodies {
            let packed = pack(coding, pieces);
            let whole = pieces.concat();
            assert_eq!(decode_bytes(&packed, &[coding], whole.len()).unwrap(), whole, "{coding}");
        }
        assert!(pack(coding, &[long]).len() < long.len() / 100, "{coding}");
        // The compressor of another body may be used again.
        assert_eq!(pack(coding, &[b"abc"]), pack(coding, &[b"abc"]), "{coding}");
        // Any level is one.
        for level in [0, 1, 9, 11, 1000] {
            let mut encoder = Encoder::new(coding, Some(level)).unwrap();
            let mut out = Vec::new();
            encoder.write(b"abc", &mut out).unwrap();
            encoder.finish(&mut out).unwrap();
            assert_eq!(decode_bytes(&out, &[coding], 3).unwrap(), "abc");
        }
    }
}

#[test]
fn what_is_flushed_can_be_read() {
    for &coding in Coding::AVAILABLE {
        let mut encoder = Encoder::new(coding, None).unwrap();
        assert_eq!(encoder.coding(), coding);
        let mut decoder = Decoder::new(coding, 1 << 20).unwrap();
        for text in ["first", "second", "first second"] {
            let (mut packed, mut out) = (Vec::new(), Vec::new());
            encoder.write(text.as_bytes(), &mut packed).unwrap();
            encoder.flush(&mut packed).unwrap();
            let mut input = &packed[..];
            while decoder.decode(&mut input, &mut out).unwrap() || !input.is_empty() {}
            assert_eq!(out, text.as_bytes(), "{coding}");
        }
        assert!(matches!(decoder.finish(), Err(BodyError::Malformed(_))), "{coding}: it has no end yet");
    }
}

#[test]
fn a_bomb_is_refused_before_it_bursts() {
    let mega = vec![0; 1 << 20];
    for &coding in Coding::AVAILABLE {
        let bomb = pack(coding, &vec![&mega[..]; 64]);
        assert!(bomb.len() < 200_000, "{coding}: {}", bomb.len());
        assert!(matches!(decode_bytes(&bomb, &[coding], 1 << 20), Err(BodyError::TooLarge { .. })));

        let mut decoder = Decoder::new(coding, 1 << 20).unwrap();
        let (mut input, mut steps) = (&bomb[..], 0);
        loop {
            let mut out = Vec::new();
            let decoded = decoder.decode(&mut input, &mut out);
            assert!(out.capacity() <= 64 * 1024, "memory follows what is taken out");
            if let Err(error) = decoded {
                assert!(matches!(error, BodyError::TooLarge { limit: 1_048_576 }), "{error}");
                break;
            }
            steps += 1;
        }
        assert_eq!(steps, 32, "{coding}");

        let streamed = body(vec![ready(bomb)]);
        let mut unpacked = decode_body(streamed, &[coding], 1 << 20).unwrap();
        assert!(matches!(collect(&mut unpacked), Err(BodyError::TooLarge { .. })));
        assert!(matches!(poll(&mut unpacked), Poll::Ready(None)), "nothing comes behind an error");
    }
}

#[test]
fn broken_and_short_bytes_are_errors() {
    let text = "some text that is long enough to be cut everywhere, ".repeat(5);
    for &coding in Coding::AVAILABLE {
        let packed = pack(coding, &[text.as_bytes()]);
        for end in 1..packed.len() {
            let decoded = decode_bytes(&packed[..end], &[coding], 1 << 20);
            assert!(matches!(decoded, Err(BodyError::Malformed(_))), "{coding} cut at {end}");
        }
        assert_eq!(decode_bytes(b"", &[coding], 0).unwrap(), "", "nothing at all is an empty body");
        assert!(decode_bytes(b"plain text, not packed", &[coding], 100).is_err(), "{coding}");
        let behind = [&packed[..], b"more"].concat();
        assert!(
            matches!(decode_bytes(&behind, &[coding], 1 << 20), Err(BodyError::Malformed(_))),
            "{coding}"
        );
    }
    #[cfg(feature = "gzip")]
    {
        let mut packed = pack(Coding::Gzip, &[text.as_bytes()]);
        // The checksum at the end.
        let at = packed.len() - 8;
        packed[at] ^= 1;
        assert!(decode_bytes(&packed, &[Coding::Gzip], 1 << 20).is_err());
    }
}

#[test]
fn members_and_frames_follow_each_other() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        if coding.is_available() {
            let two = [pack(coding, &[b"one "]), pack(coding, &[b"two"])].concat();
            assert_eq!(decode_bytes(&two, &[coding], 100).unwrap(), "one two", "{coding}");
        }
    }
}

#[cfg(feature = "gzip")]
#[test]
fn codings_over_each_other_are_undone_in_their_order() {
    let twice = pack(Coding::Gzip, &[&pack(Coding::Gzip, &[b"hi"])]);
    let request = |value: &str, body: &[u8]| {
        Request::builder("POST", "/").header("content-encoding", value).body(body.to_vec()).build().unwrap()
    };
    let mut good = request("gzip, identity ,, X-GZIP", &twice);
    good.decompress(100).unwrap();
    good.decompress(100).unwrap();
    assert_eq!(good.text().unwrap(), "hi");
    let status = |mut request: Request, limit: usize| Response::from(request.decompress(limit).unwrap_err());
    let unknown = status(request("gzip, rot13", &twice), 100);
    assert_eq!(unknown.status(), 415);
    assert!(
        unknown.headers().get_str("accept-encoding").unwrap().contains("gzip"),
        "RFC 9110 section 15.5.16"
    );
    assert_eq!(status(request("gzip, gzip, gzip, gzip", &twice), 100).status(), 415);
    assert_eq!(status(request("gzip", b"hi"), 100).status(), 400);
    assert_eq!(status(request("gzip", &twice), 1).status(), 413);
    let mut plain = Request::builder("POST", "/").body("hi").build().unwrap();
    plain.decompress(0).unwrap();
    assert_eq!(plain.text().unwrap(), "hi");
}

#[cfg(feature = "gzip")]
#[test]
fn what_a_client_got_is_unpacked_while_it_is_read() {
    let packed = pack(Coding::Gzip, &[b"hello"]);
    let trailers: Headers = [(http::header::ETAG, http::HeaderValue::from_static("x"))].into_iter().collect();
    let steps = packed.chunks(3).flat_map(|piece| [Poll::Pending, ready(piece.to_vec())]).collect();
    let response = Response::text(body(steps).with_trailers(trailers.clone()));
    let response = response.header("content-encoding", "gzip").header("content-length", "25");
    let mut response = response.decompress(5);
    assert!(
        !response.headers().contains("content-encoding") && !response.headers().contains("content-length")
    );
    assert_eq!(collect(response.body_mut()).unwrap(), b"hello");
    assert_eq!(response.body_ref().trailers(), Some(&trailers));

    let cut = Response::text(packed[..10].to_vec()).header("content-encoding", "gzip");
    assert!(matches!(collect(cut.decompress(5).body_mut()), Err(BodyError::Malformed(_))));
    // What is unknown or not there stays.
    let unknown = Response::text("x").header("content-encoding", "rot13").decompress(5);
    assert!(unknown.headers().contains("content-encoding") && unknown.body_ref().len() == Some(1));
    let head =
        Response::text("").header("content-encoding", "gzip").header("content-length", "9").decompress(5);
    assert_eq!(head.headers().len(), 2);
    let failed = body(vec![ready("x"), Poll::Ready(Err(std::io::ErrorKind::Other.into()))]);
    let mut failed = decode_body(failed, &[Coding::Gzip], 9).unwrap();
    assert!(matches!(collect(&mut failed), Err(BodyError::Source(_))), "an error is never an end");
}

#[test]
fn an_unknown_coding_decodes_nothing() {
    assert_eq!(decode_bytes(b"x", &[Coding::Identity], 0).unwrap(), "x");
    assert!(decode_body(Body::from("x"), &[Coding::Identity], 0).is_ok());
    for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
        if !coding.is_available() {
            assert!(
                decode_bytes(b"", &[coding], 9).is_err() && decode_body(Body::empty(), &[coding], 9).is_err()
            );
        }
    }
    let mut request = Request::builder("POST", "/").header("content-encoding", "?").build().unwrap();
    assert!(matches!(request.decompress(9), Err(BadRequest::Coding)));
}

proptest! {
    #[test]
    fn any_pieces_come_back_in_any_pieces(
        pieces in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..2000), 0..6),
        flushes in proptest::collection::vec(any::<bool>(), 6),
        step in 1_usize..300,
    ) {
        for &coding in Coding::AVAILABLE {
            let mut encoder = Encoder::new(coding, Some(1)).unwrap();
            let mut packed = Vec::new();
            for (piece, flush) in pieces.iter().zip(&flushes) {
                encoder.write(piece, &mut packed).unwrap();
                if *flush {
                    encoder.flush(&mut packed).unwrap();
                }
            }
            encoder.finish(&mut packed).unwrap();
            let steps = packed.chunks(step).map(|piece| ready(piece.to_vec())).collect();
            let whole = pieces.concat();
            let mut unpacked = decode_body(body(steps), &[coding], whole.len() as u64).unwrap();
            prop_assert_eq!(collect(&mut unpacked).unwrap(), whole);
        }
    }

    #[test]
    fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..60, flip in 0_usize..60) {
        for &coding in Coding::AVAILABLE {
            let _ = decode_bytes(&bytes, &[coding], 1 << 16);
            let mut packed = pack(coding, &[&bytes]);
            let flip = flip % packed.len();
            packed[flip] ^= 1 << (cut % 8);
            packed.truncate(packed.len().max(cut) - cut.min(packed.len()));
            let _ = decode_bytes(&packed, &[coding], 1 << 16);
        }
    }
}
