//! What one side compresses the other inflates, whatever was agreed upon and however it is cut.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Compressor, Deflate, Inflater, Outflow};
use super::reference::Inflated;
use super::{MUCH, agreed, deflater, inflate, inflater, noise, parse, text};
use crate::Role;

/// The two ends of a connection: the client's, and the server's.
type Halves = ((Inflater, Outflow), (Inflater, Outflow));

fn connect(client: &Deflate, server: &Deflate) -> Halves {
    let offer = client.offer();
    let accepted = agreed(server, &offer.to_string()).unwrap();
    let confirmed = offer.confirm(&parse(&accepted.to_string())).unwrap().unwrap();
    (confirmed.into_halves(Role::Client), accepted.into_halves(Role::Server))
}

fn compress(outflow: &mut Outflow, message: &[u8]) -> Option<Vec<u8>> {
    match outflow {
        Outflow::Free(compressor) => compressor.compress(message),
        Outflow::Context(deflater) => deflater.compress(message),
    }
    .map(|payload| payload.to_vec())
}

/// A context of each kind, and what it may not reach beyond.
fn compressor(level: u8, bits: u8) -> Compressor {
    Compressor::new(level, bits, 0)
}

#[test]
fn no_match_reaches_beyond_the_window() {
    // Repeats at every distance up to the largest window.
    let mut far = noise(33_000);
    far.extend_from_within(..);
    let mut near = text(9000);
    near.extend(noise(200));
    near.extend(text(9000));
    for message in [&far, &near, &vec![b'x'; 5000], &noise(300).repeat(20)] {
        // One for each way of the library to look for matches, and the extremes.
        for level in [1, 2, 3, 6, 9] {
            for bits in [8, 9, 11, 13, 15] {
                let mut free = Inflated::default();
                if let Some(payload) = compressor(level, bits).compress(message) {
                    free.append(&payload).unwrap();
                    assert!(free.bytes == *message);
                }
                let mut kept = Inflated::default();
                let mut deflater = deflater(level, bits);
                for piece in message.chunks(1000) {
                    kept.append(&deflater.compress(piece).unwrap()).unwrap();
                }
                assert!(kept.bytes == *message);
                let reach = free.reach.max(kept.reach);
                assert!(reach <= 1 << bits, "level {level}, {bits} bits: {reach}");
            }
        }
    }
}

#[test]
fn short_messages_are_within_small_windows() {
    for bits in 8..=15 {
        for length in [255, 256, 257, 511, 512, 513, 1024, 1025] {
            // The end is the beginning again, as far away as can be.
            let mut message = noise(length);
            let (begin, end) = message.split_at_mut(length - 20);
            end.copy_from_slice(&begin[..20]);
            let Some(payload) = compressor(6, bits).compress(&message) else { continue };
            let mut inflated = Inflated::default();
            inflated.append(&payload).unwrap();
            assert!(inflated.bytes == message && inflated.reach <= 1 << bits);
        }
    }
}

#[test]
fn what_gets_no_smaller_is_sent_as_it_is() {
    for message in [&b""[..], b"a", b"Hello", &noise(100), &noise(100_000)] {
        assert_eq!(compressor(6, 15).compress(message), None, "{}", message.len());
    }
    let payload = compressor(6, 15).compress(&text(100_000)).unwrap();
    assert!(payload.len() < 15_000);
    assert_eq!(inflate(&mut inflater(false), &payload).unwrap(), text(100_000));
}

#[test]
fn a_context_pays() {
    let message = br#"{"type":"message","from":"somebody","room":"lobby","text":"hello"}"#;
    let mut deflater = deflater(3, 15);
    let first = deflater.compress(message).unwrap();
    let second = deflater.compress(message).unwrap();
    assert!(first.len() > 50 && second.len() < 10, "{} and {}", first.len(), second.len());
    // An empty one is always the same, and leaves the context alone.
    for _ in 0..2 {
        assert_eq!(deflater.compress(b"").unwrap(), &[0][..]);
    }
    assert!(deflater.compress(message).unwrap().len() < 10);
}

#[test]
fn a_message_may_be_cut_at_every_byte() {
    let messages = [text(700), Vec::new(), noise(90), text(300)];
    for takeover in [false, true] {
        let settings = Deflate::new().takeover(takeover);
        let ((_, mut outflow), _) = connect(&settings, &settings);
        let payloads: Vec<Vec<u8>> = match &mut outflow {
            Outflow::Context(deflater) => {
                messages.iter().map(|message| deflater.compress(message).unwrap().to_vec()).collect()
            }
            Outflow::Free(_) => {
                messages.iter().map(|message| deflater(6, 15).compress(message).unwrap().to_vec()).collect()
            }
        };
        let longest = payloads.iter().map(Vec::len).max().unwrap();
        for cut in 0..=longest {
            let mut inflater = inflater(takeover);
            for (payload, message) in payloads.iter().zip(&messages) {
                let (begin, end) = payload.split_at(cut.min(payload.len()));
                let mut out = BytesMut::new();
                inflater.push(begin, false, MUCH, &mut out).unwrap();
                inflater.push(end, true, MUCH, &mut out).unwrap();
                assert!(out == *message, "cut at {cut}");
            }
        }
        let mut inflater = inflater(takeover);
        for (payload, message) in payloads.iter().zip(&messages) {
            let mut out = BytesMut::new();
            for byte in payload.chunks(1) {
                inflater.push(byte, false, MUCH, &mut out).unwrap();
            }
            inflater.push(&[], true, MUCH, &mut out).unwrap();
            assert!(out == *message);
        }
    }
}

/// Bytes as messages have them: with repeats, or without.
fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..300),
        vec(proptest::sample::select(&b"abcde "[..]), 0..3000),
        (vec(any::<u8>(), 1..50), 0..200_usize).prop_map(|(part, times)| part.repeat(times)),
        (0..40_000_usize).prop_map(text),
    ]
}

fn settings() -> impl Strategy<Value = Deflate> {
    (1..=9_u8, any::<bool>(), any::<bool>(), 9..=15_u8, 9..=15_u8, prop_oneof![Just(256), 0..3_usize])
        .prop_map(|(level, server, client, server_bits, client_bits, contexts)| {
            Deflate::new()
                .level(level)
                .server_no_context_takeover(server)
                .client_no_context_takeover(client)
                .server_max_window_bits(server_bits)
                .client_max_window_bits(client_bits)
                .max_contexts(contexts)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn both_directions_carry_what_was_sent(
        client in settings(),
        server in settings(),
        messages in vec((any::<bool>(), message(), any::<bool>(), 1..5000_usize), 1..12),
    ) {
        let ((mut at_client, mut from_client), (mut at_server, mut from_server)) = connect(&client, &server);
        for (to_server, message, plain, piece) in messages {
            let (outflow, inflater) = if to_server {
                (&mut from_client, &mut at_server)
            } else {
                (&mut from_server, &mut at_client)
            };
            if plain {
                // Sent as it is: neither side's context knows of it.
                continue;
            }
            let Some(payload) = compress(outflow, &message) else { continue };
            let mut out = BytesMut::new();
            for piece in payload.chunks(piece) {
                inflater.push(piece, false, message.len(), &mut out).unwrap();
            }
            inflater.push(&[], true, message.len(), &mut out).unwrap();
            prop_assert!(out == message);
        }
    }

    #[test]
    fn garbage_neither_panics_nor_exceeds_the_limit(
        garbage in vec(vec(any::<u8>(), 0..200), 1..5),
        limit in 0..5000_usize,
        takeover: bool,
    ) {
        let mut inflater = inflater(takeover);
        for message in garbage {
            let mut out = BytesMut::new();
            let inflated = inflater.push(&message, true, limit, &mut out);
            prop_assert!(out.len() <= limit + 1);
            if inflated.is_err() {
                break;
            }
            prop_assert!(out.len() <= limit);
        }
    }

    #[test]
    fn cuts_make_no_difference(
        message in message(),
        flip in proptest::option::of((any::<proptest::sample::Index>(), 0..8_u8)),
        pieces in vec(1..100_usize, 1..20),
    ) {
        let mut payload = deflater(6, 15).compress(&message).unwrap().to_vec();
        if let Some((at, bit)) = flip {
            let at = at.index(payload.len());
            payload[at] ^= 1_u8 << bit;
        }
        let whole = inflate(&mut inflater(false), &payload);
        let mut out = BytesMut::new();
        let mut cut = inflater(false);
        let mut rest = &payload[..];
        let mut result = Ok(());
        for piece in pieces.iter().cycle() {
            let (begin, end) = rest.split_at((*piece).min(rest.len()));
            rest = end;
            result = cut.push(begin, rest.is_empty(), MUCH, &mut out);
            if result.is_err() || rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(whole, result.map(|()| out.to_vec()));
    }
}
