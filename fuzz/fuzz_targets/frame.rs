//! Frames: cuts make no difference, limits hold, and what is decoded encodes to the very bytes it came from.
#![no_main]
#![forbid(unsafe_code)]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use workerman_protocol::Frame;
use workerman_protocol::testing::{Ended, Harness, limits, random_splits, round_trip};

fuzz_target!(|input: (u8, u64, Vec<u8>)| {
    let (limit, seed, bytes) = input;
    let limit = usize::from(limit);
    let now = Instant::now();
    let frame = || Harness::new(Frame::new().max_message(limit), now);

    let transcript = random_splits(frame, &bytes, seed);
    assert_eq!(limits(frame, &bytes).messages().count(), transcript.messages().count());
    round_trip(frame(), frame, transcript.messages().cloned());

    let mut again = frame();
    for message in transcript.messages() {
        assert!(message.len() + 4 <= limit.max(4));
        again.send(message.clone()).expect("what was received can be sent");
    }
    let again = again.output();
    assert!(bytes.starts_with(&again));
    assert_eq!(transcript.ended == Ended::Clean, again.len() == bytes.len());
});
