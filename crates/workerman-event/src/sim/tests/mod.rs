//! Tests of the simulated network: a loop with a recording sink on one side, plain tasks or a second loop on the other.

mod faults;
mod loops;
mod replay;
mod streams;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use super::{HostAddr, Network, Sim};
use crate::{Address, Backend, DatagramId, ListenOptions, ListenerId, ResolveId, Signal, Sink, Token};

/// What a sink was told, and when.
#[derive(Clone, PartialEq, Debug)]
enum Seen {
    Accepted(Token, Address),
    AcceptFailed(usize),
    Connected(Token, Address),
    Data(Token, Vec<u8>),
    Filled(Token, Vec<u8>),
    Writable(Token),
    Eof(Token),
    Failed(Token, io::ErrorKind),
    Resolved(ResolveId, Result<Vec<SocketAddr>, io::ErrorKind>),
    Datagram(SocketAddr, Vec<u8>),
    DatagramWritable,
    DatagramFailed(io::ErrorKind),
    Signal(Signal),
}

/// Records everything; echoes if it is told to.
#[derive(Default)]
struct Recorder {
    seen: Vec<Seen>,
    at: Vec<Duration>,
    echo: bool,
    unsent: BTreeMap<usize, BytesMut>,
}

impl Recorder {
    fn echo() -> Self {
        Self { echo: true, ..Self::default() }
    }

    fn note(&mut self, io: &Sim, seen: Seen) {
        self.seen.push(seen);
        self.at.push(io.network().elapsed());
    }

    fn flush(&mut self, io: &mut Sim, id: Token) {
        if let Some(out) = self.unsent.get_mut(&id.slot()) {
            while out.has_remaining() {
                match io.send(id, out) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(_) => out.clear(),
                }
            }
        }
    }

    fn count(&self, meant: impl Fn(&Seen) -> bool) -> usize {
        self.seen.iter().filter(|one| meant(one)).count()
    }

    /// The bytes of all reads of all connections.
    fn data(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for one in &self.seen {
            if let Seen::Data(_, data) = one {
                all.extend_from_slice(data);
            }
        }
        all
    }

    fn accepted(&self) -> Vec<Token> {
        self.seen
            .iter()
            .filter_map(|one| if let Seen::Accepted(id, _) = one { Some(*id) } else { None })
            .collect()
    }

    fn ended(&self) -> bool {
        self.count(|one| matches!(one, Seen::Eof(_) | Seen::Failed(..))) > 0
    }
}

impl Sink<Sim> for Recorder {
    fn accepted(&mut self, io: &mut Sim, _: ListenerId, id: Token, peer: Address) {
        self.unsent.insert(id.slot(), BytesMut::new());
        self.note(io, Seen::Accepted(id, peer));
    }

    fn accept_failed(&mut self, io: &mut Sim, _: ListenerId, shed: usize, _: &io::Error) {
        self.note(io, Seen::AcceptFailed(shed));
    }

    fn connected(&mut self, io: &mut Sim, id: Token, peer: Address) {
        self.note(io, Seen::Connected(id, peer));
    }

    fn data(&mut self, io: &mut Sim, id: Token, data: &mut BytesMut) {
        self.note(io, Seen::Data(id, data.to_vec()));
        if self.echo {
            self.unsent.entry(id.slot()).or_default().extend_from_slice(data);
            self.flush(io, id);
        }
    }

    fn filled(&mut self, io: &mut Sim, id: Token, buffer: Vec<u8>) {
        self.note(io, Seen::Filled(id, buffer));
    }

    fn writable(&mut self, io: &mut Sim, id: Token) {
        self.note(io, Seen::Writable(id));
        self.flush(io, id);
    }

    fn eof(&mut self, io: &mut Sim, id: Token) {
        self.note(io, Seen::Eof(id));
        if self.echo {
            self.flush(io, id);
            io.close(id);
        }
    }

    fn failed(&mut self, io: &mut Sim, id: Token, why: io::Error) {
        self.note(io, Seen::Failed(id, why.kind()));
    }

    fn resolved(&mut self, io: &mut Sim, id: ResolveId, result: io::Result<Vec<SocketAddr>>) {
        self.note(io, Seen::Resolved(id, result.map_err(|why| why.kind())));
    }

    fn datagram(&mut self, io: &mut Sim, id: DatagramId, from: SocketAddr, payload: &mut BytesMut) {
        self.note(io, Seen::Datagram(from, payload.to_vec()));
        if self.echo {
            io.send_datagram(id, Some(from), payload).unwrap();
        }
    }

    fn datagram_writable(&mut self, io: &mut Sim, _: DatagramId) {
        self.note(io, Seen::DatagramWritable);
    }

    fn datagram_failed(&mut self, io: &mut Sim, _: DatagramId, why: io::Error) {
        self.note(io, Seen::DatagramFailed(why.kind()));
    }

    fn signal(&mut self, io: &mut Sim, signal: Signal) {
        self.note(io, Seen::Signal(signal));
    }
}

/// Runs turns until `done`; the caller's virtual patience is an hour.
async fn turns(io: &mut Sim, sink: &mut Recorder, done: impl Fn(&Recorder) -> bool) {
    let run = poll_fn(|cx| {
        let turn = io.poll_turn(cx, 64, sink);
        if done(sink) {
            return Poll::Ready(());
        }
        if turn.is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    });
    if tokio::time::timeout(Duration::from_secs(3600), run).await.is_err() {
        panic!("an hour has passed in vain: {:?}", sink.seen);
    }
}

/// Runs turns for a virtual time.
async fn run_for(io: &mut Sim, sink: &mut Recorder, time: Duration) {
    let forever = poll_fn(|cx| {
        if io.poll_turn(cx, 64, sink).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::<()>::Pending
    });
    let _ = tokio::time::timeout(time, forever).await;
}

/// A loop on the host `server` that listens on its port 80.
fn server(network: &Network) -> (Sim, HostAddr, ListenerId) {
    let host = network.host("server");
    let mut io = network.backend_on(host);
    let listener = io.bind(&host.socket(80).into(), &ListenOptions::default()).unwrap();
    let id = io.listen(listener).unwrap();
    (io, host, id)
}

/// A pattern in which any shift shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
