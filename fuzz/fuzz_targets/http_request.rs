//! Request heads, and what follows them: the server sees the requests that a second reader sees, or refuses where that one
//! refuses.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use workerman_fuzz::drive::agree;
use workerman_fuzz::mutate::expand;

fuzz_target!(|input: Vec<u8>| {
    if let Err(what) = agree(&expand(&input)) {
        panic!("{what}");
    }
});
