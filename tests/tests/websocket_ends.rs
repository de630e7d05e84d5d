//! How WebSocket connections end, in virtual time: races of closes, closes within messages, what comes behind.
#![forbid(unsafe_code)]

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use workerman_connection::{Client, Connection, Handlers, LoopHandle, Service, Settings};
use workerman_event::sim::{self, HostAddr, LinkOptions, Network};
use workerman_protocol::websocket::handshake::Hello;
use workerman_protocol::websocket::{Message, Websocket, WebsocketClient};
use workerman_tests::simulation::{Diary, event_loop, serve, settled, sleep, until};
use workerman_tests::websocket::codec::{Frame, op};
use workerman_tests::websocket::peer::Peer;

fn hosts(network: &Network) -> (HostAddr, HostAddr) {
    (network.host("server"), network.host("client"))
}

/// A server that writes down what it gets and how connections end, and does what messages say.
fn service(diary: &Diary) -> Service<Websocket> {
    let (opens, messages, closes, errors) = (diary.clone(), diary.clone(), diary.clone(), diary.clone());
    let handlers = Handlers::new()
        .on_open(move |_: &Connection<Websocket>, _| opens.note("server open"))
        .on_message(move |conn: &Connection<Websocket>, message: Message| {
            messages.note(format_args!("server got {message}"));
            match message.as_text() {
                Some("close") => conn.close_with_code(4000, "as you wish"),
                Some("send and close") => {
                    for n in 0..100 {
                        let _ = conn.send(format!("{n} {}", "x".repeat(n * 10)));
                    }
                    conn.close_with_code(4000, "as you wish");
                }
                Some("panic") => panic!("as you wish"),
                Some("abort") => conn.abort(),
                _ => {}
            }
        })
        .on_close(move |_: &Connection<Websocket>, reason| {
            closes.note(format_args!(
                "server closed {:?} {:?} by peer {} clean {}",
                reason.code(),
                reason.text(),
                reason.by_peer(),
                reason.is_clean()
            ));
        })
        .on_error(move |_: &Connection<Websocket>, error| errors.note(format_args!("server error {error}")));
    Service::new("test", Websocket::new, handlers, Settings::default())
}

/// A client of ours that writes down the same.
fn client(diary: &Diary, handle: &LoopHandle, server: HostAddr) -> Connection<WebsocketClient> {
    let (opens, messages, closes) = (diary.clone(), diary.clone(), diary.clone());
    Client::with(WebsocketClient::new(Hello::new("ws://server/").unwrap()), server.socket(80).to_string())
        .handlers(
            Handlers::new()
                .on_open(move |_: &Connection<WebsocketClient>, _| opens.note("client open"))
                .on_message(move |_: &Connection<WebsocketClient>, message: Message| {
                    messages.note(format_args!("client got {message}"));
                })
                .on_close(move |_: &Connection<WebsocketClient>, reason| {
                    closes.note(format_args!(
                        "client closed {:?} {:?} by peer {} clean {}",
                        reason.code(),
                        reason.text(),
                        reason.by_peer(),
                        reason.is_clean()
                    ));
                }),
        )
        .connect_on(handle)
        .unwrap()
}

async fn closed(diary: &Diary, handle: &LoopHandle, who: &str) -> Vec<String> {
    let line = format!("{who} closed");
    until("it is closed", || diary.has(&line)).await;
    // Once, and never again.
    sleep(60_000).await;
    settled(handle);
    let lines = diary.take();
    assert_eq!(lines.iter().filter(|text| text.starts_with(&line)).count(), 1, "{lines:?}");
    lines
}

#[test]
fn both_sides_close_at_once() {
    for seed in 0..30 {
        sim::block_on(seed, async |network| {
            let (server, here) = hosts(&network);
            let slow = Duration::from_millis(50)..=Duration::from_millis(60);
            network.set_between(server, here, LinkOptions { latency: slow, ..LinkOptions::default() });
            let diary = Diary::new(&network);
            let serving = serve(&network, server, 80, service(&diary));
            let dialing = event_loop(&network, here);
            let conn = client(&diary, &dialing, server);
            until("it is open", || diary.has("client open")).await;
            // The message is on its way when the client closes; the server's close frame and the client's pass each other.
            let _ = conn.send("close").unwrap();
            sleep(5 + seed).await;
            conn.close_with_code(4001, "mine");
            let lines = closed(&diary, &serving, "server").await;
            assert!(
                lines.contains(
                    &"server closed Some(4000) \"as you wish\" by peer false clean true".to_owned()
                ),
                "{lines:?}"
            );
            assert!(
                lines.contains(&"client closed Some(4001) \"mine\" by peer false clean true".to_owned()),
                "{lines:?}"
            );
            settled(&dialing);
        });
    }
}

#[test]
fn the_client_closes_and_both_know_why() {
    sim::block_on(2, async |network| {
        let (server, here) = hosts(&network);
        let diary = Diary::new(&network);
        let serving = serve(&network, server, 80, service(&diary));
        let dialing = event_loop(&network, here);
        let conn = client(&diary, &dialing, server);
        let _ = conn.send("first").unwrap();
        until("it is open", || diary.has("server got first")).await;
        let _ = conn.send("last").unwrap();
        conn.close_with_code(3001, "grüße");
        // What is still taken is not lost.
        let taken = conn.send("just in time").is_ok();
        let lines = closed(&diary, &serving, "client").await;
        assert!(lines.contains(&"server got last".to_owned()), "{lines:?}");
        assert_eq!(lines.contains(&"server got just in time".to_owned()), taken, "{lines:?}");
        assert!(
            lines.contains(&"server closed Some(3001) \"grüße\" by peer true clean true".to_owned()),
            "{lines:?}"
        );
        assert!(
            lines.contains(&"client closed Some(3001) \"grüße\" by peer false clean true".to_owned()),
            "{lines:?}"
        );
    });
}

#[test]
fn what_was_sent_before_a_close_arrives() {
    for seed in 0..10 {
        sim::block_on(seed, async |network| {
            let (server, here) = hosts(&network);
            let diary = Diary::new(&network);
            let serving = serve(&network, server, 80, service(&diary));
            let dialing = event_loop(&network, here);
            let conn = client(&diary, &dialing, server);
            let _ = conn.send("send and close").unwrap();
            let lines = closed(&diary, &serving, "client").await;
            let got: Vec<&String> = lines.iter().filter(|line| line.starts_with("client got")).collect();
            assert_eq!(got.len(), 100, "{lines:?}");
            for (n, line) in got.into_iter().enumerate() {
                assert_eq!(*line, format!("client got {n} {}", "x".repeat(n * 10)));
            }
            assert!(
                lines
                    .contains(&"client closed Some(4000) \"as you wish\" by peer true clean true".to_owned()),
                "{lines:?}"
            );
        });
    }
}

#[test]
fn a_close_within_a_message_forgets_the_message() {
    sim::block_on(2, async |network| {
        let (server, here) = hosts(&network);
        let diary = Diary::new(&network);
        let serving = serve(&network, server, 80, service(&diary));
        let mut peer = Peer::connect(&network, here, server, 80).await;
        peer.send(&Frame::text("begun").unfinished()).await;
        sleep(20).await;
        peer.send(&Frame::close(1001, "away")).await;
        peer.send(&Frame::new(op::MORE, " and ended")).await;
        peer.send(&Frame::text("late")).await;
        assert_eq!(peer.rest().await, [Frame::close(1001, "")]);
        drop(peer);
        let lines = closed(&diary, &serving, "server").await;
        assert_eq!(
            lines,
            ["server open", "server closed Some(1001) \"away\" by peer true clean true"],
            "{lines:?}"
        );
    });
}

#[test]
fn who_has_closed_takes_no_messages_and_answers_no_pings() {
    sim::block_on(2, async |network| {
        let (server, here) = hosts(&network);
        let diary = Diary::new(&network);
        let serving = serve(&network, server, 80, service(&diary));
        let mut peer = Peer::connect(&network, here, server, 80).await;
        peer.send(&Frame::text("close")).await;
        assert_eq!(peer.frame().await, Some(Frame::close(4000, "as you wish")));
        for _ in 0..50 {
            peer.send(&Frame::text("late")).await;
            peer.send(&Frame::new(op::PING, "late")).await;
            peer.send(&Frame::binary(vec![0; 1000]).unfinished()).await;
            peer.send(&Frame::new(op::MORE, "")).await;
        }
        peer.send(&Frame::close(4000, "")).await;
        assert_eq!(peer.rest().await, []);
        drop(peer);
        let lines = closed(&diary, &serving, "server").await;
        assert_eq!(
            lines,
            [
                "server open",
                "server got close",
                "server closed Some(4000) \"as you wish\" by peer false clean true"
            ]
        );
    });
}

#[test]
fn a_handler_that_panics_is_a_1011() {
    sim::block_on(2, async |network| {
        let (server, here) = hosts(&network);
        let diary = Diary::new(&network);
        let serving = serve(&network, server, 80, service(&diary));
        let mut peer = Peer::connect(&network, here, server, 80).await;
        peer.send(&Frame::text("panic")).await;
        let frames = peer.rest().await;
        assert_eq!(frames.last().and_then(Frame::code), Some(1011), "{frames:?}");
        drop(peer);
        let lines = closed(&diary, &serving, "server").await;
        assert!(lines.last().unwrap().starts_with("server closed Some(1011)"), "{lines:?}");
    });
}

#[test]
fn an_end_without_a_word_is_not_clean() {
    sim::block_on(2, async |network| {
        let (server, here) = hosts(&network);
        let diary = Diary::new(&network);
        let serving = serve(&network, server, 80, service(&diary));
        let peer = Peer::connect(&network, here, server, 80).await;
        drop(peer);
        let lines = closed(&diary, &serving, "server").await;
        assert_eq!(lines, ["server open", "server closed Some(1006) \"\" by peer true clean false"]);

        // Within a message, and within a frame.
        let mut peer = Peer::connect(&network, here, server, 80).await;
        peer.send(&Frame::text("begun").unfinished()).await;
        peer.stream.write_all(&[0x80]).await.unwrap();
        drop(peer);
        let lines = closed(&diary, &serving, "server").await;
        assert!(lines.last().unwrap().ends_with("by peer true clean false"), "{lines:?}");

        // Reset by the peer.
        let mut peer = Peer::connect(&network, here, server, 80).await;
        peer.send(&Frame::text("x")).await;
        until("it has arrived", || diary.has("server got x")).await;
        peer.stream.reset();
        let lines = closed(&diary, &serving, "server").await;
        assert!(lines.last().unwrap().ends_with("clean false"), "{lines:?}");

        // Reset by us.
        let mut peer = Peer::connect(&network, here, server, 80).await;
        peer.send(&Frame::text("abort")).await;
        assert_eq!(peer.rest().await, []);
        let lines = closed(&diary, &serving, "server").await;
        assert!(lines.last().unwrap().contains("by peer false"), "{lines:?}");
    });
}

#[test]
fn a_drain_says_that_the_server_goes_away_and_takes_what_was_sent_before() {
    sim::block_on(2, async |network| {
        let (server, here) = hosts(&network);
        let diary = Diary::new(&network);
        let serving = serve(&network, server, 80, service(&diary));
        let mut peer = Peer::connect(&network, here, server, 80).await;
        until("it is open", || diary.has("server open")).await;
        let draining = serving.clone();
        drop(workerman_event::spawn(async move {
            let _ = draining.drain(Duration::from_secs(20)).await;
        }));
        let close = peer.frame().await.unwrap();
        assert_eq!(close.code(), Some(1001), "{close:?}");
        peer.send(&Frame::text("sent before it knew")).await;
        peer.send(&Frame::close(1001, "")).await;
        assert_eq!(peer.rest().await, []);
        drop(peer);
        until("it is closed", || diary.has("server closed")).await;
        let lines = diary.take();
        assert_eq!(lines[1], "server got sent before it knew", "{lines:?}");
        assert!(lines[2].starts_with("server closed Some(1001)"), "{lines:?}");
        assert!(lines[2].ends_with("by peer false clean true"), "{lines:?}");
    });
}
