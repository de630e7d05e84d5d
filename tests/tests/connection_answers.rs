//! A protocol whose decoding half writes the answers, on every backend.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use workerman_connection::{EventLoop, LoopHandle, LoopSettings, Service};
use workerman_event::sim::LinkOptions;
use workerman_event::{BackendKind, Listener, spawn};
use workerman_protocol::Role;
use workerman_tests::asking::{Asking, Setup};
use workerman_tests::conformance::sim::{Perfect, Simulated};
use workerman_tests::conformance::{World, patiently};
use workerman_tests::on_real_backends;
use workerman_tests::serving::Serving;
use workerman_tests::simulation::read_all;
use workerman_tests::xor::{Xor, opened, sealed};

const FLOW: usize = 10_000;
const BIG: usize = 70_000;

/// A server in this world.
fn serve<W: World>(world: &W, service: Service<Asking>, listener: Listener) -> LoopHandle {
    let (event_loop, handle) = EventLoop::new(LoopSettings::default());
    handle.listen(Arc::new(service), listener).unwrap();
    drop(spawn(event_loop.run_on(world.backend())));
    handle
}

/// A server in this world, and a peer of it that has been greeted.
async fn rig<W: World>(world: &W, setup: &Setup) -> (LoopHandle, BufReader<W::Peer>) {
    let (listener, address) = world.listener();
    let handle = serve(world, setup.service(), listener);
    let peer = world.connect(&address).await.unwrap();
    let own = W::local_address(&peer);
    let mut peer = BufReader::new(peer);
    assert_eq!(line(&mut peer).await, format!("HELLO {own}"), "the protocol is told who the peer is");
    (handle, peer)
}

/// The next line; empty at the end.
async fn line(peer: &mut (impl AsyncBufReadExt + Unpin)) -> String {
    let mut line = String::new();
    patiently(peer.read_line(&mut line)).await.expect("a line in time").unwrap();
    line.trim_end().to_owned()
}

async fn rest(peer: &mut (impl AsyncRead + Unpin)) -> String {
    let rest = patiently(read_all(peer)).await.expect("an end in time");
    String::from_utf8(rest).unwrap()
}

async fn say(peer: &mut (impl AsyncWrite + Unpin), bytes: impl AsRef<[u8]>) {
    patiently(peer.write_all(bytes.as_ref())).await.expect("room in time").unwrap();
    peer.flush().await.unwrap();
}

/// Says it, ends, and returns all that comes back.
async fn exchange<P: AsyncRead + AsyncWrite + Unpin>(peer: P, says: &[u8]) -> String {
    String::from_utf8(exchange_bytes(peer, says).await).unwrap()
}

async fn exchange_bytes<P: AsyncRead + AsyncWrite + Unpin>(peer: P, says: &[u8]) -> Vec<u8> {
    let (mut reads, mut writes) = tokio::io::split(peer);
    let writing = async {
        writes.write_all(says).await.unwrap();
        writes.shutdown().await.unwrap();
    };
    let both = async { tokio::join!(read_all(&mut reads), writing).0 };
    patiently(both).await.expect("an answer in time")
}

/// Nothing is left of any connection.
async fn settle(handle: &LoopHandle) {
    let settled = async {
        while handle.snapshot().connections != 0 || handle.snapshot().bytes_queued != 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    patiently(settled).await.unwrap_or_else(|| panic!("{:?}", handle.snapshot()));
    handle.stop();
}

/// What was noted, without the questions.
fn noted(setup: &Setup) -> Vec<String> {
    setup.seen.all().into_iter().filter(|note| !note.starts_with("asked")).collect()
}

/// Sync and async handlers, one and more questions at a time.
fn setups() -> impl Iterator<Item = Setup> {
    [(false, 1), (true, 1), (false, 4), (true, 4)]
        .into_iter()
        .map(|(is_async, window)| Setup::new(is_async, window))
}

async fn everything_in_order<W: World>(world: W) {
    let mut script =
        format!("SAY one\nSEND two\nAWAY three\nFLOW {FLOW}\nFAIL\nBAD\nPUT 5\nhelloBIG {BIG}\n");
    script.push_str(&"b".repeat(BIG));
    script.push_str("SAY last\n");
    for setup in setups() {
        let (handle, peer) = rig(&world, &setup).await;
        let said = exchange(peer, script.as_bytes()).await;
        let hello: u64 = b"hello".iter().map(|byte| u64::from(*byte)).sum();
        let put = if setup.asynchronous { format!("GOT 5: {hello}") } else { "PUT 5".to_owned() };
        let flow = ".".repeat(FLOW);
        let expected =
            format!("SAY one\nSEND two\nAWAY three\n{flow}SORRY 5\nSORRY 6\n{put}\nBIG {BIG}\nSAY last\n");
        assert_eq!(said, expected, "{setup:?}");
        settle(&handle).await;
        let failed = ["error: handler failed: as asked", "error: reply not sent: cannot encode: two lines"];
        assert_eq!(noted(&setup), [&failed[..], &["closed: closed by the peer"]].concat());
        let counted = handle.snapshot();
        // What `failed` says is no message.
        assert_eq!(
            (counted.messages_in, counted.messages_out, counted.send_failures),
            (9, 7, 1),
            "{setup:?}"
        );
    }
}

async fn through_a_layer<W: World>(world: W) {
    for setup in setups() {
        let (listener, address) = world.listener();
        let service = setup.service().layer(|| Box::new(Xor::new(Role::Server, 0)));
        let handle = serve(&world, service, listener);
        let peer = world.connect(&address).await.unwrap();
        let hello = format!("HELLO {}\n", W::local_address(&peer));
        let script = sealed(7, format!("SEND a\nFLOW {FLOW}\nFAIL\nAWAY b\n").as_bytes(), true);
        let (said, ended) = opened(7, &exchange_bytes(peer, &script).await);
        let expected = format!("{hello}SEND a\n{}SORRY 3\nAWAY b\n", ".".repeat(FLOW));
        assert_eq!(String::from_utf8(said).unwrap(), expected, "{setup:?}");
        assert!(ended, "with the notice of the layer");
        settle(&handle).await;
    }
}

async fn a_peer_on_a_unix_socket_is_nobody<W: World>(world: W) {
    let Some((listener, address)) = world.unix_listener() else { return };
    let handle = serve(&world, Setup::new(false, 1).service(), listener);
    let peer = world.connect(&address).await.unwrap();
    assert_eq!(exchange(peer, b"SAY a\n").await, "HELLO somebody\nSAY a\n");
    settle(&handle).await;
}

async fn a_panic_is_answered_and_ends<W: World>(world: W) {
    for setup in setups() {
        let (handle, peer) = rig(&world, &setup).await;
        assert_eq!(exchange(peer, b"SAY a\nPANIC\nSAY b\n").await, "SAY a\nSORRY 2\n", "{setup:?}");
        settle(&handle).await;
        assert_eq!(noted(&setup), ["error: a callback panicked: expected by the test", "closed: panic"]);
    }
}

async fn what_was_sent_is_said_before_a_close<W: World>(world: W) {
    for setup in setups() {
        let (handle, peer) = rig(&world, &setup).await;
        assert_eq!(exchange(peer, b"CLOSE a\nSAY b\n").await, "CLOSE a\n", "{setup:?}");
        settle(&handle).await;
        assert_eq!(noted(&setup), ["closed: closed by this side"]);
        let (handle, peer) = rig(&world, &setup).await;
        assert_eq!(exchange(peer, b"SAY a\nLEAVE b\nSAY c\n").await, "SAY a\n", "{setup:?}");
        settle(&handle).await;
    }
}

async fn a_long_answer_is_said_before_a_close<W: World>(world: W) {
    for setup in setups() {
        let (handle, peer) = rig(&world, &setup).await;
        let said = exchange(peer, format!("SAY a\nLAST {FLOW}\nSAY b\n").as_bytes()).await;
        assert_eq!(said, format!("SAY a\n{}", ".".repeat(FLOW)), "{setup:?}");
        settle(&handle).await;
        assert_eq!(noted(&setup), ["closed: closed by this side"]);
    }
}

async fn what_was_sent_is_said_before_another_protocol<W: World>(world: W) {
    for setup in setups().filter(|setup| setup.window == 1) {
        let (handle, peer) = rig(&world, &setup).await;
        assert_eq!(exchange(peer, b"SWITCH a\nline\n").await, "SWITCH a\nfirst\nLINE\n", "{setup:?}");
        settle(&handle).await;
        assert_eq!(noted(&setup), [""; 0]);
    }
}

async fn what_was_sent_is_said_before_an_error<W: World>(world: W) {
    // The nonsense is found while the handler of the first question is suspended.
    let setup = Setup::new(true, 4);
    let (handle, mut peer) = rig(&world, &setup).await;
    say(&mut peer, "SAY a\nNONSENSE b\n").await;
    assert_eq!(rest(&mut peer).await, "SAY a\n");
    drop(peer);
    settle(&handle).await;
    assert_eq!(noted(&setup), ["error: protocol error: nonsense", "closed: protocol error"]);
}

async fn an_answer_does_not_wait_for_its_handler<W: World>(world: W) {
    let setup = Setup::new(true, 4);
    let (handle, mut peer) = rig(&world, &setup).await;
    // The second question is decoded and waits for the handler of the first, which has answered.
    say(&mut peer, "HOLD a\nNOW b\nNOW c\n").await;
    assert_eq!(line(&mut peer).await, "HOLD a".replace("HOLD", "HELD"));
    setup.gate.open();
    assert_eq!(line(&mut peer).await, "NOW b");
    assert_eq!(line(&mut peer).await, "NOW c");
    // So does a long answer that was begun before.
    say(&mut peer, format!("FLOW {FLOW}\nHOLD d\nNOW e\n")).await;
    let mut flow = vec![0; FLOW];
    patiently(peer.read_exact(&mut flow)).await.expect("all of it in time").unwrap();
    assert_eq!(line(&mut peer).await, "HELD d");
    setup.gate.open();
    assert_eq!(line(&mut peer).await, "NOW e");
    drop(peer);
    settle(&handle).await;
}

async fn an_answer_does_not_wait_for_the_end_of_a_pause<W: World>(world: W) {
    let setup = Setup::new(false, 4);
    let (handle, mut peer) = rig(&world, &setup).await;
    say(&mut peer, format!("FLOW {FLOW}\nPAUSE a\nSAY b\n")).await;
    let mut flow = vec![0; FLOW];
    patiently(peer.read_exact(&mut flow)).await.expect("all of it in time").unwrap();
    assert_eq!(line(&mut peer).await, "PAUSE a");
    assert!(!setup.seen.all().contains(&"asked: SAY b".to_owned()), "no message is handled");
    setup.gate.open();
    assert_eq!(line(&mut peer).await, "SAY b");
    drop(peer);
    settle(&handle).await;
}

async fn an_answer_does_not_wait_for_a_large_question<W: World>(world: W) {
    let setup = Setup::new(false, 4);
    let (handle, mut peer) = rig(&world, &setup).await;
    let question = format!("LATER a\nBIG {BIG}\n{}", "b".repeat(BIG));
    let (begun, end) = question.split_at(question.len() - 100);
    say(&mut peer, begun).await;
    let arrived = async {
        while handle.snapshot().bytes_in < begun.len() as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    patiently(arrived).await.expect("it arrives in time");
    setup.gate.open();
    assert_eq!(line(&mut peer).await, "LATER a");
    say(&mut peer, end).await;
    assert_eq!(line(&mut peer).await, format!("BIG {BIG}"));
    drop(peer);
    settle(&handle).await;
}

async fn the_end_waits_for_an_answer<W: World>(world: W) {
    for is_async in [false, true] {
        let setup = Setup::new(is_async, 4);
        let (handle, mut peer) = rig(&world, &setup).await;
        say(&mut peer, "LATER a\nSAY b\n").await;
        peer.shutdown().await.unwrap();
        // In virtual time the end is there before the answer.
        tokio::time::sleep(Duration::from_millis(if W::VIRTUAL { 1000 } else { 1 })).await;
        setup.gate.open();
        assert_eq!(rest(&mut peer).await, "LATER a\nSAY b\n");
        settle(&handle).await;
        assert_eq!(noted(&setup), ["closed: closed by the peer"]);
    }
}

async fn a_drain_lets_a_long_answer_end<W: World>(world: W) {
    let setup = Setup::new(false, 1);
    let (handle, mut peer) = rig(&world, &setup).await;
    say(&mut peer, format!("FLOW {}\n", 15 * FLOW)).await;
    let mut begun = [0; 100];
    patiently(peer.read_exact(&mut begun)).await.expect("a beginning in time").unwrap();
    let drain = handle.clone();
    let drained = spawn(async move { drain.drain(Duration::from_secs(50)).await.unwrap() });
    assert_eq!(begun.len() + rest(&mut peer).await.len(), 15 * FLOW);
    drop(peer);
    let drained = patiently(drained).await.expect("a drain in time").unwrap();
    assert_eq!((drained.finished, drained.cut), (1, 0));
    assert_eq!(noted(&setup), ["closed: shutdown"]);
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
                everything_in_order, through_a_layer, a_peer_on_a_unix_socket_is_nobody, a_panic_is_answered_and_ends, what_was_sent_is_said_before_a_close,
                a_long_answer_is_said_before_a_close,
                what_was_sent_is_said_before_another_protocol, what_was_sent_is_said_before_an_error,
                an_answer_does_not_wait_for_its_handler, an_answer_does_not_wait_for_the_end_of_a_pause,
                an_answer_does_not_wait_for_a_large_question, the_end_waits_for_an_answer,
                a_drain_lets_a_long_answer_end,
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
    let options = LinkOptions { segment: 1..=3, capacity: 64, ..LinkOptions::default() };
    Sims::run_with(1, options, async |world| body(world).await);
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

// ---- with other threads --------------------------------------------------------------------------------------------

on_real_backends! { pieces_from_elsewhere_stay_whole }

fn pieces_from_elsewhere_stay_whole(kind: BackendKind) {
    let (questions, pieces) = (2000, 500);
    let service = Arc::new(Setup::new(false, 4).service());
    let serving = Serving::with(kind, LoopSettings::default(), &service);
    let mut peer = serving.peer();
    assert!(peer.line().unwrap().starts_with("HELLO "));
    let conn = service.connections().pop().unwrap();
    let raw = std::thread::spawn(move || {
        for _ in 0..pieces {
            let _ = conn.send_raw("RAW and whole\n").unwrap();
        }
    });
    peer.say("SAY something\n".repeat(questions));
    let (mut answers, mut raws) = (0, 0);
    while answers < questions || raws < pieces {
        match peer.line().unwrap().as_str() {
            "SAY something" => answers += 1,
            "RAW and whole" => raws += 1,
            other => panic!("{other}"),
        }
    }
    raw.join().unwrap();
    assert_eq!((answers, raws), (questions, pieces));
}
