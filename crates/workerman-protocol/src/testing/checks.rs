//! What must hold for every codec, as assertions.

use std::fmt::Debug;

use super::{Harness, Transcript};
use crate::{Protocol, Random};

/// Rounds of [`random_splits`].
const ROUNDS: u64 = 64;

/// Feeds `input` in the pieces that `cuts` bound (sorted offsets), then ends the stream.
fn run<P: Protocol>(mut harness: Harness<P>, input: &[u8], cuts: &[usize]) -> Transcript<P> {
    harness.forget();
    let mut start = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        harness.feed(&input[start..cut]);
        start = cut;
    }
    harness.eof();
    harness.into_transcript()
}

fn same<P>(whole: &Transcript<P>, split: &Transcript<P>, how: impl FnOnce() -> String)
where
    P: Protocol<Incoming: PartialEq + Debug, Event: PartialEq + Debug>,
{
    assert!(whole == split, "{}:\n{split:#?}\nbut in one piece:\n{whole:#?}", how());
}

/// Checks that it makes no difference where `input` is cut: all at once, in two pieces at every offset, byte by byte.
///
/// Returns what it says in one piece, to be compared with what you expect. Each run ends with the end of the stream.
/// The work grows with the square of the input, so let it be some kilobytes at most. It is no test for a protocol
/// whose messages are by intent whatever has arrived (as those of `Raw` are).
///
/// # Panics
/// If it makes a difference; the message shows both.
///
/// # Examples
/// ```
/// # #[cfg(feature = "frame")] {
/// use std::time::Instant;
/// use workerman_protocol::{Frame, testing::{Harness, every_split}};
///
/// let frame = || Harness::new(Frame::new(), Instant::now());
/// let transcript = every_split(frame, b"\x00\x00\x00\x05a\x00\x00\x00\x03");
/// assert_eq!(transcript.messages().count(), 1);
/// let error = "failed: a frame announces 3 bytes in total, fewer than its header of 4";
/// assert_eq!(transcript.ended.to_string(), error);
/// # }
/// ```
pub fn every_split<P>(mut make: impl FnMut() -> Harness<P>, input: &[u8]) -> Transcript<P>
where
    P: Protocol<Incoming: PartialEq + Debug, Event: PartialEq + Debug>,
{
    let whole = run(make(), input, &[]);
    for cut in 0..=input.len() {
        same(&whole, &run(make(), input, &[cut]), || format!("cut after {cut} bytes"));
    }
    let bytes: Vec<usize> = (1..input.len()).collect();
    same(&whole, &run(make(), input, &bytes), || "byte by byte".into());
    whole
}

/// Checks that it makes no difference where `input` is cut, with 64 random ways of cutting it into many pieces.
///
/// For inputs that are too long for [`every_split`]. The same seed cuts the same way.
///
/// # Panics
/// If it makes a difference; the message has the seed and the cuts.
///
/// # Examples
/// ```
/// # #[cfg(feature = "text")] {
/// use std::time::Instant;
/// use workerman_protocol::{Text, testing::{Harness, random_splits}};
///
/// let input = "a line\r\n".repeat(500);
/// let transcript = random_splits(|| Harness::new(Text::new(), Instant::now()), input.as_bytes(), 7);
/// assert_eq!(transcript.messages().count(), 500);
/// # }
/// ```
pub fn random_splits<P>(mut make: impl FnMut() -> Harness<P>, input: &[u8], seed: u64) -> Transcript<P>
where
    P: Protocol<Incoming: PartialEq + Debug, Event: PartialEq + Debug>,
{
    let mut random = Random::new(seed);
    let whole = run(make(), input, &[]);
    for _ in 0..ROUNDS {
        // From a few large pieces to many small ones.
        let longest = 1 + random.below(1 + input.len() as u64);
        let longest = 1 + random.below(longest);
        let mut cuts = Vec::new();
        let mut at = 0;
        while at < input.len() {
            cuts.push(at);
            at += 1 + random.below(longest) as usize;
        }
        same(&whole, &run(make(), input, &cuts), || format!("seed {seed}, cut at {cuts:?}"));
    }
    whole
}

/// Checks that a decoder keeps its own limit ([`Protocol::max_message`]) on hostile `input`, in pieces of several sizes.
///
/// Whenever it waits, what it has left undecoded and what it asks for must fit the limit; it must neither reserve
/// memory beyond what has arrived nor take input for ever without saying so. Give it an input that is longer than the
/// limit and never completes a message, and look at the end of the transcript: it should have failed with an error
/// that names the limit. (What a protocol stores in itself is not seen from here.)
///
/// # Panics
/// If the limit is not kept, or if the size of the pieces makes a difference to how it ends.
///
/// # Examples
/// ```
/// # #[cfg(feature = "frame")] {
/// use std::time::Instant;
/// use workerman_protocol::{CodecError, Frame, testing::{Harness, limits}};
///
/// let frame = || Harness::new(Frame::new().max_message(1000), Instant::now());
/// let transcript = limits(frame, b"\xff\xff\xff\xff and so on");
/// let error = CodecError::FrameTooLong { length: 0xffff_ffff, limit: 1000 };
/// assert_eq!(transcript.ended.to_string(), format!("failed: {error}"));
/// # }
/// ```
pub fn limits<P: Protocol>(mut make: impl FnMut() -> Harness<P>, input: &[u8]) -> Transcript<P> {
    let mut run = |size: usize| {
        let mut harness = make();
        harness.forget();
        let limit = harness.protocol().max_message();
        for piece in input.chunks(size) {
            harness.feed(piece);
            if !harness.is_open() {
                break;
            }
            if harness.is_blocked() {
                continue;
            }
            let (held, needs) = (harness.undecoded().len(), harness.needs());
            assert!(
                held.saturating_add(needs) <= limit,
                "the decoder holds {held} bytes and waits for {needs} more with a limit of {limit}"
            );
        }
        let transcript = harness.into_transcript();
        assert!(
            !matches!(transcript.ended, super::Ended::OverLimit { .. }),
            "in pieces of {size}, the decoder {}",
            transcript.ended
        );
        transcript
    };
    let first = run(1);
    for size in [2, 7, 64, 1024, input.len().max(1)] {
        let other = run(size);
        assert!(
            first.ended == other.ended,
            "ended with \"{}\" in pieces of {size}, with \"{}\" byte by byte",
            other.ended,
            first.ended
        );
    }
    first
}

/// Checks that what `sender` encodes is what a receiver decodes, message by message; one at a time, all at once, and
/// shared ([`Protocol::encode_shared`]) where the protocol can.
///
/// The two may be different protocols, or different roles of one. A harness comes back from a closure as it should be
/// when the messages start (with a handshake behind it, say); what it has seen and sent before does not count.
///
/// # Panics
/// If a message cannot be encoded, does not arrive, arrives changed, or leaves something behind.
///
/// # Examples
/// ```
/// # #[cfg(feature = "frame")] {
/// use std::time::Instant;
/// use bytes::Bytes;
/// use workerman_protocol::{Frame, testing::{Harness, round_trip}};
///
/// let frame = || Harness::new(Frame::new(), Instant::now());
/// round_trip(frame(), frame, [Bytes::from("one"), Bytes::new(), Bytes::from(vec![0; 70_000])]);
/// # }
/// ```
pub fn round_trip<S, R>(
    mut sender: Harness<S>,
    mut receiver: impl FnMut() -> Harness<R>,
    messages: impl IntoIterator<Item = S::Outgoing>,
) where
    S: Protocol<Outgoing: Clone + Debug>,
    R: Protocol<Incoming: PartialEq<S::Outgoing> + Debug>,
{
    sender.forget();
    let mut one_by_one = receiver();
    one_by_one.forget();
    let (mut sent, mut stream) = (Vec::new(), Vec::new());
    for message in messages {
        if let Err(error) = sender.send(message.clone()) {
            panic!("cannot encode {message:?}: {error}");
        }
        let bytes = sender.output();
        stream.extend_from_slice(&bytes);
        one_by_one.feed(&bytes);
        arrived(&mut one_by_one, std::slice::from_ref(&message));
        sent.push(message);
    }

    let mut at_once = receiver();
    at_once.forget();
    at_once.feed(&stream);
    arrived(&mut at_once, &sent);

    // The receiver that has seen the stream: shared bytes must fit whatever state it is in.
    for message in &sent {
        match sender.send_shared(message) {
            Ok(false) => {}
            Ok(true) => {
                at_once.feed(&sender.output());
                arrived(&mut at_once, std::slice::from_ref(message));
            }
            Err(error) => panic!("cannot append {message:?}: {error}"),
        }
    }
}

fn arrived<R: Protocol<Incoming: Debug>, M: Debug>(receiver: &mut Harness<R>, sent: &[M])
where
    R::Incoming: PartialEq<M>,
{
    let got = receiver.messages();
    assert!(receiver.is_open(), "after {sent:?}, the receiver: {}", receiver.ended());
    assert!(
        got.len() == sent.len() && got.iter().zip(sent).all(|(got, sent)| got == sent),
        "sent {sent:?}\ngot {got:?}"
    );
    let left = receiver.undecoded();
    assert!(left.is_empty(), "after {sent:?}, {} bytes are left: {left:?}", left.len());
}
