//! Compressed messages (RFC 7692 sections 6 and 7): the rules of their frames, and both sides against each other.

use super::*;
use crate::testing::{random_splits, round_trip};
use crate::websocket::deflate::Deflate;
use crate::websocket::{Error, Fragment, Kind, Outgoing};

/// A server that compresses, with a client that offers this.
fn server_with(websocket: Websocket, offer: &str) -> Harness<Websocket> {
    let mut harness = Harness::new(websocket, Instant::now());
    let request = std::str::from_utf8(REQUEST).unwrap().trim_end();
    harness.feed(format!("{request}\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n").as_bytes());
    assert!(matches!(harness.seen()[..], [Seen::Event(Event::Open(_))]));
    let answer = harness.output();
    assert!(std::str::from_utf8(&answer).unwrap().contains("Sec-WebSocket-Extensions: permessage-deflate"));
    harness
}

fn deflating(settings: &Deflate) -> Harness<Websocket> {
    server_with(Websocket::new().compress(settings.clone()), "permessage-deflate; client_max_window_bits")
}

/// A client and a server that have shaken hands.
fn pair(client: Deflate, server: Deflate) -> (Harness<WebsocketClient>, Harness<Websocket>) {
    let client = WebsocketClient::new(hello()).compress(client);
    let mut client = Harness::new(client, Instant::now()).role(Role::Client);
    let mut server = Harness::new(Websocket::new().compress(server), Instant::now());
    client.open();
    server.feed(&client.output());
    client.feed(&server.output());
    for seen in [server.seen(), client.seen()] {
        let [Seen::Event(Event::Open(open))] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(open.agreement().extensions.len(), 1);
    }
    (client, server)
}

/// "Hello" compressed: the example of RFC 7692 section 7.2.3.1.
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

#[test]
fn the_examples_of_the_rfc() {
    let make = || deflating(&Deflate::new());
    let seen = |input: &[u8]| {
        let transcript = every_split(make, input);
        assert_eq!(transcript.ended, Ended::Clean);
        transcript.seen
    };
    // Section 7.2.3.1, in one frame and in two.
    assert_eq!(seen(&masked(0xc1, HELLO)), [text("Hello")]);
    let two = [masked(0x41, &HELLO[..3]), masked(0x80, &HELLO[3..])].concat();
    assert_eq!(seen(&two), [text("Hello")]);
    // Section 7.2.3.3: a block without compression.
    assert_eq!(seen(&masked(0xc1, b"\x00\x05\x00\xfa\xffHello\x00")), [text("Hello")]);
    // Section 7.2.3.4: a final block.
    assert_eq!(seen(&masked(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00")), [text("Hello")]);
    // Section 7.2.3.5: two blocks.
    assert_eq!(seen(&masked(0xc1, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")), [text("Hello")]);
    // Section 7.2.3.6: nothing.
    assert_eq!(seen(&masked(0xc1, [0])), [text("")]);
    // Not all messages have to be compressed; control frames come between, and never are.
    let mixed = [
        masked(0x41, &HELLO[..1]),
        masked(0x89, "p"),
        masked(0x00, ""),
        masked(0x80, &HELLO[1..]),
        masked(0x81, "plain"),
    ];
    assert_eq!(seen(&mixed.concat()), [ping(b"p"), text("Hello"), text("plain")]);
    // Section 7.2.3.2: the second refers to the first.
    let takeover = || deflating(&Deflate::new().takeover(true));
    let input = [masked(0xc1, HELLO), masked(0xc1, b"\xf2\x00\x11\x00\x00")].concat();
    assert_eq!(every_split(takeover, &input).seen, [text("Hello"), text("Hello")]);
    refused_by(make, &input, 1007);
}

#[test]
fn the_bit_has_its_place() {
    let make = || deflating(&Deflate::new());
    // Section 6: on the first frame of a message, and nowhere else.
    refused_by(make, &[masked(0x41, HELLO), masked(0xc0, "")].concat(), 1002);
    refused_by(make, &[masked(0x01, "a"), masked(0xc0, HELLO)].concat(), 1002);
    for opcode in [0xc8, 0xc9, 0xca] {
        refused_by(make, &masked(opcode, ""), 1002);
    }
    refused_by(make, &masked(0xe1, HELLO), 1002);
    // Not without an agreement.
    refused(&masked(0xc1, HELLO), 1002);
    let not_offered = || server_of(Websocket::new().compress(Deflate::new()));
    refused_by(not_offered, &masked(0xc1, HELLO), 1002);
}

#[test]
fn what_cannot_be_inflated_is_refused() {
    let make = || deflating(&Deflate::new());
    for bad in [&b"\xff\xff\xff\xff"[..], b"\x05", b"\x00\x05\x00\xfa\xfeHello", &HELLO[..3]] {
        let transcript = refused_by(make, &masked(0xc2, bad), 1007);
        assert_eq!(transcript.ended, Ended::Failed(Error::Inflate.to_string()), "{bad:x?}");
    }
    // What was inflated is no text.
    refused_by(make, &masked(0xc1, b"\x00\x02\x00\xfd\xff\xc3\x28\x00"), 1007);
    refused_by(make, &masked(0xc1, b"\x00\x01\x00\xfe\xff\xc3\x00"), 1007);
}

/// A message of zeros, compressed.
fn bomb(size: usize) -> Vec<u8> {
    let (mut client, _) = pair(Deflate::new(), Deflate::new());
    client.send(vec![0; size]).unwrap();
    let [(0xc2, payload)] = &client_frames(&client.output())[..] else { panic!("one frame") };
    payload.clone()
}

#[test]
fn limits_are_those_of_what_was_inflated() {
    let settings = Deflate::new();
    let websocket = Websocket::new().compress(settings).max_message(100_000);
    let make = || server_with(websocket.clone(), "permessage-deflate");
    let mut harness = make();
    harness.feed(&masked(0xc2, bomb(100_000)));
    assert_eq!(harness.messages(), [Message::from(vec![0; 100_000])]);
    assert!(harness.protocol().is_idle());
    for over in [100_001, 10_000_000] {
        let payload = bomb(over);
        assert!(payload.len() < over / 500);
        let cut = payload.len() / 2;
        let fragments = [masked(0x42, &payload[..cut]), masked(0x80, &payload[cut..])].concat();
        for input in [masked(0xc2, &payload), fragments] {
            let transcript = random_splits(make, &input, 7);
            assert_eq!(close_code(&transcript.output), Some(1009));
        }
    }
    // Neither can what is compressed be without an end: blocks with nothing in them.
    let nothing = b"\x00\x00\x00\xff\xff".repeat(30_000);
    refused_by(make, &masked(0xc2, &nothing)[..100], 1009);
    let mut harness = make();
    harness.feed(&[masked(0x42, &nothing[..90_000]), masked(0x00, &nothing[..20_000])].concat());
    assert_eq!(close_code(&harness.output()), Some(1009));
}

#[test]
fn both_sides_understand_each_other() {
    let long = "a long text that is worth it, ".repeat(1000);
    let noise: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let messages = || {
        vec![
            Outgoing::from("short"),
            long.as_str().into(),
            noise.clone().into(),
            Message::from(long.as_str()).compress(false),
            Message::from("tiny").compress(true),
            Message::from("").compress(true),
            vec![0_u8; 1_000_000].into(),
            long.as_str().into(),
        ]
    };
    for settings in [
        Deflate::new(),
        Deflate::new().takeover(true),
        Deflate::new().server_max_window_bits(9).client_max_window_bits(10),
    ] {
        let fresh = || pair(settings.clone(), settings.clone());
        round_trip(fresh().0, || fresh().1, messages());
        round_trip(fresh().1, || fresh().0, messages());
    }
}

#[test]
fn what_is_worth_it_is_compressed() {
    let (mut client, mut server) = pair(Deflate::new(), Deflate::new());
    let long = "again and again, ".repeat(100);
    for (message, compressed) in [
        (Outgoing::from(long.as_str()), true),
        (Message::from(long.as_str()).compress(false), false),
        (Outgoing::from("short"), false),
        (Message::from("aaaaaaaaaaaaaaaaaaaaaaaaaaaa").compress(true), true),
    ] {
        server.send(message.clone()).unwrap();
        let output = server.output();
        assert_eq!(output[0], if compressed { 0xc1 } else { 0x81 });
        client.feed(&output);
        client.send(message).unwrap();
        let output = client.output();
        assert_eq!(output[0], if compressed { 0xc1 } else { 0x81 });
        server.feed(&output);
    }
    assert_eq!(server.messages(), client.messages());
    // Fragments and control frames never are.
    server.send(Fragment { kind: Kind::Text, first: true, last: true, data: long.clone().into() }).unwrap();
    assert_eq!(server.output()[0], 0x81);
}

#[test]
fn a_message_for_many_fits_each_of_them() {
    let long = "again and again, ".repeat(100);
    let outgoing = Outgoing::from(long.as_str());
    let shared = Websocket::encode_shared(&outgoing).unwrap();
    let append = |mut sending| {
        let mut out = crate::Outbox::new();
        Websocket::append_shared(&mut sending, &shared, &mut out).unwrap();
        out.into_bytes()
    };
    // The one who asks first may have a large window, and others a small one.
    let bits = |bits| {
        use crate::websocket::deflate::Outflow;
        use crate::websocket::handshake::Extension;
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        let agreed = Deflate::new().accept(&Extension::parse_all([offer.as_bytes()]).unwrap()).unwrap();
        let Outflow::Free(compressor) = agreed.into_halves(Role::Server).1 else { panic!("no takeover") };
        Websocket::free(compressor.to_bits())
    };
    let (large, small, plain) = (append(bits(15)), append(bits(9)), append(Websocket::free(0)));
    assert_eq!((large[0], small[0], plain[0]), (0xc1, 0xc1, 0x81));
    assert!(large.len() < 100 && plain.len() > 1000);
    // Once for all of one kind.
    assert_eq!(append(bits(15)), large);
    for frame in [large, small, plain] {
        let (mut client, _) = pair(Deflate::new(), Deflate::new());
        client.feed(&frame);
        assert_eq!(client.messages(), [Message::from(long.as_str())]);
    }
    // What must not be compressed, is not, whoever asks.
    let shared = Websocket::encode_shared(&Message::from(long.as_str()).compress(false)).unwrap();
    let (_, mut takeover) = pair(Deflate::new().takeover(true), Deflate::new().takeover(true));
    takeover.send_shared(&Message::from(long.as_str()).compress(false)).unwrap();
    assert_eq!(takeover.output()[0], 0x81);
    takeover.send_shared(&outgoing).unwrap();
    assert_eq!(takeover.output()[0], 0xc1);
    let mut out = crate::Outbox::new();
    Websocket::append_shared(&mut bits(15), &shared, &mut out).unwrap();
    assert_eq!(out.into_bytes()[0], 0x81);
}

#[test]
fn compressed_messages_are_delivered_in_fragments_too() {
    let text = "\u{1f600}é and so on, ".repeat(20_000);
    let (mut client, _) = pair(Deflate::new(), Deflate::new());
    client.send(text.as_str()).unwrap();
    let frame = client.output();
    for piece in [1, 1000, frame.len()] {
        let websocket = Websocket::new().compress(Deflate::new()).fragments(true);
        let mut harness = server_with(websocket, "permessage-deflate");
        frame.chunks(piece).for_each(|piece| harness.feed(piece));
        let (mut joined, mut ended) = (String::new(), false);
        for seen in harness.seen() {
            let Seen::Event(Event::Fragment(fragment)) = seen else { panic!("{seen:?}") };
            assert!(!ended);
            joined.push_str(fragment.as_text().unwrap());
            ended = fragment.last;
        }
        assert!(ended && joined == text && harness.protocol().is_idle());
    }
}

#[test]
fn nothing_stays_where_nothing_is_taken_over() {
    let (mut client, mut server) = pair(Deflate::new(), Deflate::new());
    let long = "again and again, ".repeat(100);
    client.send(long.as_str()).unwrap();
    server.feed(&client.output());
    assert!(server.protocol().is_idle() && client.protocol().is_idle());
}

#[test]
fn a_wrong_agreement_is_refused_by_the_client() {
    let client = WebsocketClient::new(hello()).compress(Deflate::new());
    let mut client = Harness::new(client, Instant::now()).role(Role::Client);
    client.open();
    let answer = answer_to(&client.output());
    let answer =
        answer.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate; unknown=1\r\n\r\n");
    client.feed(answer.as_bytes());
    assert!(matches!(client.error(), Some(Error::Extension(_))));
    assert_eq!(client_frames(&client.output())[0].1[..2], 1010_u16.to_be_bytes());
}
