//! How late a user's tokio timer is on the loop's thread while 1,000 connections are busy.
//!
//! `cargo bench -p workerman-benches --bench timers`: the worker on one processor, the load on another; a task sleeps
//! 5 ms again and again. Each backend in turn, and an idle loop for comparison (tokio's own granularity is 1 ms).
#![forbid(unsafe_code)]

use std::error::Error;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("the load generator needs epoll, and so Linux".into())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::process::Command;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::{Duration, Instant};

    use rustix::thread::{CpuSet, sched_setaffinity};
    use workerman::{BackendKind, Worker};
    use workerman_benches::process::{self, Process};

    const NAP: Duration = Duration::from_millis(5);

    pub(super) fn main() -> Result<(), Box<dyn Error>> {
        // Without `--bench` this is `cargo test`: show that it works, measure nothing.
        let measure = std::env::args().any(|argument| argument == "--bench");
        let (connections, seconds) = if measure { (1000, "5") } else { (10, "0.05") };
        process::raise_open_files(4096)?;
        println!(
            "{:<8} {:>12} {:>10} {:>10} {:>8}  timers",
            "backend", "connections", "median ms", "p99 ms", "messages"
        );
        for kind in [BackendKind::Epoll, BackendKind::Tokio] {
            for connections in [0, connections] {
                row(kind, connections, seconds)?;
            }
        }
        Ok(())
    }

    fn row(kind: BackendKind, connections: usize, seconds: &str) -> Result<(), Box<dyn Error>> {
        let cpus = process::processors()?;
        let late = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&late);
        let bound = Worker::tcp("127.0.0.1:0")
            .event_loop(kind)
            .on_worker_start(move |_| {
                let late = Arc::clone(&seen);
                drop(workerman::spawn(async move {
                    loop {
                        let due = Instant::now() + NAP;
                        tokio::time::sleep_until(due.into()).await;
                        let by = due.elapsed().as_secs_f64() * 1e3;
                        late.lock().unwrap_or_else(PoisonError::into_inner).push(by);
                    }
                }));
            })
            .on_message(|_, bytes| bytes)
            .bind()?;
        let address = bound.addresses()[0].to_string();
        let handle = bound.handle();
        let first = cpus.first().copied();
        let server = std::thread::spawn(move || {
            if let Some(cpu) = first {
                let mut set = CpuSet::new();
                set.set(cpu);
                // An unpinned server only measures worse.
                let _ = sched_setaffinity(None, &set);
            }
            bound.run()
        });
        let messages = if connections == 0 {
            std::thread::sleep(Duration::from_secs_f64(seconds.parse()?));
            "-".to_owned()
        } else {
            let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
            command.args(["tcp", &address, "--seconds", seconds, "--connections", &connections.to_string()]);
            let load = Process::start(&mut command, cpus.last().copied().filter(|_| cpus.len() > 1))?;
            let line = load.line(Duration::from_secs(60))?;
            line.split_whitespace().nth(1).unwrap_or("?").to_owned()
        };
        handle.stop();
        server.join().map_err(|_| "the server panicked")??;
        let mut late = std::mem::take(&mut *late.lock().unwrap_or_else(PoisonError::into_inner));
        late.sort_by(f64::total_cmp);
        let at = |part: f64| late.get((late.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN);
        println!(
            "{kind:<8} {connections:>12} {:>10.3} {:>10.3} {messages:>8}  {}",
            at(0.5),
            at(0.99),
            late.len()
        );
        Ok(())
    }
}
