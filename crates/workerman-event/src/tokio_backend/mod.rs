//! The backend over tokio's sockets: every platform, and the reference for the others.

mod accept;
mod datagram;
mod slots;
mod stream;
mod turn;
mod wake;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Buf;

use self::accept::{Accepting, Reserve};
use self::datagram::Udp;
use self::slots::Slots;
use self::stream::{Conn, Io};
use self::wake::{Key, Ready};
use crate::chunk::{CHUNK, Chunk};
use crate::resolver::Resolver;
use crate::signals::Signals;
use crate::socket::StreamInner;
use crate::{
    Address, Alarm, Backend, Datagram, DatagramId, Listener, ListenerId, ResolveId, Signal, Sink, Stream,
    Token,
};

/// The backend of every platform: tokio's sockets, all served by the one task that polls the turns.
///
/// A socket costs no task of its own: its waker puts it on a list and wakes the loop's task once. It has to be made
/// and used inside a tokio runtime with I/O and time enabled, such as [`block_on`](crate::block_on) provides.
///
/// # Examples
/// ```
/// use workerman_event::tokio_backend::Tokio;
/// use workerman_event::{Backend, ListenOptions, Listener, block_on};
///
/// block_on(async {
///     let mut backend = Tokio::new();
///     let address = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into();
///     let listener = Listener::bind(&address, &ListenOptions::default())?;
///     let id = backend.listen(listener)?;
///     backend.unlisten(id);
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
pub struct Tokio {
    now: Instant,
    ready: Arc<Ready>,
    /// What is served in this turn and, above the turn's bound, in the next ones.
    queue: std::collections::VecDeque<Key>,
    /// The list that is exchanged with the one of `ready` each turn, to keep the memory of both.
    woken: Vec<Key>,
    conns: Slots<Conn>,
    listeners: BTreeMap<ListenerId, Accepting>,
    datagrams: BTreeMap<DatagramId, Udp>,
    next_id: u64,
    chunk: Chunk,
    reserve: Reserve,
    /// Rings when a listener's pause is over.
    alarm: Alarm,
    resolver: Resolver,
    signals: Signals,
}

impl Tokio {
    /// A backend without sockets.
    pub fn new() -> Self {
        Self {
            now: clock(),
            ready: Arc::default(),
            queue: Default::default(),
            woken: Vec::new(),
            conns: Slots::new(),
            listeners: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            next_id: 0,
            chunk: Chunk::new(CHUNK),
            reserve: Reserve::default(),
            alarm: Alarm::new(),
            resolver: Resolver::new(),
            signals: Signals::default(),
        }
    }

    fn insert(&mut self, io: Io) -> Token {
        let ready = &self.ready;
        self.conns.insert(|token| Conn::open(token, ready, io))
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// tokio's clock, so that a runtime with a paused clock pauses this one too.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection is gone")
}

#[cfg(feature = "sim")]
fn simulated() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a simulated socket does not work on a real backend")
}

impl Backend for Tokio {
    fn now(&self) -> Instant {
        self.now
    }

    fn refresh(&mut self) -> Instant {
        self.now = clock();
        self.now
    }

    fn unix_time(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn seed(&mut self) -> u64 {
        // Without a source of the system there is still one that differs between processes and calls.
        getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
    }

    fn listen(&mut self, listener: Listener) -> io::Result<ListenerId> {
        let id = ListenerId(self.fresh_id());
        let accepting = Accepting::open(listener, id, &self.ready)?;
        self.reserve.fill();
        accepting.wakeup.enqueue();
        self.listeners.insert(id, accepting);
        Ok(id)
    }

    fn pause_accept(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.paused = true;
        }
    }

    fn resume_accept(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.paused = false;
            listener.wakeup.enqueue();
        }
    }

    fn unlisten(&mut self, id: ListenerId) {
        self.listeners.remove(&id);
    }

    fn connect(&mut self, address: &Address) -> io::Result<Token> {
        let ready = &self.ready;
        let token = self.conns.insert(|token| Conn::connecting(token, ready, address));
        let conn = self.conns.get_mut(token).ok_or_else(gone)?;
        match conn.poll_connect() {
            Poll::Ready(Ok(())) => conn.wakeup.enqueue(),
            Poll::Ready(Err(why)) => {
                self.conns.remove(token);
                return Err(why);
            }
            Poll::Pending => {}
        }
        Ok(token)
    }

    fn adopt(&mut self, stream: Stream) -> io::Result<Token> {
        let io = match stream.into_inner() {
            StreamInner::Tcp(stream) => Io::Tcp(tokio::net::TcpStream::from_std(stream)?),
            #[cfg(unix)]
            StreamInner::Unix(stream) => Io::Unix(tokio::net::UnixStream::from_std(stream)?),
            #[cfg(feature = "sim")]
            StreamInner::Sim(_) => return Err(simulated()),
        };
        let token = self.insert(io);
        self.await_data(token);
        Ok(token)
    }

    fn resolve(&mut self, host: &str, port: u16) -> ResolveId {
        self.ready.wake();
        self.resolver.start(host, port)
    }

    fn cancel_resolve(&mut self, id: ResolveId) {
        self.resolver.cancel(id);
    }

    fn set_read(&mut self, id: Token, on: bool) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.set_read(on);
        }
    }

    fn lend(&mut self, id: Token, buffer: Vec<u8>) {
        debug_assert!(buffer.len() < buffer.capacity(), "a buffer without room was lent");
        if let Some(conn) = self.conns.get_mut(id) {
            conn.lent = Some(buffer);
        }
    }

    fn reclaim(&mut self, id: Token) -> Option<Vec<u8>> {
        self.conns.get_mut(id)?.lent.take()
    }

    fn send(&mut self, id: Token, out: &mut impl Buf) -> io::Result<usize> {
        self.conns.get_mut(id).ok_or_else(gone)?.send(out)
    }

    fn shutdown_write(&mut self, id: Token) {
        if let Some(io) = self.conns.get(id).and_then(Conn::io) {
            // It fails only where the connection is broken, which a read or a send reports.
            let _ = io.shutdown_write();
        }
    }

    fn close(&mut self, id: Token) {
        self.conns.remove(id);
    }

    fn abort(&mut self, id: Token) {
        if let Some(conn) = self.conns.remove(id) {
            if let Some(io) = conn.io() {
                // Where it fails the connection is broken already.
                let _ = io.reset_on_close();
            }
        }
    }

    fn local_address(&self, id: Token) -> io::Result<Address> {
        self.conns.get(id).and_then(Conn::io).ok_or_else(gone)?.local_address()
    }

    fn open_datagram(&mut self, socket: Datagram) -> io::Result<DatagramId> {
        let id = DatagramId(self.fresh_id());
        let udp = Udp::open(socket, id, &self.ready)?;
        udp.wakeup.enqueue();
        self.datagrams.insert(id, udp);
        Ok(id)
    }

    fn send_datagram(&mut self, id: DatagramId, to: Option<SocketAddr>, payload: &[u8]) -> io::Result<()> {
        self.datagrams.get_mut(&id).ok_or_else(gone)?.send(to, payload)
    }

    fn close_datagram(&mut self, id: DatagramId) {
        self.datagrams.remove(&id);
    }

    fn watch_signal(&mut self, signal: Signal) -> io::Result<()> {
        self.ready.wake();
        self.signals.watch(signal)
    }

    fn poll_turn<S: Sink<Self>>(
        &mut self,
        cx: &mut Context<'_>,
        max_events: usize,
        sink: &mut S,
    ) -> Poll<()> {
        self.turn(cx, max_events, sink)
    }
}

impl Default for Tokio {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tokio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokio")
            .field("connections", &self.conns.len())
            .field("listeners", &self.listeners.len())
            .field("datagrams", &self.datagrams.len())
            .finish_non_exhaustive()
    }
}
