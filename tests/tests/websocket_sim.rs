//! WebSocket in virtual time: the order of callbacks over bad links, and a stop that does not tell everybody at once.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use workerman::prelude::*;
use workerman::sim::{LinkOptions, Sim, Wire};
use workerman_tests::websocket_peer::{frame, hello, parse};

/// What has happened, in order.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// The next frame of the server.
async fn next(wire: &mut Wire, read: &mut Vec<u8>) -> (u8, Vec<u8>) {
    loop {
        if let Some((first, payload, length)) = parse(read) {
            read.drain(..length);
            return (first, payload);
        }
        read.extend_from_slice(&wire.bytes(1).await);
    }
}

/// Opens a connection.
async fn open(wire: &mut Wire) {
    wire.send(hello("/", &[]).as_bytes()).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend_from_slice(&wire.bytes(1).await);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn callbacks_come_in_order_over_links_that_cut_everything() {
    for seed in 1..6 {
        let notes = Notes::default();
        let [connect, handshake, opened, message, close] = std::array::from_fn(|_| notes.clone());
        let worker = Worker::websocket("0.0.0.0:80")
            .on_connect(move |conn| {
                connect.note("connect");
                conn.send("1")
            })
            .on_handshake_async(async move |conn, _| {
                handshake.note("handshake");
                let _ = conn.send("2").unwrap();
                sleep(Duration::from_secs(3)).await.unwrap();
                let _ = conn.send("3").unwrap();
                handshake.note("decided");
            })
            .on_open(move |_, _| {
                opened.note("open");
                "4"
            })
            .on_message(move |_, text| {
                message.note(text.to_string());
                text
            })
            .on_close(move |_, reason| close.note(format!("close {:?}", reason.code())));
        let links = LinkOptions {
            segment: 1..=7,
            latency: Duration::from_millis(1)..=Duration::from_millis(200),
            ..LinkOptions::default()
        };
        let client = async |peer: workerman::sim::Peer| {
            let mut wire = peer.connect().await;
            // All at once, while the handshake is decided about.
            wire.send(&[hello("/", &[]).into_bytes(), frame(1, b"5"), frame(8, b"\x03\xe9")].concat()).await;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.extend_from_slice(&wire.bytes(1).await);
            }
            let mut read = Vec::new();
            for expected in ["1", "2", "3", "4", "5"] {
                assert_eq!(next(&mut wire, &mut read).await, (0x81, expected.into()));
            }
            assert_eq!(next(&mut wire, &mut read).await, (0x88, b"\x03\xe9".to_vec()));
        };
        Sim::seed(seed).links(links).worker(worker).client("guest", client).run();
        assert_eq!(notes.all(), ["connect", "handshake", "decided", "open", "5", "close Some(1001)"]);
    }
}

#[test]
fn a_worker_that_stops_does_not_tell_everybody_at_once() {
    const CLIENTS: usize = 300;
    let told: Arc<Mutex<BTreeMap<Duration, usize>>> = Arc::default();
    let notes = Arc::clone(&told);
    let worker = Worker::websocket("0.0.0.0:80").name("socket").stop_timeout(Duration::from_secs(2));
    let client = async move |peer: workerman::sim::Peer| {
        let mut wires = Vec::new();
        for _ in 0..CLIENTS {
            let mut wire = peer.connect().await;
            open(&mut wire).await;
            wires.push(wire);
        }
        let begin = tokio::time::Instant::now();
        peer.scene().stop("socket");
        for mut wire in wires {
            let notes = Arc::clone(&notes);
            let waiting = workerman::spawn(async move {
                let mut read = Vec::new();
                let (first, payload) = next(&mut wire, &mut read).await;
                assert_eq!((first, &payload[..2]), (0x88, &b"\x03\xe9"[..]));
                *notes.lock().unwrap().entry(begin.elapsed()).or_default() += 1;
                wire.send(&frame(8, b"\x03\xe9")).await;
                assert!(wire.rest().await.unwrap().is_empty());
            });
            drop(waiting);
        }
        peer.sleep(Duration::from_secs(3)).await;
    };
    Sim::seed(1).worker(worker).client("crowd", client).run();
    let told = told.lock().unwrap().clone();
    assert_eq!(told.values().sum::<usize>(), CLIENTS, "{told:?}");
    assert!(told.len() >= 4 && told.values().all(|many| *many <= 64), "{told:?}");
    // Half of the time is left for their answers.
    assert!(*told.keys().last().unwrap() <= Duration::from_secs(1), "{told:?}");
}
