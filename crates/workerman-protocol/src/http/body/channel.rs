//! The way of a body from the decoder to its reader: bounded, woken both ways, and never ended by an abort.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::super::{BodyError, Headers};

/// Most bytes that wait for their reader: 64 KiB. Above it the decoder waits, and so does the peer.
pub(crate) const AHEAD: usize = 64 * 1024;

/// What both ends share.
struct Channel {
    pieces: VecDeque<Bytes>,
    waiting: usize,
    /// What is still to be pushed, if the length is known.
    left: Option<u64>,
    end: End,
    trailers: Option<Headers>,
    reader: Option<Waker>,
    writer: Waker,
    /// The reader has asked for data.
    wanted: bool,
    /// The reader is gone.
    deaf: bool,
}

enum End {
    Open,
    Done,
    Failed(Option<BodyError>),
}

type Shared = Arc<Mutex<Channel>>;

fn lock(channel: &Mutex<Channel>) -> MutexGuard<'_, Channel> {
    channel.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a body that is fed piece by piece. `left`: its length, where it is known. `writer` is woken when the reader
/// wants the first piece, has made room, or is gone.
pub(crate) fn channel(left: Option<u64>, writer: Waker) -> (Feed, Incoming) {
    let shared = Arc::new(Mutex::new(Channel {
        pieces: VecDeque::new(),
        waiting: 0,
        left,
        end: End::Open,
        trailers: None,
        reader: None,
        writer,
        wanted: false,
        deaf: false,
    }));
    (Feed(Arc::clone(&shared)), Incoming(shared))
}

/// The decoder's end. Dropped before the end of the body, it is an abort.
pub(crate) struct Feed(Shared);

/// What the reader lets the decoder do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// Nobody has asked for the body yet; so many bytes may be pushed all the same.
    Unasked(usize),
    /// So many bytes may be pushed; 0 for none now.
    Bytes(usize),
    /// Nobody will read it.
    Deaf,
}

impl Feed {
    /// How much may be pushed now.
    pub(crate) fn room(&self) -> Room {
        let channel = lock(&self.0);
        let room = AHEAD.saturating_sub(channel.waiting);
        match (channel.deaf, channel.wanted) {
            (true, _) => Room::Deaf,
            (false, true) => Room::Bytes(room),
            (false, false) => Room::Unasked(room),
        }
    }

    /// Hands a piece to the reader; the caller minds the [room](Self::room).
    pub(crate) fn push(&self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let reader = {
            let mut channel = lock(&self.0);
            if let Some(left) = &mut channel.left {
                *left = left.saturating_sub(piece.len() as u64);
            }
            if channel.deaf {
                return;
            }
            channel.waiting += piece.len();
            channel.pieces.push_back(piece);
            channel.reader.take()
        };
        // Outside of the lock: a waker may do anything.
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The body is complete.
    pub(crate) fn finish(self, trailers: Option<Headers>) {
        self.end(End::Done, trailers);
    }

    /// The body broke off.
    pub(crate) fn fail(self, error: BodyError) {
        self.end(End::Failed(Some(error)), None);
    }

    fn end(&self, end: End, trailers: Option<Headers>) {
        let reader = {
            let mut channel = lock(&self.0);
            if !matches!(channel.end, End::Open) {
                return;
            }
            channel.end = end;
            channel.trailers = trailers;
            channel.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // Does nothing after `finish` and `fail`.
        self.end(End::Failed(Some(BodyError::Aborted)), None);
    }
}

/// The reader's end.
pub(crate) struct Incoming(Shared);

impl Incoming {
    /// The next piece; after an error, nothing.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let (piece, writer) = {
            let mut channel = lock(&self.0);
            let first = !std::mem::replace(&mut channel.wanted, true);
            if let Some(piece) = channel.pieces.pop_front() {
                let was_full = channel.waiting >= AHEAD;
                channel.waiting -= piece.len();
                // The decoder is woken when it had no room, and not for every piece.
                let wake = first || (was_full && channel.waiting < AHEAD);
                (Some(piece), wake.then(|| channel.writer.clone()))
            } else {
                match &mut channel.end {
                    End::Done => return Poll::Ready(None),
                    End::Failed(error) => return Poll::Ready(error.take().map(Err)),
                    End::Open => {
                        if !channel.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                            channel.reader = Some(cx.waker().clone());
                        }
                        (None, first.then(|| channel.writer.clone()))
                    }
                }
            }
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        piece.map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(piece))))
    }

    /// Bytes still to come, if the length is known.
    pub(crate) fn left(&self) -> Option<u64> {
        let channel = lock(&self.0);
        Some(channel.left? + channel.waiting as u64)
    }

    pub(crate) fn take_trailers(&mut self) -> Option<Headers> {
        lock(&self.0).trailers.take()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let (pieces, writer) = {
            let mut channel = lock(&self.0);
            channel.deaf = true;
            channel.waiting = 0;
            let open = matches!(channel.end, End::Open);
            (std::mem::take(&mut channel.pieces), open.then(|| channel.writer.clone()))
        };
        drop(pieces);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}
