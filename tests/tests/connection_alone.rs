//! Sending alone for a while, and what waits behind a full queue: on every backend, with each kind of sending half.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use workerman_connection::{
    Client, EventLoop, Handlers, LoopHandle, LoopSettings, Overflow, Reconnect, SendError, Sent, Service,
    Settings,
};
use workerman_event::sim::LinkOptions;
use workerman_event::{Address, BackendKind, spawn};
use workerman_protocol::Raw;
use workerman_tests::conformance::sim::{Perfect, Simulated};
use workerman_tests::conformance::{World, patiently};
use workerman_tests::on_real_backends;
use workerman_tests::serving::{self, Serving};
use workerman_tests::shaking::rig::{Conn, Conns, Lines, noting, peer, service, settle, start, until};
use workerman_tests::shaking::{Agreed, Counted, Marks, Shaking, Wrong};
use workerman_tests::toy::Seen;

/// The lines of one whose handshake is done, in the order in which they go out.
fn open<M: Marks>(bits: u8, lines: &[&str]) -> Vec<String> {
    let mut one = M::default();
    lines
        .iter()
        .map(|line| if M::FREE { format!("[{bits}] {line}") } else { format!("{}{line}", one.mark()) })
        .collect()
}

/// A peer whose handshake is done.
async fn shaken<M: Marks, W: World>(
    world: &W,
    address: &Address,
    conns: &Conns<M>,
) -> (Lines<W::Peer>, Conn<M>) {
    let mut peer = peer(world, address).await;
    let conn = conns.next().await;
    peer.say("HELLO 6\n").await;
    peer.hears(&["WELCOME 6", "(open)"]).await;
    (peer, conn)
}

struct Rig<M: Marks, W: World> {
    handle: LoopHandle,
    service: Arc<Service<Shaking<M>>>,
    peer: Lines<W::Peer>,
    conn: Conn<M>,
    seen: Seen,
    address: Address,
    conns: Conns<M>,
}

async fn rig<M: Marks, W: World>(world: &W, settings: Settings) -> Rig<M, W> {
    let (seen, conns) = (Seen::default(), Conns::new());
    let (handle, service, address) = start(world, service::<M>(noting(&seen, &conns), settings));
    let (peer, conn) = shaken(world, &address, &conns).await;
    // What is said to the end of the handshake is all written and accounted for.
    until("nothing is queued", || conn.buffered() == 0).await;
    Rig { handle, service, peer, conn, seen, address, conns }
}

async fn others_wait_for_the_one_who_sends_alone<M: Marks, W: World>(world: W) {
    let Rig { handle, mut peer, conn, .. } = rig::<M, W>(&world, Settings::default()).await;
    let _ = conn.send("before").unwrap();
    let mut alone = conn.exclusive().unwrap();
    assert!(matches!(conn.exclusive(), Err(SendError::Busy)));
    let _ = conn.send("b1").unwrap();
    let _ = alone.send("f1").unwrap();
    peer.hears(&open::<M>(6, &["before", "f1"])).await;
    assert!(conn.buffered() > 0);
    // What the protocol says passes.
    peer.say("PING\n").await;
    peer.hears(&["PONG"]).await;
    let _ = conn.send("b2").unwrap();
    let _ = alone.send("f2").unwrap();
    assert_eq!(alone.connection(), &conn);
    drop(alone);
    let _ = conn.send("after").unwrap();
    peer.hears(&open::<M>(6, &["before", "f1", "f2", "b1", "b2", "after"])[2..]).await;
    drop(conn.exclusive().unwrap());
    until("nothing is queued", || conn.buffered() == 0).await;
    assert_eq!((conn.messages_out(), handle.snapshot().messages_out), (6, 6));
    drop(peer);
    settle(&handle).await;
}

async fn alone_within_a_callback<M: Marks, W: World>(world: W) {
    let handlers = Handlers::new().on_message(|conn: &Conn<M>, line| {
        let _ = conn.send("a")?;
        let mut alone = conn.exclusive()?;
        let _ = conn.send("others")?;
        let _ = alone.send("f1")?;
        let _ = alone.send(format!("f2 {line}"))?;
        drop(alone);
        let _ = conn.send("z")?;
        Ok::<_, SendError<Wrong>>("reply".to_owned())
    });
    let (handle, _, address) = start(&world, service::<M>(handlers, Settings::default()));
    let mut peer = peer(&world, &address).await;
    peer.say("HELLO 6\nx\nPING\n").await;
    peer.hears(&["WELCOME 6", "(open)"]).await;
    peer.hears(&open::<M>(6, &["a", "f1", "f2 x", "others", "z", "reply"])).await;
    peer.hears(&["PONG"]).await;
    drop(peer);
    settle(&handle).await;
    assert_eq!(handle.snapshot().messages_out, 6);
}

async fn what_waits_has_its_own_marks<M: Marks, W: World>(world: W) {
    let settings = Settings { high_water: 60, hard_limit: 1000, ..Settings::default() };
    let Rig { handle, mut peer, conn, .. } = rig::<M, W>(&world, settings).await;
    let mut alone = conn.exclusive().unwrap();
    let mut lines = vec!["f1", "f2"];
    while conn.send("0123456789").unwrap() == Sent::Accepted {
        lines.push("0123456789");
    }
    lines.push("0123456789");
    assert!(matches!(conn.send("more"), Err(SendError::Full { .. })));
    // Whoever is alone has the whole queue.
    patiently(alone.ready()).await.unwrap().unwrap();
    let _ = alone.send("f1").unwrap();
    peer.hears(&open::<M>(6, &lines)[..1]).await;
    patiently(alone.ready()).await.unwrap().unwrap();
    let _ = alone.send("f2").unwrap();
    let ready = spawn(conn.ready());
    peer.hears(&open::<M>(6, &lines)[1..2]).await;
    assert!(!ready.is_finished());
    drop(alone);
    peer.hears(&open::<M>(6, &lines)[2..]).await;
    patiently(ready).await.unwrap().unwrap().unwrap();
    drop(peer);
    settle(&handle).await;
}

async fn what_waits_for_its_encoder_may_fail<M: Marks, W: World>(world: W) {
    let Rig { handle, mut peer, conn, .. } = rig::<M, W>(&world, Settings::default()).await;
    let alone = conn.exclusive().unwrap();
    let sent = conn.send("no\tencoding");
    let stateful = !M::FREE && size_of::<M>() > 0;
    // A state is only known when it is its turn.
    assert!(if stateful { sent.is_ok() } else { matches!(sent, Err(SendError::Encode(_))) });
    let _ = conn.send("good").unwrap();
    drop(alone);
    assert_eq!(handle.snapshot().send_failures, 1);
    peer.hears(&[if M::FREE {
        "[6] good"
    } else if stateful {
        "2 good"
    } else {
        "good"
    }])
    .await;
    let alone = conn.exclusive().unwrap();
    let panics = conn.send("PANIC");
    assert!(if stateful { panics.is_ok() } else { matches!(panics, Err(SendError::Panicked)) });
    drop(alone);
    settle(&handle).await;
    assert_eq!(handle.snapshot().panics, 1);
}

async fn an_end_drops_what_waits<M: Marks, W: World>(world: W) {
    for held in [false, true] {
        let Rig { handle, peer, conn, .. } = rig::<M, W>(&world, Settings::default()).await;
        let mut alone = conn.exclusive().unwrap();
        let _ = conn.send("waits").unwrap();
        let _ = alone.send("part").unwrap();
        conn.close();
        assert!(matches!(alone.send("part"), Err(SendError::Closed)));
        let kept = held.then_some(alone);
        assert_eq!(peer.rest().await, format!("{}\n", open::<M>(6, &["part"])[0]));
        settle(&handle).await;
        assert_eq!((conn.buffered(), handle.snapshot().send_failures), (0, 2));
        drop(kept);
        assert!(matches!(conn.exclusive(), Err(SendError::Closed)));
    }
}

async fn a_lost_connection_is_nobodys_alone<M: Marks, W: World>(world: W) {
    let (event_loop, handle) = EventLoop::new(LoopSettings::default());
    drop(spawn(event_loop.run_on(world.backend())));
    let (acceptor, address) = world.acceptor();
    let policy = Reconnect { first: Duration::from_millis(5), ..Reconnect::default() };
    let conn = Client::with(Shaking::<M>::new(), address.to_string().trim_start_matches("tcp://"))
        .reconnect(policy)
        .connect_on(&handle)
        .unwrap();
    assert!(matches!(conn.exclusive(), Err(SendError::Busy)), "nobody before the handshake");
    let mut first = Lines(patiently(W::accept(&acceptor)).await.unwrap());
    first.hears(&["HELLO 5"]).await;
    first.say("WELCOME 5\n").await;
    first.hears(&["(open)"]).await;
    let mut alone = conn.exclusive().unwrap();
    let _ = conn.send("waits").unwrap();
    drop(first);
    let mut second = Lines(patiently(W::accept(&acceptor)).await.unwrap());
    second.hears(&["HELLO 5"]).await;
    second.say("WELCOME 5\n").await;
    second.hears(&["(open)"]).await;
    assert!(matches!(alone.send("part"), Err(SendError::Closed)));
    let again = conn.exclusive().unwrap();
    drop(alone);
    assert!(matches!(conn.exclusive(), Err(SendError::Busy)), "the other one goes on");
    drop(again);
    let _ = conn.send("whole").unwrap();
    second.hears(&open::<M>(5, &["whole"])).await;
    conn.close();
    patiently(conn.closed()).await.unwrap();
    until("nothing is queued", || handle.snapshot().bytes_queued == 0).await;
    handle.stop();
}

async fn another_protocol_ends_it<M: Marks, W: World>(world: W) {
    let Rig { handle, mut peer, conn, .. } = rig::<M, W>(&world, Settings::default()).await;
    let mut alone = conn.exclusive().unwrap();
    let _ = conn.send("waits").unwrap();
    let _ = alone.send("part").unwrap();
    let raw = Arc::new(Service::new("raw", Raw::new, Handlers::new(), Settings::default()));
    let next = conn.upgrade(Raw::new(), &raw).unwrap();
    let _ = next.send("raw\n").unwrap();
    peer.hears(&open::<M>(6, &["part", "waits"])).await;
    peer.hears(&["raw"]).await;
    assert!(matches!(alone.send("part"), Err(SendError::Upgraded)));
    drop(alone);
    drop(peer);
    settle(&handle).await;
}

/// Fills the queue to its mark without a turn of the loop; the lines.
fn fill<M: Marks>(conn: &Conn<M>) -> Vec<&'static str> {
    let mut lines = Vec::new();
    loop {
        lines.push("0123456789");
        if conn.send("0123456789").unwrap() == Sent::OverHighWater {
            return lines;
        }
    }
}

/// Room for three of the lines that the tests put into the backlog.
fn small<M: Marks>() -> Settings {
    let line = if !M::FREE && size_of::<M>() > 0 {
        size_of::<String>().max("late 0\n".len())
    } else {
        open::<M>(6, &["late 0\n"])[0].len()
    };
    Settings { high_water: 60, hard_limit: 1000, backlog: 3 * line, ..Settings::default() }
}

async fn the_oldest_is_dropped<M: Marks, W: World>(world: W) {
    let Rig { handle, mut peer, conn, seen, .. } = rig::<M, W>(&world, small::<M>()).await;
    assert_eq!(conn.send_or("fits", Overflow::DropOldest).unwrap(), Sent::Accepted);
    let mut lines = fill(&conn);
    lines.insert(0, "fits");
    for n in 0..5 {
        let sent = conn.send_or(format!("late {n}"), Overflow::DropOldest).unwrap();
        assert_eq!(sent, Sent::OverHighWater);
    }
    assert_eq!(handle.snapshot().send_failures, 2);
    assert!(matches!(conn.send("more"), Err(SendError::Full { .. })));
    assert!(matches!(conn.send_or("more", Overflow::Refuse), Err(SendError::Full { .. })));
    assert!(matches!(conn.exclusive(), Err(SendError::Busy)));
    let huge = "x".repeat(1000);
    assert!(matches!(conn.send_or(huge, Overflow::DropOldest), Err(SendError::Full { .. })));
    let ready = spawn(conn.ready());
    lines.extend(["late 2", "late 3", "late 4", "after"]);
    let all = open::<M>(6, &lines);
    let (last, before) = all.split_last().unwrap();
    peer.hears(before).await;
    patiently(ready).await.unwrap().unwrap().unwrap();
    let _ = conn.send("after").unwrap();
    peer.hears(&[last]).await;
    until("drained", || seen.all() == ["full", "drained"]).await;
    until("nothing is queued", || handle.snapshot().bytes_queued == 0).await;
    drop(peer);
    settle(&handle).await;
}

async fn the_latest_of_a_key_stays<M: Marks, W: World>(world: W) {
    let Rig { handle, mut peer, conn, .. } = rig::<M, W>(&world, small::<M>()).await;
    let mut lines = fill(&conn);
    for (key, line) in [(1, "late 1"), (2, "late 2"), (1, "late 3"), (3, "late 4"), (2, "late 5")] {
        let _ = conn.send_or(line, Overflow::Latest(key)).unwrap();
    }
    assert_eq!(handle.snapshot().send_failures, 2);
    lines.extend(["late 3", "late 5", "late 4"]);
    peer.hears(&open::<M>(6, &lines)).await;
    drop(peer);
    settle(&handle).await;
}

async fn a_slow_receiver_is_closed<M: Marks, W: World>(world: W) {
    let Rig { handle, mut peer, conn, seen, .. } = rig::<M, W>(&world, small::<M>()).await;
    let lines = fill(&conn);
    assert!(matches!(conn.send_or("late", Overflow::Close(1013)), Err(SendError::Full { .. })));
    peer.hears(&open::<M>(6, &lines)).await;
    assert_eq!(peer.rest().await, "BYE 1013 too slow\n");
    settle(&handle).await;
    assert_eq!(seen.all().last().unwrap(), "closed: closed by this side with 1013: too slow");
}

async fn a_broadcast_leaves_the_slow_behind<M: Marks, W: World>(world: W) {
    let Rig { handle, service, mut peer, conn, address, conns, .. } = rig::<M, W>(&world, small::<M>()).await;
    let (mut other, _) = shaken(&world, &address, &conns).await;
    let mut lines = fill(&conn);
    let result = service.broadcast_with("refused", Overflow::Refuse, |_| false).unwrap();
    assert_eq!((result.sent, result.refused), (1, 1));
    let result = service.broadcast_with("late 1", Overflow::DropOldest, |_| false).unwrap();
    assert_eq!((result.sent, result.refused), (2, 0));
    let result = service.broadcast_with("late 2", Overflow::DropOldest, |of| of == &conn).unwrap();
    assert_eq!((result.sent, result.refused), (1, 0));
    lines.push("late 1");
    peer.hears(&open::<M>(6, &lines)).await;
    other.hears(&open::<M>(6, &["refused", "late 1", "late 2"])).await;
    drop((peer, other));
    settle(&handle).await;
}

async fn an_end_drops_the_backlog<M: Marks, W: World>(world: W) {
    let Rig { handle, mut peer, conn, .. } = rig::<M, W>(&world, small::<M>()).await;
    let lines = fill(&conn);
    let _ = conn.send_or("late 0", Overflow::DropOldest).unwrap();
    conn.close();
    assert!(matches!(conn.send_or("late 1", Overflow::DropOldest), Err(SendError::Closed)));
    peer.hears(&open::<M>(6, &lines)).await;
    assert_eq!(peer.rest().await, "");
    settle(&handle).await;
    assert_eq!((conn.buffered(), handle.snapshot().send_failures), (0, 2));
}

/// Every body, with each kind of sending half.
macro_rules! bodies {
    (@each $world:ident: $($body:ident),* $(,)?) => {
        $(mod $body {
            #[test]
            fn stateless() {
                super::super::$world(async |world| super::super::$body::<(), _>(world).await);
            }

            #[test]
            fn stateful() {
                super::super::$world(async |world| super::super::$body::<super::super::Counted, _>(world).await);
            }

            #[test]
            fn free() {
                super::super::$world(async |world| super::super::$body::<super::super::Agreed, _>(world).await);
            }
        })*
    };
    ($($world:ident),*) => {
        $(mod $world {
            bodies! { @each $world:
                others_wait_for_the_one_who_sends_alone, alone_within_a_callback, what_waits_has_its_own_marks,
                what_waits_for_its_encoder_may_fail, an_end_drops_what_waits, a_lost_connection_is_nobodys_alone,
                another_protocol_ends_it, the_oldest_is_dropped, the_latest_of_a_key_stays,
                a_slow_receiver_is_closed, a_broadcast_leaves_the_slow_behind, an_end_drops_the_backlog,
            }
        })*
    };
}

type Sims = Simulated<Perfect>;

fn perfect(body: impl AsyncFn(Sims)) {
    Sims::run_with(1, LinkOptions::default(), async |world| body(world).await);
}

fn choppy(body: impl AsyncFn(Sims)) {
    for seed in 0..5 {
        let options = LinkOptions {
            segment: 1..=7,
            capacity: 64,
            latency: Duration::from_millis(1)..=Duration::from_millis(9),
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

bodies!(perfect, choppy);
#[cfg(unix)]
bodies!(on_tokio);

#[cfg(target_os = "linux")]
fn on_epoll(body: impl AsyncFn(workerman_tests::conformance::real::Real<workerman_event::epoll::Epoll>)) {
    World::run(async |world| body(world).await);
}

#[cfg(target_os = "linux")]
bodies!(on_epoll);

on_real_backends! {
    nothing_comes_between_the_parts,
}

fn nothing_comes_between_the_parts(kind: BackendKind) {
    parts_stay_together::<()>(kind);
    parts_stay_together::<Counted>(kind);
    parts_stay_together::<Agreed>(kind);
}

/// Two threads send in parts, two send whole lines, and callbacks do both.
fn parts_stay_together<M: Marks>(kind: BackendKind) {
    const PARTS: usize = 4;
    const ROUNDS: usize = 100;
    fn in_parts<M: Marks>(conn: &Conn<M>, who: &str) {
        let mut alone = loop {
            match conn.exclusive() {
                Ok(alone) => break alone,
                Err(SendError::Busy) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        for part in 0..PARTS {
            let _ = alone.send(format!("part {who} {part}")).unwrap();
        }
    }
    let (told, conns) = serving::events();
    let handlers = Handlers::new()
        .on_connect(move |conn: &Conn<M>| told.send(conn.clone()).unwrap())
        .on_message(|conn: &Conn<M>, line| {
            let _ = conn.send("whole")?;
            if let Ok(mut alone) = conn.exclusive() {
                for part in 0..PARTS {
                    let _ = alone.send(format!("part callback {part}"))?;
                }
            } else {
                for _ in 0..PARTS {
                    let _ = conn.send("whole")?;
                }
            }
            Ok::<_, SendError<Wrong>>(line)
        });
    let server = Serving::start(kind, service::<M>(handlers, Settings::default()));
    let mut peer = server.peer();
    let conn = serving::next(&conns);
    peer.say("HELLO 8\n");
    assert_eq!((peer.line().unwrap(), peer.line().unwrap()), ("WELCOME 8".to_owned(), "(open)".to_owned()));
    let threads: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .map(|who| {
            let conn = conn.clone();
            std::thread::spawn(move || {
                for _ in 0..ROUNDS {
                    if who < "c" {
                        in_parts(&conn, who);
                    } else {
                        let _ = conn.send("whole").unwrap();
                    }
                }
            })
        })
        .collect();
    for _ in 0..ROUNDS {
        peer.say("whole\n");
    }
    // Each message is answered by a line, another one and the parts, or as many lines.
    let lines = 2 * ROUNDS * PARTS + 2 * ROUNDS + ROUNDS * (PARTS + 2);
    let mut expected: Option<(String, usize)> = None;
    for n in 1..=lines {
        let line = peer.line().expect("a line");
        let words: Vec<_> = line.split(' ').collect();
        let said = if M::FREE || size_of::<M>() > 0 { &words[1..] } else { &words[..] };
        if !M::FREE && size_of::<M>() > 0 {
            assert_eq!(words[0].parse(), Ok(n), "encoded in the order of the wire");
        }
        expected = match (said, expected) {
            (["part", who, "0"], None) => Some(((*who).to_owned(), 1)),
            (["part", who, part], Some((own, next))) if *who == own && part.parse() == Ok(next) => {
                (next + 1 < PARTS).then_some((own, next + 1))
            }
            (["whole"], None) => None,
            (_, expected) => panic!("{line} while {expected:?}"),
        };
    }
    for thread in threads {
        thread.join().unwrap();
    }
    server.settle();
    assert_eq!((conn.buffered(), conn.messages_out()), (0, lines as u64));
}
