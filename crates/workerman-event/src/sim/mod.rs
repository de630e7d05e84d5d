//! The simulated backend: the same loops, on an in-memory network, in virtual time, decided by one seed.
//!
//! A [`Network`] has hosts, names, links, listeners and connections. Any number of loops run on it, each with a
//! [`Sim`] as its [`Backend`](crate::Backend), beside plain tasks that play the peers ([`SimStream`],
//! [`SimListener`]), all in one single-threaded tokio runtime whose clock is paused: when every task waits, time jumps
//! to the next timer. So `tokio::time` inside users' code runs in virtual time too, and an hour of idling takes
//! milliseconds.
//!
//! # Replay
//! Segment sizes, latencies, losses, the order of events within an instant, whether a reset discards unread bytes:
//! all is drawn from the seed. The same program with the same seed does the same; another seed explores another
//! interleaving. [`block_on`] prints the seed of a run that panics, and `WORKERMAN_SIM_SEED` replays it.
//!
//! # What lies outside
//! The simulation decides neither of these, so a program that depends on them may differ between two runs:
//! - tokio's `select!` without `biased`, which picks a branch by a random number of its own;
//! - the iteration order of a `HashMap` with the standard hasher, and the order of addresses in memory;
//! - threads and `spawn_blocking`, which run in real time (while a blocking task runs, the clock stands still);
//! - the system's clock, random numbers, files, environment and real sockets. The runtime of [`block_on`] has no
//!   I/O driver, so that a real socket of tokio panics instead of mixing real and virtual time.
//!
//! # What it simplifies
//! A window update takes no time and crosses partitions. A reset travels behind the bytes before it. No-delay,
//! keep-alive and owner or mode of unix paths mean nothing here. Datagrams are not limited by a link's speed.

mod backend;
mod datagram;
mod link;
mod listen;
mod network;
mod options;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod turn;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tokio::runtime::Builder;
use tokio::task::LocalSet;

pub use backend::Sim;
pub use datagram::SimDatagram;
pub use network::Network;
pub use options::{HostAddr, LinkOptions};
pub use stream::{SimListener, SimStream};

/// The environment variable that replaces the seed of [`block_on`]: decimal, or hexadecimal after `0x`.
pub const SEED_VARIABLE: &str = "WORKERMAN_SIM_SEED";

/// Runs a simulation on this thread until `body` is done, and returns its result.
///
/// It makes the runtime (single-threaded, with a paused clock) and the network. `body` runs in a tokio `LocalSet`, so
/// [`spawn`](crate::spawn) works, and one simulated program can be kept apart from the others by a `LocalSet` of its
/// own. Tasks that are not finished when `body` is are dropped. The seed is `seed`, unless the environment variable `WORKERMAN_SIM_SEED` is
/// set.
///
/// # Panics
/// As `body` does, after the seed was printed to standard error; inside another runtime; if `WORKERMAN_SIM_SEED` is
/// not a number.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use workerman_event::sim;
///
/// let elapsed = sim::block_on(1, async |network| {
///     tokio::time::sleep(Duration::from_secs(3600)).await;
///     network.elapsed()
/// });
/// assert_eq!(elapsed.as_secs(), 3600);
/// ```
pub fn block_on<F, T>(seed: u64, body: F) -> T
where
    F: AsyncFnOnce(Network) -> T,
{
    let seed = match std::env::var(SEED_VARIABLE) {
        Ok(text) => parse_seed(&text).unwrap_or_else(|| {
            panic!("{SEED_VARIABLE} must be a decimal or 0x-hexadecimal number, not {text:?}")
        }),
        Err(_) => seed,
    };
    let run = AssertUnwindSafe(|| {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing from the system");
        let _inside = Inside::enter();
        LocalSet::new().block_on(&runtime, async { body(Network::new(seed)).await })
    });
    match catch_unwind(run) {
        Ok(result) => result,
        Err(panic) => {
            eprintln!("simulation failed with seed {seed:#x}; replay with {SEED_VARIABLE}={seed:#x}");
            resume_unwind(panic)
        }
    }
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a simulation: a program that would start a thread here leaves virtual time.
pub fn is_running() -> bool {
    INSIDE.get()
}

struct Inside;

impl Inside {
    fn enter() -> Self {
        INSIDE.set(true);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

fn parse_seed(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).ok(),
        None => text.parse().ok(),
    }
}
