//! The conformance data of responses against the client, and the same data changed at random against a second reader.
#![forbid(unsafe_code)]

use fastrand::Rng;
use workerman_tests::http::client;
use workerman_tests::http::data::{Expected, Side, load};
use workerman_tests::http::mutate::mutated;

#[test]
fn the_client_gives_the_verdict_of_each_case_however_it_is_cut() {
    let wrong: Vec<String> = load(Side::Client).iter().filter_map(|case| client::run(case).err()).collect();
    assert!(wrong.is_empty(), "{}\n{} cases", wrong.join("\n"), wrong.len());
}

#[test]
fn a_second_reader_sees_the_same_responses() {
    const ROUNDS: usize = 4000;
    let mut cases = load(Side::Client);
    cases.retain(|case| case.bytes.len() < 300 && case.asked.len() == 1);
    cases.sort_by_key(|case| !matches!(case.expected[0], Expected::Response { .. }));
    let whole = cases.iter().filter(|case| matches!(case.expected[0], Expected::Response { .. })).count();
    let mut random = Rng::with_seed(9112);
    let (mut wrong, mut read) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let method = if random.u8(..8) == 0 { "HEAD" } else { "GET" };
        let case = client::case_of(&mutated((&cases, whole), &mut random), method);
        read += usize::from(matches!(case.expected[0], Expected::Response { .. }));
        wrong.extend(client::run(&case).err());
    }
    assert!(wrong.is_empty(), "{}\n{} of {ROUNDS}", wrong.join("\n"), wrong.len());
    assert!(read > ROUNDS / 10, "only {read} inputs are responses");
}
