//! A protocol of questions and answers whose decoding half writes the answers, in the order of the questions.
//!
//! Client to server, lines; `PUT n` and `BIG n` are followed by n bytes. What the server does with a line is in
//! `act` and `act_async`. `encode` only hands answers over.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::sync::Notify;
use workerman_connection::{BoxError, Connection, Handlers, Service, Settings};
use workerman_event::spawn;
use workerman_protocol::{
    Context, Deadline, Decoded, Eof, Event, Failure, Goodbye, Outbox, Protocol, Recovery, Text,
};

use crate::toy::{Body, Fed, Feed, Seen, body};

/// A long answer stops when more than this waits for the peer.
pub const MARK: usize = 4096;
/// So much of a long answer is put at a time.
pub const CHUNK: usize = 1024;

/// A question.
#[derive(Debug)]
pub struct Ask {
    /// Its number.
    pub id: u64,
    /// The line.
    pub line: String,
    /// What is behind the line, if it has a body.
    pub body: Option<Body>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The number of the question.
    pub id: u64,
    /// What it says.
    pub says: Says,
}

/// What an answer says.
#[derive(Debug)]
pub enum Says {
    /// A line; one with a line feed inside has no encoding.
    Line(String),
    /// So many bytes.
    Flow(usize),
}

/// What the decoder has seen and done.
#[derive(Debug, Default)]
pub struct Watched {
    /// Calls of `decode` and `pump`.
    pub calls: AtomicUsize,
    /// Most bytes that waited for the peer in one of them.
    pub queued: AtomicUsize,
}

/// What cannot be understood or said.
#[derive(Debug)]
pub struct Bad(&'static str);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Bad {}

/// The protocol, server's side.
pub struct Asking {
    window: usize,
    watched: Arc<Watched>,
    last: u64,
    /// Questions without an answer, or with one that is not written; oldest first.
    owed: VecDeque<(u64, Option<Says>)>,
    body: Option<Feed>,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").field("last", &self.last).field("owed", &self.owed).finish_non_exhaustive()
    }
}

impl Asking {
    /// At most so many questions are open at a time.
    pub fn new(window: usize, watched: &Arc<Watched>) -> Self {
        let watched = Arc::clone(watched);
        Self { window, watched, last: 0, owed: VecDeque::new(), body: None }
    }

    fn settle(&mut self, id: u64, says: Says) {
        if let Some((_, place)) = self.owed.iter_mut().find(|(owed, says)| *owed == id && says.is_none()) {
            *place = Some(says);
        }
    }

    fn write(&mut self, cx: &mut Context<'_, Self>) {
        self.watched.calls.fetch_add(1, Ordering::Relaxed);
        self.watched.queued.fetch_max(cx.queued(), Ordering::Relaxed);
        if !self.owed.is_empty() {
            for answer in cx.sending(std::mem::take) {
                self.settle(answer.id, answer.says);
            }
        }
        while let Some((_, Some(says))) = self.owed.front_mut() {
            match says {
                Says::Line(line) => cx.reply().put_slice(format!("{line}\n").as_bytes()),
                Says::Flow(rest) => {
                    if cx.queued() <= MARK {
                        let part = (*rest).min(CHUNK);
                        cx.reply().put_slice(&[b'.'; CHUNK][..part]);
                        *rest -= part;
                    }
                    if *rest > 0 {
                        return;
                    }
                }
            }
            self.owed.pop_front();
        }
    }

    fn ask(&mut self, line: String, body: Option<Body>) -> Decoded<Self> {
        self.last += 1;
        self.owed.push_back((self.last, None));
        Decoded::Message(Ask { id: self.last, line, body })
    }
}

impl Protocol for Asking {
    type Incoming = Ask;
    type Outgoing = Answer;
    type Event = Event;
    type Error = Bad;
    type Sending = Vec<Answer>;

    const ANSWERS: bool = true;

    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Bad> {
        let peer = cx.peer().map_or_else(|| "somebody".to_owned(), |peer| peer.to_string());
        cx.reply().put_slice(format!("HELLO {peer}\n").as_bytes());
        Ok(())
    }

    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Bad> {
        self.write(cx);
        match self.body.as_ref().map(|body| body.feed(input, cx.waker())) {
            Some(Fed::More) => return Ok(Decoded::Need(1)),
            Some(Fed::Waits) => return Ok(Decoded::Blocked),
            Some(Fed::Over) => self.body = None,
            None => {}
        }
        if self.owed.len() >= self.window {
            return Ok(Decoded::Blocked);
        }
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(Decoded::Need(1)) };
        let line = String::from_utf8_lossy(&input[..end]).into_owned();
        match line.split_once(' ') {
            Some(("PUT", length)) => {
                let length = length.split_once(' ').map_or(length, |(length, _)| length);
                let (feed, body) = body(length.parse().map_err(|_| Bad("not a length"))?);
                self.body = Some(feed);
                input.advance(end + 1);
                Ok(self.ask(line, Some(body)))
            }
            Some(("BIG", length)) => {
                let whole = end + 1 + length.parse::<usize>().map_err(|_| Bad("not a length"))?;
                if input.len() < whole {
                    return Ok(Decoded::Need(whole - input.len()));
                }
                input.advance(whole);
                Ok(self.ask(line, None))
            }
            Some(("NONSENSE", _)) => Err(Bad("nonsense")),
            _ => {
                input.advance(end + 1);
                Ok(self.ask(line, None))
            }
        }
    }

    fn encode(answers: &mut Vec<Answer>, answer: Answer, _: &mut Outbox) -> Result<(), Bad> {
        match &answer.says {
            Says::Line(line) if line.contains('\n') => Err(Bad("two lines")),
            _ => {
                answers.push(answer);
                Ok(())
            }
        }
    }

    fn answer(&mut self, answer: Answer, cx: &mut Context<'_, Self>) -> Result<(), Bad> {
        if matches!(&answer.says, Says::Line(line) if line.contains('\n')) {
            cx.reply().put_slice(b"half of it, and a f");
            return Err(Bad("two lines"));
        }
        self.settle(answer.id, answer.says);
        self.write(cx);
        Ok(())
    }

    fn pump(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Bad> {
        self.write(cx);
        Ok(())
    }

    fn is_answering(&self) -> bool {
        matches!(self.owed.front(), Some((_, Some(Says::Flow(_)))))
    }

    fn failed(&mut self, failure: Failure<'_>, cx: &mut Context<'_, Self>) -> Recovery {
        let failed = self.last - u64::from(cx.parked());
        self.settle(failed, Says::Line(format!("SORRY {failed}")));
        self.write(cx);
        match failure {
            Failure::Error(_) => Recovery::Continue,
            Failure::Panic => Recovery::End,
        }
    }

    fn eof(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> Result<Eof<Self>, Bad> {
        Ok(match (self.owed.is_empty(), input.is_empty()) {
            (false, _) => Eof::Blocked,
            (true, true) => Eof::Clean,
            (true, false) => Eof::Truncated,
        })
    }

    fn goodbye(&mut self, _: &mut Context<'_, Self>) -> Goodbye {
        if self.owed.is_empty() { Goodbye::Now } else { Goodbye::AfterMessage }
    }

    fn deadline(&self) -> Deadline {
        match (&self.body, self.owed.is_empty()) {
            (Some(_), _) => Deadline::Body,
            (None, true) => Deadline::Idle,
            (None, false) => Deadline::None,
        }
    }

    fn timeout(&mut self, which: Deadline, cx: &mut Context<'_, Self>) {
        cx.reply().put_slice(format!("LATE {which:?}\n").as_bytes());
    }
}

/// Where handlers wait until the test lets them go on.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Notify>);

impl Gate {
    /// Lets one go on.
    pub fn open(&self) {
        self.0.notify_one();
    }

    async fn pass(&self) {
        self.0.notified().await;
    }
}

fn line(id: u64, line: impl Into<String>) -> Answer {
    Answer { id, says: Says::Line(line.into()) }
}

/// Does what a line says, at once.
fn act(
    conn: &Connection<Asking>,
    ask: &Ask,
    gate: &Gate,
    lines: &Arc<Service<Text>>,
) -> Result<Option<Answer>, BoxError> {
    let (verb, rest) = ask.line.split_once(' ').unwrap_or((&ask.line, ""));
    let said = line(ask.id, format!("{verb} {rest}"));
    let own = conn.clone();
    Ok(match verb {
        "SEND" => {
            let _ = conn.send(said)?;
            None
        }
        "AWAY" => {
            drop(spawn(async move {
                tokio::task::yield_now().await;
                own.send(said).map(drop)
            }));
            None
        }
        "LATER" => {
            let gate = gate.clone();
            drop(spawn(async move {
                gate.pass().await;
                own.send(said).map(drop)
            }));
            None
        }
        "FLOW" => Some(Answer { id: ask.id, says: Says::Flow(rest.parse()?) }),
        "LEAVE" => {
            conn.close();
            // Too late: nobody's error.
            Some(said)
        }
        "LAST" => {
            let _ = conn.send(Answer { id: ask.id, says: Says::Flow(rest.parse()?) })?;
            conn.close();
            None
        }
        "FAIL" => return Err("as asked".into()),
        "BAD" => Some(line(ask.id, "two\nlines")),
        "PANIC" => panic!("expected by the test"),
        "CLOSE" => {
            let _ = conn.send(said)?;
            conn.close();
            None
        }
        "PAUSE" => {
            let gate = gate.clone();
            conn.pause();
            let _ = conn.send(said)?;
            drop(spawn(async move {
                gate.pass().await;
                own.resume();
            }));
            None
        }
        "SWITCH" => {
            let _ = conn.send(said)?;
            let next = conn.upgrade(Text::new(), lines)?;
            let _ = next.send("first")?;
            // Too late: nobody's error.
            Some(line(ask.id, "never"))
        }
        _ => Some(said),
    })
}

/// Does what a line says, with pauses.
async fn act_async(
    conn: &Connection<Asking>,
    mut ask: Ask,
    gate: &Gate,
    seen: &Seen,
    lines: &Arc<Service<Text>>,
) -> Result<Option<Answer>, BoxError> {
    if let Some(mut body) = ask.body.take() {
        let mut note = Dropped(Some(seen.clone()));
        if ask.line.ends_with("paused") {
            conn.pause();
        }
        if ask.line.ends_with("slowly") || ask.line.ends_with("paused") {
            tokio::time::sleep(Duration::from_secs(100)).await;
            conn.resume();
        }
        let (mut length, mut sum) = (0, 0);
        while let Some(bytes) = body.next().await {
            length += bytes.len();
            sum += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        }
        note.0 = None;
        return Ok(Some(line(ask.id, format!("GOT {length}: {sum}"))));
    }
    if !ask.line.starts_with("NOW") {
        tokio::task::yield_now().await;
    }
    if let Some(rest) = ask.line.strip_prefix("HOLD ") {
        // Says something, and is not done.
        let _ = conn.send(line(ask.id, format!("HELD {rest}")))?;
        gate.pass().await;
        return Ok(None);
    }
    act(conn, &ask, gate, lines)
}

/// Notes that a handler was dropped before its end.
struct Dropped(Option<Seen>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(seen) = self.0.take() {
            seen.note("dropped");
        }
    }
}

/// How the service of a test is.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Handlers suspend.
    pub asynchronous: bool,
    /// Most questions that are open at a time.
    pub window: usize,
    /// The bounds of its connections.
    pub settings: Settings,
    /// What happened.
    pub seen: Seen,
    /// What the decoder saw.
    pub watched: Arc<Watched>,
    /// Where handlers wait.
    pub gate: Gate,
}

impl Setup {
    /// Sync or async handlers, so many open questions.
    pub fn new(asynchronous: bool, window: usize) -> Self {
        Self { asynchronous, window, ..Self::default() }
    }

    /// The service.
    pub fn service(&self) -> Service<Asking> {
        let lines =
            Handlers::new().on_message(|_, line: workerman_protocol::Line| line.to_string().to_uppercase());
        let lines = Arc::new(Service::new("lines", Text::new, lines, Settings::default()));
        let (closes, errors, fulls) = (self.seen.clone(), self.seen.clone(), self.seen.clone());
        let handlers = Handlers::new()
            .on_close(move |_, reason| closes.note(format_args!("closed: {reason}")))
            .on_error(move |_, error| errors.note(format_args!("error: {error}")))
            .on_buffer_full(move |_| fulls.note("full"));
        let (gate, seen) = (self.gate.clone(), self.seen.clone());
        let handlers = if self.asynchronous {
            handlers.on_message_async(async move |conn: &Connection<Asking>, ask: Ask| {
                act_async(conn, ask, &gate, &seen, &lines).await
            })
        } else {
            handlers.on_message(move |conn: &Connection<Asking>, ask: Ask| {
                seen.note(format_args!("asked: {}", ask.line));
                act(conn, &ask, &gate, &lines)
            })
        };
        let (window, watched) = (self.window, Arc::clone(&self.watched));
        Service::new("asking", move || Asking::new(window, &watched), handlers, self.settings.clone())
    }
}
