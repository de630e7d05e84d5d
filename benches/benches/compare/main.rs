//! HTTP and WebSocket servers side by side over loopback: ours, those of others, and the bare epoll server.
//!
//! `cargo bench -p workerman-benches --bench compare -- [--rounds N] [--seconds S] [--case TEXT] [--peer TEXT] [--idle N]
//! [--connections N]`. It builds the peers first. A round gives each server S seconds, in turns of at most a quarter of a
//! second, so that what else the machine does meets all of them alike. Each ratio is taken within its round; what is
//! shown is the median of the rounds, with the least and the greatest.
#![forbid(unsafe_code)]

use std::error::Error;

#[cfg(target_os = "linux")]
mod bars;
#[cfg(target_os = "linux")]
mod contender;
#[cfg(target_os = "linux")]
mod contest;
#[cfg(target_os = "linux")]
mod field;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    contest::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    println!("skipped: the comparison runs on Linux only");
    Ok(())
}
