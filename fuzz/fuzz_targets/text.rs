//! Lines: cuts make no difference, limits hold, what is decoded encodes to the same again, and the lines are those that
//! a plain split finds.
#![no_main]
#![forbid(unsafe_code)]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use workerman_protocol::testing::{Harness, limits, random_splits, round_trip};
use workerman_protocol::{Line, Text};

fuzz_target!(|input: (u8, u64, Vec<u8>)| {
    let (limit, seed, bytes) = input;
    let limit = usize::from(limit).max(1);
    let now = Instant::now();
    let text = || Harness::new(Text::new().max_message(limit), now);

    let transcript = random_splits(text, &bytes, seed);
    let expected = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .take_while(|line| line.len() <= limit && line.ends_with(b"\n"))
        .map(|line| {
            &line[..line.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1)]
        });
    assert!(transcript.messages().map(Line::as_bytes).eq(expected));
    assert_eq!(limits(text, &bytes).messages().count(), transcript.messages().count());

    let text = || Harness::new(Text::new(), now);
    round_trip(text(), text, transcript.messages().cloned());
});
