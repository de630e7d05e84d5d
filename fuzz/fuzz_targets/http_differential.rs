//! Whole connections: the same requests, answers and end however the bytes are cut, and those that a second reader sees.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use workerman_fuzz::drive::{agree, case_of, cuts, some_cuts};
use workerman_fuzz::mutate::expand;

/// What connections are made of, besides the pieces of [`expand`].
const REQUESTS: [&[u8]; 5] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
];

fuzz_target!(|input: (u64, Vec<(u8, u16, Vec<u8>)>)| {
    let (seed, parts) = input;
    let mut bytes = Vec::new();
    for (which, at, more) in parts {
        // A request with something in it.
        let request = REQUESTS[usize::from(which) % REQUESTS.len()];
        let (front, back) = request.split_at(usize::from(at) % (request.len() + 1));
        bytes.extend_from_slice(&[front, &expand(&more), back].concat());
    }
    if let Err(what) = agree(&bytes) {
        panic!("{what}");
    }
    // What is wrong with a line that is not complete is seen sooner or later, so the line is completed.
    bytes.extend_from_slice(b"\r\n\r\n");
    let case = case_of(&bytes);
    if let Err(what) = some_cuts(&case, seed) {
        panic!("{what}");
    }
    if bytes.len() < 64 {
        if let Err(what) = cuts(&case) {
            panic!("{what}");
        }
    }
});
