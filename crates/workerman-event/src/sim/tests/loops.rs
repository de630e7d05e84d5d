//! Loops on the simulated network: the rules of the contract that are particular here.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::sim::{LinkOptions, block_on};

#[test]
fn an_echo_loop_gives_back_every_byte_at_any_segment_size_and_capacity() {
    for seed in 0..20 {
        block_on(seed, async |network| {
            network.set_default(LinkOptions {
                segment: 1..=1 + seed as usize * 9,
                capacity: 17 + seed as usize * 31,
                latency: Duration::ZERO..=millis(seed),
                ..LinkOptions::default()
            });
            let (mut io, host, _) = server(&network);
            let mut sink = Recorder::echo();
            let peer = tokio::spawn(async move {
                let (mut read, mut write) =
                    tokio::io::split(network.connect(network.host("a"), host.socket(80)).await.unwrap());
                let sent = pattern(2000);
                let copy = sent.clone();
                let writer = tokio::spawn(async move { write.write_all(&copy).await.map(|()| write) });
                let mut got = vec![0; sent.len()];
                read.read_exact(&mut got).await.unwrap();
                assert_eq!(got, sent);
                writer.await.unwrap().unwrap().shutdown().await.unwrap();
                assert_eq!(read.read(&mut [0; 1]).await.unwrap(), 0);
            });
            turns(&mut io, &mut sink, Recorder::ended).await;
            peer.await.unwrap();
            assert_eq!(sink.data(), pattern(2000));
        });
    }
}

#[test]
fn a_partial_send_is_followed_by_one_writable_when_there_is_room() {
    block_on(1, async |network| {
        network.set_default(LinkOptions { capacity: 1000, ..LinkOptions::default() });
        let (mut io, host, _) = server(&network);
        let mut sink = Recorder::default();
        let mut peer = network.connect(network.host("a"), host.socket(80)).await.unwrap();
        turns(&mut io, &mut sink, |sink| !sink.accepted().is_empty()).await;
        let id = sink.accepted()[0];
        let mut out = BytesMut::from(&pattern(1500)[..]);
        assert_eq!(io.send(id, &mut out).unwrap(), 1000);
        assert_eq!(out.len(), 500, "what was not taken stays");
        run_for(&mut io, &mut sink, millis(10)).await;
        assert_eq!(sink.count(|one| matches!(one, Seen::Writable(_))), 0);
        let mut got = vec![0; 600];
        peer.read_exact(&mut got).await.unwrap();
        run_for(&mut io, &mut sink, millis(10)).await;
        assert_eq!(sink.count(|one| *one == Seen::Writable(id)), 1);
        assert_eq!(io.send(id, &mut out).unwrap(), 500);
        got.resize(1500, 0);
        peer.read_exact(&mut got[600..]).await.unwrap();
        assert_eq!(got, pattern(1500));
        run_for(&mut io, &mut sink, millis(10)).await;
        assert_eq!(sink.count(|one| matches!(one, Seen::Writable(_))), 1);
    });
}

#[test]
fn a_turn_reads_each_connection_once_and_keeps_to_its_budget() {
    block_on(1, async |network| {
        network.set_default(LinkOptions { segment: 10..=10, ..LinkOptions::default() });
        let (mut io, host, _) = server(&network);
        let mut sink = Recorder::default();
        let mut peers = Vec::new();
        for _ in 0..100 {
            let mut peer = network.connect(network.host("a"), host.socket(80)).await.unwrap();
            peer.write_all(&[1; 25]).await.unwrap();
            peers.push(peer);
        }
        turns(&mut io, &mut sink, |sink| sink.accepted().len() == 100).await;
        for id in sink.accepted() {
            io.set_read(id, false);
        }
        run_for(&mut io, &mut sink, millis(1)).await;
        let before = 2500 - sink.data().len();
        let tokens = sink.accepted();
        sink.seen.clear();
        for id in tokens {
            io.set_read(id, true);
        }
        let mut waker = std::task::Context::from_waker(std::task::Waker::noop());
        let mut read = vec![0; 100];
        let mut turns = 0;
        while io.poll_turn(&mut waker, 7, &mut sink).is_ready() || !sink.seen.is_empty() {
            assert!(sink.seen.len() <= 7);
            let mut this_turn = vec![0; 100];
            for one in sink.seen.drain(..) {
                let Seen::Data(id, data) = one else { panic!("{one:?}") };
                assert!(data.len() <= 10);
                this_turn[id.slot()] += 1;
                read[id.slot()] += data.len();
            }
            assert!(this_turn.iter().all(|count| *count <= 1));
            turns += 1;
            assert!(turns < 1000);
        }
        assert_eq!(read.iter().sum::<usize>(), before);
    });
}

#[test]
fn what_comes_while_reading_is_off_is_delivered_when_it_is_on() {
    block_on(1, async |network| {
        let (mut io, host, _) = server(&network);
        let mut sink = Recorder::default();
        let mut peer = network.connect(network.host("a"), host.socket(80)).await.unwrap();
        turns(&mut io, &mut sink, |sink| !sink.accepted().is_empty()).await;
        let id = sink.accepted()[0];
        io.set_read(id, false);
        peer.write_all(b"later").await.unwrap();
        drop(peer);
        run_for(&mut io, &mut sink, millis(50)).await;
        assert_eq!(sink.seen.len(), 1);
        io.set_read(id, true);
        io.set_read(id, true);
        turns(&mut io, &mut sink, Recorder::ended).await;
        assert_eq!(sink.seen[1..], [Seen::Data(id, b"later".to_vec()), Seen::Eof(id)]);
        assert!(io.send(id, &mut &b"answer"[..]).is_ok(), "open for writing after the end of reading");
    });
}

#[test]
fn a_lent_buffer_is_filled_behind_what_is_in_it_and_never_beyond_its_capacity() {
    block_on(1, async |network| {
        let (mut io, host, _) = server(&network);
        let mut sink = Recorder::default();
        let mut peer = network.connect(network.host("a"), host.socket(80)).await.unwrap();
        turns(&mut io, &mut sink, |sink| !sink.accepted().is_empty()).await;
        let id = sink.accepted()[0];
        let mut buffer = Vec::with_capacity(8);
        buffer.extend_from_slice(b"head");
        let room = buffer.capacity() - buffer.len();
        io.lend(id, buffer);
        peer.write_all(&[b'x'; 100]).await.unwrap();
        turns(&mut io, &mut sink, |sink| sink.data().len() == 100 - room).await;
        let filled = [b"head".to_vec(), vec![b'x'; room]].concat();
        assert_eq!(sink.seen[1], Seen::Filled(id, filled));
        io.lend(id, Vec::with_capacity(8));
        assert!(io.reclaim(id).is_some_and(|buffer| buffer.is_empty()));
        assert!(io.reclaim(id).is_none());
    });
}

#[test]
fn connects_of_a_loop_succeed_or_fail_in_a_later_turn() {
    block_on(1, async |network| {
        let b = network.host("b");
        let listener = network.listen(b, 80).unwrap();
        let mut io = network.backend_on(network.host("a"));
        let mut sink = Recorder::default();
        let good = io.connect(&b.socket(80).into()).unwrap();
        let bad = io.connect(&b.socket(81).into()).unwrap();
        assert_eq!(io.send(good, &mut &b"early"[..]).unwrap(), 0);
        turns(&mut io, &mut sink, |sink| sink.seen.len() == 3).await;
        assert_eq!(sink.count(|one| *one == Seen::Connected(good, b.socket(80).into())), 1);
        assert_eq!(sink.count(|one| *one == Seen::Writable(good)), 1, "something had not been taken");
        assert_eq!(sink.count(|one| *one == Seen::Failed(bad, ErrorKind::ConnectionRefused)), 1);
        let far = listener.accept().await.unwrap();
        assert_eq!(io.local_address(good).unwrap(), far.peer_address().unwrap());
        assert_eq!(io.send(bad, &mut &b"x"[..]).unwrap_err().kind(), ErrorKind::NotConnected);
        io.close(good);
        let third = io.connect(&b.socket(80).into()).unwrap();
        assert_ne!(third, good, "the slot is reused, the token is not");
        assert!(io.local_address(good).is_err());
    });
}

#[test]
fn aborting_resets_and_closing_says_goodbye() {
    block_on(2, async |network| {
        let (mut io, host, _) = server(&network);
        let mut sink = Recorder::default();
        let a = network.host("a");
        let mut first = network.connect(a, host.socket(80)).await.unwrap();
        turns(&mut io, &mut sink, |sink| sink.accepted().len() == 1).await;
        let mut second = network.connect(a, host.socket(80)).await.unwrap();
        turns(&mut io, &mut sink, |sink| sink.accepted().len() == 2).await;
        io.abort(sink.accepted()[0]);
        io.send(sink.accepted()[1], &mut &b"bye"[..]).unwrap();
        io.close(sink.accepted()[1]);
        assert_eq!(first.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let mut got = Vec::new();
        second.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"bye");
        drop((first, second));
        run_for(&mut io, &mut sink, millis(10)).await;
        assert_eq!(sink.seen.len(), 2, "nothing for a closed token: {:?}", sink.seen);
    });
}

#[test]
fn a_paused_listener_keeps_its_queue() {
    block_on(1, async |network| {
        let (mut io, host, listener) = server(&network);
        let mut sink = Recorder::default();
        io.pause_accept(listener);
        let _peer = network.connect(network.host("a"), host.socket(80)).await.unwrap();
        run_for(&mut io, &mut sink, millis(10)).await;
        assert!(sink.seen.is_empty());
        io.resume_accept(listener);
        turns(&mut io, &mut sink, |sink| sink.accepted().len() == 1).await;
        io.unlisten(listener);
        assert!(network.connect(network.host("a"), host.socket(80)).await.is_err());
    });
}

#[test]
fn an_adopted_stream_brings_along_what_has_arrived() {
    block_on(1, async |network| {
        let (a, b) = (network.host("a"), network.host("b"));
        let listener = network.listen(b, 80).unwrap();
        let mut near = network.connect(a, b.socket(80)).await.unwrap();
        let far = listener.accept().await.unwrap();
        near.write_all(b"before").await.unwrap();
        tokio::time::sleep(millis(1)).await;
        let mut io = network.backend_on(b);
        let mut sink = Recorder::default();
        let id = io.adopt(far.into()).unwrap();
        turns(&mut io, &mut sink, |sink| !sink.seen.is_empty()).await;
        assert_eq!(sink.seen, [Seen::Data(id, b"before".to_vec())]);
        let other = Network::new(1);
        let stray = other.backend();
        let listener = stray.bind(&stray.host().socket(1).into(), &ListenOptions::default()).unwrap();
        assert!(io.listen(listener).is_err(), "of another network");
        drop(io);
        assert_eq!(near.read(&mut [0; 1]).await.unwrap(), 0, "a dropped loop closes its sockets");
        assert_eq!(network.open_descriptors(b), 1);
    });
}

#[test]
fn names_are_looked_up_in_virtual_time() {
    block_on(1, async |network| {
        let db = network.host("db-1");
        network.add_name("DB.local", vec![db.ip(), db.ipv6()]);
        network.set_lookup_latency(millis(30)..=millis(30));
        let mut io = network.backend();
        let mut sink = Recorder::default();
        let literal = io.resolve("10.0.0.9", 1);
        let bracketed = io.resolve("[::1]", 2);
        turns(&mut io, &mut sink, |sink| sink.seen.len() == 2).await;
        assert_eq!(network.elapsed(), Duration::ZERO);
        let six = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 2));
        assert!(sink.seen.contains(&Seen::Resolved(literal, Ok(vec!["10.0.0.9:1".parse().unwrap()]))));
        assert!(sink.seen.contains(&Seen::Resolved(bracketed, Ok(vec![six]))));
        let known = io.resolve("db.LOCAL", 3);
        let host = io.resolve("db-1", 4);
        let unknown = io.resolve("nowhere", 5);
        let cancelled = io.resolve("db.local", 6);
        io.cancel_resolve(cancelled);
        run_for(&mut io, &mut sink, millis(100)).await;
        assert_eq!(sink.seen.len(), 5);
        assert_eq!(sink.at[2..], [millis(30); 3]);
        let both = vec![db.socket(3), SocketAddr::new(db.ipv6(), 3)];
        assert!(sink.seen.contains(&Seen::Resolved(known, Ok(both))));
        assert!(sink.seen.contains(&Seen::Resolved(host, Ok(vec![db.socket(4)]))));
        assert!(sink.seen.contains(&Seen::Resolved(unknown, Err(ErrorKind::NotFound))));
    });
}

#[test]
fn signals_reach_the_loops_that_watch_them() {
    block_on(1, async |network| {
        let (mut one, mut two) = (network.backend(), network.backend_on(network.host("b")));
        let (mut first, mut second) = (Recorder::default(), Recorder::default());
        one.watch_signal(Signal::Terminate).unwrap();
        one.watch_signal(Signal::Terminate).unwrap();
        two.watch_signal(Signal::Hangup).unwrap();
        network.raise(Signal::Terminate);
        network.raise_on(one.host(), Signal::Hangup);
        run_for(&mut one, &mut first, millis(1)).await;
        run_for(&mut two, &mut second, millis(1)).await;
        assert_eq!(first.seen, [Seen::Signal(Signal::Terminate)]);
        assert_eq!(second.seen, []);
        network.raise(Signal::Hangup);
        run_for(&mut two, &mut second, millis(1)).await;
        assert_eq!(second.seen, [Seen::Signal(Signal::Hangup)]);
    });
}

#[test]
fn a_loop_echoes_datagrams_and_hears_when_there_is_room() {
    block_on(1, async |network| {
        let (a, b) = (network.host("a"), network.host("b"));
        let mut io = network.backend_on(b);
        let mut sink = Recorder::echo();
        let socket = io.bind_datagram("0.0.0.0:53".parse().unwrap()).unwrap();
        let id = io.open_datagram(socket).unwrap();
        let peer = network.bind_datagram(a, a.socket(0)).unwrap();
        peer.send_to(b"ping", Some(b.socket(53))).unwrap();
        turns(&mut io, &mut sink, |sink| !sink.seen.is_empty()).await;
        assert_eq!(peer.recv_from().await.unwrap(), (b"ping".to_vec().into(), b.socket(53)));
        let full = loop {
            if let Err(why) = io.send_datagram(id, Some(a.socket(9)), &[0; 60_000]) {
                break why;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        turns(&mut io, &mut sink, |sink| sink.seen.contains(&Seen::DatagramWritable)).await;
        io.send_datagram(id, Some(a.socket(9)), &[0; 60_000]).unwrap();
        io.close_datagram(id);
        assert!(io.send_datagram(id, Some(a.socket(9)), b"x").is_err());
    });
}

#[test]
fn an_idle_loop_is_not_woken() {
    block_on(1, async |network| {
        let (mut io, host, _) = server(&network);
        let mut sink = Recorder::default();
        let mut peers = Vec::new();
        for _ in 0..1000 {
            peers.push(network.connect(network.host("a"), host.socket(80)).await.unwrap());
        }
        turns(&mut io, &mut sink, |sink| sink.accepted().len() == 1000).await;
        let mut turns = 0;
        let idle = poll_fn(|cx| {
            turns += 1;
            assert!(io.poll_turn(cx, 64, &mut sink).is_pending());
            Poll::<()>::Pending
        });
        assert!(tokio::time::timeout(Duration::from_secs(3600), idle).await.is_err());
        assert!(turns <= 2, "{turns}"); // once, and once more as the timeout ends
    });
}
