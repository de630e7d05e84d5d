//! Messages that are lines.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{
    CodecError, Context, DEFAULT_MAX_MESSAGE, Decoded, Event, Line, Outbox, Protocol, SHARE_FROM, take,
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
fn check(text: &[u8]) -> Result<(), CodecError> {
    match memchr::memchr(b'\n', text) {
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
        Ok(Decoded::Message(Line::from(message)))
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

    fn encode_shared(message: &Line) -> Option<Bytes> {
        // Each connection then refuses it for itself, with the reason.
        check(message).ok()?;
        let mut line = BytesMut::with_capacity(message.len() + 1);
        line.put_slice(message);
        line.put_u8(b'\n');
        Some(line.freeze())
    }

    fn max_message(&self) -> usize {
        self.max_message
    }
}
