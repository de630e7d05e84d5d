//! Cases through the protocols, without a socket.

use workerman_protocol::Protocol;
use workerman_protocol::testing::{Ended, Harness, Seen};
use workerman_protocol::websocket::{CloseCode, Error, Event, Fragment, Kind, Message, Outgoing};

use super::codec::{Frame, Inflater, Reader, op};
use super::data::{Case, End, Role, Setting, Step, Told};
use super::opening;

/// Inputs up to this length are cut at every byte.
const SHORT: usize = 700;
/// Inputs up to this length come byte by byte.
const BYTEWISE: usize = 20_000;
/// How many ways to cut a long input are tried.
const ROUNDS: usize = 6;

/// What has come of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What the application was told.
    pub told: Vec<Told>,
    /// What the peer got, without the close frame that the end speaks of.
    pub answers: Vec<Frame>,
    /// How it ended.
    pub end: End,
}

/// Fragments of a message one after the other count as one, and what came of a message that failed does not count.
pub fn merged(told: Vec<Told>, failed: bool) -> Vec<Told> {
    let mut out: Vec<Told> = Vec::new();
    for told in told {
        match (out.last_mut(), told) {
            (
                Some(Told::Fragments(kind, data, complete @ false)),
                Told::Fragments(next, more, is_complete),
            ) if *kind == next => {
                data.extend(more);
                *complete = is_complete;
            }
            (_, told) => out.push(told),
        }
    }
    if failed {
        if let Some(Told::Fragments(.., false)) = out.last() {
            out.pop();
        }
    }
    out
}

/// What the application is told by a message or an event.
///
/// # Errors
/// Something that nobody has asked for.
pub fn told(seen: Seen<Message, Event>) -> Result<Told, String> {
    let opcode = |kind| if kind == Kind::Text { op::TEXT } else { op::BINARY };
    Ok(match seen {
        Seen::Message(message) => {
            if let Message::Text(text) = &message {
                std::str::from_utf8(text.as_bytes()).map_err(|_| "a text that is no UTF-8")?;
            }
            Told::Message(opcode(message.kind()), message.as_bytes().to_vec())
        }
        Seen::Event(Event::Ping(payload)) => Told::Ping(payload.to_vec()),
        Seen::Event(Event::Pong(payload)) => Told::Pong(payload.to_vec()),
        Seen::Event(Event::Fragment(fragment)) => {
            if fragment.kind == Kind::Text && fragment.as_text().is_none() {
                return Err("a fragment of text with a part of a character".into());
            }
            Told::Fragments(opcode(fragment.kind), fragment.data.to_vec(), fragment.last)
        }
        Seen::Event(other) => return Err(format!("nobody has asked for {other:?}")),
    })
}

/// What an application sends.
///
/// # Panics
/// If it is no frame of an application.
pub fn outgoing(frame: &Frame) -> Outgoing {
    let payload = frame.payload.clone();
    let kind = if frame.opcode == op::TEXT { Kind::Text } else { Kind::Binary };
    match frame.opcode {
        op::TEXT if frame.fin => String::from_utf8(payload).unwrap().into(),
        op::BINARY if frame.fin => payload.into(),
        op::PING => Outgoing::ping(payload),
        op::PONG => Outgoing::Pong(payload.into()),
        opcode => Fragment { kind, first: opcode != op::MORE, last: frame.fin, data: payload.into() }.into(),
    }
}

fn outcome<P>(mut harness: Harness<P>, case: &Case, pieces: &[Vec<&[u8]>]) -> Result<Outcome, String>
where
    P: Protocol<Incoming = Message, Outgoing = Outgoing, Event = Event, Error = Error>,
{
    let mut pieces = pieces.iter();
    let at_once = matches!(case.end, End::Fails(_, true));
    let mut reader = Reader::new(case.role == Role::Client, case.settings.contains_key(&Setting::Deflate));
    let mut told_so_far = Vec::new();
    let mut closes = false;
    let (mut fed, mut failed_at) = (0, None);
    for step in &case.steps {
        match step {
            Step::Bytes(_) => {
                for piece in pieces.next().ok_or("no pieces")? {
                    if harness.is_open() {
                        harness.feed(piece);
                        fed += piece.len();
                        if !harness.is_open() {
                            failed_at = Some(fed);
                        }
                    }
                }
            }
            Step::End => harness.eof(),
            Step::Close(code, reason) => {
                closes |= harness.is_open();
                harness.close(Some(*code), reason);
            }
            Step::Goodbye => {
                closes |= harness.is_open();
                harness.goodbye();
            }
            Step::Send(_) if !harness.is_open() || harness.is_finished() => {}
            Step::Send(frame) => harness.send(outgoing(frame)).map_err(|error| error.to_string())?,
        }
    }
    if at_once {
        let all: usize =
            case.steps.iter().map(|step| if let Step::Bytes(bytes) = step { bytes.len() } else { 0 }).sum();
        if failed_at != Some(all) {
            return Err(format!("failed at {failed_at:?} instead of {all}"));
        }
    }
    let first = harness.is_open() && case.whole && case.end == End::Open;
    if first {
        // The place in the stream is the right one.
        let key = (case.role == Role::Server).then_some([1, 2, 3, 4]);
        harness.feed(&Frame::new(op::PING, "canary").bytes(key));
    } else if !matches!(case.end, End::Open) {
        // Nothing comes of what is behind the end; not even of its end.
        let before = harness.output();
        reader.push(&before);
        for seen in harness.seen() {
            told_so_far.push(told(seen)?);
        }
        if !matches!(case.end, End::Closing(_)) {
            let key = (case.role == Role::Server).then_some([1, 2, 3, 4]);
            harness.feed(&Frame::text("late").bytes(key));
        }
    }
    for seen in harness.seen() {
        told_so_far.push(told(seen)?);
    }
    reader.push(&harness.output());
    let mut answers = reader.all()?;
    if !reader.left().is_empty() {
        return Err("a part of a frame is left".into());
    }
    if first {
        let pong = answers.pop();
        if pong != Some(Frame::new(op::PONG, "canary"))
            || told_so_far.pop() != Some(Told::Ping("canary".into()))
        {
            return Err(format!("a ping behind the case is not answered, but there is {pong:?}"));
        }
    }
    if let Some(kind) = case.settings.get(&Setting::Deflate) {
        let mut inflater = Inflater::new(*kind == 2);
        for answer in answers.iter_mut().filter(|answer| answer.rsv == 4) {
            answer.payload =
                inflater.message(&answer.payload, usize::MAX).map_err(|_| "an answer cannot be inflated")?;
            answer.rsv = 0;
        }
    }
    let closed = match answers.last() {
        Some(frame) if frame.opcode == op::CLOSE => answers.pop(),
        _ => None,
    };
    if answers.iter().any(|frame| frame.opcode == op::CLOSE) {
        return Err("something follows a close frame".into());
    }
    let code = closed.as_ref().and_then(Frame::code);
    if let Some(code) = code {
        if !CloseCode::from(code).is_sendable() {
            return Err(format!("a close frame with the code {code}"));
        }
        if std::str::from_utf8(&closed.as_ref().unwrap().payload[2..]).is_err() {
            return Err("a reason that is not UTF-8".into());
        }
    }
    let farewell = harness.protocol().farewell();
    let end = match (harness.ended(), farewell, code) {
        (Ended::Failed(error), Some(farewell), Some(code)) => {
            if farewell.code != code || farewell.by_peer || farewell.clean {
                return Err(format!("{farewell:?} after {error}, and a close frame with {code}"));
            }
            if closes { End::Broken(code) } else { End::Fails(code, at_once) }
        }
        (Ended::Failed(error), farewell, code) => {
            return Err(format!("failed with {error}, a farewell {farewell:?}, and a close frame {code:?}"));
        }
        (Ended::Open, None, None) => End::Open,
        (Ended::Clean | Ended::Truncated, Some(farewell), None)
            if farewell.code == 1006 && farewell.by_peer && !farewell.clean && closed.is_none() =>
        {
            End::Lost
        }
        (ended, Some(farewell), _) => {
            if closed.is_none() {
                return Err(format!("{farewell:?}, but no close frame"));
            }
            match (farewell.by_peer, farewell.clean) {
                (true, true) => {
                    if code != (farewell.code != 1005).then_some(farewell.code) {
                        return Err(format!("{farewell:?}, answered with {code:?}"));
                    }
                    if *ended == Ended::Open && harness.is_finished() != (case.role == Role::Server) {
                        return Err("the server ends the stream, and nobody else".into());
                    }
                    End::ClosedByPeer(farewell.code, farewell.text.into())
                }
                (false, true) => {
                    if *ended == Ended::Open && harness.is_finished() != (case.role == Role::Server) {
                        return Err("the server ends the stream, and nobody else".into());
                    }
                    End::ClosedByUs(farewell.code)
                }
                (false, false) => End::Closing(farewell.code),
                (true, false) => return Err(format!("{farewell:?}")),
            }
        }
        (ended, farewell, code) => return Err(format!("{ended}, {farewell:?}, a close frame {code:?}")),
    };
    let failed = matches!(end, End::Fails(..) | End::Broken(_));
    Ok(Outcome { told: merged(told_so_far, failed), answers, end })
}

/// Lets a case happen, with the peer's bytes in pieces that end where `cuts` say, counted over all steps.
///
/// # Errors
/// Something that must never be.
pub fn exchange(case: &Case, cuts: &[usize]) -> Result<Outcome, String> {
    let mut pieces = Vec::new();
    let mut begin = 0;
    for step in &case.steps {
        let Step::Bytes(bytes) = step else { continue };
        let mut list = Vec::new();
        let mut at = 0;
        let first = cuts.partition_point(|cut| *cut <= begin);
        for cut in cuts[first..].iter().map(|cut| cut - begin).take_while(|cut| *cut < bytes.len()) {
            list.push(&bytes[at..cut]);
            at = cut;
        }
        list.push(&bytes[at..]);
        begin += bytes.len();
        pieces.push(list);
    }
    let extra = opening::extension(case);
    match case.role {
        Role::Server => outcome(opening::open_server(opening::websocket(case), extra), case, &pieces),
        Role::Client => {
            let client = opening::client(case, "ws://example.com/");
            outcome(opening::open_client(client, extra), case, &pieces)
        }
    }
}

/// What the data says of a case.
pub fn expected(case: &Case) -> Outcome {
    let failed = matches!(case.end, End::Fails(..) | End::Broken(_));
    Outcome { told: merged(case.told.clone(), failed), answers: case.answers.clone(), end: case.end.clone() }
}

/// The peer's bytes.
pub fn input(case: &Case) -> usize {
    case.steps.iter().map(|step| if let Step::Bytes(bytes) = step { bytes.len() } else { 0 }).sum()
}

/// A short form of what is long.
pub fn brief(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}");
    if text.len() <= 1200 {
        return text;
    }
    format!(
        "{} .. {}",
        text.chars().take(900).collect::<String>(),
        &text.chars().rev().take(200).collect::<Vec<_>>().iter().rev().collect::<String>()
    )
}

/// Runs a case in every way of cutting it that can be afforded.
///
/// # Errors
/// What is wrong, and how it was cut.
pub fn run(case: &Case) -> Result<(), String> {
    let expected = expected(case);
    let check = |cuts: &[usize]| {
        let how = match cuts.len() {
            0 => "in one piece".to_owned(),
            1..20 => format!("cut at {cuts:?}"),
            n => format!("in {n} pieces"),
        };
        let found = exchange(case, cuts).map_err(|what| format!("{}: {what} ({how})", case.place))?;
        if found == expected {
            return Ok(());
        }
        Err(format!("{}: {} instead of {} ({how})", case.place, brief(&found), brief(&expected)))
    };
    // What fails at once fails with its last byte in whatever pieces.
    check(&[])?;
    let length = input(case);
    let mut random = fastrand::Rng::with_seed(length as u64);
    if length <= SHORT {
        for cut in 1..length {
            check(&[cut])?;
        }
    } else {
        for _ in 0..ROUNDS {
            check(&[random.usize(1..length)])?;
        }
    }
    if length <= BYTEWISE {
        check(&(1..length).collect::<Vec<_>>())?;
    }
    for _ in 0..ROUNDS {
        let longest = random.usize(1..=length.max(1)).min(random.usize(1..=length.max(1)));
        let (mut cuts, mut at) = (Vec::new(), 0);
        while at < length {
            at += random.usize(1..=longest);
            cuts.push(at);
        }
        check(&cuts)?;
    }
    Ok(())
}
