//! Messages with their length in front.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{CodecError, Context, DEFAULT_MAX_MESSAGE, Decoded, Event, Outbox, Protocol, take};

/// Bytes of the length field in front of each frame.
const HEADER: usize = 4;

/// Frames: four bytes, big-endian, with the total length (these four included), then the message.
///
/// A message may be empty and may hold any bytes. A length below 4 or above the limit is refused as soon as the four
/// bytes are there, before anything is waited for; memory is never reserved for bytes that are only announced.
///
/// What the stream still holds when it ends within a frame is no message: the connection reports a truncation.
///
/// # Examples
/// ```
/// # #[cfg(feature = "testing")] {
/// use std::time::Instant;
/// use workerman_protocol::{Frame, testing::Harness};
///
/// let mut harness = Harness::new(Frame::new().max_message(1024), Instant::now());
/// harness.feed(b"\x00\x00\x00\x07abc\x00\x00\x00\x04");
/// assert_eq!(harness.messages(), ["abc", ""]);
/// harness.send("four")?;
/// assert_eq!(harness.output(), &b"\x00\x00\x00\x08four"[..]);
/// # }
/// # Ok::<(), workerman_protocol::CodecError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Frame {
    max_message: usize,
}

impl Frame {
    /// Frames of at most 10 MiB ([`DEFAULT_MAX_MESSAGE`]).
    pub const fn new() -> Self {
        Self { max_message: DEFAULT_MAX_MESSAGE }
    }

    /// Sets the most bytes that a received frame may have, its header included; default 10 MiB, at least 4.
    #[must_use]
    pub const fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = if bytes < HEADER { HEADER } else { bytes };
        self
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

/// The header of a frame around `message`.
#[inline]
fn header(message: &[u8]) -> Result<[u8; HEADER], CodecError> {
    // No slice is longer than isize::MAX, so this cannot overflow.
    let length = HEADER + message.len();
    match u32::try_from(length) {
        Ok(length) => Ok(length.to_be_bytes()),
        Err(_) => Err(CodecError::FrameTooLong { length, limit: u32::MAX as usize }),
    }
}

impl Protocol for Frame {
    type Incoming = Bytes;
    type Outgoing = Bytes;
    type Event = Event;
    type Error = CodecError;
    type Sending = ();

    #[inline]
    fn decode(
        &mut self,
        input: &mut BytesMut,
        _: &mut Context<'_, Self>,
    ) -> Result<Decoded<Self>, CodecError> {
        let Some(&header) = input.first_chunk::<HEADER>() else {
            return Ok(Decoded::Need(HEADER - input.len()));
        };
        // Widening on every platform this builds for with sockets; a 16-bit one would refuse, not wrap.
        let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
        if length < HEADER {
            return Err(CodecError::FrameTooShort { length, header: HEADER });
        }
        if length > self.max_message {
            return Err(CodecError::FrameTooLong { length, limit: self.max_message });
        }
        if input.len() < length {
            return Ok(Decoded::Need(length - input.len()));
        }
        input.advance(HEADER);
        Ok(Decoded::Message(take(input, length - HEADER)))
    }

    /// # Errors
    /// [`CodecError::FrameTooLong`] for a message that does not fit the length field (4 GiB).
    #[inline]
    fn encode((): &mut (), message: Bytes, out: &mut Outbox) -> Result<(), CodecError> {
        out.put_slice(&header(&message)?);
        out.put_bytes(message);
        Ok(())
    }

    fn encode_shared(message: &Bytes) -> Option<Bytes> {
        let header = header(message).ok()?;
        let mut frame = BytesMut::with_capacity(HEADER + message.len());
        frame.put_slice(&header);
        frame.put_slice(message);
        Some(frame.freeze())
    }

    fn max_message(&self) -> usize {
        self.max_message
    }
}
