//! What an inflater takes, and what it refuses.

use bytes::BytesMut;

use super::super::settings::Deflate;
use super::super::{InflateError, Inflater, TAIL};
use super::reference::Inflated;
use super::{MUCH, deflater, inflate, inflater, noise, text};
use crate::websocket::CloseCode;

const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
/// The same with a final block, which ends its stream (RFC 7692 section 7.2.3.4).
const FINAL: [u8; 8] = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];

#[test]
fn takes_the_examples_of_the_rfc() {
    for payload in [
        &HELLO[..],
        &FINAL,
        // Stored; in two blocks.
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
    ] {
        for takeover in [false, true] {
            let mut inflater = inflater(takeover);
            for _ in 0..3 {
                assert_eq!(inflate(&mut inflater, payload).unwrap(), b"Hello", "{payload:?}");
                assert_eq!(inflater.is_idle(), !takeover);
            }
        }
    }
    // Section 7.2.3.2: the second refers to the first.
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let mut with = inflater(true);
    assert_eq!(inflate(&mut with, &HELLO).unwrap(), b"Hello");
    assert_eq!(inflate(&mut with, &again).unwrap(), b"Hello");
    let mut without = inflater(false);
    assert_eq!(inflate(&mut without, &HELLO).unwrap(), b"Hello");
    assert_eq!(inflate(&mut without, &again), Err(InflateError::Broken));
}

#[test]
fn an_empty_message_has_many_forms() {
    for payload in [
        &[0x00][..],
        // Section 7.2.3.6 allows any empty block: fixed codes, stored and then the padding, final.
        &[0x02, 0x00],
        &[0x00, 0x00, 0x00, 0xff, 0xff, 0x00],
        &[0x03, 0x00, 0x00],
        &[0x01],
        &[],
    ] {
        for takeover in [false, true] {
            let mut inflater = inflater(takeover);
            for _ in 0..2 {
                assert_eq!(inflate(&mut inflater, payload).unwrap(), b"", "{payload:?}");
            }
            assert_eq!(inflate(&mut inflater, &HELLO).unwrap(), b"Hello", "after {payload:?}");
        }
    }
}

#[test]
fn a_final_block_may_be_anywhere() {
    let twice = [&FINAL[..7], &FINAL].concat();
    let then_more = [&FINAL[..], &TAIL, &HELLO].concat();
    // Without the padding behind it that section 7.2.3.4 asks for.
    let bare = &FINAL[..7];
    for (payload, expected) in [(&twice[..], "HelloHello"), (&then_more, "HelloHello"), (bare, "Hello")] {
        for takeover in [false, true] {
            let mut inflater = inflater(takeover);
            for _ in 0..2 {
                assert_eq!(inflate(&mut inflater, payload).unwrap(), expected.as_bytes());
            }
            assert_eq!(inflate(&mut inflater, &HELLO).unwrap(), b"Hello");
        }
    }
}

#[test]
fn what_breaks_off_is_refused() {
    for message in [&b"Hello"[..], &text(3000), &noise(3000)] {
        for level in [1, 6] {
            let payload = deflater(level, 15).compress(message).unwrap();
            let mut broken = 0;
            for length in 1..payload.len() {
                let cut = inflate(&mut inflater(false), &payload[..length]);
                // The beginning of a stored block is an empty one.
                let mut reference = Inflated::default();
                // What is appended is no part of the message.
                if reference.append(&payload[..length]).is_some() && !reference.bytes.ends_with(&TAIL) {
                    assert!(cut.as_ref() == Ok(&reference.bytes), "{length} of {}", payload.len());
                } else {
                    assert_eq!(cut, Err(InflateError::Broken), "{length} of {}", payload.len());
                    broken += 1;
                }
            }
            assert!(broken >= payload.len() - 3);
        }
    }
}

#[test]
fn what_no_compressor_makes_is_refused() {
    for payload in [
        // A block of type 3; a stored one with a wrong complement; a distance into nothing.
        &[0x07][..],
        &[0x00, 0x05, 0x00, 0x05, 0x00],
        &[0xf2, 0x00, 0x11, 0x00, 0x00],
        &[0xff; 100],
        b"Hello",
    ] {
        for cut in 0..payload.len() {
            let mut inflater = inflater(true);
            let mut out = BytesMut::new();
            let first = inflater.push(&payload[..cut], false, MUCH, &mut out);
            let both = first.and_then(|()| inflater.push(&payload[cut..], true, MUCH, &mut out));
            assert_eq!(both, Err(InflateError::Broken), "{payload:?}");
        }
    }
    assert_eq!(InflateError::Broken.close_code(), CloseCode::INVALID);
    assert_eq!(InflateError::TooLarge { limit: 1 }.close_code(), CloseCode::TOO_BIG);
}

#[test]
fn a_bomb_fails_before_it_takes_memory() {
    // 64 MiB in 64 KiB.
    let bomb = deflater(9, 15).compress(&vec![0; 64 << 20]).unwrap();
    assert!(bomb.len() < 70_000);
    for limit in [0, 1, 1000, 1 << 20] {
        for piece in [1, 100, bomb.len()] {
            let mut out = BytesMut::new();
            let mut inflater = inflater(false);
            let refused =
                bomb.chunks(piece).try_for_each(|piece| inflater.push(piece, false, limit, &mut out));
            assert_eq!(refused, Err(InflateError::TooLarge { limit }));
            assert_eq!(out.len(), limit + 1);
            assert!(out.capacity() <= 2 * limit + 2 * super::super::inflate::PIECE_MAX);
        }
    }
}

#[test]
fn a_message_as_large_as_the_limit_is_taken() {
    for length in [0, 1, 5, 255, 256, 257, 65_536, 100_000] {
        let message = text(length);
        let payload = deflater(3, 15).compress(&message).unwrap();
        let mut out = BytesMut::from(&b"before"[..]);
        inflater(false).push(&payload, true, length, &mut out).unwrap();
        assert_eq!(out[6..], message);
        if length > 0 {
            let refused = inflater(false).push(&payload, true, length - 1, &mut BytesMut::new());
            assert_eq!(refused, Err(InflateError::TooLarge { limit: length - 1 }));
        }
    }
}

#[test]
fn the_limit_is_that_of_the_message_and_not_of_a_piece() {
    let message = text(10_000);
    let payload = deflater(3, 15).compress(&message).unwrap();
    let mut inflater = inflater(true);
    for _ in 0..3 {
        // What has come out may be taken away.
        let refused = payload.chunks(10).try_for_each(|piece| {
            let mut out = BytesMut::new();
            inflater.push(piece, false, 10_000, &mut out)
        });
        refused.unwrap();
        inflater.push(&[], true, 10_000, &mut BytesMut::new()).unwrap();
    }
    let refused =
        payload.chunks(10).try_for_each(|piece| inflater.push(piece, false, 9_999, &mut BytesMut::new()));
    assert_eq!(refused, Err(InflateError::TooLarge { limit: 9_999 }));
}

#[test]
fn unfinished_messages_share_the_places_of_contexts() {
    let settings = Deflate::new().max_contexts(1);
    let message = noise(200_000);
    let payload = deflater(1, 15).compress(&message).unwrap();
    let (mut first, mut second) = (Inflater::new(&settings), Inflater::new(&settings));
    let (mut one, mut two) = (BytesMut::new(), BytesMut::new());
    first.push(&payload[..1000], false, MUCH, &mut one).unwrap();
    assert!(!first.is_idle() && settings.contexts.taken() == 1);
    assert!(one.len() > 800, "comes out as it arrives: {}", one.len());

    // There is no place for a second one: its bytes wait, up to as many as an inflater takes.
    for piece in payload[..48 * 1024].chunks(1024) {
        second.push(piece, false, MUCH, &mut two).unwrap();
    }
    assert!(two.is_empty() && !second.is_idle());
    second.push(&payload[48 * 1024..50_000], false, MUCH, &mut two).unwrap();
    assert!(two.len() > 40_000 && settings.contexts.taken() == 1);

    second.push(&payload[50_000..], true, MUCH, &mut two).unwrap();
    assert!(two == message && second.is_idle());
    first.push(&payload[1000..], true, MUCH, &mut one).unwrap();
    assert!(one == message && first.is_idle() && settings.contexts.taken() == 0);

    // One that is short ends without ever having had a place.
    let taken = settings.contexts.take();
    for takes in [1, 2, 7] {
        let mut out = BytesMut::new();
        for piece in HELLO.chunks(takes) {
            first.push(piece, false, MUCH, &mut out).unwrap();
        }
        assert!(out.is_empty());
        first.push(&[], true, MUCH, &mut out).unwrap();
        assert!(out == "Hello" && first.is_idle());
    }
    // Its limit holds all the same.
    first.push(&HELLO[..3], false, 4, &mut one).unwrap();
    assert_eq!(first.push(&HELLO[3..], true, 4, &mut one), Err(InflateError::TooLarge { limit: 4 }));
    drop(taken);
}
