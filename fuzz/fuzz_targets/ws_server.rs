//! Frames that a server receives: cuts make no difference; it sees what a plain reader sees, answers pings in their order,
//! and ends with the right code.
#![no_main]
#![forbid(unsafe_code)]

use std::time::Instant;

use libfuzzer_sys::{arbitrary, fuzz_target};
use workerman_fuzz::ws::{End, Frame, MAX_FRAGMENTS, MAX_MESSAGE, cut, read};
use workerman_protocol::testing::{Ended, Harness, Seen};
use workerman_protocol::websocket::{Event, Websocket};

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    size: u8,
    frames: Vec<Frame>,
    rest: Vec<u8>,
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A frame of a server.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8][..], payload].concat()
}

fuzz_target!(|input: Input| {
    let mut bytes = Vec::new();
    input.frames.iter().for_each(|frame| frame.write(true, &mut bytes));
    bytes.extend_from_slice(&input.rest);
    let now = Instant::now();
    let websocket = Websocket::new().max_message(MAX_MESSAGE).max_fragments(MAX_FRAGMENTS);
    let server = || {
        let mut harness = Harness::new(websocket.clone(), now);
        harness.feed(REQUEST);
        harness
    };
    let transcript = cut(server, &bytes, input.size);
    let expected = read(&bytes, true);
    assert_eq!(transcript.seen, expected.seen);
    let mut output: Vec<u8> = transcript
        .seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Event(Event::Ping(payload)) => Some(frame(0x8a, payload)),
            _ => None,
        })
        .flatten()
        .collect();
    match expected.end {
        End::Clean => assert_eq!(transcript.ended, Ended::Clean),
        End::Truncated => assert_eq!(transcript.ended, Ended::Truncated),
        End::Closed(code) => {
            assert!(transcript.finished && transcript.ended == Ended::Clean);
            output.extend(frame(0x88, &code.map_or(vec![], |code| code.to_be_bytes().to_vec())));
        }
        End::Broken(code) => {
            assert!(matches!(transcript.ended, Ended::Failed(_)));
            let said = &transcript.output[output.len()..];
            assert_eq!((said[0], &said[2..4]), (0x88, &code.to_be_bytes()[..]));
            assert!(usize::from(said[1]) == said.len() - 2 && std::str::from_utf8(&said[4..]).is_ok());
            output.extend_from_slice(said);
        }
    }
    assert_eq!(transcript.output, output);
});
