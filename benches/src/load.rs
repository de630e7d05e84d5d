//! The load generator: keeps messages in flight on many connections from one thread, and checks every echoed byte.
//!
//! With `outstanding` n a connection sends n messages in one write, waits for all n answers, and starts again.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use crate::traffic::{self, Peer, Tally, Timing, Watch};
use crate::wire::Wire;

/// Of answers, when connections are opened one by one.
const BUFFER: usize = 64 * 1024;
/// Most bytes that may be in flight, over all connections.
const MAX_IN_FLIGHT: usize = 256 << 20;

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
    /// When and what is measured.
    pub timing: Timing,
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
    let watch = Watch::new()?;
    let mut peers = Vec::with_capacity(plan.connections);
    for index in 0..plan.connections {
        let peer = Echoed::connect(plan, index)?;
        peer.stream.set_nonblocking(true)?;
        watch.add(&peer.stream, index)?;
        peers.push(peer);
    }
    traffic::run(&watch, &mut peers, plan.timing)
}

/// Opens `plan.connections` connections and exchanges one message on each; they stay open until dropped.
///
/// # Errors
/// As for [`run`].
pub fn idle(plan: &Plan) -> io::Result<Vec<TcpStream>> {
    let mut buffer = vec![0; BUFFER];
    let mut streams = Vec::with_capacity(plan.connections);
    for index in 0..plan.connections {
        let mut peer = Echoed::connect(plan, index)?;
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

struct Echoed {
    stream: TcpStream,
    /// The messages that are sent together; the answer must be the same bytes.
    batch: Vec<u8>,
    messages: u64,
    sent: usize,
    received: usize,
}

impl Peer for Echoed {
    fn ready(&mut self, _: &Watch, _: bool, buffer: &mut [u8]) -> io::Result<u64> {
        self.send()?;
        if self.receive(buffer)? == Progress::Waits {
            return Ok(0);
        }
        (self.sent, self.received) = (0, 0);
        self.send()?;
        Ok(self.messages)
    }
}

impl Echoed {
    fn connect(plan: &Plan, index: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(plan.address)?;
        stream.set_nodelay(true)?;
        // Ends by reset: thousands of closed connections would else hold their ports for a minute.
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        let mut batch = Vec::new();
        for message in 0..plan.outstanding {
            plan.wire.put_message(&mut batch, plan.size, index * plan.outstanding + message);
        }
        Ok(Self { stream, batch, messages: plan.outstanding as u64, sent: 0, received: 0 })
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

    fn plan(address: SocketAddr) -> Plan {
        Plan {
            wire: Wire::Text,
            address,
            connections: 1,
            outstanding: 3,
            size: 10,
            timing: Timing { warm_up: Duration::ZERO, duration: Duration::from_millis(1), server: None },
        }
    }

    #[test]
    fn every_echoed_message_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || crate::floor::serve(&listener, crate::floor::Echo));
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
