//! Connections on a simulated network: loops as tasks, callbacks written down with their time.

use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_connection::{EventLoop, Handlers, LoopHandle, LoopSettings, Service};
use workerman_event::sim::{HostAddr, Network};
use workerman_event::{ListenOptions, spawn};
use workerman_protocol::Protocol;

/// The granularity of a connection's deadlines, and a millisecond for each of two rounded timers.
pub const GRANULE: Duration = Duration::from_millis(4 + 2);

/// What happened, and when in virtual time.
#[derive(Clone)]
pub struct Diary {
    network: Network,
    lines: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Diary {
    /// An empty one.
    pub fn new(network: &Network) -> Self {
        Self { network: network.clone(), lines: Arc::default() }
    }

    /// Writes a line.
    pub fn note(&self, line: impl Display) {
        let line = (self.network.elapsed(), line.to_string());
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Takes all lines, without the times.
    pub fn take(&self) -> Vec<String> {
        self.take_timed().into_iter().map(|(_, line)| line).collect()
    }

    /// Takes all lines.
    pub fn take_timed(&self) -> Vec<(Duration, String)> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When the first line that begins so was written.
    pub fn time_of(&self, beginning: &str) -> Option<Duration> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|(_, line)| line.starts_with(beginning)).map(|(at, _)| *at)
    }

    /// Whether such a line was written.
    pub fn has(&self, beginning: &str) -> bool {
        self.time_of(beginning).is_some()
    }

    /// Handlers that write down connects, closes and errors, with `who` in front.
    pub fn handlers<P: Protocol>(&self, who: &'static str) -> Handlers<P> {
        let (connects, closes, errors) = (self.clone(), self.clone(), self.clone());
        Handlers::new()
            .on_connect(move |_| connects.note(format_args!("{who} up")))
            .on_close(move |_, reason| closes.note(format_args!("{who} closed: {reason}")))
            .on_error(move |_, error| errors.note(format_args!("{who} error: {error}")))
    }
}

impl std::fmt::Debug for Diary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter()).finish()
    }
}

/// A loop on a host, without anything to do.
pub fn event_loop(network: &Network, host: HostAddr) -> LoopHandle {
    let (event_loop, handle) = EventLoop::new(LoopSettings::default());
    drop(spawn(event_loop.run_on(network.backend_on(host))));
    handle
}

/// A loop on a host that serves on a port.
pub fn serve<P: Protocol>(network: &Network, host: HostAddr, port: u16, service: Service<P>) -> LoopHandle {
    let handle = event_loop(network, host);
    listen(network, &handle, host, port, service);
    handle
}

/// One more listener for a loop.
pub fn listen<P: Protocol>(
    network: &Network,
    handle: &LoopHandle,
    host: HostAddr,
    port: u16,
    service: Service<P>,
) {
    let address = SocketAddr::from(([0, 0, 0, 0], port));
    let listener = network.bind(host, address, &ListenOptions::default()).expect("a free port");
    handle.listen(Arc::new(service), listener.into()).expect("a loop that runs");
}

/// Waits until it is so; an hour of virtual time at most.
///
/// # Panics
/// After that hour.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_600_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("an hour has passed without: {what}");
}

/// Sleeps.
pub fn sleep(milliseconds: u64) -> impl Future<Output = ()> {
    tokio::time::sleep(Duration::from_millis(milliseconds))
}

/// Nothing is open, nothing is queued, and every close was counted once.
///
/// # Panics
/// If not.
pub fn settled(handle: &LoopHandle) {
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.connections, snapshot.bytes_queued), (0, 0), "{snapshot:?}");
}

/// Writes everything, a byte at a time.
///
/// # Panics
/// If the peer is gone.
pub async fn drip(to: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) {
    for byte in bytes {
        to.write_all(&[*byte]).await.expect("an open connection");
        to.flush().await.expect("an open connection");
        tokio::task::yield_now().await;
    }
}

/// Reads to the end.
///
/// # Panics
/// If there is no clean one.
pub async fn read_all(from: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).await.expect("a clean end");
    all
}
