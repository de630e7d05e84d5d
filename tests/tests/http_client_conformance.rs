//! The conformance data of responses against the client, and the same data changed at random against a second reader.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use fastrand::Rng;
use workerman_tests::http::client;
use workerman_tests::http::data::{Case, Expected, Message, Side, load};
use workerman_tests::http::mutate::mutated;
use workerman_tests::http::reference::{self, Answered, Limits};

#[test]
fn the_client_gives_the_verdict_of_each_case_however_it_is_cut() {
    let wrong: Vec<String> = load(Side::Client).iter().filter_map(|case| client::run(case).err()).collect();
    assert!(wrong.is_empty(), "{}\n{} cases", wrong.join("\n"), wrong.len());
}

/// What the reference makes of these bytes.
fn case_of(bytes: Vec<u8>, method: &str) -> Case {
    let limits = Limits { first_line: 1 << 16, head: 1 << 16, body: usize::MAX >> 1, ..Limits::default() };
    let lower = |name: Vec<u8>| String::from_utf8_lossy(&name).to_ascii_lowercase();
    let expected = reference::responses(&bytes, &[method], true, &limits).into_iter().map(|answered| {
        let Answered::Response(response) = answered else { return Expected::Error };
        let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (name, value) in response.message.fields {
            fields.entry(lower(name)).or_default().push(value);
        }
        // A length or coding where there can be no content is not believed, and nothing behind it.
        let length = fields.get("content-length").is_some_and(|length| *length != [b"0"]);
        let stray = response.status == 204 && (length || fields.contains_key("transfer-encoding"));
        let trailers = response.message.trailers.into_iter();
        let message = Message {
            minor: response.message.minor.min(1),
            fields,
            body: response.message.body,
            trailers: trailers
                .filter(|(name, _)| reference::may_trail(name))
                .map(|(name, value)| (lower(name), value))
                .collect(),
            close: response.message.close || stray,
            continues: None,
        };
        Expected::Response { status: response.status, message }
    });
    Case {
        place: "generated".into(),
        name: String::new(),
        sections: Vec::new(),
        settings: BTreeMap::new(),
        asked: vec![method.into()],
        expected: expected.collect(),
        bytes,
        turns: Vec::new(),
    }
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
        let case = case_of(mutated((&cases, whole), &mut random), method);
        read += usize::from(matches!(case.expected[0], Expected::Response { .. }));
        wrong.extend(client::run(&case).err());
    }
    assert!(wrong.is_empty(), "{}\n{} of {ROUNDS}", wrong.join("\n"), wrong.len());
    assert!(read > ROUNDS / 10, "only {read} inputs are responses");
}
