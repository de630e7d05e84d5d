//! The settings of one side of a connection.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Kind;
use super::deflate::Deflate;
use super::handshake::Policy;
use crate::DEFAULT_MAX_MESSAGE;

/// What the connections of one worker have in common.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Most bytes of a message, inflated.
    pub(super) max_message: usize,
    /// Most bytes of the payload of a frame.
    pub(super) max_frame: usize,
    /// Most fragments of a message.
    pub(super) max_fragments: u32,
    /// Fragments are delivered instead of messages.
    pub(super) fragments: bool,
    /// The only kind of messages that is taken.
    pub(super) only: Option<Kind>,
    /// A ping after this long without a byte of the peer.
    pub(super) ping_after: Option<Duration>,
    /// How long the answer to it may take.
    pub(super) pong_within: Duration,
    /// What a server demands of handshakes.
    pub(super) policy: Policy,
    /// The application decides about each of them.
    pub(super) asks: bool,
    /// How messages are compressed, if they are.
    pub(super) deflate: Option<Deflate>,
    /// When times of connections are counted from.
    pub(super) start: OnceLock<Instant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_message: DEFAULT_MAX_MESSAGE,
            max_frame: DEFAULT_MAX_MESSAGE,
            max_fragments: 131_072,
            fragments: false,
            only: None,
            ping_after: Some(Duration::from_secs(30)),
            pong_within: Duration::from_secs(10),
            policy: Policy::new(),
            asks: false,
            deflate: None,
            start: OnceLock::new(),
        }
    }
}

/// The settings that both sides have; `$type` has a field `core: Core`.
macro_rules! settings {
    ($type:ident) => {
        impl $type {
            fn with(mut self, set: impl FnOnce(&mut Config)) -> Self {
                set(Arc::make_mut(&mut self.core.config));
                self.core = Core::new(self.core.config);
                self
            }

            /// Sets the most bytes of a received message, inflated and with all its fragments; default 10 MiB.
            ///
            /// A longer one is refused with code 1009 as soon as its length is known, before anything of it is waited for.
            #[must_use]
            pub fn max_message(self, bytes: usize) -> Self {
                self.with(|config| config.max_message = bytes)
            }

            /// Sets the most bytes of one received frame's payload; default 10 MiB.
            #[must_use]
            pub fn max_frame(self, bytes: usize) -> Self {
                self.with(|config| config.max_frame = bytes)
            }

            /// Sets the most fragments of a received message, empty ones included; default 131,072, at least 1.
            #[must_use]
            pub fn max_fragments(self, fragments: u32) -> Self {
                self.with(|config| config.max_fragments = fragments.max(1))
            }

            /// Delivers the fragments of messages as they arrive ([`Event::Fragment`](super::Event::Fragment)) instead of
            /// messages; default off.
            ///
            /// For messages that are too large to be had at once: [`max_message`](Self::max_message) does not bound them then.
            #[must_use]
            pub fn fragments(self, deliver: bool) -> Self {
                self.with(|config| config.fragments = deliver)
            }

            /// Takes only messages of one kind; another one is refused with code 1003. Default: both.
            #[must_use]
            pub fn only(self, kind: impl Into<Option<super::Kind>>) -> Self {
                let kind = kind.into();
                self.with(|config| config.only = kind)
            }

            /// Compresses messages, if the peer agrees (permessage-deflate, RFC 7692); default off. `None` for off again.
            ///
            /// What is sent before the connection is open, in fragments, or as a control frame is never compressed. What it
            /// costs is told in [`deflate`](super::deflate).
            #[must_use]
            pub fn compress(self, settings: impl Into<Option<Deflate>>) -> Self {
                let settings = settings.into();
                self.with(|config| config.deflate = settings)
            }

            /// Sets after how much silence of the peer it is sent a ping, and how long it has to answer; default 30 s and
            /// 10 s. Without an answer the connection ends.
            ///
            /// Any byte of the peer is a sign of life. The time varies by up to an eighth, so that thousands of connections do
            /// not ping at once.
            #[must_use]
            pub fn heartbeat(self, ping_after: Duration, pong_within: Duration) -> Self {
                self.with(|config| {
                    config.ping_after = Some(ping_after.max(Duration::from_millis(1)));
                    config.pong_within = pong_within;
                })
            }

            /// Sends no pings of its own accord. A peer that vanished without a word is then found only when something is
            /// sent to it.
            #[must_use]
            pub fn no_heartbeat(self) -> Self {
                self.with(|config| config.ping_after = None)
            }
        }
    };
}

pub(super) use settings;
