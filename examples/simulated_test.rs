//! A server that is tested without sockets and without waiting: the same worker runs on a network in memory and in
//! virtual time, over slow links, through a partition and a crash; then it serves for real. In a project of your own
//! `simulate` is a `#[test]`. A run that fails prints its seed; the variable `WORKERMAN_SIM_SEED` replays it.
//!
//! ```sh
//! cargo run --release --example simulated_test       # or: -- 127.0.0.1:0
//! echo ann | nc -N localhost 2353                    # hello ann
//! ```
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use workerman::prelude::*;
use workerman::sim::{LinkOptions, Sim};

const SECOND: Duration = Duration::from_secs(1);

fn greeter(address: &str) -> Worker<Text> {
    let worker = Worker::text(address).name("greeter").idle_timeout(60 * SECOND);
    worker.on_message(|_, line| format!("hello {line}"))
}

/// One run, decided by its seed; returns how much virtual time it took.
fn simulate(seed: u64) -> Duration {
    let slow = LinkOptions { segment: 1..=3, latency: SECOND / 100..=SECOND, ..LinkOptions::default() };
    Sim::seed(seed)
        .links(slow)
        .restartable(|| greeter("0.0.0.0:2353"))
        .client("ann", async |peer| {
            let mut wire = peer.connect().await;
            wire.send_line("ann").await;
            assert_eq!(wire.line().await, "hello ann");
            assert_eq!(wire.rest().await.unwrap(), b"", "a minute of silence ends the connection");
            assert!(peer.elapsed() > 60 * SECOND);
        })
        .client("bob", async |peer| {
            let mut wire = peer.connect().await;
            peer.sleep(35 * SECOND).await;
            wire.send_line("bob").await;
            assert_eq!(wire.line().await, "hello bob");
            assert!(peer.elapsed() > 40 * SECOND, "nothing passes a partition");
            assert!(wire.rest().await.is_err(), "a crash is a reset");
            let mut wire = loop {
                match peer.try_connect().await {
                    Ok(wire) => break wire,
                    Err(_) => peer.sleep(SECOND).await,
                }
            };
            wire.send_line("again").await;
            assert_eq!(wire.line().await, "hello again");
        })
        .scenario(async |scene| {
            scene.sleep(30 * SECOND).await;
            scene.partition("bob", "greeter");
            scene.sleep(10 * SECOND).await;
            scene.heal("bob", "greeter");
            scene.sleep(50 * SECOND).await;
            scene.crash("greeter");
            scene.sleep(60 * SECOND).await;
            scene.restart("greeter");
        })
        .run()
}

fn main() -> workerman::Result<()> {
    let start = Instant::now();
    let simulated: Duration = (0..50).map(simulate).sum();
    eprintln!("50 runs: {} simulated minutes in {:.1?}", simulated.as_secs() / 60, start.elapsed());
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2353".to_owned());
    greeter(&address)
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}
