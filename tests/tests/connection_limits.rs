//! Caps, pauses, floods and pipes: every bound holds, and nobody pays for another.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_connection::{
    Client, CloseReason, Connection, EventLoop, Handlers, LoopSettings, Service, Settings, Timer,
};
use workerman_event::sim::{self, LinkOptions};
use workerman_event::{BackendKind, ListenOptions};
use workerman_protocol::{Line, Raw, Text};
use workerman_tests::on_real_backends;
use workerman_tests::serving::{Serving, bytes, events, next, watched};

on_real_backends! {
    the_cap_holds_on_one_loop,
    the_cap_holds_over_two_loops,
    a_loop_that_never_had_a_connection_is_told_of_room,
    a_pause_loses_nothing,
    a_pause_from_the_start_and_an_end_behind_it,
    a_flood_starves_nobody,
    a_turn_handles_so_many_messages,
    a_proxy_passes_everything_both_ways,
    a_proxy_stops_who_is_too_fast,
    a_proxy_passes_ends_and_resets,
    a_pipe_one_way_ends_with_the_other,
}

fn the_cap_holds_on_one_loop(kind: BackendKind) {
    capped(kind, 1);
}

fn the_cap_holds_over_two_loops(kind: BackendKind) {
    capped(kind, 2);
}

/// Many peers come, each is served in its time, never more than the cap at once.
fn capped(kind: BackendKind, loops: usize) {
    const CAP: usize = 3;
    let (live, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (up, down, peak) = (Arc::clone(&live), live, Arc::clone(&most));
    let handlers = Handlers::new()
        .on_connect(move |_: &Connection<Text>| {
            peak.fetch_max(up.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        })
        .on_message(|_, line: Line| line)
        .on_close(move |_, _| {
            down.fetch_sub(1, Ordering::SeqCst);
        });
    let settings = Settings { max_connections: Some(CAP), ..Settings::default() };
    let service = Arc::new(Service::new("capped", Text::new, handlers, settings));
    let servers: Vec<_> =
        (0..loops).map(|_| Serving::with(kind, LoopSettings::default(), &service)).collect();
    let clients: Vec<_> = (0..12)
        .map(|n| {
            let address = servers[n % loops].address;
            std::thread::spawn(move || {
                for round in 0..6 {
                    let mut peer = workerman_tests::serving::Peer::connect(address);
                    peer.say(format!("{n} {round}\n"));
                    assert_eq!(peer.line(), Some(format!("{n} {round}")), "nobody is turned away");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= CAP);
    let accepted: u64 = servers.iter().map(|server| server.handle.snapshot().accepted).sum();
    let refused: u64 = servers.iter().map(|server| server.handle.snapshot().refused_accepts).sum();
    assert_eq!((accepted, refused), (72, 0));
}

fn a_loop_that_never_had_a_connection_is_told_of_room(kind: BackendKind) {
    let handlers = Handlers::new().on_message(|_: &Connection<Text>, line: Line| line);
    let settings = Settings { max_connections: Some(1), ..Settings::default() };
    let service = Arc::new(Service::new("capped", Text::new, handlers, settings));
    let one = Serving::with(kind, LoopSettings::default(), &service);
    let mut first = one.peer();
    first.say("a\n");
    assert_eq!(first.line().as_deref(), Some("a"));
    let two = Serving::with(kind, LoopSettings::default(), &service);
    let mut second = two.peer();
    second.say("b\n");
    two.settle();
    assert_eq!(two.handle.snapshot().accepted, 0, "it waits in the backlog");
    drop(first);
    assert_eq!(second.line().as_deref(), Some("b"));
}

fn a_pause_loses_nothing(kind: BackendKind) {
    let (told, seen) = events();
    let handlers = Handlers::new().on_message(move |conn: &Connection<Text>, line: Line| {
        let n: usize = line.to_str().unwrap().parse().unwrap();
        told.send(n).unwrap();
        if n % 100 == 0 {
            conn.pause();
            let conn = conn.clone();
            Timer::after(Duration::from_millis((n % 3) as u64), move || conn.resume()).unwrap();
        }
    });
    let server = Serving::start(kind, Service::new("pause", Text::new, handlers, Settings::default()));
    let mut peer = server.peer();
    for start in (0..2000).step_by(250) {
        peer.say((start..start + 250).map(|n| format!("{n}\n")).collect::<String>());
    }
    for n in 0..2000 {
        assert_eq!(next(&seen), n);
    }
}

fn a_pause_from_the_start_and_an_end_behind_it(kind: BackendKind) {
    let (told, conns) = events();
    let (heard, seen) = events();
    let closed = heard.clone();
    let handlers = Handlers::new()
        .on_connect(move |conn: &Connection<Text>| {
            conn.pause();
            told.send(conn.clone()).unwrap();
        })
        .on_message(move |_, line: Line| heard.send(line.to_string()).unwrap())
        .on_close(move |_, reason| closed.send(reason.to_string()).unwrap());
    let server = Serving::start(kind, Service::new("pause", Text::new, handlers, Settings::default()));
    let mut peer = server.peer();
    peer.say("first\n");
    let conn = next(&conns);
    peer.say("second\n");
    peer.finish();
    server.settle();
    assert!(seen.try_recv().is_err(), "paused");
    conn.resume();
    assert_eq!((next(&seen), next(&seen)), ("first".into(), "second".into()));
    assert_eq!(next(&seen), CloseReason::PeerClosed.to_string());
}

fn a_flood_starves_nobody(kind: BackendKind) {
    let handlers = Handlers::new().on_message(|_: &Connection<Text>, line: Line| line);
    let server = Serving::start(kind, Service::new("flood", Text::new, handlers, Settings::default()));
    let flooder = server.peer();
    let (stop, stopped) = events::<()>();
    let mut reading = flooder.stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut reading, &mut std::io::sink()));
    let writer = std::thread::spawn(move || {
        let flood = "flood\n".repeat(10_000);
        let mut flooder = flooder;
        while stopped.try_recv().is_err() {
            flooder.say(&flood);
        }
        flooder.finish();
    });
    let (told, seen) = events();
    server.on_loop(move || {
        drop(workerman_event::spawn(async move {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                tokio::task::yield_now().await;
            }
            told.send(()).unwrap();
        }));
    });
    let mut peer = server.peer();
    for n in 0..50 {
        peer.say(format!("{n}\n"));
        assert_eq!(peer.line(), Some(n.to_string()));
    }
    next(&seen);
    stop.send(()).unwrap();
    writer.join().unwrap();
    reader.join().unwrap().unwrap();
}

fn a_turn_handles_so_many_messages(kind: BackendKind) {
    let (told, seen) = events();
    let order = Arc::new(Mutex::new(told));
    let handlers = Handlers::new().on_message(move |conn: &Connection<Text>, _| {
        order.lock().unwrap().send(conn.id()).unwrap();
    });
    let settings = Settings { messages_per_turn: 4, ..Settings::default() };
    let server = Serving::start(kind, Service::new("turns", Text::new, handlers, settings));
    let mut peers = [server.peer(), server.peer()];
    let (release, released) = events::<()>();
    let (held, holding) = events();
    // Accept both before the loop is held up.
    server.settle();
    while server.handle.snapshot().accepted < 2 {
        server.settle();
    }
    server
        .handle
        .run(move || {
            held.send(()).unwrap();
            let _ = released.recv();
        })
        .unwrap();
    next(&holding);
    for peer in &mut peers {
        peer.say("x\n".repeat(100));
    }
    drop(release);
    let order: Vec<u64> = (0..200).map(|_| next(&seen)).collect();
    let longest = order.chunk_by(|a, b| a == b).map(<[u64]>::len).max();
    assert!(longest <= Some(8), "{longest:?} in a row, while the other had messages too");
}

/// The service of a proxy for raw bytes.
fn proxying(to: SocketAddr, settings: Settings) -> Arc<Service<Raw>> {
    let to = to.to_string();
    let inner = settings.clone();
    let handlers = Handlers::new().on_connect(move |near: &Connection<Raw>| {
        let far = Client::tcp(&to).settings(inner.clone()).connect().unwrap();
        near.pipe(&far);
        far.pipe(near);
    });
    Arc::new(Service::new("proxy", Raw::new, handlers, settings))
}

fn proxy(kind: BackendKind, to: SocketAddr) -> Serving {
    Serving::with(kind, LoopSettings::default(), &proxying(to, Settings::default()))
}

fn a_proxy_passes_everything_both_ways(kind: BackendKind) {
    let handlers = Handlers::new().on_message(|_: &Connection<Raw>, bytes: Bytes| bytes);
    let echo = Serving::start(kind, Service::new("echo", Raw::new, handlers, Settings::default()));
    let proxy = proxy(kind, echo.address);
    let mut peer = proxy.peer();
    let mut writing = peer.stream.try_clone().unwrap();
    let body: Vec<u8> = (0..8_000_000u32).map(|n| (n / 7) as u8).collect();
    let sent = body.clone();
    let writer = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writing, &sent).unwrap();
        writing.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let (back, reset) = peer.rest();
    writer.join().unwrap();
    assert!(back == body && !reset, "{} of {}, reset: {reset}", back.len(), body.len());
}

fn a_proxy_stops_who_is_too_fast(kind: BackendKind) {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = upstream.local_addr().unwrap();
    let server = proxy(kind, to);
    let mut peer = server.peer();
    let (mut far, _) = upstream.accept().unwrap();
    peer.stream.set_nonblocking(true).unwrap();
    let (chunk, mut written, mut refused) = (vec![1; 64 * 1024], 0, 0);
    while refused < 3 {
        match std::io::Write::write(&mut peer.stream, &chunk) {
            Ok(n) => {
                written += n;
                refused = 0;
                assert!(written < 256 << 20, "the peer is never stopped");
            }
            Err(_) => {
                server.settle();
                refused += 1;
            }
        }
    }
    assert!(server.handle.snapshot().bytes_queued <= 2 << 20);
    peer.finish();
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut far, &mut all).unwrap();
    assert_eq!(all.len(), written);
    drop(far);
    peer.stream.set_nonblocking(false).unwrap();
    peer.rest();
}

fn a_proxy_passes_ends_and_resets(kind: BackendKind) {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = upstream.local_addr().unwrap();
    let server = proxy(kind, to);
    let accept = || {
        let (stream, _) = upstream.accept().unwrap();
        stream.set_read_timeout(Some(workerman_tests::serving::PATIENCE)).unwrap();
        stream
    };
    let read_all = |stream: &mut TcpStream| {
        let mut all = String::new();
        std::io::Read::read_to_string(stream, &mut all).unwrap();
        all
    };
    // One direction ends, the other goes on.
    let mut peer = server.peer();
    let mut far = accept();
    peer.say("question");
    peer.finish();
    assert_eq!(read_all(&mut far), "question");
    std::io::Write::write_all(&mut far, b"answer").unwrap();
    drop(far);
    assert_eq!(peer.rest(), (b"answer".to_vec(), false));
    // One is lost: so is the other.
    let mut peer = server.peer();
    let mut far = accept();
    peer.say("unread");
    assert_eq!(far.peek(&mut [0]).unwrap(), 1);
    std::io::Write::write_all(&mut far, b"last").unwrap();
    drop(far);
    let (back, _) = peer.rest();
    assert!(b"last".starts_with(&back[..]));
    drop(peer);
    while server.handle.snapshot().connections > 0 {
        server.settle();
    }
    assert_eq!(server.handle.snapshot().bytes_queued, 0);
}

fn a_pipe_one_way_ends_with_the_other(kind: BackendKind) {
    let (told, conns) = events();
    let (closed, closes) = events();
    let handlers = Handlers::new()
        .on_connect(move |conn: &Connection<Raw>| told.send(conn.clone()).unwrap())
        .on_close(move |conn, _| closed.send(conn.id()).unwrap());
    let server = Serving::start(kind, Service::new("pipe", Raw::new, handlers, Settings::default()));
    let mut from = server.peer();
    let source = next(&conns);
    let mut to = server.peer();
    let sink = next(&conns);
    source.pipe(&sink);
    from.say("everything");
    from.finish();
    assert_eq!(to.rest(), (b"everything".to_vec(), false));
    server.settle();
    assert!(closes.try_recv().is_err(), "the sink may still speak");
    to.finish();
    let mut ended = [next(&closes), next(&closes)];
    ended.sort_unstable();
    assert_eq!(ended, [source.id(), sink.id()]);
    assert_eq!(from.rest(), (Vec::new(), false));
}

/// Pieces larger than what fits behind a queue that is under its mark, and than what the loop may hold: on a simulated
/// link that takes 3,000 bytes at a time the queue meets every limit, in the same way in each run.
#[test]
fn a_proxy_keeps_what_does_not_fit() {
    sim::block_on(1, async |network| {
        let [client, middle, upstream] = ["client", "middle", "upstream"].map(|name| network.host(name));
        network.set_one_way(middle, upstream, LinkOptions { capacity: 3000, ..LinkOptions::default() });
        let far = network.listen(upstream, 80).unwrap();
        let settings = Settings {
            high_water: 40_000,
            low_water: Some(39_999),
            hard_limit: 70_000,
            read_ahead: 1,
            ..Settings::default()
        };
        let bounds = LoopSettings { queued_limit: 69_000, ..LoopSettings::default() };
        let backend = network.backend_on(middle);
        let listener = backend.bind(&middle.socket(80).into(), &ListenOptions::default()).unwrap();
        let (event_loop, handle) = EventLoop::new(bounds);
        handle.listen(proxying(upstream.socket(80), settings), listener).unwrap();
        let running = tokio::task::spawn_local(event_loop.run_on(backend));
        let mut near = network.connect(client, middle.socket(80)).await.unwrap();
        let body: Vec<u8> = (0..2_000_000u32).map(|n| (n / 7) as u8).collect();
        let sent = body.clone();
        let writer = tokio::task::spawn_local(async move {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
            near
        });
        let mut far = far.accept().await.unwrap();
        let mut back = Vec::new();
        far.read_to_end(&mut back).await.unwrap();
        assert!(back == body, "{} of {}", back.len(), body.len());
        assert!(handle.snapshot().send_failures > 0, "everything fitted: the test tests nothing");
        drop(far);
        let mut rest = Vec::new();
        assert_eq!(writer.await.unwrap().read_to_end(&mut rest).await.unwrap(), 0);
        handle.stop();
        running.await.unwrap();
        assert_eq!(handle.snapshot().bytes_queued, 0);
    });
}

#[test]
fn a_watched_connection_is_the_peers() {
    let (server, conns) = watched(BackendKind::Tokio, Raw::new, Settings::default(), LoopSettings::default());
    let mut peer = server.peer();
    let conn = next(&conns);
    assert_eq!(conn.peer_addr().tcp(), Some(peer.stream.local_addr().unwrap()));
    assert_eq!(conn.local_addr().unwrap().tcp(), Some(server.address));
    let _ = conn.send(bytes(3)).unwrap();
    assert_eq!(peer.bytes(3), b"xxx");
}
