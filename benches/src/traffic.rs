//! Traffic from one thread over many connections, and what was done in the measured time.

use std::fmt;
use std::io;
use std::ops::AddAssign;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use crate::meter;

const BUFFER: usize = 256 * 1024;
const EVENTS: usize = 256;
/// A server that answers nobody for so long has failed.
const STALL: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// When and what is measured.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Traffic before the measured time.
    pub warm_up: Duration,
    /// The measured time.
    pub duration: Duration,
    /// The server's process, if its processor time is to be measured over the same time.
    pub server: Option<u32>,
}

/// What was done in the measured time.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Tally {
    /// Messages answered.
    pub messages: u64,
    /// The measured time.
    pub elapsed: Duration,
    /// Processor time that the server used; zero if it was not asked for.
    pub cpu: Duration,
}

impl Tally {
    /// Messages answered per second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }

    /// Processor time of the server per message, in microseconds.
    pub fn cpu_per_message(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.messages as f64
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.elapsed += other.elapsed;
        self.cpu += other.cpu;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "messages {} ns {} cpu_ns {}", self.messages, self.elapsed.as_nanos(), self.cpu.as_nanos())
    }
}

impl FromStr for Tally {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["messages", messages, "ns", elapsed, "cpu_ns", cpu] = words[..] else {
            return Err(format!("not a tally: {line}"));
        };
        let number = |word: &str| word.parse::<u64>().map_err(|error| format!("{word}: {error}"));
        Ok(Self {
            messages: number(messages)?,
            elapsed: Duration::from_nanos(number(elapsed)?),
            cpu: Duration::from_nanos(number(cpu)?),
        })
    }
}

/// The client's end of a connection, or of one connection after the other.
pub trait Peer {
    /// Sends and receives what it can, returns the number of messages answered; `ended`: the server sends no more than
    /// what has arrived.
    ///
    /// # Errors
    /// The connection fails, or the answer is wrong.
    fn ready(&mut self, watch: &Watch, ended: bool, buffer: &mut [u8]) -> io::Result<u64>;
}

/// Says when connections are ready.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Watches nothing.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Watches `socket` for the peer at `index`, until it is closed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add(&self, socket: impl AsFd, index: usize) -> io::Result<()> {
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.0, socket, EventData::new_u64(index as u64), interest)?)
    }
}

/// Drives `peers`, which are watched already, and measures.
///
/// # Errors
/// A peer fails, or nobody is answered for five seconds.
pub fn run(watch: &Watch, peers: &mut [impl Peer], timing: Timing) -> io::Result<Tally> {
    let mut buffer = vec![0; BUFFER];
    let mut messages = 0;
    let mut measured = None;
    let mut until = Instant::now() + timing.warm_up;
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&watch.0, spare_capacity(&mut events), Some(&STALL)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the server answers nobody")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for &epoll::Event { flags, data } in &events {
            let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            messages += peers[data.u64() as usize].ready(watch, ended, &mut buffer)?;
        }
        // A measured time without a message would say nothing.
        if Instant::now() < until || (measured.is_some() && messages == 0) {
            continue;
        }
        let cpu = timing.server.map_or(Ok(Duration::ZERO), meter::cpu_time)?;
        let now = Instant::now();
        match measured {
            None => {
                measured = Some((now, cpu));
                messages = 0;
                until = now + timing.duration;
            }
            Some((began, cpu_before)) => {
                return Ok(Tally { messages, elapsed: now - began, cpu: cpu.saturating_sub(cpu_before) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_survives_its_line() {
        let tally = Tally {
            messages: 12,
            elapsed: Duration::from_nanos(1_000_000_007),
            cpu: Duration::from_micros(30),
        };
        assert_eq!(tally.to_string().parse(), Ok(tally));
        assert_eq!(tally.cpu_per_message(), 2.5);
        assert!("messages 1 ns".parse::<Tally>().is_err());
    }
}
