//! Timers: a server that reminds you once or again and again, and tells all how many lines it got, every ten seconds.
//!
//! ```sh
//! cargo run --release --example timers               # or: -- 127.0.0.1:0
//! nc localhost 2351                                  # after 500 tea / every 1000 tick / stop
//! ```
#![forbid(unsafe_code)]

use std::time::Duration;

use workerman::prelude::*;

/// What a peer may ask for: `after MS TEXT`, `every MS TEXT`, `stop`.
fn obey(conn: &Connection<Text>, line: &str) -> workerman::Result<&'static str> {
    let mut words = line.splitn(3, ' ');
    let verb = words.next();
    let millis: u32 = words.next().and_then(|word| word.parse().ok()).unwrap_or(1000);
    let (delay, text) = (Duration::from_millis(millis.into()), words.next().unwrap_or("ding").to_owned());
    let peer = conn.clone();
    // A reminder for a peer that has left, or that reads nothing, is dropped.
    let remind = move || drop(peer.send(text.as_str()));
    let timer = match verb {
        Some("after") => Timer::after(delay, remind)?,
        Some("every") if !delay.is_zero() => Timer::repeat(delay, remind)?,
        Some("stop") => {
            let running = conn.remove::<Timer>().is_some_and(|timer| timer.cancel());
            return Ok(if running { "stopped" } else { "nothing to stop" });
        }
        _ => return Ok("after MS TEXT, every MS TEXT, or stop"),
    };
    // One timer for each connection: the new one takes the place of the old.
    if let Some(old) = conn.set(timer) {
        old.cancel();
    }
    Ok("ok")
}

fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2351".to_owned());
    Worker::text(address)
        .on_worker_start(|worker| -> workerman::Result<()> {
            worker.addresses().iter().for_each(|at| println!("listening on {at}"));
            let worker = worker.clone();
            Timer::repeat(Duration::from_secs(10), move || {
                let lines = worker.counters().messages_in;
                println!("{lines} lines so far, {} peers", worker.connection_count());
            })?;
            Ok(())
        })
        .on_message(|conn, line| obey(conn, &line.to_string_lossy()))
        .on_close(|conn, _| {
            conn.remove::<Timer>().map(|timer| timer.cancel());
        })
        .run()
}
