//! Clients in virtual time: connecting, giving up, coming back.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_connection::{
    BoxError, Client, Connection, Layer, LoopHandle, Received, Reconnect, SendError, Sent, Settings,
};
use workerman_event::sim::{self, HostAddr, Network};
use workerman_protocol::{Context, Decoded, Event, Outbox, Protocol, Raw};
use workerman_tests::simulation::{Diary, GRANULE, event_loop, read_all, settled, sleep, until};

const SECOND: Duration = Duration::from_secs(1);

/// A loop of a client, and a server that does not listen yet.
fn rig(network: &Network) -> (LoopHandle, HostAddr, Diary) {
    let server = network.host("server");
    (event_loop(network, network.host("client")), server, Diary::new(network))
}

fn client(diary: &Diary, address: &str) -> Client<Raw> {
    Client::tcp(address).handlers(diary.handlers("client"))
}

fn policy(max_attempts: Option<u32>) -> Reconnect {
    Reconnect { first: Duration::from_millis(100), cap: SECOND, max_attempts }
}

/// The times between lines that begin so.
fn gaps(lines: &[(Duration, String)], beginning: &str) -> Vec<Duration> {
    let times: Vec<_> =
        lines.iter().filter(|(_, line)| line.starts_with(beginning)).map(|(at, _)| *at).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn the_pauses_double_up_to_the_cap_and_are_jittered() {
    let mut first = Vec::new();
    for seed in 0..10 {
        sim::block_on(seed, async |network| {
            let (handle, server, diary) = rig(&network);
            let conn = client(&diary, &server.socket(80).to_string())
                .reconnect(policy(Some(8)))
                .connect_on(&handle)
                .unwrap();
            conn.closed().await;
            let lines = diary.take_timed();
            let gaps = gaps(&lines, "client error");
            assert_eq!(gaps.len(), 7, "{lines:?}");
            for (gap, full) in gaps.iter().zip([100, 200, 400, 800, 1000, 1000, 1000]) {
                let full = Duration::from_millis(full);
                assert!(*gap >= full / 2 && *gap <= full + GRANULE, "{gap:?} for {full:?}");
            }
            first.push(gaps[6]);
            assert_eq!(lines.last().unwrap().1, "client closed: connect failed");
            assert!(conn.is_closed());
            settled(&handle);
        });
    }
    first.dedup();
    assert!(first.len() > 5, "different loops come back at different times: {first:?}");
}

#[test]
fn a_failure_names_host_address_and_cause() {
    sim::block_on(1, async |network| {
        let (handle, server, diary) = rig(&network);
        for address in ["server:80", "nowhere.test:80"] {
            client(&diary, address).connect_on(&handle).unwrap().closed().await;
        }
        let lines = diary.take();
        let refused = format!("client error: cannot connect to server:80 ({}): ", server.socket(80));
        assert!(lines[0].starts_with(&refused), "{lines:?}");
        assert_eq!(lines[1], "client closed: connect failed");
        assert!(lines[2].starts_with("client error: cannot connect to nowhere.test:80: "), "{lines:?}");
        assert_eq!(lines[3], "client closed: connect failed");
    });
}

#[test]
fn a_connect_ends_at_its_timeout() {
    sim::block_on(1, async |network| {
        let (handle, server, diary) = rig(&network);
        network.partition(server, network.host("client"));
        let conn = client(&diary, "server:80").connect_on(&handle).unwrap();
        conn.closed().await;
        let took = network.elapsed();
        assert!(took >= 10 * SECOND && took <= 10 * SECOND + GRANULE, "{took:?}");
        let lines = diary.take();
        assert!(lines[0].ends_with("no answer within the connect timeout"), "{lines:?}");
        assert_eq!(network.open_descriptors(network.host("client")), 0);

        // A look-up that hangs counts too.
        network.set_lookup_latency(60 * SECOND..=60 * SECOND);
        let conn = client(&diary, "server:80").connect_timeout(3 * SECOND).connect_on(&handle).unwrap();
        conn.closed().await;
        assert!(network.elapsed() - took <= 3 * SECOND + GRANULE);
    });
}

#[test]
fn a_dead_family_costs_a_quarter_of_a_second() {
    sim::block_on(1, async |network| {
        let (handle, server, diary) = rig(&network);
        let dead = network.host("dead");
        network.partition(dead, network.host("client"));
        network.add_name("both.test", [dead.ipv6(), server.ip()]);
        let listener = network.listen(server, 80).unwrap();
        let conn = client(&diary, "both.test:80").connect_on(&handle).unwrap();
        let _peer = listener.accept().await.unwrap();
        until("a connection", || diary.has("client up")).await;
        let took = diary.time_of("client up").unwrap();
        let expected = Duration::from_millis(250);
        assert!(took >= expected && took <= expected + GRANULE, "{took:?}");
        assert_eq!(conn.peer_addr(), server.socket(80).into());
        assert_eq!(network.open_descriptors(network.host("client")), 1, "the other attempt is closed");
        assert_eq!(diary.take(), ["client up"]);
    });
}

#[test]
fn every_address_is_tried_before_a_failure_is_told() {
    sim::block_on(1, async |network| {
        let (handle, server, diary) = rig(&network);
        let refusing = network.host("refusing");
        let all = [refusing.ip(), refusing.ipv6(), network.host("refusing too").ip(), server.ip()];
        network.add_name("many.test", all);
        let client = || client(&diary, "many.test:80");
        client().connect_on(&handle).unwrap().closed().await;
        assert_eq!(diary.take().len(), 2, "one error and one close for all addresses");
        let listener = network.listen(server, 80).unwrap();
        let conn = client().connect_on(&handle).unwrap();
        let _peer = listener.accept().await.unwrap();
        until("a connection", || diary.has("client up")).await;
        assert_eq!(diary.take(), ["client up"]);
        assert_eq!(conn.peer_addr(), server.socket(80).into());
    });
}

/// Says hello first.
#[derive(Clone)]
struct Greeting;

impl Protocol for Greeting {
    type Incoming = Bytes;
    type Outgoing = Bytes;
    type Event = Event;
    type Error = io::Error;
    type Sending = ();

    fn decode(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> io::Result<Decoded<Self>> {
        Ok(if input.is_empty() { Decoded::Need(1) } else { Decoded::Message(input.split().freeze()) })
    }

    fn encode(_: &mut (), message: Bytes, out: &mut Outbox) -> io::Result<()> {
        out.put_bytes(message);
        Ok(())
    }

    fn open(&mut self, cx: &mut Context<'_, Self>) -> io::Result<()> {
        cx.reply().put_slice(b"hello ");
        Ok(())
    }
}

#[test]
fn what_is_sent_early_follows_the_greeting_and_is_bounded() {
    sim::block_on(1, async |network| {
        let (handle, server, diary) = rig(&network);
        network.set_lookup_latency(SECOND..=SECOND);
        let listener = network.listen(server, 80).unwrap();
        let conn = Client::with(Greeting, "server:80")
            .handlers(diary.handlers("client"))
            .settings(Settings { high_water: 10, ..Settings::default() })
            .connect_on(&handle)
            .unwrap();
        assert_eq!(conn.send("12345").unwrap(), Sent::Accepted);
        assert_eq!(conn.send("67890abc").unwrap(), Sent::OverHighWater);
        assert!(matches!(conn.send("x"), Err(SendError::Full { queued: 13 })));
        assert_eq!(handle.snapshot().bytes_queued, 13);
        let mut peer = listener.accept().await.unwrap();
        conn.ready().await.unwrap();
        assert_eq!(conn.send("later").unwrap(), Sent::Accepted);
        let mut all = [0; 24];
        peer.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"hello 1234567890abclater");
        conn.close();
        conn.closed().await;
        settled(&handle);
    });
}

#[test]
fn a_lost_connection_comes_back_with_what_was_sent_meanwhile() {
    for seed in 0..5 {
        sim::block_on(seed, async |network| {
            let (handle, server, diary) = rig(&network);
            let listener = network.listen(server, 80).unwrap();
            let conn = client(&diary, "server:80").reconnect(policy(Some(3))).connect_on(&handle).unwrap();
            for round in 0..5 {
                let mut peer = listener.accept().await.unwrap();
                let mut said = [0; 1];
                if round > 0 {
                    peer.read_exact(&mut said).await.unwrap();
                    assert_eq!(&said, b"m");
                }
                if round % 2 == 0 {
                    peer.reset();
                } else {
                    drop(peer);
                }
                until("a loss", || diary.has("client closed")).await;
                sleep(1).await;
                let _ = conn.send("m").unwrap();
                let lines = diary.take();
                assert_eq!(lines.len(), 2, "{lines:?}");
                assert!(!conn.is_closed());
            }
            // Three attempts, as many as at first.
            drop(listener);
            conn.closed().await;
            let lines = diary.take();
            let errors = lines.iter().filter(|line| line.starts_with("client error")).count();
            assert!(errors == 3 || errors == 4, "a connection may have been reset in the queue: {lines:?}");
            assert_eq!(lines.last().unwrap(), "client closed: connect failed");
            settled(&handle);
        });
    }
}

#[test]
fn a_close_cancels_in_every_phase() {
    for phase in ["waiting", "resolving", "trying", "on_error", "on_close", "up", "at once"] {
        sim::block_on(1, async |network| {
            let (handle, server, diary) = rig(&network);
            let ours = network.host("client");
            let listener =
                (phase != "waiting" && phase != "on_error").then(|| network.listen(server, 80).unwrap());
            match phase {
                "resolving" => network.set_lookup_latency(SECOND..=SECOND),
                "trying" => network.partition(server, ours),
                _ => {}
            }
            let mut client = client(&diary, "server:80").reconnect(policy(None));
            let notes = diary.clone();
            if phase == "on_error" {
                client = client.on_error(|conn, _| conn.close());
            }
            if phase == "on_close" {
                client = client.on_close(move |conn: &Connection<Raw>, reason| {
                    notes.note(format_args!("client closed: {reason}"));
                    conn.close();
                });
            }
            let conn = client.connect_on(&handle).unwrap();
            let _ = conn.send("never lost count of").unwrap();
            if phase != "at once" {
                sleep(20).await;
            }
            let mut peer = None;
            if matches!(phase, "on_close" | "up") {
                peer = Some(listener.as_ref().unwrap().accept().await.unwrap());
                sleep(10).await;
            }
            match phase {
                "on_close" => {
                    if let Some(peer) = peer.take() {
                        peer.reset();
                    }
                }
                "on_error" => {}
                _ => conn.close(),
            }
            until("the end", || conn.is_closed()).await;
            let ended = network.elapsed();
            assert!(ended < Duration::from_millis(100), "{phase}: {ended:?}");
            assert!(matches!(conn.send("x"), Err(SendError::Closed)));
            sleep(5000).await;
            let lines = diary.take();
            let closes = lines.iter().filter(|line| line.starts_with("client closed")).count();
            assert!((1..=2).contains(&closes), "{phase}: {lines:?}");
            assert!(lines.iter().filter(|line| *line == "client up").count() <= 1, "{phase}: {lines:?}");
            drop(peer);
            sleep(5000).await;
            assert_eq!(network.open_descriptors(ours), 0, "{phase}");
            settled(&handle);
        });
    }
}

/// Never comes up: the handshake fails when the peer has said anything, or its time is over.
struct Never;

impl Layer for Never {
    fn open(&mut self, _: Instant, wire: &mut Outbox) -> Result<(), BoxError> {
        wire.put_slice(b"?");
        Ok(())
    }

    fn receive(
        &mut self,
        _: Instant,
        _: &mut BytesMut,
        _: &mut BytesMut,
        _: &mut Outbox,
    ) -> Result<Received, BoxError> {
        Err("refused".into())
    }

    fn is_established(&self) -> bool {
        false
    }

    fn send(&mut self, _: &mut Outbox, _: &mut Outbox) -> Result<(), BoxError> {
        unreachable!("it is never established")
    }

    fn close(&mut self, _: &mut Outbox) {}

    fn eof(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn handshake_timeout(&self) -> Option<Duration> {
        Some(2 * SECOND)
    }
}

#[test]
fn a_layer_that_never_comes_up_counts_as_a_failed_attempt() {
    for behaviour in ["answers", "ends", "resets", "is silent"] {
        sim::block_on(1, async |network| {
            let (handle, server, diary) = rig(&network);
            let listener = network.listen(server, 80).unwrap();
            let accepted = Rc::new(Cell::new(0));
            let count = Rc::clone(&accepted);
            drop(workerman_event::spawn(async move {
                loop {
                    let mut peer = listener.accept().await.unwrap();
                    count.set(count.get() + 1);
                    match behaviour {
                        "answers" => peer.write_all(b"x").await.unwrap(),
                        "ends" => peer.shutdown().await.unwrap(),
                        "resets" => {
                            peer.reset();
                            continue;
                        }
                        _ => {}
                    }
                    drop(workerman_event::spawn(async move {
                        let mut rest = Vec::new();
                        let _ = peer.read_to_end(&mut rest).await;
                    }));
                }
            }));
            let conn = client(&diary, "server:80")
                .layer(|| Box::new(Never))
                .reconnect(policy(Some(4)))
                .connect_on(&handle)
                .unwrap();
            let _ = conn.send("never sent").unwrap();
            conn.closed().await;
            assert_eq!(accepted.get(), 4, "{behaviour}");
            let lines = diary.take();
            assert!(!lines.iter().any(|line| line == "client up"), "{lines:?}");
            assert_eq!(lines.last().unwrap(), "client closed: connect failed", "{behaviour}: {lines:?}");
            let closes = lines.iter().filter(|line| line.starts_with("client closed")).count();
            assert_eq!(closes, 1, "{behaviour}: {lines:?}");
            sleep(3000).await;
            settled(&handle);
        });
    }
}

#[test]
fn a_close_during_the_linger_of_a_failed_attempt_cancels_the_next() {
    sim::block_on(1, async |network| {
        let (handle, server, diary) = rig(&network);
        let listener = network.listen(server, 80).unwrap();
        let conn = client(&diary, "server:80")
            .layer(|| Box::new(Never))
            .reconnect(policy(None))
            .connect_on(&handle)
            .unwrap();
        let mut peer = listener.accept().await.unwrap();
        peer.write_all(b"x").await.unwrap();
        assert_eq!(read_all(&mut peer).await, b"?");
        sleep(100).await;
        assert!(diary.has("client error"));
        conn.close();
        until("the end", || conn.is_closed()).await;
        assert!(network.elapsed() < 2 * SECOND);
        drop(listener);
        sleep(60_000).await;
        let lines = diary.take();
        assert_eq!(lines, ["client error: layer error: refused", "client closed: closed by this side"]);
        settled(&handle);
    });
}

#[test]
fn a_client_without_a_policy_tells_its_end_once() {
    sim::block_on(1, async |network| {
        let (handle, server, diary) = rig(&network);
        let listener = network.listen(server, 80).unwrap();
        let conn = client(&diary, "server:80").layer(|| Box::new(Never)).connect_on(&handle).unwrap();
        let mut peer = listener.accept().await.unwrap();
        assert_eq!(read_all(&mut peer).await, b"?");
        drop(peer);
        conn.closed().await;
        assert_eq!(
            diary.take(),
            [
                "client error: timed out: the handshake was not finished",
                "client closed: timeout: the handshake was not finished"
            ]
        );
        sleep(10).await;
        settled(&handle);
    });
}
