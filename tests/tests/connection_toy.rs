//! A toy protocol that uses the whole contract: through the session alone, and on every backend.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_connection::session::{Session, Step, Turn};
use workerman_connection::{EventLoop, LoopHandle, LoopSettings, Settings};
use workerman_event::sim::LinkOptions;
use workerman_event::spawn;
use workerman_protocol::{Goodbye, Outbox, Protocol, Random, Role};
use workerman_tests::conformance::sim::{Perfect, Simulated};
use workerman_tests::conformance::{World, patiently};
use workerman_tests::simulation::{drip, read_all};
use workerman_tests::toy::{Body, Counting, Numbered, Say, Seen, Toy, service};

const BODY: usize = 30_000;

/// Everything that a client says up to the switch, and a line behind it.
fn script() -> Vec<u8> {
    let mut script = b"SAY one\nPING\nPUT 5\nhelloSAY two\n".to_vec();
    script.extend_from_slice(format!("EXPECT {BODY}\n").as_bytes());
    script.extend((0..BODY).map(|n| (n % 251) as u8));
    script.extend_from_slice(b"PING\nPUT 0\nSAY three\nSWITCH\nunread\nand more\n");
    script
}

/// What the server says to it in the toy's own lines.
fn answers() -> Vec<String> {
    let sum: u64 = (0..BODY as u64).map(|n| n % 251).sum();
    let hello: u64 = b"hello".iter().map(|byte| u64::from(*byte)).sum();
    ["HELLO", "SAID one", "PONG", &format!("GOT 5 of 5: {hello}"), "SAID two", "100"]
        .into_iter()
        .map(str::to_owned)
        .chain([format!("GOT {BODY} of {BODY}: {sum}"), "PONG".to_owned(), "GOT 0 of 0: 0".to_owned()])
        .chain(["SAID three".to_owned()])
        .collect()
}

/// Lines as a server with this state sends them.
fn marked<S: Counting>(lines: &[impl AsRef<str>]) -> Vec<u8> {
    let (mut state, mut out) = (S::default(), Outbox::new());
    for line in lines {
        state.mark(&mut out);
        out.put_slice(line.as_ref().as_bytes());
        out.put_slice(b"\n");
    }
    out.into_bytes().to_vec()
}

fn with_switch<S: Counting>() -> Vec<u8> {
    let mut lines = answers();
    lines.push("SWITCHING".to_owned());
    let mut all = marked::<S>(&lines);
    all.extend_from_slice(b"first\ntext\nUNREAD\nAND MORE\n");
    all
}

// ---- the session alone ---------------------------------------------------------------------------------------------

/// Drives a session by hand; input in pieces of `size`.
fn alone<S: Counting>(size: usize) {
    let now = Instant::now();
    let mut session = Session::new(Toy::<S>::new(Goodbye::Now), Role::Server, false, now);
    let sending = RefCell::new(S::default());
    let (mut random, mut reply, mut said) = (Random::new(1), Outbox::new(), Outbox::new());
    let mut turn = Turn {
        now,
        unix_seconds: 0,
        random: &mut random,
        reply: &mut reply,
        queued: 0,
        waker: Waker::noop(),
        handling: false,
        parked: false,
    };
    session.open(&mut turn, &sending).unwrap();
    said.append(turn.reply);
    let mut body: Option<(usize, Body, usize, u64)> = None;
    let mut switching = false;
    for piece in script().chunks(size) {
        session.receive(&mut BytesMut::from(piece));
        while !switching {
            let step = session.next(&mut turn, &sending);
            said.append(turn.reply);
            let mut answer = None;
            match step {
                Step::Message(line) if line == "SWITCH" => switching = true,
                Step::Message(line) => answer = Some(line.replacen("SAY", "SAID", 1)),
                Step::Event(head) => body = Some((head.length, head.body, 0, 0)),
                Step::Need(_) | Step::Blocked => {
                    let blocked = matches!(step, Step::Blocked);
                    let Some((length, reader, read, sum)) = &mut body else { break };
                    let next = pin!(reader.next()).poll(&mut Context::from_waker(Waker::noop()));
                    match next {
                        Poll::Ready(Some(bytes)) => {
                            *read += bytes.len();
                            *sum += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
                        }
                        Poll::Ready(None) => {
                            answer = Some(format!("GOT {read} of {length}: {sum}"));
                            body = None;
                        }
                        Poll::Pending => {
                            assert!(!blocked, "blocked for nothing");
                            break;
                        }
                    }
                }
                other => panic!("{other:?}"),
            }
            if let Some(line) = answer {
                Toy::<S>::encode(&mut sending.borrow_mut(), Say::Line(line), &mut said).unwrap();
            }
        }
    }
    assert_eq!(said.into_bytes(), marked::<S>(&answers()), "in pieces of {size}");
    let parts = session.into_parts();
    assert_eq!(parts.unread, &b"unread\nand more\n"[..]);
}

#[test]
fn the_session_alone_in_pieces_of_every_size() {
    for size in (1..100).chain([1000, 4096, 100_000]) {
        alone::<()>(size);
        alone::<Numbered>(size);
    }
}

// ---- on every backend ----------------------------------------------------------------------------------------------

/// A server of the toy in this world, and a peer of it.
async fn rig<S: Counting, W: World>(world: &W, goodbye: Goodbye, seen: &Seen) -> (LoopHandle, W::Peer) {
    let (event_loop, handle) = EventLoop::new(LoopSettings::default());
    let (listener, address) = world.listener();
    let service = service::<S>(goodbye, seen, Settings::default());
    handle.listen(Arc::new(service), listener).unwrap();
    drop(spawn(event_loop.run_on(world.backend())));
    (handle, world.connect(&address).await.unwrap())
}

/// Nothing is left of any connection.
async fn settle(handle: &LoopHandle) {
    let settled = async {
        loop {
            let snapshot = handle.snapshot();
            if snapshot.connections == 0 && snapshot.bytes_queued == 0 {
                return;
            }
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    patiently(settled).await.unwrap_or_else(|| panic!("{:?}", handle.snapshot()));
    handle.stop();
}

/// Says it, ends, and returns all that comes back.
async fn exchange<P: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(peer: P, says: &[u8]) -> Vec<u8> {
    let (mut reads, mut writes) = tokio::io::split(peer);
    let writing = async {
        writes.write_all(says).await.unwrap();
        writes.shutdown().await.unwrap();
    };
    let both = async { tokio::join!(read_all(&mut reads), writing).0 };
    patiently(both).await.expect("an answer in time")
}

async fn everything_in_order<S: Counting, W: World>(world: W) {
    let seen = Seen::default();
    let (handle, peer) = rig::<S, W>(&world, Goodbye::Now, &seen).await;
    let said = exchange(peer, &script()).await;
    assert_eq!(String::from_utf8_lossy(&said), String::from_utf8_lossy(&with_switch::<S>()));
    settle(&handle).await;
    let bounded = "bounded: true";
    let expected = [bounded, bounded, bounded, "Err(Upgraded)", "text closed: closed by the peer"];
    assert_eq!(seen.all(), expected);
}

async fn byte_by_byte<S: Counting, W: World>(world: W) {
    let seen = Seen::default();
    let (handle, mut peer) = rig::<S, W>(&world, Goodbye::Now, &seen).await;
    drip(&mut peer, b"SAY a\nPUT 3\nabcPING\nEXPECT 2\nxySWITCH\nline\n").await;
    peer.shutdown().await.unwrap();
    let said = patiently(read_all(&mut peer)).await.expect("an answer in time");
    let mut expected =
        marked::<S>(&["HELLO", "SAID a", "GOT 3 of 3: 294", "PONG", "100", "GOT 2 of 2: 241", "SWITCHING"]);
    expected.extend_from_slice(b"first\ntext\nLINE\n");
    assert_eq!(String::from_utf8_lossy(&said), String::from_utf8_lossy(&expected));
    drop(peer);
    settle(&handle).await;
}

async fn a_refusal_is_sent<S: Counting, W: World>(world: W) {
    let seen = Seen::default();
    let (handle, peer) = rig::<S, W>(&world, Goodbye::Now, &seen).await;
    let said = exchange(peer, b"SAY a\nWHAT\nSAY b\n").await;
    assert_eq!(said, marked::<S>(&["HELLO", "SAID a", "400"]));
    settle(&handle).await;
    assert_eq!(seen.all(), ["error: protocol error: not a request: WHAT", "closed: protocol error"]);
}

async fn a_handler_that_fails_is_answered_by_the_protocol<S: Counting, W: World>(world: W) {
    let seen = Seen::default();
    let (handle, peer) = rig::<S, W>(&world, Goodbye::Now, &seen).await;
    let said = exchange(peer, b"SAY a\nSTREAM x\nSAY b\nPANIC\nSAY c\n").await;
    let expected = marked::<S>(&["HELLO", "SAID a", "500", "SAID b", "500"]);
    assert_eq!(String::from_utf8_lossy(&said), String::from_utf8_lossy(&expected));
    settle(&handle).await;
    let panicked = "error: a callback panicked: expected by the test";
    let failed = "error: handler failed: invalid digit found in string";
    assert_eq!(seen.all(), [failed, panicked, "closed: panic"]);
}

async fn an_answer_can_end_with_the_stream<S: Counting, W: World>(world: W) {
    let seen = Seen::default();
    let (handle, peer) = rig::<S, W>(&world, Goodbye::Now, &seen).await;
    let said = exchange(peer, b"SAY a\nSTREAM 300000\nSAY b\n").await;
    let mut expected = marked::<S>(&["HELLO", "SAID a", ""]);
    expected.pop();
    expected.extend_from_slice(&vec![b'.'; 300_000]);
    assert!(said == expected, "{} of {}", said.len(), expected.len());
    settle(&handle).await;
    assert_eq!(seen.all(), ["closed: closed by this side"]);
}

async fn a_truncated_body_is_no_clean_end<S: Counting, W: World>(world: W) {
    let seen = Seen::default();
    let (handle, peer) = rig::<S, W>(&world, Goodbye::Now, &seen).await;
    let said = exchange(peer, b"SAY a\nSAY unfinished").await;
    assert_eq!(said, marked::<S>(&["HELLO", "SAID a"]));
    settle(&handle).await;
    let truncated = "error: the peer ended its stream within a message";
    assert_eq!(seen.all(), [truncated, "closed: protocol error"]);
}

async fn a_close_with_a_code_speaks_last<S: Counting, W: World>(world: W) {
    for goodbye in [Goodbye::Now, Goodbye::AfterMessage, Goodbye::WhenPeerCloses] {
        let seen = Seen::default();
        let (handle, mut peer) = rig::<S, W>(&world, goodbye, &seen).await;
        peer.write_all(b"SAY a\nCLOSE 7\n").await.unwrap();
        let expected = marked::<S>(&["HELLO", "SAID a", "CLOSE 7 as asked"]);
        let mut said = vec![0; expected.len()];
        patiently(peer.read_exact(&mut said)).await.expect("an answer in time").unwrap();
        assert_eq!(said, expected);
        if goodbye == Goodbye::WhenPeerCloses {
            peer.shutdown().await.unwrap();
        }
        assert_eq!(patiently(read_all(&mut peer)).await.expect("an end in time"), b"");
        drop(peer);
        settle(&handle).await;
        let by = if goodbye == Goodbye::WhenPeerCloses { "the peer" } else { "this side" };
        assert_eq!(seen.all(), [format!("closed: closed by {by}")], "{goodbye:?}");
    }
}

async fn a_drain_says_goodbye_behind_what_was_sent<S: Counting, W: World>(world: W) {
    let seen = Seen::default();
    let (handle, mut peer) = rig::<S, W>(&world, Goodbye::AfterMessage, &seen).await;
    peer.write_all(b"SAY a\nPUT 4\nab").await.unwrap();
    let expected = marked::<S>(&["HELLO", "SAID a"]);
    let mut said = vec![0; expected.len()];
    patiently(peer.read_exact(&mut said)).await.expect("an answer in time").unwrap();
    let drain = handle.clone();
    let drained = spawn(async move { drain.drain(Duration::from_secs(50)).await.unwrap() });
    let all = marked::<S>(&["HELLO", "SAID a", "BYE", "GOT 4 of 4: 394"]);
    let mut bye = vec![0; marked::<S>(&["HELLO", "SAID a", "BYE"]).len() - expected.len()];
    patiently(peer.read_exact(&mut bye)).await.expect("a goodbye in time").unwrap();
    peer.write_all(b"cd").await.unwrap();
    said.extend_from_slice(&bye);
    said.extend_from_slice(&patiently(read_all(&mut peer)).await.expect("an end in time"));
    assert_eq!(String::from_utf8_lossy(&said), String::from_utf8_lossy(&all));
    drop(peer);
    let drained = patiently(drained).await.expect("a drain in time").unwrap();
    assert_eq!((drained.finished, drained.cut), (1, 0));
    assert_eq!(seen.all(), ["bounded: true", "closed: shutdown"]);
    settle(&handle).await;
}

/// Every body, with and without state.
macro_rules! bodies {
    (@each $world:ident: $($body:ident),* $(,)?) => {
        $(mod $body {
            #[test]
            fn stateless() {
                super::super::$world(async |world| super::super::$body::<(), _>(world).await);
            }

            #[test]
            fn stateful() {
                super::super::$world(async |world| super::super::$body::<super::super::Numbered, _>(world).await);
            }
        })*
    };
    ($($world:ident),*) => {
        $(mod $world {
            bodies! { @each $world:
                everything_in_order, byte_by_byte, a_refusal_is_sent,
                a_handler_that_fails_is_answered_by_the_protocol, an_answer_can_end_with_the_stream,
                a_truncated_body_is_no_clean_end, a_close_with_a_code_speaks_last,
                a_drain_says_goodbye_behind_what_was_sent,
            }
        })*
    };
}

type Sims = Simulated<Perfect>;

fn perfect(body: impl AsyncFn(Sims)) {
    Sims::run_with(1, LinkOptions::default(), async |world| body(world).await);
}

fn choppy(body: impl AsyncFn(Sims)) {
    for seed in 0..10 {
        let options = LinkOptions {
            segment: 1..=700,
            capacity: 1500,
            latency: Duration::from_millis(1)..=Duration::from_millis(9),
            ..LinkOptions::default()
        };
        Sims::run_with(seed, options, async |world| body(world).await);
    }
}

fn tiny(body: impl AsyncFn(Sims)) {
    for seed in 0..3 {
        let options = LinkOptions { segment: 1..=1, capacity: 64, ..LinkOptions::default() };
        Sims::run_with(seed, options, async |world| body(world).await);
    }
}

#[cfg(unix)]
fn on_tokio(
    body: impl AsyncFn(workerman_tests::conformance::real::Real<workerman_event::tokio_backend::Tokio>),
) {
    World::run(async |world| body(world).await);
}

bodies!(perfect, choppy, tiny);
#[cfg(unix)]
bodies!(on_tokio);

#[cfg(target_os = "linux")]
fn on_epoll(body: impl AsyncFn(workerman_tests::conformance::real::Real<workerman_event::epoll::Epoll>)) {
    World::run(async |world| body(world).await);
}

#[cfg(target_os = "linux")]
bodies!(on_epoll);
