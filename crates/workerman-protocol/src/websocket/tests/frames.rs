//! Section 5: framing.

use super::*;
use crate::websocket::{Fragment, Kind};

#[test]
fn the_examples_of_the_rfc() {
    // Section 5.7.
    let masked_hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(taken(masked_hello), [text("Hello")]);
    let transcript = every_split(client, b"\x81\x05Hello\x01\x03Hel\x80\x02lo");
    assert_eq!(transcript.seen, [text("Hello"), text("Hello")]);
    let mut harness = client();
    harness.feed(b"\x89\x05Hello");
    assert_eq!(harness.seen(), [ping(b"Hello")]);
    assert_eq!(client_frames(&harness.output()), [(0x8a, b"Hello".to_vec())]);
}

#[test]
fn messages_of_all_lengths() {
    for length in [0, 1, 124, 125, 126, 127, 128, 255, 256, 65_535, 65_536, 70_000, 1 << 20] {
        let payload: Vec<u8> = (0..length).map(|i| b'a' + (i % 26) as u8).collect();
        for (first, expected) in [
            (0x81, Message::from(String::from_utf8(payload.clone()).unwrap())),
            (0x82, Message::from(payload.clone())),
        ] {
            let whole = masked(first, &payload);
            for piece in [whole.len(), 65_536, 997] {
                let (mut server, mut client) = (server(), client());
                whole.chunks(piece).for_each(|piece| server.feed(piece));
                plain(first, &payload).chunks(piece).for_each(|piece| client.feed(piece));
                assert_eq!(
                    server.messages(),
                    std::slice::from_ref(&expected),
                    "{length} bytes in pieces of {piece}"
                );
                assert_eq!(
                    client.messages(),
                    std::slice::from_ref(&expected),
                    "{length} bytes in pieces of {piece}"
                );
                assert!(server.protocol().is_idle() && client.protocol().is_idle());
            }
        }
    }
}

#[test]
fn a_large_message_is_not_copied() {
    let payload = vec![7; 100_000];
    let frame = masked(0x82, &payload);
    let input = bytes::BytesMut::from(&frame[..]);
    let start = input.as_ptr();
    let mut harness = server();
    harness.feed_buffer(input);
    let [Message::Binary(bytes)] = &harness.messages()[..] else { panic!("one message") };
    assert_eq!(bytes.as_ptr(), start.wrapping_add(14));
    assert_eq!(*bytes, payload);
}

#[test]
fn the_rest_of_a_large_frame_is_asked_for() {
    let mut harness = server();
    harness.feed(&masked(0x82, [0; 100_000])[..50_014]);
    assert_eq!(harness.needs(), 50_000);
    harness.feed(&[0; 49_999]);
    assert_eq!(harness.needs(), 1);
}

#[test]
fn who_masks_and_who_does_not() {
    // Section 5.1.
    refused(&plain(0x81, "Hello"), 1002);
    refused(&plain(0x89, ""), 1002);
    let mut harness = client();
    harness.feed(&masked(0x81, "Hello"));
    assert!(matches!(harness.ended(), Ended::Failed(_)));
    assert_eq!(client_frames(&harness.output())[0].1[..2], 1002_u16.to_be_bytes());
    // A key of zeros is one.
    assert_eq!(taken(b"\x81\x82\0\0\0\0hi"), [text("hi")]);
}

#[test]
fn reserved_bits_and_opcodes() {
    // Section 5.2.
    for reserved in [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70] {
        for opcode in [0x81, 0x82, 0x88, 0x89, 0x8a] {
            refused(&masked(opcode | reserved, ""), 1002);
        }
        let input = [masked(0x81, "first"), masked(0x80 | reserved, "second")].concat();
        assert_eq!(refused(&input, 1002).seen, [text("first")]);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        refused(&masked(0x80 | opcode, "a"), 1002);
        refused(&masked(opcode, ""), 1002);
    }
    // One byte is enough.
    let mut harness = server();
    harness.feed(b"\x83");
    assert_eq!(close_code(&harness.output()), Some(1002));
}

#[test]
fn lengths_are_encoded_in_the_shortest_way() {
    for header in [
        &b"\x82\xfe\0\x7d"[..],
        b"\x82\xfe\0\0",
        b"\x82\xff\0\0\0\0\0\0\0\x05",
        b"\x82\xff\0\0\0\0\0\0\xff\xff",
    ] {
        refused(&[header, &[0; 200]].concat(), 1002);
    }
    refused(b"\x82\xff\x80\0\0\0\0\0\0\0", 1002);
}

#[test]
fn control_frames_are_short_and_whole() {
    // Section 5.5.
    let most = [b'p'; 125];
    assert_eq!(taken(&masked(0x89, most)), [Seen::Event(Event::Ping(Bytes::copy_from_slice(&most)))]);
    for opcode in [8, 9, 10] {
        refused(&masked(0x80 | opcode, [0; 126]), 1002);
        refused(&masked(0x80 | opcode, vec![0; 70_000])[..20], 1002);
        refused(&masked(opcode, "a"), 1002);
    }
}

#[test]
fn pings_are_answered_in_order_with_what_they_say() {
    let input =
        [masked(0x89, "one"), masked(0x81, "text"), masked(0x89, ""), masked(0x8a, "unasked")].concat();
    let transcript = every_split(server, &input);
    assert_eq!(transcript.seen, [ping(b"one"), text("text"), ping(b""), pong(b"unasked")]);
    assert_eq!(frames(&transcript.output), [(0x8a, b"one".to_vec()), (0x8a, vec![])]);
}

#[test]
fn fragments_become_one_message() {
    // Section 5.4.
    let input = [masked(0x01, "frag"), masked(0x00, ""), masked(0x00, "ment"), masked(0x80, "ed")].concat();
    assert_eq!(taken(&input), [text("fragmented")]);
    let input = [masked(0x02, ""), masked(0x80, "")].concat();
    assert_eq!(taken(&input), [Seen::Message(Message::Binary(Bytes::new()))]);
}

#[test]
fn control_frames_between_fragments_leave_the_message_alone() {
    let input = [masked(0x01, "frag"), masked(0x89, "ping"), masked(0x8a, ""), masked(0x80, "ment")].concat();
    let transcript = every_split(server, &input);
    assert_eq!(transcript.seen, [ping(b"ping"), pong(b""), text("fragment")]);
    assert_eq!(frames(&transcript.output), [(0x8a, b"ping".to_vec())]);
    // So does a close frame: the message is lost.
    let input = [masked(0x01, "frag"), masked(0x88, closing(1000, "")), masked(0x80, "ment")].concat();
    let transcript = every_split(server, &input);
    assert_eq!((&transcript.seen[..], close_code(&transcript.output)), (&[][..], Some(1000)));
}

#[test]
fn fragments_come_in_order() {
    for input in [
        masked(0x80, "nothing before"),
        masked(0x00, ""),
        [masked(0x81, "whole"), masked(0x80, "more")].concat(),
        [masked(0x01, "a"), masked(0x81, "b")].concat(),
        [masked(0x01, "a"), masked(0x02, "b")].concat(),
        [masked(0x01, "a"), masked(0x00, "b"), masked(0x01, "c")].concat(),
        [masked(0x02, "a"), masked(0x80, "b"), masked(0x00, "c")].concat(),
    ] {
        refused(&input, 1002);
    }
}

#[test]
fn one_kind_of_messages_can_be_refused() {
    let only_text = || server_of(Websocket::new().only(Kind::Text));
    let input =
        [masked(0x81, "text"), masked(0x01, "frag"), masked(0x80, "ment"), masked(0x82, "bytes")].concat();
    assert_eq!(refused_by(only_text, &input, 1003).seen, [text("text"), text("fragment")]);
    let only_bytes = || server_of(Websocket::new().only(Kind::Binary));
    refused_by(only_bytes, &masked(0x01, ""), 1003);
}

#[test]
fn frames_behind_the_handshake_are_not_lost() {
    let mut server = Harness::new(Websocket::new(), Instant::now());
    server.feed(&[REQUEST, &masked(0x81, "early")].concat());
    assert!(
        matches!(&server.seen()[..], [Seen::Event(Event::Open(_)), Seen::Message(message)] if message == "early")
    );

    let mut client = Harness::new(WebsocketClient::new(hello()), Instant::now()).role(Role::Client);
    client.open();
    let answer = answer_to(&client.output());
    client.feed(&[answer.as_bytes(), &plain(0x81, "early"), &plain(0x89, "")].concat());
    assert!(
        matches!(&client.seen()[..], [Seen::Event(Event::Open(_)), Seen::Message(message), Seen::Event(Event::Ping(_))] if message == "early")
    );
    assert_eq!(client_frames(&client.output()), [(0x8a, vec![])]);
}

/// The pieces that a server delivers, put together again: kind and data of each message.
fn joined(seen: Vec<Seen<Message, Event>>) -> Vec<(Kind, Vec<u8>)> {
    let mut messages: Vec<(Kind, Vec<u8>)> = Vec::new();
    let mut within = false;
    for seen in seen {
        let Seen::Event(Event::Fragment(Fragment { kind, first, last, data })) = seen else { continue };
        assert_eq!(first, !within);
        if first {
            messages.push((kind, Vec::new()));
        }
        let message = messages.last_mut().unwrap();
        assert_eq!(message.0, kind);
        assert!(data.len() <= 64 * 1024 + 3);
        if kind == Kind::Text {
            assert!(std::str::from_utf8(&data).is_ok(), "cut between characters");
        }
        message.1.extend_from_slice(&data);
        within = !last;
    }
    assert!(!within);
    messages
}

#[test]
fn fragments_are_delivered_on_request() {
    let long = "\u{1f600}é".repeat(40_000);
    let input = [
        masked(0x81, "whole"),
        masked(0x01, &long.as_bytes()[..99_999]),
        masked(0x89, ""),
        masked(0x00, ""),
        masked(0x80, &long.as_bytes()[99_999..]),
        masked(0x82, [0xff; 5]),
        masked(0x81, ""),
        masked(0x02, ""),
        masked(0x80, ""),
    ]
    .concat();
    let expected = [
        (Kind::Text, b"whole".to_vec()),
        (Kind::Text, long.into_bytes()),
        (Kind::Binary, vec![0xff; 5]),
        (Kind::Text, vec![]),
        (Kind::Binary, vec![]),
    ];
    for piece in [1, 7, 1000, 65_536, input.len()] {
        // What a message may have in all does not bound what is not kept.
        let mut harness = server_of(Websocket::new().fragments(true).max_message(10));
        for piece in input.chunks(piece) {
            harness.feed(piece);
            assert!(harness.is_open());
        }
        assert_eq!(joined(harness.seen()), expected, "in pieces of {piece}");
        assert!(harness.protocol().is_idle());
    }
}

#[test]
fn delivered_fragments_are_checked_as_messages_are() {
    let make = || server_of(Websocket::new().fragments(true));
    for input in [masked(0x81, "caf\u{e9}".as_bytes().split_last().unwrap().1), masked(0x81, b"a\xff")] {
        let mut harness = make();
        harness.feed(&input);
        assert_eq!(close_code(&harness.output()), Some(1007));
    }
    let mut harness = make();
    harness.feed(&masked(0x80, "a"));
    assert_eq!(close_code(&harness.output()), Some(1002));
}
