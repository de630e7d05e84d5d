//! A worker of WebSocket: the order of its callbacks, handshakes that are decided about, close codes, the end of a worker.
#![forbid(unsafe_code)]

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use workerman::prelude::*;
use workerman::websocket::CloseCode;
use workerman::{BackendKind, Connection};
use workerman_tests::websocket_peer::{Peer, frame, hello};
use workerman_tests::workers::{PATIENCE, Running, on_each, start};

fn worker() -> Worker<Websocket> {
    Worker::websocket("websocket://127.0.0.1:0")
}

/// A worker that notes what happens, and says something each time.
fn noting(kind: BackendKind) -> (Running<Websocket>, Receiver<String>) {
    let (told, tells) = channel();
    let note = move |what: String| told.send(what).unwrap();
    let say = |conn: &Connection<Websocket>, text: &str| assert_eq!(conn.send(text).unwrap(), Sent::Accepted);
    let worker = worker()
        .on_connect({
            let note = note.clone();
            move |conn| {
                note("connect".into());
                say(conn, "connected");
            }
        })
        .on_handshake({
            let note = note.clone();
            move |conn, request| {
                note(format!("handshake {}", request.target()));
                say(conn, "in the handshake");
                Accept::new().header("x-seen", "yes")
            }
        })
        .on_open({
            let note = note.clone();
            move |conn, open| {
                note(format!("open {}", open.request().unwrap().target()));
                say(conn, "open");
            }
        })
        .on_message({
            let note = note.clone();
            move |_, message| {
                note(format!("message {message}"));
                message
            }
        })
        .on_ping({
            let note = note.clone();
            move |conn, payload| {
                note(format!("ping {payload:?}"));
                say(conn, "pinged");
            }
        })
        .on_pong({
            let note = note.clone();
            move |_, payload| note(format!("pong {payload:?}"))
        })
        .on_close(move |_, reason| {
            note(format!(
                "close {:?} {:?} clean {} by peer {}",
                reason.code(),
                reason.text(),
                reason.is_clean(),
                reason.by_peer()
            ));
        });
    (start(kind, worker), tells)
}

#[test]
fn callbacks_come_in_order_and_what_they_send_leaves_in_order() {
    on_each(|kind| {
        for at_once in [false, true] {
            let (worker, tells) = noting(kind);
            let mut peer = Peer::connect(worker.tcp());
            let frames = [
                frame(1, b"one"),
                frame(9, b"p"),
                frame(10, b"q"),
                frame(2, b"two"),
                frame(8, b"\x03\xe8bye"),
            ];
            let mut request = hello("/any/path?and=query", &[]).into_bytes();
            if at_once {
                // Frames that arrive together with the request.
                request.extend(frames.concat());
            }
            peer.say(&request);
            let head = peer.head();
            assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("\r\nX-Seen: yes\r\n"), "{head}");
            let mut seen: Vec<_> = (0..3).map(|_| peer.line()).collect();
            if !at_once {
                peer.say(&frames.concat());
            }
            seen.push(peer.line());
            assert_eq!(seen, ["connected", "in the handshake", "open", "one"]);
            // The pong is owed, whatever the handler does.
            let mut next: Vec<_> = (0..2).map(|_| peer.frame().unwrap()).collect();
            next.sort();
            assert_eq!(next, [(0x81, b"pinged".to_vec()), (0x8a, b"p".to_vec())]);
            assert_eq!(peer.frame(), Some((0x82, b"two".to_vec())), "bytes stay bytes");
            assert_eq!(peer.frame(), Some((0x88, b"\x03\xe8".to_vec())), "the code comes back");
            assert_eq!(peer.frame(), None);
            let told: Vec<_> = (0..8).map(|_| tells.recv_timeout(PATIENCE).unwrap()).collect();
            assert_eq!(
                told,
                [
                    "connect",
                    "handshake /any/path?and=query",
                    "open /any/path?and=query",
                    "message one",
                    "ping b\"p\"",
                    "pong b\"q\"",
                    "message two",
                    "close Some(1000) \"bye\" clean true by peer true",
                ]
            );
            drop(worker);
            assert!(tells.try_recv().is_err(), "it is closed once");
        }
    });
}

#[test]
fn a_handshake_may_be_decided_about() {
    on_each(|kind| {
        for later in [false, true] {
            let decide = |request: &Request| match request.query_value("token").as_deref() {
                Some("secret") => Ok(Accept::new().protocol("chat")),
                Some("broken") => Ok(Accept::new().header("x", "a\r\nInjected: yes")),
                Some("unoffered") => Ok(Accept::new().protocol("other")),
                _ => Err(Response::text("who are you?").with_status(401).header("x-why", "token")),
            };
            let worker = if later {
                worker().on_handshake_async(async move |_, request| {
                    sleep(Duration::from_millis(1)).await.unwrap();
                    decide(request)
                })
            } else {
                worker().on_handshake(move |_, request| decide(request))
            };
            // What is set later keeps the question.
            let worker = start(
                kind,
                worker
                    .protocol(Websocket::new())
                    .on_open(|_, open| open.protocol().unwrap_or("none").to_owned()),
            );
            let offer = ["Sec-WebSocket-Protocol: soap, chat"];
            let mut good = Peer::connect(worker.tcp());
            let head = good.ask(&hello("/?token=secret", &offer));
            assert!(head.contains("\r\nSec-WebSocket-Protocol: chat\r\n"), "{head}");
            assert_eq!(good.line(), "chat");
            let answer = |target: &str| {
                let mut peer = Peer::connect(worker.tcp());
                peer.say(hello(target, &offer).as_bytes());
                peer.rest()
            };
            let refusal = answer("/?token=other");
            assert!(refusal.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{refusal}");
            assert!(
                refusal.contains("\r\nX-Why: token\r\n") && refusal.ends_with("\r\n\r\nwho are you?"),
                "{refusal}"
            );
            for target in ["/?token=broken", "/?token=unoffered"] {
                let mistake = answer(target);
                assert!(mistake.starts_with("HTTP/1.1 500 ") && !mistake.contains("Injected"), "{mistake}");
            }
        }
    });
}

#[test]
fn a_handshake_that_nobody_decides_about_in_time_is_told_so() {
    on_each(|kind| {
        let settings = Settings { handshake_timeout: Some(Duration::from_millis(50)), ..Settings::default() };
        let (gone, goes) = channel();
        struct Dropped(std::sync::mpsc::Sender<()>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let worker = worker().settings(settings).on_handshake_async(async move |_, _| {
            let _dropped = Dropped(gone.clone());
            std::future::pending::<Accept>().await
        });
        let worker = start(kind, worker);
        let mut asked = Peer::connect(worker.tcp());
        asked.say(hello("/", &[]).as_bytes());
        let answer = asked.rest();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        goes.recv_timeout(PATIENCE).unwrap();
        let mut silent = Peer::connect(worker.tcp());
        silent.say(b"GET / HTTP/1.1\r\nHost: a\r\n");
        let answer = silent.rest();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    });
}

#[test]
fn a_panic_in_the_handshake_is_a_500_for_that_client_alone() {
    on_each(|kind| {
        let worker = worker().on_handshake(|_, request| {
            assert_ne!(request.path(), "/panic", "expected by the test");
        });
        let worker = start(kind, worker.on_message(|_, message| message));
        let mut other = Peer::open(worker.tcp(), "/", &[]);
        let mut peer = Peer::connect(worker.tcp());
        peer.say(hello("/panic", &[]).as_bytes());
        let answer = peer.rest();
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        other.text("still there");
        assert_eq!(other.line(), "still there");
    });
}

#[test]
fn wrong_requests_have_the_right_answers() {
    on_each(|kind| {
        let worker = start(kind, worker().origins(["https://friend.example"]));
        let answer = |head: &str| {
            let mut peer = Peer::connect(worker.tcp());
            peer.say(head.as_bytes());
            peer.rest()
        };
        let plain = answer("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            plain.starts_with("HTTP/1.1 426 ") && plain.contains("\r\nUpgrade: websocket\r\n"),
            "{plain}"
        );
        let post = answer("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("\r\nAllow: GET\r\n"), "{post}");
        let old = answer(&hello("/", &[]).replace("Version: 13", "Version: 8"));
        assert!(
            old.starts_with("HTTP/1.1 426 ") && old.contains("\r\nSec-WebSocket-Version: 13\r\n"),
            "{old}"
        );
        let stranger = answer(&hello("/", &["Origin: https://evil.example"]));
        assert!(stranger.starts_with("HTTP/1.1 403 "), "{stranger}");
        drop(Peer::open(worker.tcp(), "/", &["Origin: https://friend.example"]));
        assert!(answer("\x16\x03\x01\x02\0").starts_with("HTTP/1.1 400 "));
    });
}

#[test]
fn this_side_closes_with_a_code() {
    on_each(|kind| {
        let (told, tells) = channel();
        let worker = worker()
            .on_message(|conn, message| match message.as_text() {
                Some("code") => conn.close_with_code(4321, "as you wish"),
                Some("plain") => conn.close(),
                _ => conn.close_with_code(CloseCode::POLICY.get(), ""),
            })
            .on_close(move |_, reason| {
                told.send((reason.code(), reason.text().to_owned(), reason.is_clean(), reason.by_peer()))
                    .unwrap();
            });
        let worker = start(kind, worker);
        for (ask, code, text) in [("code", 4321, "as you wish"), ("plain", 1000, ""), ("else", 1008, "")] {
            let mut peer = Peer::open(worker.tcp(), "/", &[]);
            peer.text(ask);
            assert_eq!(peer.closed(), (code, text.to_owned()));
            let told = tells.recv_timeout(PATIENCE).unwrap();
            assert_eq!(told, (Some(code), text.to_owned(), true, false), "{ask}");
        }
    });
}

#[test]
fn a_worker_that_stops_says_that_it_goes_away() {
    on_each(|kind| {
        let (told, tells) = channel();
        let worker =
            worker().stop_timeout(PATIENCE).on_close(move |_, reason| told.send(reason.code()).unwrap());
        let worker = start(kind, worker);
        let mut peers: Vec<_> = (0..5).map(|_| Peer::open(worker.tcp(), "/", &[])).collect();
        worker.handle.stop();
        for peer in &mut peers {
            assert_eq!(peer.closed().0, 1001);
            assert_eq!(tells.recv_timeout(PATIENCE).unwrap(), Some(1001));
        }
        worker.join().unwrap();
    });
}

#[test]
fn a_broadcast_reaches_everybody_who_is_open() {
    on_each(|kind| {
        let worker =
            start(kind, worker().on_message(|conn, message| conn.worker().broadcast(message).map(drop)));
        let mut peers: Vec<_> = (0..4).map(|_| Peer::open(worker.tcp(), "/", &[])).collect();
        peers[1].text("to all");
        for peer in &mut peers {
            assert_eq!(peer.line(), "to all");
        }
    });
}
