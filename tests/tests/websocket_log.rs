//! A page that is refused leaves a line in the log that says who, where, and what to do about it.
#![forbid(unsafe_code)]

use std::io::Write;
use std::sync::{Arc, Mutex};

use workerman::prelude::*;
use workerman_tests::websocket_peer::{Peer, hello};
use workerman_tests::workers::{on_each, start};

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_refused_page_is_in_the_log() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    on_each(|kind| {
        let upgrades = Worker::websocket_upgrades().upgrades();
        let page = Worker::http("127.0.0.1:0").on_message(move |_, request| request.upgrade(&upgrades));
        let (socket, page) = (start(kind, Worker::websocket("127.0.0.1:0")), start(kind, page));
        for address in [socket.tcp(), page.tcp()] {
            log.0.lock().unwrap().clear();
            let mut peer = Peer::connect(address);
            peer.say(hello("/", &["Origin: https://evil.example", "Cookie: id=1"]).as_bytes());
            assert!(peer.head().starts_with("HTTP/1.1 403 "));
            let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            let line =
                text.lines().find(|line| line.contains("refused a WebSocket handshake")).expect("a line");
            for what in ["WARN", "https://evil.example", "localhost", "origins("] {
                assert!(line.contains(what), "no {what} in {line}");
            }
        }
        // What is no matter of the settings is not.
        log.0.lock().unwrap().clear();
        let mut peer = Peer::connect(socket.tcp());
        peer.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(peer.rest().starts_with("HTTP/1.1 426 "));
        assert!(log.0.lock().unwrap().is_empty());
    });
}
