//! Request smuggling: no bytes in which this server and a second reader see different requests.
#![forbid(unsafe_code)]

use fastrand::Rng;
use workerman_tests::http::data::{Case, Expected, Side, load};
use workerman_tests::http::drive;
use workerman_tests::http::mutate::mutated;

/// Short cases; those that are accepted come first, and their number.
fn cases(longest: usize) -> (Vec<Case>, usize) {
    let mut cases = load(Side::Server);
    cases.retain(|case| case.bytes.len() < longest);
    cases.sort_by_key(|case| !matches!(case.expected[0], Expected::Accept { .. }));
    let accepted = cases.iter().filter(|case| matches!(case.expected[0], Expected::Accept { .. })).count();
    (cases, accepted)
}

#[test]
fn a_second_reader_sees_the_same_requests() {
    const ROUNDS: u64 = 20_000;
    let (cases, accepted) = cases(700);
    let mut random = Rng::with_seed(9112);
    let mut served = 0;
    let mut wrong = Vec::new();
    for _ in 0..ROUNDS {
        let bytes = mutated((&cases, accepted), &mut random);
        wrong.extend(drive::agree(&bytes).err());
        let accept = |expected: &Expected| matches!(expected, Expected::Accept { .. });
        served += u64::from(drive::case_of(&bytes).expected.iter().any(accept));
    }
    assert!(wrong.is_empty(), "{}\n{} of {ROUNDS}", wrong.join("\n"), wrong.len());
    assert!(served > ROUNDS / 10, "only {served} inputs have a request in them");
}

#[test]
fn cuts_do_not_change_what_is_seen() {
    let (cases, accepted) = cases(300);
    let mut random = Rng::with_seed(9110);
    let mut wrong = Vec::new();
    for _ in 0..500 {
        let mut bytes = mutated((&cases, accepted), &mut random);
        // What is wrong with a line that is not complete is seen sooner or later, so the line is completed.
        bytes.extend_from_slice(b"\r\n\r\n");
        wrong.extend(drive::cuts(&drive::case_of(&bytes)).err());
    }
    assert!(wrong.is_empty(), "{}\n{} are different", wrong.join("\n"), wrong.len());
}
