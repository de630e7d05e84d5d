//! `Client::websocket`: against a worker, and against servers by hand that refuse.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use workerman::prelude::*;
use workerman::websocket::{self, CloseCode, HandshakeError};
use workerman::{Connection, ConnectionError};
use workerman_tests::workers::{PATIENCE, on_each, start};

fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn a_client_says_and_hears_everything_in_order() {
    on_each(|kind| {
        let worker = start(
            kind,
            Worker::websocket("127.0.0.1:0")
                .protocols(["chat"])
                .on_handshake(|_, request| {
                    assert_eq!(request.cookie("id"), Some("7"));
                    assert_eq!(request.header("origin"), Some("http://localhost"));
                })
                .origins(["http://localhost"])
                .on_open(|conn, open| {
                    conn.send(format!("{} {:?}", open.request().unwrap().target(), open.protocol()))
                })
                .on_message(|_, message| message),
        );
        let (told, tells) = channel();
        let note = move |what: String| told.send(what).unwrap();
        let conn = Client::websocket(format!("ws://{}/a?b=c", worker.tcp()))
            .protocols(["soap", "chat"])
            .header("cookie", "id=7")
            .header("origin", "http://localhost")
            .on_connect({
                let note = note.clone();
                move |conn| {
                    note("connect".into());
                    conn.send("from connect")
                }
            })
            .on_open({
                let note = note.clone();
                move |conn, open| {
                    note(format!("open {} {:?}", open.response().unwrap().status(), open.protocol()));
                    conn.send(Message::from(vec![1, 2, 3]))
                }
            })
            .on_message({
                let note = note.clone();
                move |_, message| {
                    note(format!("message {} {message}", if message.is_text() { "text" } else { "bytes" }));
                }
            })
            .on_pong({
                let note = note.clone();
                move |_, payload| note(format!("pong {payload:?}"))
            })
            .on_close(move |_, reason| {
                note(format!(
                    "close {:?} clean {} by peer {}",
                    reason.code(),
                    reason.is_clean(),
                    reason.by_peer()
                ));
            })
            .connect()
            .unwrap();
        // Before it is connected.
        let _ = conn.send("at once").unwrap();
        let mut seen: Vec<_> = (0..6).map(|_| next(&tells)).collect();
        assert_eq!(seen.remove(0), "connect");
        assert_eq!(seen.remove(0), "open 101 Switching Protocols Some(\"chat\")");
        assert_eq!(seen[0], "message text /a?b=c Some(\"chat\")");
        assert_eq!(
            seen[1..],
            ["message text at once", "message text from connect", "message bytes \u{1}\u{2}\u{3}"]
        );
        let _ = conn.send(Outgoing::Ping(Bytes::from_static(b"?"))).unwrap();
        assert_eq!(next(&tells), "pong b\"?\"");
        conn.close_with_code(CloseCode::NORMAL.get(), "done");
        assert_eq!(next(&tells), "close Some(1000) clean true by peer false");
    });
}

/// A server by hand: answers each connection with these bytes, after it has read the head of the request.
fn answering(answers: Vec<String>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move |answer: String| {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = head(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
        request
    };
    (address, std::thread::spawn(move || answers.into_iter().map(serve).collect()))
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// What a client's `on_error` is told, as the error of its handshake.
fn refused(answer: &str) -> HandshakeError {
    let (address, server) = answering(vec![answer.to_owned()]);
    let (told, tells) = channel();
    let _conn: Connection<WebsocketClient> = Client::websocket(format!("ws://{address}/"))
        .on_open(|_, _| -> () { panic!("it is not open") })
        .on_error(move |_, error| {
            let ConnectionError::Protocol(source) = error else { panic!("{error}") };
            let Some(websocket::Error::Handshake(error)) = source.downcast_ref() else { panic!("{source}") };
            told.send(error.clone()).unwrap();
        })
        .connect()
        .unwrap();
    let error = next(&tells);
    server.join().unwrap();
    error
}

#[test]
fn refusals_and_redirects_carry_what_the_server_says() {
    let HandshakeError::Refused(refusal) =
        refused("HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\nX-Why: so\r\n\r\nwho are you?")
    else {
        panic!("it is refused")
    };
    assert_eq!((refusal.status().as_u16(), refusal.body().as_ref()), (401, &b"who are you?"[..]));
    assert_eq!(refusal.headers().get_str("x-why"), Some("so"));
    let HandshakeError::Refused(redirect) =
        refused("HTTP/1.1 302 Found\r\nLocation: ws://elsewhere/\r\n\r\n")
    else {
        panic!("it is refused")
    };
    assert_eq!(redirect.location(), Some("ws://elsewhere/"));
    let wrong = refused(
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    assert!(matches!(wrong, HandshakeError::Answer(_)), "{wrong}");
    assert!(matches!(refused(""), HandshakeError::Ended));
}

#[test]
fn mistakes_are_found_before_anything_is_connected() {
    let mistake = |client: Client<WebsocketClient>| client.connect().unwrap_err().to_string();
    let tls = mistake(Client::websocket("wss://localhost/"));
    assert!(tls.contains("wss://localhost/") && tls.contains("TLS layer"), "{tls}");
    assert!(mistake(Client::websocket("http://localhost/")).contains("ws://"));
    assert!(mistake(Client::websocket("ws://local host/")).contains("host"));
    for client in [
        Client::websocket("ws://localhost").header("sec-websocket-key", "x"),
        Client::websocket("ws://localhost").header("x", "a\r\nb: c"),
        Client::websocket("ws://localhost").protocols(["a b"]),
    ] {
        let field = mistake(client);
        assert!(field.contains("bad header field"), "{field}");
    }
}

#[test]
fn a_client_that_reconnects_does_its_handshake_again() {
    on_each(|kind| {
        let worker = start(
            kind,
            Worker::websocket("127.0.0.1:0").on_message(|conn, message| {
                if message.as_text() == Some("leave") {
                    conn.close_with_code(1012, "restart");
                    return None;
                }
                Some(message)
            }),
        );
        let (told, tells) = channel();
        let note = move |what: String| told.send(what).unwrap();
        let policy = Reconnect { first: Duration::from_millis(5), ..Reconnect::default() };
        let conn = Client::websocket(format!("ws://{}", worker.tcp()))
            .reconnect(policy)
            .on_open({
                let note = note.clone();
                move |conn, _| {
                    note("open".into());
                    conn.send("hello")
                }
            })
            .on_message({
                let note = note.clone();
                move |conn, message| {
                    note(message.to_string());
                    conn.send("leave")
                }
            })
            .on_close(move |_, reason| note(format!("close {:?}", reason.code())))
            .connect()
            .unwrap();
        for _ in 0..3 {
            assert_eq!([next(&tells), next(&tells), next(&tells)], ["open", "hello", "close Some(1012)"]);
        }
        conn.close();
    });
}

#[cfg(unix)]
#[test]
fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix://{}", folder.path().join("socket").display());
    on_each(|kind| {
        let _worker = start(kind, Worker::websocket(&address).on_message(|_, message| message));
        let (told, tells) = channel();
        let conn = Client::websocket(&address)
            .on_message(move |_, message| told.send(message.to_string()).unwrap())
            .connect()
            .unwrap();
        let _ = conn.send("by a file").unwrap();
        assert_eq!(next(&tells), "by a file");
        conn.close();
    });
}
