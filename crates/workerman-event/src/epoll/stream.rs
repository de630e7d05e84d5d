//! Stream sockets: connecting, reading, writing, closing.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::Buf;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    sockopt,
};
use socket2::SockRef;

use super::Epoll;
use super::slots::{Target, state};
use crate::chunk::Chunk;
use crate::socket::{ConnectionOptions, StreamInner};
use crate::{Address, Sink, Stream, Token};

/// Pieces of one gathered write.
const PIECES: usize = 64;
/// Writes of one `send`, each of which the system took whole.
const WRITES: usize = 16;

/// Registered once, for good: room to write and new data come as edges, and nothing is ever re-armed.
const TCP_EVENTS: EventFlags = EventFlags::IN
    .union(EventFlags::OUT)
    .union(EventFlags::RDHUP)
    .union(EventFlags::PRI)
    .union(EventFlags::ET);
/// A unix socket tells of room whenever its peer reads, so there writing is watched only while it is wanted.
const UNIX_EVENTS: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

/// Events after which a short read does not prove that nothing is left.
const INSISTING: EventFlags =
    EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR).union(EventFlags::PRI);

const fn events(state: u16) -> EventFlags {
    match (state & state::UNIX != 0, state & state::WANT_WRITE != 0) {
        (false, _) => TCP_EVENTS,
        (true, false) => UNIX_EVENTS,
        (true, true) => UNIX_EVENTS.union(EventFlags::OUT),
    }
}

impl Epoll {
    /// Stores and registers a socket.
    pub(super) fn insert_stream(&mut self, socket: OwnedFd, state: u16) -> io::Result<Token> {
        let Some(token) = self.slots.insert(socket, state) else {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "no slot is left for a connection"));
        };
        if let Some(socket) = self.slots.socket(token) {
            if let Err(why) = self.poller.add(socket, Target::Stream(token).key(), events(state)) {
                self.slots.remove(token);
                return Err(why);
            }
        }
        Ok(token)
    }

    pub(super) fn start_connect(&mut self, address: &Address) -> io::Result<Token> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let open = |family| rustix::net::socket_with(family, SocketType::STREAM, flags, None);
        let (socket, outcome, family) = match address {
            Address::Tcp(tcp) => {
                let socket = open(if tcp.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 })?;
                ConnectionOptions::default().apply(SockRef::from(&socket))?;
                let outcome = rustix::net::connect(&socket, tcp);
                (socket, outcome, 0)
            }
            Address::Unix(Some(path)) => {
                let socket = open(AddressFamily::UNIX)?;
                let outcome = rustix::net::connect(&socket, &SocketAddrUnix::new(&**path)?);
                (socket, outcome, state::UNIX)
            }
            Address::Unix(None) => {
                let why = "cannot connect to a unix socket without a path";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        };
        let at_once = match outcome {
            Ok(()) => true,
            Err(Errno::INPROGRESS) => false,
            Err(why) => return Err(why.into()),
        };
        // Only now: a socket that does not even try to connect would be reported as hung up.
        let token = self.insert_stream(socket, state::CONNECTING | state::READ_ON | family)?;
        if at_once {
            self.mark_stream(token, state::WRITE_READY);
        }
        Ok(token)
    }

    pub(super) fn adopt_stream(&mut self, stream: Stream) -> io::Result<Token> {
        let (socket, family) = match stream.into_inner() {
            StreamInner::Tcp(stream) => (OwnedFd::from(stream), 0),
            StreamInner::Unix(stream) => (OwnedFd::from(stream), state::UNIX),
            #[cfg(feature = "sim")]
            StreamInner::Sim(_) => {
                let why = "a simulated stream belongs to the simulated backend";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        };
        // What has arrived already is reported as an edge by the registration itself.
        self.insert_stream(socket, state::READ_ON | state::SHARED | family)
    }

    /// Sets bits of a stream's state and queues it.
    pub(super) fn mark_stream(&mut self, token: Token, bits: u16) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        slot.state |= bits;
        if !slot.has(state::QUEUED) {
            slot.state |= state::QUEUED;
            self.queue(Target::Stream(token));
        }
    }

    /// Notes an event. Returns whether the stream has to be served now: it exists and is not in the queue.
    #[inline]
    pub(super) fn note_stream(&mut self, token: Token, flags: EventFlags) -> bool {
        let Some(slot) = self.slots.get_mut(token) else { return false };
        if flags.intersects(INSISTING.union(EventFlags::IN)) {
            slot.state |= state::READABLE;
            if flags.intersects(INSISTING) {
                slot.state |= state::INSIST;
                if flags.contains(EventFlags::ERR) {
                    slot.state |= state::BROKEN;
                }
            }
        }
        let waits = slot.state & (state::WANT_WRITE | state::CONNECTING) != 0;
        if waits && flags.intersects(EventFlags::OUT.union(EventFlags::HUP).union(EventFlags::ERR)) {
            slot.state |= state::WRITE_READY;
        }
        !slot.has(state::QUEUED)
    }

    /// Does for a stream what its state says: at most one end of a connect, one `writable` and one read.
    pub(super) fn serve_stream<S: Sink<Self>>(&mut self, token: Token, sink: &mut S) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if slot.state & state::WRITE_READY != 0 {
            slot.state &= !state::WRITE_READY;
            if slot.has(state::CONNECTING) && !self.finish_connect(token, sink) {
                return;
            }
            self.serve_writable(token, sink);
        }
        let Some(slot) = self.slots.get_mut(token) else { return };
        let state = slot.state;
        if state & (state::READABLE | state::CONNECTING) != state::READABLE {
            return;
        }
        if state & state::EOF != 0 {
            slot.state &= !(state::READABLE | state::INSIST);
        } else if state & state::READ_ON != 0 {
            self.read_stream(token, sink);
        }
        if state & state::BROKEN != 0 {
            self.check_broken(token, sink);
        }
    }

    /// Returns whether the stream is connected.
    fn finish_connect<S: Sink<Self>>(&mut self, token: Token, sink: &mut S) -> bool {
        let Some(socket) = self.slots.socket(token) else { return false };
        let outcome = sockopt::socket_error(socket).and_then(|error| error);
        let peer = outcome.and_then(|()| rustix::net::getpeername(socket));
        let Some(slot) = self.slots.get_mut(token) else { return false };
        match peer {
            Ok(peer) => {
                slot.state &= !state::CONNECTING;
                sink.connected(self, token, super::address(peer));
                true
            }
            // Told too early; unless the socket has hung up, the real end of the connect is still to come.
            Err(Errno::NOTCONN) if !slot.has(state::INSIST) => false,
            Err(why) => {
                self.fail(token, why, sink);
                false
            }
        }
    }

    fn serve_writable<S: Sink<Self>>(&mut self, token: Token, sink: &mut S) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if slot.has(state::WANT_WRITE) {
            slot.state &= !state::WANT_WRITE;
            let state = slot.state;
            self.watch_unix(token, state);
            sink.writable(self, token);
        }
    }

    /// Brings the registration of a unix socket in line with its state. Re-registering reports room that is there
    /// already as a new edge, so none is lost.
    fn watch_unix(&self, token: Token, state: u16) {
        if state & state::UNIX != 0 {
            if let Some(socket) = self.slots.socket(token) {
                if let Err(why) = self.poller.modify(socket, Target::Stream(token).key(), events(state)) {
                    tracing::error!(error = %why, "cannot change what is watched of a unix socket");
                }
            }
        }
    }

    fn read_stream<S: Sink<Self>>(&mut self, token: Token, sink: &mut S) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if let Some(buffer) = slot.lent.take() {
            return self.read_lent(token, buffer, sink);
        }
        let Some(socket) = self.slots.socket(token) else { return };
        let mut buffer = self.chunk.take();
        let room = buffer.capacity();
        let outcome = rustix::net::recv(socket, spare_capacity(&mut buffer), RecvFlags::empty());
        match outcome {
            Ok((count, _)) if count > 0 => {
                self.note_read(token, count == room);
                let mut data = Chunk::lend(buffer);
                sink.data(self, token, &mut data);
                self.chunk.give_back(data);
            }
            outcome => {
                self.chunk.put(buffer);
                self.read_nothing(token, outcome.err(), sink);
            }
        }
    }

    #[allow(clippy::box_collection)]
    fn read_lent<S: Sink<Self>>(&mut self, token: Token, mut buffer: Box<Vec<u8>>, sink: &mut S) {
        let Some(socket) = self.slots.socket(token) else { return };
        let room = buffer.capacity() - buffer.len();
        // As much as there is room for, which is the lender's bound (and the receive buffer of the kernel another).
        let outcome = rustix::net::recv(socket, spare_capacity(&mut buffer), RecvFlags::empty());
        let outcome = outcome.map(|(count, _)| count);
        match outcome {
            Ok(count) if count > 0 => {
                self.note_read(token, count == room);
                sink.filled(self, token, *buffer);
            }
            outcome => {
                if let Some(slot) = self.slots.get_mut(token) {
                    slot.lent = Some(buffer);
                }
                self.read_nothing(token, outcome.err(), sink);
            }
        }
    }

    /// After a read that brought something: is there more?
    #[inline]
    fn note_read(&mut self, token: Token, full: bool) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if full || slot.has(state::INSIST) {
            self.mark_stream(token, 0);
        } else {
            // A short read has drained the socket, and saves the one that would say so: the next byte is a new edge.
            slot.state &= !state::READABLE;
        }
    }

    /// After a read that brought nothing.
    fn read_nothing<S: Sink<Self>>(&mut self, token: Token, why: Option<Errno>, sink: &mut S) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        match why {
            None => {
                slot.state &= !(state::READABLE | state::INSIST);
                slot.state |= state::EOF;
                sink.eof(self, token);
            }
            Some(Errno::AGAIN) => slot.state &= !(state::READABLE | state::INSIST),
            Some(Errno::INTR) => self.mark_stream(token, 0),
            Some(why) => self.fail(token, why, sink),
        }
    }

    /// After the end of the stream there is no read that would tell of a reset.
    fn check_broken<S: Sink<Self>>(&mut self, token: Token, sink: &mut S) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if !slot.has(state::EOF | state::BROKEN) {
            return;
        }
        slot.state &= !state::BROKEN;
        let Some(socket) = self.slots.socket(token) else { return };
        if let Err(why) = sockopt::socket_error(socket).and_then(|error| error) {
            self.fail(token, why, sink);
        }
    }

    fn fail<S: Sink<Self>>(&mut self, token: Token, why: Errno, sink: &mut S) {
        self.close_stream(token);
        sink.failed(self, token, why.into());
    }

    pub(super) fn send_stream(&mut self, token: Token, out: &mut impl Buf) -> io::Result<usize> {
        let Some(slot) = self.slots.get_mut(token) else { return Err(io::ErrorKind::NotConnected.into()) };
        if slot.has(state::CONNECTING) {
            if out.has_remaining() {
                slot.state |= state::WANT_WRITE;
                let state = slot.state;
                self.watch_unix(token, state);
            }
            return Ok(0);
        }
        let mut total = 0;
        for _ in 0..WRITES {
            if !out.has_remaining() {
                return Ok(total);
            }
            let Some(socket) = self.slots.socket(token) else { break };
            let (offered, outcome) = write(socket, out);
            match outcome {
                Ok(count) => {
                    out.advance(count);
                    total += count;
                    if count < offered {
                        self.want_write(token);
                        return Ok(total);
                    }
                }
                Err(Errno::AGAIN) => {
                    self.want_write(token);
                    return Ok(total);
                }
                Err(Errno::INTR) => {}
                Err(why) => return Err(why.into()),
            }
        }
        if out.has_remaining() {
            // The system would take more, but others wait.
            self.want_write(token);
            self.mark_stream(token, state::WRITE_READY);
        }
        Ok(total)
    }

    fn want_write(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if !slot.has(state::WANT_WRITE) {
            slot.state |= state::WANT_WRITE;
            let state = slot.state;
            self.watch_unix(token, state);
        }
    }

    pub(super) fn set_reading(&mut self, token: Token, on: bool) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if !on {
            slot.state &= !state::READ_ON;
        } else if !slot.has(state::READ_ON) {
            slot.state |= state::READ_ON;
            // Edges that came meanwhile were noted; without one there is nothing to read.
            if slot.has(state::READABLE) {
                self.mark_stream(token, 0);
            }
        }
    }

    pub(super) fn lend_buffer(&mut self, token: Token, mut buffer: Vec<u8>) {
        debug_assert!(buffer.len() < buffer.capacity(), "a buffer without room was lent");
        if buffer.len() == buffer.capacity() {
            // A read into no room would look like the end of the stream.
            buffer.reserve(1);
        }
        if let Some(slot) = self.slots.get_mut(token) {
            slot.lent = Some(Box::new(buffer));
        }
    }

    pub(super) fn close_stream(&mut self, token: Token) {
        if let Some((socket, state)) = self.slots.remove(token) {
            if state & state::SHARED != 0 {
                self.poller.delete(&socket);
            }
        }
    }

    pub(super) fn abort_stream(&mut self, token: Token) {
        if let Some(socket) = self.slots.socket(token) {
            let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
        self.close_stream(token);
    }
}

/// One write of the front of `out`: how much was offered, and what came of it.
#[inline]
fn write(socket: &OwnedFd, out: &impl Buf) -> (usize, rustix::io::Result<usize>) {
    let front = out.chunk();
    if front.len() == out.remaining() {
        return (front.len(), rustix::net::send(socket, front, SendFlags::NOSIGNAL));
    }
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let count = out.chunks_vectored(&mut pieces);
    let pieces = &pieces[..count];
    let offered = pieces.iter().map(|piece| piece.len()).sum();
    let mut nothing = SendAncillaryBuffer::default();
    (offered, rustix::net::sendmsg(socket, pieces, &mut nothing, SendFlags::NOSIGNAL))
}
