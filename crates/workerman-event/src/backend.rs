//! The contract between a loop and the system: [`Backend`] does input and output, [`Sink`] receives what happened.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use crate::{Address, Datagram, Listener, Stream};

/// The name of a stream socket in a backend: a slot of its slab and the generation of that slot.
///
/// Slots are reused, tokens are not: an event or a call that carries the token of an earlier owner of the slot is
/// recognised by its generation and ignored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Token {
    slot: u32,
    generation: u32,
}

impl Token {
    /// A token from its two halves.
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// The index of the slot; small and dense, made to index a `Vec`.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// How many owners the slot had before (wrapping).
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        pub struct $name(pub u64);
    };
}

id! {
    /// The name of a listener in its backend; never reused.
    ListenerId
}
id! {
    /// The name of a datagram socket in its backend; never reused.
    DatagramId
}
id! {
    /// The name of a running name resolution; never reused.
    ResolveId
}

/// A signal a loop can wait for.
///
/// On Windows only [`Signal::Interrupt`] exists (Ctrl-C); watching another one is an error of kind `Unsupported`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Signal {
    /// `SIGINT`, or Ctrl-C.
    Interrupt,
    /// `SIGTERM`.
    Terminate,
    /// `SIGQUIT`.
    Quit,
    /// `SIGHUP`.
    Hangup,
    /// `SIGUSR1`.
    User1,
    /// `SIGUSR2`.
    User2,
}

/// Input, output and time of one event-loop thread.
///
/// All methods are called on the loop's own thread, inside its runtime. A method that takes the token of a socket
/// that is gone does nothing, or answers `NotConnected` where it returns a result.
///
/// # Rules each implementation keeps (the conformance suite checks them)
/// - **Data, in order**: [`Sink::data`] gets each byte once; end of stream comes after the last byte; after
///   [`Sink::eof`] no more data; after [`Sink::failed`] or [`Backend::close`] no event at all for that token.
/// - **No lost edge**: data that arrived while reading was off is delivered after it is switched on; what a budget left
///   in the kernel is delivered in a later turn without a new event from the peer.
/// - **Fairness**: at most one read of bounded size per connection and turn, at most `max_events` events per turn.
/// - **Writable**: after a `send` that took less than everything, one [`Sink::writable`] follows when there is room.
/// - **A turn never blocks** and never re-enters the sink.
pub trait Backend: Sized + 'static {
    /// The time, as read at the start of the turn (monotonic; virtual in a simulation).
    fn now(&self) -> Instant;

    /// Reads the clock again and returns it: for a caller that has spent time inside a turn.
    fn refresh(&mut self) -> Instant;

    /// The wall clock, as time since 1970 (virtual in a simulation).
    fn unix_time(&self) -> Duration;

    /// A seed for random numbers: from the system, or from the simulation's seed.
    fn seed(&mut self) -> u64;

    /// Starts to accept on a bound listener.
    fn listen(&mut self, listener: Listener) -> io::Result<ListenerId>;

    /// Stops to accept; connections wait in the listener's queue. Idempotent.
    fn pause_accept(&mut self, id: ListenerId);

    /// Accepts again, at once what has queued up. Idempotent.
    fn resume_accept(&mut self, id: ListenerId);

    /// Closes a listener.
    fn unlisten(&mut self, id: ListenerId);

    /// Starts to connect; [`Sink::connected`] or [`Sink::failed`] follows, never inside this call.
    ///
    /// # Errors
    /// What the system says at once (no descriptor, no route, bad path).
    fn connect(&mut self, address: &Address) -> io::Result<Token>;

    /// Takes over an open, connected stream socket; it is readable at once.
    fn adopt(&mut self, stream: Stream) -> io::Result<Token>;

    /// Starts to look a name up; [`Sink::resolved`] follows, never inside this call.
    ///
    /// A literal IP address is answered without asking anybody.
    fn resolve(&mut self, host: &str, port: u16) -> ResolveId;

    /// Forgets a running look-up; no event for it afterwards.
    fn cancel_resolve(&mut self, id: ResolveId);

    /// Switches reading on or off (on after accept, connect and adopt). Idempotent. An edge that came while it was
    /// off is not lost.
    fn set_read(&mut self, id: Token, on: bool);

    /// Lends a buffer for the next reads of this connection, in place of the thread's.
    ///
    /// The backend appends to it, never beyond its capacity, and hands it back by [`Sink::filled`] after each read.
    /// One read fills at most the spare capacity: who lends bounds it. A buffer without spare capacity is never lent.
    fn lend(&mut self, id: Token, buffer: Vec<u8>);

    /// Takes a lent buffer back (end of stream, or the protocol changes).
    fn reclaim(&mut self, id: Token) -> Option<Vec<u8>>;

    /// Writes what the system takes now, from the front of `out`, and returns the number of bytes taken.
    ///
    /// Gathers the chunks of `out` in one system call. If something remains, [`Sink::writable`] follows later.
    ///
    /// # Errors
    /// The socket's error (reset, broken pipe). The caller closes; no [`Sink::failed`] follows.
    fn send(&mut self, id: Token, out: &mut impl Buf) -> io::Result<usize>;

    /// Half-close: sends FIN after everything that was taken. Reading goes on.
    fn shutdown_write(&mut self, id: Token);

    /// Closes; no event for the token afterwards.
    fn close(&mut self, id: Token);

    /// Closes with a reset (RST); no event for the token afterwards.
    fn abort(&mut self, id: Token);

    /// The local address of a connection.
    fn local_address(&self, id: Token) -> io::Result<Address>;

    /// Starts to read datagrams from a bound socket.
    fn open_datagram(&mut self, socket: Datagram) -> io::Result<DatagramId>;

    /// Sends one datagram: to `to`, or to the connected peer.
    ///
    /// # Errors
    /// `WouldBlock` when the socket's buffer is full (the datagram is not taken; [`Sink::datagram_writable`] follows).
    fn send_datagram(&mut self, id: DatagramId, to: Option<SocketAddr>, payload: &[u8]) -> io::Result<()>;

    /// Closes a datagram socket.
    fn close_datagram(&mut self, id: DatagramId);

    /// Starts to report a signal by [`Sink::signal`]. Idempotent.
    ///
    /// # Errors
    /// `Unsupported` where the system has no such signal.
    fn watch_signal(&mut self, signal: Signal) -> io::Result<()>;

    /// One turn: handles at most `max_events` events and calls the sink for each.
    ///
    /// `Ready(())` means that more is waiting already: yield to the other tasks of the thread, then call again.
    /// `Pending` means that the task of `cx` is woken when something happens.
    fn poll_turn<S: Sink<Self>>(&mut self, cx: &mut Context<'_>, max_events: usize, sink: &mut S)
    -> Poll<()>;
}

/// What a turn of a backend calls. The backend comes back as `io`, so that the sink can write, pause or close inside.
pub trait Sink<B: Backend> {
    /// A connection was accepted; reading is on.
    fn accepted(&mut self, io: &mut B, listener: ListenerId, id: Token, peer: Address);

    /// Accepting on a listener failed in a way that is not one connection's (out of descriptors, dead listener).
    ///
    /// `shed` connections of the queue were closed to make the peers see it; accepting goes on after a back-off.
    fn accept_failed(&mut self, io: &mut B, listener: ListenerId, shed: usize, why: &io::Error);

    /// A connect succeeded; reading is on.
    fn connected(&mut self, io: &mut B, id: Token, peer: Address);

    /// Bytes arrived. `data` holds exactly them; what is left in it after the call is lost.
    ///
    /// It is the thread's buffer: who keeps a part of it (by `split_to`) keeps all of its memory alive.
    fn data(&mut self, io: &mut B, id: Token, data: &mut BytesMut);

    /// Bytes arrived in a lent buffer, behind what was in it; the buffer is the sink's again.
    fn filled(&mut self, io: &mut B, id: Token, buffer: Vec<u8>);

    /// There is room to write again.
    fn writable(&mut self, io: &mut B, id: Token);

    /// The peer has sent its last byte (FIN). The connection stays open for writing until it is closed.
    ///
    /// A lent buffer can be [reclaimed](Backend::reclaim).
    fn eof(&mut self, io: &mut B, id: Token);

    /// The connection broke, or a connect failed. The token is gone; a lent buffer is lost.
    fn failed(&mut self, io: &mut B, id: Token, why: io::Error);

    /// A look-up ended; the addresses come in the resolver's order and are never empty.
    fn resolved(&mut self, io: &mut B, id: ResolveId, result: io::Result<Vec<SocketAddr>>);

    /// A datagram arrived; `payload` holds exactly it.
    fn datagram(&mut self, io: &mut B, id: DatagramId, from: SocketAddr, payload: &mut BytesMut);

    /// There is room for datagrams again.
    fn datagram_writable(&mut self, io: &mut B, id: DatagramId);

    /// A datagram socket reported an error (ICMP unreachable); it stays open.
    fn datagram_failed(&mut self, io: &mut B, id: DatagramId, why: io::Error);

    /// A watched signal arrived.
    fn signal(&mut self, io: &mut B, signal: Signal);
}
