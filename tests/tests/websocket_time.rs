//! WebSocket in virtual time: heartbeats, half-open peers, deadlines.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_connection::{Client, Connection, Handlers, Service, Settings};
use workerman_event::sim::{self, HostAddr, Network};
use workerman_protocol::websocket::handshake::{Handshake, Hello};
use workerman_protocol::websocket::{Event, Websocket, WebsocketClient};
use workerman_tests::simulation::{Diary, GRANULE, event_loop, serve, settled, sleep, until};
use workerman_tests::websocket::codec::{Frame, op};
use workerman_tests::websocket::opening;
use workerman_tests::websocket::peer::Peer;

const SECOND: Duration = Duration::from_secs(1);

fn service(diary: &Diary, websocket: Websocket, settings: Settings) -> Service<Websocket> {
    let messages = diary.clone();
    let handlers = diary
        .handlers("server")
        .on_message(move |_: &Connection<Websocket>, message| messages.note(format_args!("got {message}")));
    Service::new("test", move || websocket.clone(), handlers, settings)
}

fn hosts(network: &Network) -> (HostAddr, HostAddr) {
    (network.host("server"), network.host("client"))
}

#[test]
fn a_silent_peer_is_pinged_and_dropped_when_it_does_not_answer() {
    for seed in 0..20 {
        sim::block_on(seed, async |network| {
            let (server, client) = hosts(&network);
            let diary = Diary::new(&network);
            let handle = serve(&network, server, 80, service(&diary, Websocket::new(), Settings::default()));
            let mut peer = Peer::connect(&network, client, server, 80).await;
            let opened = network.elapsed();
            assert_eq!(peer.frame().await, Some(Frame::new(op::PING, "")));
            let pinged = network.elapsed() - opened;
            assert!(pinged >= 26 * SECOND && pinged <= 30 * SECOND + 5 * GRANULE, "{pinged:?}");
            // Nothing else comes before the end.
            assert_eq!(peer.frame().await, None);
            let ended = network.elapsed() - opened - pinged;
            assert!(ended >= 9 * SECOND && ended <= 10 * SECOND + 5 * GRANULE, "{ended:?}");
            drop(peer);
            until("the server has closed", || diary.has("server closed")).await;
            assert!(diary.has("server error"), "{diary:?}");
            settled(&handle);
        });
    }
}

#[test]
fn pings_of_many_are_spread() {
    sim::block_on(7, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let _handle = serve(&network, server, 80, service(&diary, Websocket::new(), Settings::default()));
        let times: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let mut tasks = Vec::new();
        for _ in 0..100 {
            let (network, times) = (network.clone(), Arc::clone(&times));
            tasks.push(workerman_event::spawn(async move {
                let mut peer = Peer::connect(&network, client, server, 80).await;
                assert_eq!(peer.frame().await.unwrap().opcode, op::PING);
                times.lock().unwrap().push(network.elapsed());
            }));
        }
        until("all are pinged", || times.lock().unwrap().len() == 100).await;
        let tenths: BTreeSet<u128> =
            times.lock().unwrap().iter().map(|time| time.as_millis() / 100).collect();
        assert!(tenths.len() >= 15, "pings in only {} tenths of a second", tenths.len());
    });
}

#[test]
fn traffic_postpones_the_ping_and_pongs_keep_a_connection() {
    sim::block_on(3, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let handle = serve(&network, server, 80, service(&diary, Websocket::new(), Settings::default()));
        let mut peer = Peer::connect(&network, client, server, 80).await;
        for n in 0..20 {
            // Any byte is a sign of life: messages, pongs, parts of frames.
            let bytes = match n % 4 {
                0 => peer.bytes(&Frame::text("x")),
                1 => peer.bytes(&Frame::new(op::PONG, "")),
                2 => peer.bytes(&Frame::text("in two parts"))[..8].to_vec(),
                _ => peer.bytes(&Frame::text("in two parts"))[8..].to_vec(),
            };
            peer.stream.write_all(&bytes).await.unwrap();
            let silence = tokio::time::timeout(20 * SECOND, peer.frame()).await;
            assert!(silence.is_err(), "{silence:?}");
        }
        for _ in 0..20 {
            let ping = peer.frame().await;
            assert_eq!(ping, Some(Frame::new(op::PING, "")));
            sleep(8_000).await;
            peer.send(&Frame::new(op::PONG, "")).await;
        }
        assert_eq!(handle.snapshot().connections, 1);
        peer.send(&Frame::close(1000, "")).await;
        assert_eq!(peer.rest().await, [Frame::close(1000, "")]);
        drop(peer);
        until("the server has closed", || diary.has("server closed")).await;
        assert!(!diary.has("server error"), "{diary:?}");
    });
}

#[test]
fn without_a_heartbeat_silence_is_no_reason() {
    sim::block_on(3, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let settings = Settings { idle_timeout: None, ..Settings::default() };
        let handle = serve(&network, server, 80, service(&diary, Websocket::new().no_heartbeat(), settings));
        let mut peer = Peer::connect(&network, client, server, 80).await;
        let silence = tokio::time::timeout(3600 * SECOND, peer.frame()).await;
        assert!(silence.is_err(), "{silence:?}");
        peer.send(&Frame::new(op::PING, "still there")).await;
        assert_eq!(peer.frame().await, Some(Frame::new(op::PONG, "still there")));
        assert_eq!(handle.snapshot().connections, 1);
    });
}

#[test]
fn half_open_connections_are_found_on_both_sides() {
    sim::block_on(11, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let serving = serve(&network, server, 80, service(&diary, Websocket::new(), Settings::default()));
        let dialing = event_loop(&network, client);
        let opens = diary.clone();
        let protocol = WebsocketClient::new(Hello::new("ws://server/").unwrap());
        let handlers = diary
            .handlers("client")
            .on_open(move |_: &Connection<WebsocketClient>, _| opens.note("client open"));
        let _conn = Client::with(protocol, server.socket(80).to_string())
            .handlers(handlers)
            .connect_on(&dialing)
            .unwrap();
        until("it is open", || diary.has("client open")).await;
        // Heartbeats of both sides go on for minutes, then nothing arrives any more, and nobody says so.
        sleep(300_000).await;
        assert!(!diary.has("server closed") && !diary.has("client closed"), "{diary:?}");
        let cut = network.elapsed();
        network.partition(server, client);
        until("both have noticed", || diary.has("server closed") && diary.has("client closed")).await;
        for who in ["server closed", "client closed"] {
            let after = diary.time_of(who).unwrap() - cut;
            // 30 s of silence, 10 s for the answer, and what it takes to give up a stream.
            assert!(after <= 60 * SECOND, "{who} {after:?}");
        }
        settled(&serving);
    });
}

#[test]
fn a_request_that_does_not_end_is_told_so() {
    sim::block_on(5, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let handle = serve(&network, server, 80, service(&diary, Websocket::new(), Settings::default()));
        let mut stream = network.connect(client, server.socket(80)).await.unwrap();
        let request = opening::request("");
        let begun = network.elapsed();
        let mut answer = Vec::new();
        for byte in &request.as_bytes()[..request.len() - 2] {
            // A slow sender cannot stretch it.
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            if let Ok(read) = tokio::time::timeout(SECOND, stream.read_buf(&mut answer)).await {
                read.unwrap();
                break;
            }
        }
        let waited = network.elapsed() - begun;
        assert!(waited >= 10 * SECOND && waited <= 11 * SECOND, "{waited:?}");
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
        drop(stream);
        until("the server has closed", || diary.has("server closed")).await;
        settled(&handle);
    });
}

#[test]
fn an_application_that_does_not_decide_is_a_503_after_ten_seconds() {
    sim::block_on(5, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let kept: Arc<Mutex<Vec<Handshake>>> = Arc::default();
        let keep = Arc::clone(&kept);
        let handlers: Handlers<Websocket> =
            diary.handlers("server").on_event(move |_: &Connection<Websocket>, event| {
                if let Event::Handshake(handshake) = event {
                    keep.lock().unwrap().push(handshake);
                }
            });
        let make = || Websocket::new().ask(true);
        let handle = serve(&network, server, 80, Service::new("test", make, handlers, Settings::default()));
        let mut stream = network.connect(client, server.socket(80)).await.unwrap();
        let begun = network.elapsed();
        stream.write_all(opening::request("").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let waited = network.elapsed() - begun;
        assert!(waited >= 10 * SECOND && waited <= 10 * SECOND + 5 * GRANULE, "{waited:?}");
        assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&answer));
        assert!(kept.lock().unwrap().pop().unwrap().is_gone());
        drop(stream);
        until("the server has closed", || diary.has("server closed")).await;
        settled(&handle);
    });
}

#[test]
fn a_close_that_nobody_answers_has_an_end() {
    sim::block_on(5, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let websocket = Websocket::new();
        let handlers = diary
            .handlers("server")
            .on_message(|conn: &Connection<Websocket>, _| conn.close_with_code(4000, "enough"));
        let service = Service::new("test", move || websocket.clone(), handlers, Settings::default());
        let handle = serve(&network, server, 80, service);
        let mut peer = Peer::connect(&network, client, server, 80).await;
        peer.send(&Frame::text("x")).await;
        assert_eq!(peer.frame().await, Some(Frame::close(4000, "enough")));
        let closing = network.elapsed();
        // It sends on and on, but no close frame.
        while peer.stream.write_all(&Frame::text("y").bytes(Some([1; 4]))).await.is_ok() {
            sleep(500).await;
            assert!(network.elapsed() - closing < 60 * SECOND, "it has no end");
        }
        until("the server has closed", || diary.has("server closed")).await;
        let waited = diary.time_of("server closed").unwrap() - closing;
        let most = Settings::default().close_timeout + Settings::default().linger + SECOND;
        assert!(waited <= most, "{waited:?} of {most:?}");
        drop(peer);
        until("all is gone", || handle.snapshot().connections == 0).await;
    });
}
