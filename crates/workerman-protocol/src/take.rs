//! Taking a message out of the input: copied when small, split off when large.

use bytes::{Bytes, BytesMut};

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
pub fn take(input: &mut BytesMut, n: usize) -> Bytes {
    use bytes::Buf;
    if n <= COPY_UP_TO {
        let message = Bytes::copy_from_slice(&input[..n]);
        input.advance(n);
        message
    } else {
        input.split_to(n).freeze()
    }
}
