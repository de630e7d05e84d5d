//! What a test chooses about the simulated network: link options and host addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;

/// How the connections from one host to another behave.
///
/// The options are read whenever something is sent, so a change affects connections that are already open. Random
/// choices come from the network's seed.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use workerman_event::sim::LinkOptions;
/// let mobile = LinkOptions {
///     segment: 1..=1400,
///     latency: Duration::from_millis(40)..=Duration::from_millis(300),
///     bytes_per_second: Some(50_000),
///     ..LinkOptions::default()
/// };
/// assert_eq!(mobile.capacity, 64 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LinkOptions {
    /// How many bytes one read delivers at most, drawn anew for each read (default: always 64 KiB).
    ///
    /// Where the latency has a range, also the size of the pieces that travel on their own. A lower end of 0 counts
    /// as 1.
    pub segment: RangeInclusive<usize>,
    /// How many bytes of one direction of a connection may be in flight and unread together (default 64 KiB, at
    /// least 1). A send takes only what fits; the sender is told when a quarter of it is free again.
    pub capacity: usize,
    /// How long bytes travel, drawn anew for each segment (default: no time). Bytes of one connection never
    /// overtake each other; datagrams do. The clock has a granularity of one millisecond, rounded up.
    pub latency: RangeInclusive<Duration>,
    /// How many bytes per second one direction of a connection carries (default `None`: as many as fit). Does not
    /// apply to datagrams.
    pub bytes_per_second: Option<u64>,
    /// After how many bytes a connection breaks, drawn once for each direction when it is made (default `None`:
    /// never). Both ends see a reset; the bytes before it still travel.
    pub reset_after: Option<RangeInclusive<u64>>,
    /// The probability, 0 to 1, that a datagram is lost (default 0). Streams never lose anything.
    pub loss: f64,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            segment: 64 * 1024..=64 * 1024,
            capacity: 64 * 1024,
            latency: Duration::ZERO..=Duration::ZERO,
            bytes_per_second: None,
            reset_after: None,
            loss: 0.0,
        }
    }
}

impl LinkOptions {
    /// One drawn number of bytes, at least 1.
    pub(super) fn draw_segment(&self, rng: &mut Rng) -> usize {
        let low = (*self.segment.start()).max(1);
        let high = (*self.segment.end()).max(low);
        if low == high { low } else { rng.usize(low..=high) }
    }

    /// One drawn travel time.
    pub(super) fn draw_latency(&self, rng: &mut Rng) -> Duration {
        draw_duration(&self.latency, rng)
    }

    /// One drawn number of bytes after which a direction breaks.
    pub(super) fn draw_reset(&self, rng: &mut Rng) -> Option<u64> {
        let range = self.reset_after.as_ref()?;
        let low = *range.start();
        Some(rng.u64(low..=(*range.end()).max(low)))
    }

    /// Whether everything sent at one instant arrives at one instant.
    pub(super) fn arrives_together(&self) -> bool {
        self.bytes_per_second.is_none() && self.latency.start() >= self.latency.end()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity.max(1)
    }

    /// How much must be free before a waiting sender is told.
    pub(super) fn low_water(&self) -> usize {
        (self.capacity() / 4).max(1)
    }
}

/// One drawn duration of a range; an empty range counts as its start.
pub(super) fn draw_duration(range: &RangeInclusive<Duration>, rng: &mut Rng) -> Duration {
    let (low, high) = (*range.start(), *range.end());
    if high <= low {
        return low;
    }
    let nanos = u64::try_from((high - low).as_nanos()).unwrap_or(u64::MAX);
    low + Duration::from_nanos(rng.u64(0..=nanos))
}

/// A host of a simulated network and its two addresses: `10.0.0.n` and `fd00::n`.
///
/// Hosts are numbered in the order in which they were first named, so their addresses are the same in each run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostAddr(pub(super) u32);

impl HostAddr {
    /// Its IPv4 address.
    pub fn ip(self) -> IpAddr {
        let number = (self.0 + 1).to_be_bytes();
        Ipv4Addr::new(10, number[1], number[2], number[3]).into()
    }

    /// Its IPv6 address.
    pub fn ipv6(self) -> IpAddr {
        let number = self.0 + 1;
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, (number >> 16) as u16, (number & 0xffff) as u16).into()
    }

    /// Its IPv4 address with a port.
    pub fn socket(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }
}
