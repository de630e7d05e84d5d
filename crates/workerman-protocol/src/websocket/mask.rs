//! Masking (RFC 6455 section 5.3), and where its keys come from.

use std::cell::RefCell;

use bytes::BytesMut;

use super::Error;
use crate::Random;

/// A masking key, turned so that its first byte is for the byte that comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Key([u8; 4]);

impl Key {
    #[inline(always)]
    pub(super) const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    #[inline]
    pub(super) const fn bytes(self) -> [u8; 4] {
        self.0
    }

    /// The key for what follows `n` bytes.
    #[inline]
    pub(super) fn after(mut self, n: usize) -> Self {
        self.0.rotate_left(n % 4);
        self
    }

    /// Masks or unmasks in place. Returns whether all that came out is ASCII: that is known on the way, for nothing.
    #[inline(always)]
    pub(super) fn apply(self, bytes: &mut [u8]) -> bool {
        // Whole words: the compiler makes vectors of them, whatever the alignment.
        let half = u32::from_ne_bytes(self.0);
        let word = u64::from(half) << 32 | u64::from(half);
        let mut seen = 0;
        let mut words = bytes.chunks_exact_mut(8);
        for chunk in &mut words {
            if let Ok(masked) = <[u8; 8]>::try_from(&*chunk) {
                let plain = u64::from_ne_bytes(masked) ^ word;
                seen |= plain;
                chunk.copy_from_slice(&plain.to_ne_bytes());
            }
        }
        let rest = words.into_remainder();
        let (four, rest) = rest.split_at_mut(rest.len() & 4);
        if let Some(chunk) = four.first_chunk_mut::<4>() {
            let plain = u32::from_ne_bytes(*chunk) ^ half;
            seen |= u64::from(plain);
            *chunk = plain.to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.0) {
            *byte ^= key;
            seen |= u64::from(*byte);
        }
        seen & 0x8080_8080_8080_8080 == 0
    }
}

/// Bytes that are copied and masked before the next ones are looked at, so that they are masked while they are near.
const BLOCK: usize = 4 * 1024;

/// Appends a masked copy.
#[inline]
pub(super) fn append(out: &mut BytesMut, bytes: &[u8], key: Key) {
    // The block is a multiple of the key.
    for block in bytes.chunks(BLOCK) {
        let start = out.len();
        out.extend_from_slice(block);
        key.apply(&mut out[start..]);
    }
}

/// Bytes of the system's random source that a thread fetches at once: 256 keys.
const POOL: usize = 1024;

/// A thread's keys.
struct Keys {
    /// Bytes from the system, used from the end.
    pool: Vec<u8>,
    /// Known keys, for a test that compares bytes.
    seeded: Option<Random>,
}

thread_local! {
    static KEYS: RefCell<Keys> = const { RefCell::new(Keys { pool: Vec::new(), seeded: None }) };
}

/// A key for one frame, which nobody can foresee (RFC 6455 section 10.3).
///
/// # Errors
/// The system has no random bytes.
#[inline]
pub(super) fn key() -> Result<Key, Error> {
    let mut key = [0; 4];
    fill(&mut key)?;
    Ok(Key(key))
}

/// Fills `bytes` from the same source.
///
/// # Errors
/// The system has no random bytes.
pub(super) fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    KEYS.with_borrow_mut(|keys| {
        if let Some(random) = &mut keys.seeded {
            random.fill(bytes);
            return Ok(());
        }
        if keys.pool.len() < bytes.len() {
            let mut pool = vec![0; POOL.max(bytes.len())];
            getrandom::fill(&mut pool).map_err(|_| Error::NoRandom)?;
            keys.pool = pool;
        }
        let rest = keys.pool.len() - bytes.len();
        bytes.copy_from_slice(&keys.pool[rest..]);
        // Not to be found in memory later.
        keys.pool[rest..].fill(0);
        keys.pool.truncate(rest);
        Ok(())
    })
}

/// Lets this thread mask with keys that a seed decides, for tests that compare bytes; `None`: with real ones again.
///
/// Keys that can be foreseen break what masking is for (RFC 6455 section 10.3): for tests only.
#[cfg(any(test, feature = "testing"))]
pub fn seed_masking_keys(seed: Option<u64>) {
    KEYS.with_borrow_mut(|keys| keys.seeded = seed.map(Random::new));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6455 section 5.3.
    fn plainly(bytes: &[u8], key: [u8; 4]) -> Vec<u8> {
        bytes.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect()
    }

    #[test]
    fn masks_as_the_definition_does() {
        let mut random = Random::new(1);
        for length in (0..100).chain([255, 256, 257, 1023, 4096, 70_000]) {
            let mut key = [0; 4];
            let mut bytes = vec![0; length];
            random.fill(&mut key);
            random.fill(&mut bytes);
            let expected = plainly(&bytes, key);
            // At every alignment.
            for shift in 0..8 {
                let mut shifted = vec![0; shift];
                shifted.extend_from_slice(&bytes);
                assert_eq!(Key(key).apply(&mut shifted[shift..]), expected.is_ascii());
                assert_eq!(shifted[shift..], expected);
            }
            let mut out = BytesMut::from(&b"before"[..]);
            append(&mut out, &bytes, Key(key));
            assert_eq!(out[6..], expected);
            for cut in 0..length.min(20) {
                let (mut first, mut second) = (bytes[..cut].to_vec(), bytes[cut..].to_vec());
                Key(key).apply(&mut first);
                Key(key).after(cut).apply(&mut second);
                assert_eq!([first, second].concat(), expected);
            }
        }
    }

    #[test]
    fn tells_whether_it_is_ascii_wherever_it_is_not() {
        for length in 1..40 {
            let key = Key([0x81, 0x42, 0xff, 0x00]);
            let mut bytes = vec![b'a'; length];
            key.apply(&mut bytes);
            assert!(key.apply(&mut bytes.clone()));
            for bad in 0..length {
                let mut bytes = bytes.clone();
                bytes[bad] ^= 0x80;
                assert!(!key.apply(&mut bytes));
            }
        }
    }

    #[test]
    fn no_key_comes_twice() {
        // Of 1,000 keys of 32 bits two are the same once in 8,600 times; five times in a row they are not.
        let distinct = (0..5).any(|_| {
            let mut keys: Vec<_> = (0..1000).map(|_| key().unwrap().0).collect();
            keys.sort_unstable();
            keys.dedup();
            keys.len() == 1000
        });
        assert!(distinct);
        let mut long = [0; 4000];
        fill(&mut long).unwrap();
        assert!(long.iter().any(|byte| *byte != 0));
    }

    #[test]
    fn keys_can_be_foreseen_in_tests_that_ask_for_it() {
        let draw = |seed| {
            seed_masking_keys(seed);
            let key = key().unwrap();
            seed_masking_keys(None);
            key
        };
        assert_eq!(draw(Some(1)), draw(Some(1)));
        assert_ne!(draw(Some(1)), draw(Some(2)));
    }
}
