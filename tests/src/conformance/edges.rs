//! The traps of edge-triggered readiness, and of slots and descriptors that are reused.

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_event::{Backend, ListenerId, Token, raise_open_files};

use super::streams::pair;
use super::{Event, Log, Rig, World, holds, patiently, pattern};

pub async fn data_and_fin_before_the_first_poll<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    rig.listen(listener);
    // All of this happens before the backend looks for the first time.
    let mut peer = world.connect(&address).await.unwrap();
    peer.write_all(b"hello").await.unwrap();
    peer.shutdown().await.unwrap();
    let token = rig.accept().await;
    rig.until("end of stream", |_, log| log.has(&Event::Eof(token))).await;
    assert_eq!(rig.log.take_bytes(token), b"hello");
}

pub async fn a_thousand_ready_at_once<W: World>(world: W) {
    const COUNT: usize = 1000;
    raise_open_files().unwrap();
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    rig.listen(listener);
    let mut peers = Vec::new();
    for _ in 0..COUNT {
        peers.push(rig.beside(world.connect(&address)).await.unwrap());
    }
    rig.until("accepting all", |_, log| log.tokens().len() == COUNT).await;
    rig.settle().await;
    for (at, peer) in peers.iter_mut().enumerate() {
        peer.write_all(&pattern(at, 100)).await.unwrap();
        if at % 2 == 0 {
            peer.shutdown().await.unwrap();
        }
    }
    // `Rig` checks that each turn keeps its 64 events.
    assert_eq!(rig.max_events, 64);
    let tokens = rig.log.tokens();
    rig.until("all data", |_, log| tokens.iter().all(|token| log.bytes(*token).len() == 100)).await;
    let starts: HashSet<Vec<u8>> = tokens.iter().map(|token| rig.log.take_bytes(*token)).collect();
    assert_eq!(starts, (0..COUNT).map(|at| pattern(at, 100)).collect());
    let ends = |log: &Log<_>| log.count(|event| matches!(event, Event::Eof(_)));
    rig.until("all ends", |_, log| ends(log) == COUNT / 2).await;
}

pub async fn a_budget_leaves_data_behind<W: World>(world: W) {
    const LEN: usize = 300_000;
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    rig.listen(listener);
    // One event in a turn: whoever is left out must not be forgotten, though his edge has passed.
    rig.max_events = 1;
    let mut writers = Vec::new();
    for _ in 0..4 {
        let mut peer = rig.beside(world.connect(&address)).await.unwrap();
        writers.push(tokio::task::spawn_local(async move {
            peer.write_all(&pattern(0, LEN)).await.unwrap();
            peer.shutdown().await.unwrap();
            peer
        }));
    }
    rig.until("all ends", |_, log| log.count(|event| matches!(event, Event::Eof(_))) == 4).await;
    for token in rig.log.tokens() {
        let bytes = rig.log.take_bytes(token);
        assert!(bytes.len() == LEN && holds(0, &bytes));
    }
}

pub async fn pause_then_data_then_resume<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    for round in 0..20 {
        rig.io.set_read(token, false);
        rig.io.set_read(token, false);
        rig.beside(peer.write_all(&pattern(round, 1000))).await.unwrap();
        rig.settle().await;
        assert_eq!(rig.log.bytes(token), b"", "read while reading is off");
        rig.io.set_read(token, true);
        rig.io.set_read(token, true);
        assert_eq!(rig.receive(token, 1000).await, pattern(round, 1000));
    }
}

pub async fn pause_then_fin_then_resume<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    rig.io.set_read(token, false);
    rig.beside(peer.write_all(b"the end")).await.unwrap();
    rig.beside(peer.shutdown()).await.unwrap();
    rig.settle().await;
    assert_eq!(rig.log.events.len(), 1, "{:?}", rig.log.events);
    rig.io.set_read(token, true);
    rig.until("end of stream", |_, log| log.has(&Event::Eof(token))).await;
    assert_eq!(rig.log.take_bytes(token), b"the end");
}

/// The peer makes room after the short write and before the next turn: the edge comes while nobody looks.
pub async fn room_before_anybody_waits_for_it<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    for _ in 0..3 {
        let mut sent = 0;
        loop {
            let mut out = Bytes::from(pattern(sent, 1 << 20));
            sent += rig.io.send(token, &mut out).unwrap();
            if out.has_remaining() {
                break;
            }
            assert!(sent < 256 << 20, "the system takes everything");
        }
        let writable = rig.log.count(|event| *event == Event::Writable(token));
        let (mut buffer, mut received) = (vec![0; 1 << 20], 0);
        while received < sent {
            let count = peer.read(&mut buffer).await.unwrap();
            assert!(count > 0 && holds(received, &buffer[..count]));
            received += count;
        }
        rig.until("room to write", |_, log| log.count(|event| *event == Event::Writable(token)) > writable)
            .await;
    }
}

pub async fn a_reset_after_fin<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    rig.beside(peer.write_all(b"bytes")).await.unwrap();
    rig.beside(peer.shutdown()).await.unwrap();
    rig.until("end of stream", |_, log| log.has(&Event::Eof(token))).await;
    assert_eq!(rig.log.take_bytes(token), b"bytes");
    W::reset(peer);
    rig.settle().await;
    // The backend may tell it itself; else a send finds it out.
    let mut told = rig.log.failure(token);
    for _ in 0..100 {
        if told.is_some() {
            break;
        }
        told = rig.io.send(token, &mut &[0; 1000][..]).err().map(|why| why.kind());
        rig.settle().await;
    }
    let told = told.expect("the reset is not found out");
    assert!(matches!(
        told,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected
    ));
    rig.close(token);
    // Nothing is left to spin on.
    let mut turns = 0;
    rig.until("rest", |_, _| {
        turns += 1;
        turns > 1
    })
    .await;
    let mut busy = 0;
    std::future::poll_fn(|cx| {
        while busy < 1000 && rig.poll_turn(cx).is_ready() {
            busy += 1;
        }
        Poll::Ready(())
    })
    .await;
    assert!(busy < 100, "the backend never comes to rest");
}

/// Two connections have data in one turn; the sink closes the second while it is told of the first, and opens others,
/// which get the slot and the descriptor. The second's event, already collected, is nobody's then.
pub async fn a_slot_reused_in_the_same_turn<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    rig.listen(listener);
    let (acceptor, elsewhere) = world.acceptor();
    for _ in 0..10 {
        let before = rig.log.tokens().len();
        let mut peers = Vec::new();
        for _ in 0..2 {
            peers.push(rig.beside(world.connect(&address)).await.unwrap());
        }
        rig.until("accepting", |_, log| log.tokens().len() == before + 2).await;
        rig.settle().await;
        let pair = [rig.log.tokens()[before], rig.log.tokens()[before + 1]];
        let opened = Rc::new(Cell::new(None));
        let (inner, target) = (opened.clone(), elsewhere.clone());
        rig.on_event(move |io, log, event| {
            let Event::Data(token, _) = event else { return };
            if inner.get().is_none() && pair.contains(token) {
                let other = if *token == pair[0] { pair[1] } else { pair[0] };
                log.close(io, other);
                inner.set(Some((other, log.connect(io, &target))));
            }
        });
        // The backend does not look in between.
        for peer in &mut peers {
            peer.write_all(b"data").await.unwrap();
        }
        rig.until("the event", |_, _| opened.get().is_some()).await;
        let (closed, token) = opened.get().unwrap();
        assert_ne!(closed, token);
        assert_eq!(rig.log.bytes(closed), b"", "an event of a closed connection");
        rig.until("the connect", |_, log| log.has(&Event::Connected(token, elsewhere.clone()))).await;
        let mut peer = rig.beside(W::accept(&acceptor)).await;
        rig.on_event_nothing();
        assert_eq!(rig.log.bytes(token), b"");
        rig.beside(peer.write_all(b"mine")).await.unwrap();
        assert_eq!(rig.receive(token, 4).await, b"mine");
        rig.close(token);
        rig.close(if closed == pair[0] { pair[1] } else { pair[0] });
    }
}

pub async fn closing_another_with_data_in_the_same_turn<W: World>(world: W) {
    const COUNT: usize = 20;
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    rig.listen(listener);
    let mut peers = Vec::new();
    for _ in 0..COUNT {
        peers.push(rig.beside(world.connect(&address)).await.unwrap());
    }
    rig.until("accepting", |_, log| log.tokens().len() == COUNT).await;
    rig.settle().await;
    let tokens = rig.log.tokens();
    // Whoever is first closes all others; `Log` refuses events of closed tokens.
    rig.on_event(move |io, log, event| {
        if let Event::Data(first, _) = event {
            for token in tokens.iter().filter(|token| *token != first) {
                log.close(io, *token);
            }
        }
    });
    for peer in &mut peers {
        peer.write_all(b"data").await.unwrap();
    }
    rig.until("the first", |_, log| log.count(|event| matches!(event, Event::Data(..))) > 0).await;
    rig.settle().await;
    assert_eq!(rig.log.count(|event| matches!(event, Event::Data(..))), 1);
}

pub async fn closing_oneself_and_pausing_inside_a_turn<W: World>(world: W) {
    const LEN: usize = 200_000;
    let (mut rig, token, mut peer) = pair(&world).await;
    rig.on_event(|io, log, event| match event {
        Event::Data(token, _) if log.bytes(*token).len() >= LEN => log.close(io, *token),
        Event::Data(token, _) => io.set_read(*token, false),
        _ => {}
    });
    let writer = tokio::task::spawn_local(async move {
        // The other end closes with unread bytes, so the last of this may fail.
        let result = peer.write_all(&pattern(0, LEN + 10_000_000)).await;
        (result, peer)
    });
    let mut resumes = 0;
    while rig.log.bytes(token).len() < LEN {
        let reads = |log: &Log<_>| log.count(|event| matches!(event, Event::Data(..)));
        rig.until("data", |_, log| reads(log) > resumes).await;
        assert_eq!(reads(&rig.log), resumes + 1, "read while reading is off");
        resumes += 1;
        rig.io.set_read(token, true);
    }
    assert!(holds(0, rig.log.bytes(token)));
    let (result, _) = rig.beside(writer).await.unwrap();
    assert!(result.is_err());
    assert_eq!(rig.io.local_address(token).unwrap_err().kind(), io::ErrorKind::NotConnected);
}

/// The successor of a closed connection in its slot does not hear what is meant for the other.
pub async fn a_stale_token_does_not_reach_its_successor<W: World>(world: W) {
    let (mut rig, stale, _old) = pair(&world).await;
    let (listener, address) = world.listener();
    rig.listen(listener);
    rig.close(stale);
    let mut peer = rig.beside(world.connect(&address)).await.unwrap();
    rig.until("accepting", |_, log| log.tokens().len() == 2).await;
    let token = rig.log.tokens()[1];
    assert_ne!(token, stale);
    // Not promised, but all of them do it, or this test would test nothing.
    assert_eq!(token.slot(), stale.slot(), "the slot is used again");
    assert_eq!(rig.io.send(stale, &mut &b"wrong"[..]).unwrap_err().kind(), io::ErrorKind::NotConnected);
    assert_eq!(rig.io.local_address(stale).unwrap_err().kind(), io::ErrorKind::NotConnected);
    rig.io.set_read(stale, false);
    rig.io.lend(stale, Vec::with_capacity(100));
    assert_eq!(rig.io.reclaim(stale), None);
    rig.io.shutdown_write(stale);
    rig.io.close(stale);
    rig.io.abort(stale);
    rig.beside(peer.write_all(b"right")).await.unwrap();
    assert_eq!(rig.receive(token, 5).await, b"right");
    rig.send(token, &mut &b"indeed"[..]).await;
    let mut answer = [0; 6];
    rig.beside(peer.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"indeed");
}

/// What is asked for after the turn, when the loop is about to sleep, wakes it by itself.
pub async fn a_call_after_the_turn_wakes_the_loop<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    let (listener, address) = world.listener();
    let id = rig.listen(listener);
    rig.io.pause_accept(id);
    rig.io.set_read(token, false);
    rig.beside(peer.write_all(b"waiting")).await.unwrap();
    let _queued = rig.beside(world.connect(&address)).await.unwrap();
    rig.settle().await;
    rig.log.events.clear();
    let asleep = |rig: &mut Rig<W::Backend>, ask: fn(&mut W::Backend, Token, ListenerId)| {
        let mut asked = false;
        let mut rig = std::mem::replace(rig, Rig::new(world.backend()));
        async move {
            let woken = std::future::poll_fn(|cx| {
                let more = rig.poll_turn(cx);
                if !rig.log.events.is_empty() {
                    return Poll::Ready(());
                }
                if more.is_ready() {
                    cx.waker().wake_by_ref();
                } else if !asked {
                    asked = true;
                    ask(&mut rig.io, token, id);
                }
                Poll::Pending
            });
            patiently(woken).await.expect("the loop is not woken");
            // Nothing left over from this may wake it the next time.
            rig.settle().await;
            rig.log.events.clear();
            rig
        }
    };
    let mut rig = asleep(&mut rig, |io, token, _| io.set_read(token, true)).await;
    let mut rig = asleep(&mut rig, |io, _, id| io.resume_accept(id)).await;
    asleep(&mut rig, |io, _, _| {
        io.resolve("192.0.2.1", 80);
    })
    .await;
}
