//! The backend against sockets of the standard library, one trap at a time.

mod connecting;
mod datagrams;
mod exhaustion;
mod reading;
mod turns;
mod writing;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;

use super::Epoll;
use crate::{
    Address, Backend, DatagramId, ListenOptions, Listener, ListenerId, ResolveId, Signal, Sink, Stream, Token,
};

/// What a turn told.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Accepted(ListenerId, Token),
    AcceptFailed(usize, ErrorKind),
    Connected(Token, Address),
    Data(Token, Vec<u8>),
    Filled(Token, Vec<u8>),
    Writable(Token),
    Eof(Token),
    Failed(Token, ErrorKind),
    Resolved(ResolveId, Result<Vec<SocketAddr>, ErrorKind>),
    Datagram(DatagramId, SocketAddr, Vec<u8>),
    DatagramWritable(DatagramId),
    DatagramFailed(DatagramId, ErrorKind),
    Signal(Signal),
}

type Hook = Box<dyn FnMut(&mut Epoll, &Event)>;

/// Records all events, and runs a hook in each.
#[derive(Default)]
struct Recorder {
    events: Vec<Event>,
    hook: Option<Hook>,
}

impl Recorder {
    fn with(hook: impl FnMut(&mut Epoll, &Event) + 'static) -> Self {
        Self { events: Vec::new(), hook: Some(Box::new(hook)) }
    }

    fn record(&mut self, io: &mut Epoll, event: Event) {
        if let Some(hook) = &mut self.hook {
            hook(io, &event);
        }
        self.events.push(event);
    }

    /// All bytes that came for a connection.
    fn bytes(&self, token: Token) -> Vec<u8> {
        let mut bytes = Vec::new();
        for event in &self.events {
            match event {
                Event::Data(of, data) if *of == token => bytes.extend_from_slice(data),
                _ => {}
            }
        }
        bytes
    }

    fn has(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    fn accepted(&self) -> Vec<Token> {
        let accepted =
            |event: &Event| if let Event::Accepted(_, token) = event { Some(*token) } else { None };
        self.events.iter().filter_map(accepted).collect()
    }

    fn failed(&self, token: Token) -> Option<ErrorKind> {
        self.events.iter().find_map(|event| match event {
            Event::Failed(of, why) if *of == token => Some(*why),
            _ => None,
        })
    }
}

impl Sink<Epoll> for Recorder {
    fn accepted(&mut self, io: &mut Epoll, listener: ListenerId, id: Token, _: Address) {
        self.record(io, Event::Accepted(listener, id));
    }
    fn accept_failed(&mut self, io: &mut Epoll, _: ListenerId, shed: usize, why: &io::Error) {
        self.record(io, Event::AcceptFailed(shed, why.kind()));
    }
    fn connected(&mut self, io: &mut Epoll, id: Token, peer: Address) {
        self.record(io, Event::Connected(id, peer));
    }
    fn data(&mut self, io: &mut Epoll, id: Token, data: &mut BytesMut) {
        self.record(io, Event::Data(id, data.to_vec()));
    }
    fn filled(&mut self, io: &mut Epoll, id: Token, buffer: Vec<u8>) {
        self.record(io, Event::Filled(id, buffer));
    }
    fn writable(&mut self, io: &mut Epoll, id: Token) {
        self.record(io, Event::Writable(id));
    }
    fn eof(&mut self, io: &mut Epoll, id: Token) {
        self.record(io, Event::Eof(id));
    }
    fn failed(&mut self, io: &mut Epoll, id: Token, why: io::Error) {
        self.record(io, Event::Failed(id, why.kind()));
    }
    fn resolved(&mut self, io: &mut Epoll, id: ResolveId, result: io::Result<Vec<SocketAddr>>) {
        self.record(io, Event::Resolved(id, result.map_err(|why| why.kind())));
    }
    fn datagram(&mut self, io: &mut Epoll, id: DatagramId, from: SocketAddr, payload: &mut BytesMut) {
        self.record(io, Event::Datagram(id, from, payload.to_vec()));
    }
    fn datagram_writable(&mut self, io: &mut Epoll, id: DatagramId) {
        self.record(io, Event::DatagramWritable(id));
    }
    fn datagram_failed(&mut self, io: &mut Epoll, id: DatagramId, why: io::Error) {
        self.record(io, Event::DatagramFailed(id, why.kind()));
    }
    fn signal(&mut self, io: &mut Epoll, signal: Signal) {
        self.record(io, Event::Signal(signal));
    }
}

/// A backend, its sink, and the bound of its turns.
struct Bench {
    epoll: Epoll,
    recorder: Recorder,
    max_events: usize,
    /// Events of each turn.
    turns: Vec<usize>,
}

impl Bench {
    fn new(recorder: Recorder) -> Self {
        Self { epoll: Epoll::new().unwrap(), recorder, max_events: 64, turns: Vec::new() }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let before = self.recorder.events.len();
        let outcome = self.epoll.poll_turn(cx, self.max_events, &mut self.recorder);
        let events = self.recorder.events.len() - before;
        self.turns.push(events);
        outcome
    }

    /// Runs turns until the condition holds, in a time that only a lost event can exceed.
    async fn until(&mut self, what: &str, mut condition: impl FnMut(&Recorder) -> bool) {
        let turns = poll_fn(|cx| {
            if condition(&self.recorder) {
                return Poll::Ready(());
            }
            if self.turn(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            if condition(&self.recorder) { Poll::Ready(()) } else { Poll::Pending }
        });
        if tokio::time::timeout(Duration::from_secs(20), turns).await.is_err() {
            panic!(
                "{what} never came; last events: {:?}",
                self.recorder.events.iter().rev().take(5).collect::<Vec<_>>()
            );
        }
    }

    /// Runs turns until nothing is left to do.
    async fn idle(&mut self) {
        let mut quiet = 0;
        poll_fn(|cx| {
            // The first `Pending` may only mean that the runtime has not looked at its descriptors yet.
            quiet = if self.turn(cx).is_ready() { 0 } else { quiet + 1 };
            cx.waker().wake_by_ref();
            if quiet >= 256 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn listen(&mut self) -> (ListenerId, SocketAddr) {
        let any = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = Listener::bind(&any, &ListenOptions::default()).unwrap();
        let address = listener.local_address().unwrap().tcp().unwrap();
        (self.epoll.listen(listener).unwrap(), address)
    }

    /// A connection of the backend, and its other end, blocking.
    fn tcp_pair(&mut self) -> (Token, TcpStream) {
        let (own, other) = tcp_pair();
        (self.epoll.adopt(Stream::from_tcp(own).unwrap()).unwrap(), other)
    }

    fn unix_pair(&mut self) -> (Token, UnixStream) {
        let (own, other) = UnixStream::pair().unwrap();
        (self.epoll.adopt(Stream::from_unix(own).unwrap()).unwrap(), other)
    }
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, client)
}

fn run<F: Future>(body: F) -> F::Output {
    crate::block_on(body).unwrap()
}

/// Bytes that tell where they belong.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// How often each connection got data.
fn reads(events: &[Event]) -> HashMap<Token, usize> {
    let mut reads = HashMap::new();
    for event in events {
        if let Event::Data(token, _) = event {
            *reads.entry(*token).or_default() += 1;
        }
    }
    reads
}
