//! A toy protocol that uses the whole contract, with and without state in its sending half.
//!
//! Client to server, lines: `SAY text`, `PING`, `PUT n` and `EXPECT n` (n bytes of body follow), `STREAM n`, `SWITCH`,
//! `BAD`. Everything the server says is a line; with [`Numbered`] it has a running number in front.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::{Bytes, BytesMut};
use workerman_connection::{BoxError, Connection, Handlers, Service, Settings};
use workerman_protocol::{Context, Deadline, Decoded, Failure, Goodbye, Outbox, Protocol, Recovery, Text};

/// What a server says may depend on what it has said.
pub trait Counting: Default + Send + 'static {
    /// Puts the mark of the next line.
    fn mark(&mut self, out: &mut Outbox);
}

/// No state.
impl Counting for () {
    fn mark(&mut self, _: &mut Outbox) {}
}

/// Lines are numbered from 1.
#[derive(Debug, Default)]
pub struct Numbered(u32);

impl Counting for Numbered {
    fn mark(&mut self, out: &mut Outbox) {
        self.0 += 1;
        out.put_slice(format!("{} ", self.0).as_bytes());
    }
}

/// Most bytes of a body that wait for their reader.
pub const BODY_ROOM: usize = 1000;

/// A body on its way to its reader.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Mutex<Pipe>>);

/// What becomes of a body.
pub(crate) enum Fed {
    /// It goes on.
    More,
    /// Its reader has no room, or has not seen the end yet.
    Waits,
    /// Its reader is done with it, and all of it was there.
    Over,
}

/// A body of so many bytes, from both sides.
pub(crate) fn body(length: usize) -> (Feed, Body) {
    let pipe = Arc::new(Mutex::new(Pipe { left: length, ..Pipe::default() }));
    (Feed(Arc::clone(&pipe)), Body(pipe))
}

impl Feed {
    /// Takes what belongs to it from the input.
    pub(crate) fn feed(&self, input: &mut BytesMut, waker: &Waker) -> Fed {
        let mut pipe = lock(&self.0);
        let room = if pipe.given_up { usize::MAX } else { BODY_ROOM - pipe.bytes.len() };
        let taken = input.split_to(pipe.left.min(input.len()).min(room));
        pipe.left -= taken.len();
        if !pipe.given_up {
            pipe.bytes.extend_from_slice(&taken);
            pipe.most = pipe.most.max(pipe.bytes.len());
        }
        // Woken for news only: a reader that is woken has the input looked at again.
        let news = !taken.is_empty() || pipe.left == 0;
        let reader = if news { pipe.reader.take() } else { None };
        if pipe.given_up && pipe.left == 0 {
            return Fed::Over;
        }
        let waits = pipe.left == 0 || !input.is_empty();
        if waits {
            pipe.writer = Some(waker.clone());
        }
        drop(pipe);
        if let Some(reader) = reader {
            reader.wake();
        }
        if waits { Fed::Waits } else { Fed::More }
    }
}

#[derive(Default)]
struct Pipe {
    bytes: BytesMut,
    left: usize,
    given_up: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    most: usize,
}

/// The body of a request, read while it arrives.
pub struct Body(Arc<Mutex<Pipe>>);

fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Body {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        poll_fn(|cx| {
            let mut pipe = lock(&self.0);
            if !pipe.bytes.is_empty() {
                let bytes = pipe.bytes.split().freeze();
                let writer = pipe.writer.take();
                drop(pipe);
                if let Some(writer) = writer {
                    writer.wake();
                }
                return Poll::Ready(Some(bytes));
            }
            if pipe.left == 0 {
                return Poll::Ready(None);
            }
            pipe.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Most bytes that have waited at a time.
    pub fn most_waiting(&self) -> usize {
        lock(&self.0).most
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let writer = {
            let mut pipe = lock(&self.0);
            pipe.given_up = true;
            pipe.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

/// The head of a request; its body follows.
#[derive(Debug)]
pub struct Head {
    /// Length of the body.
    pub length: usize,
    /// The body.
    pub body: Body,
}

/// What cannot be understood.
#[derive(Debug)]
pub struct Bad(String);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a request: {}", self.0)
    }
}

impl std::error::Error for Bad {}

/// What the server says.
#[derive(Debug)]
pub enum Say {
    /// A line.
    Line(String),
    /// So many bytes, then the end.
    Stream(usize),
}

impl From<String> for Say {
    fn from(line: String) -> Self {
        Self::Line(line)
    }
}

/// The protocol, server's side.
pub struct Toy<S> {
    body: Option<Feed>,
    switching: bool,
    goodbye: Goodbye,
    sending: std::marker::PhantomData<fn() -> S>,
}

impl<S> Toy<S> {
    /// One that leaves in this way when it drains.
    pub fn new(goodbye: Goodbye) -> Self {
        Self { body: None, switching: false, goodbye, sending: std::marker::PhantomData }
    }
}

impl<S> fmt::Debug for Toy<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Toy")
    }
}

impl<S: Counting> Toy<S> {
    fn say(cx: &mut Context<'_, Self>, line: &str) {
        let mut mark = Outbox::new();
        cx.sending(|sending| sending.mark(&mut mark));
        cx.reply().append(&mut mark);
        cx.reply().put_slice(line.as_bytes());
        cx.reply().put_slice(b"\n");
    }

    fn put(&mut self, length: usize) -> Decoded<Self> {
        let (feed, body) = body(length);
        self.body = Some(feed);
        Decoded::Event(Head { length, body })
    }
}

impl<S: Counting> Protocol for Toy<S> {
    type Incoming = String;
    type Outgoing = Say;
    type Event = Head;
    type Error = Bad;
    type Sending = S;

    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Bad> {
        Self::say(cx, "HELLO");
        Ok(())
    }

    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Bad> {
        loop {
            match self.body.as_ref().map(|body| body.feed(input, cx.waker())) {
                Some(Fed::More) => return Ok(Decoded::Need(1)),
                Some(Fed::Waits) => return Ok(Decoded::Blocked),
                Some(Fed::Over) => self.body = None,
                None => {}
            }
            if self.switching {
                // The rest is another protocol's.
                return Ok(Decoded::Blocked);
            }
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(Decoded::Need(1)) };
            let line = input.split_to(end + 1);
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb {
                "PING" => Self::say(cx, "PONG"),
                "SAY" | "STREAM" | "CLOSE" | "PANIC" => return Ok(Decoded::Message(line)),
                "SWITCH" => {
                    self.switching = true;
                    return Ok(Decoded::Message(line));
                }
                "PUT" | "EXPECT" => {
                    let Ok(length) = rest.parse() else { return Err(Bad(line)) };
                    if verb == "EXPECT" {
                        Self::say(cx, "100");
                    }
                    return Ok(self.put(length));
                }
                _ => {
                    Self::say(cx, "400");
                    return Err(Bad(line));
                }
            }
        }
    }

    fn encode(sending: &mut S, message: Say, out: &mut Outbox) -> Result<(), Bad> {
        sending.mark(out);
        match message {
            Say::Line(line) => {
                out.put_slice(line.as_bytes());
                out.put_slice(b"\n");
            }
            Say::Stream(length) => {
                out.put_bytes(Bytes::from(vec![b'.'; length]));
                out.finish();
            }
        }
        Ok(())
    }

    fn failed(&mut self, failure: Failure<'_>, cx: &mut Context<'_, Self>) -> Recovery {
        Self::say(cx, "500");
        if matches!(failure, Failure::Error(_)) { Recovery::Continue } else { Recovery::End }
    }

    fn goodbye(&mut self, cx: &mut Context<'_, Self>) -> Goodbye {
        Self::say(cx, "BYE");
        self.goodbye
    }

    fn close(&mut self, code: Option<u16>, reason: &str, cx: &mut Context<'_, Self>) -> Goodbye {
        Self::say(cx, &format!("CLOSE {} {reason}", code.unwrap_or_default()));
        self.goodbye
    }

    fn deadline(&self) -> Deadline {
        if self.body.is_some() { Deadline::Body } else { Deadline::Idle }
    }
}

/// What a test wants to know afterwards.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<VecDeque<String>>>);

impl Seen {
    /// Writes it down.
    pub fn note(&self, what: impl fmt::Display) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(what.to_string());
    }

    /// All of it.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// A service of the toy: echoes, sums bodies up while they arrive, streams, and switches to lines in capitals.
pub fn service<S: Counting>(goodbye: Goodbye, seen: &Seen, settings: Settings) -> Service<Toy<S>> {
    let (closes, errors, switched) = (seen.clone(), seen.clone(), seen.clone());
    let lines = Handlers::new()
        .on_connect(|conn: &Connection<Text>| {
            let _ = conn.send("text");
        })
        .on_message(|_, line: workerman_protocol::Line| line.to_string().to_uppercase())
        .on_close(move |_, reason| switched.note(format_args!("text closed: {reason}")));
    let lines = Arc::new(Service::new("lines", Text::new, lines, Settings::default()));
    let bodies = seen.clone();
    let refused = seen.clone();
    let handlers = Handlers::new()
        .on_message(move |conn: &Connection<Toy<S>>, line: String| -> Result<Option<Say>, BoxError> {
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            Ok(match verb {
                "SAY" => Some(Say::Line(format!("SAID {rest}"))),
                "STREAM" => Some(Say::Stream(rest.parse()?)),
                "PANIC" => panic!("expected by the test"),
                "CLOSE" => {
                    conn.close_with_code(rest.parse()?, "as asked");
                    None
                }
                _ => {
                    let _ = conn.send(Say::Line("SWITCHING".to_owned()))?;
                    let next = conn.upgrade(Text::new(), &lines)?;
                    let _ = next.send("first")?;
                    refused.note(format_args!("{:?}", conn.send(Say::Line("late".to_owned()))));
                    None
                }
            })
        })
        .on_event(move |_, mut head: Head| {
            let bodies = bodies.clone();
            async move {
                let (mut length, mut sum) = (0, 0u64);
                while let Some(bytes) = head.body.next().await {
                    length += bytes.len();
                    sum += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
                    // A slow reader: the connection fills up meanwhile.
                    tokio::task::yield_now().await;
                }
                bodies.note(format_args!("bounded: {}", head.body.most_waiting() <= BODY_ROOM));
                Say::Line(format!("GOT {length} of {}: {sum}", head.length))
            }
        })
        .on_close(move |_, reason| closes.note(format_args!("closed: {reason}")))
        .on_error(move |_, error| errors.note(format_args!("error: {error}")));
    Service::new("toy", move || Toy::new(goodbye), handlers, settings)
}
