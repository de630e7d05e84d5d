//! The marks of a send queue, to the byte, and waiting for room in it.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use workerman_connection::{Connection, Handlers, LoopSettings, SendError, Sent, Service, Settings};
use workerman_event::{BackendKind, block_on};
use workerman_protocol::{Raw, Text};
use workerman_tests::on_real_backends;
use workerman_tests::serving::{Serving, bytes, events, hold, insist, next, waits, watched};

on_real_backends! {
    marks_are_exact_in_a_callback,
    marks_are_exact_from_outside,
    the_total_of_a_loop_is_exact,
    full_and_drain_alternate,
    no_waiter_for_room_is_forgotten,
    waiting_ends_with_the_connection,
}

fn edges() -> Settings {
    Settings { high_water: 100, hard_limit: 150, ..Settings::default() }
}

/// What a connection whose queue is not written meanwhile answers; `case` picks the scenario. Returns what was taken.
fn walk_the_edges(conn: &Connection<Raw>, case: usize) -> usize {
    let full = |queued| move |result| matches!(result, Err(SendError::Full { queued: q }) if q == queued);
    assert_eq!(conn.send(bytes(99)).unwrap(), Sent::Accepted);
    assert_eq!(conn.buffered(), 99);
    match case {
        0 => {
            // One byte to the mark: taken, and told.
            assert_eq!(conn.send(bytes(1)).unwrap(), Sent::OverHighWater);
            assert!(full(100)(conn.send(bytes(1))));
            assert!(full(100)(conn.send(bytes(0))), "nothing is taken, not even nothing");
            100
        }
        1 => {
            // Up to the hard limit, to the byte.
            assert_eq!(conn.send(bytes(51)).unwrap(), Sent::OverHighWater);
            assert!(full(150)(conn.send_raw(bytes(1))));
            150
        }
        _ => {
            // One beyond it: not taken, and nothing has changed.
            assert!(full(99)(conn.send(bytes(52))));
            assert!(full(99)(conn.send_raw(bytes(5000))));
            assert_eq!(conn.buffered(), 99);
            assert_eq!(conn.send(bytes(0)).unwrap(), Sent::Accepted);
            99
        }
    }
}

fn marks_are_exact_in_a_callback(kind: BackendKind) {
    for case in 0..3 {
        let (told, taken) = events();
        let handlers = Handlers::new().on_connect(move |conn: &Connection<Raw>| {
            let n = walk_the_edges(conn, case);
            assert_eq!(conn.buffered(), n);
            told.send(n).unwrap();
            conn.close();
        });
        let server = Serving::start(kind, Service::new("marks", Raw::new, handlers, edges()));
        let mut peer = server.peer();
        assert_eq!(peer.rest().0.len(), next(&taken));
        assert_eq!(server.handle.snapshot().panics, 0);
    }
}

fn marks_are_exact_from_outside(kind: BackendKind) {
    for case in 0..3 {
        let (server, conns) = watched(kind, Raw::new, edges(), LoopSettings::default());
        let mut peer = server.peer();
        let conn = next(&conns);
        let held = hold(&server);
        let taken = walk_the_edges(&conn, case);
        assert_eq!(conn.buffered(), taken);
        assert_eq!(server.handle.snapshot().bytes_queued as usize, taken);
        drop(held);
        assert_eq!(peer.bytes(taken).len(), taken);
        server.settle();
        assert_eq!((conn.buffered(), server.handle.snapshot().bytes_queued), (0, 0));
        conn.close();
        assert_eq!(peer.rest().0.len(), 0);
    }
}

fn the_total_of_a_loop_is_exact(kind: BackendKind) {
    let bounds = LoopSettings { queued_limit: 1000, ..LoopSettings::default() };
    let (server, conns) = watched(kind, Raw::new, Settings::default(), bounds);
    let mut peers = [server.peer(), server.peer()];
    let (a, b) = (next(&conns), next(&conns));
    for _ in 0..3 {
        let held = hold(&server);
        assert_eq!(a.send(bytes(600)).unwrap(), Sent::Accepted);
        assert!(matches!(b.send(bytes(401)), Err(SendError::LoopFull { queued: 600 })));
        assert_eq!(b.buffered(), 0);
        assert_eq!(b.send(bytes(400)).unwrap(), Sent::Accepted);
        assert!(matches!(a.send(bytes(1)), Err(SendError::LoopFull { queued: 1000 })));
        drop(held);
        let (of_a, of_b) = if peers[0].stream.local_addr().unwrap() == a.peer_addr().tcp().unwrap() {
            (0, 1)
        } else {
            (1, 0)
        };
        peers[of_a].bytes(600);
        peers[of_b].bytes(400);
        server.settle();
        assert_eq!(server.handle.snapshot().bytes_queued, 0);
    }
    // What is cut, reset or crashed is given back as well.
    let held = hold(&server);
    let _ = a.send(bytes(600)).unwrap();
    a.abort();
    let _ = b.send(bytes(300)).unwrap();
    drop(held);
    peers.iter_mut().for_each(|peer| drop(peer.stream.shutdown(std::net::Shutdown::Write)));
    waits(a.closed());
    waits(b.closed());
    server.settle();
    assert_eq!(server.handle.snapshot().bytes_queued, 0);
}

fn full_and_drain_alternate(kind: BackendKind) {
    let (told, seen) = events();
    let (opened, conns) = events();
    let (full, drain) = (told.clone(), told);
    let handlers = Handlers::new()
        .on_connect(move |conn: &Connection<Raw>| opened.send(conn.clone()).unwrap())
        .on_buffer_full(move |_| full.send("full").unwrap())
        .on_buffer_drain(move |_| drain.send("drain").unwrap());
    let settings = Settings { high_water: 256 * 1024, ..Settings::default() };
    let server = Serving::start(kind, Service::new("marks", Raw::new, handlers, settings));
    let mut peer = server.peer();
    let conn = next(&conns);
    let chunk = bytes(64 * 1024);
    for _ in 0..3 {
        // The peer reads nothing: at last the system takes no more.
        let mut total = 0;
        let mut crossings = 0;
        loop {
            match conn.send(chunk.clone()) {
                Ok(_) => total += chunk.len(),
                Err(SendError::Full { .. }) => {
                    // Perhaps the loop has only not looked yet.
                    server.settle();
                    if conn.buffered() >= 256 * 1024 {
                        break;
                    }
                }
                Err(error) => panic!("{error}"),
            }
            while let Ok(event) = seen.try_recv() {
                assert_eq!(event, ["full", "drain"][crossings % 2]);
                crossings += 1;
            }
        }
        while crossings % 2 == 0 {
            assert_eq!(next(&seen), "full");
            crossings += 1;
            if let Ok(event) = seen.try_recv() {
                assert_eq!(event, "drain");
                crossings += 1;
            }
        }
        peer.bytes(total);
        assert_eq!(next(&seen), "drain");
        server.settle();
        assert!(seen.try_recv().is_err(), "once");
        assert_eq!(conn.buffered(), 0);
    }
}

fn no_waiter_for_room_is_forgotten(kind: BackendKind) {
    let settings = Settings { high_water: 2048, ..Settings::default() };
    let (server, conns) = watched(kind, Text::new, settings, LoopSettings::default());
    let mut peer = server.peer();
    let conn = next(&conns);
    let (done, ends) = events();
    let line = "x".repeat(700);
    for _ in 0..4 {
        let (conn, line, done) = (conn.clone(), line.clone(), done.clone());
        std::thread::spawn(move || {
            let crossed: usize = (0..1500).map(|_| insist(&conn, &line)).sum();
            done.send(crossed).unwrap();
        });
    }
    let reader = std::thread::spawn(move || {
        for _ in 0..4 * 1500 {
            assert_eq!(peer.line().unwrap().len(), 700);
        }
    });
    let crossed: usize = (0..4).map(|_| next(&ends)).sum();
    reader.join().unwrap();
    assert!(crossed > 0, "the mark was never met: the test tests nothing");
}

/// A waker that can be counted.
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn waiting_ends_with_the_connection(kind: BackendKind) {
    let settings = Settings { high_water: 1024, hard_limit: 64 << 20, ..Settings::default() };
    let (server, conns) = watched(kind, Raw::new, settings, LoopSettings::default());
    let peer = server.peer();
    let conn = next(&conns);
    // More than the system takes for a peer that does not read.
    let _ = conn.send(bytes(48 << 20)).unwrap();
    let counted = Arc::new(Counted(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&counted));
    for _ in 0..3 {
        let (mut ready, mut closed) = (pin!(conn.ready()), pin!(conn.closed()));
        let mut cx = Context::from_waker(&waker);
        assert!(ready.as_mut().poll(&mut cx).is_pending());
        assert!(ready.as_mut().poll(&mut cx).is_pending());
        assert!(closed.as_mut().poll(&mut cx).is_pending());
        assert_eq!(Arc::strong_count(&counted), 4, "one each");
    }
    assert_eq!(Arc::strong_count(&counted), 2, "who gives up leaves nothing behind");
    let (started, waiting) = events();
    let (done, result) = events();
    let (ready, closed) = (conn.ready(), conn.closed());
    std::thread::spawn(move || {
        block_on(async move {
            let mut ready = pin!(ready);
            let first = std::future::poll_fn(|cx| Poll::Ready(ready.as_mut().poll(cx).is_pending())).await;
            started.send(first).unwrap();
            done.send(matches!(ready.await, Err(SendError::Closed))).unwrap();
            closed.await;
            done.send(true).unwrap();
        })
        .unwrap();
    });
    assert!(next(&waiting));
    // The queue is full and stays so: who waits is told that it waits in vain.
    conn.close();
    assert!(next(&result));
    assert!(!conn.is_closed());
    conn.abort();
    assert!(next(&result));
    assert!(conn.is_closed());
    drop(peer);
}
