//! Compressed messages over real sockets: our own two sides, zlib as a second opinion, and foreign peers with every
//! combination of parameters.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use bytes::BytesMut;
use workerman::prelude::*;
use workerman::protocol::Role;
use workerman::websocket::deflate::{Compressor, Deflate, Deflater, Inflater, Outflow};
use workerman::websocket::handshake::Extension;
use workerman::websocket::{CloseCode, WebsocketClient};
use workerman::{BackendKind, Connection};
use workerman_tests::program::Program;
use workerman_tests::skip;
use workerman_tests::workers::{PATIENCE, Running, on_each, start};

const MUCH: usize = 4 << 20;

fn script(program: PathBuf, name: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name));
    command
}

/// Runs a client to its end, which must be good.
fn run(command: &mut Command) {
    let mut client = Program::start(command);
    let printed = client.rest();
    let status = client.wait();
    let errors: Vec<String> = std::iter::from_fn(|| client.error_line()).collect();
    let last = printed.last().is_some_and(|last| last == "all");
    assert!(status.success() && last && printed.len() > 50, "{status}, {}: {errors:#?}", printed.len());
}

/// A worker that echoes, and compresses whatever it can.
fn echo(kind: BackendKind, deflate: Deflate) -> Running<Websocket> {
    let worker = Worker::websocket("127.0.0.1:0")
        .compress(deflate.min_size(1))
        .max_message(MUCH)
        .on_message(|_, message| message);
    start(kind, worker)
}

fn text(words: usize) -> String {
    let mut random = fastrand::Rng::with_seed(7);
    (0..words).map(|_| format!("{:x} ", random.u16(..) % 512)).collect()
}

fn messages() -> Vec<Message> {
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(70_000).collect();
    vec![
        "".into(),
        "short".into(),
        "é€😀".repeat(100).into(),
        text(40).into(),
        text(40).into(),
        text(60_000).into(),
        vec![0; 1_000_000].into(),
        noise.into(),
        text(40).into(),
    ]
}

/// A client that tells what it gets.
fn client(address: SocketAddr, deflate: Deflate) -> (Connection<WebsocketClient>, Receiver<Message>) {
    let (told, tells) = channel();
    let conn = Client::websocket(format!("ws://{address}/"))
        .compress(deflate.min_size(1))
        .max_message(MUCH)
        .on_open(|_, open| {
            let extensions = &open.agreement().extensions;
            assert_eq!(extensions.first().map(Extension::name), Some("permessage-deflate"));
        })
        .on_message(move |_, message| told.send(message).unwrap())
        .on_error(|_, error| panic!("{error}"))
        .connect()
        .unwrap();
    (conn, tells)
}

/// Sends everything to an echo.
fn talk(address: SocketAddr, deflate: Deflate) {
    let (conn, tells) = client(address, deflate);
    for message in messages() {
        let _ = conn.send(message.clone()).unwrap();
        let _ = conn.send(Outgoing::ping("between")).unwrap();
        let answer = tells.recv_timeout(PATIENCE).unwrap();
        assert!(answer == message, "{} for {}", answer.len(), message.len());
    }
    conn.close_with_code(CloseCode::NORMAL.get(), "");
}

/// Every way in which one side may want it.
fn all_settings() -> Vec<Deflate> {
    let mut all = Vec::new();
    for (at, bits) in [9, 10, 11, 12, 13, 14, 15].into_iter().enumerate() {
        for takeover in [false, true] {
            all.push(
                Deflate::new()
                    .level([1, 3, 6, 9][at % 4])
                    .server_no_context_takeover(takeover)
                    .client_no_context_takeover(at % 2 == 0)
                    .server_max_window_bits(bits)
                    .client_max_window_bits(24 - bits),
            );
        }
    }
    all.push(Deflate::new().takeover(true).max_contexts(1));
    all
}

#[test]
fn our_two_sides_understand_each_other() {
    on_each(|kind| {
        for deflate in all_settings() {
            let worker = echo(kind, deflate.clone());
            for wanted in [Deflate::new(), Deflate::new().takeover(true), deflate] {
                talk(worker.tcp(), wanted);
            }
        }
    });
}

#[test]
fn a_broadcast_reaches_whoever_compresses_in_whatever_way() {
    on_each(|kind| {
        let (told, tells) = channel();
        let worker = start(
            kind,
            Worker::websocket("127.0.0.1:0")
                .compress(Deflate::new().server_no_context_takeover(false).max_contexts(2))
                .on_open(move |_, _| told.send(()).unwrap())
                .on_message(|conn, message| conn.worker().broadcast(message).map(drop)),
        );
        let ways = [
            Some(Deflate::new()),
            Some(Deflate::new()),
            Some(Deflate::new().server_max_window_bits(9)),
            Some(Deflate::new().takeover(true)),
            Some(Deflate::new().takeover(true)),
            None,
        ];
        let clients: Vec<_> = ways
            .into_iter()
            .map(|deflate| {
                let (got, gets) = channel();
                let conn = Client::websocket(format!("ws://{}/", worker.tcp()))
                    .compress(deflate)
                    .on_message(move |_, message| got.send(message).unwrap())
                    .connect()
                    .unwrap();
                tells.recv_timeout(PATIENCE).unwrap();
                (conn, gets)
            })
            .collect();
        for message in messages() {
            let _ = clients[0].0.send(message.clone()).unwrap();
            for (at, (_, gets)) in clients.iter().enumerate() {
                assert!(gets.recv_timeout(PATIENCE).unwrap() == message, "client {at}, {}", message.len());
            }
        }
        for (conn, _) in clients {
            conn.close();
        }
    });
}

#[test]
fn a_bomb_ends_its_connection_and_no_other() {
    on_each(|kind| {
        let worker = start(
            kind,
            Worker::websocket("127.0.0.1:0")
                .compress(Deflate::new())
                .max_message(100_000)
                .on_message(|_, message| message),
        );
        let (told, tells) = channel();
        let bomber = Client::websocket(format!("ws://{}/", worker.tcp()))
            .compress(Deflate::new())
            .on_close(move |_, reason| told.send(reason.code()).unwrap())
            .connect()
            .unwrap();
        let (other, gets) = client(worker.tcp(), Deflate::new());
        let _ = bomber.send(vec![0; 50 << 20]).unwrap();
        assert_eq!(tells.recv_timeout(PATIENCE).unwrap(), Some(CloseCode::TOO_BIG.get()));
        let _ = other.send("still here").unwrap();
        assert_eq!(gets.recv_timeout(PATIENCE).unwrap(), "still here");
        other.close();
    });
}

fn halves(settings: &Deflate, offer: &str) -> (Inflater, Outflow) {
    let offers = Extension::parse_all([offer.as_bytes()]).unwrap();
    settings.accept(&offers).unwrap().into_halves(Role::Server)
}

/// A compressor of a server for a window of so many bits, at least 8.
fn deflater(level: u8, bits: u8) -> Deflater {
    let settings = Deflate::new().takeover(true).level(level);
    match halves(&settings, &format!("permessage-deflate; server_max_window_bits={bits}")).1 {
        Outflow::Context(deflater) => deflater,
        Outflow::Free(_) => panic!("no takeover"),
    }
}

fn compressor(level: u8, bits: u8) -> Compressor {
    let settings = Deflate::new().level(level);
    match halves(&settings, &format!("permessage-deflate; server_max_window_bits={bits}")).1 {
        Outflow::Free(compressor) => compressor,
        Outflow::Context(_) => panic!("takeover"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks zlib, and takes apart what it answers.
fn ask(zlib: &mut Program, question: &str, bytes: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let words: Vec<String> = bytes.iter().map(|bytes| hex(bytes)).collect();
    zlib.say(&format!("{question} {}", words.join(" ")));
    let line = zlib.line().unwrap_or_else(|| panic!("{question}: {:?}", zlib.error_line()));
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    line.split(' ').map(|word| word.as_bytes().chunks(2).map(byte).collect()).collect()
}

#[test]
fn zlib_agrees_with_us_for_every_window() {
    let Some(python) = skip::require("python3") else { return };
    let mut zlib = Program::start(&mut script(python, "zlib_messages.py"));
    let mut far: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(33_000).collect();
    far.extend_from_within(..);
    let messages: Vec<Vec<u8>> =
        [text(40).into(), text(40).into(), b"a".to_vec(), text(2000).into(), far, text(40).into()].into();
    for bits in 8..=15 {
        for level in [1, 3, 6, 9] {
            // What we make, with a context and without.
            let mut deflater = deflater(level, bits);
            let payloads: Vec<Vec<u8>> =
                messages.iter().map(|message| deflater.compress(message).unwrap().to_vec()).collect();
            assert!(ask(&mut zlib, &format!("inflate {bits}"), &payloads) == messages, "{bits} bits");
            for message in &messages {
                let Some(payload) = compressor(level, bits).compress(message) else { continue };
                assert!(ask(&mut zlib, &format!("inflate {bits}"), &[payload.to_vec()])[0] == *message);
            }
            // What it makes; it has no window of 8 bits.
            let payloads = ask(&mut zlib, &format!("deflate {} {level}", bits.max(9)), &messages);
            let (mut inflater, _) = halves(&Deflate::new().takeover(true), "permessage-deflate");
            for (payload, message) in payloads.iter().zip(&messages) {
                let mut out = BytesMut::new();
                inflater.push(payload, true, MUCH, &mut out).unwrap();
                assert!(out == *message, "{bits} bits");
            }
        }
    }
}

#[test]
fn websockets_of_python_is_a_client() {
    let Some(python) = skip::require_python("websockets") else { return };
    on_each(|kind| {
        for takeover in [false, true] {
            let deflate =
                Deflate::new().takeover(takeover).client_max_window_bits(if takeover { 15 } else { 11 });
            let worker = echo(kind, deflate);
            run(script(python.clone(), "websockets_deflate.py").args(["client", &worker.tcp().to_string()]));
        }
    });
}

#[test]
fn ws_of_node_is_a_client() {
    let Some(node) = skip::require("node") else { return };
    let Some(packages) = skip::require_node("ws") else { return };
    on_each(|kind| {
        for takeover in [false, true] {
            let worker = echo(kind, Deflate::new().takeover(takeover));
            let address = worker.tcp().to_string();
            run(script(node.clone(), "ws_deflate.mjs").arg(&packages).args(["client", &address]));
        }
    });
}

/// Talks to each server that a script starts.
fn talk_to_servers(command: &mut Command, settings: &[Deflate]) {
    let mut servers = Program::start(command);
    let mut talked = 0;
    loop {
        let line = servers.line().unwrap_or_else(|| panic!("ended: {:?}", servers.error_line()));
        if line == "end" {
            break;
        }
        for deflate in settings {
            talk(line.parse().unwrap(), deflate.clone());
        }
        talked += 1;
    }
    assert!(talked >= 12, "{talked}");
    servers.finish();
    assert!(servers.wait().success());
}

/// Those that every server can meet.
fn wanted() -> [Deflate; 3] {
    [Deflate::new(), Deflate::new().takeover(true), Deflate::new().takeover(true).client_max_window_bits(10)]
}

#[test]
fn websockets_of_python_is_a_server() {
    let Some(python) = skip::require_python("websockets") else { return };
    talk_to_servers(script(python, "websockets_deflate.py").arg("server"), &wanted());
}

#[test]
fn ws_of_node_is_a_server() {
    let Some(node) = skip::require("node") else { return };
    let Some(packages) = skip::require_node("ws") else { return };
    talk_to_servers(script(node, "ws_deflate.mjs").arg(&packages).arg("server"), &wanted());
}
