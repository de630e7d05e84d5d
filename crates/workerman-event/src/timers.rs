//! One-shot and repeating timers as a pure data structure: no clock, no waiting, no user code called.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// The name of a timer; counts from 1 and is never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TimerId(u64);

impl TimerId {
    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What [`Timers::remove`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Removed<T> {
    /// No such timer: it never was, it has fired for the last time, or it was cancelled before.
    Unknown,
    /// The timer was live, but its value is out because it is running; [`Timers::rearm`] will give it back.
    Running,
    /// The timer was waiting; this is its value.
    Waiting(T),
}

/// What a live timer is: a value is absent while a repeating timer runs.
struct Entry<T> {
    at: Instant,
    every: Option<Duration>,
    value: Option<T>,
}

type Queue = BTreeMap<(Instant, TimerId), ()>;

/// A set of timers that hold values of type `T`; inserting, cancelling and firing cost O(log n).
///
/// A loop asks [`next`](Self::next) how long it may sleep and then makes a *pass*: [`begin_pass`](Self::begin_pass),
/// then [`pop_due`](Self::pop_due) until it is `None`, running each value and giving it back by
/// [`rearm`](Self::rearm). A pass hands out only timers that were due when it began, in order of due time and, among
/// equals, of insertion; a timer that arms itself anew for "now" waits for the next pass and can starve nobody.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// use workerman_event::Timers;
///
/// let start = Instant::now();
/// let second = Duration::from_secs(1);
/// let mut timers = Timers::new();
/// timers.insert(start + second, Some(second), "tick");
/// assert_eq!(timers.next(), Some(start + second));
///
/// let now = start + second * 7 / 2; // the loop was busy for 3.5 seconds
/// timers.begin_pass(now);
/// while let Some((id, value)) = timers.pop_due() {
///     assert_eq!(value, "tick");
///     assert_eq!(timers.rearm(id, value, now), None);
/// }
/// assert_eq!(timers.next(), Some(start + second * 4)); // no burst, no drift
/// ```
pub struct Timers<T> {
    entries: BTreeMap<TimerId, Entry<T>>,
    /// Waiting timers; while a pass runs, its due front holds only what existed when the pass began.
    queue: Queue,
    /// Timers armed during a pass for a time that the pass already covers: they belong to the next one.
    later: Queue,
    /// The time of the running pass.
    pass: Option<Instant>,
    last: u64,
}

impl<T> Timers<T> {
    /// No timers.
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new(), queue: BTreeMap::new(), later: BTreeMap::new(), pass: None, last: 0 }
    }

    /// Adds a timer that is due at `at` and, if `every` is given, again after each such interval.
    ///
    /// An interval of zero means once in every pass.
    pub fn insert(&mut self, at: Instant, every: Option<Duration>, value: T) -> TimerId {
        self.last += 1;
        let id = TimerId(self.last);
        self.entries.insert(id, Entry { at, every, value: Some(value) });
        self.enqueue(at, id);
        id
    }

    /// Cancels a timer and drops its value; true only if it was live.
    ///
    /// A repeating timer that is running is live: it is cancelled, and [`rearm`](Self::rearm) returns its value. A
    /// one-shot timer that was handed out is not. Use [`remove`](Self::remove) where dropping the value may call back.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        !matches!(self.remove(id), Removed::Unknown)
    }

    /// Cancels a timer and returns its value, so that it is dropped outside of this structure.
    pub fn remove(&mut self, id: TimerId) -> Removed<T> {
        let Some(entry) = self.entries.remove(&id) else { return Removed::Unknown };
        let Some(value) = entry.value else { return Removed::Running };
        let key = (entry.at, id);
        if self.queue.remove(&key).is_none() {
            self.later.remove(&key);
        }
        Removed::Waiting(value)
    }

    /// Cancels all timers, running ones too, and returns the values of the waiting ones in order of insertion.
    pub fn cancel_all(&mut self) -> Vec<T> {
        self.queue.clear();
        self.later.clear();
        std::mem::take(&mut self.entries).into_values().filter_map(|entry| entry.value).collect()
    }

    /// The number of live timers, repeating ones that are running included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no timer is live.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a timer is live.
    pub fn contains(&self, id: TimerId) -> bool {
        self.entries.contains_key(&id)
    }

    /// When the first waiting timer is due.
    pub fn next(&self) -> Option<Instant> {
        let first = |queue: &Queue| queue.first_key_value().map(|((at, _), ())| *at);
        match (first(&self.queue), first(&self.later)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Begins a pass over the timers that are due at `now`; ends an unfinished one.
    pub fn begin_pass(&mut self, now: Instant) {
        self.end_pass();
        self.pass = Some(now);
    }

    /// The next due timer of the pass; `None` ends the pass.
    ///
    /// A one-shot timer is gone with this; a repeating one stays live and waits for [`rearm`](Self::rearm).
    pub fn pop_due(&mut self) -> Option<(TimerId, T)> {
        let now = self.pass?;
        let due = self.queue.first_entry().filter(|first| first.key().0 <= now);
        let Some(due) = due else {
            self.end_pass();
            return None;
        };
        let ((_, id), ()) = due.remove_entry();
        let entry = self.entries.get_mut(&id)?;
        let value = entry.value.take()?;
        if entry.every.is_none() {
            self.entries.remove(&id);
        }
        Some((id, value))
    }

    /// Gives the value of a timer back after it ran.
    ///
    /// A repeating timer is due again at its previous due time plus the interval; intervals that have passed by `now`
    /// are skipped. The value comes back if nothing is to be armed: a one-shot timer, or one cancelled meanwhile.
    #[must_use = "the value is to be dropped by the caller"]
    pub fn rearm(&mut self, id: TimerId, value: T, now: Instant) -> Option<T> {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.value.is_none()) else {
            return Some(value);
        };
        let Some(every) = entry.every else { return Some(value) };
        entry.at = following(entry.at, every, now);
        entry.value = Some(value);
        let at = entry.at;
        self.enqueue(at, id);
        None
    }

    fn enqueue(&mut self, at: Instant, id: TimerId) {
        let covered = self.pass.is_some_and(|now| at <= now);
        let queue = if covered { &mut self.later } else { &mut self.queue };
        queue.insert((at, id), ());
    }

    fn end_pass(&mut self) {
        self.pass = None;
        while let Some((key, ())) = self.later.pop_first() {
            self.queue.insert(key, ());
        }
    }
}

/// The first of `previous + n * every` (n ≥ 1) that is after `now`; with an interval of zero, `now` itself.
fn following(previous: Instant, every: Duration, now: Instant) -> Instant {
    /// Stands for an interval that the clock cannot express.
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    if every.is_zero() {
        return now.max(previous);
    }
    let overdue = now.saturating_duration_since(previous);
    if overdue < every {
        return previous.checked_add(every).unwrap_or(now + NEVER);
    }
    let into_interval = overdue.as_nanos() % every.as_nanos();
    // The remainder is below `overdue`, so that its seconds fit.
    let into_interval =
        Duration::new((into_interval / 1_000_000_000) as u64, (into_interval % 1_000_000_000) as u32);
    now.checked_add(every - into_interval).unwrap_or(now + NEVER)
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Timers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").field("len", &self.len()).field("next", &self.next()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn drain(timers: &mut Timers<&'static str>, now: Instant) -> Vec<&'static str> {
        let mut fired = Vec::new();
        timers.begin_pass(now);
        while let Some((id, value)) = timers.pop_due() {
            fired.push(value);
            let _ = timers.rearm(id, value, now);
        }
        fired
    }

    #[test]
    fn fires_by_due_time_then_insertion() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.insert(start + SECOND * 2, None, "c");
        timers.insert(start + SECOND, None, "a");
        timers.insert(start + SECOND, None, "b");
        timers.insert(start + SECOND * 3, None, "d");
        assert_eq!(timers.next(), Some(start + SECOND));
        assert_eq!(drain(&mut timers, start), [""; 0]);
        assert_eq!(drain(&mut timers, start + SECOND * 2), ["a", "b", "c"]);
        assert_eq!((timers.len(), timers.next()), (1, Some(start + SECOND * 3)));
    }

    #[test]
    fn numbers_count_from_one_and_are_not_reused() {
        let mut timers = Timers::new();
        let first = timers.insert(Instant::now(), None, ());
        assert!(timers.cancel(first));
        assert!(!timers.cancel(first));
        let second = timers.insert(Instant::now(), None, ());
        assert_eq!((first.number(), second.number()), (1, 2));
        assert_eq!(second.to_string(), "2");
    }

    #[test]
    fn a_repeating_timer_neither_drifts_nor_bursts() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.insert(start + SECOND, Some(SECOND), "tick");
        assert_eq!(drain(&mut timers, start + SECOND + SECOND / 4), ["tick"]);
        assert_eq!(timers.next(), Some(start + SECOND * 2));
        assert_eq!(drain(&mut timers, start + SECOND * 9 + SECOND / 2), ["tick"]);
        assert_eq!(timers.next(), Some(start + SECOND * 10));
        // Exactly on a later tick: that one is the firing, the next is one interval on.
        assert_eq!(drain(&mut timers, start + SECOND * 12), ["tick"]);
        assert_eq!(timers.next(), Some(start + SECOND * 13));
    }

    #[test]
    fn an_interval_of_zero_fires_once_a_pass_and_starves_nobody() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.insert(start, Some(Duration::ZERO), "spin");
        timers.insert(start, None, "other");
        assert_eq!(drain(&mut timers, start), ["spin", "other"]);
        assert_eq!(timers.next(), Some(start));
        assert_eq!(drain(&mut timers, start), ["spin"]);
        assert_eq!(drain(&mut timers, start + SECOND), ["spin"]);
        assert_eq!(timers.len(), 1);
    }

    #[test]
    fn a_timer_inserted_in_a_pass_waits_for_the_next() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.insert(start, None, "first");
        timers.begin_pass(start);
        let mut fired = 0;
        while let Some((_, _)) = timers.pop_due() {
            fired += 1;
            timers.insert(start - SECOND, None, "again");
            assert_eq!(timers.next(), Some(start - SECOND));
        }
        assert_eq!(fired, 1);
        assert_eq!(drain(&mut timers, start), ["again"]);
    }

    #[test]
    fn cancelling_in_a_pass() {
        let start = Instant::now();
        let mut timers = Timers::new();
        let repeating = timers.insert(start, Some(SECOND), "repeating");
        let victim = timers.insert(start, None, "victim");
        timers.begin_pass(start);
        assert_eq!(timers.pop_due(), Some((repeating, "repeating")));
        assert_eq!(timers.remove(victim), Removed::Waiting("victim"));
        assert_eq!(timers.remove(repeating), Removed::Running);
        assert!(!timers.cancel(repeating));
        assert_eq!(timers.pop_due(), None);
        assert_eq!(timers.rearm(repeating, "repeating", start), Some("repeating"));
        assert!(timers.is_empty());
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_one_shot_timer_is_not_live_while_it_runs() {
        let start = Instant::now();
        let mut timers = Timers::new();
        let id = timers.insert(start, None, "once");
        timers.begin_pass(start);
        assert_eq!(timers.pop_due(), Some((id, "once")));
        assert!(!timers.contains(id));
        assert!(!timers.cancel(id));
        assert_eq!(timers.rearm(id, "once", start), Some("once"));
    }

    #[test]
    fn a_timer_staged_in_a_pass_can_be_cancelled() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.insert(start, None, "first");
        timers.begin_pass(start);
        timers.pop_due();
        let staged = timers.insert(start, None, "staged");
        assert_eq!(timers.remove(staged), Removed::Waiting("staged"));
        assert_eq!((timers.pop_due(), timers.next()), (None, None));
    }

    #[test]
    fn cancel_all_reaches_running_timers_too() {
        let start = Instant::now();
        let mut timers = Timers::new();
        let running = timers.insert(start, Some(SECOND), "running");
        timers.insert(start + SECOND, None, "b");
        timers.insert(start, None, "a");
        timers.begin_pass(start);
        timers.pop_due();
        assert_eq!(timers.cancel_all(), ["b", "a"]);
        assert_eq!(timers.rearm(running, "running", start), Some("running"));
        assert_eq!((timers.pop_due(), timers.len()), (None, 0));
    }

    #[test]
    fn an_abandoned_pass_loses_nothing() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.insert(start, None, "a");
        timers.insert(start, None, "b");
        timers.begin_pass(start);
        timers.pop_due();
        timers.insert(start, None, "c");
        assert_eq!(drain(&mut timers, start), ["b", "c"]);
    }

    #[test]
    fn an_interval_beyond_the_clock_is_never_due() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.insert(start, Some(Duration::MAX), "forever");
        assert_eq!(drain(&mut timers, start), ["forever"]);
        assert!(timers.next().is_some_and(|at| at > start + SECOND * 1_000_000));
    }
}
