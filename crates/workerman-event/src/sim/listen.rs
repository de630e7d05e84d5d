//! Listeners and the handshake: bind, connect, the queue, running out of descriptors, crashes.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;
use std::time::Duration;

use super::link::{Arrival, Conn, End, Owner, Pipe};
use super::options::HostAddr;
use super::state::{Event, Ready, State, now};
use crate::{Address, ListenerId};

/// How long a loop that ran out of descriptors waits before it accepts again.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How a listener is bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bind {
    pub(super) backlog: usize,
    pub(super) reuse_port: bool,
    pub(super) ipv6_only: bool,
}

#[derive(Debug)]
pub(super) enum Holder {
    /// Tasks that wait in `accept`, or nobody yet.
    Tasks(Vec<Waker>),
    Loop {
        backend: usize,
        paused: bool,
        /// In the loop's mailbox already.
        posted: bool,
        /// Out of descriptors; an event will end it.
        backing_off: bool,
    },
}

#[derive(Debug)]
pub(super) struct Listening {
    pub(super) host: HostAddr,
    pub(super) address: Address,
    bind: Bind,
    queue: VecDeque<u64>,
    /// Handshakes that found the queue full; they go on when there is room.
    waiting: VecDeque<u64>,
    pub(super) holder: Holder,
}

impl Listening {
    /// How well the listener fits a destination: exactly, by wildcard, or not at all.
    fn fit(&self, host: HostAddr, to: &Address) -> Option<u8> {
        if self.host != host {
            return None;
        }
        match (&self.address, to) {
            (Address::Tcp(mine), Address::Tcp(to)) if mine.port() == to.port() => {
                if mine.ip() == to.ip() {
                    return Some(2);
                }
                let family = mine.is_ipv4() == to.is_ipv4() || (mine.is_ipv6() && !self.bind.ipv6_only);
                (mine.ip().is_unspecified() && family).then_some(1)
            }
            (Address::Unix(Some(mine)), Address::Unix(Some(to))) => (mine == to).then_some(2),
            _ => None,
        }
    }

    fn conflicts(&self, host: HostAddr, address: &Address, bind: Bind) -> bool {
        if self.host != host || (self.bind.reuse_port && bind.reuse_port) {
            return false;
        }
        match (&self.address, address) {
            (Address::Tcp(a), Address::Tcp(b)) => {
                let both = |v6: &SocketAddr, only: bool| v6.is_ipv6() && v6.ip().is_unspecified() && !only;
                let family =
                    a.is_ipv4() == b.is_ipv4() || both(a, self.bind.ipv6_only) || both(b, bind.ipv6_only);
                let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
                a.port() == b.port() && family && overlap
            }
            (Address::Unix(a), Address::Unix(b)) => a == b,
            _ => false,
        }
    }
}

/// What a loop finds when it wants to accept.
#[derive(Debug)]
pub(super) enum Accepted {
    Stream(u64, Address),
    /// No descriptor: so many queued connections were closed instead.
    Exhausted(usize, io::Error),
    Nothing,
}

impl State {
    // ---- bind ------------------------------------------------------------------------------------------------------

    pub(super) fn bind(&mut self, host: HostAddr, address: &Address, bind: Bind) -> io::Result<ListenerId> {
        let address = match address {
            Address::Tcp(address) => {
                if !self.owns(host, address.ip()) {
                    return Err(io::ErrorKind::AddrNotAvailable.into());
                }
                let mut address = *address;
                if address.port() == 0 {
                    address.set_port(self.ephemeral_port(host, false)?);
                }
                Address::Tcp(address)
            }
            Address::Unix(Some(path)) => Address::Unix(Some(path.clone())),
            Address::Unix(None) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        if self.listeners.values().any(|one| one.conflicts(host, &address, bind)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.open_descriptor(host)?;
        let id = ListenerId(self.next());
        let bind = Bind { backlog: bind.backlog.max(1), ..bind };
        let (queue, waiting, holder) = (VecDeque::new(), VecDeque::new(), Holder::Tasks(Vec::new()));
        self.listeners.insert(id, Listening { host, address, bind, queue, waiting, holder });
        Ok(id)
    }

    pub(super) fn close_listener(&mut self, id: ListenerId) {
        let Some(mut listener) = self.listeners.remove(&id) else { return };
        self.close_descriptor(listener.host);
        for conn in listener.queue.drain(..) {
            self.close(conn, 1, true);
        }
        for conn in listener.waiting.drain(..) {
            self.transmit(conn, 0, Arrival::Refused(io::ErrorKind::ConnectionRefused));
        }
        if let Holder::Tasks(waiting) = listener.holder {
            self.wakes.extend(waiting);
        }
    }

    // ---- connect ---------------------------------------------------------------------------------------------------

    pub(super) fn connect(&mut self, from: HostAddr, to: &Address, owner: Owner) -> io::Result<u64> {
        let (target, local, remote) = match to {
            Address::Tcp(to) if to.port() == 0 => return Err(io::ErrorKind::ConnectionRefused.into()),
            Address::Tcp(to) => {
                let ip = if to.ip().is_unspecified() { Self::source_ip(from, to.ip()) } else { to.ip() };
                (
                    self.route(from, ip),
                    Self::source_ip(from, ip),
                    Address::Tcp(SocketAddr::new(ip, to.port())),
                )
            }
            Address::Unix(None) => return Err(io::ErrorKind::InvalidInput.into()),
            Address::Unix(Some(_)) => {
                if !self.listeners.values().any(|one| one.fit(from, to).is_some()) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                (Some(from), IpAddr::from([0; 4]), to.clone())
            }
        };
        self.open_descriptor(from)?;
        let local = if to.tcp().is_some() {
            match self.ephemeral_port(from, true) {
                Ok(port) => Address::Tcp(SocketAddr::new(local, port)),
                Err(why) => {
                    self.close_descriptor(from);
                    return Err(why);
                }
            }
        } else {
            Address::Unix(None)
        };
        let id = self.next();
        let there = target.unwrap_or(from);
        let server = End::new(there, remote.clone(), local.clone(), Owner::Absent);
        let client = End::new(from, local, remote, owner);
        let mut conn = Conn { ends: [client, server], pipes: [Pipe::default(), Pipe::default()] };
        conn.pipes[0].until_reset = self.link(there, from).draw_reset(&mut self.rng);
        conn.pipes[1].until_reset = self.link(from, there).draw_reset(&mut self.rng);
        self.conns.insert(id, conn);
        match target {
            Some(_) => self.transmit(id, 1, Arrival::Syn),
            None => self.transmit(id, 0, Arrival::Refused(io::ErrorKind::HostUnreachable)),
        }
        Ok(id)
    }

    /// A handshake has reached its host.
    pub(super) fn syn_arrived(&mut self, id: u64) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (host, to) = (conn.ends[1].host, &conn.ends[1].local);
        let fits: Vec<(ListenerId, u8)> =
            self.listeners.iter().filter_map(|(id, one)| one.fit(host, to).map(|fit| (*id, fit))).collect();
        let best = fits.iter().map(|(_, fit)| *fit).max();
        let best: Vec<ListenerId> =
            fits.iter().filter(|(_, fit)| Some(*fit) == best).map(|(id, _)| *id).collect();
        let Some(chosen) = self.rng.choice(&best).copied() else {
            return self.transmit(id, 0, Arrival::Refused(io::ErrorKind::ConnectionRefused));
        };
        let Some(listener) = self.listeners.get_mut(&chosen) else { return };
        if listener.queue.len() >= listener.bind.backlog {
            listener.waiting.push_back(id);
        } else {
            self.establish(id, chosen);
        }
    }

    fn establish(&mut self, id: u64, at: ListenerId) {
        let (Some(conn), Some(listener)) = (self.conns.get_mut(&id), self.listeners.get_mut(&at)) else {
            return;
        };
        let end = &mut conn.ends[1];
        end.owner = Owner::Queued;
        end.established = true;
        if listener.address.ip().is_some_and(|ip| ip.is_ipv6()) {
            mapped(&mut end.local);
            mapped(&mut end.remote);
        }
        listener.queue.push_back(id);
        self.transmit(id, 0, Arrival::SynAck);
        self.notify_listener(at);
    }

    // ---- accept ----------------------------------------------------------------------------------------------------

    /// Tells the holder of a listener that its queue may hold something.
    pub(super) fn notify_listener(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        if listener.queue.is_empty() {
            return;
        }
        match &mut listener.holder {
            Holder::Tasks(waiting) => self.wakes.append(waiting),
            Holder::Loop { backend, paused: false, posted: posted @ false, backing_off: false } => {
                *posted = true;
                let backend = *backend;
                self.post(backend, Ready::Listener(id));
            }
            Holder::Loop { .. } => {}
        }
    }

    /// The loop has taken the entry of this listener out of its mailbox.
    pub(super) fn unpost_listener(&mut self, id: ListenerId) {
        if let Some(Listening { holder: Holder::Loop { posted, .. }, .. }) = self.listeners.get_mut(&id) {
            *posted = false;
        }
    }

    pub(super) fn pause_listener(&mut self, id: ListenerId, pause: bool) {
        if let Some(Listening { holder: Holder::Loop { paused, .. }, .. }) = self.listeners.get_mut(&id) {
            *paused = pause;
        }
        self.notify_listener(id);
    }

    pub(super) fn accept_again(&mut self, id: ListenerId) {
        if let Some(Listening { holder: Holder::Loop { backing_off, .. }, .. }) = self.listeners.get_mut(&id)
        {
            *backing_off = false;
        }
        self.notify_listener(id);
    }

    /// Takes the first connection of a queue, with a descriptor; the caller says who [owns](State::own) it.
    pub(super) fn accept(&mut self, id: ListenerId) -> io::Result<Option<(u64, Address)>> {
        let Some(listener) = self.listeners.get(&id) else { return Err(io::ErrorKind::NotConnected.into()) };
        if listener.queue.is_empty() {
            return Ok(None);
        }
        let host = listener.host;
        self.open_descriptor(host)?;
        while let Some(conn) = self.pop_queue(id) {
            if let Some(found) = self.conns.get(&conn) {
                return Ok(Some((conn, found.ends[1].remote.clone())));
            }
        }
        self.close_descriptor(host);
        Ok(None)
    }

    /// As [`State::accept`], for a loop: without a descriptor it closes the queue and backs off.
    pub(super) fn accept_for_loop(&mut self, id: ListenerId) -> Accepted {
        match self.listeners.get(&id).map(|one| &one.holder) {
            Some(Holder::Loop { paused: false, backing_off: false, .. }) => {}
            _ => return Accepted::Nothing,
        }
        match self.accept(id) {
            Ok(Some((conn, peer))) => Accepted::Stream(conn, peer),
            Ok(None) => Accepted::Nothing,
            Err(why) => {
                let mut shed = 0;
                let queued = self.listeners.get(&id).map_or(0, |one| one.queue.len());
                for _ in 0..queued {
                    let Some(conn) = self.pop_queue(id) else { break };
                    self.close(conn, 1, false);
                    shed += 1;
                }
                if let Some(Listening { holder: Holder::Loop { backing_off, .. }, .. }) =
                    self.listeners.get_mut(&id)
                {
                    *backing_off = true;
                }
                self.schedule(now() + BACK_OFF, Event::AcceptAgain(id));
                Accepted::Exhausted(shed, why)
            }
        }
    }

    fn pop_queue(&mut self, id: ListenerId) -> Option<u64> {
        let listener = self.listeners.get_mut(&id)?;
        let first = listener.queue.pop_front()?;
        // Room: the first handshake that waits and whose caller still does.
        while let Some(next) = self.listeners.get_mut(&id)?.waiting.pop_front() {
            if self.conns.contains_key(&next) {
                self.establish(next, id);
                break;
            }
        }
        Some(first)
    }

    // ---- crashes ---------------------------------------------------------------------------------------------------

    /// A host goes down and comes up again: its connections break at once, its peers hear of it, its listeners are gone.
    pub(super) fn crash(&mut self, host: HostAddr) {
        let dead: Vec<ListenerId> =
            self.listeners.iter().filter(|(_, one)| one.host == host).map(|(id, _)| *id).collect();
        for id in dead {
            let holder = self.listeners.get(&id).map(|one| &one.holder);
            if let Some(&Holder::Loop { backend, .. }) = holder {
                self.post(backend, Ready::ListenerDead(id));
            }
            self.close_listener(id);
        }
        let ids: Vec<u64> = self.conns.keys().copied().collect();
        for id in ids {
            for side in 0..2 {
                let Some(conn) = self.conns.get(&id) else { break };
                if conn.ends[side].host == host && !matches!(conn.ends[side].owner, Owner::Absent) {
                    self.transmit(id, 1 - side, Arrival::Reset);
                    self.break_end(id, side, io::ErrorKind::ConnectionReset);
                }
            }
        }
        self.clear_datagrams(host);
    }

    /// What a task that accepts on a listener without a host gets.
    pub(super) fn dead_listener() -> io::Error {
        io::Error::new(io::ErrorKind::NotConnected, "the listener's host was restarted")
    }

    pub(super) fn set_descriptor_limit(&mut self, host: HostAddr, limit: usize) {
        self.hosts[host.0 as usize].limit = limit;
    }
}

/// As a dual-stack listener shows the addresses of IPv4 connections.
fn mapped(address: &mut Address) {
    if let Address::Tcp(socket) = address {
        if let IpAddr::V4(ip) = socket.ip() {
            socket.set_ip(ip.to_ipv6_mapped().into());
        }
    }
}
