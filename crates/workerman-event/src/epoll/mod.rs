//! The backend of Linux: an edge-triggered epoll instance of our own, registered in the thread's tokio runtime.
//!
//! Each socket is registered once, with everything, and never re-armed; readiness then costs one `recv` and one
//! `send`. A read that was short has drained its socket, so none is made only to be told so. What a budget leaves in
//! the kernel is remembered in a queue and served in the next turns, in turns with what is new.

mod accept;
mod datagram;
mod poller;
mod side;
mod slots;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Buf;
use rustix::event::epoll::EventFlags;
use rustix::net::{SocketAddrAny, SocketAddrUnix};

use self::accept::Accepting;
use self::datagram::Mailbox;
use self::poller::Poller;
use self::side::{Clock, Side};
use self::slots::{Slots, Target, state};
use crate::chunk::{CHUNK, Chunk};
use crate::{
    Address, Backend, Datagram, DatagramId, Listener, ListenerId, ResolveId, Signal, Sink, Stream, Token,
};

/// Input and output by an edge-triggered epoll instance; Linux only, and the default there.
///
/// An idle connection costs 24 bytes here. Reads go into one buffer of 68 KiB for the whole thread, or
/// into a [lent](Backend::lend) one as far as it has room. One listener gives at most 64 connections in a turn,
/// one datagram socket at most 64 datagrams. A listener that cannot accept, for want of descriptors, tries again after
/// 50 ms, then twice as long each time, at most 1 s; meanwhile the connections in its queue are closed, at most 1,024
/// with each attempt.
///
/// # Examples
/// ```
/// use workerman_event::{Address, Backend, ListenOptions, Listener, epoll::Epoll};
/// workerman_event::block_on(async {
///     let mut epoll = Epoll::new()?;
///     let address = Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
///     epoll.listen(Listener::bind(&address, &ListenOptions::default())?)?;
///     // Now call `poll_turn` from a future, with a sink for what happens.
///     std::io::Result::Ok(())
/// })?
/// # ; std::io::Result::Ok(())
/// ```
pub struct Epoll {
    poller: Poller,
    slots: Slots,
    /// What is served without a new event: data left by a budget, reading resumed, connected at once.
    ready: VecDeque<Target>,
    listeners: HashMap<u64, Accepting>,
    mailboxes: HashMap<u64, Mailbox>,
    last_id: u64,
    chunk: Chunk,
    reserve: Option<OwnedFd>,
    side: Side,
    clock: Clock,
    /// The last turn ended pending: who adds work has to wake the task.
    parked: bool,
    /// Which of old and new work gets the odd event of a turn.
    odd: bool,
}

/// Turns need no more events than this, and sums of them must not overflow.
const LARGEST_TURN: usize = 1 << 20;

impl Epoll {
    /// Opens an epoll instance and registers it in the tokio runtime of this thread.
    ///
    /// # Errors
    /// The system's, if it is out of descriptors.
    ///
    /// # Panics
    /// Outside of a tokio runtime that has I/O and time enabled, as [`block_on`](crate::block_on) has.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            slots: Slots::default(),
            ready: VecDeque::new(),
            listeners: HashMap::new(),
            mailboxes: HashMap::new(),
            last_id: 0,
            chunk: Chunk::new(CHUNK),
            reserve: accept::open_reserve(),
            side: Side::new(),
            clock: Clock::new(),
            parked: false,
            odd: false,
        })
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn queue(&mut self, target: Target) {
        self.ready.push_back(target);
        self.unpark();
    }

    /// Makes sure that another turn follows.
    #[inline]
    fn unpark(&mut self) {
        if self.parked {
            self.parked = false;
            self.side.wake_task();
        }
    }

    /// Fetches and handles at most `left` events.
    fn serve_events<S: Sink<Self>>(&mut self, left: &mut usize, sink: &mut S) {
        let mut storage = self.poller.take_storage();
        for event in self.poller.fetch(&mut storage, *left) {
            let (target, flags) = (Target::from_key(event.data.u64()), event.flags);
            self.serve_event(target, flags, left, sink);
        }
        self.poller.put_storage(storage);
    }

    #[inline]
    fn serve_event<S: Sink<Self>>(
        &mut self,
        target: Target,
        flags: EventFlags,
        left: &mut usize,
        sink: &mut S,
    ) {
        // An event of the batch may find that others (a burst of connections) have used the turn up, or that its
        // socket is in the queue already: then it is only noted. One whose socket is gone finds nothing.
        match target {
            Target::Stream(token) => {
                if self.note_stream(token, flags) {
                    if *left == 0 {
                        return self.mark_stream(token, 0);
                    }
                    *left -= 1;
                    self.serve_stream(token, sink);
                }
            }
            Target::Listener(id) => {
                if self.note_listener(ListenerId(id)) {
                    self.serve_listener(ListenerId(id), left, sink);
                }
            }
            Target::Datagram(id) => {
                if self.note_mailbox(DatagramId(id), flags) {
                    if *left == 0 {
                        return self.queue_mailbox(DatagramId(id));
                    }
                    self.serve_mailbox(DatagramId(id), left, sink);
                }
            }
        }
    }

    /// Serves the front of the queue: at most `count` entries, so that what is queued meanwhile waits for the next
    /// turn.
    fn serve_ready<S: Sink<Self>>(&mut self, count: usize, left: &mut usize, sink: &mut S) {
        for _ in 0..count {
            if *left == 0 {
                return;
            }
            match self.ready.pop_front() {
                None => return,
                Some(Target::Stream(token)) => {
                    if let Some(slot) = self.slots.get_mut(token) {
                        slot.state &= !state::QUEUED;
                        *left -= 1;
                        self.serve_stream(token, sink);
                    }
                }
                Some(Target::Listener(id)) => {
                    if self.unqueue_listener(ListenerId(id)) {
                        self.serve_listener(ListenerId(id), left, sink);
                    }
                }
                Some(Target::Datagram(id)) => {
                    if self.unqueue_mailbox(DatagramId(id)) {
                        self.serve_mailbox(DatagramId(id), left, sink);
                    }
                }
            }
        }
    }

    #[cold]
    fn serve_side<S: Sink<Self>>(&mut self, left: &mut usize, sink: &mut S) {
        let waker = self.side.answer();
        let cx = &mut Context::from_waker(&waker);
        if self.side.pause_ended(cx) {
            self.end_rest();
        }
        loop {
            if *left == 0 {
                // Whether anything is left is not known.
                return self.side.ring();
            }
            if let Poll::Ready(signal) = self.side.signals.poll(cx) {
                sink.signal(self, signal);
            } else if let Poll::Ready((id, result)) = self.side.resolver.poll(cx) {
                sink.resolved(self, id, result);
            } else {
                return;
            }
            *left -= 1;
        }
    }

    fn turn<S: Sink<Self>>(&mut self, cx: &mut Context<'_>, max_events: usize, sink: &mut S) -> Poll<()> {
        self.parked = false;
        self.clock.tick();
        self.side.attach(cx.waker());
        let mut left = max_events.clamp(1, LARGEST_TURN);
        if self.side.is_rung() {
            self.serve_side(&mut left, sink);
        }
        // What was left over gets up to half of the turn, new events get the rest, and so neither starves the other.
        let old = self.ready.len();
        self.odd = !self.odd;
        let reserved = old.min((left + usize::from(self.odd)) / 2);
        let mut fresh = left - reserved;
        if fresh > 0 && self.poller.is_ready(cx) {
            self.serve_events(&mut fresh, sink);
        }
        left = reserved + fresh;
        self.serve_ready(old, &mut left, sink);

        if !self.ready.is_empty() || self.side.is_rung() || self.poller.is_ready(cx) {
            return Poll::Ready(());
        }
        self.parked = true;
        Poll::Pending
    }
}

impl Backend for Epoll {
    fn now(&self) -> Instant {
        self.clock.now
    }

    fn refresh(&mut self) -> Instant {
        self.clock.tick();
        self.clock.now
    }

    fn unix_time(&self) -> Duration {
        self.clock.unix_time()
    }

    fn seed(&mut self) -> u64 {
        // Without the system's random source, the keys of the standard library's hash tables are still a secret.
        getrandom::u64().unwrap_or_else(|_| std::hash::RandomState::new().build_hasher().finish())
    }

    fn listen(&mut self, listener: Listener) -> io::Result<ListenerId> {
        self.open_listener(listener)
    }

    fn pause_accept(&mut self, id: ListenerId) {
        self.set_accepting(id, false);
    }

    fn resume_accept(&mut self, id: ListenerId) {
        self.set_accepting(id, true);
    }

    fn unlisten(&mut self, id: ListenerId) {
        self.close_listener(id);
    }

    fn connect(&mut self, address: &Address) -> io::Result<Token> {
        self.start_connect(address)
    }

    fn adopt(&mut self, stream: Stream) -> io::Result<Token> {
        self.adopt_stream(stream)
    }

    fn resolve(&mut self, host: &str, port: u16) -> ResolveId {
        let id = self.side.resolver.start(host, port);
        self.side.ring();
        self.unpark();
        id
    }

    fn cancel_resolve(&mut self, id: ResolveId) {
        self.side.resolver.cancel(id);
        // A look-up that waited for this one's place is started by a poll.
        self.side.ring();
        self.unpark();
    }

    fn set_read(&mut self, id: Token, on: bool) {
        self.set_reading(id, on);
    }

    fn lend(&mut self, id: Token, buffer: Vec<u8>) {
        self.lend_buffer(id, buffer);
    }

    fn reclaim(&mut self, id: Token) -> Option<Vec<u8>> {
        self.slots.get_mut(id)?.lent.take().map(|buffer| *buffer)
    }

    #[inline]
    fn send(&mut self, id: Token, out: &mut impl Buf) -> io::Result<usize> {
        self.send_stream(id, out)
    }

    fn shutdown_write(&mut self, id: Token) {
        if let Some(socket) = self.slots.socket(id) {
            // It fails only where the connection is gone, which the next read tells.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
        }
    }

    fn close(&mut self, id: Token) {
        self.close_stream(id);
    }

    fn abort(&mut self, id: Token) {
        self.abort_stream(id);
    }

    fn local_address(&self, id: Token) -> io::Result<Address> {
        let socket = self.slots.socket(id).ok_or(io::ErrorKind::NotConnected)?;
        Ok(address(Some(rustix::net::getsockname(socket)?)))
    }

    fn open_datagram(&mut self, socket: Datagram) -> io::Result<DatagramId> {
        self.open_mailbox(socket)
    }

    fn send_datagram(&mut self, id: DatagramId, to: Option<SocketAddr>, payload: &[u8]) -> io::Result<()> {
        self.send_mail(id, to, payload)
    }

    fn close_datagram(&mut self, id: DatagramId) {
        self.close_mailbox(id);
    }

    fn watch_signal(&mut self, signal: Signal) -> io::Result<()> {
        self.side.signals.watch(signal)?;
        self.side.ring();
        self.unpark();
        Ok(())
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

impl fmt::Debug for Epoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoll")
            .field("connections", &self.slots.len())
            .field("listeners", &self.listeners.len())
            .field("datagram_sockets", &self.mailboxes.len())
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

/// An address as the system gives it; whatever is neither an internet address nor a path has no name.
fn address(address: Option<SocketAddrAny>) -> Address {
    let Some(address) = address else { return Address::Unix(None) };
    if let Ok(address) = SocketAddr::try_from(address.clone()) {
        return Address::Tcp(address);
    }
    let unix = SocketAddrUnix::try_from(address).ok();
    let path = unix.as_ref().and_then(SocketAddrUnix::path);
    Address::Unix(path.map(|path| Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())).into()))
}
