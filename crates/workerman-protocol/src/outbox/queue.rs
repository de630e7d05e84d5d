//! The inside of an outbox: shared pieces, and the buffer that small ones are copied to.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use super::SHARE_FROM;

/// The bytes of an outbox that is or was in use; boxed, so that one that is not takes the size of a pointer.
#[derive(Default)]
pub(super) struct Queue {
    /// What comes before `tail`: pieces that are shared, and the parts of `tail` between them. No piece is empty.
    pieces: VecDeque<Bytes>,
    /// Bytes in `pieces`.
    in_pieces: usize,
    /// Small pieces are copied here.
    tail: BytesMut,
    finish: bool,
}

impl Queue {
    /// Number of bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.in_pieces + self.tail.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.in_pieces == 0 && self.tail.is_empty()
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub(super) fn put_slice(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Appends `bytes`: copied up to [`SHARE_FROM`], kept by reference above.
    #[inline]
    pub(super) fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() <= SHARE_FROM {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.put_shared(bytes);
        }
    }

    /// Appends `bytes` by reference, whatever their size.
    pub(super) fn put_shared(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.seal();
        self.in_pieces += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// The buffer that small pieces are copied to: append to it directly where a head is built piece by piece.
    ///
    /// What is in it already belongs to other messages: only append.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Makes room for `additional` more copied bytes.
    pub(super) fn reserve(&mut self, additional: usize) {
        self.tail.reserve(additional);
    }

    /// Ends the stream after what is in the outbox now: the connection is half-closed once it is sent, and closed
    /// when the peer has read it. For answers that are delimited by the end of the stream.
    pub(super) fn finish(&mut self) {
        self.finish = true;
    }

    /// Whether [`finish`](Self::finish) was called.
    pub(super) fn is_finished(&self) -> bool {
        self.finish
    }

    /// Takes back what was appended last, down to `len` bytes, and with it a [`finish`](Self::finish): that comes
    /// behind everything.
    pub(super) fn truncate(&mut self, len: usize) {
        self.finish = false;
        if len >= self.in_pieces {
            self.tail.truncate(len - self.in_pieces);
            return;
        }
        self.tail.clear();
        while let Some(mut last) = self.pieces.pop_back() {
            self.in_pieces -= last.len();
            if self.in_pieces < len {
                last.truncate(len - self.in_pieces);
                self.in_pieces = len;
                self.pieces.push_back(last);
            }
            if self.in_pieces <= len {
                return;
            }
        }
    }

    /// Takes out what was appended last, from `at` bytes on, and with it a [`finish`](Self::finish); large pieces
    /// without a copy. `at` beyond the end counts as the end.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let mut back = Self { finish: std::mem::take(&mut self.finish), ..Self::default() };
        if at >= self.in_pieces {
            let at = (at - self.in_pieces).min(self.tail.len());
            back.tail = self.tail.split_off(at);
            return back;
        }
        back.tail = std::mem::take(&mut self.tail);
        while self.in_pieces > at {
            let Some(mut last) = self.pieces.pop_back() else { break };
            self.in_pieces -= last.len();
            if self.in_pieces < at {
                let kept = last.split_to(at - self.in_pieces);
                self.in_pieces = at;
                self.pieces.push_back(kept);
            }
            back.in_pieces += last.len();
            back.pieces.push_front(last);
        }
        back
    }

    /// Moves everything from `other` behind what is here; large pieces without a copy.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.finish |= std::mem::take(&mut other.finish);
        if self.is_empty() && !other.is_empty() {
            // Our buffer may be larger than what is in it: the other keeps it for reuse.
            std::mem::swap(&mut self.pieces, &mut other.pieces);
            std::mem::swap(&mut self.tail, &mut other.tail);
            std::mem::swap(&mut self.in_pieces, &mut other.in_pieces);
            return;
        }
        if other.in_pieces > 0 {
            self.seal();
            self.in_pieces += std::mem::take(&mut other.in_pieces);
            self.pieces.append(&mut other.pieces);
        }
        if other.tail.len() > SHARE_FROM {
            let tail = other.tail.split().freeze();
            self.put_shared(tail);
        } else {
            self.tail.extend_from_slice(&other.tail);
            other.tail.clear();
        }
    }

    /// Forgets everything; keeps up to `capacity` bytes of buffer for reuse, and as much again for the list of pieces.
    pub(super) fn clear(&mut self, capacity: usize) {
        self.finish = false;
        self.in_pieces = 0;
        self.pieces.clear();
        if self.pieces.capacity() > capacity / size_of::<Bytes>() {
            self.pieces = VecDeque::new();
        }
        self.tail.clear();
        // The capacity of a `BytesMut` is what lies behind its start; what has been sent or split off in front of it
        // counts only if it is reclaimed, but stays allocated all the same.
        let too_large = capacity.checked_add(1).is_some_and(|more| self.tail.try_reclaim(more));
        if too_large || capacity == 0 {
            self.tail = BytesMut::new();
        }
    }

    /// Everything as one piece, without a copy where it is one already.
    pub(super) fn into_bytes(mut self) -> Bytes {
        if self.pieces.is_empty() {
            return self.tail.freeze();
        }
        if self.pieces.len() == 1 && self.tail.is_empty() {
            if let Some(only) = self.pieces.pop_front() {
                return only;
            }
        }
        let len = self.len();
        self.copy_to_bytes(len)
    }

    /// Moves the copied bytes to the pieces, so that a shared one can follow.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.in_pieces += self.tail.len();
            self.pieces.push_back(self.tail.split().freeze());
        }
    }
}

impl Buf for Queue {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&self.tail, |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let mut used = 0;
        for (slot, chunk) in slices.iter_mut().zip(self.pieces.iter().map(|piece| &piece[..]).chain(tail)) {
            *slot = IoSlice::new(chunk);
            used += 1;
        }
        used
    }

    fn advance(&mut self, mut n: usize) {
        assert!(n <= self.len(), "cannot advance {n} bytes, only {} wait", self.len());
        while n > 0 {
            let Some(front) = self.pieces.front_mut() else {
                if n == self.tail.len() {
                    // All of it: the buffer starts anew instead of moving on, so that the next message finds it
                    // whole and nothing has to be reclaimed.
                    self.tail.clear();
                } else {
                    self.tail.advance(n);
                }
                return;
            };
            let step = n.min(front.len());
            n -= step;
            self.in_pieces -= step;
            if step == front.len() {
                self.pieces.pop_front();
            } else {
                front.advance(step);
            }
        }
    }
}
