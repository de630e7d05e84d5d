//! What a protocol did in a harness.

use std::fmt;

use bytes::Bytes;

use crate::{Deadline, Protocol};

/// Something a protocol made of its peer's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen<M, E> {
    /// A message.
    Message(M),
    /// An event.
    Event(E),
}

/// How the life of a protocol ended in a harness.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Ended {
    /// It has not.
    Open,
    /// The peer's stream ended between messages.
    Clean,
    /// The peer's stream ended within a message.
    Truncated,
    /// The protocol failed with the error of this text.
    Failed(String),
    /// A handler failed, and the protocol did not go on.
    Left,
    /// The deadline that ran has passed.
    TimedOut(Deadline),
    /// The protocol waited for a message that exceeds its own [`max_message`](Protocol::max_message).
    OverLimit {
        /// Bytes of the message, as far as the protocol knew.
        needed: usize,
        /// Most that it allows.
        limit: usize,
    },
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Clean => f.write_str("clean end"),
            Self::Truncated => f.write_str("truncated"),
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Left => f.write_str("left after a failed handler"),
            Self::TimedOut(which) => write!(f, "timed out: {which:?}"),
            Self::OverLimit { needed, limit } => {
                write!(f, "waits for {needed} bytes with a limit of {limit}")
            }
        }
    }
}

/// All that a protocol did in a harness, so that two runs can be compared.
pub struct Transcript<P: Protocol> {
    /// Messages and events, in order.
    pub seen: Vec<Seen<P::Incoming, P::Event>>,
    /// What went to the peer: replies of the protocol and answers of the application.
    pub output: Bytes,
    /// Whether the output ends the stream ([`finish`](crate::Outbox::finish)).
    pub finished: bool,
    /// How it ended.
    pub ended: Ended,
}

impl<P: Protocol> Transcript<P> {
    /// The messages, in order, without the events.
    pub fn messages(&self) -> impl Iterator<Item = &P::Incoming> {
        self.seen.iter().filter_map(|seen| match seen {
            Seen::Message(message) => Some(message),
            Seen::Event(_) => None,
        })
    }
}

impl<P: Protocol<Incoming: PartialEq, Event: PartialEq>> PartialEq for Transcript<P> {
    fn eq(&self, other: &Self) -> bool {
        self.seen == other.seen
            && self.output == other.output
            && self.finished == other.finished
            && self.ended == other.ended
    }
}

impl<P: Protocol<Incoming: fmt::Debug, Event: fmt::Debug>> fmt::Debug for Transcript<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript")
            .field("seen", &self.seen)
            .field("output", &self.output)
            .field("finished", &self.finished)
            .field("ended", &self.ended)
            .finish()
    }
}
