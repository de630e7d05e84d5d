//! Taking a message out of the input: copied when small, split off when large.

use bytes::{Buf, Bytes, BytesMut};

/// Messages up to this many bytes are copied out of the input by [`take`]: 4 KiB.
pub const COPY_UP_TO: usize = 4 * 1024;

/// Takes `n` bytes from the front of `input` as a message.
///
/// Up to [`COPY_UP_TO`] they are copied, so that a kept message pins nothing but itself; larger ones are split off
/// without a copy. (A protocol that calls `split_to(n).freeze()` itself may pin 64 KiB of the loop's read buffer with
/// twenty bytes.)
///
/// # Panics
/// If `input` has fewer than `n` bytes.
///
/// # Examples
/// ```
/// let mut input = bytes::BytesMut::from(&b"one two"[..]);
/// assert_eq!(workerman_protocol::take(&mut input, 3), "one");
/// assert_eq!(input, " two");
/// ```
#[inline]
pub fn take(input: &mut BytesMut, n: usize) -> Bytes {
    if n <= COPY_UP_TO {
        let message = Bytes::copy_from_slice(&input[..n]);
        input.advance(n);
        message
    } else {
        input.split_to(n).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_message_pins_nothing() {
        let mut input = BytesMut::with_capacity(64 * 1024);
        input.extend_from_slice(&[b'a'; 20]);
        let capacity = input.capacity();
        let kept = take(&mut input, 20);
        assert!(input.try_reclaim(capacity), "the whole buffer is free again");
        assert_eq!(kept, [b'a'; 20].as_slice());
    }

    #[test]
    fn a_large_message_is_not_copied() {
        for (n, copied) in [(COPY_UP_TO, true), (COPY_UP_TO + 1, false)] {
            let mut input = BytesMut::from(vec![b'a'; n + 3].as_slice());
            let start = input.as_ptr();
            let message = take(&mut input, n);
            assert_eq!(message.as_ptr() != start, copied);
            assert_eq!((message.len(), input.len()), (n, 3));
        }
    }

    #[test]
    fn nothing_is_taken_from_nothing() {
        assert_eq!(take(&mut BytesMut::new(), 0), "");
    }
}
