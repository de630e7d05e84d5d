//! The load generator: keeps messages in flight on many connections from one thread, and checks every echoed byte.
//!
//! With `outstanding` n a connection sends n messages in one write, waits for all n answers, and starts again.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::AddAssign;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use crate::meter;
use crate::wire::Wire;

const BUFFER: usize = 256 * 1024;
const EVENTS: usize = 256;
/// Most bytes that may be in flight, over all connections.
const MAX_IN_FLIGHT: usize = 256 << 20;
/// A server that answers nobody for so long has failed.
const STALL: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// What to send, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The form of the messages.
    pub wire: Wire,
    /// The server.
    pub address: SocketAddr,
    /// Number of connections.
    pub connections: usize,
    /// Messages in flight on each.
    pub outstanding: usize,
    /// Payload of a message, in bytes.
    pub size: usize,
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

/// Sends the load and measures.
///
/// # Errors
/// The server cannot be reached, ends a connection, answers something else than an echo, or answers nobody for five
/// seconds.
pub fn run(plan: &Plan) -> io::Result<Tally> {
    let in_flight = plan.size.saturating_mul(plan.outstanding).saturating_mul(plan.connections);
    if in_flight == 0 || in_flight > MAX_IN_FLIGHT {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "from 1 B to 256 MiB may be in flight"));
    }
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut peers = Vec::with_capacity(plan.connections);
    for index in 0..plan.connections {
        let peer = Peer::connect(plan, index)?;
        peer.stream.set_nonblocking(true)?;
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&poll, &peer.stream, EventData::new_u64(index as u64), interest)?;
        peers.push(peer);
    }
    let mut buffer = vec![0; BUFFER];
    let mut batches = 0;
    let mut measured = None;
    let mut until = Instant::now() + plan.warm_up;
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), Some(&STALL)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the server answers nobody")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for &epoll::Event { data, .. } in &events {
            batches += peers[data.u64() as usize].ready(&mut buffer)?;
        }
        if Instant::now() < until {
            continue;
        }
        let cpu = plan.server.map_or(Ok(Duration::ZERO), meter::cpu_time)?;
        let now = Instant::now();
        match measured {
            None => {
                measured = Some((now, cpu));
                batches = 0;
                until = now + plan.duration;
            }
            Some((began, cpu_before)) => {
                return Ok(Tally {
                    messages: batches * plan.outstanding as u64,
                    elapsed: now - began,
                    cpu: cpu.saturating_sub(cpu_before),
                });
            }
        }
    }
}

/// Opens `plan.connections` connections and exchanges one message on each; they stay open until dropped.
///
/// # Errors
/// As for [`run`].
pub fn idle(plan: &Plan) -> io::Result<Vec<TcpStream>> {
    let mut buffer = vec![0; BUFFER];
    let mut streams = Vec::with_capacity(plan.connections);
    for index in 0..plan.connections {
        let mut peer = Peer::connect(plan, index)?;
        peer.stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        peer.send()?;
        while peer.receive(&mut buffer)? == Progress::Waits {}
        streams.push(peer.stream);
    }
    Ok(streams)
}

#[derive(PartialEq)]
enum Progress {
    /// Nothing more can be read now.
    Waits,
    /// All answers are here.
    Answered,
}

struct Peer {
    stream: TcpStream,
    /// The messages that are sent together; the answer must be the same bytes.
    batch: Vec<u8>,
    sent: usize,
    received: usize,
}

impl Peer {
    fn connect(plan: &Plan, index: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(plan.address)?;
        stream.set_nodelay(true)?;
        // Ends by reset: thousands of closed connections would else hold their ports for a minute.
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        let mut batch = Vec::new();
        for message in 0..plan.outstanding {
            plan.wire.put_message(&mut batch, plan.size, index * plan.outstanding + message);
        }
        Ok(Self { stream, batch, sent: 0, received: 0 })
    }

    /// Sends and receives what it can, returns the number of batches completed (0 or 1, as a rule).
    fn ready(&mut self, buffer: &mut [u8]) -> io::Result<u64> {
        self.send()?;
        if self.receive(buffer)? == Progress::Waits {
            return Ok(0);
        }
        (self.sent, self.received) = (0, 0);
        self.send()?;
        Ok(1)
    }

    fn send(&mut self) -> io::Result<()> {
        while self.sent < self.batch.len() {
            match send(&self.stream, &self.batch[self.sent..], SendFlags::NOSIGNAL) {
                Ok(sent) => self.sent += sent,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Progress> {
        loop {
            let received = match recv(&self.stream, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((received, _)) => received,
                Err(Errno::AGAIN) => return Ok(Progress::Waits),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let end = self.received + received;
            if end > self.sent || buffer[..received] != self.batch[self.received..end] {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not an echo"));
            }
            self.received = end;
            if end == self.batch.len() {
                return Ok(Progress::Answered);
            }
            if received < buffer.len() {
                return Ok(Progress::Waits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

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

    fn plan(address: SocketAddr) -> Plan {
        Plan {
            wire: Wire::Text,
            address,
            connections: 1,
            outstanding: 3,
            size: 10,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(1),
            server: None,
        }
    }

    #[test]
    fn every_echoed_message_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || crate::floor::serve(&listener));
        let tally = run(&plan(address)).unwrap();
        assert_eq!(tally.messages % 3, 0);
        assert!(tally.messages > 0, "a batch ends the measured time at the earliest");
        assert_eq!(idle(&plan(address)).unwrap().len(), 1);
        assert!(!server.is_finished());
    }

    #[test]
    fn a_wrong_answer_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 33];
            stream.read_exact(&mut buffer).unwrap();
            buffer[20] ^= 1;
            stream.write_all(&buffer).unwrap();
            stream
        });
        assert_eq!(run(&plan(address)).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(server.join());
    }
}
