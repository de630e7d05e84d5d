//! The bounds of a connection and of a loop: plain data with defaults.

use std::time::Duration;

use workerman_protocol::Deadline;

/// The bounds of the connections of one service.
///
/// # Examples
/// ```
/// use workerman_connection::Settings;
/// let settings = Settings { high_water: 64 * 1024, ..Settings::default() };
/// assert_eq!(settings.low_mark(), 32 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Queued bytes from which a connection counts as full; default 1 MiB. At or above it `send` takes nothing more,
    /// `on_buffer_full` is called, and no further message of that peer is handled until the queue is under it again.
    pub high_water: usize,
    /// Queued bytes at which a full connection counts as drained; default (`None`) half of `high_water`.
    pub low_water: Option<usize>,
    /// Most queued bytes of a connection; default 16 MiB. A message that would go beyond is not taken.
    pub hard_limit: usize,
    /// Most bytes of whole messages that wait behind a queue that is at its high-water mark, for those who send with an
    /// [`Overflow`](crate::Overflow); default 256 KiB.
    pub backlog: usize,
    /// Most connections of the service at a time; default none. At the cap accepting pauses: newcomers wait in the
    /// listener's backlog.
    pub max_connections: Option<usize>,
    /// How long a connection may be silent between messages; default none.
    pub idle_timeout: Option<Duration>,
    /// How long a handshake (of a layer or of the protocol) may take; default 10 s.
    pub handshake_timeout: Option<Duration>,
    /// How long the head of a message may take from its first byte; default 10 s.
    pub head_timeout: Option<Duration>,
    /// How long a body may make no progress; default 30 s.
    pub body_timeout: Option<Duration>,
    /// How long a peer may take nothing of what is queued for it; default 30 s. Then the connection is reset.
    pub write_timeout: Option<Duration>,
    /// How long a protocol's closing handshake may take, where it has one; default 5 s.
    pub close_timeout: Duration,
    /// How long a closed connection reads on, so that its last bytes are not lost to a reset; default 1 s, anew with each
    /// arrival of bytes.
    pub linger: Duration,
    /// How long it reads on at most, whatever arrives; default 30 s, at least [`linger`](Self::linger).
    pub linger_limit: Duration,
    /// Most messages of one connection that are handled in one turn; default 256. The rest waits for the next turn.
    pub messages_per_turn: usize,
    /// Most undecoded bytes that are kept while a handler is suspended or the protocol is blocked; default 64 KiB.
    /// Above it reading pauses, and the peer feels it.
    pub read_ahead: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            high_water: 1024 * 1024,
            low_water: None,
            hard_limit: 16 * 1024 * 1024,
            backlog: 256 * 1024,
            max_connections: None,
            idle_timeout: None,
            handshake_timeout: Some(Duration::from_secs(10)),
            head_timeout: Some(Duration::from_secs(10)),
            body_timeout: Some(Duration::from_secs(30)),
            write_timeout: Some(Duration::from_secs(30)),
            close_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(1),
            linger_limit: Duration::from_secs(30),
            messages_per_turn: 256,
            read_ahead: 64 * 1024,
        }
    }
}

impl Settings {
    /// The low-water mark: what is set, at most `high_water`; otherwise half of it.
    pub fn low_mark(&self) -> usize {
        self.low_water.unwrap_or(self.high_water / 2).min(self.high_water)
    }

    /// How long a deadline of this kind lasts.
    pub(crate) fn duration(&self, which: Deadline) -> Option<Duration> {
        match which {
            Deadline::Handshake => self.handshake_timeout,
            Deadline::Head => self.head_timeout,
            Deadline::Body => self.body_timeout,
            Deadline::Idle => self.idle_timeout,
            Deadline::None => None,
        }
    }
}

/// The bounds of one event loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopSettings {
    /// Most bytes queued on all connections of the loop together; default 256 MiB. Beyond it `send` takes nothing.
    pub queued_limit: usize,
    /// Most events handled before the other tasks of the thread run; default 64.
    pub events_per_turn: usize,
}

impl Default for LoopSettings {
    fn default() -> Self {
        Self { queued_limit: 256 * 1024 * 1024, events_per_turn: 64 }
    }
}
