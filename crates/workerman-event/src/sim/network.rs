//! The handle of a simulated network, and the task that moves it along.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::backend::Sim;
use super::datagram::SimDatagram;
use super::link::Owner;
use super::listen::Bind;
use super::options::{HostAddr, LinkOptions};
use super::state::State;
use super::stream::{SimListener, SimStream};
use crate::{Address, ListenOptions, Signal};

/// A network of simulated hosts in virtual time; a cheap handle of it.
///
/// It lives inside one tokio runtime with a paused clock: see [`block_on`](super::block_on), which makes both. Any
/// number of loops ([`Network::backend_on`]) and of plain tasks ([`Network::connect`], [`Network::listen`]) share it.
/// Each random choice comes from its seed.
///
/// # Examples
/// ```
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use workerman_event::sim;
///
/// sim::block_on(7, async |network| {
///     let (server, client) = (network.host("server"), network.host("client"));
///     let listener = network.listen(server, 80).unwrap();
///     let mut near = network.connect(client, server.socket(80)).await.unwrap();
///     let mut far = listener.accept().await.unwrap();
///     near.write_all(b"hello").await.unwrap();
///     drop(near);
///     let mut all = Vec::new();
///     far.read_to_end(&mut all).await.unwrap();
///     assert_eq!(all, b"hello");
/// });
/// ```
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

impl Network {
    /// A network without hosts, whose links are [perfect](LinkOptions::default).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(seed: u64) -> Self {
        let network = Self(Arc::new(Mutex::new(State::new(seed))));
        tokio::spawn(drive(Arc::downgrade(&network.0)));
        network
    }

    /// Runs `f` on the state, and wakes whom it found to be woken when the state is free again.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        with(&self.0, f)
    }

    /// Whether both are handles of one network.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    // ---- hosts and loops -------------------------------------------------------------------------------------------

    /// The host of this name; it is made when it is first named, with the next free address.
    pub fn host(&self, name: &str) -> HostAddr {
        self.with(|state| state.host(name))
    }

    /// The name of a host; `None` if it belongs to another network.
    pub fn host_name(&self, host: HostAddr) -> Option<String> {
        self.with(|state| state.hosts.get(host.0 as usize).map(|host| host.name.clone()))
    }

    /// A backend for one more loop, on the host `localhost`.
    pub fn backend(&self) -> Sim {
        self.backend_on(self.host("localhost"))
    }

    /// A backend for one more loop on a host.
    pub fn backend_on(&self, host: HostAddr) -> Sim {
        Sim::new(self.clone(), host)
    }

    // ---- links -----------------------------------------------------------------------------------------------------

    /// Chooses how hosts are linked that have no link of their own.
    pub fn set_default(&self, options: LinkOptions) {
        self.with(|state| state.set_default(options));
    }

    /// Chooses how two hosts are linked, in both directions.
    pub fn set_between(&self, a: HostAddr, b: HostAddr, options: LinkOptions) {
        self.with(|state| {
            state.set_link(a, b, options.clone());
            state.set_link(b, a, options);
        });
    }

    /// Chooses how `from` is linked to `to`, in this direction alone.
    pub fn set_one_way(&self, from: HostAddr, to: HostAddr, options: LinkOptions) {
        self.with(|state| state.set_link(from, to, options));
    }

    /// Cuts two hosts off from each other until they are [healed](Network::heal).
    ///
    /// Nothing is delivered meanwhile, not even a handshake or a reset: connects hang, connections stall. Datagrams
    /// are lost.
    pub fn partition(&self, a: HostAddr, b: HostAddr) {
        self.partition_one_way(a, b);
        self.partition_one_way(b, a);
    }

    /// Lets nothing from `from` reach `to`, until the two are healed.
    pub fn partition_one_way(&self, from: HostAddr, to: HostAddr) {
        self.with(|state| state.cuts.insert((from, to)));
    }

    /// Ends a partition. What was sent meanwhile is delivered, in order.
    pub fn heal(&self, a: HostAddr, b: HostAddr) {
        self.with(|state| {
            state.cuts.remove(&(a, b));
            state.cuts.remove(&(b, a));
            state.rearm_between(a, b);
        });
    }

    /// Breaks all connections between two hosts; both ends get a reset.
    pub fn reset_between(&self, a: HostAddr, b: HostAddr) {
        self.with(|state| {
            for id in state.between(a, b) {
                state.sever(id);
            }
        });
    }

    /// Crashes and restarts a host: its ends of all connections break at once, the peers are sent a reset, its
    /// listeners are gone, and what waits in its datagram sockets is lost.
    ///
    /// A loop of that host lives on and hears of it: [`failed`](crate::Sink::failed) for each connection,
    /// [`accept_failed`](crate::Sink::accept_failed) once for each listener. A test that restarts the program too
    /// drops its loop and makes a new one.
    pub fn reset_all(&self, host: HostAddr) {
        self.with(|state| state.crash(host));
    }

    /// Lets a host have at most `descriptors` open sockets (listeners, connections, datagram sockets; those of tasks
    /// count too, connections in a queue do not). The default is no limit.
    ///
    /// Beyond it connects and binds fail with "too many open files"; a loop that accepts closes what is queued,
    /// reports it, and tries again 100 ms later.
    pub fn set_descriptor_limit(&self, host: HostAddr, descriptors: usize) {
        self.with(|state| state.set_descriptor_limit(host, descriptors));
    }

    /// How many sockets a host has open; see [`Network::set_descriptor_limit`].
    pub fn open_descriptors(&self, host: HostAddr) -> usize {
        self.with(|state| state.hosts.get(host.0 as usize).map_or(0, |host| host.open))
    }

    // ---- names, signals, time --------------------------------------------------------------------------------------

    /// Gives a name its addresses, which [`Backend::resolve`](crate::Backend::resolve) finds in this order.
    ///
    /// Upper and lower case are equal. The names of hosts and `localhost` are found without this; an empty list makes
    /// a name unknown.
    pub fn add_name(&self, name: &str, addresses: impl Into<Vec<IpAddr>>) {
        let addresses = addresses.into();
        self.with(|state| state.names.insert(name.to_ascii_lowercase(), addresses));
    }

    /// Chooses how long a look-up takes (default: no time). Literal addresses are answered at once.
    pub fn set_lookup_latency(&self, latency: RangeInclusive<Duration>) {
        self.with(|state| state.lookup_latency = latency);
    }

    /// Raises a signal in all loops that watch it.
    pub fn raise(&self, signal: Signal) {
        self.with(|state| state.raise(None, signal));
    }

    /// Raises a signal in the loops of one host that watch it.
    pub fn raise_on(&self, host: HostAddr, signal: Signal) {
        self.with(|state| state.raise(Some(host), signal));
    }

    /// A random number from the network's seed, for a test's own choices.
    pub fn random(&self) -> u64 {
        self.with(|state| state.rng.u64(..))
    }

    /// Where the generator stands: unchanged as long as nothing was drawn.
    #[cfg(test)]
    pub(super) fn random_state(&self) -> u64 {
        self.with(|state| state.rng.get_seed())
    }

    /// The virtual time since the network was made.
    pub fn elapsed(&self) -> Duration {
        self.with(|state| state.elapsed())
    }

    // ---- sockets ---------------------------------------------------------------------------------------------------

    /// Opens a listener on all IPv4 addresses of a host, for a task to [accept](SimListener::accept) from.
    ///
    /// # Errors
    /// As [`Network::bind`].
    pub fn listen(&self, host: HostAddr, port: u16) -> io::Result<SimListener> {
        let address = SocketAddr::from(([0, 0, 0, 0], port));
        self.bind(host, address, &ListenOptions::default())
    }

    /// Opens a listener on a host, for a task to accept from or to be given to a loop.
    ///
    /// Port 0 chooses one. A wildcard address takes every destination of the host, `[::]` also IPv4 unless it is
    /// told not to; a loopback address is reached from the same host only. Connections between listeners that share
    /// an address are spread by the seed. When the queue is full, handshakes wait until there is room, as on Linux.
    ///
    /// # Errors
    /// `AddrInUse`; `AddrNotAvailable` for an address of another host; out of descriptors.
    pub fn bind(
        &self,
        host: HostAddr,
        address: impl Into<Address>,
        options: &ListenOptions,
    ) -> io::Result<SimListener> {
        let bind = Bind {
            backlog: options.backlog as usize,
            reuse_port: options.reuse_port,
            ipv6_only: options.ipv6_only.unwrap_or(false),
        };
        let address = address.into();
        let (id, address) = self.with(|state| {
            let id = state.bind(host, &address, bind)?;
            io::Result::Ok((id, state.listeners.get(&id).map_or(address, |one| one.address.clone())))
        })?;
        Ok(SimListener::new(self.clone(), id, address))
    }

    /// Opens a datagram socket on a host, for a task or to be given to a loop. Port 0 chooses one.
    ///
    /// # Errors
    /// As [`Network::bind`].
    pub fn bind_datagram(&self, host: HostAddr, address: SocketAddr) -> io::Result<SimDatagram> {
        let (id, address) = self.with(|state| {
            let id = state.bind_datagram(host, address)?;
            io::Result::Ok((id, state.datagrams.get(&id).map_or(address, |one| one.address)))
        })?;
        Ok(SimDatagram::new(self.clone(), id, address))
    }

    /// Connects from a host, for a task. It hangs as long as a partition lies between.
    ///
    /// # Errors
    /// `ConnectionRefused` when nobody listens; `HostUnreachable` when no host has the address; `NotFound` for a unix
    /// path without a listener; `AddrNotAvailable` without a free port; out of descriptors.
    pub async fn connect(&self, from: HostAddr, to: impl Into<Address>) -> io::Result<SimStream> {
        let to = to.into();
        let owner = Owner::Task { read: None, write: None };
        let id = self.with(|state| state.connect(from, &to, owner))?;
        SimStream::new(self.clone(), id, 0).connected().await
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|state| {
            f.debug_struct("Network")
                .field("hosts", &state.hosts.len())
                .field("connections", &state.conns.len())
                .field("listeners", &state.listeners.len())
                .finish_non_exhaustive()
        })
    }
}

fn with<T>(state: &Mutex<State>, f: impl FnOnce(&mut State) -> T) -> T {
    let (result, wakes) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut state);
        (result, std::mem::take(&mut state.wakes))
    };
    for waker in wakes {
        waker.wake();
    }
    result
}

/// Carries out the events of the network when they are due.
async fn drive(state: Weak<Mutex<State>>) {
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let mut asleep_until: Option<Instant> = None;
    std::future::poll_fn(|cx| {
        loop {
            let Some(state) = state.upgrade() else { return Poll::Ready(()) };
            let Some(next) = with(&state, |state| state.advance(cx.waker())) else { return Poll::Pending };
            if asleep_until != Some(next) {
                sleep.as_mut().reset(next.into());
                asleep_until = Some(next);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            asleep_until = None;
        }
    })
    .await;
}
