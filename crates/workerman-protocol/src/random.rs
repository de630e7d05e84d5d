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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_yields_the_same_numbers() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            let mut bytes = [0; 8];
            random.fill(&mut bytes);
            (random.next_u64(), random.next_u32(), random.below(1000), bytes)
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn below_stays_below() {
        let mut random = Random::new(1);
        assert_eq!((random.below(0), random.below(1)), (0, 0));
        assert!((0..1000).all(|_| random.below(3) < 3));
    }
}
