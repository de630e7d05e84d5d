//! The outbox: bytes on their way out, small pieces copied together, large ones shared.

use std::fmt;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

mod queue;

use queue::Queue;

/// Pieces above this size are kept by reference instead of being copied: 4 KiB.
///
/// Below, a copy is cheaper than one more piece in the system call.
pub const SHARE_FROM: usize = 4 * 1024;

/// Bytes that wait to be sent, oldest first.
///
/// Small pieces are copied together into one buffer; large [`Bytes`] are kept by reference, so that a message that
/// goes to a thousand connections is stored once. It is read as a [`Buf`], by vectored writes. An outbox that was never
/// used, or was [cleared](Self::clear) to nothing, takes the size of a pointer.
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
pub struct Outbox(Option<Box<Queue>>);

impl Outbox {
    /// An empty outbox; allocates nothing.
    pub const fn new() -> Self {
        Self(None)
    }

    #[inline(always)]
    fn queue(&mut self) -> &mut Queue {
        self.0.get_or_insert_with(first_use)
    }

    /// Number of bytes that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.len())
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|queue| queue.is_empty())
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.queue().put_slice(bytes);
    }

    /// Appends `bytes`: copied up to [`SHARE_FROM`], kept by reference above.
    #[inline]
    pub fn put_bytes(&mut self, bytes: Bytes) {
        self.queue().put_bytes(bytes);
    }

    /// Appends `bytes` by reference, whatever their size.
    pub fn put_shared(&mut self, bytes: Bytes) {
        self.queue().put_shared(bytes);
    }

    /// The buffer that small pieces are copied to: append to it directly where a head is built piece by piece.
    ///
    /// What is in it already belongs to other messages: only append.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.queue().buffer()
    }

    /// Makes room for `additional` more copied bytes.
    pub fn reserve(&mut self, additional: usize) {
        self.queue().reserve(additional);
    }

    /// Ends the stream after what is in the outbox now: the connection is half-closed once it is sent, and closed
    /// when the peer has read it. For answers that are delimited by the end of the stream.
    pub fn finish(&mut self) {
        self.queue().finish();
    }

    /// Whether [`finish`](Self::finish) was called.
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.is_finished())
    }

    /// Takes back what was appended last, down to `len` bytes, and with it a [`finish`](Self::finish): that comes
    /// behind everything.
    pub fn truncate(&mut self, len: usize) {
        if let Some(queue) = &mut self.0 {
            queue.truncate(len);
        }
    }

    /// Takes out what was appended last, from `at` bytes on, and with it a [`finish`](Self::finish); large pieces
    /// without a copy. `at` beyond the end counts as the end.
    pub fn split_off(&mut self, at: usize) -> Self {
        Self(self.0.as_mut().map(|queue| Box::new(queue.split_off(at))))
    }

    /// Moves everything from `other` behind what is here; large pieces without a copy.
    pub fn append(&mut self, other: &mut Self) {
        let Some(from) = &mut other.0 else { return };
        match &mut self.0 {
            Some(queue) => queue.append(from),
            None if from.is_empty() && !from.is_finished() => {}
            None => std::mem::swap(self, other),
        }
    }

    /// Forgets everything; keeps up to `capacity` bytes of buffer for reuse, and as much again for the list of pieces.
    /// A capacity of 0 frees all that it owns.
    pub fn clear(&mut self, capacity: usize) {
        if capacity == 0 {
            self.0 = None;
        } else if let Some(queue) = &mut self.0 {
            queue.clear(capacity);
        }
    }

    /// Everything as one piece, without a copy where it is one already.
    pub fn into_bytes(self) -> Bytes {
        self.0.map_or_else(Bytes::new, |queue| queue.into_bytes())
    }
}

/// Out of the way of the many uses that find the queue there.
#[cold]
fn first_use() -> Box<Queue> {
    Box::default()
}

impl Buf for Outbox {
    #[inline]
    fn remaining(&self) -> usize {
        self.len()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |queue| queue.chunk())
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.chunks_vectored(slices))
    }

    #[inline]
    fn advance(&mut self, n: usize) {
        match &mut self.0 {
            Some(queue) => queue.advance(n),
            None => assert!(n == 0, "cannot advance {n} bytes, only 0 wait"),
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("len", &self.len()).field("finish", &self.is_finished()).finish()
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
        assert!(out.0.is_none(), "it owns nothing");
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
