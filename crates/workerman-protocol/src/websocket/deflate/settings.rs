//! The settings, and the places for contexts.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The windows that can be asked for, in bits. RFC 7692 has 8 as well: what a peer asks for is given, but few
/// compressors can do it, so nobody is asked.
const WINDOWS: RangeInclusive<u8> = 9..=15;

/// Takes part in the extension, and says how.
///
/// The same settings serve both roles: *server* and *client* name who compresses. Clones share their
/// [places for contexts](Self::max_contexts).
///
/// # Examples
/// ```
/// use workerman_protocol::websocket::deflate::Deflate;
/// // Long-lived connections that say much of the same: contexts pay.
/// let settings = Deflate::new().takeover(true).level(6).max_contexts(1000);
/// assert_eq!(settings.offer().to_string(), "permessage-deflate; client_max_window_bits");
/// ```
#[derive(Clone)]
#[must_use]
pub struct Deflate {
    pub(super) level: u8,
    min_size: Option<usize>,
    /// What the server compresses.
    pub(super) server: Direction,
    /// What the client compresses.
    pub(super) client: Direction,
    pub(super) contexts: Contexts,
}

/// What is wanted of the messages in one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direction {
    pub(super) takeover: bool,
    pub(super) window_bits: u8,
}

impl Deflate {
    /// The defaults: level 3, no context takeover, windows of up to 15 bits.
    pub fn new() -> Self {
        let direction = Direction { takeover: false, window_bits: *WINDOWS.end() };
        Self {
            level: 3,
            min_size: None,
            server: direction,
            client: direction,
            contexts: Contexts { taken: Arc::default(), most: 256 },
        }
    }

    /// How hard to try, from 1 (fast) to 9 (small); default 3.
    ///
    /// 64 KiB of JSON became 16% of their size at level 1, 11.4% at 3 and 10.8% at 6; level 3 took three times as long as
    /// 1, and half as long as 6.
    ///
    /// # Panics
    /// If it is not one of these.
    pub fn level(mut self, level: u8) -> Self {
        assert!((1..=9).contains(&level), "a compression level is 1 to 9, not {level}");
        self.level = level;
        self
    }

    /// The least length of a message that is compressed, in bytes; default 256, and 32 where the context of the message
    /// before is taken over.
    ///
    /// A message of its own decides otherwise by [`Message::compress`](crate::websocket::Message::compress).
    pub fn min_size(mut self, bytes: usize) -> Self {
        self.min_size = Some(bytes);
        self
    }

    /// Whether contexts are kept from message to message, in both directions; default no. See the [module](super) for the
    /// price.
    pub fn takeover(self, takeover: bool) -> Self {
        self.server_no_context_takeover(!takeover).client_no_context_takeover(!takeover)
    }

    /// Whether the server has to reset its compressor for each message (RFC 7692 section 7.1.1.1); default yes.
    pub fn server_no_context_takeover(mut self, reset: bool) -> Self {
        self.server.takeover = !reset;
        self
    }

    /// Whether the client has to reset its compressor for each message (RFC 7692 section 7.1.1.2); default yes.
    pub fn client_no_context_takeover(mut self, reset: bool) -> Self {
        self.client.takeover = !reset;
        self
    }

    /// The largest window of the server's compressor, in bits, from 9 to 15 (RFC 7692 section 7.1.2.1); default 15.
    ///
    /// # Panics
    /// If it is not one of these.
    pub fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server.window_bits = window(bits);
        self
    }

    /// The largest window of the client's compressor, in bits, from 9 to 15 (RFC 7692 section 7.1.2.2); default 15.
    ///
    /// A server can ask for it only where the client has said that it understands; others use 15.
    ///
    /// # Panics
    /// If it is not one of these.
    pub fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.client.window_bits = window(bits);
        self
    }

    /// The most contexts that connections may keep, of these settings and their clones together; default 256. A connection
    /// with takeover in both directions keeps two.
    ///
    /// Connections beyond are agreed upon without takeover.
    pub fn max_contexts(mut self, contexts: usize) -> Self {
        self.contexts.most = contexts;
        self
    }

    /// The least length that is compressed.
    pub(super) fn least(&self, takeover: bool) -> usize {
        self.min_size.unwrap_or(if takeover { 32 } else { 256 })
    }
}

fn window(bits: u8) -> u8 {
    assert!(WINDOWS.contains(&bits), "a window has 9 to 15 bits, not {bits}");
    bits
}

impl Default for Deflate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Deflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflate")
            .field("level", &self.level)
            .field("min_size", &self.min_size)
            .field("server", &self.server)
            .field("client", &self.client)
            .field("contexts", &self.contexts)
            .finish()
    }
}

/// How many contexts there may be, and are.
#[derive(Clone, Debug)]
pub(super) struct Contexts {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl Contexts {
    pub(super) fn take(&self) -> Option<Place> {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Place(Arc::clone(&self.taken)))
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// The right to keep a context; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
