//! A backend with a sink that writes down what happens, and checks what must never happen.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use workerman_event::{Address, Backend, DatagramId, ListenerId, ResolveId, Signal, Sink, Token};

/// What a test waits for at most; only a failing one waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The output of a future; `None` if it takes too long.
///
/// Unlike `timeout` it does not poll the future once more at the end, which would hide that nobody woke it.
pub async fn patiently<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        () = tokio::time::sleep(PATIENCE) => None,
        output = future => Some(output),
    }
}

/// One call of the sink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A connection and its peer.
    Accepted(ListenerId, Token, Address),
    /// How many were shed.
    AcceptFailed(ListenerId, usize),
    /// A connect succeeded.
    Connected(Token, Address),
    /// So many bytes, which are in [`Log::bytes`].
    Data(Token, usize),
    /// The buffer after the read.
    Filled(Token, Vec<u8>),
    /// Room to write.
    Writable(Token),
    /// End of stream.
    Eof(Token),
    /// A broken connection.
    Failed(Token, io::ErrorKind),
    /// A look-up ended.
    Resolved(ResolveId, Result<Vec<SocketAddr>, io::ErrorKind>),
    /// A datagram.
    Datagram(DatagramId, SocketAddr, Vec<u8>),
    /// Room for datagrams.
    DatagramWritable(DatagramId),
    /// An error of a datagram socket.
    DatagramFailed(DatagramId, io::ErrorKind),
    /// A signal.
    Signal(Signal),
}

impl Event {
    fn token(&self) -> Option<Token> {
        match self {
            Self::Accepted(_, token, _)
            | Self::Connected(token, _)
            | Self::Data(token, _)
            | Self::Filled(token, _)
            | Self::Writable(token)
            | Self::Eof(token)
            | Self::Failed(token, _) => Some(*token),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Life {
    Connecting,
    Open,
    Ended,
}

type Hook<B> = Box<dyn FnMut(&mut B, &mut Log<B>, &Event)>;

/// The sink: what happened so far.
#[allow(missing_debug_implementations)]
pub struct Log<B: Backend> {
    /// All events, in order.
    pub events: Vec<Event>,
    bytes: HashMap<Token, Vec<u8>>,
    life: HashMap<Token, Life>,
    hook: Option<Hook<B>>,
    in_turn: bool,
}

impl<B: Backend> Log<B> {
    fn note(&mut self, io: &mut B, event: Event) {
        assert!(self.in_turn, "{event:?} outside of a turn");
        if let Some(token) = event.token() {
            let before = self.life.get(&token).copied();
            let after = match (&event, before) {
                (Event::Accepted(..), None) | (Event::Connected(..), Some(Life::Connecting)) => {
                    Some(Life::Open)
                }
                (Event::Data(..) | Event::Filled(..) | Event::Writable(_), Some(Life::Open)) => {
                    Some(Life::Open)
                }
                (Event::Writable(_), Some(Life::Ended)) | (Event::Eof(_), Some(Life::Open)) => {
                    Some(Life::Ended)
                }
                (Event::Failed(..), Some(_)) => None,
                _ => panic!("{event:?} for a token that is {before:?}"),
            };
            match after {
                Some(life) => self.life.insert(token, life),
                None => self.life.remove(&token),
            };
        }
        let Some(mut hook) = self.hook.take() else { return self.events.push(event) };
        self.events.push(event.clone());
        hook(io, self, &event);
        self.hook = Some(hook);
    }

    /// Closes inside of a turn.
    pub fn close(&mut self, io: &mut B, token: Token) {
        self.life.remove(&token);
        io.close(token);
    }

    /// Connects inside of a turn.
    pub fn connect(&mut self, io: &mut B, to: &Address) -> Token {
        let token = io.connect(to).expect("the connect begins");
        assert!(self.life.insert(token, Life::Connecting).is_none(), "{token:?} is in use");
        token
    }

    /// The bytes that arrived for a token in the thread's buffer.
    pub fn bytes(&self, token: Token) -> &[u8] {
        self.bytes.get(&token).map_or(&[], Vec::as_slice)
    }

    /// Forgets bytes, and returns them.
    pub fn take_bytes(&mut self, token: Token) -> Vec<u8> {
        self.bytes.remove(&token).unwrap_or_default()
    }

    /// How many events are as described.
    pub fn count(&self, mut like: impl FnMut(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| like(event)).count()
    }

    /// Whether there is this event.
    pub fn has(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    /// The tokens of the accepted connections, in order.
    pub fn tokens(&self) -> Vec<Token> {
        let accepted =
            |event: &Event| if let Event::Accepted(_, token, _) = event { Some(*token) } else { None };
        self.events.iter().filter_map(accepted).collect()
    }

    /// How a connection broke, if it did.
    pub fn failure(&self, token: Token) -> Option<io::ErrorKind> {
        self.events.iter().find_map(|event| match event {
            Event::Failed(failed, kind) if *failed == token => Some(*kind),
            _ => None,
        })
    }
}

impl<B: Backend> Sink<B> for Log<B> {
    fn accepted(&mut self, io: &mut B, listener: ListenerId, id: Token, peer: Address) {
        self.note(io, Event::Accepted(listener, id, peer));
    }

    fn accept_failed(&mut self, io: &mut B, listener: ListenerId, shed: usize, _: &io::Error) {
        self.note(io, Event::AcceptFailed(listener, shed));
    }

    fn connected(&mut self, io: &mut B, id: Token, peer: Address) {
        self.note(io, Event::Connected(id, peer));
    }

    fn data(&mut self, io: &mut B, id: Token, data: &mut BytesMut) {
        assert!(!data.is_empty(), "no data is no event");
        self.bytes.entry(id).or_default().extend_from_slice(data);
        self.note(io, Event::Data(id, data.len()));
    }

    fn filled(&mut self, io: &mut B, id: Token, buffer: Vec<u8>) {
        self.note(io, Event::Filled(id, buffer));
    }

    fn writable(&mut self, io: &mut B, id: Token) {
        self.note(io, Event::Writable(id));
    }

    fn eof(&mut self, io: &mut B, id: Token) {
        self.note(io, Event::Eof(id));
    }

    fn failed(&mut self, io: &mut B, id: Token, why: io::Error) {
        self.note(io, Event::Failed(id, why.kind()));
    }

    fn resolved(&mut self, io: &mut B, id: ResolveId, result: io::Result<Vec<SocketAddr>>) {
        self.note(io, Event::Resolved(id, result.map_err(|why| why.kind())));
    }

    fn datagram(&mut self, io: &mut B, id: DatagramId, from: SocketAddr, payload: &mut BytesMut) {
        self.note(io, Event::Datagram(id, from, payload.to_vec()));
    }

    fn datagram_writable(&mut self, io: &mut B, id: DatagramId) {
        self.note(io, Event::DatagramWritable(id));
    }

    fn datagram_failed(&mut self, io: &mut B, id: DatagramId, why: io::Error) {
        self.note(io, Event::DatagramFailed(id, why.kind()));
    }

    fn signal(&mut self, io: &mut B, signal: Signal) {
        self.note(io, Event::Signal(signal));
    }
}

/// A backend under test and its log.
#[allow(missing_debug_implementations)]
pub struct Rig<B: Backend> {
    /// The backend.
    pub io: B,
    /// What happened.
    pub log: Log<B>,
    /// The bound of a turn.
    pub max_events: usize,
}

impl<B: Backend> Rig<B> {
    /// A rig with turns of 64 events.
    pub fn new(io: B) -> Self {
        let log = Log {
            events: Vec::new(),
            bytes: HashMap::new(),
            life: HashMap::new(),
            hook: None,
            in_turn: false,
        };
        Self { io, log, max_events: 64 }
    }

    /// Does something inside of the turn, after each event.
    pub fn on_event(&mut self, hook: impl FnMut(&mut B, &mut Log<B>, &Event) + 'static) {
        self.log.hook = Some(Box::new(hook));
    }

    /// Does nothing any more inside of the turn.
    pub fn on_event_nothing(&mut self) {
        self.log.hook = None;
    }

    /// One turn, which has to keep its bounds.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let before = self.log.events.len();
        self.log.in_turn = true;
        let more = self.io.poll_turn(cx, self.max_events, &mut self.log);
        self.log.in_turn = false;
        let events = &self.log.events[before..];
        assert!(events.len() <= self.max_events, "{} events in a turn of {}", events.len(), self.max_events);
        let mut read = HashMap::<Token, usize>::new();
        for event in events {
            if let Event::Data(token, _) | Event::Filled(token, _) = event {
                let reads = read.entry(*token).or_default();
                *reads += 1;
                assert_eq!(*reads, 1, "{token:?} was read more than once in a turn");
            }
        }
        more
    }

    /// Turns until `done`, which sees the log after each.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn until(&mut self, what: &str, mut done: impl FnMut(&mut B, &mut Log<B>) -> bool) {
        let turns = poll_fn(|cx| {
            if done(&mut self.io, &mut self.log) {
                return Poll::Ready(());
            }
            if self.poll_turn(cx).is_ready() {
                cx.waker().wake_by_ref();
            } else if done(&mut self.io, &mut self.log) {
                return Poll::Ready(());
            }
            Poll::Pending
        });
        if patiently(turns).await.is_none() {
            let last = self.log.events.iter().rev().take(5).collect::<Vec<_>>();
            panic!("{what} did not happen; the last of {} events: {last:?}", self.log.events.len());
        }
    }

    /// Turns beside a future until that is done.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn beside<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let both = poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            if self.poll_turn(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        });
        patiently(both).await.expect("the peer got no further")
    }

    /// Turns for a while, to see what does not happen; ends early when the backend goes on without a break.
    pub async fn settle(&mut self) {
        let until = tokio::time::Instant::now() + Duration::from_millis(20);
        self.beside(tokio::time::sleep_until(until)).await;
    }

    /// Starts to accept.
    pub fn listen(&mut self, listener: workerman_event::Listener) -> ListenerId {
        self.io.listen(listener).expect("the backend listens")
    }

    /// Waits for the next connection, beyond those that `known` were there.
    pub async fn accept(&mut self) -> Token {
        let known = self.log.tokens().len();
        self.until("accepting", |_, log| log.tokens().len() > known).await;
        self.log.tokens()[known]
    }

    /// Connects outside of a turn.
    pub fn connect(&mut self, to: &Address) -> Token {
        self.log.connect(&mut self.io, to)
    }

    /// Takes an open stream over.
    pub fn adopt(&mut self, stream: workerman_event::Stream) -> Token {
        let token = self.io.adopt(stream).expect("the backend adopts");
        self.log.life.insert(token, Life::Open);
        token
    }

    /// Closes outside of a turn.
    pub fn close(&mut self, token: Token) {
        self.log.close(&mut self.io, token);
    }

    /// Sends all of `out`, waiting for room.
    pub async fn send(&mut self, token: Token, out: &mut impl Buf) {
        loop {
            let writable = self.log.count(|event| *event == Event::Writable(token));
            self.io.send(token, out).expect("the connection is open");
            if !out.has_remaining() {
                return;
            }
            let more = |log: &Log<B>| log.count(|event| *event == Event::Writable(token)) > writable;
            self.until("room to write", |_, log| more(log)).await;
        }
    }

    /// Waits until `len` bytes have arrived in all.
    pub async fn receive(&mut self, token: Token, len: usize) -> Vec<u8> {
        self.until("receiving", |_, log| log.bytes(token).len() >= len).await;
        self.log.take_bytes(token)
    }
}

fn pattern_at(at: usize) -> u8 {
    (at ^ ((at >> 8) * 31) ^ ((at >> 16) * 7)) as u8
}

/// The bytes from `from` on of a stream in which no part looks like another.
pub fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(pattern_at).collect()
}

/// Whether `bytes` are the part of the pattern that begins at `from`.
pub fn holds(from: usize, bytes: &[u8]) -> bool {
    bytes.iter().zip(from..).all(|(byte, at)| *byte == pattern_at(at))
}

/// A buffer of many pieces, as an outbox is.
#[derive(Debug)]
pub struct Pieces {
    pieces: std::collections::VecDeque<Bytes>,
    len: usize,
}

impl FromIterator<Bytes> for Pieces {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let pieces: std::collections::VecDeque<Bytes> = pieces.into_iter().collect();
        let len = pieces.iter().map(Bytes::len).sum();
        Self { pieces, len }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let used = slices.len().min(self.pieces.len());
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        used
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len);
        self.len -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}
