//! The simulated world: one host, and links that the test chooses.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use workerman_event::sim::{self, HostAddr, LinkOptions, Network, Sim, SimDatagram, SimListener, SimStream};
use workerman_event::{Address, Datagram, ListenOptions, Listener, Signal};

use super::World;

/// How links are in a simulated world.
pub trait Links: 'static {
    /// Their options.
    fn options() -> LinkOptions;
}

/// Perfect ones.
#[derive(Debug)]
pub struct Perfect;

impl Links for Perfect {
    fn options() -> LinkOptions {
        LinkOptions::default()
    }
}

/// Ones that cut everything small and take their time.
#[derive(Debug)]
pub struct Choppy;

impl Links for Choppy {
    fn options() -> LinkOptions {
        let milliseconds = std::time::Duration::from_millis;
        LinkOptions {
            segment: 1..=1400,
            capacity: 5000,
            latency: milliseconds(1)..=milliseconds(9),
            ..LinkOptions::default()
        }
    }
}

/// A simulated world.
#[derive(Debug)]
pub struct Simulated<L> {
    network: Network,
    host: HostAddr,
    links: std::marker::PhantomData<L>,
}

/// Another seed for each test, the same in each run of one test.
fn seed_of(test: &str) -> u64 {
    test.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

impl<L> Simulated<L> {
    /// Runs a test in a new world with links and a seed of its choice.
    pub fn run_with(seed: u64, options: LinkOptions, body: impl AsyncFnOnce(Self)) {
        sim::block_on(seed, async |network| {
            network.set_default(options);
            let host = network.host("localhost");
            body(Self { network, host, links: std::marker::PhantomData }).await;
        });
    }

    fn loopback(&self) -> SocketAddr {
        self.host.socket(0)
    }
}

impl<L: Links> World for Simulated<L> {
    type Backend = Sim;
    type Peer = SimStream;
    type Acceptor = SimListener;
    type Post = SimDatagram;
    const VIRTUAL: bool = true;

    fn run(body: impl AsyncFnOnce(Self)) {
        let seed = seed_of(std::any::type_name_of_val(&body));
        sim::block_on(seed, async |network| {
            network.set_default(L::options());
            let host = network.host("localhost");
            body(Self { network, host, links: std::marker::PhantomData }).await;
        });
    }

    fn backend(&self) -> Sim {
        self.network.backend_on(self.host)
    }

    fn listener(&self) -> (Listener, Address) {
        let (listener, address) = self.acceptor();
        (listener.into(), address)
    }

    fn unix_listener(&self) -> Option<(Listener, Address)> {
        let address = Address::from(std::path::PathBuf::from("/run/socket"));
        let listener = self.network.bind(self.host, address.clone(), &ListenOptions::default());
        Some((listener.expect("a free path").into(), address))
    }

    fn connect(&self, to: &Address) -> impl Future<Output = io::Result<SimStream>> + 'static {
        let (network, host, to) = (self.network.clone(), self.host, to.clone());
        async move { network.connect(host, to).await }
    }

    fn reset(peer: SimStream) {
        peer.reset();
    }

    fn local_address(peer: &SimStream) -> Address {
        peer.local_address().expect("an open connection")
    }

    fn acceptor(&self) -> (SimListener, Address) {
        let listener = self.network.bind(self.host, self.loopback(), &ListenOptions::default());
        let listener = listener.expect("a free port");
        let address = listener.local_address().clone();
        (listener, address)
    }

    async fn accept(acceptor: &SimListener) -> SimStream {
        acceptor.accept().await.expect("a connection")
    }

    fn refusing(&self) -> Address {
        self.host.socket(9).into()
    }

    fn name(&self) -> (String, IpAddr) {
        let address = IpAddr::from(Ipv4Addr::new(10, 9, 8, 7));
        self.network.add_name("service", vec![address]);
        ("service".into(), address)
    }

    fn unknown_name(&self) -> String {
        "nowhere".into()
    }

    fn raise(&self, signal: Signal) {
        self.network.raise(signal);
    }

    fn datagram(&self) -> (Datagram, SocketAddr) {
        let (socket, address) = self.post();
        (socket.into(), address)
    }

    fn post(&self) -> (SimDatagram, SocketAddr) {
        let socket = self.network.bind_datagram(self.host, self.loopback()).expect("a free port");
        let address = socket.local_address();
        (socket, address)
    }

    async fn post_to(post: &SimDatagram, to: SocketAddr, payload: &[u8]) {
        post.send_to(payload, Some(to)).expect("the network takes it");
    }

    async fn receive(post: &SimDatagram) -> (Vec<u8>, SocketAddr) {
        let (payload, from) = post.recv_from().await.expect("the network delivers");
        (payload.to_vec(), from)
    }
}
