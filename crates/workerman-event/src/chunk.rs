//! The read buffer of a thread.

use bytes::{Bytes, BytesMut};

/// A `Vec` for the system call, lent to the sink as `BytesMut` and taken back if nobody kept a part of it.
///
/// All conversions are free of copying and zeroing: a `Vec` is what the kernel can fill without being cleared first,
/// a `BytesMut` is what a decoder can split messages off. If a part was kept, the memory is its keeper's, and the
/// next read gets a new buffer.
#[derive(Debug)]
pub(crate) struct Chunk {
    spare: Option<Vec<u8>>,
    capacity: usize,
}

/// Bytes of one read: large enough that a message of 64 KiB takes one system call with whatever is its head, and larger
/// than any datagram.
pub(crate) const CHUNK: usize = 68 * 1024;

impl Chunk {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { spare: None, capacity }
    }

    /// An empty buffer of the full capacity; give it back by [`Chunk::put`], or lend it and [`Chunk::give_back`].
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.spare.take().unwrap_or_else(|| Vec::with_capacity(self.capacity))
    }

    /// Keeps a buffer that was not lent for the next read.
    pub(crate) fn put(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        // Not a smaller one that somebody put in its place.
        if buffer.capacity() >= self.capacity {
            self.spare = Some(buffer);
        }
    }

    /// What was read, in the form that messages can be split off.
    pub(crate) fn lend(buffer: Vec<u8>) -> BytesMut {
        // The way from `Vec` to `BytesMut` that does not copy leads over `Bytes`.
        BytesMut::from(Bytes::from(buffer))
    }

    /// Takes the buffer back, unless a part of it lives on.
    pub(crate) fn give_back(&mut self, mut data: BytesMut) {
        data.clear();
        // Succeeds only where nobody else refers to the memory; what is converted back then is not copied.
        if data.try_reclaim(self.capacity) {
            self.put(data.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunk: &mut Chunk, bytes: &[u8]) -> (BytesMut, *const u8) {
        let mut buffer = chunk.take();
        assert!(buffer.is_empty() && buffer.capacity() >= CHUNK);
        buffer.extend_from_slice(bytes);
        let address = buffer.as_ptr();
        (Chunk::lend(buffer), address)
    }

    #[test]
    fn memory_comes_back_when_nothing_is_kept() {
        let mut chunk = Chunk::new(CHUNK);
        let (mut data, first) = read(&mut chunk, b"hello world");
        assert_eq!(data.as_ptr(), first, "lending does not copy");
        let part = data.split_to(6).freeze();
        assert_eq!(part, "hello ");
        drop(part);
        let rest = data.split();
        drop(rest);
        chunk.give_back(data);
        let (data, second) = read(&mut chunk, b"again");
        assert_eq!(first, second, "the same memory is used again");
        chunk.give_back(data);
    }

    #[test]
    fn a_full_buffer_comes_back_too() {
        let mut chunk = Chunk::new(CHUNK);
        let (data, first) = read(&mut chunk, &vec![7; CHUNK]);
        chunk.give_back(data);
        let (_, second) = read(&mut chunk, b"x");
        assert_eq!(first, second);
    }

    #[test]
    fn a_kept_part_keeps_its_memory() {
        let mut chunk = Chunk::new(CHUNK);
        let (mut data, first) = read(&mut chunk, b"kept, lost");
        let kept = data.split_to(4).freeze();
        chunk.give_back(data);
        let (data, second) = read(&mut chunk, b"other");
        assert_ne!(first, second, "the kept part is not overwritten");
        assert_eq!(kept, "kept");
        chunk.give_back(data);
    }

    #[test]
    fn a_buffer_taken_away_is_replaced() {
        let mut chunk = Chunk::new(CHUNK);
        let (mut data, _) = read(&mut chunk, b"all of it");
        let taken = std::mem::take(&mut data);
        chunk.give_back(data);
        let (data, _) = read(&mut chunk, b"next");
        assert_eq!((&taken[..], &data[..]), (&b"all of it"[..], &b"next"[..]));
        chunk.put(Vec::with_capacity(16));
        assert!(chunk.take().capacity() >= CHUNK, "a small buffer is not kept");
    }
}
