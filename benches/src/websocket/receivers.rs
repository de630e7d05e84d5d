//! Fan-out: one connection sends, all others must receive it.

use std::cell::RefCell;
use std::io;
use std::net::TcpStream;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::handshake;
use super::load::{Plan, connect, receive, wrong};
use super::messages::Messages;
use crate::traffic::{self, Peer, Tally, Watch};

/// Sends the next messages when every receiver has the last ones.
pub(super) fn run(plan: &Plan, watch: &Watch) -> io::Result<Tally> {
    let open = |index| {
        let mut stream = connect(plan.address)?;
        handshake::open(&mut stream, false)?;
        stream.set_nonblocking(true)?;
        watch.add(&stream, index)?;
        Ok::<_, io::Error>(stream)
    };
    // The sender is the last one: when it is ready for the first time, all are there.
    let streams = (0..plan.connections).map(open).collect::<io::Result<Vec<_>>>()?;
    let sender = open(plan.connections)?;
    let fixed = plan.fixed();
    let round = RefCell::new(Round {
        plan,
        fixed: &fixed,
        sender,
        messages: plan.case.messages(0),
        number: 0,
        waiting: 0,
    });
    let mut peers: Vec<Connection<'_>> = streams
        .into_iter()
        .map(|stream| Connection::Receiver(Receiver { round: &round, stream, number: 0, received: 0 }))
        .collect();
    peers.push(Connection::Sender(&round));
    traffic::run(watch, &mut peers, plan.timing)
}

/// What is on its way.
struct Round<'a> {
    plan: &'a Plan,
    fixed: &'a [u8],
    sender: TcpStream,
    messages: Messages,
    /// None has begun yet while it is 0.
    number: u64,
    /// Receivers that do not have all of it.
    waiting: usize,
}

impl Round<'_> {
    fn begin(&mut self) -> io::Result<()> {
        self.messages.renew();
        self.number += 1;
        self.waiting = self.plan.connections;
        let frames = self.messages.frames();
        loop {
            match send(&self.sender, frames, SendFlags::NOSIGNAL) {
                Ok(sent) if sent == frames.len() => return Ok(()),
                Err(Errno::INTR) => {}
                // A few kilobytes, when all before has been read: there is room.
                Ok(_) => return Err(wrong("the server does not read")),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

enum Connection<'a> {
    Sender(&'a RefCell<Round<'a>>),
    Receiver(Receiver<'a>),
}

struct Receiver<'a> {
    round: &'a RefCell<Round<'a>>,
    stream: TcpStream,
    /// The round that it received last, or receives.
    number: u64,
    received: usize,
}

impl Peer for Connection<'_> {
    fn ready(&mut self, _: &Watch, ended: bool, buffer: &mut [u8]) -> io::Result<u64> {
        let receiver = match self {
            Self::Receiver(receiver) => receiver,
            Self::Sender(_) if ended => return Err(io::ErrorKind::UnexpectedEof.into()),
            Self::Sender(round) => {
                let mut round = round.borrow_mut();
                if round.number == 0 {
                    round.begin()?;
                } else if !matches!(receive(&round.sender, ended, buffer, &[], &mut 0), Ok(false)) {
                    return Err(wrong("the sender gets an answer, or its end"));
                }
                return Ok(0);
            }
        };
        let mut round = receiver.round.borrow_mut();
        if receiver.number < round.number {
            (receiver.number, receiver.received) = (round.number, 0);
        }
        let expected = round.plan.expected(&round.messages, round.fixed);
        // When it has all, anything more is too much.
        if !receive(&receiver.stream, ended, buffer, expected, &mut receiver.received)? {
            return Ok(0);
        }
        round.waiting -= 1;
        if round.waiting == 0 {
            round.begin()?;
        }
        Ok(round.messages.count() as u64)
    }
}
