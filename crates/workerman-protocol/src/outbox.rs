//! The outbox: bytes on their way out, small pieces copied together, large ones shared.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Pieces above this size are kept by reference instead of being copied: 4 KiB.
///
/// Below, a copy is cheaper than one more piece in the system call.
pub const SHARE_FROM: usize = 4 * 1024;

/// Bytes that wait to be sent, oldest first.
///
/// Small pieces are copied together into one buffer; large [`Bytes`] are kept by reference, so that a message that
/// goes to a thousand connections is stored once. It is read as a [`Buf`], by vectored writes.
///
/// # Examples
/// ```
/// use bytes::{Buf, Bytes};
/// let mut out = workerman_protocol::Outbox::new();
/// out.put_slice(b"length: 3\n");
/// out.put_bytes(Bytes::from_static(b"abc"));
/// assert_eq!(out.len(), 13);
/// out.advance(10);
/// assert_eq!(out.copy_to_bytes(3), "abc");
/// ```
#[derive(Default)]
pub struct Outbox {
    /// What comes before `tail`: pieces that are shared, and the parts of `tail` between them. No piece is empty.
    pieces: VecDeque<Bytes>,
    /// Bytes in `pieces`.
    in_pieces: usize,
    /// Small pieces are copied here.
    tail: BytesMut,
    finish: bool,
}

impl Outbox {
    /// An empty outbox; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of bytes that wait.
    pub fn len(&self) -> usize {
        self.in_pieces + self.tail.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.in_pieces == 0 && self.tail.is_empty()
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Appends `bytes`: copied up to [`SHARE_FROM`], kept by reference above.
    #[inline]
    pub fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() <= SHARE_FROM {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.put_shared(bytes);
        }
    }

    /// Appends `bytes` by reference, whatever their size.
    pub fn put_shared(&mut self, bytes: Bytes) {
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
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Makes room for `additional` more copied bytes.
    pub fn reserve(&mut self, additional: usize) {
        self.tail.reserve(additional);
    }

    /// Ends the stream after what is in the outbox now: the connection is half-closed once it is sent, and closed
    /// when the peer has read it. For answers that are delimited by the end of the stream.
    pub fn finish(&mut self) {
        self.finish = true;
    }

    /// Whether [`finish`](Self::finish) was called.
    pub fn is_finished(&self) -> bool {
        self.finish
    }

    /// Takes back what was appended last, down to `len` bytes; does nothing if there are not more.
    pub fn truncate(&mut self, len: usize) {
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

    /// Moves everything from `other` behind what is here; large pieces without a copy.
    pub fn append(&mut self, other: &mut Self) {
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

    /// Forgets everything; keeps up to `capacity` bytes of buffer.
    pub fn clear(&mut self, capacity: usize) {
        self.finish = false;
        self.in_pieces = 0;
        self.pieces.clear();
        if self.pieces.capacity() > 64 {
            self.pieces = VecDeque::new();
        }
        if self.tail.capacity() > capacity {
            self.tail = BytesMut::new();
        } else {
            self.tail.clear();
        }
    }

    /// Everything as one piece, without a copy where it is one already.
    pub fn into_bytes(mut self) -> Bytes {
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

impl Buf for Outbox {
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
                self.tail.advance(n);
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

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("len", &self.len()).field("finish", &self.finish).finish()
    }
}
