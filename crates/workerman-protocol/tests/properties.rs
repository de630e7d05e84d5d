//! What holds for every input: arbitrary bytes do no harm, cuts make no difference, what is encoded decodes, limits hold.
#![forbid(unsafe_code)]
#![cfg(all(feature = "raw", feature = "text", feature = "frame", feature = "testing"))]

use std::time::Instant;

use bytes::{Buf, Bytes};
use proptest::collection::vec;
use proptest::prelude::*;
use workerman_protocol::testing::{Ended, Harness, every_split, limits, random_splits, round_trip};
use workerman_protocol::{Frame, Line, Outbox, Raw, Text};

const LIMIT: usize = 64;

fn raw() -> Harness<Raw> {
    Harness::new(Raw::new(), Instant::now())
}

fn text() -> Harness<Text> {
    Harness::new(Text::new().max_message(LIMIT), Instant::now())
}

fn frame() -> Harness<Frame> {
    Harness::new(Frame::new().max_message(LIMIT), Instant::now())
}

/// Bytes in which line breaks are as likely as anything else.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![2 => Just(b'\n'), 2 => Just(b'\r'), 6 => any::<u8>()], 0..200)
}

/// Frames, mostly well formed.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![8 => 4..20_u32, 1 => any::<u32>(), 1 => 0..4_u32, 1 => 60..70_u32];
    let frame = (length, vec(any::<u8>(), 0..80), any::<u8>()).prop_map(|(length, body, odd)| {
        let fits = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4).min(body.len());
        let body = if odd < 230 { &body[..fits] } else { &body[..] };
        [&length.to_be_bytes()[..], body].concat()
    });
    vec(frame, 0..8).prop_map(|frames| frames.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn cuts_make_no_difference_to_lines(input in lines()) {
        every_split(text, &input);
    }

    #[test]
    fn cuts_make_no_difference_to_frames(input in frames(), seed: u64) {
        every_split(frame, &input);
        random_splits(frame, &input, seed);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(input in vec(any::<u8>(), 0..500), seed: u64) {
        random_splits(text, &input, seed);
        random_splits(frame, &input, seed);
        let mut raw = raw();
        raw.feed(&input);
        prop_assert_eq!(raw.messages().concat(), input);
    }

    /// The stream of lines, decoded by the obvious means.
    #[test]
    fn lines_are_what_stands_between_line_feeds(input in lines()) {
        let mut harness = Harness::new(Text::new(), Instant::now());
        harness.feed(&input);
        let mut expected: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        let rest = expected.pop().unwrap_or_default();
        for line in &mut expected {
            while let Some(shorter) = line.strip_suffix(b"\r") {
                *line = shorter;
            }
        }
        let messages = harness.messages();
        prop_assert_eq!(messages.iter().map(Line::as_bytes).collect::<Vec<_>>(), expected);
        prop_assert_eq!(harness.undecoded(), rest);
    }

    #[test]
    fn limits_hold_for_lines(input in lines()) {
        let longest = input.split_inclusive(|byte| *byte == b'\n').map(|line| {
            // An unfinished line of the limit's size is refused as well: it can only get longer.
            line.len() + usize::from(!line.ends_with(b"\n"))
        }).max().unwrap_or(0);
        let refused = matches!(limits(text, &input).ended, Ended::Failed(_));
        prop_assert_eq!(refused, longest > LIMIT);
    }

    #[test]
    fn limits_hold_for_frames(input in frames()) {
        limits(frame, &input);
    }

    #[test]
    fn what_is_encoded_decodes(messages in vec(vec(any::<u8>(), 0..60), 0..10)) {
        round_trip(frame(), frame, messages.iter().cloned().map(Bytes::from));
        for message in messages.iter().filter(|message| !message.is_empty()) {
            round_trip(raw(), raw, [Bytes::from(message.clone())]);
        }
        let lines = messages.into_iter().map(|mut line| {
            line.retain(|byte| !b"\r\n".contains(byte));
            Line::from(line)
        });
        round_trip(text(), text, lines);
    }

    #[test]
    fn an_outbox_is_a_queue_of_bytes(steps in vec((0..8_u8, 0..10_000_usize), 0..60)) {
        let (mut out, mut model) = (Outbox::new(), Vec::new());
        let mut next = 0_u8;
        for (step, n) in steps {
            let mut bytes = || { next = next.wrapping_add(1); vec![next; n] };
            match step {
                0 | 1 => { let b = vec![step; n % 100]; out.put_slice(&b); model.extend(b); }
                2 => { let b = bytes(); out.put_bytes(b.clone().into()); model.extend(b); }
                3 => { let b = bytes(); out.put_shared(b.clone().into()); model.extend(b); }
                4 => { out.truncate(n); model.truncate(n); }
                5 => { let n = n.min(model.len()); out.advance(n); model.drain(..n); }
                6 => {
                    let b = bytes();
                    let mut other = Outbox::new();
                    other.put_slice(b"other");
                    other.put_bytes(b.clone().into());
                    out.append(&mut other);
                    prop_assert!(other.is_empty());
                    model.extend(b"other");
                    model.extend(b);
                }
                _ => { let b = out.copy_to_bytes(n.min(out.len())); prop_assert_eq!(b, model.drain(..n.min(model.len())).collect::<Vec<_>>()); }
            }
            prop_assert_eq!(out.len(), model.len());
        }
        prop_assert_eq!(out.into_bytes(), model);
    }
}

/// A frame that arrives in pieces is one piece of memory in the end, and the decoder made no copy of it.
#[test]
fn a_large_frame_in_chunks_is_not_copied_by_the_decoder() {
    const SIZE: usize = 10 * 1024 * 1024 - 4;
    let mut harness = Harness::new(Frame::new(), Instant::now());
    let mut buffer = bytes::BytesMut::with_capacity(SIZE + 4);
    buffer.extend_from_slice(&u32::try_from(SIZE + 4).unwrap().to_be_bytes());
    let start = buffer.as_ptr();
    harness.feed_buffer(buffer);
    let chunk = vec![b'c'; 64 * 1024];
    let mut left = SIZE;
    while left > 0 {
        assert_eq!(harness.needs(), left);
        assert_eq!(harness.undecoded().as_ptr(), start, "waiting moves nothing");
        let n = left.min(chunk.len());
        harness.feed(&chunk[..n]);
        left -= n;
    }
    let messages = harness.messages();
    assert_eq!((messages.len(), messages[0].len()), (1, SIZE));
    assert_eq!(messages[0].as_ptr(), start.wrapping_add(4), "taken where it was received");
}
