//! Raw bytes: what goes in comes out, in the pieces in which it came.
#![no_main]
#![forbid(unsafe_code)]

use std::time::Instant;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use workerman_protocol::Raw;
use workerman_protocol::testing::Harness;

fuzz_target!(|pieces: Vec<Vec<u8>>| {
    let mut harness = Harness::new(Raw::new(), Instant::now());
    for piece in &pieces {
        harness.feed(piece);
    }
    let messages = harness.messages();
    assert!(messages.iter().eq(pieces.iter().filter(|piece| !piece.is_empty())));
    for message in messages {
        harness.send(message).expect("raw bytes always encode");
    }
    assert_eq!(harness.output(), Bytes::from(pieces.concat()));
});
