//! Inflating messages, never more than a limit.

use std::cell::RefCell;
use std::fmt;
use std::mem;

use bytes::BytesMut;
use zlib_rs::{Inflate, InflateFlush, Status};

use super::settings::{Contexts, Place};
use super::{Deflate, TAIL};
use crate::websocket::CloseCode;

/// The largest window, in bits: whatever was agreed fits it, and the library's inflater is no smaller for a smaller one.
const WINDOW: u8 = 15;

/// Inflaters that a thread keeps for later.
const KEPT: usize = 2;

/// Compressed bytes that wait where there is no place for an inflater, at most: as many as it takes itself.
const HELD: usize = 48 * 1024;

/// What is inflated at a time, at least and at most.
const PIECE_MIN: usize = 256;
pub(super) const PIECE_MAX: usize = 64 * 1024;

thread_local! {
    /// Inflaters that have been reset. A connection keeps a pointer, so a box is what it takes and gives back.
    #[expect(clippy::vec_box)]
    static FREE: RefCell<Vec<Box<Inflate>>> = const { RefCell::new(Vec::new()) };
}

/// Why a message cannot be inflated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    /// It is larger than allowed (1009).
    #[error("a compressed message holds more than the limit of {limit} bytes")]
    TooLarge {
        /// The most that is allowed.
        limit: usize,
    },
    /// It is not what a compressor makes, or breaks off (1007).
    #[error("a compressed message cannot be inflated")]
    Broken,
}

impl InflateError {
    /// The code of the close frame that tells the peer.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::TooLarge { .. } => CloseCode::TOO_BIG,
            Self::Broken => CloseCode::INVALID,
        }
    }
}

/// Inflates the messages of one peer, or one message.
///
/// Without takeover it keeps nothing between messages ([`is_idle`](Self::is_idle)), and can be made when one begins.
/// After an error it is not to be used any more.
pub struct Inflater {
    state: State,
    /// Inflated so far of this message, in bytes.
    total: usize,
    /// Nothing has been read of this message since it began, or since the end of a stream within it.
    at_start: bool,
    contexts: Contexts,
    /// The context is taken over.
    takeover: Option<Place>,
    /// Nothing is held.
    at_once: bool,
}

enum State {
    /// Between messages, and without a context.
    Idle,
    /// A context; with a place of its own if that is for this message only.
    Inflating(Box<Inflate>, Option<Place>),
    /// What has arrived of a message, while there is no place for an inflater.
    Held(Vec<u8>),
}

impl Inflater {
    /// An inflater for messages that do not refer to those before them.
    pub fn new(settings: &Deflate) -> Self {
        Self::with(settings.contexts.clone(), None)
    }

    pub(super) fn with(contexts: Contexts, takeover: Option<Place>) -> Self {
        Self { state: State::Idle, total: 0, at_start: true, contexts, takeover, at_once: false }
    }

    /// Takes an inflater for an unfinished message even where there is no place for it: for who cannot take all that has been
    /// held at once.
    #[must_use]
    pub fn at_once(mut self, at_once: bool) -> Self {
        self.at_once = at_once;
        self
    }

    /// Whether it keeps nothing: it is between messages, and the next does not refer to the last.
    pub fn is_idle(&self) -> bool {
        self.takeover.is_none() && matches!(self.state, State::Idle)
    }

    /// Inflates the next bytes of a message, cut anywhere, and appends what comes out to `out`.
    ///
    /// `last` says that these are the last of the message; there may be none. `limit` is the most that the message may hold, in
    /// bytes. `out` grows as it is filled, and gets at most one byte beyond the limit. Of a message that is not
    /// complete less may come out than could, or nothing.
    ///
    /// # Errors
    /// It holds more than the limit, it is broken, or it breaks off.
    pub fn push(
        &mut self,
        chunk: &[u8],
        last: bool,
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<(), InflateError> {
        let (mut inflate, place) = match mem::replace(&mut self.state, State::Idle) {
            State::Inflating(inflate, place) => (inflate, place),
            State::Held(mut held) => {
                if !last && held.len() + chunk.len() <= HELD {
                    held.extend_from_slice(chunk);
                    self.state = State::Held(held);
                    return Ok(());
                }
                let mut inflate = take();
                self.run(&mut inflate, &held, limit, out)?;
                (inflate, None)
            }
            State::Idle if last || self.takeover.is_some() => (take(), None),
            State::Idle => match self.contexts.take() {
                Some(place) => (take(), Some(place)),
                None if self.at_once => (take(), None),
                None => {
                    self.state = State::Held(Vec::new());
                    return self.push(chunk, last, limit, out);
                }
            },
        };
        self.run(&mut inflate, chunk, limit, out)?;
        if !last {
            self.state = State::Inflating(inflate, place);
            return Ok(());
        }
        self.finish(&mut inflate)?;
        (self.total, self.at_start) = (0, true);
        match self.takeover {
            Some(_) => self.state = State::Inflating(inflate, None),
            None => put_back(inflate),
        }
        Ok(())
    }

    fn run(
        &mut self,
        inflate: &mut Inflate,
        mut input: &[u8],
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<(), InflateError> {
        if input.is_empty() {
            return Ok(());
        }
        self.at_start = false;
        let mut piece = input.len().saturating_mul(4).clamp(PIECE_MIN, PIECE_MAX);
        loop {
            let (read, written) = (inflate.total_in(), inflate.total_out());
            let begin = out.len();
            // One more than is allowed tells that there is more.
            let room = piece.min(limit.saturating_sub(self.total).saturating_add(1));
            out.resize(begin + room, 0);
            let status = inflate.decompress(input, &mut out[begin..], InflateFlush::NoFlush);
            let read = (inflate.total_in() - read) as usize;
            let written = (inflate.total_out() - written) as usize;
            out.truncate(begin + written);
            input = &input[read..];
            self.total += written;
            let status = status.map_err(|_| InflateError::Broken)?;
            if self.total > limit {
                return Err(InflateError::TooLarge { limit });
            }
            match status {
                // RFC 7692 section 7.2.3.4: a final block may be anywhere, and ends a stream. Another one begins behind it.
                Status::StreamEnd => {
                    inflate.reset(false);
                    self.at_start = input.is_empty();
                    if input.is_empty() {
                        return Ok(());
                    }
                }
                Status::Ok | Status::BufError if written < room => {
                    // With room left it stops only where it has read everything.
                    return if input.is_empty() { Ok(()) } else { Err(InflateError::Broken) };
                }
                Status::Ok | Status::BufError => piece = piece.saturating_mul(2).min(PIECE_MAX),
            }
        }
    }

    /// RFC 7692 section 7.2.2: appends what the sender has left out, which must be the rest of an empty block.
    fn finish(&mut self, inflate: &mut Inflate) -> Result<(), InflateError> {
        // An empty payload, or one that ends with a final block and lacks the padding behind it. There is nothing to be
        // completed, and nothing that could be misunderstood.
        if self.at_start {
            return Ok(());
        }
        let (read, written) = (inflate.total_in(), inflate.total_out());
        // It is made to stop at the end of a block, so the byte behind it is not read; within a block it would be.
        let [a, b, c, d] = TAIL;
        let stopped = inflate.decompress(&[a, b, c, d, 0], &mut [0; 16], InflateFlush::Block);
        let read = inflate.total_in() - read;
        if stopped.is_ok() && read == 4 && inflate.total_out() == written {
            Ok(())
        } else {
            Err(InflateError::Broken)
        }
    }
}

/// An inflater that somebody else is done with, or a new one.
fn take() -> Box<Inflate> {
    let kept = FREE.try_with(|free| free.borrow_mut().pop());
    kept.ok().flatten().unwrap_or_else(|| Box::new(Inflate::new(false, WINDOW)))
}

fn put_back(mut inflate: Box<Inflate>) {
    // A thread that ends keeps nothing.
    let _ = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.len() < KEPT {
            inflate.reset(false);
            free.push(inflate);
        }
    });
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("total", &self.total)
            .field("takeover", &self.takeover.is_some())
            .field("idle", &self.is_idle())
            .finish_non_exhaustive()
    }
}
