//! The client's side of the data: responses through [`HttpClient`], without a socket.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use workerman_protocol::Role;
use workerman_protocol::http::{
    Body, ClientEvent, ClientRequest, Headers, HttpClient, Response, StatusCode, Version,
};
use workerman_protocol::testing::{Harness, Seen};

use super::data::{Case, Expected, Message};
use super::reference::{self, Answered, Limits};
use super::text::show;

/// What the caller of one request got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Got {
    /// A whole response.
    Response {
        /// Its status code.
        status: u16,
        /// Its minor version.
        minor: u8,
        /// Its fields, names in lower case.
        fields: Vec<(String, Vec<u8>)>,
        /// Its body.
        body: Vec<u8>,
        /// The fields behind the body.
        trailers: Vec<(String, Vec<u8>)>,
        /// The connection carries no other request.
        close: bool,
    },
    /// An error, with or without a head before it.
    Error,
}

/// A response that is being read.
struct Reading {
    response: Response,
    body: Body,
    read: Vec<u8>,
    /// Whether the body is complete, once it is over.
    over: Option<bool>,
    /// What was said about the connection.
    reusable: bool,
}

/// Lets the pieces arrive: one list for each request, which is sent before them. Then the stream ends.
pub fn responses(case: &Case, turns: &[Vec<&[u8]>]) -> Vec<Got> {
    let mut harness = Harness::new(HttpClient::new(), Instant::now()).role(Role::Client);
    let mut got = Vec::new();
    let last = case.asked.len() - 1;
    for (at, method) in case.asked.iter().enumerate() {
        let mut reading = None;
        if harness.send(ClientRequest::new(method.as_str(), "http://example.com/")).is_ok() {
            for piece in turns.get(at).into_iter().flatten() {
                harness.feed(piece);
                follow(&mut harness, &mut reading);
            }
        }
        let kept = harness.is_open() && !harness.is_finished();
        // The last turn is behind, or there is none for this request.
        if at == last || turns.get(at).is_none() || !kept {
            harness.eof();
            follow(&mut harness, &mut reading);
        }
        let next = reading.map_or(Got::Error, |reading: Reading| reading.got(kept));
        let over = next == Got::Error || matches!(next, Got::Response { close: true, .. });
        got.push(next);
        if over {
            break;
        }
    }
    got
}

/// Takes over what the protocol has said, and reads on.
fn follow(harness: &mut Harness<HttpClient>, reading: &mut Option<Reading>) {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let mut moved = false;
        for seen in harness.seen() {
            moved = true;
            match seen {
                Seen::Message(mut response) => {
                    assert!(reading.is_none(), "a second response to one request");
                    let body = std::mem::replace(response.body_mut(), Body::empty());
                    *reading =
                        Some(Reading { response, body, read: Vec::new(), over: None, reusable: false });
                }
                Seen::Event(ClientEvent::Done { reusable }) => {
                    let reading = reading.as_mut().expect("an exchange is done when there was a response");
                    reading.reusable = reusable;
                }
                Seen::Event(ClientEvent::Interim(response)) => {
                    assert!(response.status().is_informational() && reading.is_none());
                }
                Seen::Event(other) => panic!("{other:?}"),
            }
        }
        if let Some(reading) = reading.as_mut().filter(|reading| reading.over.is_none()) {
            while let Poll::Ready(polled) = reading.body.poll_data(&mut cx) {
                moved = true;
                match polled {
                    Some(Ok(data)) => reading.read.extend_from_slice(&data),
                    Some(Err(_)) => reading.over = Some(false),
                    None => reading.over = Some(true),
                }
                if reading.over.is_some() {
                    break;
                }
            }
        }
        if !moved {
            return;
        }
        // A reader that has taken something wakes the connection.
        harness.decode();
    }
}

impl Reading {
    fn got(self, kept: bool) -> Got {
        if self.over != Some(true) {
            return Got::Error;
        }
        let (response, close) = (self.response, !(self.reusable && kept));
        got(response.status(), response.version(), response.headers(), self.body.trailers(), self.read, close)
    }
}

/// A whole response.
pub fn got(
    status: StatusCode,
    version: Option<Version>,
    fields: &Headers,
    trailers: Option<&Headers>,
    body: Vec<u8>,
    close: bool,
) -> Got {
    let named = |headers: &Headers| {
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
    };
    Got::Response {
        status: status.as_u16(),
        minor: u8::from(version != Some(Version::Http10)),
        fields: named(fields),
        trailers: trailers.map(named).unwrap_or_default(),
        body,
        close,
    }
}

/// Checks what callers have got against what a case expects.
///
/// # Errors
/// What is wrong.
pub fn check(case: &Case, got: &[Got]) -> Result<(), String> {
    let mut got = got.iter();
    for expected in &case.expected {
        let next = got.next();
        match (expected, next) {
            (Expected::Error, Some(Got::Error)) => {}
            (
                Expected::Response { status: code, message },
                Some(Got::Response { status, minor, fields, body, trailers, close }),
            ) => {
                if code != status || message.minor != *minor {
                    return Err(format!("a {status} of 1.{minor} instead of {code} of 1.{}", message.minor));
                }
                if message.body != *body {
                    return Err(format!("another body: {}", show(body)));
                }
                if message.trailers != *trailers {
                    return Err(format!("other trailers: {trailers:?}"));
                }
                if message.close != *close {
                    return Err(format!("the connection {}", if *close { "ends" } else { "persists" }));
                }
                same_fields(message, fields)?;
            }
            _ => return Err(format!("{next:?} instead of {expected:?}")),
        }
    }
    match got.next() {
        None => Ok(()),
        more => Err(format!("{more:?} behind the last")),
    }
}

fn same_fields(message: &Message, fields: &[(String, Vec<u8>)]) -> Result<(), String> {
    for (name, values) in &message.fields {
        let found = fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        if !found.eq(values) {
            return Err(format!("not the expected values of {name}"));
        }
    }
    Ok(())
}

/// The bytes of each turn, cut where `cut` says.
fn turns(case: &Case, mut cut: impl FnMut(usize) -> bool) -> Vec<Vec<&[u8]>> {
    let mut turns = Vec::new();
    let mut begin = 0;
    for end in case.turns.iter().copied().chain([case.bytes.len()]) {
        let mut pieces = Vec::new();
        let mut from = begin;
        for at in begin + 1..end {
            if cut(at) {
                pieces.push(&case.bytes[from..at]);
                from = at;
            }
        }
        pieces.push(&case.bytes[from..end]);
        turns.push(pieces);
        begin = end;
    }
    turns
}

/// Runs a case in every way of cutting it that can be afforded.
///
/// # Errors
/// What is wrong, and how it was cut.
pub fn run(case: &Case) -> Result<(), String> {
    const SHORT: usize = 700;
    const BYTEWISE: usize = 20_000;
    let in_place =
        |what: String, how: &str| format!("{}: {what} ({how}) for {}", case.place, show(&case.bytes));
    let one = |how: &str, cut: &mut dyn FnMut(usize) -> bool| {
        check(case, &responses(case, &turns(case, cut))).map_err(|what| in_place(what, how))
    };
    one("in one piece", &mut |_| false)?;
    if case.bytes.len() <= SHORT {
        for cut in 1..case.bytes.len() {
            one(&format!("cut at {cut}"), &mut |at| at == cut)?;
        }
    }
    if case.bytes.len() <= BYTEWISE {
        one("byte by byte", &mut |_| true)?;
    }
    some(case, case.bytes.len() as u64)
}

/// Runs a case in one piece, and in some ways of cutting it that the seed chooses.
///
/// # Errors
/// What is wrong.
pub fn some(case: &Case, seed: u64) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..9 {
        let every = random.usize(2..=2 + case.bytes.len() / 2);
        let got = responses(case, &turns(case, |_| round > 0 && random.usize(..every) == 0));
        check(case, &got).map_err(|what| {
            format!("{}: {what} (seed {seed}, round {round}) for {}", case.place, show(&case.bytes))
        })?;
    }
    Ok(())
}

/// The case that the reference makes of these bytes.
pub fn case_of(bytes: &[u8], method: &str) -> Case {
    let limits = Limits { first_line: 1 << 16, head: 1 << 16, body: usize::MAX >> 1, ..Limits::default() };
    let lower = |name: Vec<u8>| String::from_utf8_lossy(&name).to_ascii_lowercase();
    let expected = reference::responses(bytes, &[method], true, &limits).into_iter().map(|answered| {
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
        bytes: bytes.to_vec(),
        turns: Vec::new(),
    }
}
