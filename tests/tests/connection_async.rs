//! Handlers that suspend: order, backpressure, replies that leave together, handlers that are given up.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, Semaphore};
use workerman_connection::{CloseReason, Connection, EventLoop, Handlers, LoopSettings, Service, Settings};
use workerman_event::{Address, BackendKind, ListenOptions, sim};
use workerman_protocol::{Line, Raw, Text};
use workerman_tests::on_real_backends;
use workerman_tests::serving::{Serving, events, next};

on_real_backends! {
    order_holds_whatever_each_waits_for,
    a_suspended_handler_stops_the_peer,
    a_ready_reply_waits_for_no_sleeper,
    a_reset_drops_the_handler,
    a_half_close_lets_the_handler_finish,
    wakes_come_from_other_threads,
    a_handler_that_wakes_itself_starves_nobody,
}

fn order_holds_whatever_each_waits_for(kind: BackendKind) {
    let handlers = Handlers::new().on_message_async(async |conn: &Connection<Text>, line: Line| {
        let n: u64 = line.to_str().unwrap().parse().unwrap();
        match n % 5 {
            0 => tokio::task::yield_now().await,
            1 => tokio::time::sleep(Duration::from_millis(n % 3)).await,
            2 => drop(tokio::task::spawn_blocking(|| ()).await),
            3 => conn.ready().await.unwrap(),
            _ => {}
        }
        line
    });
    let server = Serving::start(kind, Service::new("order", Text::new, handlers, Settings::default()));
    let mut peers: Vec<_> = (0..4).map(|_| server.peer()).collect();
    let all: String = (0..200).map(|n| format!("{n}\n")).collect();
    for peer in &mut peers {
        peer.say(&all);
    }
    for peer in &mut peers {
        for n in 0..200 {
            assert_eq!(peer.line(), Some(n.to_string()));
        }
    }
}

fn a_suspended_handler_stops_the_peer(kind: BackendKind) {
    let gate = Arc::new(Semaphore::new(0));
    let (waits, total) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&total);
    let handlers = Handlers::new().on_message_async(async move |_: &Connection<Raw>, bytes: bytes::Bytes| {
        let _permit = waits.acquire().await.unwrap();
        counted.fetch_add(bytes.len(), Ordering::SeqCst);
    });
    let server = Serving::start(kind, Service::new("stop", Raw::new, handlers, Settings::default()));
    let peer = server.peer();
    peer.stream.set_nonblocking(true).unwrap();
    let (chunk, mut written) = (vec![1; 64 * 1024], 0);
    // Written until nothing is taken any more, and a while of the loop's turns later still is not.
    let mut refused = 0;
    while refused < 3 {
        match (&peer.stream).write(&chunk) {
            Ok(n) => {
                written += n;
                refused = 0;
                assert!(written < 256 << 20, "the peer is never stopped");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                server.settle();
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let read = server.handle.snapshot().bytes_in as usize;
    assert!(read < 1 << 20, "{read} bytes were read ahead");
    assert_eq!(total.load(Ordering::SeqCst), 0);
    // It goes on where it stopped.
    gate.add_permits(1);
    peer.stream.set_nonblocking(false).unwrap();
    (&peer.stream).write_all(&chunk).unwrap();
    peer.finish();
    let mut peer = peer;
    assert_eq!(peer.rest(), (Vec::new(), false));
    assert_eq!(total.load(Ordering::SeqCst), written + chunk.len());
}

fn a_ready_reply_waits_for_no_sleeper(kind: BackendKind) {
    let gate = Arc::new(Notify::new());
    let waits = Arc::clone(&gate);
    let handlers = Handlers::new().on_message_async(async move |_: &Connection<Text>, line: Line| {
        if line == "sleep" {
            waits.notified().await;
        }
        line
    });
    let server = Serving::start(kind, Service::new("ready", Text::new, handlers, Settings::default()));
    let mut peer = server.peer();
    peer.say("1\n2\nsleep\n3\n");
    // The sleeper is not woken before its predecessors' replies are here.
    assert_eq!((peer.line().unwrap(), peer.line().unwrap()), ("1".into(), "2".into()));
    gate.notify_one();
    assert_eq!((peer.line().unwrap(), peer.line().unwrap()), ("sleep".into(), "3".into()));
}

/// Tells when it is dropped.
struct Guard(std::sync::mpsc::Sender<&'static str>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.send("dropped").unwrap();
    }
}

fn a_reset_drops_the_handler(kind: BackendKind) {
    let (told, seen) = events();
    let closed = told.clone();
    let handlers = Handlers::new()
        .on_message_async(async move |conn: &Connection<Text>, _| {
            let _guard = Guard(told.clone());
            let _ = conn.send("unread");
            std::future::pending::<()>().await;
            told.send("finished").unwrap();
        })
        .on_close(move |_, reason| {
            assert_eq!(reason, CloseReason::Reset);
            closed.send("closed").unwrap();
        });
    let server = Serving::start(kind, Service::new("reset", Text::new, handlers, Settings::default()));
    let mut peer = server.peer();
    peer.say("x\ny\n");
    peer.reset();
    assert_eq!((next(&seen), next(&seen)), ("dropped", "closed"));
    server.settle();
    assert!(seen.try_recv().is_err());
    assert_eq!(server.handle.snapshot().panics, 0);
}

fn a_half_close_lets_the_handler_finish(kind: BackendKind) {
    let (told, seen) = events();
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let handlers = Handlers::new()
        .on_message_async(async move |_: &Connection<Text>, line: Line| {
            let _permit = waits.acquire().await.unwrap();
            line
        })
        .on_close(move |_, reason| told.send(reason).unwrap());
    let server = Serving::start(kind, Service::new("half", Text::new, handlers, Settings::default()));
    let mut peer = server.peer();
    peer.say("a\nb\nc\n");
    peer.finish();
    server.settle();
    assert!(seen.try_recv().is_err());
    gate.add_permits(1);
    assert_eq!(peer.rest(), (b"a\nb\nc\n".to_vec(), false));
    assert_eq!(next(&seen), CloseReason::PeerClosed);
}

fn wakes_come_from_other_threads(kind: BackendKind) {
    let (ask, asked) = events::<(u64, tokio::sync::oneshot::Sender<u64>)>();
    let ask = Mutex::new(ask);
    let worker = std::thread::spawn(move || {
        while let Ok((n, answer)) = asked.recv() {
            let _ = answer.send(n + 1);
        }
    });
    let handlers = Handlers::new().on_message_async(async move |_: &Connection<Text>, line: Line| {
        let mut n = line.to_str().unwrap().parse().unwrap();
        // To another thread and back, many times: no wake-up may be lost.
        for _ in 0..20 {
            let (answer, answered) = tokio::sync::oneshot::channel();
            ask.lock().unwrap().send((n, answer)).unwrap();
            n = answered.await.unwrap();
        }
        n.to_string()
    });
    let server = Serving::start(kind, Service::new("wakes", Text::new, handlers, Settings::default()));
    let mut peers: Vec<_> = (0..8).map(|_| server.peer()).collect();
    for round in 0..20 {
        for peer in &mut peers {
            peer.say(format!("{round}\n"));
        }
        for peer in &mut peers {
            assert_eq!(peer.line(), Some((round + 20).to_string()));
        }
    }
    drop(peers);
    drop(server);
    worker.join().unwrap();
}

fn a_handler_that_wakes_itself_starves_nobody(kind: BackendKind) {
    let handlers = Handlers::new().on_message_async(async |_: &Connection<Text>, line: Line| {
        if line == "spin" {
            std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                std::task::Poll::<()>::Pending
            })
            .await;
        }
        line
    });
    let server = Serving::start(kind, Service::new("spin", Text::new, handlers, Settings::default()));
    let (told, seen) = events();
    server.on_loop(move || {
        drop(workerman_event::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            told.send(()).unwrap();
        }));
    });
    let (mut spinner, mut peer) = (server.peer(), server.peer());
    spinner.say("spin\n");
    for n in 0..100 {
        peer.say(format!("{n}\n"));
        assert_eq!(peer.line(), Some(n.to_string()));
    }
    next(&seen);
}

/// On a simulated link one write arrives as one segment, so that what leaves together can be counted.
#[test]
fn replies_of_a_pipeline_leave_together() {
    sim::block_on(1, async |network| {
        let (server, client) = (network.host("server"), network.host("client"));
        let handlers = Handlers::new().on_message_async(async |_: &Connection<Text>, line: Line| {
            tokio::task::yield_now().await;
            line
        });
        let service = Arc::new(Service::new("pipe", Text::new, handlers, Settings::default()));
        let backend = network.backend_on(server);
        let address = Address::from(server.socket(80));
        let listener = backend.bind(&address, &ListenOptions::default()).unwrap();
        let (event_loop, handle) = EventLoop::new(LoopSettings::default());
        handle.listen(service, listener).unwrap();
        let running = tokio::task::spawn_local(event_loop.run_on(backend));
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        let all: String = (10..26).map(|n| format!("{n}\n")).collect();
        for _ in 0..5 {
            peer.write_all(all.as_bytes()).await.unwrap();
            let (mut back, mut reads) = (Vec::new(), 0);
            while back.len() < all.len() {
                reads += usize::from(peer.read_buf(&mut back).await.unwrap() > 0);
            }
            assert_eq!(back, all.as_bytes());
            assert!(reads <= 2, "16 replies in {reads} pieces");
        }
        handle.stop();
        running.await.unwrap();
    });
}
