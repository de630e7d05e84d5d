//! The testing tools must find what they are for: each check runs against a codec with the defect it looks for, and the
//! harness against a protocol that uses the whole contract.
#![forbid(unsafe_code)]
#![cfg(feature = "testing")]

use std::cell::RefCell;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use workerman_protocol::testing::{Ended, Harness, Seen, every_split, limits, random_splits, round_trip};
use workerman_protocol::{
    Context, Deadline, Decoded, Eof, Event, Failure, Goodbye, Outbox, Protocol, Random, Recovery, Role,
    Shared, take,
};

/// Messages of three bytes, with a defect to choose.
struct Broken(Defect);

#[derive(Clone, Copy, PartialEq)]
enum Defect {
    None,
    /// Takes what is there for a whole message.
    Hasty,
    /// Waits for more than its limit allows.
    Greedy,
    /// Reserves what has been announced.
    Reserves,
    /// Yields messages out of nothing.
    Endless,
    /// Changes what it sends.
    Garbles,
    /// Changes what it sends to many.
    GarblesShared,
    /// Sends more than it decodes.
    Leaves,
}

impl Protocol for Broken {
    type Incoming = Bytes;
    type Outgoing = Bytes;
    type Event = Event;
    type Error = Infallible;
    type Sending = Option<Defect>;

    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Infallible> {
        let defect = self.0;
        cx.sending(|sending| *sending = Some(defect));
        Ok(())
    }

    fn decode(
        &mut self,
        input: &mut BytesMut,
        _: &mut Context<'_, Self>,
    ) -> Result<Decoded<Self>, Infallible> {
        Ok(match self.0 {
            Defect::Endless => Decoded::Message(Bytes::new()),
            Defect::Hasty if !input.is_empty() => Decoded::Message(take(input, input.len().min(3))),
            _ if input.len() >= 3 => Decoded::Message(take(input, 3)),
            Defect::Greedy => Decoded::Need(100),
            Defect::Reserves => {
                input.reserve(1_000_000);
                Decoded::Need(3 - input.len())
            }
            _ => Decoded::Need(3 - input.len()),
        })
    }

    fn encode(sending: &mut Option<Defect>, message: Bytes, out: &mut Outbox) -> Result<(), Infallible> {
        match sending {
            Some(Defect::Garbles) => out.put_slice(b"???"),
            _ => out.put_bytes(message),
        }
        if *sending == Some(Defect::Leaves) {
            out.put_slice(b"!");
        }
        Ok(())
    }

    fn encode_shared(message: &Bytes) -> Option<Shared> {
        Some(message.clone().into())
    }

    fn append_shared(
        sending: &mut Option<Defect>,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), Infallible> {
        let garbles = *sending == Some(Defect::GarblesShared);
        out.put_bytes(if garbles { Bytes::from_static(b"???") } else { shared.bytes().clone() });
        Ok(())
    }

    fn max_message(&self) -> usize {
        16
    }
}

fn broken(defect: Defect) -> impl Fn() -> Harness<Broken> {
    let now = Instant::now();
    move || Harness::new(Broken(defect), now)
}

/// What `check` panics with.
fn complaint<R>(check: impl FnOnce() -> R) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(check)) else { panic!("the check found nothing") };
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap()
}

#[test]
fn a_sound_codec_passes_everything() {
    let make = broken(Defect::None);
    assert_eq!(every_split(&make, b"abcdefg").ended, Ended::Truncated);
    assert_eq!(random_splits(&make, b"abcdef", 1).ended, Ended::Clean);
    assert_eq!(limits(&make, b"abcdefgh").messages().count(), 2);
    round_trip(make(), make, ["abc", "def"].map(Bytes::from));
}

#[test]
fn a_codec_that_depends_on_the_cuts_is_found() {
    let make = broken(Defect::Hasty);
    let found = complaint(|| every_split(&make, b"abcdef"));
    assert!(found.starts_with("cut after 1 bytes:") && found.contains("in one piece:"), "{found}");
    let found = complaint(|| random_splits(&make, b"abcdef", 42));
    assert!(found.starts_with("seed 42, cut at ["), "{found}");
}

#[test]
fn a_codec_that_exceeds_its_limit_is_found() {
    let found = complaint(|| limits(broken(Defect::Greedy), b"a"));
    assert!(found.contains("waits for 101 bytes with a limit of 16"), "{found}");
    let mut harness = broken(Defect::Greedy)();
    harness.feed(b"ab");
    assert_eq!(*harness.ended(), Ended::OverLimit { needed: 102, limit: 16 });
}

#[test]
fn a_codec_that_reserves_what_is_announced_is_found() {
    let found = complaint(|| limits(broken(Defect::Reserves), b"ab"));
    assert!(found.starts_with("the decoder reserved") && found.ends_with("while it had 1"), "{found}");
}

#[test]
fn a_codec_without_end_is_found() {
    let found = complaint(|| broken(Defect::Endless)().feed(b"a"));
    assert!(found.ends_with("times without taking a byte"), "{found}");
}

#[test]
fn a_codec_that_sends_something_else_is_found() {
    let trip = |defect, sent: &'static str| {
        complaint(|| round_trip(broken(defect)(), broken(defect), [Bytes::from(sent)]))
    };
    assert!(trip(Defect::Garbles, "abc").contains("sent [b\"abc\"]\ngot [b\"???\"]"));
    assert!(trip(Defect::GarblesShared, "abc").contains("got [b\"???\"]"));
    assert!(trip(Defect::Leaves, "abc").contains("1 bytes are left"));
    assert!(trip(Defect::None, "ab").contains("got []"));
}

/// A protocol that uses everything: greets, answers `?` itself, waits for an answer to each message, beats.
#[derive(Default)]
struct Whole {
    outstanding: bool,
    beats: u32,
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("no {0} here")]
struct Refused(char);

impl Protocol for Whole {
    type Incoming = char;
    type Outgoing = char;
    type Event = &'static str;
    type Error = Refused;
    /// Answers sent.
    type Sending = u32;

    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Refused> {
        let greeting: &[u8] = if cx.role() == Role::Server { b"hi " } else { b"ho " };
        cx.reply().put_slice(greeting);
        Ok(())
    }

    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Refused> {
        if self.outstanding && cx.sending(|answers| *answers == 0) {
            return Ok(Decoded::Blocked);
        }
        self.outstanding = false;
        let Some(&byte) = input.first() else { return Ok(Decoded::Need(1)) };
        input.advance(1);
        Ok(match byte {
            b'?' => {
                let seconds = cx.unix_seconds();
                cx.reply().put_slice(format!("at {seconds} ").as_bytes());
                Decoded::Event("asked")
            }
            b'!' => {
                cx.reply().put_slice(b"refused");
                return Err(Refused('!'));
            }
            _ => {
                self.outstanding = true;
                cx.sending(|answers| *answers = 0);
                Decoded::Message(byte.into())
            }
        })
    }

    fn encode(answers: &mut u32, message: char, out: &mut Outbox) -> Result<(), Refused> {
        out.put_slice(b"partial ");
        if message == 'x' {
            return Err(Refused('x'));
        }
        *answers += 1;
        out.put_slice(message.to_string().as_bytes());
        Ok(())
    }

    fn eof(&mut self, _: &mut BytesMut, _: &mut Context<'_, Self>) -> Result<Eof<Self>, Refused> {
        self.beats += 1;
        Ok(if self.beats == 1 { Eof::Message('$') } else { Eof::Clean })
    }

    fn tick(&mut self, cx: &mut Context<'_, Self>) -> Result<Option<Instant>, Refused> {
        cx.reply().put_slice(b"tick ");
        Ok(Some(cx.now() + Duration::from_millis(900)))
    }

    fn deadline(&self) -> Deadline {
        Deadline::Handshake
    }

    fn timeout(&mut self, _: Deadline, cx: &mut Context<'_, Self>) {
        cx.reply().put_slice(b"late");
    }

    fn goodbye(&mut self, cx: &mut Context<'_, Self>) -> Goodbye {
        cx.reply().put_slice(b"bye");
        Goodbye::WhenPeerCloses
    }

    fn close(&mut self, code: Option<u16>, reason: &str, cx: &mut Context<'_, Self>) -> Goodbye {
        cx.reply().put_slice(format!("{code:?} {reason}").as_bytes());
        cx.reply().finish();
        Goodbye::Now
    }
}

fn whole() -> Harness<Whole> {
    Harness::new(Whole::default(), Instant::now())
}

#[test]
fn the_harness_drives_the_whole_contract() {
    let mut harness = whole();
    harness.open();
    assert_eq!(harness.output(), "hi tick ");

    harness.feed(b"a?b");
    assert!(harness.is_blocked());
    assert_eq!(harness.seen(), [Seen::Message('a')]);
    assert_eq!(harness.undecoded(), b"?b");
    assert_eq!(harness.send('x'), Err(Refused('x')));
    assert!(harness.is_blocked() && harness.output().is_empty());
    harness.send('A').unwrap();
    assert_eq!(harness.seen(), [Seen::Event("asked"), Seen::Message('b')]);
    assert_eq!(harness.output(), "partial Aat 0 ");
    assert_eq!(harness.send_shared(&'B'), Ok(false));

    assert_eq!(harness.goodbye(), Goodbye::WhenPeerCloses);
    assert_eq!(harness.close(Some(7), "done"), Goodbye::Now);
    assert_eq!(harness.output(), "byeSome(7) done");
    assert!(harness.is_finished());

    harness.eof();
    assert!(harness.is_open() && harness.is_blocked(), "an answer is owed before the end is looked at");
    harness.send('B').unwrap();
    assert_eq!((harness.messages(), harness.ended()), (vec!['$'], &Ended::Clean));
    harness.feed(b"c");
    assert_eq!(harness.into_parts(), "", "nothing arrives after the end");
}

/// Answers in order: `encode` only queues, and a long answer goes out ten bytes at a time while nothing waits.
#[derive(Default)]
struct Asked {
    owed: u32,
    rest: usize,
}

impl Asked {
    fn write(&mut self, cx: &mut Context<'_, Self>) {
        while self.rest == 0 && self.owed > 0 {
            let Some(answer) =
                cx.sending(|queue| if queue.is_empty() { None } else { Some(queue.remove(0)) })
            else {
                return;
            };
            self.owed -= 1;
            self.rest = answer;
        }
        if self.rest > 0 && cx.queued() == 0 {
            let part = self.rest.min(10);
            cx.reply().put_slice(&b"----------"[..part]);
            self.rest -= part;
        }
    }
}

impl Protocol for Asked {
    type Incoming = char;
    type Outgoing = usize;
    type Event = Event;
    type Error = Refused;
    type Sending = Vec<usize>;

    const ANSWERS: bool = true;

    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Refused> {
        let peer = cx.peer().map_or_else(String::new, |peer| peer.to_string());
        cx.reply().put_slice(peer.as_bytes());
        Ok(())
    }

    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Refused> {
        self.write(cx);
        if self.owed > 0 || self.rest > 0 {
            return Ok(Decoded::Blocked);
        }
        let Some(&byte) = input.first() else { return Ok(Decoded::Need(1)) };
        input.advance(1);
        self.owed += 1;
        Ok(Decoded::Message(byte.into()))
    }

    fn encode(queue: &mut Vec<usize>, message: usize, _: &mut Outbox) -> Result<(), Refused> {
        queue.push(message);
        Ok(())
    }

    fn answer(&mut self, message: usize, cx: &mut Context<'_, Self>) -> Result<(), Refused> {
        if message > 99 {
            cx.reply().put_slice(b"partial");
            return Err(Refused('9'));
        }
        self.owed -= 1;
        self.rest = message;
        self.write(cx);
        Ok(())
    }

    fn pump(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Refused> {
        self.write(cx);
        Ok(())
    }

    fn failed(&mut self, failure: Failure<'_>, cx: &mut Context<'_, Self>) -> Recovery {
        let word = if cx.parked() { b"worry" } else { b"sorry" };
        cx.reply().put_slice(word);
        self.owed -= 1;
        if matches!(failure, Failure::Error(_)) { Recovery::Continue } else { Recovery::End }
    }

    fn eof(&mut self, _: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Eof<Self>, Refused> {
        cx.reply().put_slice(b"bye");
        Ok(Eof::Clean)
    }
}

#[test]
fn the_harness_lets_the_decoding_half_answer() {
    let peer = "192.0.2.1:80".parse().unwrap();
    let mut harness = Harness::new(Asked::default(), Instant::now()).peer(peer);
    harness.open();
    assert_eq!(harness.output(), "192.0.2.1:80");
    harness.feed(b"abcd");
    assert_eq!(harness.messages(), ['a'], "one at a time");
    assert_eq!(harness.answer_last(100usize), Err(Refused('9')));
    assert_eq!(harness.output(), "", "what was put is taken back");
    assert_eq!(harness.failed(Failure::Error(&Refused('9'))), Recovery::Continue);
    assert_eq!((harness.output(), harness.messages()), (Bytes::from("sorry"), vec!['b']));

    harness.answer_last(25usize).unwrap();
    assert_eq!(harness.output(), "-".repeat(10), "`queued` counts what has just been put");
    harness.set_queued(1);
    harness.pump();
    assert_eq!(harness.output(), "", "not before all is written");
    harness.set_queued(0);
    harness.pump();
    harness.eof();
    assert_eq!(harness.output(), "-".repeat(10), "what has not been taken waits");
    assert!(harness.is_open() && harness.messages().is_empty());
    harness.decode();
    assert_eq!((harness.output(), harness.messages()), (Bytes::from("-----"), vec!['c']));

    harness.send(3usize).unwrap();
    assert_eq!((harness.output(), harness.is_blocked()), (Bytes::from("---"), true));
    harness.decode();
    assert_eq!((harness.messages(), harness.is_open()), (vec!['d'], true), "the end waits for an answer");
    harness.set_parked(true);
    assert_eq!(harness.failed(Failure::Panic), Recovery::End);
    assert_eq!(harness.output(), "worry");
    assert_eq!(*harness.ended(), Ended::Left);
}

#[test]
fn a_default_answer_is_an_encoded_message_and_a_failure_ends() {
    let (mut random, mut out, sending) = (Random::new(0), Outbox::new(), RefCell::new(0));
    let mut cx =
        Context::new(Instant::now(), 0, Role::Server, &mut random, &mut out, &sending, Waker::noop())
            .with_queued(5);
    assert_eq!((cx.queued(), cx.peer()), (5, None));
    Whole::default().answer('A', &mut cx).unwrap();
    assert_eq!((cx.queued(), cx.sending(|answers| *answers)), (5 + 9, 1));
    assert_eq!(Whole::default().answer('x', &mut cx), Err(Refused('x')));
    assert_eq!(out.into_bytes(), "partial A", "what was appended is taken back");

    let mut harness = whole();
    harness.feed(b"a");
    assert_eq!(harness.failed(Failure::Error(&Refused('9'))), Recovery::End);
}

#[test]
fn time_passes_when_told() {
    let mut harness = whole().role(Role::Client).unix_seconds(100);
    let start = harness.now();
    harness.advance(Duration::from_millis(1799));
    harness.advance(Duration::from_millis(1));
    harness.feed(b"?");
    assert_eq!(harness.output(), "ho tick tick tick at 101 ");
    assert_eq!(harness.now() - start, Duration::from_millis(1800));

    assert_eq!(harness.timeout(), Deadline::Handshake);
    assert_eq!(*harness.ended(), Ended::TimedOut(Deadline::Handshake));
    assert_eq!(harness.output(), "late");
    harness.advance(Duration::from_secs(10));
    assert_eq!(harness.output(), "", "no tick after the end");
}

#[test]
fn a_failure_keeps_the_reply_and_the_error() {
    let mut harness = whole();
    harness.feed(b"!a");
    assert_eq!(harness.error(), Some(&Refused('!')));
    let transcript = harness.into_transcript();
    assert_eq!(transcript.output, "hi tick refused");
    assert_eq!(transcript.ended.to_string(), "failed: no ! here");
}

#[test]
fn answers_of_the_application_unblock() {
    let make = || whole().answer(|message| Some(message.to_ascii_uppercase()));
    let transcript = every_split(make, b"ab?c");
    assert_eq!(transcript.messages().collect::<String>(), "abc$");
    assert_eq!(transcript.output, "partial Apartial Bat 0 partial Cpartial $");
}

/// Lines that wait for a line of the peer, which is what each is marked with then.
#[derive(Default)]
struct Marked(bool);

impl Protocol for Marked {
    type Incoming = Infallible;
    type Outgoing = &'static str;
    type Event = Event;
    type Error = Infallible;
    type Sending = Option<char>;

    const HOLDS: bool = true;

    fn decode(
        &mut self,
        input: &mut BytesMut,
        cx: &mut Context<'_, Self>,
    ) -> Result<Decoded<Self>, Infallible> {
        while let [mark, ..] = input[..] {
            let _ = take(input, 1);
            if mark == b'!' {
                cx.reply().put_slice(b"hello ");
                cx.release();
            } else if std::mem::replace(&mut self.0, true) {
                // Seen by nobody: what is left in a passing half is forgotten.
                cx.sending(|sending| *sending = Some('?'));
            } else {
                cx.free(mark);
            }
        }
        Ok(Decoded::Need(1))
    }

    fn encode(sending: &mut Option<char>, message: &'static str, out: &mut Outbox) -> Result<(), Infallible> {
        out.put_slice(sending.map_or(String::new(), String::from).as_bytes());
        out.put_slice(message.as_bytes());
        *sending = Some('x');
        Ok(())
    }

    fn free(bits: u8) -> Option<char> {
        Some(bits.into())
    }
}

#[test]
fn a_harness_holds_and_frees_like_a_connection() {
    let mut harness = Harness::new(Marked::default(), Instant::now());
    harness.send("a ").unwrap();
    harness.send("b ").unwrap();
    assert_eq!(harness.output(), "");
    harness.feed(b"-");
    harness.send("c ").unwrap();
    assert_eq!(harness.output(), "");
    harness.feed(b"!");
    assert_eq!(harness.output(), "hello a xb -c ");
    harness.feed(b"+");
    harness.send("d ").unwrap();
    harness.send("e ").unwrap();
    assert_eq!(harness.output(), "-d -e ");
    harness.feed(b"!");
    assert_eq!(harness.output(), "hello ");
}
