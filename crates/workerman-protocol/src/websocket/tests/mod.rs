//! Tests of open connections, by the sections of RFC 6455.

mod closing;
mod compression;
mod deflate;
mod frames;
mod heartbeat;
mod limits;
mod random;
mod sending;
mod text;

use std::time::Instant;

use bytes::Bytes;

use super::handshake::{Hello, Key};
use super::{Event, Message, Websocket, WebsocketClient};
use crate::testing::{Ended, Harness, Seen, Transcript, every_split};
use crate::{Protocol, Role};

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A server's connection that is open.
fn server_of(websocket: Websocket) -> Harness<Websocket> {
    let mut harness = Harness::new(websocket, Instant::now());
    harness.feed(REQUEST);
    assert!(matches!(harness.seen()[..], [Seen::Event(Event::Open(_))]));
    assert!(harness.output().starts_with(b"HTTP/1.1 101 "));
    harness
}

fn server() -> Harness<Websocket> {
    server_of(Websocket::new())
}

fn hello() -> Hello {
    Hello::new("ws://example.com/").unwrap()
}

/// The answer to the request that a client has sent.
fn answer_to(request: &[u8]) -> String {
    let request = std::str::from_utf8(request).unwrap();
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let answer = Key::parse(key.as_bytes()).unwrap().answer();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        answer.as_str()
    )
}

/// A client's connection that is open.
fn client_of(client: WebsocketClient) -> Harness<WebsocketClient> {
    let mut harness = Harness::new(client, Instant::now()).role(Role::Client);
    harness.open();
    let answer = answer_to(&harness.output());
    harness.feed(answer.as_bytes());
    assert!(matches!(harness.seen()[..], [Seen::Event(Event::Open(_))]));
    harness
}

fn client() -> Harness<WebsocketClient> {
    client_of(WebsocketClient::new(hello()))
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The header of a frame.
fn header(first: u8, length: usize, key: Option<[u8; 4]>) -> Vec<u8> {
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut header = match length {
        0..=125 => vec![first, mask | length as u8],
        126..=0xffff => [&[first, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
    };
    header.extend(key.into_iter().flatten());
    header
}

/// A frame of a client.
fn masked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = header(first, payload.len(), Some(KEY));
    frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ KEY[i % 4]));
    frame
}

/// A frame of a server.
fn plain(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&header(first, payload.len(), None)[..], payload].concat()
}

/// A close frame's payload.
fn closing(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

fn text(text: &str) -> Seen<Message, Event> {
    Seen::Message(text.into())
}

fn ping(payload: &'static [u8]) -> Seen<Message, Event> {
    Seen::Event(Event::Ping(Bytes::from_static(payload)))
}

fn pong(payload: &'static [u8]) -> Seen<Message, Event> {
    Seen::Event(Event::Pong(Bytes::from_static(payload)))
}

/// The frames of a server in its output: the first byte, and the payload.
fn frames(mut output: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = output {
        let (length, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(*rest.first_chunk().unwrap()) as usize, &rest[8..]),
            // A masked one would be above.
            length => (usize::from(*length), rest),
        };
        frames.push((*first, rest[..length].to_vec()));
        output = &rest[length..];
    }
    assert!(output.is_empty());
    frames
}

/// The frames of a client, unmasked.
fn client_frames(mut output: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = output {
        assert!(second & 0x80 != 0, "a client masks everything");
        let (length, rest) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(*rest.first_chunk().unwrap()) as usize, &rest[8..]),
            length => (usize::from(length), rest),
        };
        let (key, rest) = rest.split_at(4);
        frames.push((*first, rest[..length].iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect()));
        output = &rest[length..];
    }
    assert!(output.is_empty());
    frames
}

/// The code of the close frame that is the last thing in a server's output.
fn close_code(output: &[u8]) -> Option<u16> {
    let frames = frames(output);
    let (first, payload) = frames.last()?;
    (*first == 0x88).then(|| u16::from_be_bytes(*payload.first_chunk().unwrap()))
}

/// Feeds a server, cut everywhere, and checks that it fails with this code.
fn refused(input: &[u8], code: u16) -> Transcript<Websocket> {
    refused_by(server, input, code)
}

fn refused_by(make: impl FnMut() -> Harness<Websocket>, input: &[u8], code: u16) -> Transcript<Websocket> {
    let transcript = every_split(make, input);
    assert!(matches!(transcript.ended, Ended::Failed(_)), "{input:x?}: {transcript:?}");
    assert_eq!(close_code(&transcript.output), Some(code), "{input:x?}: {transcript:?}");
    transcript
}

/// Feeds a server, cut everywhere, and checks that it goes on.
fn taken(input: &[u8]) -> Vec<Seen<Message, Event>> {
    let transcript = every_split(server, input);
    assert_eq!(transcript.ended, Ended::Clean, "{input:x?}: {transcript:?}");
    transcript.seen
}

/// The farewell of a connection: code, text, by the peer, clean.
fn farewell<P: Protocol>(harness: &Harness<P>) -> (u16, String, bool, bool) {
    let farewell = harness.protocol().farewell().unwrap();
    (farewell.code, farewell.text.into(), farewell.by_peer, farewell.clean)
}
