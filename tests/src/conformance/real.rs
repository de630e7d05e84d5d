//! The real world: the system's loopback, and tokio's sockets as peers.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket, UnixStream};
use workerman_event::{Address, Backend, Datagram, ListenOptions, Listener, Signal, block_on};

use super::World;

/// A backend of the real world.
pub trait RealBackend: Backend {
    /// A new one, inside a runtime.
    fn make() -> Self;
}

impl RealBackend for workerman_event::tokio_backend::Tokio {
    fn make() -> Self {
        Self::new()
    }
}

#[cfg(target_os = "linux")]
impl RealBackend for workerman_event::epoll::Epoll {
    fn make() -> Self {
        Self::new().expect("epoll works")
    }
}

/// The real world of a backend.
#[derive(Debug)]
pub struct Real<B> {
    folder: tempfile::TempDir,
    /// Bound and not listening: they refuse, and nobody else gets their port.
    refusing: RefCell<Vec<TcpSocket>>,
    backend: PhantomData<B>,
}

/// A peer: a socket of tokio.
#[derive(Debug)]
pub enum Peer {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

/// A port of the loopback that the system chooses.
pub fn loopback() -> Address {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()
}

fn tcp(address: &Address) -> SocketAddr {
    address.tcp().expect("a TCP address")
}

impl<B: RealBackend> World for Real<B> {
    type Backend = B;
    type Peer = Peer;
    type Acceptor = TcpListener;
    type Post = UdpSocket;
    const VIRTUAL: bool = false;

    fn run(body: impl AsyncFnOnce(Self)) {
        let world = Self {
            folder: tempfile::tempdir().expect("a folder"),
            refusing: RefCell::default(),
            backend: PhantomData,
        };
        block_on(body(world)).expect("a runtime");
    }

    fn backend(&self) -> B {
        B::make()
    }

    fn listener(&self) -> (Listener, Address) {
        let listener = Listener::bind(&loopback(), &ListenOptions::default()).expect("a free port");
        let address = listener.local_address().expect("an address");
        (listener, address)
    }

    fn unix_listener(&self) -> Option<(Listener, Address)> {
        let address = Address::from(self.folder.path().join("socket"));
        let listener = Listener::bind(&address, &ListenOptions::default()).expect("a new file");
        Some((listener, address))
    }

    fn connect(&self, to: &Address) -> impl Future<Output = io::Result<Peer>> + 'static {
        let to = to.clone();
        async move {
            match to {
                Address::Tcp(address) => TcpStream::connect(address).await.map(Peer::Tcp),
                Address::Unix(path) => UnixStream::connect(path.expect("a path")).await.map(Peer::Unix),
            }
        }
    }

    fn reset(peer: Peer) {
        if let Peer::Tcp(stream) = &peer {
            stream.set_zero_linger().expect("linger can be set");
        }
    }

    fn local_address(peer: &Peer) -> Address {
        match peer {
            Peer::Tcp(stream) => stream.local_addr().expect("an address").into(),
            Peer::Unix(_) => Address::Unix(None),
        }
    }

    fn acceptor(&self) -> (TcpListener, Address) {
        let listener = std::net::TcpListener::bind(tcp(&loopback())).expect("a free port");
        listener.set_nonblocking(true).expect("non-blocking");
        let listener = TcpListener::from_std(listener).expect("a runtime");
        let address = listener.local_addr().expect("an address").into();
        (listener, address)
    }

    async fn accept(acceptor: &TcpListener) -> Peer {
        Peer::Tcp(acceptor.accept().await.expect("a connection").0)
    }

    fn refusing(&self) -> Address {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(tcp(&loopback())).expect("a free port");
        let address = socket.local_addr().expect("an address").into();
        self.refusing.borrow_mut().push(socket);
        address
    }

    fn name(&self) -> (String, IpAddr) {
        ("localhost".into(), Ipv4Addr::LOCALHOST.into())
    }

    fn unknown_name(&self) -> String {
        // No name server is asked for what is no host name.
        "no such host".into()
    }

    fn raise(&self, signal: Signal) {
        use rustix::process::{Signal as Number, getpid, kill_process};
        let number = match signal {
            Signal::User1 => Number::USR1,
            Signal::User2 => Number::USR2,
            other => panic!("{other:?} is not raised in tests"),
        };
        kill_process(getpid(), number).expect("one's own process");
    }

    fn datagram(&self) -> (Datagram, SocketAddr) {
        let socket = Datagram::bind(tcp(&loopback()), &Default::default()).expect("a free port");
        let address = socket.local_address().expect("an address");
        (socket, address)
    }

    fn post(&self) -> (UdpSocket, SocketAddr) {
        let socket = std::net::UdpSocket::bind(tcp(&loopback())).expect("a free port");
        socket.set_nonblocking(true).expect("non-blocking");
        let socket = UdpSocket::from_std(socket).expect("a runtime");
        let address = socket.local_addr().expect("an address");
        (socket, address)
    }

    async fn post_to(post: &UdpSocket, to: SocketAddr, payload: &[u8]) {
        assert_eq!(post.send_to(payload, to).await.expect("the loopback"), payload.len());
    }

    async fn receive(post: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut payload = Vec::with_capacity(65_536);
        let (_, from) = post.recv_buf_from(&mut payload).await.expect("the loopback");
        (payload, from)
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
