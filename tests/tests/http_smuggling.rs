//! Request smuggling: no bytes in which this server and a second reader see different requests.
#![forbid(unsafe_code)]

use fastrand::Rng;
use workerman_tests::http::data::{Case, Expected, Side, load};
use workerman_tests::http::drive;

/// What is put into inputs: what readers have disagreed about.
const PIECES: [&[u8]; 52] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\r",
    b" ",
    b"\t",
    b"\0",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\xff",
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"\\",
    b"+",
    b"-",
    b"_",
    b".",
    b"/",
    b"#",
    b"?",
    b"*",
    b"@",
    b"[",
    b"]",
    b"%",
    b"0",
    b"1",
    b"5",
    b"f",
    b"x",
    b"0x",
    b"chunked",
    b"identity",
    b"close",
    b"keep-alive",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// Short cases; those that are accepted come first, and their number.
fn cases(longest: usize) -> (Vec<Case>, usize) {
    let mut cases = load(Side::Server);
    cases.retain(|case| case.bytes.len() < longest);
    cases.sort_by_key(|case| !matches!(case.expected[0], Expected::Accept { .. }));
    let accepted = cases.iter().filter(|case| matches!(case.expected[0], Expected::Accept { .. })).count();
    (cases, accepted)
}

/// Some bytes of a case, changed a little.
fn mutated((cases, accepted): &(Vec<Case>, usize), random: &mut Rng) -> Vec<u8> {
    let most = if random.bool() { cases.len() } else { *accepted };
    let mut bytes = cases[random.usize(..most)].bytes.clone();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        let longest = if random.bool() { 1 } else { 30 };
        let end = at + random.usize(..=longest.min(bytes.len() - at));
        match random.u8(..6) {
            0 | 1 => drop(bytes.splice(at..at, PIECES[random.usize(..PIECES.len())].iter().copied())),
            2 => drop(bytes.splice(at..end, PIECES[random.usize(..PIECES.len())].iter().copied())),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                drop(bytes.splice(to..to, copy));
            }
            _ => {
                let other = &cases[random.usize(..cases.len())].bytes;
                let from = random.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

#[test]
fn a_second_reader_sees_the_same_requests() {
    const ROUNDS: u64 = 20_000;
    let cases = cases(700);
    let mut random = Rng::with_seed(9112);
    let mut accepted = 0;
    let mut wrong = Vec::new();
    for _ in 0..ROUNDS {
        let bytes = mutated(&cases, &mut random);
        wrong.extend(drive::agree(&bytes).err());
        let accept = |expected: &Expected| matches!(expected, Expected::Accept { .. });
        accepted += u64::from(drive::case_of(&bytes).expected.iter().any(accept));
    }
    assert!(wrong.is_empty(), "{}\n{} of {ROUNDS}", wrong.join("\n"), wrong.len());
    assert!(accepted > ROUNDS / 10, "only {accepted} inputs have a request in them");
}

#[test]
fn cuts_do_not_change_what_is_seen() {
    let cases = cases(300);
    let mut random = Rng::with_seed(9110);
    let mut wrong = Vec::new();
    for _ in 0..500 {
        let mut bytes = mutated(&cases, &mut random);
        // What is wrong with a line that is not complete is seen sooner or later, so the line is completed.
        bytes.extend_from_slice(b"\r\n\r\n");
        wrong.extend(drive::cuts(&drive::case_of(&bytes)).err());
    }
    assert!(wrong.is_empty(), "{}\n{} are different", wrong.join("\n"), wrong.len());
}
