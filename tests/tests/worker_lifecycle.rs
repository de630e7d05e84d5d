//! From the start of a worker to its end: state, hooks, threads, listeners that come and go, drains, counters.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use workerman::prelude::*;
use workerman::{Cursor, Error};
use workerman_tests::workers::{PATIENCE, Peer, Running, on_each, start};

fn echo() -> Worker<Text> {
    Worker::text("127.0.0.1:0").on_message(|_, line| line)
}

/// Waits until a number that another thread changes is as expected; fails when that never happens.
fn until<T: PartialEq + std::fmt::Debug>(expected: &T, mut now: impl FnMut() -> T) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let value = now();
        if value == *expected {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{value:?} instead of {expected:?}");
        std::thread::yield_now();
    }
}

// ---- state -----------------------------------------------------------------------------------------------------------

#[test]
fn state_is_there_before_anything_is_accepted() {
    on_each(|kind| {
        for threads in [1, 3] {
            let (release, released) = tokio::sync::oneshot::channel::<()>();
            let worker = echo()
                .threads(threads)
                .state(async move |worker| {
                    assert_eq!(worker.addresses().len(), 1);
                    let _ = released.await;
                    Ok("the state".to_owned())
                })
                .on_message(|conn, _| conn.state::<String>().clone());
            let worker = start(kind, worker);
            // The listener is open, so the system queues the connection; nobody accepts it yet.
            let mut peer = worker.connect();
            peer.send("?");
            assert_eq!(worker.handle.counters().accepted, 0);
            assert!(worker.handle.try_state::<String>().is_none());
            release.send(()).unwrap();
            assert_eq!(peer.line(), "the state");
            assert_eq!(worker.handle.try_state::<String>().unwrap(), "the state");
            assert!(worker.handle.try_state::<u32>().is_none());
        }
    });
}

fn fails(worker: &Running<Text>) {
    let Ok(mut peer) = std::net::TcpStream::connect(worker.tcp()) else { return };
    // Never accepted: the queue of the listener is closed with it.
    let mut byte = [0];
    assert!(matches!(std::io::Read::read(&mut peer, &mut byte), Ok(0) | Err(_)));
}

#[test]
fn a_state_that_fails_or_panics_ends_the_start() {
    on_each(|kind| {
        for threads in [1, 2] {
            let worker = echo().name("app").threads(threads).state(async |_| {
                if true {
                    return Err("no database".into());
                }
                Ok(())
            });
            let worker = start(kind, worker);
            fails(&worker);
            let error = worker.join().unwrap_err();
            assert!(matches!(&error, Error::State { worker, .. } if worker == "app"), "{error}");
            assert_eq!(error.to_string(), "worker app: its state failed: no database");
            let worker = echo().threads(threads).state(async |_| -> Result<(), _> { panic!("bug") });
            let error = start(kind, worker).join().unwrap_err();
            assert_eq!(error.to_string(), "worker none: its state failed: panicked: bug");
        }
    });
}

#[test]
fn state_of_the_wrong_type_ends_that_connection_alone() {
    on_each(|kind| {
        let (told, tells) = mpsc::channel();
        let worker = echo()
            .state(async |_| Ok(7_u32))
            .on_message(|conn, line| match &*line.to_string() {
                "wrong" => conn.state::<String>().clone(),
                _ => conn.state::<u32>().to_string(),
            })
            .on_close(move |_, reason| told.send(reason).unwrap());
        let worker = start(kind, worker);
        let (mut good, mut bad) = (worker.connect(), worker.connect());
        assert_eq!(good.ask("?"), "7");
        bad.send("wrong");
        assert_eq!(tells.recv_timeout(PATIENCE).unwrap(), CloseReason::Panic);
        assert_eq!(good.ask("?"), "7");
        assert_eq!(worker.handle.counters().panics, 1);
    });
}

// ---- hooks -----------------------------------------------------------------------------------------------------------

#[test]
fn hooks_are_called_in_order_on_each_thread() {
    on_each(|kind| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let note = |what: &'static str| {
            let log = Arc::clone(&log);
            move || log.lock().unwrap().push((what, std::thread::current().id()))
        };
        let (state, starting, started) = (note("state"), note("starting"), note("started"));
        let (stop, connect, message, close) = (note("stop"), note("connect"), note("message"), note("close"));
        let started = Arc::new(started);
        let worker = echo()
            .threads(2)
            .state(async move |_| {
                state();
                Ok(())
            })
            .on_worker_start(move |_| {
                starting();
                let started = Arc::clone(&started);
                async move {
                    tokio::task::yield_now().await;
                    started();
                }
            })
            .on_worker_stop(move |_| stop())
            .on_connect(move |_| connect())
            .on_message(move |_, line| {
                message();
                line
            })
            .on_close(move |_, _| close());
        let worker = start(kind, worker);
        let mut peer = worker.connect();
        peer.ask("hello");
        until(&2, || log.lock().unwrap().iter().filter(|(what, _)| *what == "started").count());
        worker.handle.stop();
        assert_eq!(peer.rest(), "");
        drop(peer);
        worker.join().unwrap();
        let log = std::mem::take(&mut *log.lock().unwrap());
        assert_eq!(log[0].0, "state");
        let threads: HashSet<_> = log.iter().map(|(_, thread)| *thread).collect();
        assert_eq!(threads.len(), 2);
        let served = log.iter().find(|(what, _)| *what == "connect").unwrap().1;
        for thread in threads {
            let own: Vec<_> =
                log[1..].iter().filter(|(_, at)| *at == thread).map(|(what, _)| *what).collect();
            if thread == served {
                assert_eq!(own, ["starting", "started", "connect", "message", "stop", "close"]);
            } else {
                assert_eq!(own, ["starting", "started", "stop"]);
            }
        }
    });
}

#[test]
fn a_start_hook_that_fails_in_any_way_ends_the_worker_with_its_error() {
    on_each(|kind| {
        let stops = Arc::new(AtomicUsize::new(0));
        let with = |worker: Worker<Text>| {
            let stops = Arc::clone(&stops);
            let worker = worker.name("app").threads(2).on_worker_stop(move |_| {
                stops.fetch_add(1, Ordering::Relaxed);
            });
            let error = start(kind, worker).join().unwrap_err();
            assert!(matches!(error, Error::WorkerStart { .. }), "{error}");
            error.to_string()
        };
        let io = std::io::Error::other;
        assert_eq!(
            with(echo().on_worker_start(move |_| Err(io("no disk")))),
            "worker app: on_worker_start failed: no disk"
        );
        let later = echo().on_worker_start(move |_| async move {
            tokio::task::yield_now().await;
            Err::<(), _>(io("no disk later"))
        });
        assert_eq!(with(later), "worker app: on_worker_start failed: no disk later");
        let panics = echo().on_worker_start(|_| -> () { panic!("bug") });
        assert_eq!(with(panics), "worker app: on_worker_start failed: panicked: bug");
        assert_eq!(stops.load(Ordering::Relaxed), 0, "what has not started is not stopped");
    });
}

#[test]
fn a_stop_hook_that_fails_hangs_or_panics_does_not_hold_the_stop() {
    on_each(|kind| {
        for how in 0..3 {
            let worker = echo().stop_timeout(Duration::from_millis(50)).on_worker_stop(move |_| async move {
                match how {
                    0 => return Err("bad luck"),
                    1 => std::future::pending().await,
                    _ => panic!("bug"),
                }
                Ok(())
            });
            let worker = start(kind, worker);
            assert_eq!(worker.connect().ask("up"), "up");
            worker.handle.stop();
            worker.join().unwrap();
        }
    });
}

// ---- threads ---------------------------------------------------------------------------------------------------------

#[test]
fn connections_spread_over_all_threads_and_are_one_worker() {
    on_each(|kind| {
        let threads = Arc::new(Mutex::new(HashSet::new()));
        let seen = Arc::clone(&threads);
        let worker = echo().threads(3).on_message(move |conn, line| {
            seen.lock().unwrap().insert(std::thread::current().id());
            if line == "all" {
                conn.worker().broadcast("to all").map(drop)
            } else {
                conn.send(line).map(drop)
            }
        });
        let worker = start(kind, worker);
        let mut peers = Vec::new();
        // The system spreads them by a hash; the chance that 3 threads are not met in 200 is nil.
        while threads.lock().unwrap().len() < 3 {
            assert!(peers.len() < 200, "one thread gets nothing");
            let mut peer = worker.connect();
            peer.ask("hello");
            peers.push(peer);
        }
        let count = peers.len();
        assert_eq!(worker.handle.connection_count(), count);
        let mut ids: Vec<_> = worker.handle.connections().iter().map(Connection::id).collect();
        let (mut cursor, mut sliced) = (Cursor::default(), Vec::new());
        loop {
            let slice = worker.handle.slice(&mut cursor, 2);
            if slice.is_empty() {
                break;
            }
            assert!(slice.len() <= 2);
            sliced.extend(slice.iter().map(Connection::id));
        }
        ids.sort_unstable();
        sliced.sort_unstable();
        assert_eq!(ids, sliced);
        assert_eq!(ids.len(), count);
        peers[0].send("all");
        for peer in &mut peers {
            assert_eq!(peer.line(), "to all");
        }
        let first = worker.handle.connections()[0].id();
        let sent = worker.handle.broadcast_except("but one", |conn| conn.id() == first).unwrap();
        assert_eq!((sent.sent, sent.refused), (count - 1, 0));
        let counters = worker.handle.counters();
        assert_eq!(counters.accepted, count as u64);
        assert_eq!(counters.connections, count as u64);
        assert_eq!(counters.messages_in, count as u64 + 1);
        assert_eq!(worker.handle.loops().len(), 3);
        drop(peers);
        until(&0, || worker.handle.connection_count());
        let closed = |reason| worker.handle.counters().closed(reason);
        // One that has not read the broadcast resets.
        until(&(count as u64), || closed(CloseReason::PeerClosed) + closed(CloseReason::Reset));
    });
}

#[test]
fn the_cap_is_of_the_worker_and_not_of_a_thread() {
    on_each(|kind| {
        for threads in [1, 2] {
            let worker = start(kind, echo().threads(threads).max_connections(2));
            let (mut first, mut second) = (worker.connect(), worker.connect());
            assert_eq!(first.ask("a"), "a");
            assert_eq!(second.ask("b"), "b");
            let mut third = worker.connect();
            third.send("c");
            assert_eq!(first.ask("still served"), "still served");
            assert_eq!(worker.handle.connection_count(), 2);
            drop(first);
            assert_eq!(third.line(), "c");
            assert_eq!(second.ask("b"), "b");
        }
    });
}

// ---- listeners -------------------------------------------------------------------------------------------------------

#[test]
fn a_worker_listens_and_unlistens_while_it_runs() {
    on_each(|kind| {
        for threads in [1, 2] {
            let worker = start(kind, echo().threads(threads));
            let first = worker.tcp();
            let mut old = worker.connect();
            assert_eq!(old.ask("old"), "old");
            let added = worker.handle.listen("127.0.0.1:0").unwrap();
            let second = added[0].tcp().unwrap();
            for _ in 0..10 {
                assert_eq!(Peer::connect(second).ask("new"), "new");
            }
            assert_eq!(worker.handle.addresses().len(), 2);
            let error = worker.handle.listen(second.to_string()).unwrap_err();
            assert!(
                matches!(&error, Error::AddressInUse { address } if *address == second.to_string()),
                "{error}"
            );
            assert!(worker.handle.listen("frame://127.0.0.1:0").is_err());
            assert!(worker.handle.unlisten_from(&first.into()));
            assert!(!worker.handle.unlisten_from(&first.into()));
            until(&true, || std::net::TcpStream::connect(first).is_err());
            assert_eq!(Peer::connect(second).ask("new"), "new");
            worker.handle.unlisten();
            worker.handle.unlisten();
            until(&true, || std::net::TcpStream::connect(second).is_err());
            assert!(worker.handle.addresses().is_empty());
            assert_eq!(old.ask("old"), "old");
            // And back.
            worker.handle.listen(first.to_string()).unwrap();
            assert_eq!(Peer::connect(first).ask("again"), "again");
            worker.handle.stop();
            assert!(matches!(worker.handle.listen("127.0.0.1:0"), Err(Error::NotRunning)));
        }
    });
}

#[test]
fn accepting_pauses_and_resumes() {
    on_each(|kind| {
        let (started, starts) = mpsc::channel();
        let worker = echo().threads(2).on_worker_start(move |worker| {
            // Workerman's way to begin later.
            worker.pause_accept();
            started.send(()).unwrap();
        });
        let worker = start(kind, worker);
        for _ in 0..2 {
            starts.recv_timeout(PATIENCE).unwrap();
        }
        let mut peers: Vec<_> = (0..5).map(|_| worker.connect()).collect();
        // A listener that comes while accepting is paused does not accept either.
        let added = worker.handle.listen("127.0.0.1:0").unwrap()[0].tcp().unwrap();
        peers.push(Peer::connect(added));
        peers.iter_mut().for_each(|peer| peer.send("waited"));
        // Both loops have gone round since.
        for one in worker.handle.loops() {
            let (turned, turns) = mpsc::channel();
            one.run(move || turned.send(()).unwrap()).unwrap();
            turns.recv_timeout(PATIENCE).unwrap();
        }
        assert_eq!(worker.handle.counters().accepted, 0);
        worker.handle.resume_accept();
        for peer in &mut peers {
            assert_eq!(peer.line(), "waited");
        }
        worker.handle.pause_accept();
        let mut late = worker.connect();
        late.send("late");
        assert_eq!(peers[0].ask("open connections go on"), "open connections go on");
        worker.handle.resume_accept();
        worker.handle.resume_accept();
        assert_eq!(late.line(), "late");
    });
}

// ---- the end ---------------------------------------------------------------------------------------------------------

#[test]
fn a_drain_finishes_what_can_finish_and_cuts_the_rest() {
    on_each(|kind| {
        let worker = echo().threads(2).on_message_async(async |_, line| {
            if line == "hang" {
                std::future::pending::<()>().await;
            }
            line
        });
        let worker = start(kind, worker);
        let mut peers: Vec<_> = (0..6).map(|_| worker.connect()).collect();
        peers.iter_mut().for_each(|peer| drop(peer.ask("hello")));
        peers[0].send("hang");
        until(&7, || worker.handle.counters().messages_in);
        let (done, drained) = mpsc::channel();
        let handle = worker.handle.clone();
        let drains = std::thread::spawn(move || {
            done.send(workerman::block_on(handle.drain(Duration::from_millis(200))).unwrap()).unwrap();
        });
        for peer in &mut peers[1..] {
            assert_eq!(peer.rest(), "");
        }
        peers.truncate(1);
        let drained = drained.recv_timeout(PATIENCE).unwrap();
        drains.join().unwrap();
        assert_eq!((drained.finished, drained.cut), (5, 1));
        assert_eq!(worker.handle.connection_count(), 0);
        // It runs on without listeners, until it is stopped or listens again.
        assert!(worker.handle.addresses().is_empty());
        let again = worker.handle.listen("127.0.0.1:0").unwrap()[0].tcp().unwrap();
        assert_eq!(Peer::connect(again).ask("again"), "again");
    });
}

#[test]
fn a_handle_of_a_worker_that_is_over_hangs_nobody() {
    on_each(|kind| {
        let worker = start(kind, echo());
        let (handle, conn) = (worker.handle.clone(), {
            let mut peer = worker.connect();
            peer.ask("hello");
            worker.handle.connections().remove(0)
        });
        worker.handle.stop();
        worker.join().unwrap();
        handle.stop();
        handle.pause_accept();
        handle.unlisten();
        assert!(conn.is_closed());
        assert!(matches!(conn.send("late"), Err(SendError::Closed)));
        assert_eq!(handle.broadcast("late").unwrap(), workerman::Broadcast::default());
        let drained = workerman::block_on(handle.drain(Duration::from_secs(60))).unwrap();
        assert_eq!(drained, workerman::Drained::default());
        // Nor one of a worker that never ran.
        let bound = echo().event_loop(kind).bind().unwrap();
        let handle = bound.handle();
        drop(bound);
        workerman::block_on(handle.drain(Duration::from_secs(60))).unwrap();
        handle.stop();
    });
}

#[test]
fn a_worker_without_an_address_runs_timers_until_it_is_stopped() {
    on_each(|kind| {
        let (ticked, ticks) = mpsc::channel();
        let worker = Worker::detached().on_worker_start(move |worker| {
            let (ticked, worker) = (ticked.clone(), worker.clone());
            let mut n = 0;
            Timer::repeat(Duration::from_millis(1), move || {
                n += 1;
                ticked.send(n).unwrap();
                if n == 3 {
                    Timer::cancel_all();
                    worker.stop();
                }
            })
            .map(drop)
        });
        let worker = start(kind, worker);
        assert!(worker.addresses.is_empty());
        worker.join().unwrap();
        assert_eq!(ticks.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    });
}
