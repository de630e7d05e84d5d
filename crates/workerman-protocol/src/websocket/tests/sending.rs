//! What is sent: section 5.2, and 5.3 for clients.

use super::*;
use crate::testing::round_trip;
use crate::websocket::{Error, Fragment, Kind, Outgoing, seed_masking_keys};

#[test]
fn all_lengths_in_the_shortest_encoding() {
    for length in [0, 1, 125, 126, 127, 4096, 4097, 65_535, 65_536, 100_000] {
        let payload = vec![b'x'; length];
        let (mut server, mut client) = (server(), client());
        server.send(payload.clone()).unwrap();
        client.send(payload.clone()).unwrap();
        let output = server.output();
        assert!(output.starts_with(&header(0x82, length, None)));
        assert_eq!(frames(&output), [(0x82, payload.clone())]);
        let output = client.output();
        assert_eq!(output.len(), length + header(0x82, length, Some(KEY)).len());
        assert_eq!(client_frames(&output), [(0x82, payload)]);
    }
}

#[test]
fn whatever_can_be_a_message_can_be_sent() {
    let mut harness = server();
    harness.send("text").unwrap();
    harness.send(String::from("string")).unwrap();
    harness.send(format!("hello {}", Message::from("you"))).unwrap();
    harness.send(b"bytes").unwrap();
    harness.send(Message::from("message").compress(false)).unwrap();
    harness.send(Outgoing::ping("ping")).unwrap();
    harness.send(Outgoing::Pong(Bytes::new())).unwrap();
    let sent: Vec<(u8, Vec<u8>)> = [
        (0x81, "text"),
        (0x81, "string"),
        (0x81, "hello you"),
        (0x82, "bytes"),
        (0x81, "message"),
        (0x89, "ping"),
        (0x8a, ""),
    ]
    .map(|(first, payload)| (first, payload.into()))
    .into();
    assert_eq!(frames(&harness.output()), sent);
}

#[test]
fn fragments_are_sent_as_they_come() {
    let mut harness = client();
    for (first, last, data) in [(true, false, "one"), (false, false, ""), (false, true, "two")] {
        harness.send(Fragment { kind: Kind::Text, first, last, data: data.into() }).unwrap();
    }
    harness.send(Fragment { kind: Kind::Binary, first: true, last: true, data: "whole".into() }).unwrap();
    let sent = [(0x01, b"one".to_vec()), (0x00, vec![]), (0x80, b"two".to_vec()), (0x82, b"whole".to_vec())];
    assert_eq!(client_frames(&harness.output()), sent);
}

#[test]
fn control_frames_are_short() {
    let mut harness = server();
    harness.send(Outgoing::ping(vec![1; 125])).unwrap();
    assert_eq!(harness.output().len(), 127);
    assert_eq!(harness.send(Outgoing::ping(vec![1; 126])), Err(Error::ControlTooLong { length: 126 }));
    assert!(harness.output().is_empty());
}

#[test]
fn what_is_sent_before_the_handshake_follows_it() {
    let mut harness = Harness::new(Websocket::new(), Instant::now());
    harness.send("early").unwrap();
    assert!(harness.output().is_empty());
    harness.feed(REQUEST);
    let output = harness.output();
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(frames(&output[end..]), [(0x81, b"early".to_vec())]);

    let mut harness = Harness::new(WebsocketClient::new(hello()), Instant::now()).role(Role::Client);
    harness.send("early").unwrap();
    let answer = answer_to(&harness.output());
    harness.feed(answer.as_bytes());
    assert_eq!(client_frames(&harness.output()), [(0x81, b"early".to_vec())]);
}

#[test]
fn what_is_sent_arrives() {
    let sizes = [0, 1, 125, 126, 4096, 4097, 65_535, 65_536, 200_000];
    let messages = || {
        sizes.into_iter().flat_map(|size| {
            [Outgoing::from(vec![b'b'; size]), "é".repeat(size / 2).into(), "a".repeat(size).into()]
        })
    };
    round_trip(server(), client, messages());
    round_trip(client(), server, messages());
}

#[test]
fn each_frame_of_a_client_has_its_own_key() {
    let mut harness = client();
    for _ in 0..3 {
        harness.send(vec![0; 8]).unwrap();
    }
    let output = harness.output();
    let keys: Vec<_> = output.chunks(14).map(|frame| &frame[2..6]).collect();
    assert!(keys[0] != keys[1] || keys[1] != keys[2]);
    // In tests they can be known.
    let send = |seed| {
        seed_masking_keys(Some(seed));
        harness_output(seed)
    };
    assert_eq!(send(1), send(1));
    assert_ne!(send(1), send(2));
    seed_masking_keys(None);
}

fn harness_output(_: u64) -> Bytes {
    let mut harness = client();
    harness.send("text").unwrap();
    harness.output()
}

#[test]
fn a_large_message_of_a_server_is_sent_by_reference() {
    use bytes::Buf;

    use crate::Outbox;
    let message = Bytes::from(vec![7; 10_000]);
    let mut out = Outbox::new();
    Websocket::encode(&mut Websocket::free(0), message.clone().into(), &mut out).unwrap();
    assert_eq!(out.chunk(), header(0x82, 10_000, None));
    out.advance(4);
    assert_eq!(out.chunk().as_ptr(), message.as_ptr());
}
