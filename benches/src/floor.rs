//! The bare epoll server: what is left of a server when everything but the system calls is taken away.
//!
//! It parses nothing, in any mode: what arrives is answered by an [`Answer`], which hardly looks at it, with one `recv`
//! and one `send` per readiness. It follows what makes such a server fast: one thread, one read buffer for all
//! connections, edge-triggered events that are registered once, and no read that ends in would-block (a short read means
//! that the socket is drained).

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};

const EVENTS: usize = 256;
/// The listener's event data; a connection's is its descriptor number.
const LISTENER: u64 = u64::MAX;

/// What the floor answers.
pub trait Answer {
    /// What a connection keeps from one read to the next.
    type Rest: Default;

    /// Most bytes that are received at once.
    const BUFFER: usize = 64 * 1024;

    /// The bytes to send after `received`, at most [`BUFFER`](Self::BUFFER) bytes, has arrived.
    fn answer<'a>(&'a mut self, rest: &mut Self::Rest, received: &'a [u8]) -> Reply<'a>;

    /// Whether a connection ends behind its first answer.
    fn ends(&self) -> bool {
        false
    }
}

/// Bytes to send, and to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply<'a> {
    /// To the connection that sent something.
    Back(&'a [u8]),
    /// To all other connections.
    Others(&'a [u8]),
}

/// Received bytes go back as they came.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

impl Answer for Echo {
    type Rest = ();

    #[inline]
    fn answer<'a>(&'a mut self, (): &mut (), received: &'a [u8]) -> Reply<'a> {
        Reply::Back(received)
    }
}

struct Connection<R> {
    socket: OwnedFd,
    rest: R,
    /// A part of an answer waits in [`Floor::unsent`]; nothing is read meanwhile.
    stalled: bool,
}

enum Then {
    Keep,
    Close,
}

struct Floor<A: Answer> {
    answers: A,
    /// By descriptor number.
    connections: Vec<Option<Connection<A::Rest>>>,
    buffer: Box<[u8]>,
    /// Rests of answers that the kernel did not take, at most one answer each.
    unsent: HashMap<usize, Vec<u8>>,
}

/// Serves for ever.
///
/// # Errors
/// The listener or the epoll descriptor fails; a connection that fails is closed.
pub fn serve<A: Answer>(listener: &TcpListener, answers: A) -> io::Result<Infallible> {
    listener.set_nonblocking(true)?;
    // What is accepted inherits it.
    sockopt::set_tcp_nodelay(listener, true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut floor =
        Floor { answers, connections: Vec::new(), buffer: vec![0; A::BUFFER].into(), unsent: HashMap::new() };
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for &epoll::Event { flags, data, .. } in &events {
            if data.u64() == LISTENER {
                floor.accept(listener, &poll)?;
            } else {
                floor.ready(data.u64() as usize, flags);
            }
        }
    }
}

impl<A: Answer> Floor<A> {
    fn accept(&mut self, listener: &TcpListener, poll: &OwnedFd) -> io::Result<()> {
        loop {
            let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            let index = socket.as_raw_fd() as usize;
            let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(poll, &socket, EventData::new_u64(index as u64), interest)?;
            if self.connections.len() <= index {
                self.connections.resize_with(index + 1, || None);
            }
            self.connections[index] = Some(Connection { socket, rest: A::Rest::default(), stalled: false });
        }
    }

    #[inline]
    fn ready(&mut self, index: usize, flags: EventFlags) {
        let Some(Some(connection)) = self.connections.get_mut(index) else { return };
        let then = if connection.stalled {
            self.flush(index)
        } else if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            // No edge follows the end of the stream: read up to it.
            self.exchange(index, true)
        } else if flags.contains(EventFlags::IN) {
            self.exchange(index, false)
        } else {
            return;
        };
        if let Then::Close = then {
            self.unsent.remove(&index);
            self.connections[index] = None;
        }
    }

    /// Answers until a short read, or until there is nothing left to read.
    #[inline]
    fn exchange(&mut self, index: usize, to_the_end: bool) -> Then {
        loop {
            let Some(connection) = &mut self.connections[index] else { return Then::Keep };
            let received = match recv(&connection.socket, &mut *self.buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Then::Close,
                Ok((received, _)) => received,
                Err(Errno::AGAIN) => return Then::Keep,
                Err(Errno::INTR) => continue,
                Err(_) => return Then::Close,
            };
            match self.answers.answer(&mut connection.rest, &self.buffer[..received]) {
                Reply::Others(bytes) => tell(&mut self.connections, &mut self.unsent, index, bytes),
                Reply::Back([]) => {}
                Reply::Back(answer) => {
                    let sent = match send(&connection.socket, answer, SendFlags::NOSIGNAL) {
                        Ok(sent) => sent,
                        Err(Errno::AGAIN | Errno::INTR) => 0,
                        Err(_) => return Then::Close,
                    };
                    if sent < answer.len() {
                        connection.stalled = true;
                        self.unsent.insert(index, answer[sent..].to_vec());
                        return Then::Keep;
                    }
                    if self.answers.ends() {
                        return Then::Close;
                    }
                }
            }
            if received < self.buffer.len() && !to_the_end {
                return Then::Keep;
            }
        }
    }

    /// Sends the rest of an answer, then reads what came meanwhile.
    #[cold]
    fn flush(&mut self, index: usize) -> Then {
        let Some(connection) = &mut self.connections[index] else { return Then::Keep };
        if let Some(rest) = self.unsent.get_mut(&index) {
            while !rest.is_empty() {
                match send(&connection.socket, rest, SendFlags::NOSIGNAL) {
                    Ok(sent) => drop(rest.drain(..sent)),
                    Err(Errno::AGAIN) => return Then::Keep,
                    Err(Errno::INTR) => {}
                    Err(_) => return Then::Close,
                }
            }
        }
        self.unsent.remove(&index);
        connection.stalled = false;
        if self.answers.ends() {
            return Then::Close;
        }
        self.exchange(index, true)
    }
}

/// Sends `bytes` to all connections but the one at `from`.
fn tell<R>(
    connections: &mut [Option<Connection<R>>],
    unsent: &mut HashMap<usize, Vec<u8>>,
    from: usize,
    bytes: &[u8],
) {
    if bytes.is_empty() {
        return;
    }
    for (index, connection) in connections.iter_mut().enumerate() {
        let Some(connection) = connection.as_mut().filter(|_| index != from) else { continue };
        // Behind what waits already; and of a connection that fails, an event tells.
        let sent = if connection.stalled {
            0
        } else {
            send(&connection.socket, bytes, SendFlags::NOSIGNAL).unwrap_or(0)
        };
        if sent < bytes.len() {
            connection.stalled = true;
            unsent.entry(index).or_default().extend_from_slice(&bytes[sent..]);
        }
    }
}
