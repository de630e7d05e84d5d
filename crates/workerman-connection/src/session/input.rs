//! The input half of a session: receiving, decoding, and where the bytes are kept meanwhile.

use std::time::Instant;

use bytes::BytesMut;
use workerman_protocol::{Deadline, Decoded, Eof, Outbox, Protocol, SendingHalf};

use super::{Session, Stage, Turn};

/// From this many missing bytes on, the rest of a message is read into a buffer of its own, which ends where the message
/// does: 16 KiB. Fewer are read into the loop's buffer, with what follows them, and copied.
const IN_PLACE_FROM: usize = 16 * 1024;

/// A message of which so much has arrived goes on in a buffer of its own, and that grows by at least so much: 64 KiB.
const STEP: usize = 64 * 1024;

/// What [`Session::next`] found in the input.
pub enum Step<P: Protocol> {
    /// A message.
    Message(P::Incoming),
    /// An event of the protocol.
    Event(P::Event),
    /// At least this many more bytes are needed.
    Need(usize),
    /// Nothing can be decoded until something is sent or the connection is woken.
    Blocked,
    /// The peer ended its stream, and everything before has been decoded.
    End,
    /// The peer ended its stream within a message.
    Truncated,
    /// The protocol refused the input.
    Failed(P::Error),
    /// The next message would be longer than the protocol allows.
    TooLong {
        /// Bytes it takes at least.
        needed: usize,
        /// The limit.
        limit: usize,
    },
}

impl<P: Protocol> std::fmt::Debug for Step<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Message(_) => "Message(..)",
            Self::Event(_) => "Event(..)",
            Self::Need(_) => "Need(..)",
            Self::Blocked => "Blocked",
            Self::End => "End",
            Self::Truncated => "Truncated",
            Self::Failed(_) => "Failed(..)",
            Self::TooLong { .. } => "TooLong { .. }",
        })
    }
}

impl<P: Protocol> Session<P> {
    /// Takes what has arrived: without a copy when nothing was left from before. Once the connection ends, what still
    /// comes is thrown away.
    pub fn receive(&mut self, data: &mut BytesMut) {
        if !self.is_alive() {
            data.clear();
        } else if self.input.is_empty() {
            self.input = std::mem::take(data);
        } else {
            self.input.extend_from_slice(data);
            data.clear();
        }
    }

    /// Notes which deadline runs: asked at the end of each batch.
    ///
    /// `arrived`: bytes of the peer came in it. `handled`: so did the rest of a message, so that a head which is there now
    /// is another one. `busy`: the application works; whatever runs begins anew when it is done,
    /// but for a handshake.
    pub fn watch(&mut self, arrived: bool, handled: bool, busy: bool, now: Instant) {
        if self.stage == Stage::Lingering {
            return;
        }
        let running = self.protocol.deadline();
        let progress = match running {
            Deadline::Idle | Deadline::Body => arrived,
            Deadline::Head => handled,
            _ => false,
        };
        if running != self.running || progress || self.rested {
            self.running = running;
            self.since = now;
        }
        self.rested = (busy && running != Deadline::Handshake) || self.rests();
    }

    /// Ends a batch: the loop's buffer goes back to it, an unfinished rest is copied to one of our own.
    ///
    /// `need` is what the decoder asked for last. Returns a buffer for the rest of a large message if the loop had
    /// better read it in place: room for as much again as has been received, never more than is needed.
    pub fn settle(&mut self, data: Option<&mut BytesMut>, need: Option<usize>) -> Option<Vec<u8>> {
        if self.input.is_empty() {
            let empty = std::mem::take(&mut self.input);
            if let Some(data) = data {
                // Hand the chunk back only if it is the chunk: a buffer of our own is just freed.
                if data.capacity() == 0 {
                    *data = empty;
                }
            }
            return None;
        }
        let Some(need) = need else {
            self.keep_rest(data);
            return None;
        };
        // A large message that has begun goes on in its own buffer to its last byte.
        if need <= IN_PLACE_FROM && self.input.len() < STEP {
            self.keep_rest(data);
            return None;
        }
        // Grow by what was received, not by what was announced: at most twice what is here, at least 64 KiB.
        // What is needed is known for an announced message; for one that ends somewhere it is only the least.
        let received = self.input.len();
        let announced = need > IN_PLACE_FROM;
        let step = received.max(STEP);
        let room = if !announced {
            step.min(self.protocol.max_message().saturating_sub(received)).max(need)
        } else if need <= step + STEP {
            // Not another step for the last few bytes.
            need
        } else {
            step
        };
        let input = std::mem::take(&mut self.input);
        let mut buffer = match data {
            Some(data) if data.capacity() == 0 => {
                let mut own = Vec::with_capacity(received + room);
                own.extend_from_slice(&input);
                *data = input;
                data.clear();
                own
            }
            _ => Vec::from(input),
        };
        // Not at each small arrival: growing may copy all that is here.
        let spare = buffer.capacity() - buffer.len();
        if spare < if announced { room / 2 } else { need } {
            buffer.reserve_exact(room);
        }
        self.times.get_or_insert_default().lent = buffer.len();
        Some(buffer)
    }

    /// An unfinished rest moves out of the loop's chunk, so that an idle connection pins no 64 KiB.
    fn keep_rest(&mut self, data: Option<&mut BytesMut>) {
        if let Some(data) = data {
            if data.capacity() == 0 {
                let rest = BytesMut::from(&self.input[..]);
                *data = std::mem::replace(&mut self.input, rest);
                data.clear();
            }
        }
    }

    /// Puts back the buffer that was lent, with what was appended to it.
    pub fn refill(&mut self, buffer: Vec<u8>) {
        if !self.is_alive() {
            return;
        }
        let buffer = BytesMut::from(bytes::Bytes::from(buffer));
        if self.input.is_empty() {
            self.input = buffer;
        } else {
            self.input.extend_from_slice(&buffer);
        }
    }

    /// The peer has ended its stream.
    pub fn end_of_stream(&mut self) {
        self.ended = true;
    }

    /// The next thing in the input.
    #[inline]
    pub fn next(&mut self, turn: &mut Turn<'_>, sending: &dyn SendingHalf<P::Sending>) -> Step<P> {
        if self.stage != Stage::Open {
            self.input.clear();
            return Step::Need(1);
        }
        let mut cx = Self::context(self.role, self.has_ended(), turn, sending);
        match self.protocol.decode(&mut self.input, &mut cx) {
            Ok(Decoded::Message(message)) => Step::Message(message),
            Ok(Decoded::Event(event)) => Step::Event(event),
            Ok(Decoded::Blocked) => Step::Blocked,
            Ok(Decoded::Need(more)) => {
                if self.ended {
                    return match self.protocol.eof(&mut self.input, &mut cx) {
                        Ok(Eof::Message(message)) => Step::Message(message),
                        Ok(Eof::Clean) => Step::End,
                        Ok(Eof::Truncated) => Step::Truncated,
                        Ok(Eof::Blocked) => Step::Blocked,
                        Err(error) => Step::Failed(error),
                    };
                }
                let more = more.max(1);
                let limit = self.protocol.max_message();
                let needed = self.input.len().saturating_add(more);
                if needed > limit { Step::TooLong { needed, limit } } else { Step::Need(more) }
            }
            Err(error) => Step::Failed(error),
        }
    }

    /// Whether input waits in our own buffer, decodable or not.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether the loop should read: always, except while the input that waits is above `limit`.
    pub fn wants_input(&self, waiting: bool, limit: usize) -> bool {
        match self.stage {
            Stage::Open => !(self.ended || (waiting && self.input.len() >= limit)),
            Stage::Closed => false,
            _ => true,
        }
    }

    /// Whether a body is in progress for which the peer has to send more, and for which there is room.
    pub fn awaits_body(&self, limit: usize) -> bool {
        self.stage == Stage::Open
            && self.wants_input(true, limit)
            && self.protocol.deadline() == Deadline::Body
    }

    /// Another protocol takes over: the unread bytes, and what waits to be written.
    pub fn into_parts(self) -> Parts {
        Parts {
            unread: self.protocol.into_parts(self.input),
            pending: self.pending,
            ended: self.ended,
            full: self.full,
        }
    }

    /// Continues with what another protocol left.
    pub fn adopt(&mut self, parts: Parts) {
        // What is left of the loop's chunk is copied, so that it does not pin all of it.
        let small = parts.unread.len() <= STEP;
        self.input = if small { BytesMut::from(&parts.unread[..]) } else { parts.unread };
        self.pending = parts.pending;
        self.ended = parts.ended;
        self.full = parts.full;
    }
}

/// What moves to the protocol that takes over.
#[derive(Debug, Default)]
pub struct Parts {
    /// Bytes that the old protocol has not decoded.
    pub unread: BytesMut,
    /// What the old protocol had to say, to be written first.
    pub pending: Outbox,
    /// The peer has ended its stream.
    pub ended: bool,
    /// The queue was over its high-water mark.
    pub full: bool,
}
