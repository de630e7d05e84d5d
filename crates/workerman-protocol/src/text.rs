//! Messages that are lines.

use bytes::{Buf, BufMut, BytesMut};

use crate::{
    CodecError, Context, DEFAULT_MAX_MESSAGE, Decoded, Event, Line, Outbox, Protocol, SHARE_FROM, Shared,
    take,
};

/// Lines: each message ends with a line feed, as `nc` and telnet send them.
///
/// A received line comes without its line feed and without carriage returns at its end (so `\r\n` is fine, and an empty
/// line is an empty message); other bytes are kept as they are. They need not be UTF-8: see [`Line`]. A sent text gets
/// a line feed appended.
///
/// **A text to be sent must not have a line feed inside**, or the peer would see messages that nobody meant to send
/// (think of a name that a third party chose); such a `send` is refused with [`CodecError::LineBreak`]. To send a text
/// of several lines, send its [`lines`](str::lines) one by one: they still leave in one write. Carriage returns may
/// stand anywhere; at the end of a text they are lost on the way, as the peer strips them.
///
/// A line above the limit is refused as soon as that many bytes are there without a line feed. What has been scanned
/// is not scanned again, however slowly the bytes arrive.
///
/// What the stream still holds after its last line feed when it ends is no message (half a command is none either): it
/// is dropped, and the connection reports a truncation. `printf hello | nc` therefore delivers nothing, `echo hello | nc`
/// delivers `hello`.
///
/// # Examples
/// ```
/// # #[cfg(feature = "testing")] {
/// use std::time::Instant;
/// use workerman_protocol::{CodecError, Text, testing::Harness};
///
/// let mut harness = Harness::new(Text::new().max_message(1024), Instant::now());
/// harness.feed(b"one\r\ntwo\nthr");
/// assert_eq!(harness.messages(), ["one", "two"]);
/// harness.send(format!("hello {}", 3))?;
/// for line in "first\nsecond".lines() {
///     harness.send(line)?;
/// }
/// assert_eq!(harness.output(), "hello 3\nfirst\nsecond\n");
/// assert_eq!(harness.send("first\nsecond"), Err(CodecError::LineBreak { at: 5 }));
/// # }
/// # Ok::<(), workerman_protocol::CodecError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Text {
    max_message: usize,
    /// Bytes at the front of the input that are known to have no line feed.
    scanned: usize,
}

impl Text {
    /// Lines of at most 10 MiB ([`DEFAULT_MAX_MESSAGE`]).
    pub const fn new() -> Self {
        Self { max_message: DEFAULT_MAX_MESSAGE, scanned: 0 }
    }

    /// Sets the most bytes that a received line may have, its line break included; default 10 MiB, at least 1.
    #[must_use]
    pub const fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = if bytes == 0 { 1 } else { bytes };
        self
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

/// Refuses a text that the peer would take for several.
#[inline]
fn check(text: &Line) -> Result<(), CodecError> {
    match text.line_break() {
        None => Ok(()),
        Some(at) => Err(CodecError::LineBreak { at }),
    }
}

impl Protocol for Text {
    type Incoming = Line;
    type Outgoing = Line;
    type Event = Event;
    type Error = CodecError;
    type Sending = ();

    #[inline]
    fn decode(
        &mut self,
        input: &mut BytesMut,
        _: &mut Context<'_, Self>,
    ) -> Result<Decoded<Self>, CodecError> {
        // Never looked at beyond the limit: whether a line is refused must not depend on how it was cut by the way.
        let end = input.len().min(self.max_message);
        let start = self.scanned.min(end);
        let Some(found) = memchr::memchr(b'\n', &input[start..end]) else {
            if end == self.max_message {
                return Err(CodecError::LineTooLong { limit: self.max_message });
            }
            self.scanned = end;
            return Ok(Decoded::Need(1));
        };
        self.scanned = 0;
        let line = start + found;
        let mut kept = line;
        while kept > 0 && input[kept - 1] == b'\r' {
            kept -= 1;
        }
        let message = take(input, kept);
        input.advance(line + 1 - kept);
        Ok(Decoded::Message(Line::unbroken(message)))
    }

    /// # Errors
    /// [`CodecError::LineBreak`] for a text with a line feed inside.
    #[inline]
    fn encode((): &mut (), message: Line, out: &mut Outbox) -> Result<(), CodecError> {
        check(&message)?;
        if message.len() <= SHARE_FROM {
            let buffer = out.buffer();
            buffer.reserve(message.len() + 1);
            buffer.extend_from_slice(&message);
            buffer.put_u8(b'\n');
        } else {
            out.put_shared(message.into());
            out.put_slice(b"\n");
        }
        Ok(())
    }

    fn encode_shared(message: &Line) -> Option<Shared> {
        // Each connection then refuses it for itself, with the reason.
        check(message).ok()?;
        let mut line = BytesMut::with_capacity(message.len() + 1);
        line.put_slice(message);
        line.put_u8(b'\n');
        Some(line.freeze().into())
    }

    fn max_message(&self) -> usize {
        self.max_message
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::testing::{Ended, Harness, every_split, limits, round_trip};

    fn text(limit: usize) -> impl Fn() -> Harness<Text> {
        move || Harness::new(Text::new().max_message(limit), Instant::now())
    }

    #[test]
    fn splits_make_no_difference() {
        let transcript = every_split(text(100), b"one\ntwo\r\n\n\r\r\nfo\rur\r\r\n\xff\xfe\nrest");
        let lines: Vec<_> = transcript.messages().map(Line::as_bytes).collect();
        assert_eq!(lines, [&b"one"[..], b"two", b"", b"", b"fo\rur", b"\xff\xfe"]);
        assert_eq!(transcript.ended, Ended::Truncated);
        assert_eq!(every_split(text(100), b"one\n").ended, Ended::Clean);
        assert_eq!(every_split(text(100), b"\r").ended, Ended::Truncated);
    }

    #[test]
    fn too_long_is_refused_before_anything_is_waited_for() {
        let error = CodecError::LineTooLong { limit: 8 };
        let mut harness = text(8)();
        harness.feed(b"1234567\n1234567");
        assert_eq!((harness.messages(), harness.needs()), (vec!["1234567".into()], 1));
        harness.feed(b"8");
        assert_eq!(harness.error(), Some(&error));
        // The same line in one piece with its end.
        let mut harness = text(8)();
        harness.feed(b"12345678\n");
        assert_eq!(harness.error(), Some(&error));
        every_split(text(8), b"1234567\n12345678\n");
        assert_eq!(limits(text(8), &[b'x'; 100]).ended, Ended::Failed(error.to_string()));
    }

    #[test]
    fn the_least_limit_is_a_line_feed() {
        let mut harness = text(0)();
        harness.feed(b"");
        assert!(harness.is_open());
        harness.feed(b"\n\nx");
        assert_eq!(harness.messages(), ["", ""]);
        assert_eq!(harness.error(), Some(&CodecError::LineTooLong { limit: 1 }));
    }

    #[test]
    fn scans_each_byte_once() {
        let mut harness = text(1000)();
        for fed in 1..=10 {
            harness.feed(b"x");
            assert_eq!(harness.protocol().scanned, fed);
        }
        harness.feed(b"\nyy");
        assert_eq!(harness.messages(), ["xxxxxxxxxx"]);
        assert_eq!(harness.protocol().scanned, 2);
    }

    #[test]
    fn what_is_sent_arrives() {
        let long = "é".repeat(5_000);
        let lines = ["", "a", " spaces ", "in\rside", long.as_str(), &long[..4096], &long[..4094]];
        round_trip(text(20_000)(), text(20_000), lines.map(Line::from));
    }

    #[test]
    fn a_line_break_inside_is_refused_and_nothing_is_sent() {
        let mut harness = text(100)();
        harness.send("before").unwrap();
        for (message, at) in [("\n", 0), ("a\nb", 1), ("end\n", 3)] {
            assert_eq!(harness.send(message), Err(CodecError::LineBreak { at }));
            assert!(Text::encode_shared(&message.into()).is_none());
        }
        assert_eq!(harness.output(), "before\n");
    }

    #[test]
    fn what_was_received_can_be_sent_back() {
        let mut harness = text(10_000)();
        let long = "l".repeat(5_000);
        harness.feed(format!("short\r\n{long}\r\n").as_bytes());
        for line in harness.messages() {
            harness.send(&line).unwrap();
            harness.send(line).unwrap();
        }
        assert_eq!(harness.output(), format!("short\nshort\n{long}\n{long}\n"));
    }

    #[test]
    fn a_long_line_is_sent_and_received_by_reference() {
        let message = Bytes::from(vec![b'm'; 10_000]);
        let mut out = Outbox::new();
        Text::encode(&mut (), message.clone().into(), &mut out).unwrap();
        assert_eq!(out.chunk().as_ptr(), message.as_ptr());
        out.advance(10_000);
        assert_eq!(out.chunk(), b"\n");

        let mut input = BytesMut::from(&message[..]);
        input.extend_from_slice(b"\r\nnext");
        let start = input.as_ptr();
        let mut harness = text(20_000)();
        harness.feed_buffer(input);
        assert_eq!(harness.messages()[0].as_ptr(), start);
        assert_eq!(harness.undecoded(), b"next");
    }
}
