//! Partial writes, gathered writes, half-close and reset.

use std::collections::VecDeque;
use std::io::{IoSlice, Read};

use bytes::{Buf, Bytes};

use super::*;

/// Sends until the system takes no more; returns how much it took.
fn fill(epoll: &mut Epoll, token: Token) -> usize {
    let data = vec![0; 64 << 20];
    let mut rest = &data[..];
    let taken = epoll.send(token, &mut rest).unwrap();
    assert_eq!(taken, data.len() - rest.len());
    assert!(!rest.is_empty(), "the system takes everything");
    taken
}

fn drain(peer: &mut impl Read, mut length: usize) {
    let mut buffer = vec![0; 1 << 20];
    while length > 0 {
        let room = length.min(buffer.len());
        let count = peer.read(&mut buffer[..room]).unwrap();
        assert_ne!(count, 0);
        length -= count;
    }
}

#[test]
fn room_that_comes_before_the_next_turn_is_told() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (tcp, mut tcp_peer) = bench.tcp_pair();
        let (unix, mut unix_peer) = bench.unix_pair();
        bench.idle().await;
        for round in 1..=3 {
            // The edge comes between the short write and the turn that could show interest in it.
            let taken = fill(&mut bench.epoll, tcp);
            drain(&mut tcp_peer, taken);
            bench.until("room", |r| r.has(&Event::Writable(tcp))).await;
            let taken = fill(&mut bench.epoll, unix);
            drain(&mut unix_peer, taken);
            bench.until("room", |r| r.has(&Event::Writable(unix))).await;
            bench.idle().await;
            assert_eq!(bench.recorder.events.len(), 2, "round {round}: once each");
            bench.recorder.events.clear();
        }
    });
}

#[test]
fn room_that_comes_later_is_told() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (tcp, mut tcp_peer) = bench.tcp_pair();
        let (unix, mut unix_peer) = bench.unix_pair();
        let (one, two) = (fill(&mut bench.epoll, tcp), fill(&mut bench.epoll, unix));
        bench.idle().await;
        assert_eq!(bench.recorder.events, []);
        drain(&mut tcp_peer, one);
        drain(&mut unix_peer, two);
        bench.until("room", |r| r.has(&Event::Writable(tcp)) && r.has(&Event::Writable(unix))).await;
    });
}

#[test]
fn nobody_is_told_of_room_that_he_did_not_miss() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (tcp, mut tcp_peer) = bench.tcp_pair();
        let (unix, mut unix_peer) = bench.unix_pair();
        for _ in 0..10 {
            assert_eq!(bench.epoll.send(tcp, &mut &b"ping"[..]).unwrap(), 4);
            assert_eq!(bench.epoll.send(unix, &mut &b"ping"[..]).unwrap(), 4);
            drain(&mut tcp_peer, 4);
            drain(&mut unix_peer, 4);
            bench.idle().await;
        }
        assert_eq!(bench.recorder.events, []);
    });
}

/// A queue of pieces, as a connection has it.
struct Pieces(VecDeque<Bytes>);

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let count = slices.len().min(self.0.len());
        for (slice, piece) in slices.iter_mut().zip(&self.0) {
            *slice = IoSlice::new(piece);
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let front = &mut self.0[0];
            let step = count.min(front.len());
            front.advance(step);
            count -= step;
            if front.is_empty() {
                self.0.pop_front();
            }
        }
    }
}

#[test]
fn pieces_leave_in_order_however_many() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (token, mut peer) = bench.tcp_pair();
        let all = pattern(2000 * 7);
        let mut out = Pieces(all.chunks(7).map(Bytes::copy_from_slice).collect());
        let mut taken = bench.epoll.send(token, &mut out).unwrap();
        assert!(taken > 64 * 7);
        // More pieces than one call may write: `writable` asks for the rest, though the system has room.
        while out.has_remaining() {
            bench.until("room", |r| r.has(&Event::Writable(token))).await;
            bench.recorder.events.clear();
            taken += bench.epoll.send(token, &mut out).unwrap();
        }
        assert_eq!(taken, all.len());
        bench.epoll.shutdown_write(token);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received, all);
    });
}

#[test]
fn a_half_close_goes_on_reading() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (token, mut peer) = bench.tcp_pair();
        bench.epoll.shutdown_write(token);
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        io::Write::write_all(&mut peer, b"still here").unwrap();
        bench.until("data", |r| r.bytes(token) == b"still here").await;
        let why = bench.epoll.send(token, &mut &b"x"[..]).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn an_abort_resets_the_peer() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (_, address) = bench.listen();
        let mut peer = TcpStream::connect(address).unwrap();
        bench.until("a connection", |r| !r.accepted().is_empty()).await;
        let token = bench.recorder.accepted()[0];
        assert_eq!(bench.epoll.local_address(token).unwrap(), Address::Tcp(address));
        bench.epoll.abort(token);
        assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(bench.epoll.local_address(token).is_err());
        // Calls for a connection that is gone do nothing.
        bench.epoll.set_read(token, true);
        bench.epoll.shutdown_write(token);
        bench.epoll.lend(token, Vec::with_capacity(1));
        bench.epoll.abort(token);
        bench.epoll.close(token);
        bench.idle().await;
        assert_eq!(bench.recorder.events.len(), 1);
    });
}
