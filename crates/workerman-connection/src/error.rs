//! What can go wrong with a connection, and why connections end.

use std::fmt;
use std::io;

use workerman_event::Address;
use workerman_protocol::Farewell;

/// An error of a user's handler, layer or codec, of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What `on_error` is told. The connection ends after it, except for a failed connect with attempts left, and for a
/// failed handler of a message whose protocol goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer sent what is not the protocol.
    #[error("protocol error: {0}")]
    Protocol(#[source] BoxError),
    /// The layer below the protocol failed (a handshake, a broken record).
    #[error("layer error: {0}")]
    Layer(#[source] BoxError),
    /// A handler returned an error.
    #[error("handler failed: {0}")]
    Handler(#[source] BoxError),
    /// A handler's reply was not taken.
    #[error("reply not sent: {0}")]
    Reply(#[source] BoxError),
    /// A message would take more bytes than the protocol allows.
    #[error("a message of at least {needed} bytes exceeds the limit of {limit}")]
    MessageTooLong {
        /// Bytes that the message takes at least.
        needed: usize,
        /// The protocol's limit.
        limit: usize,
    },
    /// The peer ended its stream within a message.
    #[error("the peer ended its stream within a message")]
    Truncated,
    /// A deadline passed.
    #[error("timed out: {0}")]
    Timeout(Timeout),
    /// A callback panicked.
    #[error("a callback panicked: {0}")]
    Panic(String),
    /// The socket failed.
    #[error("connection failed: {0}")]
    Io(#[source] io::Error),
    /// A connect failed.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not: the last address that was tried.
        source: io::Error,
    },
    /// A listener failed or ran out of descriptors; accepting goes on after a pause.
    #[error("cannot accept on {address}: {source}")]
    Accept {
        /// Which listener.
        address: Address,
        /// Why not.
        source: io::Error,
    },
    /// An address cannot be understood or used.
    #[error("bad address `{address}`: {reason}")]
    Address {
        /// As it was written.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The call needs a running event loop on this thread.
    #[error("there is no event loop on this thread")]
    NoLoop,
    /// The event loop that the call was for has stopped.
    #[error("the event loop has stopped")]
    Stopped,
    /// An event loop could not be started.
    #[error("cannot start an event loop: {0}")]
    Start(#[source] io::Error),
}

/// Why a message was not taken by `send`; the connection and the message queue are as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<E> {
    /// The connection is closed or closing.
    #[error("the connection is closed")]
    Closed,
    /// Another protocol has taken the connection over; the handle that `upgrade` returned is the one to use.
    #[error("the connection was upgraded to another protocol")]
    Upgraded,
    /// The queue of the connection is full: wait for `ready`, or for `on_buffer_drain`.
    #[error("the send queue is full: {queued} bytes wait")]
    Full {
        /// Bytes in the queue.
        queued: usize,
    },
    /// The queues of all connections of the loop together are full.
    #[error("the send queues of the event loop are full: {queued} bytes wait")]
    LoopFull {
        /// Bytes in all queues.
        queued: usize,
    },
    /// The message has no encoding.
    #[error("cannot encode: {0}")]
    Encode(#[source] E),
    /// The encoder panicked; the connection is reset.
    #[error("the encoder panicked")]
    Panicked,
    /// Somebody sends exclusively, or the protocol cannot let anybody do so (now).
    #[error("the connection cannot be had alone now")]
    Busy,
    /// A broadcast of a message whose bytes differ between connections.
    #[error("the message cannot be encoded once for all connections")]
    NotShareable,
}

/// A taken message, and whether to go on.
#[must_use = "a sender that ignores `OverHighWater` has no backpressure"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Taken; there is room for more.
    Accepted,
    /// Taken, but the queue is now over its high-water mark: the next message is refused until it drains.
    OverHighWater,
}

/// What becomes of a message for a connection whose queue is at its high-water mark.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// It is refused ([`SendError::Full`]).
    #[default]
    Refuse,
    /// It waits behind the queue; what has waited longest there is dropped where the backlog has no room.
    DropOldest,
    /// It waits behind the queue, in the place of the one that waits with the same key, if there is one.
    Latest(u64),
    /// It is refused, and the connection is closed with this code (WebSocket: 1008 or 1013).
    Close(u16),
}

/// Which deadline passed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Timeout {
    /// The handshake took too long.
    Handshake,
    /// The head of a message took too long.
    Head,
    /// The body of a message made no progress.
    Body,
    /// Nothing came between messages.
    Idle,
    /// The peer took nothing of what was queued for it.
    Write,
    /// The drain of the loop ended.
    Drain,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "the handshake was not finished",
            Self::Head => "the head of a message was not complete",
            Self::Body => "the body of a message made no progress",
            Self::Idle => "nothing was received",
            Self::Write => "the peer took nothing of what was sent",
            Self::Drain => "the connection did not end within the drain",
        })
    }
}

/// Why a connection ended; what `on_close` is told.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The two sides said goodbye in the words of their protocol, which has such; for how it came to that, see the
    /// methods. Counted as what made the connection end.
    Said(Farewell),
    /// The peer ended its stream.
    PeerClosed,
    /// The peer, or the network, reset the connection.
    Reset,
    /// This side called `close`, `close_with`, `end` or `abort`.
    Local,
    /// The peer broke the protocol or the layer below it, or ended within a message; `on_error` was told how.
    Protocol,
    /// A handler returned an error.
    Handler,
    /// A deadline passed.
    Timeout(Timeout),
    /// A message was longer than its limit, or a reply did not fit the queue.
    Limit,
    /// The loop stopped or drained.
    Shutdown,
    /// A callback or a codec panicked.
    Panic,
    /// The connection could not be made.
    ConnectFailed,
}

impl CloseReason {
    /// All kinds, in the order in which they are counted.
    pub(crate) const KINDS: usize = 10;

    /// Where it is counted; a goodbye that nobody has counted otherwise, by who began.
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Said(farewell) if farewell.by_peer => 0,
            Self::Said(_) => 2,
            Self::PeerClosed => 0,
            Self::Reset => 1,
            Self::Local => 2,
            Self::Protocol => 3,
            Self::Handler => 4,
            Self::Timeout(_) => 5,
            Self::Limit => 6,
            Self::Shutdown => 7,
            Self::Panic => 8,
            Self::ConnectFailed => 9,
        }
    }

    /// The code that was said, where the protocol has such.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Said(farewell) => Some(farewell.code),
            _ => None,
        }
    }

    /// The reason that was said, in words; otherwise empty.
    pub fn text(&self) -> &str {
        match self {
            Self::Said(farewell) => &farewell.text,
            _ => "",
        }
    }

    /// Whether the connection ended as it should: both sides said goodbye, or, where the protocol has no words for it,
    /// one of them ended its stream between messages.
    pub fn is_clean(&self) -> bool {
        match self {
            Self::Said(farewell) => farewell.clean,
            Self::PeerClosed | Self::Local | Self::Shutdown => true,
            _ => false,
        }
    }

    /// Whether the peer ended it; otherwise this side did.
    pub fn by_peer(&self) -> bool {
        match self {
            Self::Said(farewell) => farewell.by_peer,
            reason => matches!(reason, Self::PeerClosed | Self::Reset),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(farewell) => {
                let by = if farewell.by_peer { "the peer" } else { "this side" };
                write!(f, "closed by {by} with {}", farewell.code)?;
                if farewell.text.is_empty() { Ok(()) } else { write!(f, ": {}", farewell.text) }
            }
            Self::PeerClosed => f.write_str("closed by the peer"),
            Self::Reset => f.write_str("reset"),
            Self::Local => f.write_str("closed by this side"),
            Self::Protocol => f.write_str("protocol error"),
            Self::Handler => f.write_str("handler error"),
            Self::Timeout(which) => write!(f, "timeout: {which}"),
            Self::Limit => f.write_str("limit exceeded"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Panic => f.write_str("panic"),
            Self::ConnectFailed => f.write_str("connect failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_told() {
        let said = |by_peer, text: &str| {
            CloseReason::Said(Farewell { code: 1001, text: text.into(), by_peer, clean: true })
        };
        let all = [
            (said(true, "going away"), Some(1001), "going away", true, true),
            (said(false, ""), Some(1001), "", true, false),
            (CloseReason::PeerClosed, None, "", true, true),
            (CloseReason::Local, None, "", true, false),
            (CloseReason::Reset, None, "", false, true),
            (CloseReason::Protocol, None, "", false, false),
            (CloseReason::Timeout(Timeout::Idle), None, "", false, false),
        ];
        for (reason, code, text, clean, by_peer) in all {
            let told = (reason.code(), reason.text(), reason.is_clean(), reason.by_peer());
            assert_eq!(told, (code, text, clean, by_peer), "{reason}");
        }
        assert_eq!(said(true, "bye").to_string(), "closed by the peer with 1001: bye");
        assert_eq!(said(false, "").to_string(), "closed by this side with 1001");
    }
}
