//! Responses: the client gives its caller what a second reader reads, whole or as an error, however it is cut.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use workerman_fuzz::client::{case_of, some};
use workerman_fuzz::mutate::expand;

fuzz_target!(|input: (bool, bool, u64, Vec<u8>)| {
    let (head, any, seed, rest) = input;
    // Most of what does not begin like this is nothing.
    let begin: &[u8] = if any { b"" } else { b"HTTP/1.1 200 OK\r\n" };
    let bytes = [begin, &expand(&rest)].concat();
    let case = case_of(&bytes, if head { "HEAD" } else { "GET" });
    if let Err(what) = some(&case, seed) {
        panic!("{what}");
    }
});
