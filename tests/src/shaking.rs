//! A protocol with a handshake that holds its senders until it is done, with three kinds of sending halves.
//!
//! Lines. The client says `HELLO n`, the server answers `WELCOME n`; then either side says what it likes, and marks its
//! lines as its sending half wants it. A server understands `PING` (also before the handshake: `PONG`), `ASK` (an event),
//! `BYE n text` (answered and over), `FINE` (over, unanswered); everything else after the handshake is a message, and
//! before it an error. A line that is `PANIC` panics when it is encoded, one with a tab has no encoding.

pub mod rig;

use std::fmt;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use workerman_protocol::{Context, Deadline, Decoded, Farewell, Goodbye, Outbox, Protocol, Role, Shared};

/// What marks the lines of one side.
pub trait Marks: Clone + Default + Send + fmt::Debug + 'static {
    /// Whether it is set free when the handshake is done.
    const FREE: bool;

    /// Made of the bits that were agreed on.
    fn of(bits: u8) -> Self;

    /// The mark of the next line.
    fn mark(&mut self) -> String;
}

/// No state, no mark.
impl Marks for () {
    const FREE: bool = false;

    fn of(_: u8) -> Self {}

    fn mark(&mut self) -> String {
        String::new()
    }
}

/// Running numbers: a state that lives under the lock.
#[derive(Clone, Debug, Default)]
pub struct Counted(u32);

impl Marks for Counted {
    const FREE: bool = false;

    fn of(_: u8) -> Self {
        unreachable!("it is never free")
    }

    fn mark(&mut self) -> String {
        self.0 += 1;
        format!("{} ", self.0)
    }
}

/// The bits that were agreed on. Whoever kept it would see that it was used.
#[derive(Clone, Debug, Default)]
pub struct Agreed(Option<u8>);

impl Marks for Agreed {
    const FREE: bool = true;

    fn of(bits: u8) -> Self {
        Self(Some(bits))
    }

    fn mark(&mut self) -> String {
        match self.0.replace(0) {
            Some(bits) => format!("[{bits}] "),
            None => String::new(),
        }
    }
}

/// The protocol, either side.
#[derive(Clone, Debug)]
pub struct Shaking<M> {
    open: bool,
    /// The handshake was done by another protocol.
    opens: Option<u8>,
    goodbye: Goodbye,
    farewell: Option<Farewell>,
    marks: PhantomData<fn() -> M>,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrong: {}", self.0)
    }
}

impl std::error::Error for Wrong {}

impl<M: Marks> Shaking<M> {
    /// One whose handshake is to come.
    pub fn new() -> Self {
        Self { open: false, opens: None, goodbye: Goodbye::Now, farewell: None, marks: PhantomData }
    }

    /// One that leaves in this way.
    #[must_use]
    pub fn goodbye(mut self, goodbye: Goodbye) -> Self {
        self.goodbye = goodbye;
        self
    }

    /// One whose handshake is done, and has agreed on these bits.
    pub fn done(bits: u8) -> Self {
        Self { opens: Some(bits), ..Self::new() }
    }

    fn opens(&mut self, bits: u8, cx: &mut Context<'_, Self>) {
        self.open = true;
        if M::FREE {
            cx.free(bits);
        }
        cx.release();
        // Behind what was held.
        cx.reply().put_slice(b"(open)\n");
    }

    fn bye(&mut self, rest: &str, by_peer: bool) {
        let (code, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let code = code.parse().unwrap_or_default();
        match &mut self.farewell {
            Some(farewell) => farewell.clean = true,
            None => self.farewell = Some(Farewell { code, text: text.into(), by_peer, clean: by_peer }),
        }
    }
}

impl<M: Marks> Default for Shaking<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Marks> Protocol for Shaking<M> {
    type Incoming = String;
    type Outgoing = String;
    /// `ASK`.
    type Event = ();
    type Error = Wrong;
    type Sending = M;

    const HOLDS: bool = true;

    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Wrong> {
        match self.opens {
            Some(bits) => self.opens(bits, cx),
            None if cx.role() == Role::Client => cx.reply().put_slice(b"HELLO 5\n"),
            None => {}
        }
        Ok(())
    }

    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Wrong> {
        loop {
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(Decoded::Need(1)) };
            let line = input.split_to(end + 1);
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb {
                "PING" => cx.reply().put_slice(b"PONG\n"),
                "ASK" => return Ok(Decoded::Event(())),
                "BYE" => {
                    self.bye(rest, true);
                    cx.reply().put_slice(b"BYE BYE\n");
                    cx.reply().finish();
                }
                "FINE" => {
                    cx.reply().finish();
                }
                "HELLO" | "WELCOME" if !self.open => {
                    let Ok(bits) = rest.parse() else {
                        cx.reply().put_slice(b"400\n");
                        return Err(Wrong(line));
                    };
                    if verb == "HELLO" {
                        cx.reply().put_slice(format!("WELCOME {bits}\n").as_bytes());
                    }
                    self.opens(bits, cx);
                }
                _ if self.open => return Ok(Decoded::Message(line)),
                _ => {
                    cx.reply().put_slice(b"400\n");
                    return Err(Wrong(line));
                }
            }
        }
    }

    fn encode(marks: &mut M, line: String, out: &mut Outbox) -> Result<(), Wrong> {
        out.put_slice(marks.mark().as_bytes());
        assert!(line != "PANIC", "expected by the test");
        if line.contains('\t') {
            return Err(Wrong(line));
        }
        out.put_slice(line.as_bytes());
        out.put_slice(b"\n");
        if line == "LAST" {
            out.finish();
        }
        Ok(())
    }

    fn size_hint(line: &String) -> usize {
        line.len() + 1
    }

    fn free(bits: u8) -> M {
        M::of(bits)
    }

    fn encode_shared(line: &String) -> Option<Shared> {
        Some(Bytes::from(format!("{line}\n")).into())
    }

    /// Lines to those who have agreed on odd bits are in capitals.
    fn append_shared(marks: &mut M, shared: &Shared, out: &mut Outbox) -> Result<(), Wrong> {
        let mark = marks.mark();
        out.put_slice(mark.as_bytes());
        let odd = mark.starts_with('[') && mark.contains(['1', '3', '5', '7', '9']);
        let capitals = || Some(Bytes::from(shared.bytes().to_ascii_uppercase()));
        let bytes = if odd { shared.memo(1, capitals) } else { None };
        out.put_bytes(bytes.unwrap_or(shared.bytes()).clone());
        Ok(())
    }

    fn close(&mut self, code: Option<u16>, reason: &str, cx: &mut Context<'_, Self>) -> Goodbye {
        let Some(code) = code else { return Goodbye::Now };
        self.bye(&format!("{code} {reason}"), false);
        cx.reply().put_slice(format!("BYE {code} {reason}\n").as_bytes());
        self.goodbye
    }

    fn goodbye(&mut self, cx: &mut Context<'_, Self>) -> Goodbye {
        cx.reply().put_slice(b"GOING\n");
        self.goodbye
    }

    fn deadline(&self) -> Deadline {
        if self.open { Deadline::Idle } else { Deadline::Handshake }
    }

    fn timeout(&mut self, which: Deadline, cx: &mut Context<'_, Self>) {
        if which == Deadline::Handshake {
            cx.reply().put_slice(b"503\n");
        }
    }

    fn farewell(&self) -> Option<Farewell> {
        self.farewell.clone()
    }
}
