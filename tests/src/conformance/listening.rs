//! Accepting: several at once, pauses, the end of a listener, unix sockets.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_event::{Address, Backend};

use super::{Event, Rig, World};

pub async fn several_are_accepted_in_one_wake_up<W: World>(world: W) {
    const COUNT: usize = 20;
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    let id = rig.listen(listener);
    let mut addresses = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..COUNT {
        let peer = world.connect(&address).await.unwrap();
        addresses.push(W::local_address(&peer));
        peers.push(peer);
    }
    rig.until("the first", |_, log| !log.events.is_empty()).await;
    assert!(rig.log.tokens().len() > 1, "one connection in a turn");
    rig.until("accepting all", |_, log| log.tokens().len() == COUNT).await;
    let mut accepted: Vec<Address> = Vec::new();
    for event in &rig.log.events {
        if let Event::Accepted(listener, _, peer) = event {
            assert_eq!(*listener, id);
            accepted.push(peer.clone());
        }
    }
    let sorted = |addresses: &[Address]| {
        let mut ports: Vec<_> = addresses.iter().map(Address::port).collect();
        ports.sort();
        ports
    };
    assert_eq!(sorted(&accepted), sorted(&addresses));
}

pub async fn a_pause_loses_no_connection<W: World>(world: W) {
    const COUNT: usize = 30;
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    let id = rig.listen(listener);
    let mut peers = Vec::new();
    for round in 1..=3 {
        rig.io.pause_accept(id);
        rig.io.pause_accept(id);
        for _ in 0..COUNT {
            let mut peer = rig.beside(world.connect(&address)).await.unwrap();
            rig.beside(peer.write_all(b"hello")).await.unwrap();
            peers.push(peer);
        }
        rig.settle().await;
        assert_eq!(rig.log.tokens().len(), (round - 1) * COUNT, "accepted in a pause");
        rig.io.resume_accept(id);
        rig.io.resume_accept(id);
        rig.until("accepting all", |_, log| log.tokens().len() == round * COUNT).await;
    }
    let tokens = rig.log.tokens();
    rig.until("all data", |_, log| tokens.iter().all(|token| log.bytes(*token) == b"hello")).await;
}

pub async fn a_pause_inside_a_turn_holds<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    let id = rig.listen(listener);
    let mut peers = Vec::new();
    for _ in 0..9 {
        peers.push(world.connect(&address).await.unwrap());
    }
    // A cap on connections works so: after each third the listener is paused.
    let accepted = Rc::new(Cell::new(0));
    let counter = accepted.clone();
    rig.on_event(move |io, _, event| {
        if let Event::Accepted(listener, ..) = event {
            counter.set(counter.get() + 1);
            if counter.get() % 3 == 0 {
                io.pause_accept(*listener);
            }
        }
    });
    for round in 1..=3 {
        rig.until("three", |_, _| accepted.get() == 3 * round).await;
        rig.settle().await;
        assert_eq!(accepted.get(), 3 * round);
        rig.io.resume_accept(id);
    }
}

pub async fn unlisten_refuses_from_then_on<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    rig.listen(listener);
    rig.on_event(|io, _, event| {
        if let Event::Accepted(listener, ..) = event {
            io.unlisten(*listener);
            io.unlisten(*listener);
            io.pause_accept(*listener);
            io.resume_accept(*listener);
        }
    });
    let mut peer = rig.beside(world.connect(&address)).await.unwrap();
    let token = match rig.log.tokens().first() {
        Some(token) => *token,
        None => rig.accept().await,
    };
    let refused = rig.beside(world.connect(&address)).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // What was accepted lives on.
    rig.beside(peer.write_all(b"alive")).await.unwrap();
    assert_eq!(rig.receive(token, 5).await, b"alive");
}

pub async fn unix_sockets_work_as_tcp_does<W: World>(world: W) {
    let Some((listener, address)) = world.unix_listener() else { return };
    let mut rig = Rig::new(world.backend());
    let id = rig.listen(listener);
    let mut peer = rig.beside(world.connect(&address)).await.unwrap();
    let token = match rig.log.tokens().first() {
        Some(token) => *token,
        None => rig.accept().await,
    };
    assert!(matches!(&rig.log.events[0], Event::Accepted(_, _, Address::Unix(None))));
    assert_eq!(rig.io.local_address(token).unwrap(), address);
    rig.beside(peer.write_all(b"question")).await.unwrap();
    assert_eq!(rig.receive(token, 8).await, b"question");
    rig.send(token, &mut &b"answer"[..]).await;
    rig.io.shutdown_write(token);
    let mut all = Vec::new();
    rig.beside(peer.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, b"answer");
    drop(peer);
    rig.until("end of stream", |_, log| log.has(&Event::Eof(token))).await;
    // And from this side.
    let near = rig.connect(&address);
    rig.until("the connect", |_, log| log.has(&Event::Connected(near, address.clone()))).await;
    let far = match rig.log.tokens().get(1) {
        Some(token) => *token,
        None => rig.accept().await,
    };
    rig.send(near, &mut &b"to myself"[..]).await;
    assert_eq!(rig.receive(far, 9).await, b"to myself");
    rig.io.unlisten(id);
    // Without a listener the connect fails, at once or later.
    match rig.io.connect(&address) {
        Ok(_) => panic!("a unix socket without a listener was connected"),
        Err(why) => assert!(matches!(
            why.kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
        )),
    }
}
