//! The conformance data of WebSocket, against a second reader and against both of our sides.
#![forbid(unsafe_code)]

use workerman_tests::websocket::data::{Case, End, Role, Setting, Step, load};
use workerman_tests::websocket::drive::{self, Outcome};
use workerman_tests::websocket::reference;

#[test]
fn the_reference_agrees_with_the_data() {
    let cases = load();
    assert!(cases.len() >= 2_000, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let (found, expected) = (reference::outcome(case), reference::joined(drive::expected(case)));
        if found != expected {
            let (found, expected) = (drive::brief(&found), drive::brief(&expected));
            wrong.push(format!("{}: {found} instead of {expected}", case.place));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} of {} cases", wrong.join("\n"), wrong.len(), cases.len());
}

#[test]
fn each_code_is_sent_in_some_case() {
    let cases = load();
    for role in [Role::Server, Role::Client] {
        for code in [1002, 1003, 1007, 1009] {
            let fails = |case: &&Case| case.role == role && matches!(case.end, End::Fails(c, _) if c == code);
            assert!(cases.iter().any(|case| fails(&case)), "no case of {role:?} fails with {code}");
        }
    }
}

#[test]
fn both_sides_do_what_the_data_says_however_it_is_cut() {
    let wrong: Vec<String> = load().iter().filter_map(|case| drive::run(case).err()).collect();
    assert!(wrong.is_empty(), "{}\n{} cases", wrong.join("\n"), wrong.len());
}

/// Changes some bytes: flips bits, removes, doubles, puts in what matters to a reader.
fn mutate(random: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    const CHOICE: [u8; 14] =
        [0, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a, 0x01, 0xc1, 0x7e, 0x7f, 0xfe, 0xff, 0xe9];
    for _ in 0..random.usize(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.usize(..bytes.len());
        match random.u8(..6) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => {
                bytes.remove(at);
            }
            2 => bytes.insert(at, CHOICE[random.usize(..CHOICE.len())]),
            3 => bytes[at] = CHOICE[random.usize(..CHOICE.len())],
            4 => bytes.truncate(at),
            _ => {
                let end = random.usize(at..bytes.len().min(at + 40));
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// One code may be as right as another where a frame breaks two rules.
fn same(found: &Outcome, expected: &Outcome) -> bool {
    let ends = match (&found.end, &expected.end) {
        (End::Fails(..), End::Fails(..)) => true,
        (found, expected) => found == expected,
    };
    ends && found.told == expected.told && found.answers == expected.answers
}

#[test]
fn both_readers_agree_on_bytes_that_nobody_has_thought_of() {
    // What is compressed has fuzz targets of its own: two inflaters need not find the same slip in noise.
    let plain = |case: &Case| {
        let has = |setting| case.settings.contains_key(&setting);
        drive::input(case) < 2_000 && !has(Setting::Fragments) && !has(Setting::Deflate)
    };
    let cases: Vec<Case> = load().into_iter().filter(plain).collect();
    let mut random = fastrand::Rng::with_seed(6455);
    for _ in 0..6_000 {
        let mut case = cases[random.usize(..cases.len())].clone();
        let other = &cases[random.usize(..cases.len())];
        for step in &mut case.steps {
            let Step::Bytes(bytes) = step else { continue };
            if other.role == case.role && random.bool() {
                bytes.extend(
                    other
                        .steps
                        .iter()
                        .filter_map(|step| match step {
                            Step::Bytes(bytes) => Some(bytes.as_slice()),
                            _ => None,
                        })
                        .flatten(),
                );
            }
            mutate(&mut random, bytes);
        }
        // How it ends is not known.
        (case.whole, case.end) = (false, End::Open);
        let expected = reference::outcome(&case);
        let length = drive::input(&case);
        let some: Vec<usize> = (1..length).filter(|_| random.u8(..4) == 0).collect();
        for cuts in [vec![], some] {
            let found = drive::exchange(&case, &cuts)
                .unwrap_or_else(|what| panic!("{}: {what}, cut at {cuts:?}: {:x?}", case.place, case.steps));
            assert!(
                same(&found, &expected),
                "{}: {} instead of {}, cut at {cuts:?}: {:x?}",
                case.place,
                drive::brief(&found),
                drive::brief(&expected),
                case.steps
            );
        }
    }
}
