//! Cases through the server's protocol, without a socket.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use workerman_protocol::http::{Admission, Request};
use workerman_protocol::testing::{Ended, Harness};

use super::data::{Case, Expected, Message};
use super::reference::{self, Asked, Limits};
use super::server::{CANARY, CONTINUE, Exchange, check, essence, protocol, seen, seen_with};
use super::text::show;

/// Inputs up to this length are cut at every byte.
const SHORT: usize = 700;
/// Inputs up to this length come byte by byte.
const BYTEWISE: usize = 20_000;
/// How many ways to cut a long input into many pieces are tried.
const ROUNDS: usize = 8;

/// Lets the pieces arrive, one after the other. What is open at the end is as it is: nobody says that no more will come.
pub fn exchange<'a>(case: &Case, pieces: impl IntoIterator<Item = &'a [u8]>) -> Exchange {
    let mut harness = Harness::new(protocol(case), Instant::now()).answer(|request| Some(seen(request)));
    let mut output = Vec::new();
    for piece in pieces {
        harness.feed(piece);
        output.extend_from_slice(&harness.output());
    }
    Exchange { output, ended: harness.is_finished() || !harness.is_open(), half_closed: false }
}

/// The input in the pieces that `cuts` bound.
fn pieces<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut start = 0;
    let mut pieces = Vec::new();
    for &cut in cuts.iter().chain([&input.len()]) {
        pieces.push(&input[start..cut]);
        start = cut;
    }
    pieces
}

/// Runs a case in every way of cutting it that can be afforded.
///
/// # Errors
/// What is wrong, and how it was cut.
pub fn run(case: &Case) -> Result<(), String> {
    let in_place =
        |what: String, how: &str| format!("{}: {what} ({how}) for {}", case.place, show(&case.bytes));
    let input = case.bytes.as_slice();
    let whole = exchange(case, [input]);
    check(case, &whole, false).map_err(|what| in_place(what, "in one piece"))?;

    let with_canary = [input, CANARY].concat();
    let incomplete = matches!(case.expected.last(), Some(Expected::Incomplete));
    if !incomplete {
        for (how, pieces) in
            [("with more behind", vec![with_canary.as_slice()]), ("more comes later", vec![input, CANARY])]
        {
            check(case, &exchange(case, pieces), true).map_err(|what| in_place(what, how))?;
        }
    }

    cuts(case)?;
    later(case)?;
    streamed(case)?;
    asks_for_content(case).map_err(|what| in_place(what, "head, then body"))?;
    ends(case).map_err(|what| in_place(what, "and then the end"))
}

/// Checks that it makes no difference how the bytes of a case are cut.
///
/// # Errors
/// A difference, and where it was cut.
pub fn cuts(case: &Case) -> Result<(), String> {
    let in_place =
        |what: String, how: &str| format!("{}: {what} ({how}) for {}", case.place, show(&case.bytes));
    let input = case.bytes.as_slice();
    let whole = essence(&exchange(case, [input]));
    let same = |cuts: &[usize]| {
        let split = essence(&exchange(case, pieces(input, cuts)));
        if split == whole {
            return Ok(());
        }
        let how = if cuts.len() > 20 { "in many pieces".to_owned() } else { format!("cut at {cuts:?}") };
        Err(in_place(format!("not the same as in one piece: {}", show(&split.output)), &how))
    };
    let mut random = fastrand::Rng::with_seed(input.len() as u64);
    if input.len() <= SHORT {
        for cut in 1..input.len() {
            same(&[cut])?;
        }
    } else {
        for _ in 0..ROUNDS {
            same(&[random.usize(1..input.len())])?;
        }
    }
    if input.len() <= BYTEWISE {
        same(&(1..input.len()).collect::<Vec<_>>())?;
    }
    for _ in 0..ROUNDS {
        let longest = random.usize(1..=input.len().max(1)).min(random.usize(1..=input.len().max(1)));
        let (mut cuts, mut at) = (Vec::new(), 0);
        while at < input.len() {
            cuts.push(at);
            at += random.usize(1..=longest);
        }
        same(&cuts)?;
    }
    Ok(())
}

/// Checks some ways of cutting, which the seed chooses.
///
/// # Errors
/// A difference.
pub fn some_cuts(case: &Case, seed: u64) -> Result<(), String> {
    let whole = essence(&exchange(case, [case.bytes.as_slice()]));
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..8 {
        let every = random.usize(2..=2 + case.bytes.len() / 2);
        let cuts: Vec<usize> = (1..case.bytes.len()).filter(|_| random.usize(..every) == 0).collect();
        let split = essence(&exchange(case, pieces(&case.bytes, &cuts)));
        if split != whole {
            return Err(format!("cut at {cuts:?}, {} for {}", show(&split.output), show(&case.bytes)));
        }
    }
    Ok(())
}

/// Checks that the same is said when answers come later: one request at a time, and several.
///
/// # Errors
/// A difference.
pub fn later(case: &Case) -> Result<(), String> {
    let whole = essence(&exchange(case, [case.bytes.as_slice()]));
    for most in [1, 3] {
        let mut harness = Harness::new(protocol(case).pipeline(most), Instant::now());
        harness.feed(&case.bytes);
        loop {
            let waiting = harness.messages();
            if waiting.is_empty() {
                break;
            }
            if waiting.len() > most {
                return Err(format!(
                    "{}: {} requests at a time instead of {most}",
                    case.place,
                    waiting.len()
                ));
            }
            for request in &waiting {
                harness.send(seen(request)).map_err(|error| format!("{}: {error}", case.place))?;
            }
        }
        let ended = harness.is_finished() || !harness.is_open();
        let late = essence(&Exchange { output: harness.output().to_vec(), ended, half_closed: false });
        if late != whole {
            return Err(format!(
                "{}: answered later, {most} at a time, it says {} (ended: {ended}) for {}",
                case.place,
                show(&late.output),
                show(&case.bytes)
            ));
        }
    }
    Ok(())
}

/// Checks that the same is said when bodies are read by the handler as they arrive, byte by byte where that can be
/// afforded; but not their limit, which is for such a handler to set.
///
/// # Errors
/// A difference.
pub fn streamed(case: &Case) -> Result<(), String> {
    let too_large = |expected: &Expected| matches!(expected, Expected::Reject(list) if list.contains(&413));
    if case.expected.iter().any(too_large) {
        return Ok(());
    }
    let whole = essence(&exchange(case, [case.bytes.as_slice()]));
    let size = if case.bytes.len() <= BYTEWISE { 1 } else { 1000 };
    for size in [case.bytes.len().max(1), size] {
        let streaming = protocol(case).on_request_head(|_| Admission::Stream);
        let mut harness = Harness::new(streaming, Instant::now());
        let mut reading: Option<(Request, Vec<u8>)> = None;
        for piece in case.bytes.chunks(size) {
            harness.feed(piece);
            loop {
                if let Some(request) = harness.messages().pop() {
                    reading = Some((request, Vec::new()));
                }
                let Some((request, body)) = &mut reading else { break };
                match request.body_mut().poll_data(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Some(Ok(data))) => body.extend_from_slice(&data),
                    Poll::Ready(None) => {
                        let answer = seen_with(request.head(), body, request.trailers());
                        harness.send(answer).map_err(|error| format!("{}: {error}", case.place))?;
                        reading = None;
                    }
                    Poll::Ready(Some(Err(_))) => {
                        // Refused: the protocol says so itself.
                        reading = None;
                    }
                    Poll::Pending => break,
                }
                // What a reader takes wakes the connection.
                harness.decode();
            }
        }
        let ended = harness.is_finished() || !harness.is_open();
        let streamed = essence(&Exchange { output: harness.output().to_vec(), ended, half_closed: false });
        if streamed != whole {
            return Err(format!(
                "{}: with its body read as it comes in pieces of {size}, it says {} (ended: {ended}) for {}",
                case.place,
                show(&streamed.output),
                show(&case.bytes)
            ));
        }
    }
    Ok(())
}

/// 100 (Continue), where a case says something of it.
fn asks_for_content(case: &Case) -> Result<(), String> {
    let Some(Expected::Accept { message, .. }) = case.expected.first() else { return Ok(()) };
    let Some(continues) = message.continues else { return Ok(()) };
    let head = case.bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
    let early = exchange(case, [&case.bytes[..head]]);
    let asked = early.output == CONTINUE;
    let late = exchange(case, [&case.bytes[..head], &case.bytes[head..]]);
    let any = late.output.windows(13).any(|window| window == b"HTTP/1.1 100 ");
    match (continues, asked, any) {
        (true, true, true) | (false, false, false) => Ok(()),
        (true, ..) => Err(format!("content is not asked for, but: {}", show(&early.output))),
        (false, ..) => Err("content is asked for".into()),
    }
}

/// What is not complete stays without an effect when the peer ends its stream.
fn ends(case: &Case) -> Result<(), String> {
    let mut harness = Harness::new(protocol(case), Instant::now()).answer(|request| Some(seen(request)));
    harness.feed(&case.bytes);
    let before = harness.output().len();
    harness.eof();
    let after = harness.output();
    let incomplete = matches!(case.expected.last(), Some(Expected::Incomplete));
    if *harness.ended() == Ended::Open && !harness.is_finished() {
        return Err(format!("it goes on behind the end, after {before} bytes"));
    }
    // RFC 9112 8 lets a server say what it misses.
    if after.is_empty() || (incomplete && after.starts_with(b"HTTP/1.1 4")) {
        return Ok(());
    }
    Err(format!("it says {}", show(&after)))
}

/// The case that the reference makes of these bytes.
pub fn case_of(input: &[u8]) -> Case {
    let expected = reference::requests(input, &Limits::default()).into_iter().map(|asked| match asked {
        Asked::Request(request) => {
            let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
            for (name, value) in request.message.fields {
                fields.entry(lower(&name)).or_default().push(value);
            }
            let trailers = request.message.trailers.into_iter();
            let message = Message {
                minor: request.message.minor,
                fields,
                body: request.message.body,
                trailers: trailers
                    .filter(|(name, _)| reference::may_trail(name))
                    .map(|(name, value)| (lower(&name), value))
                    .collect(),
                close: request.message.close,
                continues: None,
            };
            let method = String::from_utf8_lossy(&request.method).into_owned();
            Expected::Accept { method, target: request.target, message }
        }
        Asked::Refused(status) => Expected::Reject(vec![status]),
        Asked::Incomplete => Expected::Incomplete,
    });
    Case {
        place: "generated".into(),
        name: String::new(),
        sections: Vec::new(),
        settings: BTreeMap::new(),
        asked: Vec::new(),
        bytes: input.to_vec(),
        turns: Vec::new(),
        expected: expected.collect(),
    }
}

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// Checks that the server sees the same requests in these bytes as the reference: the same number, with the same bytes
/// in the same places, and a refusal where it has one.
///
/// Which code a refusal has is left open, and so is whether bytes that can only be refused are refused at once.
///
/// # Errors
/// What is different.
pub fn agree(input: &[u8]) -> Result<(), String> {
    let all = || (400..=431).chain([501, 505]).collect();
    let mut case = case_of(input);
    let found = exchange(&case, [input]);
    if let Some(Expected::Reject(list)) = case.expected.last_mut() {
        *list = all();
    }
    let Err(what) = check(&case, &found, false) else { return Ok(()) };
    // One of the two may know earlier what will come of it.
    for end in [&b"\r\n\r\n"[..], b"\n\r\n\r\n", b"x\r\n\r\n", b"0\r\n\r\n", b": a\r\n\r\n"] {
        let longer = [input, end].concat();
        let mut case = case_of(&longer);
        match case.expected.last_mut() {
            Some(Expected::Reject(list)) => *list = all(),
            _ => return Err(format!("{what} for {}", show(input))),
        }
        let found = exchange(&case, [longer.as_slice()]);
        check(&case, &found, false).map_err(|what| format!("{what} for {}", show(&longer)))?;
    }
    Ok(())
}
