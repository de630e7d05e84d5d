//! The random source that protocols are given.

use std::fmt;

/// A seeded random source: fast, well distributed, replayable; not for keys that must stay secret.
pub struct Random(fastrand::Rng);

impl Random {
    /// A source that yields the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number from the whole range.
    pub fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number from the whole range.
    pub fn next_u32(&mut self) -> u32 {
        self.0.u32(..)
    }

    /// A number below `end`; 0 for `end` 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.u64(..end) }
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}
