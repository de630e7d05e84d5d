//! Servers and peers of the protocol on any backend.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_connection::{Connection, EventLoop, Handlers, LoopHandle, LoopSettings, Service, Settings};
use workerman_event::{Address, spawn};

use super::{Marks, Shaking};
use crate::conformance::{World, patiently};
use crate::simulation::read_all;
use crate::toy::Seen;

/// A connection of it.
pub type Conn<M> = Connection<Shaking<M>>;

/// What a test reads and writes by lines.
#[derive(Debug)]
pub struct Lines<P>(pub P);

impl<P: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Lines<P> {
    /// Says it.
    pub async fn say(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// The next line.
    pub async fn line(&mut self) -> String {
        let reading = async {
            let mut line = Vec::new();
            while line.last() != Some(&b'\n') {
                line.push(self.0.read_u8().await.unwrap());
            }
            line.pop();
            String::from_utf8(line).unwrap()
        };
        patiently(reading).await.expect("a line in time")
    }

    /// Hears these lines next.
    pub async fn hears(&mut self, lines: &[impl AsRef<str> + Debug]) {
        for line in lines {
            assert_eq!(self.line().await, line.as_ref(), "of {lines:?}");
        }
    }

    /// All up to the end.
    pub async fn rest(mut self) -> String {
        String::from_utf8(patiently(read_all(&mut self.0)).await.expect("an end in time")).unwrap()
    }
}

/// The lines of one who has said the first `before` of them before the handshake was done.
pub fn marked<M: Marks>(before: usize, bits: u8, lines: &[&str]) -> Vec<String> {
    let mut one = M::default();
    let mark = |(n, line): (usize, &&str)| match M::FREE && n >= before {
        true => format!("[{bits}] {line}"),
        false => format!("{}{line}", one.mark()),
    };
    lines.iter().enumerate().map(mark).collect()
}

/// Handlers that note everything, and hand the connection to the test.
pub fn noting<M: Marks>(seen: &Seen, conns: &Conns<M>) -> Handlers<Shaking<M>> {
    let [closes, errors, fulls, drains] = [(); 4].map(|()| seen.clone());
    let conns = conns.clone();
    Handlers::new()
        .on_connect(move |conn: &Conn<M>| conns.0.lock().unwrap().push(conn.clone()))
        .on_close(move |_, reason| closes.note(format_args!("closed: {reason}")))
        .on_error(move |_, error| errors.note(format_args!("error: {error}")))
        .on_buffer_full(move |_| fulls.note("full"))
        .on_buffer_drain(move |_| drains.note("drained"))
}

/// The connections that are up.
pub struct Conns<M: Marks>(pub Arc<Mutex<Vec<Conn<M>>>>);

impl<M: Marks> Clone for Conns<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Marks> Conns<M> {
    /// None yet.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// The last one that came up.
    pub async fn next(&self) -> Conn<M> {
        let waits = async {
            loop {
                if let Some(conn) = self.0.lock().unwrap().pop() {
                    return conn;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        patiently(waits).await.expect("a connection in time")
    }
}

/// A server in this world.
pub fn start<M: Marks, W: World>(
    world: &W,
    service: Service<Shaking<M>>,
) -> (LoopHandle, Arc<Service<Shaking<M>>>, Address) {
    let (event_loop, handle) = EventLoop::new(LoopSettings::default());
    let (listener, address) = world.listener();
    let service = Arc::new(service);
    handle.listen(Arc::clone(&service), listener).unwrap();
    drop(spawn(event_loop.run_on(world.backend())));
    (handle, service, address)
}

/// A peer of it.
pub async fn peer<W: World>(world: &W, address: &Address) -> Lines<W::Peer> {
    Lines(world.connect(address).await.unwrap())
}

/// Waits until it is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waits = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    patiently(waits).await.unwrap_or_else(|| panic!("{what}"));
}

/// Nothing is left of any connection.
pub async fn settle(handle: &LoopHandle) {
    until("nothing is left", || {
        let snapshot = handle.snapshot();
        snapshot.connections == 0 && snapshot.bytes_queued == 0
    })
    .await;
    handle.stop();
}

/// A service of the protocol.
pub fn service<M: Marks>(handlers: Handlers<Shaking<M>>, settings: Settings) -> Service<Shaking<M>> {
    Service::new("shaking", Shaking::<M>::new, handlers, settings)
}

impl<M: Marks> Default for Conns<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Marks> Debug for Conns<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conns")
    }
}
