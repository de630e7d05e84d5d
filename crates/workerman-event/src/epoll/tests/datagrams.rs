//! Datagram sockets.

use std::net::UdpSocket;

use super::*;
use crate::{Datagram, DatagramOptions};

fn open(bench: &mut Bench) -> (DatagramId, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = Datagram::bind(any, &DatagramOptions::default()).unwrap();
    let address = socket.local_address().unwrap();
    (bench.epoll.open_datagram(socket).unwrap(), address)
}

#[test]
fn datagrams_keep_their_bounds_and_senders() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (id, address) = open(&mut bench);
        let peer = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let from = peer.local_addr().unwrap();
        for payload in [&b"one"[..], b"", &pattern(60_000)] {
            peer.send_to(payload, address).unwrap();
        }
        bench.until("three datagrams", |r| r.events.len() == 3).await;
        let expected = [&b"one"[..], b"", &pattern(60_000)];
        for (event, payload) in bench.recorder.events.iter().zip(expected) {
            assert_eq!(*event, Event::Datagram(id, from, payload.to_vec()));
        }
        bench.epoll.send_datagram(id, Some(from), b"answer").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(peer.recv_from(&mut buffer).unwrap(), (6, address));
        bench.epoll.close_datagram(id);
        let late = bench.epoll.send_datagram(id, Some(from), b"late").unwrap_err();
        assert_eq!(late.kind(), ErrorKind::NotConnected);
        peer.send_to(b"late", address).unwrap();
        bench.idle().await;
        assert_eq!(bench.recorder.events.len(), 3);
    });
}

#[test]
fn many_datagrams_come_in_bounded_turns() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        bench.max_events = 8;
        let (_, address) = open(&mut bench);
        let peer = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        for _ in 0..100 {
            peer.send_to(b"x", address).unwrap();
        }
        bench.until("all datagrams", |r| r.events.len() == 100).await;
        assert!(bench.turns.iter().all(|events| *events <= 8), "{:?}", bench.turns);
    });
}

#[test]
fn an_unreachable_peer_is_told_and_the_socket_stays() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let peer = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let socket =
            Datagram::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &DatagramOptions::default()).unwrap();
        socket.connect(peer.local_addr().unwrap()).unwrap();
        let own = socket.local_address().unwrap();
        let id = bench.epoll.open_datagram(socket).unwrap();
        let address = peer.local_addr().unwrap();
        drop(peer);
        bench.epoll.send_datagram(id, None, b"anybody?").unwrap();
        bench.until("the error", |r| r.has(&Event::DatagramFailed(id, ErrorKind::ConnectionRefused))).await;
        let peer = UdpSocket::bind(address).unwrap();
        peer.send_to(b"back", own).unwrap();
        bench.until("a datagram", |r| r.has(&Event::Datagram(id, address, b"back".to_vec()))).await;
    });
}

#[test]
fn a_full_socket_takes_nothing_and_tells_of_room() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        // A unix pair stands in for a slow network: on loopback a UDP socket never fills up.
        let (own, peer) = std::os::unix::net::UnixDatagram::pair().unwrap();
        own.set_nonblocking(true).unwrap();
        let id = bench.epoll.next_id();
        let socket = Datagram::from_udp(std::os::fd::OwnedFd::from(own).into()).unwrap();
        assert_ne!(bench.epoll.open_datagram(socket).unwrap(), DatagramId(id));
        let id = DatagramId(id + 1);
        let mut sent = 0;
        let why = loop {
            match bench.epoll.send_datagram(id, None, &pattern(1000)) {
                Ok(()) => sent += 1,
                Err(why) => break why,
            }
            assert!(sent < 100_000, "the socket never fills up");
        };
        assert_eq!(why.kind(), ErrorKind::WouldBlock);
        bench.idle().await;
        assert_eq!(bench.recorder.events, []);
        for _ in 0..sent {
            assert_eq!(peer.recv(&mut [0; 2000]).unwrap(), 1000);
        }
        bench.until("room", |r| r.has(&Event::DatagramWritable(id))).await;
        bench.epoll.send_datagram(id, None, b"again").unwrap();
        bench.idle().await;
        assert_eq!(bench.recorder.events.len(), 1, "once, and not for what is taken");
    });
}
