//! Chunked bodies: the server reads the data that a second reader reads, up to the same byte, however it is cut.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use workerman_fuzz::drive::{agree, case_of, some_cuts};
use workerman_fuzz::mutate::expand;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fuzz_target!(|input: (u64, Vec<u8>)| {
    let (seed, body) = input;
    let mut bytes = [HEAD, &expand(&body)].concat();
    if let Err(what) = agree(&bytes) {
        panic!("{what}");
    }
    // What is wrong with a line that is not complete is seen sooner or later, so the line is completed.
    bytes.extend_from_slice(b"\r\n\r\n");
    if let Err(what) = some_cuts(&case_of(&bytes), seed) {
        panic!("{what}");
    }
});
