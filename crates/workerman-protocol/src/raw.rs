//! No protocol at all: bytes as they come.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};

use crate::{Context, Decoded, Event, Outbox, Protocol, Shared, take};

/// Bytes as they come: a message is whatever had arrived, and what is sent is sent as it is.
///
/// TCP keeps no message boundaries: one `send` of the peer may arrive as several messages, and several as one.
/// A message is never empty; how large it gets depends on how much the connection reads at once.
///
/// # Examples
/// ```
/// # #[cfg(feature = "testing")] {
/// use std::time::Instant;
/// use workerman_protocol::{Raw, testing::Harness};
///
/// let mut harness = Harness::new(Raw::new(), Instant::now());
/// harness.feed(b"any bytes\xff\n");
/// assert_eq!(harness.messages(), [&b"any bytes\xff\n"[..]]);
/// # }
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct Raw;

impl Raw {
    /// The protocol without rules.
    pub const fn new() -> Self {
        Self
    }
}

impl Protocol for Raw {
    type Incoming = Bytes;
    type Outgoing = Bytes;
    type Event = Event;
    type Error = Infallible;
    type Sending = ();

    #[inline]
    fn decode(
        &mut self,
        input: &mut BytesMut,
        _: &mut Context<'_, Self>,
    ) -> Result<Decoded<Self>, Infallible> {
        let arrived = input.len();
        Ok(if arrived == 0 { Decoded::Need(1) } else { Decoded::Message(take(input, arrived)) })
    }

    #[inline]
    fn encode((): &mut (), message: Bytes, out: &mut Outbox) -> Result<(), Infallible> {
        out.put_bytes(message);
        Ok(())
    }

    fn encode_shared(message: &Bytes) -> Option<Shared> {
        Some(message.clone().into())
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::{Ended, Harness, round_trip};

    #[test]
    fn each_arrival_is_a_message() {
        let mut harness = Harness::new(Raw::new(), Instant::now());
        harness.feed(b"");
        harness.feed(b"one");
        harness.feed(b"\ntwo");
        assert_eq!(harness.messages(), ["one", "\ntwo"]);
        harness.eof();
        assert_eq!(*harness.ended(), Ended::Clean);
    }

    #[test]
    fn what_is_sent_arrives() {
        // Neither all at once, for that is one message, nor empty, for that is none.
        for size in [1, 4096, 4097, 100_000] {
            let raw = || Harness::new(Raw::new(), Instant::now());
            round_trip(raw(), raw, [Bytes::from(vec![b'r'; size])]);
        }
    }
}
