//! How fast a body has to arrive (compare `mod_reqtimeout` of Apache, and `MinRequestBodyDataRate` of Kestrel).

use std::time::{Duration, Instant};

/// The least that is asked of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Per second.
    pub(super) bytes: u32,
    /// Before it counts.
    pub(super) grace: Duration,
}

/// How a body has arrived so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    got: u64,
    /// Bytes that were there when it was looked at last.
    held: usize,
    /// Time in which it was the client's turn.
    waited: Duration,
    /// Since when it is.
    since: Option<Instant>,
}

impl Pace {
    /// So many bytes are there now; `false` if they were waited for too long.
    pub(super) fn arrived(&mut self, held: usize, now: Instant, rate: Rate) -> bool {
        self.got += held.saturating_sub(self.held) as u64;
        self.held = held;
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        let earned = Duration::from_millis(self.got.saturating_mul(1000) / u64::from(rate.bytes.max(1)));
        self.waited <= rate.grace.saturating_add(earned)
    }

    /// So many bytes are left; from now on it is the client's turn, or not.
    pub(super) fn waits(&mut self, held: usize, since: Option<Instant>) {
        self.held = held;
        self.since = since;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { bytes: 100, grace: Duration::from_secs(10) };

    #[test]
    fn bytes_earn_time_and_only_the_clients_time_counts() {
        let second = Duration::from_secs(1);
        let (mut now, mut pace) = (Instant::now(), Pace::default());
        assert!(pace.arrived(500, now, RATE));
        pace.waits(0, Some(now));
        now += 15 * second;
        assert!(pace.arrived(0, now, RATE), "10 s, and 5 s for 500 bytes");
        // Nobody reads it: that is not the client's fault.
        pace.waits(0, None);
        now += 1000 * second;
        assert!(pace.arrived(0, now, RATE));
        pace.waits(0, Some(now));
        now += 3 * second;
        assert!(pace.arrived(300, now, RATE), "just in time");
        // What was there already is not counted twice.
        pace.waits(300, Some(now));
        now += second;
        assert!(!pace.arrived(301, now, RATE));
    }
}
