//! Datagram sockets of the simulated network: loss, reordering by latency, bounded buffers.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::task::{Poll, Waker};

use bytes::Bytes;

use super::network::Network;
use super::options::HostAddr;
use super::state::{Event, Ready, State, now};
use crate::{Datagram, DatagramId};

/// How many bytes one socket has in flight, and how many wait to be read, at most.
const BUFFER: usize = 212_992;
/// What a datagram counts beyond its payload, so that empty ones are bounded too.
const OVERHEAD: usize = 64;
/// The largest payload of a UDP datagram over IPv4.
const MAX_PAYLOAD: usize = 65_507;

#[derive(Debug)]
pub(super) enum Reader {
    Task { read: Option<Waker> },
    Loop { backend: usize, posted: bool },
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) host: HostAddr,
    pub(super) address: SocketAddr,
    pub(super) peer: Option<SocketAddr>,
    pub(super) reader: Reader,
    queue: VecDeque<(SocketAddr, Bytes)>,
    queued: usize,
    in_flight: usize,
    write_wanted: bool,
    refused: bool,
}

/// A datagram on its way.
#[derive(Debug)]
pub(super) struct Flight {
    sender: DatagramId,
    from: (HostAddr, SocketAddr),
    to: (HostAddr, SocketAddr),
    payload: Bytes,
}

/// What a loop hands out for a socket.
#[derive(Debug)]
pub(super) enum DatagramEvent {
    Received(SocketAddr, Bytes),
    Writable,
    Refused,
}

impl State {
    pub(super) fn bind_datagram(
        &mut self,
        host: HostAddr,
        mut address: SocketAddr,
    ) -> io::Result<DatagramId> {
        if !self.owns(host, address.ip()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if address.port() == 0 {
            address.set_port(self.ephemeral_port(host, false)?);
        }
        let clash = |one: &Socket| {
            let any = one.address.ip().is_unspecified() || address.ip().is_unspecified();
            let overlap =
                one.address.ip() == address.ip() || (any && one.address.is_ipv4() == address.is_ipv4());
            one.host == host && one.address.port() == address.port() && overlap
        };
        if self.datagrams.values().any(clash) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.open_descriptor(host)?;
        let id = DatagramId(self.next());
        let socket = Socket {
            host,
            address,
            peer: None,
            reader: Reader::Task { read: None },
            queue: VecDeque::new(),
            queued: 0,
            in_flight: 0,
            write_wanted: false,
            refused: false,
        };
        self.datagrams.insert(id, socket);
        Ok(id)
    }

    pub(super) fn close_datagram(&mut self, id: DatagramId) {
        if let Some(socket) = self.datagrams.remove(&id) {
            self.close_descriptor(socket.host);
            if let Reader::Task { read } = socket.reader {
                self.wakes.extend(read);
            }
        }
    }

    pub(super) fn send_datagram(
        &mut self,
        id: DatagramId,
        to: Option<SocketAddr>,
        payload: &[u8],
    ) -> io::Result<()> {
        let Some(socket) = self.datagrams.get_mut(&id) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let Some(to) = to.or(socket.peer) else { return Err(io::ErrorKind::NotConnected.into()) };
        if payload.len() > MAX_PAYLOAD {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "datagram too long"));
        }
        if socket.in_flight + payload.len() + OVERHEAD > BUFFER {
            socket.write_wanted = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (host, local) = (socket.host, socket.address);
        let Some(target) = self.route(host, to.ip()) else {
            return Err(io::ErrorKind::HostUnreachable.into());
        };
        let source = if local.ip().is_unspecified() { Self::source_ip(host, to.ip()) } else { local.ip() };
        let link = self.link(host, target);
        let lost = self.cuts.contains(&(host, target)) || (link.loss > 0.0 && self.rng.f64() < link.loss);
        let latency = link.draw_latency(&mut self.rng);
        if lost {
            return Ok(());
        }
        if let Some(socket) = self.datagrams.get_mut(&id) {
            socket.in_flight += payload.len() + OVERHEAD;
        }
        let to = if to.ip().is_unspecified() { SocketAddr::new(source, to.port()) } else { to };
        let flight = Flight {
            sender: id,
            from: (host, SocketAddr::new(source, local.port())),
            to: (target, to),
            payload: Bytes::copy_from_slice(payload),
        };
        self.schedule(now() + latency, Event::Datagram(flight));
        Ok(())
    }

    pub(super) fn datagram_arrived(&mut self, flight: Flight) {
        let Flight { sender, from, to, payload } = flight;
        let size = payload.len() + OVERHEAD;
        if let Some(socket) = self.datagrams.get_mut(&sender) {
            socket.in_flight = socket.in_flight.saturating_sub(size);
            if socket.write_wanted {
                self.notify_datagram(sender);
            }
        }
        if self.cuts.contains(&(from.0, to.0)) {
            return;
        }
        let meant = |one: &Socket| {
            let ip = one.address.ip() == to.1.ip()
                || (one.address.ip().is_unspecified() && one.address.is_ipv4() == to.1.is_ipv4());
            one.host == to.0
                && one.address.port() == to.1.port()
                && ip
                && one.peer.is_none_or(|peer| peer == from.1)
        };
        let found = self.datagrams.iter_mut().find(|(_, one)| meant(one));
        if let Some((&id, socket)) = found {
            if socket.queued + size <= BUFFER {
                socket.queued += size;
                socket.queue.push_back((from.1, payload));
                self.notify_datagram(id);
            }
        } else if self.datagrams.get(&sender).is_some_and(|socket| socket.peer == Some(to.1)) {
            let latency = self.link(to.0, from.0).draw_latency(&mut self.rng);
            self.schedule(now() + latency, Event::Unreachable(sender));
        }
    }

    pub(super) fn datagram_unreachable(&mut self, id: DatagramId) {
        if let Some(socket) = self.datagrams.get_mut(&id) {
            socket.refused = true;
            self.notify_datagram(id);
        }
    }

    fn datagram_due(socket: &Socket) -> bool {
        let writable = socket.write_wanted && socket.in_flight <= BUFFER / 2;
        socket.refused || writable || !socket.queue.is_empty()
    }

    pub(super) fn notify_datagram(&mut self, id: DatagramId) {
        let Some(socket) = self.datagrams.get_mut(&id) else { return };
        let due = Self::datagram_due(socket);
        match &mut socket.reader {
            Reader::Task { read } => self.wakes.extend(read.take()),
            Reader::Loop { backend, posted } if due && !*posted => {
                *posted = true;
                let backend = *backend;
                self.post(backend, Ready::Datagram(id));
            }
            Reader::Loop { .. } => {}
        }
    }

    pub(super) fn unpost_datagram(&mut self, id: DatagramId) {
        if let Some(Socket { reader: Reader::Loop { posted, .. }, .. }) = self.datagrams.get_mut(&id) {
            *posted = false;
        }
    }

    pub(super) fn take_datagram(&mut self, id: DatagramId) -> Option<DatagramEvent> {
        let socket = self.datagrams.get_mut(&id)?;
        if std::mem::take(&mut socket.refused) {
            return Some(DatagramEvent::Refused);
        }
        if socket.write_wanted && socket.in_flight <= BUFFER / 2 {
            socket.write_wanted = false;
            return Some(DatagramEvent::Writable);
        }
        let (from, payload) = socket.queue.pop_front()?;
        socket.queued -= payload.len() + OVERHEAD;
        Some(DatagramEvent::Received(from, payload))
    }

    /// What waits in the sockets of a host that goes down is lost.
    pub(super) fn clear_datagrams(&mut self, host: HostAddr) {
        for socket in self.datagrams.values_mut().filter(|socket| socket.host == host) {
            socket.queue.clear();
            socket.queued = 0;
        }
    }
}

/// A bound datagram socket of a simulated network, for the tasks of a test, or to be given to a loop.
///
/// Dropping it closes it. Lossless delivery is the default; see
/// [`LinkOptions::loss`](super::LinkOptions::loss).
pub struct SimDatagram {
    network: Network,
    id: Option<DatagramId>,
    address: SocketAddr,
}

impl SimDatagram {
    pub(super) fn new(network: Network, id: DatagramId, address: SocketAddr) -> Self {
        Self { network, id: Some(id), address }
    }

    /// The address it is bound to.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// Gives the socket up without closing it.
    pub(super) fn into_id(mut self) -> Option<DatagramId> {
        self.id.take()
    }

    fn id(&self) -> io::Result<DatagramId> {
        self.id.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Fixes the peer: only its datagrams are received, and an unreachable one is reported.
    ///
    /// # Errors
    /// `NotConnected` if the socket is gone.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        let id = self.id()?;
        self.network.with(|state| match state.datagrams.get_mut(&id) {
            Some(socket) => {
                socket.peer = Some(peer);
                Ok(())
            }
            None => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    /// Sends one datagram: to `to`, or to the connected peer.
    ///
    /// # Errors
    /// `WouldBlock` when 208 KiB are in flight; `InvalidInput` beyond 65,507 bytes; `HostUnreachable` when no host has
    /// that address; `NotConnected` without a destination.
    pub fn send_to(&self, payload: &[u8], to: Option<SocketAddr>) -> io::Result<()> {
        let id = self.id()?;
        self.network.with(|state| state.send_datagram(id, to, payload))
    }

    /// Waits for one datagram and says who sent it.
    ///
    /// # Errors
    /// `ConnectionRefused` when the connected peer is unreachable; `NotConnected` if the socket is gone.
    pub async fn recv_from(&self) -> io::Result<(Bytes, SocketAddr)> {
        std::future::poll_fn(|cx| {
            let id = self.id()?;
            self.network.with(|state| {
                while let Some(event) = state.take_datagram(id) {
                    match event {
                        DatagramEvent::Received(from, payload) => return Poll::Ready(Ok((payload, from))),
                        DatagramEvent::Refused => {
                            return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
                        }
                        DatagramEvent::Writable => {}
                    }
                }
                match state.datagrams.get_mut(&id) {
                    Some(Socket { reader: Reader::Task { read }, .. }) => {
                        *read = Some(cx.waker().clone());
                        Poll::Pending
                    }
                    _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
                }
            })
        })
        .await
    }
}

impl From<SimDatagram> for Datagram {
    fn from(socket: SimDatagram) -> Self {
        Self::simulated(socket)
    }
}

impl Drop for SimDatagram {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.network.with(|state| state.close_datagram(id));
        }
    }
}

impl fmt::Debug for SimDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDatagram").field("address", &self.address).finish_non_exhaustive()
    }
}
