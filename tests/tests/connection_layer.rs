//! A layer below the protocol, on every backend, both sides, cut at every byte.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use workerman_connection::{
    Client, Connection, EventLoop, Handlers, LoopHandle, LoopSettings, Service, Settings,
};
use workerman_event::sim::{self, LinkOptions};
use workerman_event::{Address, spawn};
use workerman_protocol::{Frame, Goodbye, Protocol, Raw, Role, Text};
use workerman_tests::conformance::sim::{Perfect, Simulated};
use workerman_tests::conformance::{World, patiently};
use workerman_tests::simulation::{Diary, GRANULE, drip, event_loop, read_all, serve, settled, sleep};
use workerman_tests::toy::{self, Numbered, Seen};
use workerman_tests::xor::{ALERT, HANDSHAKE, Xor, opened, sealed};

const KEY: u8 = 0x5a;

/// A loop of this world, and where it serves.
fn start<P: Protocol, W: World>(world: &W, service: Service<P>) -> (LoopHandle, Address) {
    let (event_loop, handle) = EventLoop::new(LoopSettings::default());
    let (listener, address) = world.listener();
    let service = service.layer(|| Box::new(Xor::new(Role::Server, 0)));
    handle.listen(Arc::new(service), listener).unwrap();
    drop(spawn(event_loop.run_on(world.backend())));
    (handle, address)
}

fn watched<P: Protocol>(seen: &Seen) -> Handlers<P> {
    let (closes, errors) = (seen.clone(), seen.clone());
    Handlers::new()
        .on_close(move |_, reason| closes.note(format_args!("closed: {reason}")))
        .on_error(move |_, error| errors.note(format_args!("error: {error}")))
}

fn echo(seen: &Seen) -> Service<Text> {
    let handlers = watched(seen).on_message(|_, line| line);
    Service::new("echo", Text::new, handlers, Settings::default())
}

/// Nothing is left.
async fn settle(handle: &LoopHandle) {
    let waits = async {
        while handle.snapshot().connections != 0 || handle.snapshot().bytes_queued != 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    patiently(waits).await.unwrap_or_else(|| panic!("{:?}", handle.snapshot()));
    handle.stop();
}

/// Says it and ends; returns everything that comes back.
async fn exchange<P: AsyncRead + AsyncWrite + Unpin>(peer: P, says: &[u8]) -> Vec<u8> {
    let (mut reads, mut writes) = tokio::io::split(peer);
    let writing = async {
        writes.write_all(says).await.unwrap();
        writes.shutdown().await.unwrap();
    };
    patiently(async { tokio::join!(read_all(&mut reads), writing).0 }).await.expect("an answer in time")
}

async fn a_server_is_cut_at_every_byte<W: World>(world: W) {
    let seen = Seen::default();
    let (handle, address) = start(&world, echo(&seen));
    let wire = sealed(KEY, b"one\ntwo\n", true);
    for at in 0..=wire.len() {
        let mut peer = world.connect(&address).await.unwrap();
        peer.write_all(&wire[..at]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
        let said = exchange(peer, &wire[at..]).await;
        assert_eq!(opened(KEY, &said), (b"one\ntwo\n".to_vec(), true), "cut at {at}");
    }
    let mut peer = world.connect(&address).await.unwrap();
    drip(&mut peer, &wire).await;
    assert_eq!(opened(KEY, &exchange(peer, b"").await), (b"one\ntwo\n".to_vec(), true));
    settle(&handle).await;
    assert_eq!(seen.all(), vec!["closed: closed by the peer"; wire.len() + 2]);
}

async fn a_truncation_is_no_clean_end<W: World>(world: W) {
    let seen = Seen::default();
    let (handle, address) = start(&world, echo(&seen));
    let peer = world.connect(&address).await.unwrap();
    let said = exchange(peer, &sealed(KEY, b"one\n", false)).await;
    assert_eq!(opened(KEY, &said), (b"one\n".to_vec(), true));
    settle(&handle).await;
    let expected = ["error: layer error: cut off without a close notice", "closed: protocol error"];
    assert_eq!(seen.all(), expected);
}

async fn a_wrong_handshake_is_answered_by_an_alert<W: World>(world: W) {
    let seen = Seen::default();
    let (handle, address) = start(&world, echo(&seen));
    let peer = world.connect(&address).await.unwrap();
    assert_eq!(exchange(peer, b"GET / HTTP/1.1\r\n").await, [ALERT]);
    // Nothing but silence, and an end: nobody's error but the layer's.
    let peer = world.connect(&address).await.unwrap();
    assert_eq!(exchange(peer, b"").await, b"");
    settle(&handle).await;
    let cut = "error: layer error: cut off without a close notice";
    assert_eq!(seen.all(), ["error: layer error: not this layer", cut], "`on_connect` was never called");
}

async fn a_client_is_cut_at_every_byte<W: World>(world: W) {
    let (acceptor, address) = world.acceptor();
    let (event_loop, handle) = EventLoop::new(LoopSettings::default());
    drop(spawn(event_loop.run_on(world.backend())));
    let seen = Seen::default();
    let lines = seen.clone();
    let conn = Client::text(address.to_string())
        .layer(|| Box::new(Xor::new(Role::Client, KEY)))
        .handlers(watched(&seen))
        .on_message(move |_, line: workerman_protocol::Line| lines.note(line))
        .connect_on(&handle)
        .unwrap();
    // Before there is anybody to take it.
    let _ = conn.send("early").unwrap();
    let mut peer = patiently(W::accept(&acceptor)).await.expect("a client in time");
    let mut hello = [0; 2];
    peer.read_exact(&mut hello).await.unwrap();
    assert_eq!(hello, [0x16, KEY]);
    let mut wire = sealed(KEY, b"hello\nworld\n", true);
    wire[..2].copy_from_slice(&[0x17, !KEY]);
    drip(&mut peer, &wire).await;
    let rest = patiently(read_all(&mut peer)).await.expect("an end in time");
    let all = [&hello[..], &rest].concat();
    assert_eq!(all, sealed(KEY, b"early\n", true), "the notice comes before the end");
    drop(peer);
    settle(&handle).await;
    assert_eq!(seen.all(), ["hello", "world", "closed: closed by the peer"]);
}

async fn large_messages_pass_between_two_of_us<W: World>(world: W) {
    let seen = Seen::default();
    let handlers = watched(&seen).on_message(|_, frame: Bytes| frame);
    let (handle, address) = start(&world, Service::new("frames", Frame::new, handlers, Settings::default()));
    let (done, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let conn = Client::frame(address.to_string())
        .layer(|| Box::new(Xor::new(Role::Client, KEY)))
        .on_message(move |_, frame: Bytes| done.send(frame).unwrap())
        // Two sides that both stop to read while they are full would wait for each other.
        .settings(Settings { high_water: 8_000_000, ..Settings::default() })
        .connect_on(&handle)
        .unwrap();
    let frames: Vec<Bytes> = [3_000_000, 0, 1, 70_000, 2_000_000]
        .map(|length: u32| (0..length).map(|n| (n >> 4) as u8).collect::<Vec<u8>>().into())
        .into();
    for frame in &frames {
        let _ = conn.send(frame.clone()).unwrap();
    }
    for frame in &frames {
        let back = patiently(arrived.recv()).await.expect("an echo in time").unwrap();
        assert!(back == *frame, "{} of {}", back.len(), frame.len());
    }
    conn.close();
    settle(&handle).await;
    assert_eq!(seen.all(), ["closed: closed by the peer"]);
}

async fn backpressure_reaches_through<W: World>(world: W) {
    let seen = Seen::default();
    let (fulls, drains) = (seen.clone(), seen.clone());
    let handlers = watched(&seen)
        .on_message(|_, bytes: Bytes| bytes)
        .on_buffer_full(move |_| fulls.note("full"))
        .on_buffer_drain(move |_| drains.note("drain"));
    let settings = Settings { high_water: 50_000, ..Settings::default() };
    let (handle, address) = start(&world, Service::new("echo", Raw::new, handlers, settings));
    let body: Vec<u8> = (0..20_000_000u32).map(|n| (n >> 3) as u8).collect();
    let wire = sealed(KEY, &body, true);
    let peer = world.connect(&address).await.unwrap();
    let (mut reads, mut writes) = tokio::io::split(peer);
    let most = handle.clone();
    let reading = async {
        // The queue fills up before anybody reads.
        while !seen.all().contains(&"full".to_owned()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let queued = most.snapshot().bytes_queued;
        assert!(queued < 300_000, "{queued} bytes are queued for a peer that reads nothing");
        read_all(&mut reads).await
    };
    let writing = async {
        writes.write_all(&wire).await.unwrap();
        writes.shutdown().await.unwrap();
    };
    let said = patiently(async { tokio::join!(reading, writing).0 }).await.expect("an echo in time");
    let (plain, ended) = opened(KEY, &said);
    assert!(plain == body && ended, "{} of {}", plain.len(), body.len());
    settle(&handle).await;
    let all = seen.all();
    let count = |what: &str| all.iter().filter(|line| *line == what).count();
    assert_eq!(count("full"), count("drain"));
    assert_eq!(all.last().unwrap(), "closed: closed by the peer");
}

async fn a_switch_above_keeps_the_layer<W: World>(world: W) {
    let seen = Seen::default();
    let (handle, address) = start(&world, toy::service::<Numbered>(Goodbye::Now, &seen, Settings::default()));
    let wire = sealed(KEY, b"SAY a\nEXPECT 4\nabcdSWITCH\nunread\nlines\n", true);
    for drips in [false, true] {
        let mut peer = world.connect(&address).await.unwrap();
        let said = if drips {
            drip(&mut peer, &wire).await;
            exchange(peer, b"").await
        } else {
            exchange(peer, &wire).await
        };
        let (plain, ended) = opened(KEY, &said);
        let expected =
            "1 HELLO\n2 SAID a\n3 100\n4 GOT 4 of 4: 394\n5 SWITCHING\nfirst\ntext\nUNREAD\nLINES\n";
        assert_eq!(String::from_utf8_lossy(&plain), expected);
        assert!(ended);
    }
    settle(&handle).await;
}

async fn a_refusal_above_leaves_before_the_notice<W: World>(world: W) {
    let seen = Seen::default();
    let (handle, address) = start(&world, toy::service::<()>(Goodbye::Now, &seen, Settings::default()));
    for (says, expected) in [("WHAT\n", "HELLO\n400\n"), ("STREAM 5\nSAY x\n", "HELLO\n.....")] {
        let peer = world.connect(&address).await.unwrap();
        let said = exchange(peer, &sealed(KEY, says.as_bytes(), true)).await;
        assert_eq!(opened(KEY, &said), (expected.as_bytes().to_vec(), true));
    }
    settle(&handle).await;
}

macro_rules! bodies {
    (@each $world:ident: $($body:ident),* $(,)?) => {
        $(#[test]
        fn $body() {
            super::$world(async |world| super::$body(world).await);
        })*
    };
    ($($world:ident),*) => {
        $(mod $world {
            bodies! { @each $world:
                a_server_is_cut_at_every_byte, a_truncation_is_no_clean_end,
                a_wrong_handshake_is_answered_by_an_alert, a_client_is_cut_at_every_byte,
                large_messages_pass_between_two_of_us, backpressure_reaches_through,
                a_switch_above_keeps_the_layer, a_refusal_above_leaves_before_the_notice,
            }
        })*
    };
}

type Sims = Simulated<Perfect>;

fn perfect(body: impl AsyncFn(Sims)) {
    Sims::run_with(1, LinkOptions::default(), async |world| body(world).await);
}

fn choppy(body: impl AsyncFn(Sims)) {
    for seed in 0..3 {
        let options = LinkOptions {
            segment: 1..=20_000,
            latency: Duration::from_micros(1)..=Duration::from_millis(2),
            ..LinkOptions::default()
        };
        Sims::run_with(seed, options, async |world| body(world).await);
    }
}

#[cfg(unix)]
fn on_tokio(
    body: impl AsyncFn(workerman_tests::conformance::real::Real<workerman_event::tokio_backend::Tokio>),
) {
    World::run(async |world| body(world).await);
}

#[cfg(target_os = "linux")]
fn on_epoll(body: impl AsyncFn(workerman_tests::conformance::real::Real<workerman_event::epoll::Epoll>)) {
    World::run(async |world| body(world).await);
}

bodies!(perfect, choppy);
#[cfg(unix)]
bodies!(on_tokio);
#[cfg(target_os = "linux")]
bodies!(on_epoll);

/// Segments of one byte: each message of both sides is cut everywhere.
#[test]
fn segments_of_one_byte() {
    let options = LinkOptions { segment: 1..=1, ..LinkOptions::default() };
    Sims::run_with(1, options.clone(), async |world| a_server_is_cut_at_every_byte(world).await);
    Sims::run_with(2, options.clone(), async |world| a_client_is_cut_at_every_byte(world).await);
    Sims::run_with(3, options, async |world| a_switch_above_keeps_the_layer(world).await);
}

#[test]
fn a_handshake_has_its_own_deadline_on_both_sides() {
    sim::block_on(1, async |network| {
        let (server, client) = (network.host("server"), network.host("client"));
        let diary = Diary::new(&network);
        let service = Service::new("slow", Text::new, diary.handlers("server"), Settings::default())
            .layer(|| Box::new(Xor::new(Role::Server, 0)));
        let handle = serve(&network, server, 80, service);
        let mut peer = network.connect(client, server.socket(80)).await.unwrap();
        peer.write_all(&[0x16]).await.unwrap();
        assert_eq!(read_all(&mut peer).await, b"");
        assert!(network.elapsed() >= HANDSHAKE && network.elapsed() <= HANDSHAKE + GRANULE);
        drop(peer);
        assert_eq!(diary.take(), ["server error: timed out: the handshake was not finished"]);

        let silent = network.listen(server, 81).unwrap();
        let began = network.elapsed();
        let ours = event_loop(&network, client);
        let conn = Client::text("server:81")
            .handlers(diary.handlers("client"))
            .layer(|| Box::new(Xor::new(Role::Client, KEY)))
            .connect_on(&ours)
            .unwrap();
        let _ = conn.send("never").unwrap();
        let _peer = silent.accept().await.unwrap();
        conn.closed().await;
        let took = network.elapsed() - began;
        assert!(took >= HANDSHAKE && took <= HANDSHAKE + GRANULE, "{took:?}");
        sleep(2000).await;
        settled(&handle);
        settled(&ours);
    });
}

#[test]
fn what_the_layer_hears_after_the_end_is_not_answered() {
    sim::block_on(1, async |network| {
        let (server, client) = (network.host("server"), network.host("client"));
        let diary = Diary::new(&network);
        let handlers = diary.handlers("server").on_message(|conn: &Connection<Text>, _| {
            let _ = conn.close_with("last");
        });
        let service = Service::new("close", Text::new, handlers, Settings::default())
            .layer(|| Box::new(Xor::new(Role::Server, 0)));
        let handle = serve(&network, server, 80, service);
        for says in [sealed(KEY, b"x\n", false), b"nonsense".to_vec()] {
            let mut peer = network.connect(client, server.socket(80)).await.unwrap();
            peer.write_all(&says).await.unwrap();
            sleep(10).await;
            for _ in 0..20 {
                peer.write_all(b"what nobody reads any more").await.unwrap();
                sleep(10).await;
            }
            let said = read_all(&mut peer).await;
            assert!(said == [ALERT] || opened(KEY, &said) == (b"last\n".to_vec(), true), "{said:?}");
        }
        sleep(2000).await;
        let expected =
            ["server up", "server closed: closed by this side", "server error: layer error: not this layer"];
        assert_eq!(diary.take(), expected);
        settled(&handle);
    });
}
