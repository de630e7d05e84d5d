//! The calendar of connection deadlines: very many, coarse, and mostly moved before they pass.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::{Duration, Instant};

/// The granularity: deadlines are rounded up to the next multiple, never down.
const TICK: Duration = Duration::from_millis(4);

/// A heap that shrank to a quarter of its memory gives half of it back, but not below this many entries.
const KEEP: usize = 64;

struct Hint<K> {
    tick: i64,
    key: K,
}

impl<K> Ord for Hint<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        // Reversed: the standard heap keeps its greatest element in front.
        other.tick.cmp(&self.tick)
    }
}

impl<K> PartialOrd for Hint<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> PartialEq for Hint<K> {
    fn eq(&self, other: &Self) -> bool {
        self.tick == other.tick
    }
}

impl<K> Eq for Hint<K> {}

/// When to look at which connection again: a calendar of hints with a granularity of 4 ms.
///
/// An entry is a *hint*: it cannot be cancelled. The owner keeps the true deadline beside the connection; when a hint
/// comes due it looks there and, if the deadline has moved, schedules anew. So a connection needs one entry however
/// often its idle time starts again, and touching it costs nothing here.
///
/// A hint never comes early and at most one granule late. What is scheduled for a time that [`pop_due`](Self::pop_due)
/// has already passed comes with the next granule, so a loop that re-schedules while it pops ends.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// use workerman_event::Deadlines;
///
/// let start = Instant::now();
/// let mut deadlines = Deadlines::new();
/// deadlines.schedule(start + Duration::from_secs(55), 7);
/// let next = deadlines.next().unwrap();
/// assert!(next >= start + Duration::from_secs(55));
/// assert_eq!(deadlines.pop_due(start), None);
/// assert_eq!(deadlines.pop_due(next), Some(7));
/// assert!(deadlines.is_empty());
/// ```
pub struct Deadlines<K> {
    /// What ticks are counted from: the first instant this calendar saw.
    base: Option<Instant>,
    heap: BinaryHeap<Hint<K>>,
    /// The last tick that was popped; nothing is scheduled at or before it.
    passed: i64,
}

impl<K: Copy> Deadlines<K> {
    /// An empty calendar.
    pub const fn new() -> Self {
        Self { base: None, heap: BinaryHeap::new(), passed: i64::MIN }
    }

    /// Schedules a look at `key` for `at`, rounded up to the granularity.
    pub fn schedule(&mut self, at: Instant, key: K) {
        let base = *self.base.get_or_insert(at);
        let tick = tick_at_or_after(base, at).max(self.passed.saturating_add(1));
        self.heap.push(Hint { tick, key });
    }

    /// When the first hint comes due.
    pub fn next(&self) -> Option<Instant> {
        let first = self.heap.peek()?;
        Some(instant_of(self.base?, first.tick))
    }

    /// Takes a hint that is due at `now`, in order of time; call it until it is `None`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let base = self.base?;
        self.passed = self.passed.max(tick_at_or_before(base, now));
        if self.heap.peek()?.tick > self.passed {
            return None;
        }
        let hint = self.heap.pop()?;
        if self.heap.capacity() > KEEP && self.heap.len() < self.heap.capacity() / 4 {
            self.heap.shrink_to((self.heap.capacity() / 2).max(KEEP));
        }
        Some(hint.key)
    }

    /// The number of hints.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is no hint.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<K: Copy> Default for Deadlines<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> fmt::Debug for Deadlines<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadlines").field("len", &self.heap.len()).finish_non_exhaustive()
    }
}

/// Whole ticks in a span, and whether something is left over.
fn ticks(span: Duration) -> (i64, bool) {
    let (span, tick) = (span.as_nanos(), TICK.as_nanos());
    (i64::try_from(span / tick).unwrap_or(i64::MAX - 1), span % tick != 0)
}

fn tick_at_or_after(base: Instant, at: Instant) -> i64 {
    match at.checked_duration_since(base) {
        Some(span) => {
            let (whole, rest) = ticks(span);
            whole + i64::from(rest)
        }
        None => -ticks(base - at).0,
    }
}

fn tick_at_or_before(base: Instant, at: Instant) -> i64 {
    match at.checked_duration_since(base) {
        Some(span) => ticks(span).0,
        None => {
            let (whole, rest) = ticks(base - at);
            -whole - i64::from(rest)
        }
    }
}

fn instant_of(base: Instant, tick: i64) -> Instant {
    let span = Duration::from_millis(tick.unsigned_abs().saturating_mul(TICK.as_millis() as u64));
    let moved = if tick < 0 { base.checked_sub(span) } else { base.checked_add(span) };
    // Out of the clock's range only for a deadline some hundred million years away.
    moved.unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn never_early_and_at_most_a_granule_late() {
        let start = Instant::now();
        for offset in (0..40_000u64).step_by(317) {
            let at = start + Duration::from_micros(offset);
            let mut deadlines = Deadlines::new();
            deadlines.schedule(start, 0);
            assert_eq!(deadlines.pop_due(start), Some(0));
            deadlines.schedule(at, 1);
            let next = deadlines.next().unwrap();
            assert!(next >= at && next <= at + TICK, "{offset} µs");
            assert_eq!(deadlines.pop_due(next - Duration::from_nanos(1)), None);
            assert_eq!(deadlines.pop_due(next), Some(1));
        }
    }

    #[test]
    fn comes_in_order_of_time_also_before_the_base() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new();
        for (milliseconds, key) in [(500, 5), (100, 1), (900, 9), (300, 3)] {
            deadlines.schedule(start + MILLISECOND * milliseconds, key);
        }
        assert_eq!(deadlines.pop_due(start + MILLISECOND * 50), None);
        let now = start + MILLISECOND * 600;
        let due: Vec<i32> = std::iter::from_fn(|| deadlines.pop_due(now)).collect();
        assert_eq!(due, [1, 3, 5]);
        assert_eq!(deadlines.len(), 1);
    }

    #[test]
    fn scheduling_the_past_while_popping_ends() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new();
        deadlines.schedule(start, 1);
        let now = start + MILLISECOND * 100;
        assert_eq!(deadlines.pop_due(now), Some(1));
        deadlines.schedule(start, 1);
        assert_eq!(deadlines.pop_due(now), None);
        let next = deadlines.next().unwrap();
        assert!(next > now && next <= now + TICK);
        assert_eq!(deadlines.pop_due(next), Some(1));
    }

    #[test]
    fn a_clock_that_is_behind_pops_nothing_and_loses_nothing() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new();
        deadlines.schedule(start + MILLISECOND * 100, 1);
        deadlines.schedule(start + MILLISECOND * 8, 2);
        assert_eq!(deadlines.pop_due(start), None);
        assert_eq!(deadlines.pop_due(start + MILLISECOND * 8), Some(2));
        assert_eq!(deadlines.pop_due(start), None);
        assert_eq!(deadlines.pop_due(start + MILLISECOND * 104), Some(1));
    }

    #[test]
    fn memory_of_passed_hints_is_given_back() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new();
        for key in 0..20_000u32 {
            deadlines.schedule(start + MILLISECOND * (key % 1000), key);
        }
        let mut seen = vec![false; 20_000];
        while let Some(key) = deadlines.pop_due(start + MILLISECOND * 1004) {
            assert!(!std::mem::replace(&mut seen[key as usize], true));
        }
        assert!(seen.into_iter().all(|seen| seen));
        assert!(deadlines.heap.capacity() <= KEEP * 4, "{}", deadlines.heap.capacity());
    }
}
