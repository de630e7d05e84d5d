//! Workers on threads of the test, and peers with plain blocking sockets.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use workerman::{Address, BackendKind, Handle, Protocol, Worker};

/// Long enough for the slowest machine; nobody waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `body` on each backend that this system has.
pub fn on_each(body: impl Fn(BackendKind)) {
    for kind in [BackendKind::Epoll, BackendKind::Tokio].into_iter().filter(|kind| kind.is_available()) {
        body(kind);
    }
}

/// A worker that runs on a thread of its own; dropping it stops it, and fails the test if it ended with an error.
#[derive(Debug)]
pub struct Running<P: Protocol> {
    /// To stop it.
    pub handle: Handle<P>,
    /// What it listens on.
    pub addresses: Vec<Address>,
    thread: Option<JoinHandle<workerman::Result<()>>>,
}

/// Binds a worker and runs it on a thread.
pub fn start<P: Protocol>(kind: BackendKind, worker: Worker<P>) -> Running<P> {
    let bound = worker.event_loop(kind).stop_on_signals(false).bind().unwrap();
    let (handle, addresses) = (bound.handle(), bound.addresses());
    let thread = Some(std::thread::spawn(move || bound.run()));
    Running { handle, addresses, thread }
}

impl<P: Protocol> Running<P> {
    /// Its first address.
    pub fn tcp(&self) -> SocketAddr {
        self.addresses[0].tcp().unwrap()
    }

    /// A peer of its first address.
    pub fn connect(&self) -> Peer {
        Peer::connect(self.tcp())
    }

    /// Waits for the end of `run`.
    pub fn join(mut self) -> workerman::Result<()> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl<P: Protocol> Drop for Running<P> {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap().unwrap();
            }
        }
    }
}

/// A blocking client that reads lines.
#[derive(Debug)]
pub struct Peer(BufReader<TcpStream>);

impl Peer {
    /// Connects, with a limit on each later call.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// The near address.
    pub fn local(&self) -> SocketAddr {
        self.0.get_ref().local_addr().unwrap()
    }

    /// Sends a line.
    pub fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Waits for a line.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the connection has ended after {line:?}");
        line.trim_end().to_owned()
    }

    /// Sends a line and waits for one.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.line()
    }

    /// Ends its own stream; the other side can still send.
    pub fn finish(&mut self) {
        self.0.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// Waits for the end of the stream, or for a reset.
    pub fn is_gone(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// What comes until the end of the stream.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }
}
