//! What both sides of a connection have in common, once it is open.
//!
//! ```text
//!            data, control frames             our close frame             the peer's close frame
//!   (open) ◄──────────────────────► (open) ───────────────────► (SENT) ────────────────────────► (OVER)
//!                                     │                                                             ▲
//!                                     └── the peer's close frame, answered (RFC 6455 section 5.5.1) ┘
//! ```
//! This file is the state; `receive` reads frames, `ending` closes, `heartbeat` keeps the time, `send` writes.

use std::sync::Arc;
use std::time::Instant;

use super::config::Config;
use super::deflate::Inflater;
use super::receive::Partial;
use super::send::Sending;
use super::{Error, Event, Message, Outgoing};
use crate::{Farewell, Protocol};

/// One of the two sides: they differ in who masks, and in who ends the stream.
pub(super) trait Side:
    Protocol<Incoming = Message, Outgoing = Outgoing, Event = Event, Error = Error, Sending = Sending>
{
    /// Whether this is the client.
    const CLIENT: bool;
}

/// A part of a message has arrived.
pub(super) const PARTIAL: u32 = 1;
/// Bytes have arrived since the time was noted.
pub(super) const HEARD: u32 = 1 << 1;
/// A ping of the heartbeat is not answered.
pub(super) const PINGED: u32 = 1 << 2;
/// A close frame has been sent: nothing may follow.
pub(super) const SENT: u32 = 1 << 3;
/// What still arrives is of no interest, but for a close frame.
pub(super) const DEAF: u32 = 1 << 4;
/// Nothing is read any more.
pub(super) const OVER: u32 = 1 << 5;
/// The settings want more than whole messages.
pub(super) const SPECIAL: u32 = 1 << 6;
/// A pong is owed.
pub(super) const OWES: u32 = 1 << 7;
/// Compression was negotiated.
pub(super) const DEFLATES: u32 = 1 << 8;
/// What the way of nearly every message does not know.
pub(super) const SLOW: u32 = PARTIAL | DEAF | OVER | SPECIAL | OWES;

/// The state of an open connection.
pub(super) struct Core {
    pub(super) config: Arc<Config>,
    /// What an idle connection does without.
    pub(super) more: Option<Box<More>>,
    pub(super) bits: u32,
    /// When bytes arrived last, in milliseconds since the start.
    pub(super) heard: u32,
    /// When the answer to a ping must be there.
    pub(super) due: u32,
}

/// What most connections do without most of the time.
#[derive(Default)]
pub(super) struct More {
    /// The message that has begun.
    pub(super) partial: Option<Partial>,
    /// What inflates the messages of the peer: one that keeps its context, or one for the message that has begun.
    pub(super) inflater: Option<Box<Inflater>>,
    /// What the pong says that is owed.
    pub(super) pong: Vec<u8>,
    /// How the connection was closed.
    pub(super) last: Option<Farewell>,
}

impl Core {
    pub(super) fn new(config: Arc<Config>) -> Self {
        let special = config.fragments || config.only.is_some();
        Self { config, more: None, bits: if special { SPECIAL } else { 0 }, heard: 0, due: 0 }
    }

    pub(super) fn has(&self, bits: u32) -> bool {
        self.bits & bits != 0
    }

    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// Milliseconds since the start that all connections with these settings share. They wrap after seven weeks.
    pub(super) fn time(&self, now: Instant) -> u32 {
        let start = *self.config.start.get_or_init(|| now);
        now.saturating_duration_since(start).as_millis() as u32
    }

    /// A batch has been read: notes when, if anything has come.
    #[inline]
    pub(super) fn note_heard(&mut self, now: Instant) {
        if self.has(HEARD) {
            self.heard = self.time(now);
            self.bits &= !(HEARD | PINGED);
        }
    }

    /// The connection is over, before it has begun.
    pub(super) fn end(&mut self) {
        self.bits |= OVER;
    }

    /// Forgets what an idle connection does without.
    pub(super) fn tidy(&mut self) {
        if self.more.as_ref().is_some_and(|more| {
            more.partial.is_none() && more.inflater.is_none() && more.pong.is_empty() && more.last.is_none()
        }) {
            self.more = None;
        }
    }
}
