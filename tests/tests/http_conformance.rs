//! The conformance data of HTTP/1.1, against the reference reader and against the server.
#![forbid(unsafe_code)]

use workerman_event::BackendKind;
use workerman_tests::http::data::{Expected, Message, Side, load};
use workerman_tests::http::drive;
use workerman_tests::http::reference::{self, Answered, Asked, Field};
use workerman_tests::http::server::limits;
use workerman_tests::http::socket::{self, Answering};
use workerman_tests::http::text::show;
use workerman_tests::on_real_backends;

fn same_fields(expected: &Message, fields: &[Field]) -> bool {
    expected.fields.iter().all(|(name, values)| {
        let found = fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value).eq(values)
    })
}

fn same_message(expected: &Message, found: &reference::Message) -> bool {
    expected.minor == found.minor
        && expected.body == found.body
        && expected.close == found.close
        && same_fields(expected, &found.fields)
}

#[test]
fn the_reference_agrees_with_the_data_of_the_server() {
    let mut wrong = Vec::new();
    let cases = load(Side::Server);
    assert!(cases.len() >= 1200, "only {} cases", cases.len());
    for case in cases {
        let found = reference::requests(&case.bytes, &limits(&case));
        let mut expected = case.expected.iter();
        let fits = found.iter().all(|found| match (expected.next(), found) {
            (Some(Expected::Accept { method, target, message }), Asked::Request(request)) => {
                *method.as_bytes() == request.method
                    && *target == request.target
                    && same_message(message, &request.message)
            }
            (Some(Expected::Reject(list)), Asked::Refused(status)) => list.contains(status),
            (Some(Expected::Incomplete), Asked::Incomplete) => true,
            // Nothing is left over.
            (None, Asked::Incomplete) => true,
            _ => false,
        });
        if !fits || expected.next().is_some() {
            wrong.push(format!("{}: {} gave {found:?}", case.place, show(&case.bytes)));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} cases", wrong.join("\n"), wrong.len());
}

#[test]
fn the_reference_agrees_with_the_data_of_the_client() {
    let mut wrong = Vec::new();
    let cases = load(Side::Client);
    assert!(cases.len() >= 250, "only {} cases", cases.len());
    for case in cases {
        let asked: Vec<&str> = case.asked.iter().map(String::as_str).collect();
        let found = reference::responses(&case.bytes, &asked, true, &limits(&case));
        let mut expected = case.expected.iter();
        let fits = found.iter().all(|found| match (expected.next(), found) {
            (Some(Expected::Response { status, message }), Answered::Response(response)) => {
                *status == response.status && same_message(message, &response.message)
            }
            (Some(Expected::Error), Answered::Failed) => true,
            _ => false,
        });
        if !fits || expected.next().is_some() {
            wrong.push(format!("{}: {} gave {found:?}", case.place, show(&case.bytes)));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} cases", wrong.join("\n"), wrong.len());
}

#[test]
fn the_server_gives_the_verdict_of_each_case_however_it_is_cut() {
    let wrong: Vec<String> = load(Side::Server).iter().filter_map(|case| drive::run(case).err()).collect();
    assert!(wrong.is_empty(), "{}\n{} cases", wrong.join("\n"), wrong.len());
}

fn over_sockets(kind: BackendKind) {
    if let Err(wrong) = socket::run(kind, Answering::Returning, &load(Side::Server)) {
        panic!("{}\n{} cases", wrong.join("\n"), wrong.len());
    }
}

fn over_sockets_with_answers_by_token(kind: BackendKind) {
    if let Err(wrong) = socket::run(kind, Answering::ByToken, &load(Side::Server)) {
        panic!("{}\n{} cases", wrong.join("\n"), wrong.len());
    }
}

on_real_backends!(over_sockets, over_sockets_with_answers_by_token);
