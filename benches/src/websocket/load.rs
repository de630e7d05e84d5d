//! The WebSocket load: messages that differ from each other on many connections from one thread, every byte of every
//! answer checked.
//!
//! With n outstanding a connection sends n messages in one write, waits for all n answers, and starts again.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use super::handshake;
use super::messages::{Messages, compressed, payload_of_compressed, prefabricated};
use super::receivers;
use super::{Case, Kind};
use crate::traffic::{self, Peer, Tally, Timing, Watch};

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 100_000;
/// For one answer, where connections are opened.
const PATIENCE: Duration = Duration::from_secs(5);
/// The end of a compressed message that is left out; RFC 7692, section 7.2.1.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// What to send, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The messages.
    pub case: Case,
    /// The server.
    pub address: SocketAddr,
    /// Number of connections that receive answers.
    pub connections: usize,
    /// The server is one that answers the prefabricated frame.
    pub prefabricated: bool,
    /// Messages are compressed, both ways; only for connections that are [`idle`].
    pub deflate: bool,
    /// When and what is measured.
    pub timing: Timing,
}

impl Plan {
    /// The bytes that must be answered to `messages`.
    pub(super) fn expected<'a>(&'a self, messages: &'a Messages, fixed: &'a [u8]) -> &'a [u8] {
        if self.prefabricated { fixed } else { messages.answers() }
    }

    pub(super) fn fixed(&self) -> Vec<u8> {
        if self.prefabricated { prefabricated(self.case.size, self.case.outstanding) } else { Vec::new() }
    }
}

/// Sends the load and measures.
///
/// # Errors
/// The server cannot be reached, ends a connection, answers something wrong, or answers nobody for five seconds.
pub fn run(plan: &Plan) -> io::Result<Tally> {
    check_number(plan)?;
    let watch = Watch::new()?;
    if plan.case.kind == Kind::FanOut {
        return receivers::run(plan, &watch);
    }
    let fixed = plan.fixed();
    let mut peers = Vec::with_capacity(plan.connections);
    for index in 0..plan.connections {
        let mut stream = connect(plan.address)?;
        handshake::open(&mut stream, false)?;
        stream.set_nonblocking(true)?;
        watch.add(&stream, index)?;
        let messages = plan.case.messages(index);
        peers.push(Echoed { plan, fixed: &fixed, stream, messages, sent: 0, received: 0 });
    }
    traffic::run(&watch, &mut peers, plan.timing)
}

/// Opens `plan.connections` connections and exchanges a message on each; they stay open until dropped.
///
/// # Errors
/// As for [`run`]; or the server does not compress, though it is to.
pub fn idle(plan: &Plan) -> io::Result<Vec<TcpStream>> {
    check_number(plan)?;
    let mut streams = Vec::with_capacity(plan.connections);
    let fixed = plan.fixed();
    for index in 0..plan.connections {
        let mut stream = connect(plan.address)?;
        handshake::open(&mut stream, plan.deflate)?;
        let messages = plan.case.messages(index);
        if plan.deflate {
            exchange_compressed(&mut stream, messages.text(), index as u64)?;
        } else {
            stream.write_all(messages.frames())?;
            let expected = plan.expected(&messages, &fixed);
            let mut answer = vec![0; expected.len()];
            stream.read_exact(&mut answer)?;
            if answer != expected {
                return Err(wrong("the answer is not what was sent"));
            }
        }
        streams.push(stream);
    }
    Ok(streams)
}

fn check_number(plan: &Plan) -> io::Result<()> {
    if plan.connections == 0 || plan.connections > MAX_CONNECTIONS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "from 1 to 100,000 connections may be open"));
    }
    Ok(())
}

pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Ends by reset: thousands of closed connections would else hold their ports for a minute.
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok(stream)
}

pub(super) fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Sends `text` compressed, and wants it back compressed.
fn exchange_compressed(stream: &mut TcpStream, text: &[u8], number: u64) -> io::Result<()> {
    let mut payload = Vec::with_capacity(text.len() + 64);
    let mut compress = Compress::new(Compression::fast(), false);
    compress.compress_vec(text, &mut payload, FlushCompress::Sync)?;
    if !payload.ends_with(&TAIL) {
        return Err(wrong("the message was not compressed in one piece"));
    }
    payload.truncate(payload.len() - TAIL.len());
    stream.write_all(&compressed(&payload, number))?;

    let mut frame = Vec::new();
    let payload = loop {
        match payload_of_compressed(&frame) {
            Some(Ok(payload)) => break payload,
            Some(Err(missing)) => {
                let begin = frame.len();
                frame.resize(begin + missing, 0);
                stream.read_exact(&mut frame[begin..])?;
            }
            None => return Err(wrong("the answer is not compressed")),
        }
    };
    let mut input = payload.to_vec();
    input.extend_from_slice(&TAIL);
    let mut answer = Vec::with_capacity(text.len() + 64);
    Decompress::new(false).decompress_vec(&input, &mut answer, FlushDecompress::Sync)?;
    if answer == text { Ok(()) } else { Err(wrong("the answer is not what was sent")) }
}

struct Echoed<'a> {
    plan: &'a Plan,
    fixed: &'a [u8],
    stream: TcpStream,
    messages: Messages,
    sent: usize,
    received: usize,
}

impl Peer for Echoed<'_> {
    fn ready(&mut self, _: &Watch, ended: bool, buffer: &mut [u8]) -> io::Result<u64> {
        self.send()?;
        if !self.receive(ended, buffer)? {
            return Ok(0);
        }
        self.messages.renew();
        (self.sent, self.received) = (0, 0);
        self.send()?;
        Ok(self.messages.count() as u64)
    }
}

impl Echoed<'_> {
    fn send(&mut self) -> io::Result<()> {
        while self.sent < self.messages.frames().len() {
            match send(&self.stream, &self.messages.frames()[self.sent..], SendFlags::NOSIGNAL) {
                Ok(sent) => self.sent += sent,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// True when all answers are here.
    fn receive(&mut self, ended: bool, buffer: &mut [u8]) -> io::Result<bool> {
        let expected = self.plan.expected(&self.messages, self.fixed);
        receive(&self.stream, ended, buffer, expected, &mut self.received)
    }
}

/// Receives what there is and compares it; true when all of `expected` is here. `ended`: the end is there, too, and will not be
/// told again.
pub(super) fn receive(
    stream: &TcpStream,
    ended: bool,
    buffer: &mut [u8],
    expected: &[u8],
    received: &mut usize,
) -> io::Result<bool> {
    loop {
        let length = match recv(stream, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((length, _)) => length,
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let Some(part) = expected.get(*received..*received + length) else {
            return Err(wrong("an answer too many"));
        };
        if buffer[..length] != *part {
            return Err(wrong("the answer is not what was sent"));
        }
        *received += length;
        if *received == expected.len() {
            return Ok(true);
        }
        if length < buffer.len() && !ended {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::floor;
    use crate::websocket::floor::Fixed;

    fn plan(case: Case, address: SocketAddr) -> Plan {
        let timing = Timing { warm_up: Duration::ZERO, duration: Duration::from_millis(1), server: None };
        Plan { case, address, connections: 3, prefabricated: true, deflate: false, timing }
    }

    #[test]
    fn every_case_is_answered_by_the_floor() {
        for case in Case::ALL {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || floor::serve(&listener, Fixed::new(&case)));
            let tally = run(&plan(case, address)).unwrap();
            assert!(tally.messages > 0, "the measured time goes on until something is answered");
            assert_eq!(tally.messages % case.outstanding as u64, 0);
            if case.kind == Kind::Echo {
                assert_eq!(idle(&plan(case, address)).unwrap().len(), 3);
                let error = run(&Plan { prefabricated: false, ..plan(case, address) }).unwrap_err();
                assert_eq!(error.to_string(), "the answer is not what was sent");
            }
            let error = idle(&Plan { deflate: true, ..plan(case, address) }).unwrap_err();
            assert!(
                matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::InvalidData),
                "{error}"
            );
            assert!(!server.is_finished());
        }
    }

    /// A server of one connection that answers the handshake, and then all messages by what `answer` makes of the
    /// right answers.
    fn refused(case: &str, answer: fn(&mut Vec<u8>)) -> io::Error {
        let case: Case = case.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut vec![0; handshake::request(false).len()]).unwrap();
            stream.write_all(handshake::response().as_bytes()).unwrap();
            let messages = case.messages(0);
            stream.read_exact(&mut vec![0; messages.frames().len()]).unwrap();
            let mut answers = messages.answers().to_vec();
            answer(&mut answers);
            // It may be refused before it is complete.
            let _ = stream.write_all(&answers);
        });
        let error = run(&Plan { connections: 1, prefabricated: false, ..plan(case, address) }).unwrap_err();
        server.join().unwrap();
        error
    }

    #[test]
    fn a_wrong_answer_or_none_is_an_error() {
        assert_eq!(
            refused("echo-20-x16", |answers| answers[100] ^= 1).to_string(),
            "the answer is not what was sent"
        );
        assert_eq!(
            refused("echo-1k", |answers| answers[1027] ^= 1).to_string(),
            "the answer is not what was sent"
        );
        assert_eq!(refused("echo-20", |answers| answers.push(0x81)).to_string(), "an answer too many");
        assert_eq!(refused("echo-20", |answers| answers.truncate(5)).kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_compressed_exchange_wants_its_text_back_compressed() {
        for (length, right) in [(20, true), (5_000, true), (5_000, false)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let text = vec![b'a'; length];
            let mut payload = Vec::with_capacity(1024);
            Compress::new(Compression::fast(), false)
                .compress_vec(if right { &text } else { b"b" }, &mut payload, FlushCompress::Sync)
                .unwrap();
            payload.truncate(payload.len() - TAIL.len());
            // Small enough for the shortest form of the length.
            server.write_all(&[&[0xc1, payload.len() as u8], &payload[..]].concat()).unwrap();
            assert_eq!(exchange_compressed(&mut client, &text, 1).is_ok(), right);
        }
    }
}
