//! Deadlines of connections in virtual time.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_connection::{CloseReason, Connection, Service, Settings, Timer};
use workerman_event::sim::{self, HostAddr, LinkOptions, Network};
use workerman_protocol::{Context, Deadline, Decoded, Event, Goodbye, Outbox, Protocol, Raw, Text};
use workerman_tests::simulation::{Diary, GRANULE, event_loop, read_all, serve, settled, sleep, until};

const SECOND: Duration = Duration::from_secs(1);

fn hosts(network: &Network) -> (HostAddr, HostAddr) {
    (network.host("server"), network.host("client"))
}

#[track_caller]
fn at(happened: Duration, expected: Duration) {
    assert!(happened >= expected, "early: {happened:?}, expected {expected:?}");
    assert!(happened <= expected + GRANULE, "late: {happened:?}, expected {expected:?}");
}

/// The deadline is what the first byte says: `h`andshake, head (`e`), `b`ody, idle for anything else. Other bytes are
/// eaten. It says what timed out, `b` when it drains and `c` when it is closed with a code.
#[derive(Clone)]
struct Waiting {
    runs: Deadline,
    goodbye: Goodbye,
    tick: Option<Duration>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { runs: Deadline::Idle, goodbye: Goodbye::Now, tick: None }
    }
}

impl Protocol for Waiting {
    type Incoming = Bytes;
    type Outgoing = Bytes;
    type Event = Event;
    type Error = Infallible;
    type Sending = ();

    fn decode(
        &mut self,
        input: &mut BytesMut,
        _: &mut Context<'_, Self>,
    ) -> Result<Decoded<Self>, Infallible> {
        while !input.is_empty() {
            let byte = input.split_to(1);
            self.runs = match byte[0] {
                b'h' => Deadline::Handshake,
                b'e' => Deadline::Head,
                b'b' => Deadline::Body,
                b'.' => self.runs,
                _ => {
                    self.runs = Deadline::Idle;
                    return Ok(Decoded::Message(Bytes::copy_from_slice(&byte)));
                }
            };
        }
        Ok(Decoded::Need(1))
    }

    fn encode(_: &mut (), message: Bytes, out: &mut Outbox) -> Result<(), Infallible> {
        out.put_bytes(message);
        Ok(())
    }

    fn goodbye(&mut self, cx: &mut Context<'_, Self>) -> Goodbye {
        cx.reply().put_slice(b"b");
        self.goodbye
    }

    fn close(&mut self, _: Option<u16>, _: &str, cx: &mut Context<'_, Self>) -> Goodbye {
        cx.reply().put_slice(b"c");
        self.goodbye
    }

    fn tick(&mut self, cx: &mut Context<'_, Self>) -> Result<Option<std::time::Instant>, Infallible> {
        Ok(self.tick.map(|every| cx.now() + every))
    }

    fn deadline(&self) -> Deadline {
        self.runs
    }

    fn timeout(&mut self, which: Deadline, cx: &mut Context<'_, Self>) {
        cx.reply().put_slice(format!("{which:?}").as_bytes());
    }
}

fn waiting(diary: &Diary, protocol: Waiting, settings: Settings) -> Service<Waiting> {
    let handlers = diary.handlers("server").on_message(|_, byte| byte);
    Service::new("waiting", move || protocol.clone(), handlers, settings)
}

#[test]
fn an_idle_connection_ends_on_the_dot() {
    for seed in 0..5 {
        sim::block_on(seed, async |network| {
            let (server, client) = hosts(&network);
            let diary = Diary::new(&network);
            let settings = Settings { idle_timeout: Some(60 * SECOND), ..Settings::default() };
            let handle = serve(&network, server, 80, waiting(&diary, Waiting::default(), settings));
            let mut peer = network.connect(client, server.socket(80)).await.unwrap();
            // Whatever the peer says starts it anew.
            for _ in 0..5 {
                sleep(50_000 + seed * 37).await;
                peer.write_all(b"x").await.unwrap();
                assert_eq!(peer.read_u8().await.unwrap(), b'x');
            }
            let last = network.elapsed();
            assert_eq!(read_all(&mut peer).await, b"Idle");
            at(network.elapsed(), last + 60 * SECOND);
            drop(peer);
            sleep(10).await;
            assert_eq!(
                diary.take(),
                [
                    "server up",
                    "server error: timed out: nothing was received",
                    "server closed: timeout: nothing was received"
                ]
            );
            settled(&handle);
        });
    }
}

#[test]
fn sends_and_ticks_do_not_keep_an_idle_peer() {
    sim::block_on(1, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let settings = Settings { idle_timeout: Some(60 * SECOND), ..Settings::default() };
        let handlers = diary.handlers("server").on_connect(|conn: &Connection<Waiting>| {
            let conn = conn.clone();
            Timer::repeat(SECOND, move || {
                let _ = conn.send("s");
            })
            .unwrap();
        });
        let make = || Waiting { tick: Some(7 * SECOND), ..Waiting::default() };
        let handle = serve(&network, server, 80, Service::new("push", make, handlers, settings));
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        let began = network.elapsed();
        let all = read_all(&mut peer).await;
        at(network.elapsed(), began + 60 * SECOND);
        assert!(all.len() >= 59 + 4, "{}", all.len());
        drop(peer);
        sleep(10).await;
        settled(&handle);
    });
}

#[test]
fn a_peer_that_still_takes_an_answer_is_not_idle() {
    sim::block_on(1, async |network| {
        let (server, client) = hosts(&network);
        network.set_one_way(
            server,
            client,
            LinkOptions { bytes_per_second: Some(10_000), capacity: 20_000, ..LinkOptions::default() },
        );
        let diary = Diary::new(&network);
        let settings = Settings { idle_timeout: Some(20 * SECOND), ..Settings::default() };
        let handlers =
            diary.handlers("server").on_message(|conn: &Connection<Waiting>, _| conn.send(vec![7; 600_000]));
        let service = Service::new("download", Waiting::default, handlers, settings);
        let _handle = serve(&network, server, 80, service);
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        peer.write_all(b"x").await.unwrap();
        let mut all = vec![0; 600_000];
        peer.read_exact(&mut all).await.unwrap();
        assert!(network.elapsed() > 59 * SECOND, "it took a minute");
        // Its last bytes left the queue some two seconds before they were here.
        let done = network.elapsed();
        assert_eq!(read_all(&mut peer).await, b"Idle");
        assert!(network.elapsed() > done + 15 * SECOND);
    });
}

#[test]
fn handshake_head_and_body_have_their_own_deadlines() {
    for (says, name, seconds) in [(b'h', "Handshake", 3), (b'e', "Head", 5), (b'b', "Body", 7)] {
        sim::block_on(9, async |network| {
            let (server, client) = hosts(&network);
            let diary = Diary::new(&network);
            let settings = Settings {
                handshake_timeout: Some(3 * SECOND),
                head_timeout: Some(5 * SECOND),
                body_timeout: Some(7 * SECOND),
                ..Settings::default()
            };
            let handle = serve(&network, server, 80, waiting(&diary, Waiting::default(), settings));
            let mut peer = network.connect(client, server.socket(80)).await.unwrap();
            sleep(100_000).await;
            peer.write_all(&[says]).await.unwrap();
            let mut last = network.elapsed();
            for _ in 0..seconds - 1 {
                sleep(1000).await;
                peer.write_all(b".").await.unwrap();
                if says == b'b' {
                    last = network.elapsed();
                }
            }
            assert_eq!(read_all(&mut peer).await, name.as_bytes());
            at(network.elapsed(), last + seconds * SECOND);
            drop(peer);
            sleep(10).await;
            settled(&handle);
        });
    }
}

#[test]
fn a_suspended_handler_is_not_the_peers_fault() {
    sim::block_on(4, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let settings = Settings { idle_timeout: Some(5 * SECOND), ..Settings::default() };
        let handlers = diary.handlers("server").on_message_async(async |_, byte| {
            tokio::time::sleep(100 * SECOND).await;
            byte
        });
        let _handle = serve(&network, server, 80, Service::new("slow", Waiting::default, handlers, settings));
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        peer.write_all(b"x").await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), b'x');
        let answered = network.elapsed();
        assert!(answered >= 100 * SECOND);
        assert_eq!(read_all(&mut peer).await, b"Idle");
        at(network.elapsed(), answered + 5 * SECOND);
    });
}

#[test]
fn a_peer_that_never_reads_is_reset() {
    for ends in [false, true] {
        sim::block_on(2, async |network| {
            let (server, client) = hosts(&network);
            let diary = Diary::new(&network);
            let handlers = diary.handlers("server").on_message(move |conn: &Connection<Raw>, _| {
                let _ = conn.send(vec![1; 500_000]).unwrap();
                if ends {
                    conn.close();
                }
            });
            let service = Service::new("flood", Raw::new, handlers, Settings::default());
            let handle = serve(&network, server, 80, service);
            let mut peer = network.connect(client, server.socket(80)).await.unwrap();
            sleep(200_000).await;
            peer.write_all(b"x").await.unwrap();
            let began = network.elapsed();
            until("a close", || diary.has("server closed")).await;
            at(diary.time_of("server closed").unwrap(), began + 30 * SECOND);
            let mut all = Vec::new();
            let error = peer.read_to_end(&mut all).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert!(all.len() < 500_000);
            let reason =
                if ends { "closed by this side" } else { "timeout: the peer took nothing of what was sent" };
            assert_eq!(diary.take().last().unwrap(), &format!("server closed: {reason}"));
            sleep(10).await;
            settled(&handle);
        });
    }
}

#[test]
fn end_lingers_for_a_second() {
    for peer_ends in [false, true] {
        sim::block_on(3, async |network| {
            let (server, client) = hosts(&network);
            let diary = Diary::new(&network);
            let handlers = diary.handlers("server").on_message(|conn: &Connection<Raw>, _| {
                let _ = conn.send("last").unwrap();
                conn.end();
            });
            let handle =
                serve(&network, server, 80, Service::new("end", Raw::new, handlers, Settings::default()));
            let mut peer = network.connect(client, server.socket(80)).await.unwrap();
            peer.write_all(b"x").await.unwrap();
            let began = network.elapsed();
            assert_eq!(read_all(&mut peer).await, b"last");
            assert!(!diary.has("server closed"), "not before the peer has ended too");
            if peer_ends {
                sleep(300).await;
                peer.shutdown().await.unwrap();
            }
            until("a close", || diary.has("server closed")).await;
            let expected = if peer_ends { Duration::from_millis(300) } else { SECOND };
            at(diary.time_of("server closed").unwrap(), began + expected);
            sleep(10).await;
            settled(&handle);
        });
    }
}

#[test]
fn a_close_lets_the_last_bytes_reach_a_peer_that_is_still_writing() {
    for seed in 0..20 {
        sim::block_on(seed, async |network| {
            let (server, client) = hosts(&network);
            network.set_default(LinkOptions {
                segment: 1..=500,
                latency: Duration::from_millis(1)..=Duration::from_millis(40),
                ..LinkOptions::default()
            });
            let diary = Diary::new(&network);
            let handlers = diary.handlers("server").on_message(|conn: &Connection<Text>, line| {
                if line == "last" {
                    let _ = conn.close_with(vec![b'.'; 100_000]);
                }
            });
            let handle =
                serve(&network, server, 80, Service::new("close", Text::new, handlers, Settings::default()));
            let peer = network.connect(client, server.socket(80)).await.unwrap();
            let (mut reads, mut writes) = tokio::io::split(peer);
            let writer = tokio::spawn(async move {
                writes.write_all(b"last\n").await.unwrap();
                for _ in 0..50 {
                    sleep(10).await;
                    writes.write_all(b"more and more\n").await.unwrap();
                }
                writes.shutdown().await.unwrap();
            });
            let all = read_all(&mut reads).await;
            assert_eq!(all.len(), 100_001);
            writer.await.unwrap();
            sleep(2000).await;
            assert_eq!(diary.take(), ["server up", "server closed: closed by this side"]);
            settled(&handle);
        });
    }
}

#[test]
fn a_linger_that_runs_out_does_not_cost_the_peer_its_answer() {
    sim::block_on(1, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let handlers = diary.handlers("server").on_message(|conn: &Connection<Raw>, _| {
            let _ = conn.close_with("answer").unwrap();
        });
        let handle =
            serve(&network, server, 80, Service::new("close", Raw::new, handlers, Settings::default()));
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        peer.write_all(b"x").await.unwrap();
        sleep(60_000).await;
        assert_eq!(read_all(&mut peer).await, b"answer", "read a minute later, no reset");
        settled(&handle);
    });
}

#[test]
fn a_closing_handshake_is_waited_for_at_most_so_long() {
    for peer_ends in [false, true] {
        sim::block_on(1, async |network| {
            let (server, client) = hosts(&network);
            let diary = Diary::new(&network);
            let handlers = diary.handlers("server").on_message(|conn: &Connection<Waiting>, _| {
                let _ = conn.send("1").unwrap();
                conn.close_with_code(7, "why");
            });
            let make = || Waiting { goodbye: Goodbye::WhenPeerCloses, ..Waiting::default() };
            let handle =
                serve(&network, server, 80, Service::new("code", make, handlers, Settings::default()));
            let mut peer = network.connect(client, server.socket(80)).await.unwrap();
            peer.write_all(b"x").await.unwrap();
            let mut said = [0; 2];
            peer.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"1c");
            let began = network.elapsed();
            if peer_ends {
                sleep(700).await;
                peer.shutdown().await.unwrap();
            }
            assert_eq!(read_all(&mut peer).await, b"");
            at(network.elapsed(), began + if peer_ends { Duration::from_millis(700) } else { 5 * SECOND });
            sleep(2000).await;
            let reason = if peer_ends { CloseReason::PeerClosed } else { CloseReason::Local };
            assert_eq!(diary.take().last().unwrap(), &format!("server closed: {reason}"));
            settled(&handle);
        });
    }
}

#[test]
fn a_drain_waits_as_each_protocol_wishes_and_cuts_the_rest() {
    for (goodbye, finished, cut) in
        [(Goodbye::Now, 3, 0), (Goodbye::AfterMessage, 2, 1), (Goodbye::WhenPeerCloses, 1, 2)]
    {
        sim::block_on(1, async |network| {
            let (server, client) = hosts(&network);
            let diary = Diary::new(&network);
            let make = Waiting { goodbye, ..Waiting::default() };
            let handle = serve(&network, server, 80, waiting(&diary, make, Settings::default()));
            let mut peers = Vec::new();
            // Idle, in the middle of a message, idle and about to end.
            for says in [".", "b", "."] {
                let mut peer = network.connect(client, server.socket(80)).await.unwrap();
                peer.write_all(says.as_bytes()).await.unwrap();
                peers.push(peer);
            }
            sleep(100).await;
            let began = network.elapsed();
            let mut last = peers.pop().unwrap();
            let ends = tokio::spawn(async move {
                sleep(500).await;
                last.shutdown().await.unwrap();
                read_all(&mut last).await
            });
            let drained = handle.drain(3 * SECOND).await.unwrap();
            assert_eq!((drained.finished, drained.cut), (finished, cut), "{goodbye:?}");
            let took = network.elapsed() - began;
            let expected = if cut == 0 { SECOND } else { 3 * SECOND };
            assert!(took <= expected + GRANULE, "{goodbye:?}: {took:?}");
            assert_eq!(ends.await.unwrap(), b"b");
            // The loop goes on, but nobody is accepted.
            assert!(network.connect(client, server.socket(80)).await.is_err());
            settled(&handle);
            assert_eq!(diary.take().iter().filter(|line| line.starts_with("server closed")).count(), 3);
        });
    }
}

#[test]
fn a_drain_lets_a_running_handler_answer() {
    sim::block_on(1, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let handlers = diary.handlers("server").on_message_async(async |_, byte| {
            tokio::time::sleep(2 * SECOND).await;
            byte
        });
        let service = Service::new("slow", Waiting::default, handlers, Settings::default());
        let handle = serve(&network, server, 80, service);
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        peer.write_all(b"x").await.unwrap();
        sleep(10).await;
        let reader = tokio::spawn(async move { read_all(&mut peer).await });
        let drained = handle.drain(10 * SECOND).await.unwrap();
        assert_eq!((drained.finished, drained.cut), (1, 0));
        assert!(network.elapsed() < 3 * SECOND, "{:?}", network.elapsed());
        assert_eq!(reader.await.unwrap(), b"bx");
        settled(&handle);
    });
}

#[test]
fn an_hour_of_a_thousand_idle_connections_costs_nearly_nothing() {
    sim::block_on(1, async |network| {
        let (server, client) = hosts(&network);
        let diary = Diary::new(&network);
        let settings = Settings { idle_timeout: Some(2 * 3600 * SECOND), ..Settings::default() };
        let handle = serve(&network, server, 80, waiting(&diary, Waiting::default(), settings));
        let mut peers = Vec::new();
        for _ in 0..1000 {
            let mut peer = network.connect(client, server.socket(80)).await.unwrap();
            peer.write_all(b"x").await.unwrap();
            assert_eq!(peer.read_u8().await.unwrap(), b'x');
            peers.push(peer);
        }
        let turns = tokio::runtime::Handle::current().metrics().worker_park_count(0);
        tokio::time::sleep(3600 * SECOND).await;
        assert_eq!(handle.snapshot().connections, 1000);
        let turns = tokio::runtime::Handle::current().metrics().worker_park_count(0) - turns;
        assert!(turns < 100, "the thread slept {turns} times");
        drop(peers);
        sleep(100).await;
        settled(&handle);
    });
}

#[test]
fn handlers_timers_and_deadlines_share_a_clock() {
    sim::block_on(1, async |network| {
        let diary = Diary::new(&network);
        let handle = event_loop(&network, network.host("server"));
        let (ours, tokios) = (diary.clone(), diary.clone());
        handle
            .run(move || {
                Timer::after(5 * SECOND, move || ours.note("timer")).unwrap();
                drop(workerman_event::spawn(async move {
                    tokio::time::sleep(5 * SECOND).await;
                    tokios.note("task");
                }));
            })
            .unwrap();
        sleep(6000).await;
        for who in ["timer", "task"] {
            at(diary.time_of(who).unwrap(), 5 * SECOND);
        }
    });
}
