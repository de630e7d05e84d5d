//! The order of WebSocket's callbacks and of what is sent inside of them, and receivers that are slow, in virtual time.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use workerman_connection::{Client, Connection, Handlers, Service, Settings};
use workerman_event::sim::{self, HostAddr, Network};
use workerman_protocol::websocket::handshake::{Accept, Hello};
use workerman_protocol::websocket::{Event, Message, Outgoing, Websocket, WebsocketClient};
use workerman_tests::simulation::{Diary, event_loop, listen, settled, sleep, until};
use workerman_tests::websocket::codec::{Frame, op};
use workerman_tests::websocket::peer::Peer;

fn hosts(network: &Network) -> (HostAddr, HostAddr) {
    (network.host("server"), network.host("client"))
}

#[test]
fn callbacks_come_in_order_and_what_they_send_leaves_in_order() {
    for seed in 0..20 {
        sim::block_on(seed, async |network| {
            let (server, client) = hosts(&network);
            let diary = Diary::new(&network);
            let [connects, handshakes, messages, closes] = [(); 4].map(|()| diary.clone());
            let handlers = Handlers::<Websocket>::new()
                .on_connect(move |conn: &Connection<Websocket>| {
                    connects.note("connect");
                    let _ = conn.send("from connect").unwrap();
                    let _ = conn.send(Outgoing::ping("from connect")).unwrap();
                })
                .on_event(move |conn: &Connection<Websocket>, event| match event {
                    Event::Handshake(handshake) => {
                        handshakes.note("handshake");
                        let _ = conn.send("from handshake").unwrap();
                        // Somebody else decides, a little later; and sends before that.
                        let (conn, diary) = (conn.clone(), handshakes.clone());
                        drop(workerman_event::spawn(async move {
                            sleep(100).await;
                            let _ = conn.send("before the decision").unwrap();
                            diary.note("decided");
                            handshake.accept(Accept::new()).unwrap();
                        }));
                    }
                    Event::Open(_) => {
                        handshakes.note("open");
                        let _ = conn.send("from open").unwrap();
                    }
                    Event::Ping(payload) => {
                        handshakes.note(format_args!("ping {}", payload.len()));
                        let _ = conn.send("from ping").unwrap();
                    }
                    other => panic!("{other:?}"),
                })
                .on_message(move |conn: &Connection<Websocket>, message: Message| {
                    messages.note(format_args!("message {message}"));
                    let _ = conn.send(format!("from {message}")).unwrap();
                    format!("answer to {message}")
                })
                .on_close(move |_: &Connection<Websocket>, _| closes.note("close"));
            let handle = event_loop(&network, server);
            let service = Service::new("test", || Websocket::new().ask(true), handlers, Settings::default());
            listen(&network, &handle, server, 80, service);
            // The client waits for nothing: its messages may come before the decision.
            let mut peer = Peer::connect(&network, client, server, 80).await;
            let together = [
                peer.bytes(&Frame::text("one")),
                peer.bytes(&Frame::new(op::PING, "abc")),
                peer.bytes(&Frame::text("two")),
                peer.bytes(&Frame::close(1000, "")),
            ];
            tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &together.concat()).await.unwrap();
            assert_eq!(
                peer.rest().await,
                [
                    Frame::text("from connect"),
                    Frame::new(op::PING, "from connect"),
                    Frame::text("from handshake"),
                    Frame::text("before the decision"),
                    Frame::text("from open"),
                    Frame::text("from one"),
                    Frame::text("answer to one"),
                    Frame::new(op::PONG, "abc"),
                    Frame::text("from ping"),
                    Frame::text("from two"),
                    Frame::text("answer to two"),
                    Frame::close(1000, ""),
                ]
            );
            drop(peer);
            until("it is closed", || diary.has("close")).await;
            sleep(60_000).await;
            assert_eq!(
                diary.take(),
                ["connect", "handshake", "decided", "open", "message one", "ping 3", "message two", "close"]
            );
            settled(&handle);
        });
    }
}

#[test]
fn a_client_queues_until_it_is_open() {
    sim::block_on(4, async |network| {
        let (server, here) = hosts(&network);
        let listener = network.listen(server, 80).unwrap();
        let diary = Diary::new(&network);
        let dialing = event_loop(&network, here);
        let [connects, opens, messages, closes] = [(); 4].map(|()| diary.clone());
        let protocol = WebsocketClient::new(Hello::new("ws://server/").unwrap());
        let conn = Client::with(protocol, server.socket(80).to_string())
            .handlers(
                Handlers::new()
                    .on_connect(move |conn: &Connection<WebsocketClient>| {
                        connects.note("connect");
                        let _ = conn.send("from connect").unwrap();
                    })
                    .on_open(move |conn: &Connection<WebsocketClient>, _| {
                        opens.note("open");
                        let _ = conn.send("from open").unwrap();
                    })
                    .on_message(move |_: &Connection<WebsocketClient>, message: Message| {
                        messages.note(format_args!("message {message}"));
                    })
                    .on_close(move |_: &Connection<WebsocketClient>, _| closes.note("close")),
            )
            .connect_on(&dialing)
            .unwrap();
        let _ = conn.send("while dialing").unwrap();
        let stream = listener.accept().await.unwrap();
        sleep(500).await;
        let _ = conn.send("while shaking hands").unwrap();
        let mut peer = Peer::accept(stream).await;
        // Together with the answer, as far as the network likes.
        peer.send(&Frame::text("at once")).await;
        let mut first = Vec::new();
        for _ in 0..4 {
            first.push(peer.frame().await.unwrap());
        }
        let texts: Vec<&str> =
            first.iter().map(|frame| std::str::from_utf8(&frame.payload).unwrap()).collect();
        assert_eq!(texts, ["while dialing", "from connect", "while shaking hands", "from open"]);
        peer.send(&Frame::close(1000, "")).await;
        assert_eq!(peer.frame().await, Some(Frame::close(1000, "")));
        drop(peer);
        until("it is closed", || diary.has("close")).await;
        assert_eq!(diary.take(), ["connect", "open", "message at once", "close"]);
    });
}

#[test]
fn a_slow_receiver_slows_nobody_else() {
    sim::block_on(9, async |network| {
        let (server, client) = hosts(&network);
        let handle = event_loop(&network, server);
        let settings = Settings { high_water: 64 * 1024, write_timeout: None, ..Settings::default() };
        let service = Arc::new(Service::new("test", Websocket::new, Handlers::new(), settings));
        let listener = network
            .bind(server, std::net::SocketAddr::from(([0, 0, 0, 0], 80)), &Default::default())
            .unwrap();
        handle.listen(Arc::clone(&service), listener.into()).unwrap();
        let mut slow = Peer::connect(&network, client, server, 80).await;
        let mut quick = Vec::new();
        for _ in 0..10 {
            quick.push(Peer::connect(&network, client, server, 80).await);
        }
        until("all are there", || service.len() == 11).await;
        let readers: Vec<_> = quick
            .into_iter()
            .map(|mut peer| {
                workerman_event::spawn(async move {
                    for n in 0..500 {
                        let frame = peer.frame().await.expect("all of them");
                        assert!(frame.payload.starts_with(format!("{n} ").as_bytes()), "{n}");
                    }
                    peer
                })
            })
            .collect();
        let mut refused = 0;
        for n in 0..500 {
            let sent = service.broadcast(format!("{n} {}", "x".repeat(4000))).unwrap();
            assert!(sent.refused <= 1 && sent.sent >= 10, "{sent:?}");
            refused += sent.refused;
            sleep(5).await;
        }
        assert!(refused > 0, "the slow one was never full");
        for reader in readers {
            let _ = tokio::time::timeout(Duration::from_secs(10), reader).await.expect("nobody waits");
        }
        // What it was promised it gets, in order and whole.
        let mut last = None;
        for _ in 0..500 - refused {
            let frame = slow.frame().await.unwrap();
            let text = String::from_utf8(frame.payload).unwrap();
            let n: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert!(last < Some(n), "{n} behind {last:?}");
            last = Some(n);
        }
        slow.send(&Frame::new(op::PING, "still there")).await;
        assert_eq!(slow.frame().await, Some(Frame::new(op::PONG, "still there")));
    });
}

#[test]
fn a_flood_of_pings_of_who_does_not_read_is_bounded() {
    sim::block_on(9, async |network| {
        let (server, client) = hosts(&network);
        let handle = event_loop(&network, server);
        let handlers = Handlers::new().on_message(|_: &Connection<Websocket>, message: Message| message);
        let settings = Settings { write_timeout: None, ..Settings::default() };
        listen(&network, &handle, server, 80, Service::new("test", Websocket::new, handlers, settings));
        let mut peer = Peer::connect(&network, client, server, 80).await;
        let ping = peer.bytes(&Frame::new(op::PING, vec![b'x'; 125]));
        let flood = ping.repeat(100);
        for _ in 0..200 {
            // It stops to read, or it owes no more than one: it never piles them up.
            let written = tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &flood);
            if tokio::time::timeout(Duration::from_millis(100), written).await.is_err() {
                break;
            }
            let queued = handle.snapshot().bytes_queued;
            assert!(queued < 512 * 1024, "{queued} bytes are queued");
        }
    });
}
