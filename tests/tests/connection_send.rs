//! Sending from callbacks, tasks and threads: statuses, marks, waiting for room, refusals that change nothing.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use workerman_connection::{
    CloseReason, Connection, Cursor, Handlers, LoopSettings, SendError, Sent, Service, Settings,
};
use workerman_event::BackendKind;
use workerman_protocol::{Decoded, Event, Frame, Outbox, Protocol, Raw, Text};
use workerman_tests::on_real_backends;
use workerman_tests::serving::{Serving, bytes, events, hold, insist, next, waits, watched};

on_real_backends! {
    senders_everywhere_keep_their_order,
    the_four_ways_to_end,
    a_failed_encode_changes_nothing,
    an_encoder_that_panics_leaves_nothing_behind,
    a_broadcast_is_encoded_once_and_skips_the_full,
    a_walk_sees_each_connection_once,
    values_are_attached_by_type,
    counters_are_exact,
}

fn senders_everywhere_keep_their_order(kind: BackendKind) {
    const THREADS: usize = 6;
    const EACH: usize = 1500;
    let settings = Settings { high_water: 4096, ..Settings::default() };
    let (told, conns) = events();
    let handlers =
        Handlers::new().on_connect(move |conn: &Connection<Text>| told.send(conn.clone()).unwrap());
    let handlers = handlers.on_message_async(async |conn, line: workerman_protocol::Line| {
        // A callback that answers each line, beside the others.
        while conn.send(format!("callback {line}")).is_err() {
            conn.ready().await.unwrap();
        }
    });
    let server = Serving::start(kind, Service::new("order", Text::new, handlers, settings));
    let mut peer = server.peer();
    let conn = next(&conns);
    let mut senders: Vec<_> = (0..THREADS)
        .map(|thread| {
            let conn = conn.clone();
            std::thread::spawn(move || {
                for n in 0..EACH {
                    insist(&conn, &format!("thread{thread} {n}"));
                }
            })
        })
        .collect();
    let task = conn.clone();
    server.on_loop(move || {
        drop(workerman_event::spawn(async move {
            for n in 0..EACH {
                while task.send(format!("task {n}")).is_err() {
                    task.ready().await.unwrap();
                }
            }
        }));
    });
    let mut asking = peer.stream.try_clone().unwrap();
    senders.push(std::thread::spawn(move || {
        for n in 0..EACH {
            std::io::Write::write_all(&mut asking, format!("{n}\n").as_bytes()).unwrap();
        }
    }));
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..EACH * (THREADS + 2) {
        let line = peer.line().expect("nothing is lost");
        let (sender, n) = line.split_once(' ').unwrap();
        let expected = counts.entry(sender.to_owned()).or_default();
        assert_eq!(n, expected.to_string(), "{sender}");
        *expected += 1;
    }
    assert_eq!(counts.len(), THREADS + 2);
    for sender in senders {
        sender.join().unwrap();
    }
    server.settle();
    assert_eq!(conn.messages_out() as usize, EACH * (THREADS + 2));
    assert_eq!((conn.buffered(), server.handle.snapshot().bytes_queued), (0, 0));
}

fn the_four_ways_to_end(kind: BackendKind) {
    for how in ["close", "close_with", "end", "abort"] {
        let (told, closes) = events();
        let handlers = Handlers::new()
            .on_message(move |conn: &Connection<Text>, _| {
                let _ = conn.send("answer");
                match how {
                    "close" => conn.close(),
                    "close_with" => drop(conn.close_with("last").unwrap()),
                    "end" => conn.end(),
                    _ => conn.abort(),
                }
                assert!(matches!(conn.send("late"), Err(SendError::Closed)));
            })
            .on_close(move |conn, reason| told.send((reason, conn.clone())).unwrap());
        let settings = Settings { linger: workerman_tests::serving::PATIENCE, ..Settings::default() };
        let server = Serving::start(kind, Service::new("ends", Text::new, handlers, settings));
        let mut peer = server.peer();
        peer.say("x\nignored\n");
        match how {
            "abort" => assert!(peer.rest().1, "a reset"),
            "close_with" => assert_eq!(peer.rest(), (b"answer\nlast\n".to_vec(), false)),
            _ => assert_eq!(peer.rest(), (b"answer\n".to_vec(), false)),
        }
        if how == "end" {
            server.settle();
            assert!(closes.try_recv().is_err(), "it lingers until the peer has ended too");
            // What the peer still says is read away, so that it is not reset out of its last answer.
            peer.say("more\nand more\n");
            peer.finish();
        }
        let (reason, conn) = next(&closes);
        assert_eq!(reason, CloseReason::Local);
        assert!(conn.is_closed() && conn.send("x").is_err());
    }
}

/// Lines out, and messages that cannot be encoded; with a stateful or a stateless sending half.
#[derive(Debug)]
struct Picky<S>(PhantomData<fn() -> S>);

impl<S> Picky<S> {
    fn new() -> Self {
        Self(PhantomData)
    }
}

#[derive(Debug)]
enum Word {
    Good(&'static str),
    /// Half a message, an end of the stream, and an error.
    Bad,
    Panics,
}

#[derive(Debug)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl<S: Default + Send + 'static> Protocol for Picky<S> {
    type Incoming = Bytes;
    type Outgoing = Word;
    type Event = Event;
    type Error = Refused;
    type Sending = S;

    fn decode(
        &mut self,
        input: &mut BytesMut,
        _: &mut workerman_protocol::Context<'_, Self>,
    ) -> Result<Decoded<Self>, Refused> {
        let input = input.split();
        Ok(if input.is_empty() { Decoded::Need(1) } else { Decoded::Message(input.freeze()) })
    }

    fn encode(_: &mut S, word: Word, out: &mut Outbox) -> Result<(), Refused> {
        match word {
            Word::Good(text) => {
                out.put_slice(text.as_bytes());
                Ok(())
            }
            Word::Bad => {
                out.put_slice(b"half");
                out.put_shared(Bytes::from_static(b"shared half"));
                out.finish();
                Err(Refused)
            }
            Word::Panics => {
                out.put_slice(b"half");
                out.finish();
                panic!("expected by the test");
            }
        }
    }
}

fn a_failed_encode_changes_nothing(kind: BackendKind) {
    fails::<()>(kind);
    fails::<u32>(kind);

    fn fails<S: Default + Send + 'static>(kind: BackendKind) {
        let exercise = |conn: &Connection<Picky<S>>| {
            let _ = conn.send(Word::Good("one ")).unwrap();
            let before = conn.buffered();
            assert!(matches!(conn.send(Word::Bad), Err(SendError::Encode(Refused))));
            assert_eq!(conn.buffered(), before);
            let _ = conn.send(Word::Good("two ")).unwrap();
            assert!(matches!(conn.send(Word::Bad), Err(SendError::Encode(Refused))));
        };
        let (told, conns) = events();
        let handlers = Handlers::new()
            .on_connect(move |conn: &Connection<Picky<S>>| told.send(conn.clone()).unwrap())
            .on_message(move |conn, _| exercise(conn));
        let service = Service::new("picky", Picky::new, handlers, Settings::default());
        let server = Serving::start(kind, service);
        let mut peer = server.peer();
        let conn = next(&conns);
        peer.say("x");
        assert_eq!(peer.bytes(8), b"one two ");
        let held = hold(&server);
        exercise(&conn);
        drop(held);
        assert_eq!(peer.bytes(8), b"one two ");
        assert_eq!(conn.messages_out(), 4);
        assert_eq!(server.handle.snapshot().send_failures, 4);
        conn.close();
        assert_eq!(peer.rest(), (Vec::new(), false));
    }
}

fn an_encoder_that_panics_leaves_nothing_behind(kind: BackendKind) {
    panics::<()>(kind);
    panics::<u32>(kind);

    fn panics<S: Default + Send + 'static>(kind: BackendKind) {
        for outside in [false, true] {
            let (told, seen) = events();
            let (opened, conns) = events();
            let handlers = Handlers::new()
                .on_connect(move |conn: &Connection<Picky<S>>| opened.send(conn.clone()).unwrap())
                .on_message(move |conn, message: Bytes| {
                    let _ = conn.send(Word::Good("one "));
                    if message == "caught" {
                        // Also where the handler goes on as if nothing had been.
                        let _ = catch_unwind(AssertUnwindSafe(|| conn.send(Word::Panics)));
                        let _ = conn.send(Word::Good("two "));
                    } else if message == "thrown" {
                        let _ = conn.send(Word::Panics);
                    }
                })
                .on_close(move |_, reason| told.send(reason).unwrap());
            let service = Service::new("picky", Picky::new, handlers, Settings::default());
            let server = Serving::start(kind, service);
            let (mut peer, mut other) = (server.peer(), server.peer());
            let address = peer.stream.local_addr().unwrap();
            let conns = [next(&conns), next(&conns)];
            if outside {
                let conn = conns.iter().find(|conn| conn.peer_addr().tcp() == Some(address)).unwrap();
                assert!(matches!(conn.send(Word::Panics), Err(SendError::Panicked)));
                let (rest, _) = peer.rest();
                assert!(rest.is_empty(), "{rest:?}");
            } else {
                peer.say("thrown");
                let (rest, _) = peer.rest();
                assert!(b"one ".starts_with(&rest[..]), "{rest:?}");
            }
            assert_eq!(next(&seen), CloseReason::Panic);
            assert_eq!(server.handle.snapshot().closed(CloseReason::Panic), 1);
            other.say("x");
            assert_eq!(other.bytes(4), b"one ");
            if size_of::<S>() == 0 {
                other.say("caught");
                assert_eq!(other.bytes(8), b"one two ");
            }
            assert_eq!(server.handle.snapshot().connections, 1);
        }
    }
}

fn a_broadcast_is_encoded_once_and_skips_the_full(kind: BackendKind) {
    let (told, conns) = events();
    let handlers =
        Handlers::new().on_connect(move |conn: &Connection<Frame>| told.send(conn.clone()).unwrap());
    let settings = Settings { high_water: 1000, ..Settings::default() };
    let service = Arc::new(Service::new("all", Frame::new, handlers, settings));
    let servers: Vec<_> = (0..2).map(|_| Serving::with(kind, LoopSettings::default(), &service)).collect();
    let mut peers: Vec<_> = (0..6).map(|n| servers[n % 2].peer()).collect();
    let conns: Vec<_> = peers.iter().map(|_| next(&conns)).collect();
    let held: Vec<_> = servers.iter().map(hold).collect();
    let slow = &conns[3];
    assert_eq!(slow.send(bytes(1000)).unwrap(), Sent::OverHighWater);
    let result = service.broadcast(Bytes::from_static(b"news")).unwrap();
    assert_eq!((result.sent, result.refused), (5, 1));
    let result = service.broadcast_except(Bytes::from_static(b"most"), |conn| conn == &conns[0]).unwrap();
    assert_eq!((result.sent, result.refused), (4, 1));
    drop(held);
    let address = |conn: &Connection<Frame>| conn.peer_addr().tcp().unwrap();
    for peer in &mut peers {
        let me = peer.stream.local_addr().unwrap();
        if me == address(slow) {
            assert_eq!(peer.bytes(1004).len(), 1004);
            continue;
        }
        assert_eq!(peer.bytes(8), b"\0\0\0\x08news");
        if me != address(&conns[0]) {
            assert_eq!(peer.bytes(8), b"\0\0\0\x08most");
        }
    }
    // A stateless protocol without `encode_shared` is encoded once all the same; a stateful one says that it cannot.
    let stateless = Service::new("one", Picky::<()>::new, Handlers::new(), Settings::default());
    assert!(matches!(stateless.broadcast(Word::Bad), Err(SendError::Encode(Refused))));
    let stateful = Service::new("one", Picky::<u8>::new, Handlers::new(), Settings::default());
    assert!(matches!(stateful.broadcast(Word::Good("x")), Err(SendError::NotShareable)));
}

fn a_walk_sees_each_connection_once(kind: BackendKind) {
    let (told, conns) = events();
    let handlers = Handlers::new().on_connect(move |conn: &Connection<Raw>| told.send(conn.id()).unwrap());
    let service = Arc::new(Service::new("walk", Raw::new, handlers, Settings::default()));
    let servers: Vec<_> = (0..2).map(|_| Serving::with(kind, LoopSettings::default(), &service)).collect();
    let steady: Vec<_> = (0..20).map(|n| servers[n % 2].peer()).collect();
    let ids: BTreeSet<u64> = steady.iter().map(|_| next(&conns)).collect();
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let (stop, stopped) = events::<()>();
    let churn = std::thread::spawn(move || {
        while stopped.try_recv().is_err() {
            let some: Vec<_> = addresses
                .iter()
                .cycle()
                .take(10)
                .map(|to| std::net::TcpStream::connect(to).unwrap())
                .collect();
            drop(some);
        }
    });
    for size in [1, 3, 7, 1000].into_iter().cycle().take(60) {
        let mut seen = BTreeSet::new();
        let mut cursor = Cursor::default();
        loop {
            let slice = service.slice(&mut cursor, size);
            if slice.is_empty() {
                break;
            }
            assert!(slice.len() <= size);
            for conn in slice {
                assert!(seen.insert(conn.id()), "seen twice");
            }
        }
        assert!(ids.is_subset(&seen), "one that was there all the time was missed");
    }
    stop.send(()).unwrap();
    churn.join().unwrap();
    drop(steady);
}

fn values_are_attached_by_type(kind: BackendKind) {
    struct Loud(Arc<Mutex<usize>>);
    impl Drop for Loud {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let (server, conns) = watched(kind, Raw::new, Settings::default(), LoopSettings::default());
    let peer = server.peer();
    let conn = next(&conns);
    assert!(conn.get::<u8>().is_none());
    assert!(conn.set(1u8).is_none() && conn.set("text").is_none());
    assert_eq!(conn.set(2u8).as_deref(), Some(&1));
    assert_eq!((conn.get::<u8>().as_deref(), conn.get::<&str>().as_deref()), (Some(&2), Some(&"text")));
    assert_eq!(conn.remove::<u8>().as_deref(), Some(&2));
    assert!(conn.get::<u8>().is_none() && conn.remove::<u8>().is_none());
    let drops = Arc::new(Mutex::new(0));
    conn.set(Loud(Arc::clone(&drops)));
    drop(peer);
    waits(conn.closed());
    server.settle();
    assert_eq!(*drops.lock().unwrap(), 1, "the value goes with the connection, not with the last handle");
    assert!(conn.get::<&str>().is_none());
}

fn counters_are_exact(kind: BackendKind) {
    let (told, seen) = events();
    let handlers = Handlers::new()
        .on_message(|conn: &Connection<Text>, line: workerman_protocol::Line| {
            match &*line {
                b"fail" => return Err("told to"),
                b"panic" => panic!("expected by the test"),
                b"close" => conn.close(),
                _ => drop(conn.send(line)),
            }
            Ok(())
        })
        .on_close(move |conn, reason| {
            assert!(conn.send("refused").is_err());
            told.send((conn.clone(), reason)).unwrap();
        });
    let service = Service::new("count", || Text::new().max_message(100), handlers, Settings::default());
    let server = Serving::start(kind, service);
    let mut bytes_in = 0;
    for (last, reason) in [
        ("fail\n".to_owned(), CloseReason::Handler),
        ("panic\n".to_owned(), CloseReason::Panic),
        ("close\n".to_owned(), CloseReason::Local),
        ("x".repeat(200), CloseReason::Protocol),
        (String::new(), CloseReason::PeerClosed),
    ] {
        let mut peer = server.peer();
        peer.say("hello\nworld\n");
        assert_eq!((peer.line().unwrap(), peer.line().unwrap()), ("hello".into(), "world".into()));
        peer.say(&last);
        bytes_in += 12 + last.len() as u64;
        if last.is_empty() {
            peer.finish();
        }
        peer.rest();
        let (conn, why) = next(&seen);
        assert_eq!(why, reason, "{last}");
        let handled = 2 + u64::from(last.ends_with('\n'));
        assert_eq!((conn.messages_in(), conn.messages_out()), (handled, 2), "{last}");
        assert_eq!((conn.bytes_in(), conn.bytes_out()), (12 + last.len() as u64, 12), "{last}");
    }
    server.settle();
    let counters = server.handle.snapshot();
    assert_eq!((counters.accepted, counters.connections, counters.connected), (5, 0, 0));
    assert_eq!((counters.messages_in, counters.messages_out), (13, 10));
    assert_eq!((counters.bytes_in, counters.bytes_out), (bytes_in, 60));
    assert_eq!((counters.send_failures, counters.panics, counters.errors), (5, 1, 3));
    assert_eq!((counters.bytes_queued, counters.refused_accepts, counters.timers), (0, 0, 0));
    for reason in [
        CloseReason::Handler,
        CloseReason::Panic,
        CloseReason::Local,
        CloseReason::Protocol,
        CloseReason::PeerClosed,
    ] {
        assert_eq!(counters.closed(&reason), 1, "{reason}");
    }
    assert_eq!(counters.closed(CloseReason::Reset), 0);
}
