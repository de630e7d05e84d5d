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

    /// Takes back what was appended last, down to `len` bytes, and with it a [`finish`](Self::finish): that comes
    /// behind everything.
    pub fn truncate(&mut self, len: usize) {
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
    pub fn split_off(&mut self, at: usize) -> Self {
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

    /// Forgets everything; keeps up to `capacity` bytes of buffer for reuse, and as much again for the list of pieces.
    pub fn clear(&mut self, capacity: usize) {
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

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("len", &self.len()).field("finish", &self.finish).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sealed parts, two shared pieces, a tail: `head|SHARED|mid|SHARED|tail`.
    fn mixed() -> (Outbox, Vec<u8>) {
        let mut out = Outbox::new();
        out.put_slice(b"head");
        out.put_bytes(vec![b'A'; SHARE_FROM + 1].into());
        out.put_slice(b"mid");
        out.put_shared(Bytes::from_static(b"B"));
        out.put_bytes(Bytes::from_static(b"tail"));
        let whole = [b"head".as_slice(), &[b'A'; SHARE_FROM + 1], b"midBtail"].concat();
        (out, whole)
    }

    fn slices(out: &Outbox) -> Vec<Vec<u8>> {
        let mut slots = [IoSlice::new(&[]); 16];
        let used = out.chunks_vectored(&mut slots);
        slots[..used].iter().map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn small_pieces_are_copied_together_and_large_ones_shared() {
        let large = Bytes::from(vec![b'x'; SHARE_FROM + 1]);
        let mut out = Outbox::new();
        out.put_bytes(Bytes::from_static(b"a"));
        out.put_bytes(vec![b'b'; SHARE_FROM].into());
        out.put_bytes(large.clone());
        let chunks = slices(&out);
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [SHARE_FROM + 1, SHARE_FROM + 1]);
        out.advance(SHARE_FROM + 1);
        assert_eq!(out.chunk().as_ptr(), large.as_ptr(), "kept by reference");
    }

    #[test]
    fn an_empty_piece_leaves_no_empty_chunk() {
        let mut out = Outbox::new();
        out.put_shared(Bytes::new());
        out.put_bytes(Bytes::new());
        assert!(out.is_empty() && slices(&out).is_empty() && out.chunk().is_empty());
    }

    #[test]
    fn truncates_at_every_length() {
        let whole = mixed().1;
        for len in (0..=whole.len() + 1).rev().filter(|len| *len < 12 || *len > SHARE_FROM) {
            let (mut out, _) = mixed();
            out.truncate(len);
            let kept = &whole[..len.min(whole.len())];
            assert_eq!(out.len(), kept.len());
            assert!(slices(&out).iter().all(|chunk| !chunk.is_empty()));
            out.put_slice(b"+");
            assert_eq!(out.into_bytes(), [kept, b"+"].concat());
        }
    }

    #[test]
    fn truncating_takes_back_a_finish() {
        for appended in [&b""[..], b"x"] {
            let mut out = Outbox::new();
            out.put_slice(b"kept");
            out.put_slice(appended);
            out.finish();
            out.truncate(4);
            assert!(!out.is_finished());
            assert_eq!(out.into_bytes(), "kept");
        }
    }

    #[test]
    fn splits_at_every_length() {
        let whole = mixed().1;
        for at in (0..=whole.len() + 1).filter(|at| *at < 12 || *at > SHARE_FROM) {
            let (mut out, _) = mixed();
            out.finish();
            let back = out.split_off(at);
            let at = at.min(whole.len());
            assert_eq!((out.len(), back.len()), (at, whole.len() - at));
            assert!(!out.is_finished() && back.is_finished());
            assert!([&out, &back].iter().all(|half| slices(half).iter().all(|chunk| !chunk.is_empty())));
            out.put_slice(b"+");
            assert_eq!(out.into_bytes(), [&whole[..at], b"+"].concat());
            assert_eq!(back.into_bytes(), whole[at..]);
        }
    }

    #[test]
    fn advances_over_every_boundary() {
        let whole = mixed().1;
        for n in (0..=whole.len()).filter(|n| *n < 12 || *n > SHARE_FROM) {
            let (mut out, _) = mixed();
            out.advance(n);
            assert_eq!(out.remaining(), whole.len() - n);
            assert!(whole[n..].starts_with(out.chunk()));
            assert_eq!(out.into_bytes(), whole[n..]);
        }
    }

    #[test]
    #[should_panic(expected = "cannot advance 2 bytes, only 1 wait")]
    fn advancing_beyond_the_end_panics() {
        let mut out = Outbox::new();
        out.put_slice(b"a");
        out.advance(2);
    }

    #[test]
    fn appends_in_order_and_leaves_the_other_empty() {
        for (before, extra) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, SHARE_FROM + 1), (SHARE_FROM + 1, 1)] {
            let (mut out, mut expected) = (Outbox::new(), vec![b'1'; before]);
            out.put_bytes(expected.clone().into());
            let (mut other, whole) = mixed();
            other.put_slice(&vec![b'2'; extra]);
            other.finish();
            expected.extend([whole, vec![b'2'; extra]].concat());
            out.append(&mut other);
            assert!(other.is_empty() && !other.is_finished() && slices(&other).is_empty());
            assert!(out.is_finished());
            other.put_slice(b"reused");
            assert_eq!(other.into_bytes(), "reused");
            assert_eq!(out.len(), expected.len());
            assert_eq!(out.into_bytes(), expected);
        }
    }

    #[test]
    fn clearing_keeps_a_small_buffer_and_frees_a_large_one() {
        let mut out = Outbox::new();
        out.put_slice(&[0; 100]);
        let buffer = out.chunk().as_ptr();
        out.advance(100);
        out.clear(4096);
        out.put_slice(&[0; 100]);
        assert_eq!(out.chunk().as_ptr(), buffer, "the same buffer again");

        // Sent to the last byte, its capacity is 0, and 64 KiB are still allocated.
        out.put_slice(&[0; 64 * 1024]);
        out.advance(out.len());
        out.clear(4096);
        assert!(!out.buffer().try_reclaim(4097), "the large buffer is gone");

        let (mut out, _) = mixed();
        out.finish();
        out.clear(0);
        assert!(out.is_empty() && !out.is_finished());
        assert_eq!((out.pieces.capacity(), out.tail.capacity()), (0, 0));
    }

    #[test]
    fn one_piece_becomes_bytes_without_a_copy() {
        let shared = Bytes::from(vec![1; 10]);
        let mut out = Outbox::new();
        out.put_shared(shared.clone());
        assert_eq!(out.into_bytes().as_ptr(), shared.as_ptr());

        let mut out = Outbox::new();
        out.put_slice(b"copied");
        let buffer = out.chunk().as_ptr();
        assert_eq!(out.into_bytes().as_ptr(), buffer);
        assert_eq!(Outbox::new().into_bytes(), "");
    }

    #[test]
    fn fewer_slots_than_pieces_are_filled_from_the_front() {
        let (out, _) = mixed();
        let mut slots = [IoSlice::new(&[]); 2];
        assert_eq!(out.chunks_vectored(&mut slots), 2);
        assert_eq!(&*slots[0], b"head");
        assert_eq!(out.chunks_vectored(&mut []), 0);
    }
}
