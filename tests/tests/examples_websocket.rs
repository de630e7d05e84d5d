//! The examples of WebSocket, talked to by clients by hand and by each other.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::sync::mpsc::channel;

use workerman::prelude::*;
use workerman::websocket::deflate::Deflate;
use workerman_tests::program::{Example, Program, example};
use workerman_tests::websocket_peer::{Peer, frame};
use workerman_tests::workers::{PATIENCE, on_each, start};

#[test]
fn hello_websocket_greets() {
    let server = Example::start("hello_websocket", &["127.0.0.1:0"]);
    let mut peer = Peer::open(server.socket(), "/", &[]);
    peer.text("Ann");
    assert_eq!(peer.line(), "hello Ann");
    server.stop();
}

#[test]
fn websocket_echo_keeps_the_kind_on_any_path_and_takes_large_messages() {
    let server = Example::start("websocket_echo", &["127.0.0.1:0"]);
    let mut peer = Peer::open(server.socket(), "/any/path?case=1", &[]);
    peer.text("text \u{e9}");
    assert_eq!(peer.line(), "text \u{e9}");
    peer.say(&frame(2, &[0, 255]));
    assert_eq!(peer.frame(), Some((0x82, vec![0, 255])));
    let large: Vec<u8> = (0..20 << 20).map(|at: u32| (at % 251) as u8).collect();
    peer.say(&frame(2, &large));
    assert!(peer.frame() == Some((0x82, large)), "another message");

    // Compressed, both ways.
    let (told, tells) = channel();
    let conn = Client::websocket(format!("ws://{}/", server.socket()))
        .compress(Deflate::new())
        .on_open({
            let told = told.clone();
            move |_, open| {
                let agreed: Vec<String> =
                    open.agreement().extensions.iter().map(ToString::to_string).collect();
                told.send(Message::from(agreed.join(", "))).unwrap();
            }
        })
        .on_message(move |_, message| told.send(message).unwrap())
        .connect()
        .unwrap();
    // What is sent before both have agreed is not compressed.
    let agreed = tells.recv_timeout(PATIENCE).unwrap().to_string();
    assert!(agreed.starts_with("permessage-deflate"), "{agreed}");
    let text = "the same again and again, ".repeat(10_000);
    let _ = conn.send(&text).unwrap();
    assert!(tells.recv_timeout(PATIENCE).unwrap().as_text() == Some(&text), "another text");
    assert!(conn.bytes_out() < 10_000, "{} bytes were sent", conn.bytes_out());
    conn.close();
    server.stop();
}

#[test]
fn websocket_client_sends_lines_and_prints_what_comes() {
    let server = Example::start("hello_websocket", &["127.0.0.1:0"]);
    let address = format!("ws://{}/", server.socket());
    let mut client = Program::start(example("websocket_client").arg(&address));
    assert_eq!(client.line().unwrap(), format!("connected to {}", server.socket()));
    client.say("Ann\u{1b}[2J");
    assert_eq!(client.line().unwrap(), "hello Ann [2J");
    client.finish();
    let last = client.line().unwrap();
    assert!(last.contains("1000"), "{last}");
    assert!(client.wait().success());
    server.stop();
    let mut lost = Program::start(example("websocket_client").arg("wss://localhost/"));
    let complaint = lost.error_line().unwrap();
    assert!(complaint.contains("TLS layer"), "{complaint}");
    assert!(!lost.wait().success());
}

#[test]
fn websocket_client_goes_through_the_cases_of_a_conformance_tool() {
    on_each(|kind| {
        let (told, tells) = channel();
        let targets = told.clone();
        let server = start(
            kind,
            Worker::websocket("127.0.0.1:0")
                .compress(Deflate::new())
                .on_open(move |conn, open| {
                    let target = open.request().unwrap().target().to_owned();
                    targets.send(format!("{target} {}", open.agreement().extensions.len())).unwrap();
                    match open.request().unwrap().path() {
                        "/getCaseCount" => drop(conn.close_with("2")),
                        "/runCase" => drop(conn.send(Message::from(target.into_bytes()))),
                        _ => conn.close(),
                    }
                })
                .on_message(move |conn, message| {
                    told.send(format!("{message} came back, text {}", message.is_text())).unwrap();
                    conn.close();
                }),
        );
        let address = format!("ws://{}", server.tcp());
        let mut client = Program::start(example("websocket_client").args(["conformance", &address, "me"]));
        assert_eq!(client.rest(), ["case 1 of 2", "case 2 of 2"]);
        assert!(client.wait().success());
        let seen: Vec<_> = tells.try_iter().collect();
        assert_eq!(
            seen,
            [
                "/getCaseCount 1",
                "/runCase?case=1&agent=me 1",
                "/runCase?case=1&agent=me came back, text false",
                "/runCase?case=2&agent=me 1",
                "/runCase?case=2&agent=me came back, text false",
                "/updateReports?agent=me 1",
            ]
        );
    });
}
