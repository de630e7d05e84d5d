//! The simulated world: hosts, links, workers that crash and come back.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use workerman_connection::BoxError;
use workerman_event::Address;
use workerman_event::sim::{HostAddr, LinkOptions, Network};

use super::program::{Place, Tasks};

/// A client or a scenario that runs: its name, and what it waits for.
pub(super) struct Actor {
    pub(super) name: String,
    waits_for: Cell<Option<&'static str>>,
    done: Cell<bool>,
}

impl Actor {
    pub(super) fn new(name: String) -> Rc<Self> {
        Rc::new(Self { name, waits_for: Cell::new(None), done: Cell::new(false) })
    }

    /// Notes what it waits for, as long as the result lives.
    pub(super) fn waits(self: &Rc<Self>, what: &'static str) -> Waits {
        Waits(Rc::clone(self), self.waits_for.replace(Some(what)))
    }

    pub(super) fn ended(&self) {
        self.done.set(true);
    }

    /// `None` when it is done.
    pub(super) fn still(&self) -> Option<String> {
        if self.done.get() {
            return None;
        }
        Some(match self.waits_for.get() {
            Some(what) => format!("{} (for {what})", self.name),
            None => self.name.clone(),
        })
    }
}

pub(super) struct Waits(Rc<Actor>, Option<&'static str>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waits_for.set(self.1);
    }
}

/// What all parts of a simulation share.
pub(super) struct World {
    pub(super) network: Network,
    pub(super) places: RefCell<Vec<Place>>,
    pub(super) workers: Tasks,
    pub(super) actors: RefCell<JoinSet<(String, Result<(), BoxError>)>>,
    /// The names of the clients' hosts.
    pub(super) clients: Vec<String>,
}

/// What a scenario does to the simulated world: time, links, partitions, crashes and restarts, all by the hosts' names.
///
/// A cheap handle; a client has one too ([`Peer::scene`](super::Peer::scene)).
#[derive(Clone)]
pub struct Scene {
    pub(super) world: Rc<World>,
}

impl Scene {
    /// The network, for everything that this type does not wrap.
    pub fn network(&self) -> &Network {
        &self.world.network
    }

    /// The host of a worker or a client.
    ///
    /// # Panics
    /// If there is none of this name: a mistyped name would make a host that nobody uses.
    #[track_caller]
    pub fn host(&self, name: &str) -> HostAddr {
        let places = self.world.places.borrow();
        let mut names: Vec<&str> = places.iter().map(|place| place.name.as_str()).collect();
        names.extend(self.world.clients.iter().map(String::as_str));
        assert!(names.contains(&name), "no host {name} in this simulation; there are {}", names.join(", "));
        self.world.network.host(name)
    }

    /// Lets virtual time pass.
    pub async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// The virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.world.network.elapsed()
    }

    /// A random number from the seed.
    pub fn random(&self) -> u64 {
        self.world.network.random()
    }

    /// Chooses how two hosts are linked, in both directions; see [`LinkOptions`].
    ///
    /// # Panics
    /// If a name is unknown, as all calls of this type.
    #[track_caller]
    pub fn link(&self, a: &str, b: &str, options: LinkOptions) {
        self.network().set_between(self.host(a), self.host(b), options);
    }

    /// Cuts two hosts off from each other; see [`Network::partition`].
    #[track_caller]
    pub fn partition(&self, a: &str, b: &str) {
        self.network().partition(self.host(a), self.host(b));
    }

    /// Ends a partition; what was sent meanwhile is delivered.
    #[track_caller]
    pub fn heal(&self, a: &str, b: &str) {
        self.network().heal(self.host(a), self.host(b));
    }

    /// Breaks all connections between two hosts.
    #[track_caller]
    pub fn reset(&self, a: &str, b: &str) {
        self.network().reset_between(self.host(a), self.host(b));
    }

    /// Stops the workers of a host gracefully, as SIGTERM does; returns at once.
    #[track_caller]
    pub fn stop(&self, host: &str) {
        self.with_places(host, |place, _| place.stop());
    }

    /// Crashes a host: its workers are gone in this instant, without a callback; their peers see a reset.
    #[track_caller]
    pub fn crash(&self, host: &str) {
        self.with_places(host, |place, _| place.crash());
        self.network().reset_all(self.host(host));
    }

    /// Starts the workers of a host again, with empty memory; crashes them first if they run.
    ///
    /// # Panics
    /// If a worker of the host was not given to [`Sim::restartable`](super::Sim::restartable), or cannot start.
    #[track_caller]
    pub fn restart(&self, host: &str) {
        self.crash(host);
        self.with_places(host, |place, world| place.start(&world.network, &world.workers));
    }

    /// The addresses that the workers of a host listen on, or listened on before they ended.
    #[track_caller]
    pub fn addresses(&self, host: &str) -> Vec<Address> {
        let mut addresses = Vec::new();
        self.with_places(host, |place, _| addresses.extend_from_slice(place.addresses()));
        addresses
    }

    #[track_caller]
    fn with_places(&self, host: &str, mut f: impl FnMut(&mut Place, &World)) {
        let mut places = self.world.places.borrow_mut();
        let mut found = false;
        for place in places.iter_mut().filter(|place| place.name == host) {
            found = true;
            f(place, &self.world);
        }
        assert!(found, "no worker on a host {host} in this simulation");
    }
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("elapsed", &self.elapsed()).finish_non_exhaustive()
    }
}
