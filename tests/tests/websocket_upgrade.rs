//! Requests of an HTTP worker that become WebSocket connections.
#![forbid(unsafe_code)]

use std::sync::mpsc::channel;

use workerman::http::routes::Routes;
use workerman::prelude::*;
use workerman_tests::websocket_peer::{Peer, frame, hello};
use workerman_tests::workers::{PATIENCE, Running, on_each, start};

fn serve(kind: workerman::BackendKind, upgrades: &Upgrades) -> Running<Http> {
    let (plain, chosen, late) = (upgrades.clone(), upgrades.clone(), upgrades.clone());
    let routes = Routes::builder()
        .get("/", |_| "the page")
        .get("/socket", move |request: Request| request.upgrade(&plain))
        .get("/chosen", move |request: Request| {
            request.upgrade_with(&chosen, Accept::new().protocol("b").header("x-own", "yes"))
        })
        .get_async("/late", async move |request: Request| {
            sleep(std::time::Duration::from_millis(1)).await.unwrap();
            request.upgrade(&late)
        })
        .build()
        .unwrap();
    start(kind, Worker::http("127.0.0.1:0").routes(routes))
}

fn echo() -> Worker<Websocket> {
    Worker::websocket_upgrades()
        .name("echo")
        .protocols(["a", "b"])
        .on_open(|_, open| {
            format!("{} {}", open.request().unwrap().path(), open.protocol().unwrap_or("none"))
        })
        .on_message(|_, message| message)
}

#[test]
fn a_page_and_its_socket_share_a_port() {
    on_each(|kind| {
        let upgrades = echo().upgrades();
        let worker = serve(kind, &upgrades);
        for target in ["/socket", "/late"] {
            let mut peer = Peer::connect(worker.tcp());
            // A request of the same connection before.
            let page = peer.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
            let body = b"the page";
            let mut rest = hello(target, &["Sec-WebSocket-Protocol: b, a"]).into_bytes();
            // Frames that arrive together with the request move along.
            rest.extend(frame(1, b"at once"));
            peer.say(&rest);
            let head = peer.head();
            let head = head.strip_prefix(std::str::from_utf8(body).unwrap()).unwrap_or(&head);
            assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
            assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
            assert!(head.contains("\r\nSec-WebSocket-Protocol: a\r\n"), "{head}");
            assert_eq!([peer.line(), peer.line()], [format!("{target} a"), "at once".into()]);
            peer.text("later");
            assert_eq!(peer.line(), "later");
            assert_eq!((upgrades.len(), upgrades.service().name()), (1, "echo"));
            assert_eq!(upgrades.broadcast("to all").unwrap().sent, 1);
            assert_eq!(peer.line(), "to all");
            peer.say(&frame(8, b"\x03\xe8"));
            assert_eq!(peer.frame(), Some((0x88, b"\x03\xe8".to_vec())));
            assert_eq!(peer.frame(), None);
        }
    });
}

#[test]
fn the_handler_may_choose() {
    on_each(|kind| {
        let worker = serve(kind, &echo().upgrades());
        let mut peer = Peer::connect(worker.tcp());
        let head = peer.ask(&hello("/chosen", &["Sec-WebSocket-Protocol: a, b"]));
        assert!(head.contains("\r\nSec-WebSocket-Protocol: b\r\nX-Own: yes\r\n"), "{head}");
        assert_eq!(peer.line(), "/chosen b");
        // What it chose was not offered: its mistake.
        let mut other = Peer::connect(worker.tcp());
        let head = other.ask(&hello("/chosen", &[]));
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    });
}

#[test]
fn a_wrong_request_has_the_right_answer_and_its_connection_goes_on() {
    on_each(|kind| {
        let worker = serve(kind, &echo().upgrades());
        for (status, request) in [
            (426, "GET /socket HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
            (426, hello("/socket", &[]).replace("Version: 13", "Version: 12")),
            (400, hello("/socket", &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="])),
            (403, hello("/socket", &["Origin: https://evil.example", "Cookie: id=1"])),
        ] {
            let mut peer = Peer::connect(worker.tcp());
            peer.say(request.as_bytes());
            peer.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let answers = peer.rest();
            assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{answers}");
            assert!(answers.ends_with("the page"), "{answers}");
        }
    });
}

#[test]
fn the_callbacks_are_those_of_the_upgrade() {
    on_each(|kind| {
        let (told, tells) = channel();
        let note = move |what: &str| told.send(what.to_owned()).unwrap();
        let upgrades = Worker::websocket_upgrades()
            .on_connect({
                let note = note.clone();
                move |conn| {
                    note("connect");
                    conn.send("first")
                }
            })
            .on_handshake({
                let note = note.clone();
                move |_, _| note("nobody asks")
            })
            .on_open({
                let note = note.clone();
                move |_, _| {
                    note("open");
                    "second"
                }
            })
            .on_message(|conn, _| format!("state {}", conn.state::<u32>()))
            .on_close(move |_, reason| note(&format!("close {:?}", reason.code())))
            .upgrades()
            .state(7u32);
        let worker = serve(kind, &upgrades);
        let mut peer = Peer::open(worker.tcp(), "/socket", &[]);
        assert_eq!([peer.line(), peer.line()], ["first", "second"]);
        peer.text("?");
        assert_eq!(peer.line(), "state 7");
        worker.handle.stop();
        assert_eq!(peer.closed().0, 1001);
        let seen: Vec<_> = (0..3).map(|_| tells.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(seen, ["connect", "open", "close Some(1001)"]);
    });
}

#[test]
fn a_request_without_a_connection_is_answered_all_the_same() {
    let upgrades = echo().upgrades();
    let request = || {
        Request::builder("GET", "/")
            .header("upgrade", "websocket")
            .header("connection", "upgrade")
            .header("sec-websocket-version", "13")
    };
    let whole = request().header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").build().unwrap();
    assert_eq!(whole.upgrade(&upgrades).status(), 101);
    assert_eq!(request().build().unwrap().upgrade(&upgrades).status(), 400);
}
