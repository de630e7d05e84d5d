//! Compressed messages (RFC 7692) on open connections.

use super::*;
use crate::testing::round_trip;
use crate::websocket::deflate::{Deflate, NegotiationError};
use crate::websocket::{Error, Fragment, Kind, Outgoing};

const P: &str = "permessage-deflate";
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// First bytes: a whole message of text, compressed; its first fragment; of binary.
const TEXT: u8 = 0xc1;
const BEGIN: u8 = 0x41;
const BINARY: u8 = 0xc2;

fn request(offers: &str) -> Vec<u8> {
    let request = std::str::from_utf8(REQUEST).unwrap();
    request.replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Extensions: {offers}\r\n\r\n")).into_bytes()
}

/// An open connection, and what the server has answered to the offers.
fn offered(websocket: Websocket, offers: &str) -> (Harness<Websocket>, Option<String>) {
    let mut harness = Harness::new(websocket, Instant::now());
    harness.feed(&request(offers));
    let seen = harness.seen();
    let [Seen::Event(Event::Open(open))] = &seen[..] else { panic!("{seen:?}") };
    let agreed = open.agreement().extensions.first().map(ToString::to_string);
    let output = String::from_utf8(harness.output().to_vec()).unwrap();
    let answer = output.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    assert_eq!(answer, agreed.as_deref(), "{output}");
    (harness, agreed)
}

/// A server that compresses, also what is short.
fn compressing(deflate: Deflate) -> Websocket {
    Websocket::new().compress(deflate.min_size(1))
}

fn server() -> Harness<Websocket> {
    offered(compressing(Deflate::new()), P).0
}

fn takeover() -> Harness<Websocket> {
    offered(compressing(Deflate::new().takeover(true)), P).0
}

/// A client's connection whose server has answered this.
fn answered(deflate: Deflate, answer: &str) -> Harness<WebsocketClient> {
    let client = WebsocketClient::new(hello()).compress(deflate.min_size(1));
    let mut harness = Harness::new(client, Instant::now()).role(Role::Client);
    harness.open();
    let request = harness.output();
    assert!(String::from_utf8_lossy(&request).contains("\r\nSec-WebSocket-Extensions: permessage-deflate"));
    let whole = answer_to(&request);
    let fields = format!("\r\nSec-WebSocket-Extensions: {answer}\r\n\r\n");
    harness.feed(whole.replace("\r\n\r\n", if answer.is_empty() { "\r\n\r\n" } else { &fields }).as_bytes());
    harness
}

const NO_TAKEOVER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The payload that inflates to this, whatever was there before.
fn deflated(text: &str) -> Vec<u8> {
    // Stored: final bit and type, length, complement, bytes; the padding.
    let length = (text.len() as u16).to_le_bytes();
    let complement = (!(text.len() as u16)).to_le_bytes();
    [&[0][..], &length, &complement, text.as_bytes(), &[0]].concat()
}

fn failed(harness: &mut Harness<Websocket>) -> (Option<u16>, Error) {
    (close_code(&harness.output()), harness.error().unwrap().clone())
}

#[test]
fn compression_is_negotiated_where_both_want_it() {
    assert_eq!(offered(Websocket::new(), P).1, None, "it is off by default");
    assert_eq!(offered(compressing(Deflate::new()), P).1.unwrap(), NO_TAKEOVER);
    assert_eq!(offered(compressing(Deflate::new()), "other, x; y=z").1, None);
    assert_eq!(offered(Websocket::new().compress(Deflate::new()).compress(None), P).1, None);
    let (mut harness, _) = offered(Websocket::new(), P);
    harness.feed(&masked(TEXT, HELLO));
    assert_eq!(failed(&mut harness).0, Some(1002), "a bit without a meaning");
    // A server that has agreed may get, and send, what is not compressed.
    let mut harness = server();
    harness.feed(&masked(0x81, "plain"));
    harness.send(Message::from("plain plain plain").compress(false)).unwrap();
    assert_eq!(harness.seen(), [text("plain")]);
    assert_eq!(frames(&harness.output()), [(0x81, b"plain plain plain".to_vec())]);
}

#[test]
fn the_application_can_decide_against_it() {
    use crate::websocket::handshake::Accept;
    let mut harness = Harness::new(compressing(Deflate::new()).ask(true), Instant::now());
    harness.feed(&request(P));
    let Some(Seen::Event(Event::Handshake(token))) = harness.seen().pop() else { panic!("no token") };
    token.accept(Accept::new().compress(false)).unwrap();
    harness.decode();
    assert!(!String::from_utf8_lossy(&harness.output()).contains("Extensions"));
    harness.send("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
    assert_eq!(harness.output()[0], 0x81);
}

#[test]
fn compressed_messages_arrive_however_they_are_cut() {
    let input = [
        masked(TEXT, HELLO),
        masked(0x81, "plain"),
        // In three fragments, with a ping between them.
        masked(BEGIN, &HELLO[..3]),
        masked(0x89, "ping"),
        masked(0x00, &HELLO[3..5]),
        masked(0x00, ""),
        masked(0x80, &HELLO[5..]),
        masked(BINARY, HELLO),
        // Empty; with a final block; in two blocks.
        masked(TEXT, [0]),
        masked(TEXT, [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]),
        masked(TEXT, [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]),
        masked(TEXT, deflated("é€😀")),
    ]
    .concat();
    for make in [server, takeover] {
        let seen = every_split(make, &input);
        assert_eq!(seen.ended, Ended::Clean);
        assert_eq!(
            seen.seen,
            [
                text("Hello"),
                text("plain"),
                ping(b"ping"),
                text("Hello"),
                Seen::Message(b"Hello".into()),
                text(""),
                text("Hello"),
                text("Hello"),
                text("é€😀"),
            ]
        );
    }
    // Nothing is left behind, but for a context that is taken over.
    for (make, idle) in [(server as fn() -> _, true), (takeover, false)] {
        let mut harness: Harness<Websocket> = make();
        harness.feed(&input);
        assert_eq!(harness.protocol().is_idle(), idle);
    }
}

#[test]
fn a_context_is_taken_over_in_each_direction() {
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let mut harness = takeover();
    harness.feed(&[masked(TEXT, HELLO), masked(TEXT, again)].concat());
    assert_eq!(harness.seen(), [text("Hello"), text("Hello")]);
    let mut harness = server();
    harness.feed(&[masked(TEXT, HELLO), masked(TEXT, again)].concat());
    assert_eq!(failed(&mut harness), (Some(1007), Error::Inflate));

    let message = "what is said twice is said in fewer bytes";
    for (mut harness, shorter) in [(takeover(), true), (server(), false)] {
        harness.send(Message::from(message).compress(true)).unwrap();
        let first = harness.output().len();
        // This one does not touch the context.
        harness.send(Message::from(message).compress(false)).unwrap();
        assert_eq!(harness.output().len(), message.len() + 2);
        harness.send(Message::from(message).compress(true)).unwrap();
        assert_eq!(harness.output().len() < first / 2, shorter);
    }
}

#[test]
fn what_is_sent_arrives() {
    let settings = [
        Deflate::new(),
        Deflate::new().level(1).server_max_window_bits(9).client_max_window_bits(10),
        Deflate::new().takeover(true),
        Deflate::new().level(9).server_no_context_takeover(false),
        Deflate::new().client_no_context_takeover(false).client_max_window_bits(9),
        Deflate::new().takeover(true).max_contexts(1),
    ];
    let sizes = [0, 1, 10, 125, 126, 4096, 65_535, 65_536, 200_000];
    let messages = || {
        sizes.into_iter().flat_map(|size| {
            let text: String = (0..size / 4).map(|at| format!("{:03} ", at % 777)).collect();
            let noise: Vec<u8> = (0..size as u64).map(|at| (at * at / 7) as u8).collect();
            [
                Outgoing::from(noise),
                text.clone().into(),
                Message::from(text.as_str()).compress(true),
                Message::from(text).compress(false),
            ]
        })
    };
    for deflate in settings {
        let (mut server, mut client) = {
            let client = WebsocketClient::new(hello()).compress(deflate.clone().min_size(1));
            let mut client = Harness::new(client, Instant::now()).role(Role::Client);
            client.open();
            let mut server = Harness::new(compressing(deflate.clone()), Instant::now());
            server.feed(&client.output());
            client.feed(&server.output());
            let opened = |seen: &[_]| matches!(seen, [Seen::Event(Event::Open(_))]);
            assert!(opened(&client.seen()) && opened(&server.seen()));
            (server, client)
        };
        for message in messages() {
            for to_client in [true, false] {
                let (sent, seen) = if to_client {
                    server.send(message.clone()).unwrap();
                    let output = server.output();
                    client.feed(&output);
                    (output, client.seen())
                } else {
                    client.send(message.clone()).unwrap();
                    let output = client.output();
                    server.feed(&output);
                    (output, server.seen())
                };
                let Outgoing::Message { message, compress } = &message else { panic!("{message:?}") };
                assert!(*compress != Some(false) || sent[0] & 0x40 == 0);
                assert!(matches!(&seen[..], [Seen::Message(seen)] if seen == message), "{}", message.len());
            }
        }
    }
    // And with the checks that every codec has to pass.
    round_trip(
        server(),
        || answered(Deflate::new(), NO_TAKEOVER),
        ["a".repeat(1000), String::new(), "é".repeat(70_000)].map(Outgoing::from),
    );
}

#[test]
fn short_messages_are_sent_as_they_are() {
    let (mut harness, _) = offered(Websocket::new().compress(Deflate::new()), P);
    for (length, first) in [(1, 0x81), (255, 0x81), (256, TEXT), (10_000, TEXT)] {
        harness.send("a".repeat(length)).unwrap();
        assert_eq!(harness.output()[0], first, "{length}");
    }
    harness.send(Message::from("a".repeat(100)).compress(true)).unwrap();
    assert_eq!(harness.output()[0], TEXT);
    // Control frames never are, and fragments are the application's.
    harness.send(Outgoing::ping("a".repeat(125))).unwrap();
    harness
        .send(Fragment { kind: Kind::Text, first: true, last: true, data: "a".repeat(300).into() })
        .unwrap();
    let sent: Vec<u8> = frames(&harness.output()).iter().map(|(first, _)| *first).collect();
    assert_eq!(sent, [0x89, 0x81]);
}

#[test]
fn reserved_bits_have_their_places() {
    for (input, code) in [
        (masked(0xe1, HELLO), 1002),
        (masked(0xd1, HELLO), 1002),
        (masked(0xc9, "ping"), 1002),
        (masked(0xc8, closing(1000, "")), 1002),
        // RFC 7692 section 6: on the first frame alone.
        ([masked(BEGIN, &HELLO[..3]), masked(0xc0, &HELLO[3..])].concat(), 1002),
        ([masked(0x01, "a"), masked(0xc0, HELLO)].concat(), 1002),
        (masked(0xc0, HELLO), 1002),
    ] {
        refused_by(server, &input, code);
    }
}

#[test]
fn what_cannot_be_inflated_is_refused() {
    for input in [
        masked(TEXT, [0x07, 0x00]),
        masked(TEXT, &HELLO[..4]),
        [masked(BEGIN, &HELLO[..4]), masked(0x80, "")].concat(),
        masked(BINARY, [0xff; 200]),
    ] {
        refused_by(server, &input, 1007);
        refused_by(takeover, &input, 1007);
    }
    // Text has to be some, as soon as that can be known.
    refused_by(server, &masked(TEXT, [0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00]), 1007);
    let mut harness = server();
    harness.feed(&masked(BEGIN, [0x00, 0x02, 0x00, 0xfd, 0xff, 0xff]));
    assert_eq!(failed(&mut harness), (Some(1007), Error::Utf8), "before the message is complete");
    // A character may be cut anywhere, and has to be complete at the end.
    let whole = deflated("a€");
    for cut in 0..whole.len() {
        let seen = every_split(server, &[masked(BEGIN, &whole[..cut]), masked(0x80, &whole[cut..])].concat());
        assert_eq!(seen.seen, [text("a€")]);
    }
    refused_by(server, &masked(TEXT, [0x00, 0x02, 0x00, 0xfd, 0xff, 0xe2, 0x82, 0x00]), 1007);
}

#[test]
fn the_limit_is_that_of_what_is_inflated() {
    let limited = || offered(compressing(Deflate::new()).max_message(10_000), P).0;
    let compressed = |length: usize| {
        let mut harness = takeover();
        harness.send(Message::from("a".repeat(length)).compress(true)).unwrap();
        frames(&harness.output()).remove(0).1
    };
    let mut harness = limited();
    harness.feed(&masked(TEXT, compressed(10_000)));
    assert_eq!(harness.seen(), [text(&"a".repeat(10_000))]);
    for payload in [compressed(10_001), compressed(20_000_000)] {
        let mut harness = limited();
        harness.feed(&masked(TEXT, &payload));
        assert_eq!(failed(&mut harness).0, Some(1009));
        // Before the message is complete.
        let mut harness = limited();
        harness.feed(&masked(BEGIN, &payload[..payload.len() - 1]));
        assert_eq!(failed(&mut harness).0, Some(1009));
        assert!(harness.seen().is_empty());
    }
    // A payload that is larger than what it holds may be as large as a frame.
    let mut harness = offered(compressing(Deflate::new()).max_message(4), P).0;
    harness.feed(&masked(TEXT, deflated("four")));
    assert_eq!(harness.seen(), [text("four")]);
}

#[test]
fn fragments_of_compressed_messages_are_delivered_in_bounded_pieces() {
    let delivering = |deflate| offered(compressing(deflate).max_message(100).fragments(true), P).0;
    let whole = "é€".repeat(300_000);
    let mut sender = server();
    sender.send(Message::from(whole.as_str()).compress(true)).unwrap();
    let payload = frames(&sender.output()).remove(0).1;
    // Without places for contexts as well: nothing may be held back and come at once.
    for deflate in [Deflate::new(), Deflate::new().max_contexts(0)] {
        for cut in [1, payload.len() / 2, payload.len()] {
            let mut harness = delivering(deflate.clone());
            harness.feed(&masked(BEGIN, &payload[..cut]));
            harness.feed(&masked(0x80, &payload[cut..]));
            let mut text = String::new();
            let seen = harness.seen();
            assert!(seen.len() > 4);
            for (at, event) in seen.iter().enumerate() {
                let Seen::Event(Event::Fragment(fragment)) = event else { panic!("{event:?}") };
                assert_eq!((fragment.first, fragment.last), (at == 0, at + 1 == seen.len()));
                assert!(fragment.data.len() <= 65_536 + 256 * 1040, "{}", fragment.data.len());
                text.push_str(fragment.as_text().unwrap());
            }
            assert!(text == whole && harness.protocol().is_idle());
        }
    }
    let delivering = || delivering(Deflate::new());
    let mut harness = delivering();
    harness.feed(&[masked(TEXT, [0]), masked(BINARY, HELLO)].concat());
    let whole = |kind, data: &'static [u8]| {
        Seen::Event(Event::Fragment(Fragment { kind, first: true, last: true, data: data.into() }))
    };
    assert_eq!(harness.seen(), [whole(Kind::Text, b""), whole(Kind::Binary, b"Hello")]);
    refused_by(delivering, &masked(TEXT, [0x00, 0x02, 0x00, 0xfd, 0xff, 0xe2, 0x82, 0x00]), 1007);
}

#[test]
fn a_client_fails_where_the_answer_is_none_to_its_offer() {
    let none = "";
    let mut fine = answered(Deflate::new(), none);
    fine.send("a".repeat(1000)).unwrap();
    assert_eq!(client_frames(&fine.output())[0].0, 0x81, "not agreed upon");
    let mut fine = answered(Deflate::new(), NO_TAKEOVER);
    fine.send("a".repeat(1000)).unwrap();
    assert_eq!(client_frames(&fine.output())[0].0, TEXT);
    fine.feed(&plain(TEXT, HELLO));
    assert!(fine.protocol().is_idle());
    assert_eq!(fine.messages(), ["Hello"]);
    for (answer, error) in [
        (P, NegotiationError::Takeover),
        ("permessage-deflate; server_no_context_takeover; foo", NegotiationError::Unknown),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits", NegotiationError::Value),
    ] {
        let mut harness = answered(Deflate::new(), answer);
        assert_eq!(harness.error(), Some(&Error::Extension(error)));
        assert_eq!(client_frames(&harness.output())[0].1[..2], 1010_u16.to_be_bytes());
        assert_eq!(farewell(&harness).0, 1010);
    }
}

#[test]
fn a_broadcast_is_compressed_once_for_each_way_to_do_it() {
    use crate::{Outbox, Protocol as _};
    let message = Outgoing::from("to everybody ".repeat(500));
    let shared = Websocket::encode_shared(&message).unwrap();
    let append = |sending: &mut _| {
        let mut out = Outbox::new();
        Websocket::append_shared(sending, &shared, &mut out).unwrap();
        out.into_bytes()
    };
    let bits = |deflate: &Deflate, offers: &str| {
        use crate::websocket::deflate::Outflow;
        use crate::websocket::handshake::Extension;
        let agreed = deflate.accept(&Extension::parse_all([offers.as_bytes()]).unwrap()).unwrap();
        let Outflow::Free(compressor) = agreed.into_halves(Role::Server).1 else { panic!("takeover") };
        compressor.to_bits()
    };
    let wide = bits(&Deflate::new(), P);
    let narrow = bits(&Deflate::new(), "permessage-deflate; server_max_window_bits=9");
    assert!(wide != narrow && wide > 0 && narrow > 0);
    let (first, second) = (append(&mut Websocket::free(wide)), append(&mut Websocket::free(wide)));
    assert_eq!(frames(&first)[0].0, TEXT);
    assert!(first.len() < 200);
    // It is not only the same: it is the same piece of memory, but for a copy into what is sent.
    let form = |bits| shared.memo(bits, || panic!("it has been made")).unwrap().as_ptr();
    assert_eq!((first, form(wide)), (second, form(wide)));
    append(&mut Websocket::free(narrow));
    assert_ne!(form(wide), form(narrow));
    assert_eq!(append(&mut Websocket::free(0)), *shared.bytes(), "without compression");

    // With a context it is everybody's own.
    let mut harness = takeover();
    for first in [true, false] {
        assert!(harness.send_shared(&message).unwrap());
        let output = harness.output();
        assert_eq!(frames(&output)[0].0, TEXT);
        assert_eq!(output.len() > 60, first, "{}", output.len());
    }
    // What must not be compressed is not, and what is short neither.
    for plain in [Message::from("a".repeat(1000)).compress(false), Outgoing::ping("a".repeat(100))] {
        for mut harness in [server(), takeover()] {
            assert!(harness.send_shared(&plain).unwrap());
            assert_eq!(harness.output()[0] & 0x40, 0);
        }
    }
    let (mut harness, _) = offered(Websocket::new().compress(Deflate::new()), P);
    for (message, first) in [
        (Message::from("a".repeat(200)).into(), 0x81),
        (Message::from("a".repeat(200)).compress(true), TEXT),
        (Message::from("a".repeat(300)).into(), TEXT),
    ] {
        assert!(harness.send_shared(&message).unwrap());
        assert_eq!(harness.output()[0], first);
    }
}
