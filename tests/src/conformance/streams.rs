//! Bytes of a connection: order, short reads and writes, the ends of it, lent buffers.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_event::{Address, Backend, Token};

use super::{Event, Pieces, Rig, World, holds, pattern};

/// A rig with one accepted connection, and its peer.
pub(super) async fn pair<W: World>(world: &W) -> (Rig<W::Backend>, Token, W::Peer) {
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    rig.listen(listener);
    let peer = rig.beside(world.connect(&address)).await.expect("the backend listens");
    let token = match rig.log.tokens().first() {
        Some(token) => *token,
        None => rig.accept().await,
    };
    (rig, token, peer)
}

fn broken(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted
    )
}

pub async fn bytes_go_both_ways<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    assert!(
        matches!(&rig.log.events[0], Event::Accepted(_, _, address) if *address == W::local_address(&peer))
    );
    assert!(matches!(rig.io.local_address(token), Ok(Address::Tcp(_))));
    rig.beside(peer.write_all(b"question")).await.unwrap();
    assert_eq!(rig.receive(token, 8).await, b"question");
    rig.send(token, &mut &b"answer"[..]).await;
    let mut answer = [0; 6];
    rig.beside(peer.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"answer");
}

pub async fn megabytes_stay_in_order<W: World>(world: W) {
    const LEN: usize = 2 << 20;
    let (mut rig, token, peer) = pair(&world).await;
    let (mut reader, mut writer) = tokio::io::split(peer);
    let writing = tokio::task::spawn_local(async move {
        let (mut sent, mut random) = (0, fastrand::Rng::with_seed(1));
        while sent < LEN {
            let part = pattern(sent, random.usize(1..50_000).min(LEN - sent));
            writer.write_all(&part).await.unwrap();
            sent += part.len();
            if random.bool() {
                tokio::task::yield_now().await;
            }
        }
        writer
    });
    let reading = tokio::task::spawn_local(async move {
        let (mut received, mut random) = (0, fastrand::Rng::with_seed(2));
        let mut buffer = vec![0; 100_000];
        while received < LEN {
            let limit = random.usize(1..=buffer.len());
            let count = reader.read(&mut buffer[..limit]).await.unwrap();
            assert!(count > 0 && holds(received, &buffer[..count]));
            received += count;
            if random.bool() {
                tokio::task::yield_now().await;
            }
        }
        reader
    });
    let mut random = fastrand::Rng::with_seed(3);
    let pauses = Rc::new(Cell::new(0));
    let paused = pauses.clone();
    rig.on_event(move |io, _, event| {
        if let Event::Data(token, _) = event {
            if random.bool() {
                io.set_read(*token, false);
                paused.set(paused.get() + 1);
            }
        }
    });
    let mut out = Bytes::from(pattern(0, LEN));
    let (mut received, mut resumed, mut writable) = (0, 0, 0);
    rig.io.send(token, &mut out).unwrap();
    rig.until("all bytes in both directions", |io, log| {
        let bytes = log.take_bytes(token);
        assert!(holds(received, &bytes));
        received += bytes.len();
        if pauses.get() > resumed {
            resumed = pauses.get();
            io.set_read(token, true);
        }
        let room = log.count(|event| *event == Event::Writable(token));
        if room > writable {
            writable = room;
            io.send(token, &mut out).unwrap();
        }
        received == LEN && !out.has_remaining()
    })
    .await;
    assert!(resumed > 0);
    rig.beside(async { (writing.await.unwrap(), reading.await.unwrap()) }).await;
}

pub async fn a_short_write_is_followed_by_writable<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    // Nobody reads: at some point the system takes no more.
    let mut sent = 0;
    loop {
        assert!(sent < 256 << 20, "the system takes everything");
        let mut out = Bytes::from(pattern(sent, 1 << 20));
        let taken = rig.io.send(token, &mut out).unwrap();
        assert_eq!(taken, (1 << 20) - out.len(), "as many as were taken from the front");
        sent += taken;
        if out.has_remaining() {
            break;
        }
    }
    rig.settle().await;
    // A connection may be told once though little fits, but not again and again.
    let early = rig.log.count(|event| *event == Event::Writable(token));
    assert!(early <= 1);
    let reader = tokio::task::spawn_local(async move {
        let (mut buffer, mut received) = (vec![0; 65_536], 0);
        while received < sent {
            let count = peer.read(&mut buffer).await.unwrap();
            assert!(count > 0 && holds(received, &buffer[..count]));
            received += count;
        }
        peer
    });
    if early == 0 {
        rig.until("room to write", |_, log| log.has(&Event::Writable(token))).await;
    }
    rig.beside(reader).await.unwrap();
}

pub async fn many_pieces_leave_in_order<W: World>(world: W) {
    const LEN: usize = 200_000;
    let (mut rig, token, mut peer) = pair(&world).await;
    let mut random = fastrand::Rng::with_seed(3);
    let mut from = 0;
    let mut pieces = Pieces::from_iter(std::iter::from_fn(|| {
        let len = random.usize(1..2000).min(LEN - from);
        from += len;
        (len > 0).then(|| Bytes::from(pattern(from - len, len)))
    }));
    let reader = tokio::task::spawn_local(async move {
        let mut all = vec![0; LEN];
        peer.read_exact(&mut all).await.unwrap();
        (all, peer)
    });
    rig.send(token, &mut pieces).await;
    let (all, _peer) = rig.beside(reader).await.unwrap();
    assert!(holds(0, &all));
}

pub async fn the_peer_closes_its_half<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    rig.beside(peer.write_all(b"last words")).await.unwrap();
    rig.beside(peer.shutdown()).await.unwrap();
    rig.until("end of stream", |_, log| log.has(&Event::Eof(token))).await;
    assert_eq!(rig.log.take_bytes(token), b"last words");
    rig.send(token, &mut &b"still here"[..]).await;
    let mut answer = [0; 10];
    rig.beside(peer.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"still here");
    rig.close(token);
    assert_eq!(rig.beside(peer.read(&mut answer)).await.unwrap(), 0);
    rig.settle().await;
    assert_eq!(rig.log.count(|event| *event == Event::Eof(token)), 1);
}

pub async fn we_close_our_half<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    rig.send(token, &mut &b"that is all"[..]).await;
    rig.io.shutdown_write(token);
    let mut all = Vec::new();
    rig.beside(peer.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, b"that is all");
    rig.beside(peer.write_all(b"thank you")).await.unwrap();
    assert_eq!(rig.receive(token, 9).await, b"thank you");
    drop(peer);
    rig.until("end of stream", |_, log| log.has(&Event::Eof(token))).await;
}

pub async fn a_reset_is_told_once<W: World>(world: W) {
    let (mut rig, token, peer) = pair(&world).await;
    W::reset(peer);
    rig.until("the reset", |_, log| log.failure(token).is_some()).await;
    assert!(rig.log.failure(token).is_some_and(broken));
    assert_eq!(rig.io.send(token, &mut &b"x"[..]).unwrap_err().kind(), io::ErrorKind::NotConnected);
    rig.settle().await;
}

pub async fn an_abort_resets_the_peer<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    rig.io.abort(token);
    let result = rig.beside(peer.read(&mut [0; 8])).await;
    assert!(result.is_err_and(|why| broken(why.kind())));
}

pub async fn a_close_ends_the_peer<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    rig.send(token, &mut &b"bye"[..]).await;
    rig.close(token);
    let mut all = Vec::new();
    rig.beside(peer.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, b"bye");
}

pub async fn a_connect_succeeds<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let (acceptor, address) = world.acceptor();
    let token = rig.connect(&address);
    assert!(rig.log.events.is_empty(), "told inside of the call");
    rig.until("the connect", |_, log| log.has(&Event::Connected(token, address.clone()))).await;
    let mut peer = rig.beside(W::accept(&acceptor)).await;
    assert!(matches!(rig.io.local_address(token), Ok(Address::Tcp(_))));
    rig.send(token, &mut &b"hello"[..]).await;
    let mut hello = [0; 5];
    rig.beside(peer.read_exact(&mut hello)).await.unwrap();
    assert_eq!(&hello, b"hello");
    rig.beside(peer.write_all(b"welcome")).await.unwrap();
    assert_eq!(rig.receive(token, 7).await, b"welcome");
}

pub async fn a_connect_is_refused<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let token = rig.connect(&world.refusing());
    rig.until("the refusal", |_, log| log.failure(token).is_some()).await;
    assert_eq!(rig.log.events, [Event::Failed(token, io::ErrorKind::ConnectionRefused)]);
}

pub async fn a_connect_can_be_given_up<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let (acceptor, address) = world.acceptor();
    for _ in 0..10 {
        let token = rig.connect(&address);
        rig.close(token);
        let token = rig.connect(&world.refusing());
        rig.close(token);
    }
    rig.settle().await;
    assert!(rig.log.events.is_empty(), "{:?}", rig.log.events);
    drop(acceptor);
}

pub async fn a_token_that_is_gone_is_ignored<W: World>(world: W) {
    let (mut rig, token, _peer) = pair(&world).await;
    rig.close(token);
    for id in [token, Token::new(4_000_000, 0)] {
        rig.io.set_read(id, false);
        rig.io.set_read(id, true);
        rig.io.lend(id, Vec::with_capacity(10));
        assert_eq!(rig.io.reclaim(id), None);
        rig.io.shutdown_write(id);
        rig.io.close(id);
        rig.io.abort(id);
        assert_eq!(rig.io.send(id, &mut &b"x"[..]).unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert_eq!(rig.io.local_address(id).unwrap_err().kind(), io::ErrorKind::NotConnected);
    }
    rig.settle().await;
    assert_eq!(rig.log.events.len(), 1);
}

pub async fn a_lent_buffer_is_filled_and_returned<W: World>(world: W) {
    const ROOM: usize = 1000;
    const LEN: usize = 50_000;
    let (mut rig, token, mut peer) = pair(&world).await;
    let mut buffer = Vec::with_capacity(ROOM);
    buffer.extend_from_slice(b"head");
    let capacity = buffer.capacity();
    rig.io.lend(token, buffer);
    let mut received = 0;
    rig.on_event(move |io, _, event| {
        let Event::Filled(_, buffer) = event else { return };
        assert!(buffer.starts_with(b"head") && buffer.len() > 4 && buffer.len() <= capacity);
        assert!(holds(received, &buffer[4..]));
        received += buffer.len() - 4;
        let mut next = Vec::with_capacity(capacity);
        next.extend_from_slice(b"head");
        io.lend(token, next);
    });
    let writer = tokio::task::spawn_local(async move {
        peer.write_all(&pattern(0, LEN)).await.unwrap();
        peer
    });
    let filled = |event: &Event| if let Event::Filled(_, buffer) = event { buffer.len() - 4 } else { 0 };
    rig.until("all bytes", |_, log| log.events.iter().map(filled).sum::<usize>() == LEN).await;
    assert_eq!(rig.log.count(|event| matches!(event, Event::Data(..))), 0);
    rig.beside(writer).await.unwrap();
}

pub async fn a_lent_buffer_is_reclaimed<W: World>(world: W) {
    let (mut rig, token, mut peer) = pair(&world).await;
    assert_eq!(rig.io.reclaim(token), None);
    let mut buffer = Vec::with_capacity(100);
    buffer.extend_from_slice(b"part");
    rig.io.lend(token, buffer);
    rig.settle().await;
    assert_eq!(rig.io.reclaim(token).as_deref(), Some(&b"part"[..]));
    assert_eq!(rig.io.reclaim(token), None);
    rig.beside(peer.write_all(b"plain")).await.unwrap();
    assert_eq!(rig.receive(token, 5).await, b"plain");
    // At the end of the stream it is still there.
    rig.io.lend(token, Vec::with_capacity(100));
    rig.beside(peer.shutdown()).await.unwrap();
    rig.until("end of stream", |_, log| log.has(&Event::Eof(token))).await;
    assert_eq!(rig.io.reclaim(token), Some(Vec::new()));
}
