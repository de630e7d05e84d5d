//! The simulator: your real workers and clients on a network in memory, in virtual time, decided by one seed.
//!
//! [`Sim`] runs [`Worker`]s as they are, each on a host of its own, beside client closures ([`Peer`], [`Wire`]) and
//! scenarios ([`Scene`]) that partition, slow down, crash and restart. Everything is one thread and one paused clock:
//! when everybody waits, time jumps to the next timer, so an hour of idling takes milliseconds. `tokio::time`,
//! [`Timer`](crate::Timer) and [`sleep`](crate::sleep) inside a worker run in that time; a [`Client`](crate::Client)
//! made by a worker connects over the simulated network, and looks up names there: each host by its name.
//!
//! ```
//! use workerman::prelude::*;
//! use workerman::sim::Sim;
//!
//! # fn main() {
//! let echo = Worker::text("0.0.0.0:2347").on_message(|_, line| format!("you said {line}"));
//! Sim::seed(7)
//!     .worker(echo)
//!     .client("ann", async |peer| {
//!         let mut wire = peer.connect().await;
//!         wire.send_line("hello").await;
//!         assert_eq!(wire.line().await, "you said hello");
//!     })
//!     .run();
//! # }
//! ```
//!
//! # Replay
//! The seed decides segment sizes, latencies, losses, and the order of what happens in one instant. The same program
//! with the same seed does the same. A run that fails prints its seed, and `WORKERMAN_SIM_SEED=0x7 cargo test name`
//! replays it; other seeds explore other interleavings.
//!
//! # What lies outside
//! The simulation decides none of these, and a program that depends on one may differ between two runs:
//! - tokio's `select!` without `biased`, which draws its own random numbers;
//! - the iteration order of a `HashMap` with the standard hasher, and the order of addresses in memory;
//! - threads and `spawn_blocking`: they run in real time, while the clock stands still;
//! - `tokio::spawn` in a worker: such a task runs, but belongs to no loop, so that [`Timer`](crate::Timer) and clients answer
//!   [`NoLoop`](crate::ConnectionError::NoLoop) there. [`workerman::spawn`](crate::spawn) is simulated whole;
//! - files, the environment, the system's clock and random numbers; real sockets panic, for want of an I/O driver;
//! - [`Connection::id`](crate::Connection::id), which counts over the whole process, so over all runs in it.
//!
//! Threads of a worker ([`Worker::threads`]) are simulated as loops of the one thread, each with its own listener. What
//! cannot be simulated says so: `serve` inside a simulation is an error, and so is a client made outside of a worker.
//! A program that never waits lets no time pass and never ends; no limit can catch it.

mod binder;
mod peer;
mod program;
mod scene;

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::JoinSet;
use workerman_connection::BoxError;
pub use workerman_event::sim::{
    HostAddr, LinkOptions, Network, SEED_VARIABLE, SimDatagram, SimListener, SimStream,
};
use workerman_protocol::Protocol;

pub use peer::{Peer, Wire};
use program::Place;
pub use scene::Scene;
use scene::{Actor, World};

use crate::Worker;
use crate::hook::HookOutcome;

type Acting = Pin<Box<dyn Future<Output = Result<(), BoxError>>>>;

enum Role {
    Client(String, Box<dyn FnOnce(Peer) -> Acting>),
    Scenario(Box<dyn FnOnce(Scene) -> Acting>),
}

/// A simulation that is put together: a seed, workers, clients, scenarios; see the [module](self).
#[must_use = "nothing happens before `run`"]
pub struct Sim {
    seed: u64,
    limit: Duration,
    links: LinkOptions,
    places: Vec<Place>,
    roles: Vec<Role>,
}

impl Sim {
    /// A simulation of this seed, unless the environment variable `WORKERMAN_SIM_SEED` names another one.
    pub fn seed(seed: u64) -> Self {
        Self {
            seed,
            limit: Duration::from_secs(3600),
            links: LinkOptions::default(),
            places: Vec::new(),
            roles: Vec::new(),
        }
    }

    /// Adds a worker, on a host of the worker's name (`server` if it has none; workers of one name share a host).
    ///
    /// It binds on that host before any client starts. Other hosts reach it if it listens on `0.0.0.0`, `[::]`, a bare
    /// `:port` or its host's own name. `run`'s signals can be [raised](Network::raise_on).
    pub fn worker<P: Protocol>(mut self, worker: Worker<P>) -> Self {
        self.places.push(Place::new(Box::new(worker), None));
        self
    }

    /// Adds a worker that can be [restarted](Scene::restart): `make` is called for each of its lives.
    pub fn restartable<P: Protocol>(mut self, make: impl Fn() -> Worker<P> + 'static) -> Self {
        let first = Box::new(make());
        self.places.push(Place::new(first, Some(Box::new(move || Box::new(make())))));
        self
    }

    /// Adds a client, on a host of this name. All clients start together; the closure may return a `Result`.
    pub fn client<M, R: HookOutcome<M>>(
        mut self,
        name: impl Into<String>,
        act: impl AsyncFnOnce(Peer) -> R + 'static,
    ) -> Self {
        let act = move |peer| -> Acting { Box::pin(async move { act(peer).await.hooked().await }) };
        self.roles.push(Role::Client(name.into(), Box::new(act)));
        self
    }

    /// Adds something that happens to the world; it starts with the clients, and the run waits for it too.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use workerman::prelude::*;
    /// use workerman::sim::Sim;
    ///
    /// Sim::seed(3)
    ///     .restartable(|| Worker::text(":2347").name("echo").on_message(|_, line| line))
    ///     .client("ann", async |peer| {
    ///         let mut wire = peer.connect().await;
    ///         assert!(wire.rest().await.is_err(), "the crash resets the connection");
    ///         while peer.try_connect().await.is_err() {
    ///             peer.sleep(Duration::from_secs(1)).await;
    ///         }
    ///     })
    ///     .scenario(async |scene| {
    ///         scene.sleep(Duration::from_secs(5)).await;
    ///         scene.crash("echo");
    ///         scene.sleep(Duration::from_secs(60)).await;
    ///         scene.restart("echo");
    ///     })
    ///     .run();
    /// ```
    pub fn scenario<M, R: HookOutcome<M>>(mut self, act: impl AsyncFnOnce(Scene) -> R + 'static) -> Self {
        let act = move |scene| -> Acting { Box::pin(async move { act(scene).await.hooked().await }) };
        self.roles.push(Role::Scenario(Box::new(act)));
        self
    }

    /// How all hosts are linked that no scenario links otherwise; default: perfect links.
    pub fn links(mut self, options: LinkOptions) -> Self {
        self.links = options;
        self
    }

    /// How much virtual time the run may take; default one hour. Beyond it the run panics, and names who still waits.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs until all clients and scenarios are done, then stops the workers gracefully, still in virtual time.
    ///
    /// Returns the virtual time it took.
    ///
    /// # Panics
    /// A client or a scenario panics or returns an error; a worker cannot start or fails; the time limit is reached;
    /// inside another runtime. The seed is printed to standard error.
    pub fn run(self) -> Duration {
        let seed = self.seed;
        workerman_event::sim::block_on(seed, async move |network| self.play(network).await)
    }

    async fn play(self, network: Network) -> Duration {
        network.set_default(self.links);
        let clients = self.roles.iter().filter_map(|role| match role {
            Role::Client(name, _) => Some(name.clone()),
            Role::Scenario(_) => None,
        });
        let scene = Scene {
            world: Rc::new(World {
                network: network.clone(),
                clients: clients.collect(),
                places: RefCell::new(self.places),
                workers: RefCell::new(JoinSet::new()),
                actors: RefCell::new(JoinSet::new()),
            }),
        };
        let world = &scene.world;
        for place in world.places.borrow_mut().iter_mut() {
            place.start(&network, &world.workers);
        }
        let mut actors = Vec::new();
        for role in self.roles {
            let (actor, acting) = cast(role, &scene);
            actors.push(Rc::clone(&actor));
            world.actors.borrow_mut().spawn_local(async move {
                let result = acting.await;
                actor.ended();
                (actor.name.clone(), result)
            });
        }
        let mut limit = pin!(tokio::time::sleep(self.limit));
        let mut watch = |cx: &mut Context<'_>, waiting: &dyn Fn() -> Vec<String>| {
            world.watch_workers(cx);
            if limit.as_mut().poll(cx).is_ready() {
                panic!(
                    "no end after {:?} of virtual time; still waiting: {}",
                    self.limit,
                    waiting().join(", ")
                );
            }
        };
        poll_fn(|cx| {
            let done = world.watch_actors(cx);
            watch(cx, &|| actors.iter().filter_map(|actor| actor.still()).collect());
            done
        })
        .await;
        for place in world.places.borrow().iter() {
            place.stop();
        }
        poll_fn(|cx| {
            watch(cx, &|| vec!["the stop of the workers".to_owned()]);
            if world.workers.borrow().is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        network.elapsed()
    }
}

/// Gives a role to an actor.
fn cast(role: Role, scene: &Scene) -> (Rc<Actor>, Acting) {
    let scene = scene.clone();
    match role {
        Role::Client(name, act) => {
            let actor = Actor::new(format!("client {name}"));
            let host = scene.network().host(&name);
            let peer = Peer { scene, actor: Rc::clone(&actor), name, host };
            (actor, act(peer))
        }
        Role::Scenario(act) => (Actor::new("a scenario".to_owned()), act(scene)),
    }
}

impl World {
    /// Ready when all clients and scenarios are done; the first failure fails the run.
    fn watch_actors(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut actors = self.actors.borrow_mut();
        while let Some(ended) = std::task::ready!(actors.poll_join_next(cx)) {
            match ended {
                Ok((_, Ok(()))) => {}
                Ok((name, Err(error))) => panic!("{name} failed: {error}"),
                Err(error) => resume_unwind(error.into_panic()),
            }
        }
        Poll::Ready(())
    }

    /// A worker that fails fails the run; one that has ended, or was crashed, does not.
    fn watch_workers(&self, cx: &mut Context<'_>) {
        let mut workers = self.workers.borrow_mut();
        while let Poll::Ready(Some(ended)) = workers.poll_join_next(cx) {
            match ended {
                Ok((_, Ok(()))) => {}
                Ok((name, Err(error))) => panic!("worker {name} failed: {error}"),
                Err(error) if error.is_cancelled() => {}
                Err(error) => resume_unwind(error.into_panic()),
            }
        }
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("seed", &self.seed)
            .field("workers", &self.places.iter().map(|place| &place.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
