//! Bounds of a turn, fairness, and stale events.

use std::cell::RefCell;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use super::*;

#[test]
fn a_thousand_ready_at_once_in_turns_of_64() {
    const MOST: usize = 1000;
    let limit = crate::raise_open_files().unwrap().now;
    // Two descriptors each; where the system gives fewer, there are fewer connections.
    let count = MOST.min(usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(200) / 2);
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let mut pairs: Vec<_> = (0..count).map(|_| bench.unix_pair()).collect();
        for round in 1..=3 {
            bench.recorder.events.clear();
            bench.turns.clear();
            for (_, peer) in &mut pairs {
                peer.write_all(b"now").unwrap();
            }
            bench.until("all data", |r| r.events.len() >= count).await;
            let reads = reads(&bench.recorder.events);
            assert_eq!(reads.len(), count, "round {round}");
            assert!(reads.values().all(|reads| *reads == 1));
            assert!(bench.turns.iter().all(|events| *events <= 64), "{:?}", bench.turns);
        }
    });
}

#[test]
fn a_flood_starves_neither_old_nor_new() {
    for max_events in [1, 2, 3, 64] {
        run(async move {
            let mut bench = Bench::new(Recorder::default());
            bench.max_events = max_events;
            let (mut busy, mut floods) = (Vec::new(), Vec::new());
            for _ in 0..4 {
                let (token, mut peer) = bench.unix_pair();
                peer.set_nonblocking(true).unwrap();
                peer.write_all(&pattern(150_000)).unwrap();
                busy.push(token);
                floods.push(peer);
            }
            bench.until("a first read", |r| r.events.len() >= 4).await;
            // Old ones have data left; a new one comes while they are served again and again.
            let (token, mut peer) = bench.tcp_pair();
            peer.write_all(b"me too").unwrap();
            let mut refill = floods.into_iter().cycle_writer();
            let before = bench.recorder.events.len();
            bench
                .until("the new one", |r| {
                    refill();
                    r.bytes(token) == b"me too"
                })
                .await;
            let meanwhile = bench.recorder.events.len() - before;
            assert!(meanwhile <= 4 * max_events.max(8), "{meanwhile} reads of the others came first");
            let reads = reads(&bench.recorder.events);
            assert!(busy.iter().all(|token| reads.contains_key(token)), "{reads:?}");
        });
    }
}

/// Keeps sockets full.
trait CycleWriter {
    fn cycle_writer(self) -> impl FnMut();
}

impl<I: Iterator<Item = UnixStream>> CycleWriter for I {
    fn cycle_writer(self) -> impl FnMut() {
        let mut peers: Vec<UnixStream> = self.collect();
        let data = pattern(150_000);
        move || {
            for peer in &mut peers {
                // Full is what it shall be.
                let _ = peer.write(&data);
            }
        }
    }
}

#[test]
fn each_connection_is_read_at_most_once_a_turn() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let mut peers = Vec::new();
        for _ in 0..5 {
            let (_, mut peer) = bench.unix_pair();
            peer.set_nonblocking(true).unwrap();
            peer.write_all(&pattern(150_000)).unwrap();
            peers.push(peer);
        }
        let total = 5 * 150_000;
        poll_fn(|cx| {
            let before = bench.recorder.events.len();
            let _ = bench.turn(cx);
            let reads = reads(&bench.recorder.events[before..]);
            assert!(reads.values().all(|reads| *reads == 1), "{reads:?}");
            cx.waker().wake_by_ref();
            let all: usize = bench.recorder.accumulated();
            if all == total { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    });
}

impl Recorder {
    fn accumulated(&self) -> usize {
        self.events.iter().map(|event| if let Event::Data(_, data) = event { data.len() } else { 0 }).sum()
    }
}

/// A second descriptor of a socket: the lowest free one that is not below `number`.
fn numbered(stream: &TcpStream, number: i32) -> TcpStream {
    rustix::io::fcntl_dupfd_cloexec(stream, number).unwrap().into()
}

#[test]
fn a_descriptor_number_reused_within_a_turn() {
    run(async {
        let (fresh, mut fresh_peer) = tcp_pair();
        fresh_peer.write_all(b"fresh").unwrap();
        let waiting = Rc::new(RefCell::new(Some(fresh)));
        let pair = Rc::new(RefCell::new(Vec::<Token>::new()));
        let replaced = Rc::new(RefCell::new(None));
        let recorder = Recorder::with({
            let (pair, replaced) = (pair.clone(), replaced.clone());
            move |io, event| {
                let Event::Data(token, _) = event else { return };
                let Some(fresh) = waiting.borrow_mut().take() else { return };
                // The first of two that are ready in this turn closes the other, whose number the next one gets.
                let victim = *pair.borrow().iter().find(|other| *other != token).unwrap();
                let number = io.slots.socket(victim).unwrap().as_raw_fd();
                io.close(victim);
                let clone = numbered(&fresh, number);
                assert_eq!(clone.as_raw_fd(), number);
                let id = io.adopt(Stream::from_tcp(clone).unwrap()).unwrap();
                assert_eq!(id.slot(), victim.slot());
                *replaced.borrow_mut() = Some((victim, id));
            }
        });
        let mut bench = Bench::new(recorder);
        // High numbers, which the tests that run at the same time do not take.
        let high = crate::raise_open_files().unwrap().now.min(100_000) as i32 - 20;
        let (own, mut first_peer) = tcp_pair();
        let first = bench.epoll.adopt(Stream::from_tcp(numbered(&own, high)).unwrap()).unwrap();
        drop(own);
        let (own, mut second_peer) = tcp_pair();
        let second = bench.epoll.adopt(Stream::from_tcp(numbered(&own, high)).unwrap()).unwrap();
        drop(own);
        pair.borrow_mut().extend([first, second]);
        bench.idle().await;
        first_peer.write_all(b"old").unwrap();
        second_peer.write_all(b"old").unwrap();
        bench.until("two reads", |r| r.events.len() >= 2).await;
        bench.idle().await;
        let (victim, id) = replaced.borrow().unwrap();
        assert_eq!(bench.recorder.bytes(victim), b"");
        assert_eq!(bench.recorder.bytes(id), b"fresh");
        assert_eq!(bench.recorder.events.len(), 2);
    });
}

#[test]
fn accepting_has_a_bound_and_loses_nobody() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        bench.max_events = 16;
        let (listener, address) = bench.listen();
        let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
        bench.until("all connections", |r| r.accepted().len() == clients.len()).await;
        assert!(bench.turns.iter().all(|events| *events <= 16), "{:?}", bench.turns);
        // Paused, they wait in the kernel; twice is once.
        bench.epoll.pause_accept(listener);
        bench.epoll.pause_accept(listener);
        let more: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        bench.idle().await;
        assert_eq!(bench.recorder.accepted().len(), 100);
        bench.epoll.resume_accept(listener);
        bench.epoll.resume_accept(listener);
        bench.until("the queue", |r| r.accepted().len() == 100 + more.len()).await;
        bench.epoll.unlisten(listener);
        assert!(TcpStream::connect(address).is_err());
    });
}

#[test]
fn a_listener_closed_by_its_first_connection_gives_no_second() {
    run(async {
        let recorder = Recorder::with(|io, event| {
            if let Event::Accepted(listener, _) = event {
                io.unlisten(*listener);
            }
        });
        let mut bench = Bench::new(recorder);
        let (_, address) = bench.listen();
        let _clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        bench.until("one connection", |r| !r.events.is_empty()).await;
        bench.idle().await;
        assert_eq!(bench.recorder.accepted().len(), 1);
    });
}

#[test]
fn turns_of_one_event_reach_everything() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        bench.max_events = 1;
        let (_, address) = bench.listen();
        let (token, mut peer) = bench.unix_pair();
        peer.set_nonblocking(true).unwrap();
        let lookups: Vec<_> = (0..5).map(|port| bench.epoll.resolve("::1", port)).collect();
        peer.write_all(&pattern(150_000)).unwrap();
        let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        bench
            .until("everything", |r| {
                let resolved = r.events.iter().filter(|event| matches!(event, Event::Resolved(..))).count();
                resolved == lookups.len()
                    && r.accepted().len() == clients.len()
                    && r.bytes(token).len() == 150_000
            })
            .await;
        assert!(bench.turns.iter().all(|events| *events <= 1), "{:?}", bench.turns);
    });
}

#[test]
fn look_ups_and_signals_come_in_turns() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let name = bench.epoll.resolve("localhost", 9);
        let gone = bench.epoll.resolve("127.0.0.1", 9);
        bench.epoll.cancel_resolve(gone);
        bench.epoll.watch_signal(Signal::User2).unwrap();
        bench.epoll.watch_signal(Signal::User2).unwrap();
        bench.idle().await;
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::USR2).unwrap();
        let resolved = |r: &Recorder| r.events.iter().any(|event| matches!(event, Event::Resolved(..)));
        bench.until("both", |r| r.has(&Event::Signal(Signal::User2)) && resolved(r)).await;
        for event in &bench.recorder.events {
            if let Event::Resolved(id, result) = event {
                assert_eq!(*id, name);
                assert!(result.as_ref().is_ok_and(|found| !found.is_empty()), "{result:?}");
            }
        }
        assert_eq!(bench.recorder.events.len(), 2);
    });
}

#[test]
fn clocks_advance_with_the_turns() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (start, wall) = (bench.epoll.now(), bench.epoll.unix_time());
        assert!(wall.as_secs() > 1_700_000_000);
        let refreshed = bench.epoll.refresh();
        assert!(refreshed >= start && bench.epoll.now() == refreshed);
        assert!(bench.epoll.unix_time() >= wall);
        assert_ne!(bench.epoll.seed(), bench.epoll.seed());
        let text = format!("{:?}", bench.epoll);
        assert!(text.contains("connections: 0"), "{text}");
        bench.idle().await;
        assert!(bench.epoll.now() >= refreshed);
    });
}
