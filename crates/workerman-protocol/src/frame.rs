//! Messages with their length in front.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{CodecError, Context, DEFAULT_MAX_MESSAGE, Decoded, Event, Outbox, Protocol, Shared, take};

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

    fn encode_shared(message: &Bytes) -> Option<Shared> {
        let header = header(message).ok()?;
        let mut frame = BytesMut::with_capacity(HEADER + message.len());
        frame.put_slice(&header);
        frame.put_slice(message);
        Some(frame.freeze().into())
    }

    fn max_message(&self) -> usize {
        self.max_message
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::{Ended, Harness, every_split, limits, round_trip};

    fn frame(limit: usize) -> impl Fn() -> Harness<Frame> {
        move || Harness::new(Frame::new().max_message(limit), Instant::now())
    }

    #[test]
    fn splits_make_no_difference() {
        let transcript = every_split(frame(100), b"\0\0\0\x04\0\0\0\x07abc\0\0\0\x05\n\0\0\0\x09ab");
        assert_eq!(transcript.messages().collect::<Vec<_>>(), [&b""[..], b"abc", b"\n"]);
        assert_eq!(transcript.ended, Ended::Truncated);
        assert_eq!(every_split(frame(100), b"\0\0\0\x04").ended, Ended::Clean);
    }

    #[test]
    fn bad_lengths_are_refused_from_the_header_alone() {
        for length in 0..4 {
            let mut harness = frame(100)();
            harness.feed(&[0, 0, 0, length]);
            let error = CodecError::FrameTooShort { length: length.into(), header: 4 };
            assert_eq!(harness.error(), Some(&error));
        }
        let mut harness = frame(100)();
        harness.feed(&[0, 0, 0, 101]);
        assert_eq!(harness.error(), Some(&CodecError::FrameTooLong { length: 101, limit: 100 }));
        let mut harness = frame(100)();
        harness.feed(&[0, 0, 0, 100]);
        assert!(harness.is_open());
    }

    #[test]
    fn says_exactly_how_much_is_missing() {
        let mut harness = frame(1000)();
        for (fed, needs) in [(&b""[..], 4), (b"\0", 3), (b"\0\x03", 1), (b"\xe8", 996), (b"abc", 993)] {
            harness.feed(fed);
            assert_eq!(harness.needs(), needs);
        }
        harness.feed(&[b'x'; 992]);
        assert_eq!(harness.needs(), 1);
        harness.feed(b"x\0\0");
        assert_eq!((harness.messages()[0].len(), harness.needs()), (996, 2));
    }

    #[test]
    fn the_least_limit_is_the_header() {
        let mut harness = frame(0)();
        harness.feed(b"\0\0\0\x04\0\0\0\x05");
        assert_eq!(harness.messages(), [""]);
        assert_eq!(harness.error(), Some(&CodecError::FrameTooLong { length: 5, limit: 4 }));
    }

    #[test]
    fn limits_hold() {
        for input in [&[0xff; 64][..], &[0; 64], &[0, 0, 0, 5, 0, 0, 0, 5, 0, 1]] {
            assert!(matches!(limits(frame(16), input).ended, Ended::Failed(_)), "{input:?}");
        }
    }

    #[test]
    fn what_is_sent_arrives() {
        let sizes = [0, 1, 4096, 4097, 100_000];
        round_trip(frame(200_000)(), frame(200_000), sizes.map(|size| Bytes::from(vec![b'f'; size])));
    }

    #[test]
    fn a_large_message_is_sent_and_received_by_reference() {
        let message = Bytes::from(vec![7; 10_000]);
        let mut out = Outbox::new();
        Frame::encode(&mut (), message.clone(), &mut out).unwrap();
        assert_eq!(out.chunk(), [0, 0, 0x27, 0x14]);
        out.advance(4);
        assert_eq!(out.chunk().as_ptr(), message.as_ptr());

        let mut input = BytesMut::from(&b"\0\0\x27\x14"[..]);
        input.extend_from_slice(&message);
        let start = input.as_ptr();
        let mut harness = frame(20_000)();
        harness.feed_buffer(input);
        assert_eq!(harness.messages()[0].as_ptr(), start.wrapping_add(4));
    }

    #[test]
    fn whatever_can_be_bytes_can_be_sent() {
        let mut harness = frame(100)();
        harness.send("static").unwrap();
        harness.send(String::from("string")).unwrap();
        harness.send(b"vector".to_vec()).unwrap();
        harness.send(Bytes::from_static(b"bytes")).unwrap();
        let text = b"\0\0\0\x0astatic\0\0\0\x0astring\0\0\0\x0avector\0\0\0\x09bytes";
        assert_eq!(harness.output(), &text[..]);
    }
}
