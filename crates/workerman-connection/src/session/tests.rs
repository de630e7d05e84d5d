//! The session alone, with invented time.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use workerman_protocol::{Decoded, Eof, Event, Goodbye};

use super::*;

mod deadlines;

const SECOND: Duration = Duration::from_secs(1);

/// Four bytes of length, then the body; `!` is refused, `?` blocks.
struct Probe {
    deadline: Deadline,
    goodbye: Goodbye,
    eof: fn(&[u8]) -> Option<bool>,
    tick: Option<Duration>,
    max: usize,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            deadline: Deadline::Idle,
            goodbye: Goodbye::Now,
            eof: |rest| Some(rest.is_empty()),
            tick: None,
            max: 16 * 1024 * 1024,
        }
    }
}

impl Protocol for Probe {
    type Incoming = Bytes;
    type Outgoing = Bytes;
    type Event = Event;
    type Error = io::Error;
    type Sending = ();

    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> io::Result<Decoded<Self>> {
        match input.first() {
            Some(b'!') => {
                cx.reply().put_slice(b"no");
                return Err(io::ErrorKind::InvalidData.into());
            }
            Some(b'?') => return Ok(Decoded::Blocked),
            _ => {}
        }
        let Some(head) = input.first_chunk::<4>() else { return Ok(Decoded::Need(4 - input.len())) };
        let length = 4 + u32::from_be_bytes(*head) as usize;
        if input.len() < length {
            return Ok(Decoded::Need(length - input.len()));
        }
        let mut message = input.split_to(length);
        message.advance(4);
        Ok(Decoded::Message(message.freeze()))
    }

    fn encode(_: &mut (), message: Bytes, out: &mut Outbox) -> io::Result<()> {
        out.put_bytes(message);
        Ok(())
    }

    fn open(&mut self, cx: &mut Context<'_, Self>) -> io::Result<()> {
        cx.reply().put_slice(b"hello");
        Ok(())
    }

    fn eof(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> io::Result<Eof<Self>> {
        match (self.eof)(input) {
            None => Ok(Eof::Message(input.split().freeze())),
            Some(true) => Ok(Eof::Clean),
            Some(false) => Ok(Eof::Truncated),
        }
    }

    fn goodbye(&mut self, cx: &mut Context<'_, Self>) -> Goodbye {
        cx.reply().put_slice(b"bye");
        self.goodbye
    }

    fn close(&mut self, code: Option<u16>, reason: &str, cx: &mut Context<'_, Self>) -> Goodbye {
        cx.reply().put_slice(format!("{code:?} {reason}").as_bytes());
        self.goodbye
    }

    fn tick(&mut self, cx: &mut Context<'_, Self>) -> io::Result<Option<Instant>> {
        cx.reply().put_slice(b"tick");
        Ok(self.tick.map(|every| cx.now() + every))
    }

    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn timeout(&mut self, which: Deadline, cx: &mut Context<'_, Self>) {
        cx.reply().put_slice(format!("{which:?}").as_bytes());
    }

    fn max_message(&self) -> usize {
        self.max
    }
}

/// A session and its surroundings.
struct Rig {
    session: Session<Probe>,
    settings: Settings,
    now: Instant,
    random: Random,
    reply: Outbox,
}

impl Rig {
    fn new(probe: Probe, layered: bool) -> Self {
        let now = Instant::now();
        let session = Session::new(probe, Role::Server, layered, now);
        Self { session, settings: Settings::default(), now, random: Random::new(1), reply: Outbox::new() }
    }

    fn open(probe: Probe) -> Self {
        let mut rig = Self::new(probe, false);
        rig.turn(|session, turn, half| session.open(turn, half)).unwrap();
        rig.reply.clear(0);
        rig
    }

    fn turn<R>(
        &mut self,
        call: impl FnOnce(&mut Session<Probe>, &mut Turn<'_>, &dyn SendingHalf<()>) -> R,
    ) -> R {
        let mut turn = Turn {
            now: self.now,
            unix_seconds: 0,
            random: &mut self.random,
            reply: &mut self.reply,
            queued: 0,
            waker: Waker::noop(),
            handling: false,
            parked: false,
        };
        call(&mut self.session, &mut turn, &RefCell::new(()))
    }

    fn said(&mut self) -> Vec<u8> {
        let said = self.reply.copy_to_bytes(self.reply.remaining()).to_vec();
        self.reply.clear(0);
        said
    }

    fn next(&mut self) -> Step<Probe> {
        self.turn(|session, turn, half| session.next(turn, half))
    }

    fn arrive(&mut self, bytes: &[u8]) {
        self.session.receive(&mut BytesMut::from(bytes));
    }

    /// The end of a batch without input.
    fn rest(&mut self, busy: bool) {
        self.session.watch(false, false, busy, self.now);
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.session.deadline(&self.settings, None, false)? - self.now)
    }

    fn expired(&self) -> Option<Expired> {
        self.session.expired(self.now, &self.settings, None, false)
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut framed = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(body);
    framed
}

// ---- life cycle ----------------------------------------------------------------------------------------------------

#[test]
fn a_session_without_a_layer_is_open_at_once_and_speaks_first() {
    let mut rig = Rig::new(Probe::default(), false);
    assert_eq!(rig.session.phase(), Phase::Open);
    rig.turn(|session, turn, half| session.open(turn, half)).unwrap();
    assert_eq!(rig.said(), b"hellotick");
}

#[test]
fn a_layer_keeps_the_protocol_closed_and_its_bytes() {
    let mut rig = Rig::new(Probe::default(), true);
    assert_eq!(rig.session.phase(), Phase::Handshake);
    rig.arrive(&framed(b"early"));
    assert_eq!(rig.session.undecoded(), 9);
    rig.turn(|session, turn, half| session.open(turn, half)).unwrap();
    assert_eq!(rig.session.phase(), Phase::Open);
    assert!(matches!(rig.next(), Step::Message(message) if message == "early"));
}

#[test]
fn the_way_from_open_to_closed() {
    let mut rig = Rig::open(Probe::default());
    // Only a session that flushes lingers.
    rig.session.lingers(&rig.settings, rig.now);
    assert_eq!(rig.session.phase(), Phase::Open);
    rig.session.flush_and_close(CloseReason::PeerClosed);
    assert_eq!(rig.session.phase(), Phase::Flushing);
    rig.session.flush_and_close(CloseReason::Local);
    assert_eq!(rig.session.reason(), CloseReason::PeerClosed, "the first reason stays");
    rig.session.lingers(&rig.settings, rig.now);
    assert_eq!(rig.session.phase(), Phase::Lingering { until: rig.now + SECOND });
    rig.session.lingers(&rig.settings, rig.now + SECOND);
    assert_eq!(rig.session.phase(), Phase::Lingering { until: rig.now + SECOND }, "it is not stretched");
    assert_eq!((rig.deadline(), rig.expired()), (Some(SECOND), None));
    rig.now += SECOND;
    assert_eq!(rig.expired(), Some(Expired::Linger));
    rig.session.closed(CloseReason::Local);
    assert_eq!((rig.session.phase(), rig.session.reason()), (Phase::Closed, CloseReason::PeerClosed));
    assert!(!rig.session.aborts(), "a linger that runs out is a close, not a reset");
    assert_eq!((rig.deadline(), rig.expired()), (None, None));
}

#[test]
fn a_linger_goes_on_while_the_peer_sends_but_not_for_ever() {
    let mut rig = Rig::open(Probe::default());
    rig.settings.linger_limit = 3 * SECOND;
    rig.session.lingers_on(&rig.settings, rig.now);
    assert_eq!(rig.session.phase(), Phase::Open);
    rig.session.flush_and_close(CloseReason::Local);
    let began = rig.now;
    rig.session.lingers(&rig.settings, rig.now);
    let mut until = Vec::new();
    for _ in 0..6 {
        rig.now += SECOND / 2;
        rig.session.lingers_on(&rig.settings, rig.now);
        let Phase::Lingering { until: at } = rig.session.phase() else { panic!("it lingers") };
        until.push((at - began).as_millis());
    }
    assert_eq!(until, [1500, 2000, 2500, 3000, 3000, 3000]);
    assert_eq!(rig.expired(), Some(Expired::Linger));
    // A limit that is less than the time itself shortens nothing.
    let mut rig = Rig::open(Probe::default());
    rig.settings.linger_limit = Duration::ZERO;
    rig.session.flush_and_close(CloseReason::Local);
    rig.session.lingers(&rig.settings, rig.now);
    let until = rig.now + SECOND;
    rig.now += SECOND / 2;
    rig.session.lingers_on(&rig.settings, rig.now);
    assert_eq!(rig.session.phase(), Phase::Lingering { until });
}

#[test]
fn a_handshake_can_fail() {
    let mut rig = Rig::new(Probe::default(), true);
    let until = rig.now + SECOND;
    assert_eq!(rig.session.deadline(&rig.settings, Some(until), false), Some(until));
    assert_eq!(rig.session.expired(rig.now, &rig.settings, Some(until), false), None);
    let expired = rig.session.expired(until, &rig.settings, Some(until), false);
    assert_eq!(expired, Some(Expired::Timeout(Timeout::Handshake)));
    rig.turn(|session, turn, half| session.timeout(Timeout::Handshake, turn, half));
    assert_eq!(rig.said(), b"", "a protocol that is not open says nothing");
    rig.session.flush_and_close(CloseReason::Timeout(Timeout::Handshake));
    assert_eq!(rig.session.phase(), Phase::Flushing);
}

#[test]
fn a_reset_ends_every_phase_and_forgets_what_waits() {
    let steps: [fn(&mut Rig); 4] = [
        |_| {},
        |rig| rig.session.flush_and_close(CloseReason::PeerClosed),
        |rig| {
            rig.session.flush_and_close(CloseReason::PeerClosed);
            rig.session.lingers(&rig.settings, rig.now);
        },
        |rig| rig.arrive(b"abc"),
    ];
    for step in steps {
        let mut rig = Rig::open(Probe::default());
        rig.session.pending().put_slice(b"never sent");
        step(&mut rig);
        rig.session.reset(CloseReason::Local);
        assert_eq!(rig.session.phase(), Phase::Closed);
        assert!(rig.session.aborts());
        assert_eq!((rig.session.pending_len(), rig.session.undecoded()), (0, 0));
    }
    let mut rig = Rig::open(Probe::default());
    rig.session.closed(CloseReason::Reset);
    rig.session.reset(CloseReason::Local);
    assert!(!rig.session.aborts(), "what is closed already stays closed");
    assert_eq!(rig.session.reason(), CloseReason::Reset);
}

#[test]
fn what_comes_after_the_end_is_thrown_away() {
    let mut rig = Rig::open(Probe::default());
    rig.arrive(&framed(b"handled too late"));
    rig.session.flush_and_close(CloseReason::Local);
    assert_eq!(rig.session.undecoded(), 0);
    for _ in 0..1000 {
        let mut chunk = BytesMut::from(&[0; 1000][..]);
        rig.session.receive(&mut chunk);
        assert!(chunk.is_empty());
        assert!(rig.session.settle(Some(&mut chunk), None).is_none());
        assert_eq!(chunk.capacity(), 1000, "the loop keeps its buffer");
    }
    rig.session.refill(vec![1; 100]);
    assert_eq!(rig.session.undecoded(), 0);
    assert!(matches!(rig.next(), Step::Need(_)));
    assert!(rig.session.wants_input(true, 0), "it is read all the same");
}

#[test]
fn goodbye_and_close_say_their_words_and_tell_when_to_end() {
    for goodbye in [Goodbye::Now, Goodbye::AfterMessage, Goodbye::WhenPeerCloses] {
        let mut rig = Rig::open(Probe { goodbye, ..Probe::default() });
        assert_eq!(rig.turn(|session, turn, half| session.goodbye(turn, half)), goodbye);
        assert_eq!(rig.said(), b"bye");
        assert_eq!(rig.session.reason(), CloseReason::Shutdown);
        assert_eq!(rig.session.leaves_now(), goodbye == Goodbye::AfterMessage);
        let mut rig = Rig::open(Probe { goodbye, ..Probe::default() });
        let said = rig.turn(|session, turn, half| session.close_with_code(Some(7), "why", turn, half));
        assert_eq!((said, rig.said()), (goodbye, b"Some(7) why".to_vec()));
        assert_eq!(rig.session.reason(), CloseReason::Local);
    }
    let mut rig = Rig::open(Probe::default());
    rig.session.flush_and_close(CloseReason::PeerClosed);
    rig.turn(|session, turn, half| session.close_with_code(None, "", turn, half));
    assert_eq!(rig.session.reason(), CloseReason::PeerClosed, "a later wish changes no reason");
}

#[test]
fn leaving_waits_for_the_message_in_progress() {
    let mut rig = Rig::open(Probe { deadline: Deadline::Body, ..Probe::default() });
    rig.session.leave_idle();
    assert!(!rig.session.leaves_now());
    rig.session.protocol.deadline = Deadline::Idle;
    assert!(rig.session.leaves_now());
    rig.arrive(b"\0");
    assert!(!rig.session.leaves_now(), "the next one has begun");
}

#[test]
fn what_moves_to_another_protocol() {
    let mut rig = Rig::open(Probe::default());
    rig.arrive(b"unread");
    rig.session.pending().put_slice(b"unsent");
    rig.session.end_of_stream();
    assert!(rig.session.fills(usize::MAX, false, &rig.settings));
    let parts = rig.session.into_parts();
    let mut next = Session::new(Probe::default(), Role::Client, false, rig.now);
    let pinned = parts.unread.as_ptr();
    next.adopt(parts);
    assert_eq!((next.undecoded(), next.pending_len()), (6, 6));
    assert!(next.peer_ended() && next.is_full());
    assert_ne!(next.input.as_ptr(), pinned, "a small rest does not keep the loop's buffer");
}

// ---- input ---------------------------------------------------------------------------------------------------------

#[test]
fn a_message_is_too_long_before_anything_is_reserved() {
    let mut rig = Rig::open(Probe { max: 100, ..Probe::default() });
    rig.arrive(&u32::MAX.to_be_bytes());
    let expected = 4 + u32::MAX as usize;
    assert!(matches!(rig.next(), Step::TooLong { needed, limit: 100 } if needed == expected));
    assert!(rig.session.input.capacity() <= 64);
    let mut rig = Rig::open(Probe { max: 104, ..Probe::default() });
    rig.arrive(&framed(&[0; 100])[..50]);
    assert!(matches!(rig.next(), Step::Need(54)), "exactly the limit is allowed");
}

#[test]
fn refusals_and_blocks_are_told() {
    let mut rig = Rig::open(Probe::default());
    rig.arrive(b"?");
    assert!(matches!(rig.next(), Step::Blocked));
    assert!(rig.session.wants_input(true, 2));
    assert!(!rig.session.wants_input(true, 1), "reading stops at the limit");
    assert!(rig.session.wants_input(false, 1), "which counts only while something waits");
    let mut rig = Rig::open(Probe::default());
    rig.arrive(b"!");
    assert!(matches!(rig.next(), Step::Failed(_)));
    assert_eq!(rig.said(), b"no");
}

#[test]
fn the_end_of_the_stream_has_four_meanings() {
    let mut rig = Rig::open(Probe::default());
    rig.session.end_of_stream();
    assert!(!rig.session.wants_input(false, 1));
    assert!(matches!(rig.next(), Step::End));

    let mut rig = Rig::open(Probe::default());
    rig.arrive(&framed(b"whole"));
    rig.arrive(b"\0\0");
    rig.session.end_of_stream();
    assert!(matches!(rig.next(), Step::Message(_)));
    assert!(matches!(rig.next(), Step::Truncated));

    let eof = |rest: &[u8]| (rest.is_empty()).then_some(true);
    let mut rig = Rig::open(Probe { eof, ..Probe::default() });
    rig.arrive(b"la");
    rig.session.end_of_stream();
    assert!(matches!(rig.next(), Step::Message(message) if message == "la"));
    assert!(matches!(rig.next(), Step::End));
}

#[test]
fn the_loops_buffer_goes_back_and_a_rest_is_copied_out_of_it() {
    let mut rig = Rig::open(Probe::default());
    let mut chunk = BytesMut::with_capacity(64 * 1024);
    chunk.extend_from_slice(&framed(b"one"));
    chunk.extend_from_slice(b"\0\0\0\x09rest");
    let memory = chunk.as_ptr();
    rig.session.receive(&mut chunk);
    assert_eq!(chunk.capacity(), 0);
    assert!(matches!(rig.next(), Step::Message(_)));
    let Step::Need(need) = rig.next() else { panic!("an unfinished message") };
    assert_eq!(need, 5);
    assert!(rig.session.settle(Some(&mut chunk), Some(need)).is_none());
    let range = memory as usize..memory as usize + 64 * 1024;
    assert!(range.contains(&(chunk.as_ptr() as usize)), "it is the same buffer");
    assert!(!range.contains(&(rig.session.input.as_ptr() as usize)));
    rig.arrive(b" it is");
    assert!(matches!(rig.next(), Step::Message(message) if message == "rest it i"));
}

/// Receives a message of `size` bytes as a loop does; returns the lent buffers' lengths and capacities.
fn receive_in_place(rig: &mut Rig, size: usize, read: usize) -> Vec<(usize, usize)> {
    let wire = framed(&(0..size).map(|n| (n >> 3) as u8).collect::<Vec<_>>());
    let mut at = read.min(64 * 1024);
    let mut chunk = BytesMut::from(&wire[..at]);
    rig.session.receive(&mut chunk);
    let mut data = Some(chunk);
    let mut lent = Vec::new();
    loop {
        match rig.next() {
            Step::Message(message) => {
                assert!(message == wire[4..]);
                return lent;
            }
            Step::Need(need) => {
                let buffer = rig.session.settle(data.as_mut(), Some(need));
                data = None;
                let Some(mut buffer) = buffer else { panic!("{need} bytes are not read in place") };
                assert_eq!(rig.session.lent_len(), buffer.len());
                lent.push((buffer.len(), buffer.capacity()));
                let room = (buffer.capacity() - buffer.len()).min(read);
                assert!(room > 0, "a buffer without room is never lent");
                buffer.extend_from_slice(&wire[at..at + room.min(wire.len() - at)]);
                at = (at + room).min(wire.len());
                rig.session.refill(buffer);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_large_message_is_read_in_place_and_grows_by_what_was_received() {
    const SIZE: usize = 10 * 1024 * 1024;
    let mut rig = Rig::open(Probe::default());
    // As much per read as there is room for.
    let lent = receive_in_place(&mut rig, SIZE, usize::MAX);
    for (index, (length, capacity)) in lent.iter().copied().enumerate() {
        assert!(capacity <= (2 * length).max(length + 64 * 1024), "{index}: {capacity} for {length}");
        assert!(capacity <= SIZE + 4, "never beyond what is needed");
    }
    // 64 KiB, doubled until 10 MiB: nothing is copied between two growths.
    assert!(lent.len() <= 9, "{lent:?}");
    assert_eq!(lent.last().map(|(_, capacity)| *capacity), Some(SIZE + 4));
}

#[test]
fn small_reads_into_a_lent_buffer_copy_nothing() {
    let mut rig = Rig::open(Probe::default());
    let wire = framed(&[7; 1024 * 1024]);
    let mut data = BytesMut::from(&wire[..64 * 1024]);
    rig.session.receive(&mut data);
    let Step::Need(need) = rig.next() else { panic!("an unfinished message") };
    let mut buffer = rig.session.settle(Some(&mut data), Some(need)).unwrap();
    let memory = (buffer.as_ptr(), buffer.capacity());
    for _ in 0..10 {
        buffer.extend_from_slice(&[7; 10]);
        rig.session.refill(buffer);
        let Step::Need(need) = rig.next() else { panic!("an unfinished message") };
        buffer = rig.session.settle(None, Some(need)).unwrap();
        assert_eq!(buffer.as_ptr(), memory.0, "it is the same memory");
    }
}
