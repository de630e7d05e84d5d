//! What a callback may do, when it takes effect, and what it never sees.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use workerman_connection::{
    Client, CloseReason, Connection, Error, Handlers, LoopHandle, SendError, Service, Settings, Timer,
};
use workerman_event::BackendKind;
use workerman_protocol::{Line, Text};
use workerman_tests::on_real_backends;
use workerman_tests::serving::{Serving, events, listener, next};

on_real_backends! {
    closing_oneself_ends_the_batch,
    another_connection_is_ended_in_the_same_turn,
    effects_come_after_the_callback_in_order_before_the_flush,
    callbacks_never_nest,
    a_send_from_on_close_is_refused,
    on_close_comes_once_for_each_on_connect,
    every_callback_may_command_the_loop,
    stop_works_from_every_callback,
    a_drain_begun_in_a_callback_ends,
}

fn text(handlers: Handlers<Text>) -> Service<Text> {
    Service::new("test", Text::new, handlers, Settings::default())
}

fn closing_oneself_ends_the_batch(kind: BackendKind) {
    let (told, seen) = events();
    let closed = told.clone();
    let handlers = Handlers::new()
        .on_message(move |conn, line: Line| {
            told.send(line.to_string()).unwrap();
            if line == "close" {
                let _ = conn.send("last");
                conn.close();
                assert!(matches!(conn.send("late"), Err(SendError::Closed)));
            }
        })
        .on_close(move |_, reason| closed.send(reason.to_string()).unwrap());
    let server = Serving::start(kind, text(handlers));
    let mut peer = server.peer();
    peer.say("a\nclose\nb\nc\n");
    assert_eq!(peer.rest(), (b"last\n".to_vec(), false));
    let seen: Vec<_> = (0..3).map(|_| next(&seen)).collect();
    assert_eq!(seen, ["a", "close", CloseReason::Local.to_string().as_str()]);
}

/// Both have data when the loop, held up meanwhile, comes to look: whichever is first ends the other.
fn another_connection_is_ended_in_the_same_turn(kind: BackendKind) {
    for abort in [false, true] {
        let (told, seen) = events();
        let (held, holding) = events();
        let conns: Arc<Mutex<Vec<Connection<Text>>>> = Arc::default();
        let all = Arc::clone(&conns);
        let messages = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&messages);
        let handlers = Handlers::new()
            .on_connect({
                let told = told.clone();
                move |conn| {
                    all.lock().unwrap().push(conn.clone());
                    told.send("connect").unwrap();
                }
            })
            .on_message({
                let conns = Arc::clone(&conns);
                move |conn, _| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    for other in conns.lock().unwrap().iter().filter(|other| *other != conn) {
                        if abort {
                            other.abort();
                        } else {
                            other.close();
                        }
                    }
                }
            })
            .on_close(move |_, _| told.send("close").unwrap());
        let server = Serving::start(kind, text(handlers));
        let (mut one, mut two) = (server.peer(), server.peer());
        assert_eq!((next(&seen), next(&seen)), ("connect", "connect"));
        let (release, released) = events::<()>();
        server
            .handle
            .run(move || {
                held.send(()).unwrap();
                next(&released);
            })
            .unwrap();
        next(&holding);
        one.say("x\n");
        two.say("x\n");
        release.send(()).unwrap();
        assert_eq!(next(&seen), "close");
        // The survivor lives on and answers nothing more than it was asked.
        assert_eq!(server.handle.snapshot().connections, 1);
        server.settle();
        assert_eq!(messages.load(Ordering::Relaxed), 1, "the other's message was stale");
    }
}

fn effects_come_after_the_callback_in_order_before_the_flush(kind: BackendKind) {
    let upper = Arc::new(text(
        Handlers::new().on_message(|_, line: Line| String::from_utf8_lossy(&line).to_uppercase()),
    ));
    let handlers = Handlers::new().on_message(move |conn, line: Line| {
        if line == "upgrade" {
            let next = conn.upgrade(Text::new(), &upper).unwrap();
            assert!(matches!(conn.send("old"), Err(SendError::Upgraded)));
            let _ = next.send("welcome");
        } else {
            let _ = conn.send(line);
        }
    });
    let server = Serving::start(kind, text(handlers));
    let mut peer = server.peer();
    peer.say("a\nupgrade\nb\n");
    for expected in ["a", "welcome", "B"] {
        assert_eq!(peer.line().as_deref(), Some(expected));
    }
    peer.say("c\n");
    assert_eq!(peer.line().as_deref(), Some("C"));
}

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Fails if another callback runs on this thread.
struct Alone;

impl Alone {
    fn enter() -> Self {
        DEPTH.with(|depth| assert_eq!(depth.replace(depth.get() + 1), 0, "a callback ran inside another"));
        Self
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

fn callbacks_never_nest(kind: BackendKind) {
    let (told, seen) = events();
    let settings = Settings { high_water: 10, ..Settings::default() };
    let meddle = |conn: &Connection<Text>| {
        for other in conn.service().connections() {
            other.pause();
            other.resume();
            let _ = other.send("0123456789");
        }
        Timer::after(Duration::ZERO, || drop(Alone::enter())).unwrap();
    };
    let handlers = Handlers::new()
        .on_connect(move |conn| {
            let _alone = Alone::enter();
            meddle(conn);
        })
        .on_message(move |conn, line: Line| {
            let _alone = Alone::enter();
            meddle(conn);
            if line == "fail" {
                return Err("told to");
            }
            for other in conn.service().connections() {
                if line == "close" {
                    other.close();
                }
            }
            Ok(())
        })
        .on_buffer_full(move |conn| {
            let _alone = Alone::enter();
            meddle(conn);
        })
        .on_buffer_drain(|_| drop(Alone::enter()))
        .on_error(move |conn, _| {
            let _alone = Alone::enter();
            meddle(conn);
        })
        .on_close(move |conn, reason| {
            let _alone = Alone::enter();
            meddle(conn);
            told.send(reason).unwrap();
        });
    let server = Serving::start(kind, Service::new("nest", Text::new, handlers, settings));
    let mut peers: Vec<_> = (0..4).map(|_| server.peer()).collect();
    peers[0].say("x\nfail\n");
    assert_eq!(next(&seen), CloseReason::Handler);
    peers[1].say("close\n");
    for _ in 1..4 {
        assert_eq!(next(&seen), CloseReason::Local);
    }
    server.settle();
    assert_eq!(server.handle.snapshot().panics, 0);
}

fn a_send_from_on_close_is_refused(kind: BackendKind) {
    for how in ["peer", "close", "fail", "panic", "reset"] {
        let (told, seen) = events();
        let handlers = Handlers::new()
            .on_message(move |conn, line: Line| {
                match &*line {
                    b"close" => conn.close(),
                    b"panic" => panic!("expected by the test"),
                    b"fail" => return Err("told to"),
                    _ => drop(conn.send("unread")),
                }
                Ok(())
            })
            .on_close(move |conn, _| {
                let result = conn.send("too late");
                told.send(matches!(result, Err(SendError::Closed))).unwrap();
            });
        let server = Serving::start(kind, text(handlers));
        let mut peer = server.peer();
        match how {
            "peer" => peer.finish(),
            "reset" => {
                peer.say("x\n");
                peer.reset();
            }
            line => peer.say(format!("{line}\n")),
        }
        assert!(next(&seen), "{how}");
    }
}

fn on_close_comes_once_for_each_on_connect(kind: BackendKind) {
    let (told, seen) = events();
    let (open, openings) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handlers = Handlers::new()
        .on_connect({
            let (open, openings) = (Arc::clone(&open), Arc::clone(&openings));
            move |conn| {
                open.fetch_add(1, Ordering::SeqCst);
                if openings.fetch_add(1, Ordering::SeqCst) % 3 == 0 {
                    conn.abort();
                }
            }
        })
        .on_message(|conn, _| {
            conn.close();
            conn.end();
            conn.abort();
            conn.close();
        })
        .on_close(move |conn, _| {
            open.fetch_sub(1, Ordering::SeqCst);
            conn.close();
            conn.abort();
            told.send(()).unwrap();
        });
    let server = Serving::start(kind, text(handlers));
    let peers: Vec<_> = (0..30)
        .map(|_| {
            let mut peer = server.peer();
            let _ = std::io::Write::write_all(&mut peer.stream, b"x\ny\n");
            peer
        })
        .collect();
    for _ in &peers {
        next(&seen);
    }
    drop(peers);
    server.settle();
    assert!(seen.try_recv().is_err(), "once each");
    assert_eq!(openings.load(Ordering::SeqCst), 30);
    assert_eq!(server.handle.snapshot().connections, 0);
}

/// Calls `f` once from each kind of callback, named.
fn from_every_callback(f: impl Fn(&'static str) + Clone + Send + Sync + 'static) -> Service<Text> {
    let once = move |name: &'static str| {
        let (f, done) = (f.clone(), AtomicBool::new(false));
        move || {
            if !done.swap(true, Ordering::SeqCst) {
                f(name);
            }
        }
    };
    let connect = once("connect");
    let message = once("message");
    let (full, drain, error, close) = (once("full"), once("drain"), once("error"), once("close"));
    let timer = Arc::new(once("timer"));
    let handlers = Handlers::new()
        .on_connect(move |_| connect())
        .on_message(move |conn, line: Line| {
            if line == "fail" {
                return Err("told to");
            }
            message();
            let timer = Arc::clone(&timer);
            Timer::after(Duration::ZERO, move || timer()).unwrap();
            let _ = conn.send("0123456789");
            Ok(())
        })
        .on_buffer_full(move |_| full())
        .on_buffer_drain(move |_| drain())
        .on_error(move |_, _| error())
        .on_close(move |_, _| close());
    let settings = Settings { high_water: 8, ..Settings::default() };
    Service::new("commands", Text::new, handlers, settings)
}

const KINDS: [&str; 7] = ["connect", "message", "full", "drain", "timer", "error", "close"];

fn every_callback_may_command_the_loop(kind: BackendKind) {
    let (told, seen) = events();
    let echo = Arc::new(text(Handlers::new().on_message(|_, line: Line| line)));
    let service = from_every_callback(move |name| {
        let handle = LoopHandle::current().expect("a callback runs on a loop");
        let (listener, address) = listener();
        let listening = handle.listen(Arc::clone(&echo), listener).unwrap();
        let told = told.clone();
        let _client = Client::text(address.to_string())
            .on_connect(move |conn| conn.send(name))
            .on_message(move |conn, line: Line| {
                listening.pause_accept();
                listening.resume_accept();
                listening.unlisten();
                conn.close();
                told.send((line.to_string(), address)).unwrap();
            })
            .connect()
            .unwrap();
    });
    let server = Serving::start(kind, service);
    let mut peer = server.peer();
    peer.say("x\n");
    assert_eq!(peer.line().as_deref(), Some("0123456789"));
    peer.say("fail\n");
    let mut names = Vec::new();
    for _ in KINDS {
        let (name, address) = next(&seen);
        names.push(name);
        server.settle();
        assert!(std::net::TcpStream::connect(address).is_err(), "unlistened");
    }
    names.sort_unstable();
    let mut all = KINDS;
    all.sort_unstable();
    assert_eq!(names, all);
}

fn stop_works_from_every_callback(kind: BackendKind) {
    for at in KINDS {
        let (told, seen) = events();
        let service = from_every_callback(move |name| {
            if name == at {
                LoopHandle::current().unwrap().stop();
                told.send(()).unwrap();
            }
        });
        let mut server = Serving::start(kind, service);
        let mut peer = server.peer();
        let _ = std::io::Write::write_all(&mut peer.stream, b"x\n");
        if matches!(at, "error" | "close") {
            assert_eq!(peer.line().as_deref(), Some("0123456789"));
            peer.say("fail\n");
        }
        next(&seen);
        peer.rest();
        server.stop();
        assert!(server.handle.is_stopped());
        assert!(matches!(server.handle.run(|| ()), Err(Error::Stopped)));
        assert_eq!(server.handle.snapshot().connections, 0);
    }
}

fn a_drain_begun_in_a_callback_ends(kind: BackendKind) {
    for at in KINDS {
        let (told, seen) = events();
        let service = from_every_callback(move |name| {
            if name == at {
                let (handle, told) = (LoopHandle::current().unwrap(), told.clone());
                drop(workerman_event::spawn(async move {
                    told.send(handle.drain(Duration::from_secs(3600)).await.unwrap()).unwrap();
                }));
            }
        });
        let server = Serving::start(kind, service);
        let mut peer = server.peer();
        peer.say("x\n");
        if matches!(at, "error" | "close") {
            assert_eq!(peer.line().as_deref(), Some("0123456789"));
            peer.say("fail\n");
        }
        peer.rest();
        drop(peer);
        let drained = next(&seen);
        assert_eq!(drained.cut, 0, "{at}");
        assert_eq!(server.handle.snapshot().connections, 0);
    }
}
