//! All workers of a program: `run_all`, in a process of its own where signals are concerned.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use workerman::prelude::*;
use workerman::{AnyWorker, Error};
use workerman_tests::program::Program;
use workerman_tests::workers::{PATIENCE, Peer};

fn echo() -> Worker<Text> {
    Worker::text("127.0.0.1:0").on_message(|_, line| line)
}

/// The program of the tests below: two workers, whose hooks and connections print what happens to them.
#[test]
#[ignore = "is run by other tests of this file"]
fn program() {
    let tell = |name: &'static str| {
        echo()
            .name(name)
            .stop_timeout(Duration::from_millis(300))
            .on_worker_start(move |worker| println!("{name} listens on {}", worker.addresses()[0]))
            .on_worker_stop(move |_| println!("{name} stops"))
            .on_message_async(async move |_, line| {
                println!("{name} got {line}");
                if line == "hang" {
                    std::future::pending::<()>().await;
                }
                line
            })
            .on_close(move |_, reason| println!("{name} closes: {reason}"))
    };
    let slow = tell("one").threads(2);
    let ended = run_all((slow, tell("two")));
    println!("run_all ended: {ended:?}");
}

struct Workers {
    program: Program,
    one: Peer,
    two: Peer,
}

/// Starts the program, and a connection to each of its workers.
fn start(event_loop: &str) -> Workers {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "program"]);
    let program = Program::start(command.env("WORKERMAN_EVENT_LOOP", event_loop));
    let (mut one, mut two) = (None, None);
    // Worker one says it on each of its two threads.
    for _ in 0..3 {
        let line = next(&program, " listens on ");
        let (name, address) = line.split_once(" listens on ").unwrap();
        let peer = Some(address.parse().unwrap());
        if name == "one" { one = peer } else { two = peer }
    }
    Workers { program, one: Peer::connect(one.unwrap()), two: Peer::connect(two.unwrap()) }
}

/// The next line of this program that has `part` in it; the test harness prints lines too.
fn next(program: &Program, part: &str) -> String {
    loop {
        let line =
            program.line().unwrap_or_else(|| panic!("no line with {part}: {:?}", program.error_line()));
        if line.contains(part) {
            return line;
        }
    }
}

fn event_loops() -> &'static [&'static str] {
    if cfg!(target_os = "linux") { &["epoll", "tokio"] } else { &["tokio"] }
}

#[test]
fn both_signals_drain_all_workers() {
    for event_loop in event_loops() {
        for interrupt in [true, false] {
            let Workers { mut program, mut one, mut two } = start(event_loop);
            assert_eq!(one.ask("hello"), "hello");
            assert_eq!(two.ask("hello"), "hello");
            if interrupt {
                program.interrupt();
            } else {
                program.terminate();
            }
            assert_eq!(one.rest(), "");
            assert_eq!(two.rest(), "");
            drop((one, two));
            let lines = program.rest();
            for line in ["one closes: shutdown", "two closes: shutdown", "run_all ended: Ok(())"] {
                assert!(lines.iter().any(|printed| printed.contains(line)), "no {line:?} in {lines:#?}");
            }
            let stops = |name: &str| lines.iter().filter(|line| line.contains(name)).count();
            assert_eq!((stops("one stops"), stops("two stops")), (2, 1), "{lines:#?}");
            assert!(program.wait().success());
        }
    }
}

#[test]
fn what_does_not_end_is_cut_at_the_deadline() {
    for event_loop in event_loops() {
        let Workers { mut program, mut one, two } = start(event_loop);
        one.send("hang");
        next(&program, "one got hang");
        program.terminate();
        // The deadline is the worker's 300 ms; without one it would hang for ever.
        let lines = program.rest();
        assert!(lines.iter().any(|line| line.contains("one closes: shutdown")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("run_all ended: Ok(())")), "{lines:#?}");
        assert!(program.wait().success());
        drop((one, two));
    }
}

/// Runs `run_all` on a thread, and waits for its end.
fn ended(run: impl FnOnce() -> workerman::Result<()> + Send + 'static) -> workerman::Result<()> {
    let (sender, result) = mpsc::channel();
    std::thread::spawn(move || sender.send(run()));
    result.recv_timeout(PATIENCE).expect("run_all ends")
}

#[test]
fn it_ends_when_all_workers_have_been_stopped() {
    let stops = || echo().on_worker_start(Handle::stop);
    ended(move || run_all((stops(), stops().threads(3), (stops(), stops())))).unwrap();
    ended(move || run_all(stops())).unwrap();
    ended(move || run_all(vec![Box::new(stops()) as Box<dyn AnyWorker>, Box::new(stops())])).unwrap();
    ended(move || run_all(Vec::<Box<dyn AnyWorker>>::new())).unwrap();
}

#[test]
fn one_failure_stops_all_and_is_the_result() {
    let (stopped, stops) = mpsc::channel();
    let good = echo().on_worker_stop(move |_| stopped.send(()).unwrap());
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let good = good.on_worker_start({
        let release = std::sync::Mutex::new(Some(release));
        move |_| drop(release.lock().unwrap().take())
    });
    // Fails when the good one runs.
    let bad = Worker::frame("127.0.0.1:0").name("bad").state(async move |_| {
        let _ = released.await;
        Err::<(), _>("no database".into())
    });
    let error = ended(move || run_all((good, bad))).unwrap_err();
    assert_eq!(error.to_string(), "worker bad: its state failed: no database");
    stops.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn no_worker_starts_if_one_cannot_be_bound() {
    let (started, starts) = mpsc::channel();
    let first = echo().bind().unwrap();
    let taken = first.addresses()[0].to_string();
    let good = echo().on_worker_start(move |_| started.send(()).unwrap());
    let address = taken.clone();
    let error = ended(move || run_all((good, Worker::text(address)))).unwrap_err();
    assert!(matches!(&error, Error::AddressInUse { address } if *address == taken), "{error}");
    assert_eq!(starts.try_iter().count(), 0);
}
