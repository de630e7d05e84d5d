//! The corners of a connection's life: upgrades that meet ends, lent buffers that meet sends, exactly full sockets.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_connection::{Connection, SendError, Service, Settings};
use workerman_event::sim::{self, LinkOptions};
use workerman_protocol::{Context, Decoded, Event, Goodbye, Line, Outbox, Protocol, Raw, Text};
use workerman_tests::simulation::{Diary, read_all, serve, settled, sleep, until};
use workerman_tests::toy::{self, Numbered, Seen};

const SECOND: Duration = Duration::from_secs(1);

/// A place for a handle that a callback has made.
type Kept<P> = Arc<Mutex<Option<Connection<P>>>>;

fn lines(diary: &Diary) -> Arc<Service<Text>> {
    let handlers = diary.handlers("lines").on_message(|_, line: Line| line);
    Arc::new(Service::new("lines", Text::new, handlers, Settings::default()))
}

/// Bodies behind a length, like frames; it remembers how much there was, and insists on it.
#[derive(Default)]
struct Remembering {
    seen: usize,
}

impl Protocol for Remembering {
    type Incoming = Bytes;
    type Outgoing = Bytes;
    type Event = Event;
    type Error = std::io::Error;
    type Sending = ();

    fn decode(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> std::io::Result<Decoded<Self>> {
        assert!(input.len() >= self.seen, "{} of {} bytes are left", input.len(), self.seen);
        self.seen = input.len();
        let Some(head) = input.first_chunk::<4>() else { return Ok(Decoded::Need(4 - input.len())) };
        let length = u32::from_be_bytes(*head) as usize;
        if input.len() < length {
            return Ok(Decoded::Need(length - input.len()));
        }
        self.seen = 0;
        Ok(Decoded::Message(input.split_to(length).freeze()))
    }

    fn encode(_: &mut (), message: Bytes, out: &mut Outbox) -> std::io::Result<()> {
        out.put_bytes(message);
        Ok(())
    }
}

#[test]
fn sends_while_a_message_is_read_in_place_do_not_disturb_it() {
    for seed in 0..5 {
        sim::block_on(seed, async |network| {
            let (server, client) = (network.host("server"), network.host("client"));
            network.set_default(LinkOptions { segment: 1..=30_000, ..LinkOptions::default() });
            let diary = Diary::new(&network);
            let kept: Kept<Remembering> = Kept::default();
            let keeps = Arc::clone(&kept);
            let handlers = diary
                .handlers("server")
                .on_connect(move |conn: &Connection<_>| *keeps.lock().unwrap() = Some(conn.clone()))
                .on_message(|_, frame: Bytes| Bytes::from(frame.len().to_string()));
            let service = Service::new("frames", Remembering::default, handlers, Settings::default());
            let handle = serve(&network, server, 80, service);
            let mut peer = network.connect(client, server.socket(80)).await.unwrap();
            peer.write_all(&1_000_004u32.to_be_bytes()).await.unwrap();
            sleep(1).await;
            for _ in 0..100 {
                peer.write_all(&[7; 10_000]).await.unwrap();
                let conn = kept.lock().unwrap().clone().unwrap();
                let _ = conn.send("push").unwrap();
                conn.pause();
                conn.resume();
                sleep(1).await;
            }
            peer.shutdown().await.unwrap();
            let all = read_all(&mut peer).await;
            assert_eq!(all.len(), 100 * 4 + 7);
            assert!(all.ends_with(b"1000004"));
            drop(peer);
            sleep(10).await;
            assert_eq!(diary.take(), ["server closed: closed by the peer"]);
            settled(&handle);
        });
    }
}

#[test]
fn a_peer_that_ends_in_the_middle_of_what_is_read_in_place_is_truncated() {
    sim::block_on(1, async |network| {
        let (server, client) = (network.host("server"), network.host("client"));
        let diary = Diary::new(&network);
        let service = Service::new(
            "frames",
            workerman_protocol::Frame::new,
            diary.handlers("server"),
            Settings::default(),
        );
        let handle = serve(&network, server, 80, service);
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        peer.write_all(&1_000_004u32.to_be_bytes()).await.unwrap();
        peer.write_all(&[7; 300_000]).await.unwrap();
        sleep(1).await;
        peer.shutdown().await.unwrap();
        assert_eq!(read_all(&mut peer).await, b"");
        drop(peer);
        sleep(10).await;
        let truncated = "server error: the peer ended its stream within a message";
        assert_eq!(diary.take(), ["server up", truncated, "server closed: protocol error"]);
        settled(&handle);
    });
}

#[test]
fn an_upgrade_that_never_happens_ends_its_handle() {
    sim::block_on(1, async |network| {
        let (server, client) = (network.host("server"), network.host("client"));
        let diary = Diary::new(&network);
        let kept: Kept<Text> = Kept::default();
        let (keeps, next) = (Arc::clone(&kept), lines(&diary));
        // The queue cannot be emptied, so that the switch waits, and the peer resets meanwhile.
        let handlers = diary.handlers("server").on_message(move |conn: &Connection<Raw>, _| {
            let _ = conn.send(vec![1; 500_000]).unwrap();
            let next = conn.upgrade(Text::new(), &next).unwrap();
            let _ = next.send("never").unwrap();
            *keeps.lock().unwrap() = Some(next);
        });
        let handle =
            serve(&network, server, 80, Service::new("raw", Raw::new, handlers, Settings::default()));
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        peer.write_all(b"x").await.unwrap();
        sleep(10).await;
        let next = kept.lock().unwrap().take().unwrap();
        assert!(!next.is_closed());
        peer.reset();
        until("the end of the next handle", || next.is_closed()).await;
        next.closed().await;
        assert!(matches!(next.send("x"), Err(SendError::Closed)));
        sleep(10).await;
        assert_eq!(diary.take(), ["server up", "server closed: reset"], "the new one never began");
        settled(&handle);
    });
}

#[test]
fn the_old_handle_ends_nothing_after_an_upgrade() {
    sim::block_on(1, async |network| {
        let (server, client) = (network.host("server"), network.host("client"));
        let diary = Diary::new(&network);
        let next = lines(&diary);
        let handlers = diary.handlers("server").on_message(move |conn: &Connection<Raw>, _| {
            conn.upgrade(Text::new(), &next).unwrap();
            assert!(matches!(conn.upgrade(Text::new(), &next), Err(SendError::Upgraded)));
            conn.close();
            conn.close_with_code(1, "");
            conn.end();
            conn.abort();
        });
        let handle =
            serve(&network, server, 80, Service::new("raw", Raw::new, handlers, Settings::default()));
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        peer.write_all(b"x").await.unwrap();
        sleep(10).await;
        peer.write_all(b"line\n").await.unwrap();
        peer.shutdown().await.unwrap();
        assert_eq!(read_all(&mut peer).await, b"line\n");
        drop(peer);
        sleep(10).await;
        assert_eq!(diary.take(), ["server up", "lines up", "lines closed: closed by the peer"]);
        settled(&handle);
    });
}

#[test]
fn what_the_old_protocol_had_decoded_is_handled_before_the_next_begins() {
    for ends in [false, true] {
        sim::block_on(1, async |network| {
            let (server, client) = (network.host("server"), network.host("client"));
            let diary = Diary::new(&network);
            let (notes, next) = (diary.clone(), lines(&diary));
            let handlers = diary.handlers("server").on_message_async(
                async move |conn: &Connection<Text>, line: Line| {
                    notes.note(format_args!("server got {line}"));
                    if line == "switch" {
                        tokio::time::sleep(SECOND).await;
                        conn.upgrade(Text::new(), &next).unwrap();
                    }
                },
            );
            let handle =
                serve(&network, server, 80, Service::new("old", Text::new, handlers, Settings::default()));
            let mut peer = network.connect(client, server.socket(80)).await.unwrap();
            // The handler of the first is suspended; the second is decoded and waits for it; the third is not.
            peer.write_all(b"switch\nsecond\n").await.unwrap();
            if !ends {
                peer.write_all(b"third\n").await.unwrap();
            }
            peer.shutdown().await.unwrap();
            let all = read_all(&mut peer).await;
            assert_eq!(all, if ends { &b""[..] } else { b"third\n" });
            drop(peer);
            sleep(2000).await;
            let expected = [
                "server up",
                "server got switch",
                "server got second",
                "lines up",
                "lines closed: closed by the peer",
            ];
            assert_eq!(diary.take(), expected);
            settled(&handle);
        });
    }
}

#[test]
fn the_end_of_the_stream_moves_along_with_an_upgrade() {
    sim::block_on(1, async |network| {
        let (server, client) = (network.host("server"), network.host("client"));
        let diary = Diary::new(&network);
        let next = lines(&diary);
        let handlers = diary.handlers("server").on_message_async(async move |conn: &Connection<Text>, _| {
            tokio::time::sleep(SECOND).await;
            let next = conn.upgrade(Text::new(), &next).unwrap();
            let _ = next.send("welcome").unwrap();
        });
        let handle =
            serve(&network, server, 80, Service::new("old", Text::new, handlers, Settings::default()));
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        peer.write_all(b"switch\n").await.unwrap();
        peer.shutdown().await.unwrap();
        assert_eq!(read_all(&mut peer).await, b"welcome\n");
        drop(peer);
        sleep(2000).await;
        assert_eq!(diary.take(), ["server up", "lines up", "lines closed: closed by the peer"]);
        settled(&handle);
    });
}

#[test]
fn a_protocol_that_takes_over_during_a_drain_says_goodbye_too() {
    sim::block_on(1, async |network| {
        let (server, client) = (network.host("server"), network.host("client"));
        let seen = Seen::default();
        let next = Arc::new(toy::service::<Numbered>(Goodbye::Now, &seen, Settings::default()));
        let diary = Diary::new(&network);
        let make = || toy::Toy::<()>::new(Goodbye::WhenPeerCloses);
        let handlers = diary.handlers("server").on_message(move |conn: &Connection<toy::Toy<()>>, _| {
            conn.upgrade(toy::Toy::new(Goodbye::Now), &next).unwrap();
        });
        let handle = serve(&network, server, 80, Service::new("old", make, handlers, Settings::default()));
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        sleep(10).await;
        let drains = handle.clone();
        let drained = workerman_event::spawn(async move { drains.drain(60 * SECOND).await.unwrap() });
        sleep(10).await;
        peer.write_all(b"SAY go\n").await.unwrap();
        assert_eq!(read_all(&mut peer).await, b"HELLO\nBYE\n1 HELLO\n2 BYE\n");
        drop(peer);
        let drained = drained.await.unwrap();
        assert_eq!((drained.finished, drained.cut), (1, 0));
        assert!(network.elapsed() < 2 * SECOND, "{:?}", network.elapsed());
        settled(&handle);
    });
}

#[test]
fn a_socket_that_is_exactly_full_is_not_a_stalled_one() {
    sim::block_on(1, async |network| {
        let (server, client) = (network.host("server"), network.host("client"));
        network.set_default(LinkOptions { capacity: 1000, ..LinkOptions::default() });
        let diary = Diary::new(&network);
        let kept: Kept<Raw> = Kept::default();
        let keeps = Arc::clone(&kept);
        let handlers = diary.handlers("server").on_connect(move |conn: &Connection<Raw>| {
            *keeps.lock().unwrap() = Some(conn.clone());
        });
        let handle =
            serve(&network, server, 80, Service::new("raw", Raw::new, handlers, Settings::default()));
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        sleep(10).await;
        let conn = kept.lock().unwrap().take().unwrap();
        let _ = conn.send(vec![1; 1000]).unwrap();
        sleep(10).await;
        assert_eq!(conn.buffered(), 0, "the system has taken all");
        // Nothing is queued for a minute; then the peer has its full time for what comes.
        sleep(60_000).await;
        let _ = conn.send(vec![2; 500]).unwrap();
        sleep(20_000).await;
        let mut all = vec![0; 1500];
        peer.read_exact(&mut all).await.unwrap();
        assert_eq!(conn.buffered(), 0);
        drop(peer);
        until("a close", || diary.has("server closed: closed by the peer")).await;
        settled(&handle);
    });
}
