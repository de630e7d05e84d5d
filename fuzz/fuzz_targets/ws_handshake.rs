//! Handshakes of WebSocket, both sides: how they are cut makes no difference, and nothing opens a connection but a request
//! (an answer) that has what it must have.
#![no_main]
#![forbid(unsafe_code)]

use std::time::Instant;

use libfuzzer_sys::{arbitrary, fuzz_target};
use workerman_protocol::testing::{Harness, Seen};
use workerman_protocol::websocket::handshake::{Hello, Key};
use workerman_protocol::websocket::{Event, Websocket, WebsocketClient};
use workerman_protocol::{Protocol, Role};

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    client: bool,
    cut: u16,
    /// Instead of a first line that is right.
    first: Option<Vec<u8>>,
    lines: Vec<(Line, Option<Vec<u8>>)>,
    behind: Vec<u8>,
}

#[derive(arbitrary::Arbitrary, Debug)]
enum Line {
    Host,
    Upgrade,
    Connection,
    Key,
    Version,
    Accept,
    Protocol,
    Extensions,
    Origin,
    Cookie,
    Length,
    Other(Vec<u8>),
}

impl Line {
    /// The name, and a value that is right.
    fn text<'a>(&'a self, accept: &'a str) -> (&'a [u8], &'a str) {
        match self {
            Self::Host => (b"Host", "a"),
            Self::Upgrade => (b"Upgrade", "websocket"),
            Self::Connection => (b"Connection", "Upgrade"),
            Self::Key => (b"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            Self::Version => (b"Sec-WebSocket-Version", "13"),
            Self::Accept => (b"Sec-WebSocket-Accept", accept),
            Self::Protocol => (b"Sec-WebSocket-Protocol", "chat"),
            Self::Extensions => (b"Sec-WebSocket-Extensions", "permessage-deflate"),
            Self::Origin => (b"Origin", "http://a"),
            Self::Cookie => (b"Cookie", "a=b"),
            Self::Length => (b"Content-Length", "0"),
            Self::Other(name) => (name, ""),
        }
    }
}

fn bytes(input: &Input, first: &[u8], accept: &str) -> Vec<u8> {
    let mut bytes = input.first.clone().unwrap_or_else(|| first.to_vec());
    bytes.extend_from_slice(b"\r\n");
    for (line, value) in &input.lines {
        let (name, right) = line.text(accept);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_deref().unwrap_or(right.as_bytes()));
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&input.behind);
    bytes
}

/// Whether it opens, with which sub-protocol.
fn opened<P: Protocol<Event = Event>>(harness: &mut Harness<P>) -> Option<Option<String>> {
    harness.seen().into_iter().find_map(|seen| match seen {
        Seen::Event(Event::Open(open)) => Some(open.protocol().map(str::to_owned)),
        _ => None,
    })
}

fn has(head: &str, name: &str, value: &str) -> bool {
    let right = |line: &str| {
        let (own, text) = line.split_once(':')?;
        let listed = text.split(',').any(|text| text.trim().eq_ignore_ascii_case(value));
        (own.eq_ignore_ascii_case(name) && listed).then_some(())
    };
    head.split("\r\n").any(|line| right(line).is_some())
}

fn server(input: &Input) {
    let bytes = bytes(input, b"GET / HTTP/1.1", "");
    let run = |cut: usize| {
        let mut harness = Harness::new(Websocket::new().protocols(["chat"]), Instant::now());
        harness.feed(&bytes[..cut]);
        harness.feed(&bytes[cut..]);
        (opened(&mut harness), harness.output())
    };
    let (open, output) = run(bytes.len());
    let (other, other_output) = run(usize::from(input.cut) % (bytes.len() + 1));
    // Of two rules that are broken the one that is named may be another one.
    let essence = |output: &[u8]| match output {
        [line @ .., _, _] if line.starts_with(b"HTTP/1.1 101 ") => line.to_vec(),
        other => other[..other.len().min(12)].to_vec(),
    };
    assert_eq!((&open, essence(&output)), (&other, essence(&other_output)), "cut");
    assert_eq!(open.is_some(), output.starts_with(b"HTTP/1.1 101 "));
    if open.is_some() {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        assert!(
            head.starts_with("GET ")
                && has(head, "upgrade", "websocket")
                && has(head, "connection", "upgrade")
        );
        assert!(has(head, "sec-websocket-version", "13"));
    }
}

fn client(input: &Input) {
    let run = |cut: usize| {
        let hello = Hello::new("ws://a/").expect("it is an address").protocols(["chat"]);
        let mut harness = Harness::new(WebsocketClient::new(hello), Instant::now()).role(Role::Client);
        harness.open();
        let request = String::from_utf8_lossy(&harness.output()).into_owned();
        let key = request.split("\r\n").find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let key = key.and_then(|key| Key::parse(key.as_bytes())).expect("it has a key");
        let bytes = bytes(input, b"HTTP/1.1 101 X", key.answer().as_str());
        let cut = cut % (bytes.len() + 1);
        harness.feed(&bytes[..cut]);
        harness.feed(&bytes[cut..]);
        let open = opened(&mut harness);
        if open.is_some() {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(
                has(&text, "upgrade", "websocket")
                    && has(&text, "sec-websocket-accept", key.answer().as_str())
            );
        }
        harness.eof();
        // The same for what is wrong with an answer.
        (open, harness.error().map(std::mem::discriminant))
    };
    assert_eq!(run(usize::from(input.cut)), run(0), "cut");
}

fuzz_target!(|input: Input| { if input.client { client(&input) } else { server(&input) } });
