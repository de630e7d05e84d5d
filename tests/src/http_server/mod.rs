//! A worker of HTTP and a client of bytes: on each backend of this system, and in the simulator.

mod body;
mod sealed;
mod wire;

use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use workerman::http::Http;
use workerman::sim::{LinkOptions, Peer, Sim};
use workerman::{BackendKind, Handle, Worker, block_on};
use workerman_protocol::Role;

pub use body::{Pieces, Watch};
pub use wire::{Answer, Broken, Framing, Says, Wire};

use crate::workers::{PATIENCE, start};
use crate::xor::Xor;

/// Where a test runs.
#[derive(Clone, Debug)]
pub enum Ground {
    /// In the simulator: a seed, and how client and server are linked.
    Sim(u64, LinkOptions),
    /// The same with a layer below.
    Layered(u64, LinkOptions),
    /// On a backend of this system.
    Real(BackendKind),
}

impl Ground {
    /// The simulator, with links that lose no time.
    pub fn perfect() -> Self {
        Self::Sim(1, LinkOptions::default())
    }

    /// The simulator, with links that cut everything small and take their time.
    pub fn choppy(seed: u64) -> Self {
        let links = LinkOptions {
            segment: 1..=700,
            capacity: 1500,
            latency: Duration::from_millis(1)..=Duration::from_millis(9),
            ..LinkOptions::default()
        };
        Self::Sim(seed, links)
    }

    /// The simulator, with links that carry next to nothing at a time.
    pub fn tiny() -> Self {
        Self::Sim(1, LinkOptions { segment: 1..=3, capacity: 64, ..LinkOptions::default() })
    }

    /// The simulator, with a layer below the protocol, over links that take their time.
    pub fn layered(seed: u64) -> Self {
        match Self::choppy(seed) {
            Self::Sim(seed, links) => Self::Layered(seed, LinkOptions { capacity: 20_000, ..links }),
            other => other,
        }
    }

    /// Whether time is virtual: then nothing real may be waited for, and an hour costs nothing.
    pub fn is_virtual(&self) -> bool {
        !matches!(self, Self::Real(_))
    }

    /// Whether what is sent at once may arrive in pieces.
    pub fn is_cut(&self) -> bool {
        match self {
            Self::Sim(_, links) | Self::Layered(_, links) => *links.segment.start() < 1000,
            Self::Real(_) => false,
        }
    }

    /// A size for a test of something large: less where links carry next to nothing at a time.
    pub fn large(&self, bytes: usize) -> usize {
        match self {
            Self::Sim(_, links) | Self::Layered(_, links) if links.capacity < 1000 => bytes / 20,
            Self::Sim(_, links) | Self::Layered(_, links) if links.capacity < 30_000 => bytes / 4,
            _ => bytes,
        }
    }

    /// A worker for this ground.
    pub fn worker(&self) -> Worker<Http> {
        Worker::http(if self.is_virtual() { "0.0.0.0:80" } else { "127.0.0.1:0" })
    }

    /// Runs a worker and a client of it, until the client is done; then the worker is stopped, and must end well.
    pub fn run(&self, worker: Worker<Http>, act: impl AsyncFnOnce(Guest) + 'static) {
        match self {
            Self::Sim(seed, links) => {
                let sim = Sim::seed(*seed).links(links.clone()).worker(worker);
                sim.client("guest", async move |peer| act(Guest(To::Sim(Rc::new(peer), false))).await).run();
            }
            Self::Layered(seed, links) => {
                let worker = worker.layer(|| Box::new(Xor::new(Role::Server, 0)));
                let sim = Sim::seed(*seed).links(links.clone()).worker(worker);
                sim.client("guest", async move |peer| act(Guest(To::Sim(Rc::new(peer), true))).await).run();
            }
            Self::Real(kind) => {
                let running = start(*kind, worker);
                let guest = Guest(To::Real(running.tcp(), running.handle.clone()));
                let acting = async { tokio::time::timeout(PATIENCE, act(guest)).await };
                block_on(acting).expect("a runtime").expect("an end in time");
            }
        }
    }
}

/// The client's side of a run: as many connections as it likes.
#[derive(Clone, Debug)]
pub struct Guest(To);

#[derive(Clone, Debug)]
enum To {
    /// Through a layer, or not.
    Sim(Rc<Peer>, bool),
    Real(SocketAddr, Handle<Http>),
}

impl Guest {
    /// Connects to the worker.
    pub async fn connect(&self) -> Wire {
        match &self.0 {
            To::Sim(peer, false) => Wire::simulated(peer.connect().await),
            To::Sim(peer, true) => Wire::sealed(peer.connect().await),
            To::Real(address, _) => {
                let stream = TcpStream::connect(address).await.expect("a worker that listens");
                stream.set_nodelay(true).expect("an open socket");
                Wire::real(stream)
            }
        }
    }

    /// Asks on a connection of its own, ends it, and returns all that comes back, dates left out.
    pub async fn exchange(&self, says: impl AsRef<[u8]>) -> String {
        self.connect().await.exchange(says).await
    }

    /// The simulated client.
    ///
    /// # Panics
    /// On a real backend.
    pub fn peer(&self) -> &Peer {
        match &self.0 {
            To::Sim(peer, _) => peer,
            To::Real(..) => panic!("only the simulator has this"),
        }
    }

    /// Lets virtual time pass.
    pub async fn sleep(&self, time: Duration) {
        self.peer().sleep(time).await;
    }

    /// The virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.peer().elapsed()
    }

    /// Stops the worker gracefully; returns at once.
    pub fn stop(&self) {
        match &self.0 {
            To::Sim(peer, _) => peer.scene().stop("server"),
            To::Real(_, handle) => handle.stop(),
        }
    }

    /// Waits until it is so.
    ///
    /// # Panics
    /// If it never is: after a minute of virtual time, or when the patience of the whole test is over.
    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..60_000 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("a minute has passed without: {what}");
    }
}

/// What happened, in order; cloned into handlers.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    /// Notes something.
    pub fn note(&self, what: impl Display) {
        self.lock().push(what.to_string());
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Takes everything so far.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lock())
    }

    /// Whether a note begins so.
    pub fn has(&self, beginning: &str) -> bool {
        self.lock().iter().any(|note| note.starts_with(beginning))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker that notes how connections end and what `on_error` is told.
    pub fn watch(&self, worker: Worker<Http>) -> Worker<Http> {
        let (closes, errors) = (self.clone(), self.clone());
        worker
            .on_close(move |_, reason| closes.note(format_args!("closed: {reason}")))
            .on_error(move |_, error| errors.note(format_args!("error: {error}")))
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lock().iter()).finish()
    }
}

/// Where handlers wait until the test lets them go on.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Gate {
    /// Lets one go on, now or when it comes.
    pub fn open(&self) {
        self.0.add_permits(1);
    }

    /// Waits to be let go on.
    pub fn pass(&self) -> impl Future<Output = ()> + Send + 'static {
        let gate = Arc::clone(&self.0);
        async move {
            if let Ok(permit) = gate.acquire().await {
                permit.forget();
            }
        }
    }
}

/// A GET of a path, without a body.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// A POST of a body with its length.
pub fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A POST of a body in chunks of so many bytes.
pub fn post_chunked(path: &str, body: &str, size: usize) -> String {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.as_bytes().chunks(size) {
        request.push_str(&format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
    }
    request + "0\r\n\r\n"
}

/// Instantiates tests that take a [`Ground`]: in the simulator with three kinds of links and through a
/// layer, and on each backend.
#[macro_export]
macro_rules! on_all_grounds {
    ($($test:ident),* $(,)?) => {
        $(mod $test {
            use $crate::http_server::Ground;

            #[test]
            fn perfect() {
                super::$test(&Ground::perfect());
            }

            #[test]
            fn choppy() {
                for seed in 0..5 {
                    super::$test(&Ground::choppy(seed));
                }
            }

            #[test]
            fn tiny() {
                super::$test(&Ground::tiny());
            }

            #[test]
            fn layered() {
                super::$test(&Ground::layered(1));
            }

            #[test]
            #[cfg(target_os = "linux")]
            fn epoll() {
                super::$test(&Ground::Real(workerman::BackendKind::Epoll));
            }

            #[test]
            fn tokio() {
                super::$test(&Ground::Real(workerman::BackendKind::Tokio));
            }
        })*
    };
}
