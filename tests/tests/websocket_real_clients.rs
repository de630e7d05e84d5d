//! WebSocket as strangers speak it: the package `websockets` of Python on both ends, `ws` and the WebSocket of Node.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use workerman::BackendKind;
use workerman::prelude::*;
use workerman::websocket::deflate::Deflate;
use workerman::websocket::handshake::Hello;
use workerman_tests::program::Program;
use workerman_tests::serving::next;
use workerman_tests::skip;
use workerman_tests::workers::{Running, on_each, start};

const ANY: &str = "127.0.0.1:0";

/// Echoes, and closes with the code and the reason that a client asks for.
fn echo(kind: BackendKind, compressed: bool) -> Running<Websocket> {
    let mut protocol = Websocket::new().max_message(16 << 20).max_frame(16 << 20);
    if compressed {
        protocol = protocol.compress(Deflate::new());
    }
    let worker = Worker::websocket(ANY).protocol(protocol).on_message(|conn, message| {
        let asked = message.as_text().and_then(|text| text.strip_prefix("close ")?.split_once(' '));
        match asked {
            Some((code, reason)) => {
                conn.close_with_code(code.parse().unwrap(), reason);
                None
            }
            None => Some(message),
        }
    });
    start(kind, worker)
}

/// Runs a script of `clients/` to its end, which must be good.
fn run(command: &mut Command) {
    let mut client = Program::start(command);
    let printed = client.rest();
    let status = client.wait();
    let errors: Vec<String> = std::iter::from_fn(|| client.error_line()).collect();
    assert!(status.success() && printed == ["all"], "{status}, {printed:?}: {errors:#?}");
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

fn url(server: &Running<Websocket>) -> String {
    format!("ws://{}/any/path?with=query", server.tcp())
}

#[test]
fn python_speaks_to_our_server() {
    let Some(python) = skip::require_python("websockets") else { return };
    on_each(|kind| {
        let server = echo(kind, true);
        for how in ["plain", "deflate"] {
            run(Command::new(&python).arg(script("websocket_client.py")).arg(url(&server)).arg(how));
        }
    });
}

#[test]
fn python_agrees_on_every_parameter_of_compression() {
    let Some(python) = skip::require_python("websockets") else { return };
    let server = |takeover| {
        let protocol = Websocket::new().compress(Deflate::new().takeover(takeover));
        let worker = Worker::websocket(ANY).protocol(protocol).on_message(|_, message| message);
        start(BackendKind::default(), worker)
    };
    let (with, without) = (server(true), server(false));
    run(Command::new(&python).arg(script("websocket_windows.py")).arg(url(&with)).arg(url(&without)));
}

#[test]
fn the_package_of_node_speaks_to_our_server() {
    let (Some(node), Some(modules)) = (skip::require("node"), skip::require_node("ws")) else { return };
    on_each(|kind| {
        let server = echo(kind, true);
        run(Command::new(&node).arg(script("websocket.mjs")).arg(url(&server)).arg("ws").arg(&modules));
    });
}

/// Node has it from version 22 on, and behind a flag some versions earlier.
#[test]
fn the_websocket_of_node_speaks_to_our_server() {
    let Some(node) = skip::require("node") else { return };
    let has = |flags: &[&str]| {
        let asked = Command::new(&node).args(flags).args(["-p", "typeof WebSocket"]).output().unwrap();
        asked.stdout.starts_with(b"function")
    };
    let flags: &[&str] = match () {
        () if has(&[]) => &[],
        () if has(&["--experimental-websocket"]) => &["--no-warnings", "--experimental-websocket"],
        // The other test has the package.
        () => return,
    };
    for compressed in [false, true] {
        let server = echo(BackendKind::default(), compressed);
        run(Command::new(&node).args(flags).arg(script("websocket.mjs")).arg(url(&server)).arg("built-in"));
    }
}

/// What our client is told.
#[derive(PartialEq, Eq, Debug)]
enum Told {
    Message(Message),
    Ping(Bytes),
    Pong(Bytes),
    Close(Option<u16>, String, bool, bool),
    Error(String),
}

fn connect(port: &str, compressed: bool) -> (Connection<WebsocketClient>, Receiver<Told>) {
    let hello = Hello::new(&format!("ws://127.0.0.1:{port}/chat")).unwrap();
    let mut protocol = WebsocketClient::new(hello).max_message(16 << 20).max_frame(16 << 20);
    if compressed {
        protocol = protocol.compress(Deflate::new());
    }
    let (tell, told) = channel();
    let (messages, pings, pongs, closes, errors) =
        (tell.clone(), tell.clone(), tell.clone(), tell.clone(), tell);
    let conn = Client::with(protocol, format!("127.0.0.1:{port}"))
        .on_message(move |_, message| messages.send(Told::Message(message)).unwrap())
        .on_ping(move |_, payload| pings.send(Told::Ping(payload)).unwrap())
        .on_pong(move |_, payload| pongs.send(Told::Pong(payload)).unwrap())
        .on_close(move |_, reason| {
            let (code, text) = (reason.code(), reason.text().to_owned());
            // The test may be over.
            let _ = closes.send(Told::Close(code, text, reason.by_peer(), reason.is_clean()));
        })
        .on_error(move |_, error| drop(errors.send(Told::Error(error.to_string()))))
        .connect()
        .unwrap();
    (conn, told)
}

#[test]
fn our_client_speaks_to_python() {
    let Some(python) = skip::require_python("websockets") else { return };
    for how in ["plain", "deflate"] {
        let mut server = Program::start(Command::new(&python).arg(script("websocket_server.py")).arg(how));
        let Some(port) = server.line() else { panic!("{:?}", server.error_line()) };
        let compressed = how == "deflate";
        let (conn, told) = connect(&port, true);
        let message = || match next(&told) {
            Told::Message(message) => message,
            other => panic!("{other:?}"),
        };

        // Queued before it is open.
        let _ = conn.send("extensions").unwrap();
        assert_eq!(message(), if compressed { "permessage-deflate" } else { "" });
        for text in ["", "a", "grüße 😀 \0", &"é".repeat(100_000)] {
            let _ = conn.send(text).unwrap();
            assert!(message() == *text, "{} bytes", text.len());
        }
        let mut random = fastrand::Rng::with_seed(7692);
        for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20, 2 << 20] {
            let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
            for bytes in [noise, vec![0; size]] {
                while conn.send(bytes.clone()).is_err() {
                    std::thread::yield_now();
                }
                assert!(message() == bytes.as_slice(), "{size} bytes");
            }
        }
        for n in 0..1000 {
            let text = format!("message {n} {}", "words ".repeat(n % 100));
            while conn.send(text.as_str()).is_err() {
                std::thread::yield_now();
            }
        }
        for n in 0..1000 {
            assert_eq!(message(), *format!("message {n} {}", "words ".repeat(n % 100)));
        }

        let _ = conn.send("fragments").unwrap();
        assert_eq!(message(), *format!("grüße{}", " 😀".repeat(100)));
        let _ = conn.send("pings").unwrap();
        for n in 0..500 {
            assert_eq!(next(&told), Told::Ping(n.to_string().into()));
        }
        assert_eq!(message(), "pinged");
        let _ = conn.send(Outgoing::ping("x")).unwrap();
        assert_eq!(next(&told), Told::Pong("x".into()));

        conn.close_with_code(4321, "grüße");
        assert_eq!(next(&told), Told::Close(Some(4321), "grüße".into(), false, true));
        assert_eq!(server.line().as_deref(), Some("closed 4321 grüße"));

        let (conn, told) = connect(&port, false);
        let _ = conn.send("close 4000 you asked for it").unwrap();
        assert_eq!(next(&told), Told::Close(Some(4000), "you asked for it".into(), true, true));
        // The answer to a close frame has its code; the reason is the peer's own.
        assert_eq!(server.line().as_deref(), Some("closed 4000 "));
        assert!(server.wait().success());
    }
}
