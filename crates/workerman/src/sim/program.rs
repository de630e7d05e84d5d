//! The workers of a simulation, their protocols erased: made, started, stopped, crashed.

use std::cell::RefCell;

use tokio::task::{AbortHandle, JoinSet};
use workerman_event::Address;
use workerman_event::sim::{HostAddr, Network};
use workerman_protocol::Protocol;

use super::binder::Simulated;
use crate::run::Bound;
use crate::{Handle, Result, Worker};

/// The name of the host of a worker that has no name.
const UNNAMED: &str = "server";

/// The tasks of all running workers, each with the worker's name.
pub(super) type Tasks = RefCell<JoinSet<(String, Result<()>)>>;

/// A worker of any protocol.
pub(super) trait Program {
    fn host(&self) -> String;
    fn start(self: Box<Self>, network: &Network, host: HostAddr, tasks: &Tasks) -> Result<Running>;
}

/// A worker that runs.
pub(super) struct Running {
    pub(super) addresses: Vec<Address>,
    stop: Box<dyn Fn()>,
    task: AbortHandle,
}

impl<P: Protocol> Program for Worker<P> {
    fn host(&self) -> String {
        match self.given_name() {
            Some(name) => name.to_owned(),
            None => UNNAMED.to_owned(),
        }
    }

    fn start(self: Box<Self>, network: &Network, host: HostAddr, tasks: &Tasks) -> Result<Running> {
        let name = self.host();
        let bound: Bound<P> = self.bind_with(Box::new(Simulated { network: network.clone(), host }))?;
        let addresses = bound.addresses();
        let handle: Handle<P> = bound.handle();
        let network = network.clone();
        let task = tasks.borrow_mut().spawn_local(async move {
            let ended = bound.run_simulated(|| network.backend_on(host)).await;
            (name, ended)
        });
        Ok(Running { addresses, stop: Box::new(move || handle.stop()), task })
    }
}

/// A worker's place in the simulation: its host, how it is made, and whether it runs.
pub(super) struct Place {
    pub(super) name: String,
    /// The next life.
    next: Option<Box<dyn Program>>,
    /// Makes the lives after that.
    again: Option<Box<dyn Fn() -> Box<dyn Program>>>,
    running: Option<Running>,
    addresses: Vec<Address>,
}

impl Place {
    pub(super) fn new(first: Box<dyn Program>, again: Option<Box<dyn Fn() -> Box<dyn Program>>>) -> Self {
        Self { name: first.host(), next: Some(first), again, running: None, addresses: Vec::new() }
    }

    /// Starts the worker. Panics with the reason if it cannot.
    pub(super) fn start(&mut self, network: &Network, tasks: &Tasks) {
        let Some(program) = self.next.take().or_else(|| self.again.as_ref().map(|again| again())) else {
            panic!(
                "worker {} cannot start a second time: give it to `Sim::restartable`, as a closure that makes it",
                self.name
            );
        };
        let host = network.host(&self.name);
        match program.start(network, host, tasks) {
            Ok(running) => {
                self.addresses.clone_from(&running.addresses);
                self.running = Some(running);
            }
            Err(error) => panic!("worker {} cannot start: {error}", self.name),
        }
    }

    /// The addresses of its last life.
    pub(super) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub(super) fn stop(&self) {
        if let Some(running) = &self.running {
            (running.stop)();
        }
    }

    pub(super) fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
        }
    }
}
