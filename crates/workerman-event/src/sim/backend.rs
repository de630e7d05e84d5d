//! The backend of one loop on the simulated network.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Buf;

use super::datagram::Reader;
use super::link::Owner;
use super::listen::Holder;
use super::network::Network;
use super::options::HostAddr;
use super::state::{Mailbox, Ready, State, now};
use super::stream::SimListener;
use crate::chunk::{CHUNK, Chunk};
use crate::socket::{DatagramInner, ListenerInner, StreamInner};
use crate::{
    Address, Backend, Datagram, DatagramId, ListenOptions, Listener, ListenerId, ResolveId, Signal, Sink,
    Stream, Token,
};

#[derive(Debug)]
pub(super) struct Slot {
    generation: u32,
    /// The connection and the side of it; `None` in a free slot.
    pub(super) stream: Option<(u64, usize)>,
    pub(super) lent: Option<Vec<u8>>,
}

/// The simulated [`Backend`] of one loop, on one host of a [`Network`].
///
/// Dropping it closes its sockets as the end of a process does.
pub struct Sim {
    pub(super) network: Network,
    host: HostAddr,
    mailbox: usize,
    now: Instant,
    /// What is ready, in the order in which it is handed out; leftovers of a turn come before what is new.
    queue: VecDeque<Ready>,
    pub(super) slots: Vec<Slot>,
    free: Vec<u32>,
    pub(super) listeners: BTreeSet<ListenerId>,
    pub(super) datagrams: BTreeSet<DatagramId>,
    pub(super) chunk: Chunk,
}

impl Sim {
    pub(super) fn new(network: Network, host: HostAddr) -> Self {
        let mailbox = network.with(|state| {
            state.mailboxes.push(Mailbox { host, ready: Vec::new(), waker: None, watched: Vec::new() });
            state.mailboxes.len() - 1
        });
        Self {
            network,
            host,
            mailbox,
            now: now(),
            queue: VecDeque::new(),
            slots: Vec::new(),
            free: Vec::new(),
            listeners: BTreeSet::new(),
            datagrams: BTreeSet::new(),
            chunk: Chunk::new(CHUNK),
        }
    }

    /// The network it is on.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The host it runs on.
    pub fn host(&self) -> HostAddr {
        self.host
    }

    /// Opens a listener on this loop's host, in place of [`Listener::bind`].
    ///
    /// # Errors
    /// As [`Network::bind`].
    pub fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<Listener> {
        self.network.bind(self.host, address.clone(), options).map(SimListener::into)
    }

    /// Opens a datagram socket on this loop's host, in place of [`Datagram::bind`].
    ///
    /// # Errors
    /// As [`Network::bind_datagram`].
    pub fn bind_datagram(&self, address: SocketAddr) -> io::Result<Datagram> {
        self.network.bind_datagram(self.host, address).map(Into::into)
    }

    // ---- slots -----------------------------------------------------------------------------------------------------

    pub(super) fn reserve(&mut self) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, stream: None, lent: None });
            (self.slots.len() - 1) as u32
        });
        Token::new(index, self.slots[index as usize].generation)
    }

    pub(super) fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(token.slot())?;
        (slot.generation == token.generation() && slot.stream.is_some()).then_some(slot)
    }

    pub(super) fn stream(&self, token: Token) -> Option<(u64, usize)> {
        let slot = self.slots.get(token.slot())?;
        if slot.generation == token.generation() { slot.stream } else { None }
    }

    fn release(&mut self, token: Token) -> Option<(u64, usize)> {
        let slot = self.slots.get_mut(token.slot()).filter(|slot| slot.generation == token.generation())?;
        let stream = slot.stream.take();
        slot.lent = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(token.slot() as u32);
        stream
    }

    pub(super) fn owner(&self, token: Token) -> Owner {
        Owner::Loop { backend: self.mailbox, token, read_on: true, posted: false }
    }

    pub(super) fn end(&mut self, token: Token, hard: bool) {
        if let Some((conn, side)) = self.stream(token) {
            self.release(token);
            self.network.with(|state| state.close(conn, side, hard));
        }
    }
}

fn foreign() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the socket does not belong to this simulated network")
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Backend for Sim {
    fn now(&self) -> Instant {
        self.now
    }

    fn refresh(&mut self) -> Instant {
        self.now = now();
        self.now
    }

    fn unix_time(&self) -> Duration {
        self.network.with(|state| state.unix_time())
    }

    fn seed(&mut self) -> u64 {
        self.network.random()
    }

    fn listen(&mut self, listener: Listener) -> io::Result<ListenerId> {
        let ListenerInner::Sim(listener) = listener.into_parts().inner else { return Err(foreign()) };
        if !listener.network().is(&self.network) {
            return Err(foreign());
        }
        let id = listener.into_id().ok_or_else(gone)?;
        self.network.with(|state| {
            let entry = state.listeners.get_mut(&id).ok_or_else(State::dead_listener)?;
            let backend = self.mailbox;
            entry.holder = Holder::Loop { backend, paused: false, posted: false, backing_off: false };
            state.notify_listener(id);
            io::Result::Ok(())
        })?;
        self.listeners.insert(id);
        Ok(id)
    }

    fn pause_accept(&mut self, id: ListenerId) {
        if self.listeners.contains(&id) {
            self.network.with(|state| state.pause_listener(id, true));
        }
    }

    fn resume_accept(&mut self, id: ListenerId) {
        if self.listeners.contains(&id) {
            self.network.with(|state| state.pause_listener(id, false));
        }
    }

    fn unlisten(&mut self, id: ListenerId) {
        if self.listeners.remove(&id) {
            self.network.with(|state| state.close_listener(id));
        }
    }

    fn connect(&mut self, address: &Address) -> io::Result<Token> {
        let token = self.reserve();
        let owner = self.owner(token);
        match self.network.with(|state| state.connect(self.host, address, owner)) {
            Ok(conn) => {
                self.slots[token.slot()].stream = Some((conn, 0));
                Ok(token)
            }
            Err(why) => {
                self.release(token);
                Err(why)
            }
        }
    }

    fn adopt(&mut self, stream: Stream) -> io::Result<Token> {
        let StreamInner::Sim(stream) = stream.into_inner() else { return Err(foreign()) };
        if !stream.network().is(&self.network) {
            return Err(foreign());
        }
        let (conn, side) = stream.into_parts();
        let token = self.reserve();
        self.slots[token.slot()].stream = Some((conn, side));
        let owner = self.owner(token);
        self.network.with(|state| state.own(conn, side, owner));
        Ok(token)
    }

    fn resolve(&mut self, host: &str, port: u16) -> ResolveId {
        self.network.with(|state| state.resolve(self.mailbox, host, port))
    }

    fn cancel_resolve(&mut self, id: ResolveId) {
        self.network.with(|state| state.lookups.remove(&id));
    }

    fn set_read(&mut self, id: Token, on: bool) {
        let Some((conn, side)) = self.stream(id) else { return };
        self.network.with(|state| {
            if let Some(Owner::Loop { read_on, .. }) = state.owner_mut(conn, side) {
                *read_on = on;
            }
            state.notify(conn, side);
        });
    }

    fn lend(&mut self, id: Token, buffer: Vec<u8>) {
        debug_assert!(buffer.capacity() > buffer.len(), "a lent buffer has room");
        if let Some(slot) = self.slot(id) {
            slot.lent = Some(buffer);
        }
    }

    fn reclaim(&mut self, id: Token) -> Option<Vec<u8>> {
        self.slot(id)?.lent.take()
    }

    fn send(&mut self, id: Token, out: &mut impl Buf) -> io::Result<usize> {
        let (conn, side) = self.stream(id).ok_or_else(gone)?;
        self.network.with(|state| state.send(conn, side, out))
    }

    fn shutdown_write(&mut self, id: Token) {
        if let Some((conn, side)) = self.stream(id) {
            self.network.with(|state| state.shutdown_write(conn, side));
        }
    }

    fn close(&mut self, id: Token) {
        self.end(id, false);
    }

    fn abort(&mut self, id: Token) {
        self.end(id, true);
    }

    fn local_address(&self, id: Token) -> io::Result<Address> {
        let (conn, side) = self.stream(id).ok_or_else(gone)?;
        self.network.with(|state| match state.conns.get(&conn) {
            Some(conn) => Ok(conn.ends[side].local.clone()),
            None => Err(gone()),
        })
    }

    fn open_datagram(&mut self, socket: Datagram) -> io::Result<DatagramId> {
        let DatagramInner::Sim(socket) = socket.into_inner() else { return Err(foreign()) };
        if !socket.network().is(&self.network) {
            return Err(foreign());
        }
        let id = socket.into_id().ok_or_else(gone)?;
        self.network.with(|state| {
            let entry = state.datagrams.get_mut(&id).ok_or_else(gone)?;
            entry.reader = Reader::Loop { backend: self.mailbox, posted: false };
            state.notify_datagram(id);
            io::Result::Ok(())
        })?;
        self.datagrams.insert(id);
        Ok(id)
    }

    fn send_datagram(&mut self, id: DatagramId, to: Option<SocketAddr>, payload: &[u8]) -> io::Result<()> {
        if !self.datagrams.contains(&id) {
            return Err(gone());
        }
        self.network.with(|state| state.send_datagram(id, to, payload))
    }

    fn close_datagram(&mut self, id: DatagramId) {
        if self.datagrams.remove(&id) {
            self.network.with(|state| state.close_datagram(id));
        }
    }

    fn watch_signal(&mut self, signal: Signal) -> io::Result<()> {
        self.network.with(|state| {
            let watched = &mut state.mailboxes[self.mailbox].watched;
            if !watched.contains(&signal) {
                watched.push(signal);
            }
        });
        Ok(())
    }

    fn poll_turn<S: Sink<Self>>(
        &mut self,
        cx: &mut Context<'_>,
        max_events: usize,
        sink: &mut S,
    ) -> Poll<()> {
        self.now = now();
        let fresh = self.network.with(|state| state.collect(self.mailbox));
        self.queue.extend(fresh);
        let mut used = 0;
        for _ in 0..self.queue.len() {
            if used >= max_events {
                break;
            }
            let Some(ready) = self.queue.pop_front() else { break };
            used += self.handle(ready, max_events - used, sink);
        }
        let more = self.network.with(|state| {
            let mailbox = &mut state.mailboxes[self.mailbox];
            let more = !self.queue.is_empty() || !mailbox.ready.is_empty();
            mailbox.waker = (!more).then(|| cx.waker().clone());
            more
        });
        if more { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let streams: Vec<_> = self.slots.iter_mut().filter_map(|slot| slot.stream.take()).collect();
        self.network.with(|state| {
            for id in &self.listeners {
                state.close_listener(*id);
            }
            for (conn, side) in streams {
                state.close(conn, side, false);
            }
            for id in &self.datagrams {
                state.close_datagram(*id);
            }
            let mailbox = &mut state.mailboxes[self.mailbox];
            mailbox.ready.clear();
            mailbox.watched.clear();
            mailbox.waker = None;
            state.lookups.retain(|_, lookup| lookup.backend != self.mailbox);
        });
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("host", &self.host)
            .field("connections", &(self.slots.len() - self.free.len()))
            .finish_non_exhaustive()
    }
}
