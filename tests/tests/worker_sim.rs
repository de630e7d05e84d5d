//! Real workers in the simulator: lines, threads, state, clients inside, crashes, limits, replay.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use workerman::prelude::*;
use workerman::sim::{LinkOptions, SEED_VARIABLE, Sim, Wire};
use workerman::{ConnectionError, LoopHandle};

/// The first line is one's name; every later one goes to all others.
fn chat() -> Worker<Text> {
    Worker::text("0.0.0.0:2347").name("chat").on_message(|conn, line| -> workerman::Result<()> {
        let text = line.to_string();
        match conn.get::<String>() {
            None => {
                conn.set(text.clone());
                conn.worker().broadcast_except(format!("{text} joined"), |other| other == conn)?;
                let _ = conn.send("welcome")?;
            }
            Some(name) => {
                let named = |other: &Connection<Text>| other.get::<String>().is_none();
                conn.worker()
                    .broadcast_except(format!("{name}: {text}"), |other| other == conn || named(other))?;
            }
        }
        Ok(())
    })
}

fn panic_of(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("the run must fail");
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap()
}

#[test]
fn two_clients_chat_over_slow_links() {
    let slow = LinkOptions {
        segment: 1..=5,
        latency: Duration::from_millis(10)..=Duration::from_millis(300),
        ..LinkOptions::default()
    };
    let took = Sim::seed(7)
        .links(slow)
        .worker(chat())
        .client("ann", async |peer| {
            let mut wire = peer.connect().await;
            wire.send_line("ann").await;
            assert_eq!(wire.line().await, "welcome");
            assert_eq!(wire.line().await, "bob joined");
            wire.send_line("hello bob").await;
            assert_eq!(wire.line().await, "bob: hello ann");
        })
        .client("bob", async |peer| {
            peer.sleep(Duration::from_secs(5)).await;
            let mut wire = peer.connect_to("chat:2347").await;
            wire.send_line("bob").await;
            assert_eq!(wire.line().await, "welcome");
            assert_eq!(wire.line().await, "ann: hello bob");
            wire.send_line("hello ann").await;
            assert!(wire.rest().await.unwrap().is_empty(), "the worker stops and says goodbye");
        })
        .time_limit(Duration::from_secs(60))
        .client("eve", async |peer| {
            // Ends bob's wait: the worker stops while he reads.
            peer.sleep(Duration::from_secs(30)).await;
            peer.scene().stop("chat");
        })
        .run();
    assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(60), "{took:?}");
}

/// What all clients saw, with virtual times.
fn trace(seed: u64) -> Vec<String> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let jitter = LinkOptions {
        segment: 1..=7,
        latency: Duration::from_millis(1)..=Duration::from_millis(200),
        ..LinkOptions::default()
    };
    let mut sim = Sim::seed(seed).links(jitter).restartable(|| chat().threads(2));
    for name in ["ann", "bob", "eve"] {
        let seen = Rc::clone(&seen);
        sim = sim.client(name, async move |peer| {
            let note = |what: String| {
                seen.borrow_mut().push(format!("{:?} {name} {what}", peer.elapsed()));
            };
            for life in 0..2 {
                let Ok(mut wire) = peer.try_connect().await else { continue };
                wire.send_line(name).await;
                for n in 0..5 {
                    peer.sleep(Duration::from_millis(peer.scene().random() % 500)).await;
                    if tokio::io::AsyncWriteExt::write_all(&mut wire, format!("{life}/{n}\n").as_bytes())
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
                let give_up = tokio::time::sleep(Duration::from_secs(20));
                tokio::pin!(give_up);
                loop {
                    tokio::select! {
                        biased;
                        line = wire.try_line() => match line {
                            Ok(Some(line)) => note(line),
                            end => { note(format!("{end:?}")); break }
                        },
                        () = &mut give_up => break,
                    }
                }
            }
        });
    }
    sim.scenario(async |scene| {
        scene.sleep(Duration::from_secs(2)).await;
        scene.partition("ann", "chat");
        scene.sleep(Duration::from_secs(3)).await;
        scene.heal("ann", "chat");
        scene.sleep(Duration::from_secs(2)).await;
        scene.crash("chat");
        scene.restart("chat");
    })
    .run();
    Rc::try_unwrap(seen).unwrap().into_inner()
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let first = trace(11);
    assert!(first.len() > 10, "{first:#?}");
    assert_eq!(first, trace(11));
    assert_ne!(first, trace(12));
}

#[test]
fn threads_are_loops_that_share_the_connections() {
    let loops = Arc::new(Mutex::new(Vec::new()));
    let (seen, starts) = (Arc::clone(&loops), Arc::new(AtomicUsize::new(0)));
    let started = Arc::clone(&starts);
    let worker = Worker::text(":2347")
        .threads(3)
        .on_worker_start(move |_| {
            started.fetch_add(1, Ordering::Relaxed);
        })
        .on_connect(move |conn| {
            let timers = Timer::count();
            Timer::after(Duration::from_secs(900), || ()).unwrap();
            seen.lock().unwrap().push(timers);
            assert_eq!(conn.worker().loops().len(), 3);
        })
        .on_message(|conn, line| conn.worker().broadcast(line.to_string()).map(|_| ()));
    let mut sim = Sim::seed(5).worker(worker);
    const CLIENTS: usize = 30;
    for n in 0..CLIENTS {
        sim = sim.client(format!("c{n}"), async move |peer| {
            let mut wire = peer.connect().await;
            peer.sleep(Duration::from_secs(1)).await;
            if n == 0 {
                wire.send_line("to all").await;
            }
            assert_eq!(wire.line().await, "to all");
        });
    }
    sim.run();
    assert_eq!(starts.load(Ordering::Relaxed), 3);
    // Each loop counts its own timers: a zero for each loop that was used.
    let loops = loops.lock().unwrap();
    assert_eq!(loops.len(), CLIENTS);
    assert_eq!(loops.iter().filter(|&&timers| timers == 0).count(), 3, "{loops:?}");
}

#[test]
fn clients_of_a_worker_connect_over_the_simulated_network_on_its_own_loop() {
    let backend = Worker::text(":9000").name("backend").on_message(|_, line| format!("backend: {line}"));
    let front = Worker::text(":80").name("front").on_connect(|conn| -> workerman::Result<()> {
        let to = conn.clone();
        let own = LoopHandle::current().is_some();
        assert!(own);
        let before = conn.worker().counters().connected;
        assert_eq!(before, 0);
        // In a task of the worker too: it belongs to this loop, not to the other worker's.
        workerman::spawn(async move {
            sleep(Duration::from_secs(1)).await.unwrap();
            let back = to.clone();
            let upstream = Client::text("backend:9000")
                .on_message(move |_, line| back.send(line).map(drop))
                .connect()
                .unwrap();
            let _ = upstream.send("hi").unwrap();
            sleep(Duration::from_secs(1)).await.unwrap();
            let worker = to.worker();
            let _ = to.send(format!("connected {}", worker.counters().connected)).unwrap();
        });
        Ok(())
    });
    Sim::seed(1)
        .worker(front)
        .worker(backend)
        .client("ann", async |peer| {
            let mut wire = peer.connect().await;
            assert_eq!(wire.line().await, "backend: hi");
            assert_eq!(wire.line().await, "connected 1");
        })
        .run();
}

#[test]
fn what_would_need_a_thread_says_so() {
    Sim::seed(1)
        .client("ann", async |_| {
            let refused = Client::text("server:1").connect().unwrap_err().to_string();
            assert!(refused.contains("simulation"), "{refused}");
            let refused = Client::text("server:1").run().unwrap_err().to_string();
            assert!(refused.contains("inside an asynchronous runtime"), "{refused}");
            let refused = Worker::text("127.0.0.1:0").serve().await.unwrap_err();
            assert!(matches!(refused, workerman::Error::InsideSimulation), "{refused}");
            let refused = Worker::text("127.0.0.1:0").run().unwrap_err();
            assert!(matches!(refused, workerman::Error::InsideRuntime), "{refused}");
            assert!(matches!(Timer::after(Duration::ZERO, || ()), Err(ConnectionError::NoLoop)));
            let began = tokio::time::Instant::now();
            sleep(Duration::from_secs(60)).await.unwrap();
            assert!(began.elapsed() >= Duration::from_secs(60), "virtual time passes here, too");
        })
        .run();
}

#[test]
fn a_crash_loses_memory_and_connections_and_a_restart_begins_anew() {
    let lives = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&lives);
    let closed = Arc::new(AtomicUsize::new(0));
    let closes = Arc::clone(&closed);
    let counter = move || {
        let life = made.fetch_add(1, Ordering::Relaxed);
        let closes = Arc::clone(&closes);
        Worker::text(":2347")
            .state(async move |_| {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok((life, AtomicUsize::new(0)))
            })
            .on_message(|conn, _| {
                let (life, count) = conn.state::<(usize, AtomicUsize)>();
                format!("{life}:{}", count.fetch_add(1, Ordering::Relaxed))
            })
            .on_close(move |_, _| {
                closes.fetch_add(1, Ordering::Relaxed);
            })
    };
    let closed_before = Arc::clone(&closed);
    Sim::seed(9)
        .restartable(counter)
        .client("ann", async move |peer| {
            let mut wire = peer.connect().await;
            for n in 0..3 {
                wire.send_line("?").await;
                assert_eq!(wire.line().await, format!("0:{n}"));
            }
            peer.scene().crash("server");
            assert_eq!(wire.try_line().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(peer.try_connect().await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(closed_before.load(Ordering::Relaxed), 0, "a crash calls nobody");
            peer.scene().restart("server");
            let mut wire = peer.connect().await;
            wire.send_line("?").await;
            assert_eq!(wire.line().await, "1:0");
        })
        .run();
    assert_eq!(lives.load(Ordering::Relaxed), 2);
    assert_eq!(closed.load(Ordering::Relaxed), 1);
}

#[test]
fn a_restart_needs_a_way_to_make_the_worker() {
    let why = panic_of(|| {
        Sim::seed(1).worker(chat()).scenario(async |scene| scene.restart("chat")).run();
    });
    assert!(why.contains("worker chat cannot start a second time"), "{why}");
}

#[test]
fn mistyped_names_are_told() {
    let why = panic_of(|| {
        Sim::seed(1).worker(chat()).client("ann", async |peer| peer.scene().partition("ann", "caht")).run();
    });
    assert!(why.contains("no host caht in this simulation; there are chat, ann"), "{why}");
}

#[test]
fn a_deadlock_names_who_waits() {
    let why = panic_of(|| {
        Sim::seed(1)
            .worker(chat())
            .client("ann", async |peer| {
                let mut wire = peer.connect().await;
                wire.line().await;
            })
            .client("bob", async |peer| drop(peer.connect().await))
            .scenario(async |_| std::future::pending::<()>().await)
            .time_limit(Duration::from_secs(100))
            .run();
    });
    assert_eq!(why, "no end after 100s of virtual time; still waiting: client ann (for a line), a scenario");
}

#[test]
fn a_client_that_fails_fails_the_run() {
    let why = panic_of(|| {
        Sim::seed(1)
            .worker(chat())
            .client("ann", async |_| std::future::pending::<()>().await)
            .client("bob", async |_| Err::<(), _>(io::Error::other("no luck")))
            .run();
    });
    assert_eq!(why, "client bob failed: no luck");
    let why = panic_of(|| {
        Sim::seed(1)
            .worker(chat())
            .client("bob", async |peer| {
                let mut wire: Wire = peer.connect().await;
                wire.finish().await;
                wire.line().await;
            })
            .run();
    });
    assert_eq!(why, "bob waits for a line, and the connection has ended");
}

/// Run by the test below only, in a process of its own.
#[test]
#[ignore = "is run by another test of this file"]
fn fails_with_its_seed() {
    Sim::seed(42).client("ann", async |peer| -> () { panic!("drew {}", peer.scene().random()) }).run();
}

#[test]
fn a_failing_run_prints_its_seed_and_is_replayed_by_it() {
    let run = |seed: Option<&str>| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture", "fails_with_its_seed"]);
        command.env_remove(SEED_VARIABLE);
        command.envs(seed.map(|seed| (SEED_VARIABLE, seed)));
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let drawn = |text: &str| text.lines().find(|line| line.starts_with("drew ")).unwrap().to_owned();
    let first = run(None);
    assert!(
        first.contains("simulation failed with seed 0x2a; replay with WORKERMAN_SIM_SEED=0x2a"),
        "{first}"
    );
    let other = run(Some("0x63"));
    assert!(other.contains("replay with WORKERMAN_SIM_SEED=0x63"), "{other}");
    assert_ne!(drawn(&first), drawn(&other));
    assert_eq!(drawn(&first), drawn(&run(Some("42"))));
}

#[test]
fn a_worker_that_fails_to_start_fails_the_run() {
    let why = panic_of(|| {
        let worker = Worker::text(":1").state(async |_| Err::<(), _>("no database".into()));
        Sim::seed(1).worker(worker).client("ann", async |_| std::future::pending::<()>().await).run();
    });
    assert_eq!(why, "worker server failed: worker none: its state failed: no database");
    let why = panic_of(|| {
        Sim::seed(1).worker(chat()).worker(chat()).run();
    });
    assert!(why.contains("worker chat cannot start: address in use: 0.0.0.0:2347"), "{why}");
    let why = panic_of(|| {
        Sim::seed(1).worker(Worker::text("elsewhere:1")).run();
    });
    assert!(why.contains("cannot look up elsewhere:1"), "{why}");
}

#[test]
fn a_loopback_address_is_reached_from_its_own_host_only() {
    Sim::seed(1)
        .worker(Worker::text("localhost:2347").on_message(|_, line| line))
        .client("ann", async |peer| {
            let why = peer.try_connect().await.unwrap_err().to_string();
            assert!(why.contains("only its own host reaches"), "{why}");
        })
        .client("server", async |peer| {
            let mut wire = peer.connect().await;
            wire.send_line("near").await;
            assert_eq!(wire.line().await, "near");
        })
        .run();
}

#[test]
fn a_thousand_idle_connections_idle_for_a_simulated_hour() {
    let worker = Worker::text(":2347").on_message(|_, line| line);
    let took = Sim::seed(2)
        .worker(worker)
        .time_limit(Duration::from_secs(4000))
        .client("crowd", async |peer| {
            let mut wires = Vec::new();
            for _ in 0..1000 {
                let mut wire = peer.connect().await;
                wire.send_line("here").await;
                assert_eq!(wire.line().await, "here");
                wires.push(wire);
            }
            peer.sleep(Duration::from_secs(60)).await;
            for wire in &mut wires {
                wire.send_line("still here").await;
                assert_eq!(wire.line().await, "still here");
            }
        })
        .run();
    assert!(took >= Duration::from_secs(60));
}

#[test]
fn a_signal_stops_a_simulated_worker_gracefully() {
    let stopped = Arc::new(AtomicUsize::new(0));
    let stops = Arc::clone(&stopped);
    let worker = Worker::text(":2347").on_worker_stop(move |_| {
        stops.fetch_add(1, Ordering::Relaxed);
    });
    Sim::seed(2)
        .worker(worker)
        .client("ann", async |peer| {
            let mut wire = peer.connect().await;
            let host = peer.scene().host("server");
            peer.network().raise_on(host, workerman::Signal::Terminate);
            assert_eq!(wire.rest().await.unwrap(), b"");
        })
        .run();
    assert_eq!(stopped.load(Ordering::Relaxed), 1);
}
