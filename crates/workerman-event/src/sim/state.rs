//! The whole simulated network as one value: hosts, clock, due events, mailboxes of the loops.
//!
//! Everything that could depend on the machine is kept out: collections are ordered, identifiers are counted, and each
//! choice is drawn from the one seeded generator.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::datagram::Socket;
use super::link::Conn;
use super::listen::Listening;
use super::options::{HostAddr, LinkOptions};
use crate::{Address, DatagramId, ListenerId, ResolveId, Signal, Token};

/// The wall clock of a simulation starts here, in every run: 2023-11-14 22:13:20 UTC.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// The lowest port handed out for port 0.
const FIRST_EPHEMERAL: u16 = 10_000;

/// What a mailbox holds for its loop.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ready {
    Stream(Token),
    Listener(ListenerId),
    ListenerDead(ListenerId),
    Resolved(ResolveId),
    Datagram(DatagramId),
    Signal(Signal),
}

/// One loop's side of the network: what is ready for it, and how to wake it.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) host: HostAddr,
    pub(super) ready: Vec<Ready>,
    pub(super) waker: Option<Waker>,
    pub(super) watched: Vec<Signal>,
}

/// What happens at a chosen time.
#[derive(Debug)]
pub(super) enum Event {
    /// The front of a pipe has arrived.
    Arrive {
        conn: u64,
        to: usize,
    },
    Resolved(ResolveId),
    /// The back-off of a listener is over.
    AcceptAgain(ListenerId),
    Datagram(super::datagram::Flight),
    Unreachable(DatagramId),
}

#[derive(Debug)]
struct Timed {
    due: Instant,
    /// Drawn, so that the seed decides the order within an instant.
    tie: u32,
    sequence: u64,
    event: Event,
}

impl Timed {
    fn key(&self) -> (Instant, u32, u64) {
        (self.due, self.tie, self.sequence)
    }
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    /// Open descriptors: listeners, streams (not those in a queue), datagram sockets.
    pub(super) open: usize,
    pub(super) limit: usize,
    next_port: u16,
    client_ports: BTreeSet<u16>,
}

#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) backend: usize,
    pub(super) name: String,
    pub(super) port: u16,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: Rng,
    start: Instant,
    sequence: u64,
    due: BinaryHeap<Reverse<Timed>>,
    driver: Option<Waker>,
    /// Wakers to call as soon as the lock is released.
    pub(super) wakes: Vec<Waker>,
    pub(super) hosts: Vec<Host>,
    default_link: Arc<LinkOptions>,
    links: BTreeMap<(HostAddr, HostAddr), Arc<LinkOptions>>,
    pub(super) cuts: BTreeSet<(HostAddr, HostAddr)>,
    pub(super) names: BTreeMap<String, Vec<IpAddr>>,
    pub(super) lookup_latency: RangeInclusive<Duration>,
    pub(super) lookups: BTreeMap<ResolveId, Lookup>,
    pub(super) conns: BTreeMap<u64, Conn>,
    pub(super) listeners: BTreeMap<ListenerId, Listening>,
    pub(super) datagrams: BTreeMap<DatagramId, Socket>,
    pub(super) mailboxes: Vec<Mailbox>,
}

/// The virtual time.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(super) fn too_many_files() -> io::Error {
    #[cfg(unix)]
    return rustix::io::Errno::MFILE.into();
    #[cfg(not(unix))]
    return io::Error::other("too many open files");
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            start: now(),
            sequence: 0,
            due: BinaryHeap::new(),
            driver: None,
            wakes: Vec::new(),
            hosts: Vec::new(),
            default_link: Arc::default(),
            links: BTreeMap::new(),
            cuts: BTreeSet::new(),
            names: BTreeMap::new(),
            lookup_latency: Duration::ZERO..=Duration::ZERO,
            lookups: BTreeMap::new(),
            conns: BTreeMap::new(),
            listeners: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            mailboxes: Vec::new(),
        }
    }

    /// The next number for anything that needs a name of its own.
    pub(super) fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(super) fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.start)
    }

    pub(super) fn unix_time(&self) -> Duration {
        EPOCH + self.elapsed()
    }

    // ---- time ------------------------------------------------------------------------------------------------------

    pub(super) fn schedule(&mut self, due: Instant, event: Event) {
        let (tie, sequence) = (self.rng.u32(..), self.next());
        self.due.push(Reverse(Timed { due, tie, sequence, event }));
        self.wakes.extend(self.driver.take());
    }

    /// Carries out what is due, and says when the next event is.
    pub(super) fn advance(&mut self, driver: &Waker) -> Option<Instant> {
        let now = now();
        while let Some(Reverse(first)) = self.due.peek() {
            if first.due > now {
                break;
            }
            let Some(Reverse(timed)) = self.due.pop() else { break };
            match timed.event {
                Event::Arrive { conn, to } => self.deliver(conn, to),
                Event::Resolved(id) => {
                    if let Some(lookup) = self.lookups.get(&id) {
                        self.post(lookup.backend, Ready::Resolved(id));
                    }
                }
                Event::AcceptAgain(id) => self.accept_again(id),
                Event::Datagram(flight) => self.datagram_arrived(flight),
                Event::Unreachable(id) => self.datagram_unreachable(id),
            }
        }
        self.driver = Some(driver.clone());
        self.due.peek().map(|Reverse(timed)| timed.due)
    }

    // ---- loops -----------------------------------------------------------------------------------------------------

    pub(super) fn post(&mut self, backend: usize, ready: Ready) {
        if let Some(mailbox) = self.mailboxes.get_mut(backend) {
            mailbox.ready.push(ready);
            self.wakes.extend(mailbox.waker.take());
        }
    }

    /// Takes what is ready for a loop, in an order that the seed chooses.
    pub(super) fn collect(&mut self, backend: usize) -> Vec<Ready> {
        let mut ready = std::mem::take(&mut self.mailboxes[backend].ready);
        self.rng.shuffle(&mut ready);
        ready
    }

    // ---- hosts -----------------------------------------------------------------------------------------------------

    pub(super) fn host(&mut self, name: &str) -> HostAddr {
        if let Some(found) = self.find_host(name) {
            return found;
        }
        let host = HostAddr(u32::try_from(self.hosts.len()).expect("fewer than 2^24 hosts"));
        assert!(host.0 < (1 << 24) - 1, "a simulated network has at most 2^24 - 1 hosts");
        self.hosts.push(Host {
            name: name.to_owned(),
            open: 0,
            limit: usize::MAX,
            next_port: FIRST_EPHEMERAL,
            client_ports: BTreeSet::new(),
        });
        host
    }

    pub(super) fn find_host(&self, name: &str) -> Option<HostAddr> {
        let at = self.hosts.iter().position(|host| host.name == name)?;
        u32::try_from(at).ok().map(HostAddr)
    }

    /// The host that an address means to somebody on `from`.
    pub(super) fn route(&self, from: HostAddr, ip: IpAddr) -> Option<HostAddr> {
        let ip = ip.to_canonical();
        if ip.is_loopback() || ip.is_unspecified() {
            return Some(from);
        }
        let number = match ip {
            IpAddr::V4(ip) => {
                let [ten, rest @ ..] = ip.octets();
                (ten == 10).then(|| u32::from_be_bytes([0, rest[0], rest[1], rest[2]]))?
            }
            IpAddr::V6(ip) => {
                let [head @ .., high, low] = ip.segments();
                (head == [0xfd00, 0, 0, 0, 0, 0]).then(|| (u32::from(high) << 16) | u32::from(low))?
            }
        };
        let index = number.checked_sub(1)?;
        ((index as usize) < self.hosts.len()).then_some(HostAddr(index))
    }

    /// The address that somebody on `from` appears under at `to`.
    pub(super) fn source_ip(from: HostAddr, to: IpAddr) -> IpAddr {
        match to.to_canonical() {
            IpAddr::V4(ip) if ip.is_loopback() || ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_loopback() || ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            IpAddr::V4(_) => from.ip(),
            IpAddr::V6(_) => from.ipv6(),
        }
    }

    pub(super) fn link(&self, from: HostAddr, to: HostAddr) -> Arc<LinkOptions> {
        self.links.get(&(from, to)).unwrap_or(&self.default_link).clone()
    }

    pub(super) fn set_default(&mut self, options: LinkOptions) {
        self.default_link = Arc::new(options);
    }

    pub(super) fn set_link(&mut self, from: HostAddr, to: HostAddr, options: LinkOptions) {
        self.links.insert((from, to), Arc::new(options));
    }

    /// Takes a descriptor of a host.
    pub(super) fn open_descriptor(&mut self, host: HostAddr) -> io::Result<()> {
        let host = &mut self.hosts[host.0 as usize];
        if host.open >= host.limit {
            return Err(too_many_files());
        }
        host.open += 1;
        Ok(())
    }

    pub(super) fn close_descriptor(&mut self, host: HostAddr) {
        let host = &mut self.hosts[host.0 as usize];
        host.open = host.open.saturating_sub(1);
    }

    /// A free port of a host, and its reservation if it is for a connecting socket.
    pub(super) fn ephemeral_port(&mut self, host: HostAddr, client: bool) -> io::Result<u16> {
        for _ in FIRST_EPHEMERAL..=u16::MAX {
            let at = host.0 as usize;
            let port = self.hosts[at].next_port;
            self.hosts[at].next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL);
            if !self.hosts[at].client_ports.contains(&port) && !self.port_bound(host, port) {
                if client {
                    self.hosts[at].client_ports.insert(port);
                }
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }

    pub(super) fn free_client_port(&mut self, host: HostAddr, address: &Address) {
        if let Some(port) = address.port() {
            self.hosts[host.0 as usize].client_ports.remove(&port);
        }
    }

    fn port_bound(&self, host: HostAddr, port: u16) -> bool {
        self.listeners.values().any(|one| one.host == host && one.address.port() == Some(port))
            || self.datagrams.values().any(|one| one.host == host && one.address.port() == port)
    }

    /// Whether `ip` may be bound on `host`.
    pub(super) fn owns(&self, host: HostAddr, ip: IpAddr) -> bool {
        ip.is_unspecified() || ip.is_loopback() || ip == host.ip() || ip == host.ipv6()
    }

    // ---- names -----------------------------------------------------------------------------------------------------

    pub(super) fn resolve(&mut self, backend: usize, host: &str, port: u16) -> ResolveId {
        let id = ResolveId(self.next());
        let literal = parse_ip(host).is_some();
        let wait = if literal {
            Duration::ZERO
        } else {
            super::options::draw_duration(&self.lookup_latency, &mut self.rng)
        };
        self.lookups.insert(id, Lookup { backend, name: host.to_owned(), port });
        self.schedule(now() + wait, Event::Resolved(id));
        id
    }

    /// The answer of a look-up that has ended; `None` if it was cancelled.
    pub(super) fn answer(&mut self, id: ResolveId) -> Option<io::Result<Vec<SocketAddr>>> {
        let Lookup { name, port, .. } = self.lookups.remove(&id)?;
        let found = if let Some(ip) = parse_ip(&name) {
            vec![ip]
        } else if let Some(ips) = self.names.get(&name.to_ascii_lowercase()) {
            ips.clone()
        } else if name.eq_ignore_ascii_case("localhost") {
            vec![Ipv4Addr::LOCALHOST.into()]
        } else {
            self.find_host(&name).map(HostAddr::ip).into_iter().collect()
        };
        if found.is_empty() {
            let why = format!("no such name: {name}");
            return Some(Err(io::Error::new(io::ErrorKind::NotFound, why)));
        }
        Some(Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()))
    }

    pub(super) fn raise(&mut self, host: Option<HostAddr>, signal: Signal) {
        for backend in 0..self.mailboxes.len() {
            let mailbox = &self.mailboxes[backend];
            let meant = host.is_none_or(|host| host == mailbox.host);
            // A pending signal is not queued twice, as in a real system.
            let pending = mailbox.ready.iter().any(|one| matches!(one, Ready::Signal(s) if *s == signal));
            if meant && !pending && mailbox.watched.contains(&signal) {
                self.post(backend, Ready::Signal(signal));
            }
        }
    }
}

fn parse_ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}
