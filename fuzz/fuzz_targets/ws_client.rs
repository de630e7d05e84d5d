//! Frames that a client receives, and what it sends: the same as for a server; and what one side sends, the other receives.
#![no_main]
#![forbid(unsafe_code)]

use std::time::Instant;

use libfuzzer_sys::{arbitrary, fuzz_target};
use workerman_fuzz::ws::{End, Frame, MAX_FRAGMENTS, MAX_MESSAGE, cut, read};
use workerman_protocol::Role;
use workerman_protocol::testing::{Ended, Harness, Seen, round_trip};
use workerman_protocol::websocket::handshake::Hello;
use workerman_protocol::websocket::{Outgoing, Websocket, WebsocketClient, seed_masking_keys};

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    size: u8,
    frames: Vec<Frame>,
    rest: Vec<u8>,
}

/// Both sides, open.
fn pair(now: Instant, client: &WebsocketClient) -> (Harness<WebsocketClient>, Harness<Websocket>) {
    let mut client = Harness::new(client.clone(), now).role(Role::Client);
    let mut server = Harness::new(Websocket::new(), now);
    client.open();
    server.feed(&client.output());
    client.feed(&server.output());
    assert!(client.seen().len() == 1 && server.seen().len() == 1);
    (client, server)
}

fuzz_target!(|input: Input| {
    let mut bytes = Vec::new();
    input.frames.iter().for_each(|frame| frame.write(false, &mut bytes));
    bytes.extend_from_slice(&input.rest);
    let now = Instant::now();
    let hello = Hello::new("ws://a/").expect("it is an address");
    let client = WebsocketClient::new(hello).max_message(MAX_MESSAGE).max_fragments(MAX_FRAGMENTS);
    // Pongs are masked; with the same keys they are the same.
    let open = || {
        seed_masking_keys(Some(input.size.into()));
        pair(now, &client).0
    };
    let transcript = cut(open, &bytes, input.size);
    let expected = read(&bytes, false);
    assert_eq!(transcript.seen, expected.seen);
    match &expected.end {
        End::Clean | End::Closed(_) => assert_eq!(transcript.ended, Ended::Clean),
        End::Truncated => assert_eq!(transcript.ended, Ended::Truncated),
        End::Broken(_) => assert!(matches!(transcript.ended, Ended::Failed(_))),
    }
    // It waits for the server to end the stream.
    assert!(!transcript.finished);
    // What it has said can be read, and says what it should.
    let said = read(&transcript.output, true);
    assert_eq!(
        said.end,
        match expected.end {
            End::Clean | End::Truncated => End::Clean,
            End::Closed(code) => End::Closed(code),
            End::Broken(code) => End::Closed(Some(code)),
        }
    );

    let sent: Vec<Outgoing> = expected
        .seen
        .into_iter()
        .filter_map(|seen| match seen {
            Seen::Message(message) => Some(message.into()),
            Seen::Event(_) => None,
        })
        .collect();
    round_trip(pair(now, &client).0, || pair(now, &client).1, sent.iter().cloned());
    round_trip(pair(now, &client).1, || pair(now, &client).0, sent);
});
