//! The HTTP load: requests that differ from each other on many connections from one thread, every answer checked.
//!
//! With n outstanding a connection sends n requests in one write, waits for all n answers, and starts again. Where each
//! request has its own connection, the next one is opened when the last one has ended.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send, socket_with,
    sockopt,
};

use super::answer::Reader;
use super::case::Requests;
use super::{Case, Life};
use crate::traffic::{self, Peer, Tally, Timing, Watch};

/// Of answers, when connections are opened one by one.
const BUFFER: usize = 64 * 1024;
/// Most connections at a time.
const MAX_CONNECTIONS: usize = 100_000;
/// Connections that are opened together where they only have to be there.
const TOGETHER: usize = 64;
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to send, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The requests.
    pub case: Case,
    /// The server.
    pub address: SocketAddr,
    /// Number of connections.
    pub connections: usize,
    /// When and what is measured.
    pub timing: Timing,
}

/// Sends the load and measures.
///
/// # Errors
/// The server cannot be reached, ends a connection that is to stay, answers something wrong, or answers nobody for five
/// seconds.
pub fn run(plan: &Plan) -> io::Result<Tally> {
    let watch = Watch::new()?;
    let mut peers = clients(plan)?;
    for peer in &peers {
        watch.add(&peer.socket, peer.index)?;
    }
    traffic::run(&watch, &mut peers, plan.timing).map_err(|error| {
        if error.kind() == io::ErrorKind::TimedOut && plan.case.life == Life::ServerEnds {
            io::Error::new(io::ErrorKind::TimedOut, "the server answers nobody, or ends no connection")
        } else {
            error
        }
    })
}

/// Opens `plan.connections` connections, some at a time, and exchanges one request on each; they stay open until dropped.
///
/// # Errors
/// As for [`run`].
pub fn idle(plan: &Plan) -> io::Result<Vec<OwnedFd>> {
    let mut buffer = vec![0; BUFFER];
    let mut sockets = Vec::with_capacity(plan.connections);
    while sockets.len() < plan.connections {
        let connections = TOGETHER.min(plan.connections - sockets.len());
        let mut peers = clients(&Plan { connections, ..plan.clone() })?;
        for peer in &mut peers {
            sockopt::set_socket_timeout(&peer.socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
            peer.begin()?;
        }
        for peer in &mut peers {
            while !peer.receive(&mut buffer, RecvFlags::empty(), false)? {}
        }
        sockets.extend(peers.into_iter().map(|peer| peer.socket));
    }
    Ok(sockets)
}

fn clients(plan: &Plan) -> io::Result<Vec<Client>> {
    if plan.connections == 0 || plan.connections > MAX_CONNECTIONS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "from 1 to 100,000 connections may be open"));
    }
    (0..plan.connections).map(|index| Client::connect(plan, index)).collect()
}

struct Client {
    address: SocketAddr,
    life: Life,
    index: usize,
    socket: OwnedFd,
    requests: Requests,
    /// The number of the next request; those of different connections are far apart.
    next: u64,
    /// Bytes of the requests that have left; none before the first round begins.
    sent: Option<usize>,
    answered: usize,
    reader: Reader,
}

impl Peer for Client {
    fn ready(&mut self, watch: &Watch, ended: bool, buffer: &mut [u8]) -> io::Result<u64> {
        if self.sent.is_none() {
            self.begin()?;
        }
        self.send()?;
        if !self.receive(buffer, RecvFlags::DONTWAIT, ended)? {
            return Ok(0);
        }
        if self.life != Life::Kept {
            self.socket = open(self.address, self.index, self.life)?;
            self.begin()?;
            watch.add(&self.socket, self.index)?;
        } else {
            self.begin()?;
        }
        Ok(self.requests.count() as u64)
    }
}

impl Client {
    fn connect(plan: &Plan, index: usize) -> io::Result<Self> {
        Ok(Self {
            address: plan.address,
            life: plan.case.life,
            index,
            socket: open(plan.address, index, plan.case.life)?,
            requests: plan.case.requests(),
            next: index as u64 * 1_000_003,
            sent: None,
            answered: 0,
            reader: Reader::default(),
        })
    }

    /// Sends a round of new requests.
    fn begin(&mut self) -> io::Result<()> {
        self.requests.renew(&mut self.next);
        (self.sent, self.answered) = (Some(0), 0);
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        let Some(sent) = &mut self.sent else { return Ok(()) };
        while *sent < self.requests.bytes().len() {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match send(&self.socket, &self.requests.bytes()[*sent..], flags) {
                Ok(more) => *sent += more,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// True when the round is over: all is answered, and the server has ended the connection if it was to.
    fn receive(&mut self, buffer: &mut [u8], flags: RecvFlags, ended: bool) -> io::Result<bool> {
        loop {
            let received = match recv(&self.socket, &mut *buffer, flags) {
                Ok((0, _)) if self.life == Life::ServerEnds && self.answered == self.requests.count() => {
                    return Ok(true);
                }
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((received, _)) => received,
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut input = &buffer[..received];
            while !input.is_empty() {
                if self.answered == self.requests.count() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer too many"));
                }
                let expected = self.requests.expected(self.answered);
                self.answered += usize::from(self.reader.read(&mut input, expected)?);
            }
            if self.answered == self.requests.count() && self.life != Life::ServerEnds {
                return Ok(true);
            }
            // The end of the stream is read too: no edge follows it.
            if received < buffer.len() && !ended {
                return Ok(false);
            }
        }
    }
}

/// Connects; the socket blocks, unless a call says that it must not.
fn open(address: SocketAddr, index: usize, life: Life) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match (life, address.ip()) {
        // Ends by reset: thousands of closed connections would else hold their ports for a minute.
        (Life::Kept, _) => sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?,
        // Who ends a connection holds its port for a minute: spread them over addresses of the loopback network.
        (Life::ClientEnds, IpAddr::V4(ip)) if ip.is_loopback() => {
            let source = Ipv4Addr::new(127, 0, 1 + (index / 200 % 200) as u8, 1 + (index % 200) as u8);
            bind(&socket, &SocketAddr::from((source, 0)))?;
        }
        _ => {}
    }
    sockopt::set_tcp_nodelay(&socket, true)?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;
    use crate::floor;
    use crate::http::floor::{Bodies, Fixed};

    fn plan(case: Case, address: SocketAddr) -> Plan {
        let timing = Timing { warm_up: Duration::ZERO, duration: Duration::from_millis(1), server: None };
        Plan { case, address, connections: 3, timing }
    }

    #[test]
    fn every_case_is_answered_by_the_floor() {
        for case in Case::ALL {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                if case.echoes() {
                    floor::serve(&listener, Bodies::new(&case))
                } else {
                    floor::serve(&listener, Fixed::new(&case))
                }
            });
            let tally = run(&plan(case, address)).unwrap();
            assert!(tally.messages > 0, "the measured time goes on until something is answered");
            assert_eq!(tally.messages % case.outstanding as u64, 0);
            if case.life == Life::Kept {
                assert_eq!(idle(&plan(case, address)).unwrap().len(), 3);
            }
            assert!(!server.is_finished());
        }
    }

    /// Runs the load on a server that answers the first connection by `answer`.
    fn refused(case: &str, answer: &'static str) -> io::Error {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let case: Case = case.parse().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
            let mut request = vec![0; case.requests().length()];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let error = run(&Plan { connections: 1, ..plan(case, address) }).unwrap_err();
        server.join().unwrap();
        error
    }

    #[test]
    fn a_wrong_answer_or_none_is_an_error() {
        let right = "HTTP/1.1 200 OK\r\nServer: x\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 13\r\n\r\n\
            Hello, World!HTTP";
        assert_eq!(refused("plaintext", right).to_string(), "an answer too many");
        assert_eq!(refused("connection-close", right).to_string(), "an answer too many");
        assert_eq!(refused("plaintext", "HTTP/1.1 500 ").kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(refused("plaintext", "HTTP/1.1 500 \r\n\r\n").kind(), io::ErrorKind::InvalidData);
    }
}
