//! A simulated client: its host, its connections, lines.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf,
};
use workerman_connection::Target;
use workerman_event::Address;
use workerman_event::sim::{HostAddr, Network, SimStream};

use super::scene::{Actor, Scene};

/// Most bytes of one received line.
const MAX_LINE: usize = 1024 * 1024;

/// A client of the simulation, on a host of its own; what the closure of [`Sim::client`](super::Sim::client) gets.
///
/// Its calls panic where a test would `unwrap`, with a message that names the client; each has a `try_` form.
pub struct Peer {
    pub(super) scene: Scene,
    pub(super) actor: Rc<Actor>,
    pub(super) name: String,
    pub(super) host: HostAddr,
}

impl Peer {
    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its host.
    pub fn host(&self) -> HostAddr {
        self.host
    }

    /// The network, for peers that do more than these calls: listen, send datagrams.
    pub fn network(&self) -> &Network {
        self.scene.network()
    }

    /// What can be done to the simulated world.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// Lets virtual time pass.
    pub async fn sleep(&self, time: Duration) {
        self.scene.sleep(time).await;
    }

    /// The virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.scene.elapsed()
    }

    /// Connects to the first address of the first worker.
    ///
    /// # Panics
    /// If the connect fails, or no worker has an address.
    pub async fn connect(&self) -> Wire {
        let connected = self.try_connect().await;
        connected.unwrap_or_else(|error| panic!("{} cannot connect: {error}", self.name))
    }

    /// Connects to an address: `worker` (its first one), `worker:port`, `10.0.0.1:port`, `unix:///path`.
    ///
    /// # Panics
    /// If the connect fails, or there is no such worker.
    pub async fn connect_to(&self, address: &str) -> Wire {
        let connected = self.try_connect_to(address).await;
        connected.unwrap_or_else(|error| panic!("{} cannot connect to {address}: {error}", self.name))
    }

    /// Like [`connect`](Self::connect), when failing is what is tested.
    ///
    /// # Errors
    /// As [`Network::connect`]; a partition lets it hang.
    pub async fn try_connect(&self) -> io::Result<Wire> {
        let first = {
            let places = self.scene.world.places.borrow();
            places.iter().find_map(|place| Some((place.name.clone(), place.addresses().first()?.clone())))
        };
        let (name, address) = first.ok_or_else(|| unknown("no worker of this simulation has an address"))?;
        self.open(&name, &address).await
    }

    /// Like [`connect_to`](Self::connect_to), when failing is what is tested.
    ///
    /// # Errors
    /// As [`try_connect`](Self::try_connect).
    pub async fn try_connect_to(&self, address: &str) -> io::Result<Wire> {
        if !address.contains(':') {
            let first = self.scene.addresses(address).first().cloned();
            let first = first.ok_or_else(|| unknown("the worker has no address"))?;
            return self.open(address, &first).await;
        }
        let target = Target::parse(address, &["tcp", "text", "frame"]).map_err(io::Error::other)?;
        match target {
            Target::Unix(path) => self.reach(Address::from(path)).await,
            Target::Host { host, port } => {
                let ip = match host.parse() {
                    Ok(ip) => ip,
                    Err(_) => self.scene.host(&host).ip(),
                };
                self.reach(Address::from(std::net::SocketAddr::new(ip, port))).await
            }
        }
    }

    /// Connects to what a worker listens on, seen from here.
    async fn open(&self, worker: &str, listening: &Address) -> io::Result<Wire> {
        let host = self.scene.host(worker);
        let mut address = listening.clone();
        if let Address::Tcp(tcp) = &mut address {
            if tcp.ip().is_unspecified() {
                tcp.set_ip(if tcp.is_ipv4() { host.ip() } else { host.ipv6() });
            } else if tcp.ip().is_loopback() && host != self.host {
                return Err(unknown(&format!(
                    "worker {worker} listens on {listening}, which only its own host reaches: \
                     let it listen on 0.0.0.0 in a simulation"
                )));
            }
        }
        self.reach(address).await
    }

    async fn reach(&self, address: Address) -> io::Result<Wire> {
        let _waits = self.actor.waits("a connection");
        let stream = self.network().connect(self.host, address).await?;
        Ok(Wire {
            stream: BufReader::new(stream),
            line: Vec::new(),
            actor: Rc::clone(&self.actor),
            name: self.name.clone(),
        })
    }
}

fn unknown(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, why)
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("name", &self.name).field("host", &self.host).finish_non_exhaustive()
    }
}

/// A connection of a simulated client: lines and bytes, or any `AsyncRead` and `AsyncWrite` code.
///
/// Dropping it closes the connection.
pub struct Wire {
    stream: BufReader<SimStream>,
    /// The beginning of a line whose rest has not come: a call that is given up loses nothing.
    line: Vec<u8>,
    actor: Rc<Actor>,
    name: String,
}

impl Wire {
    /// Sends a line; the newline is added.
    ///
    /// # Panics
    /// If the connection is broken.
    pub async fn send_line(&mut self, line: impl AsRef<str>) {
        let mut bytes = line.as_ref().as_bytes().to_vec();
        bytes.push(b'\n');
        self.send(bytes).await;
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// If the connection is broken.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _waits = self.actor.waits("room to send");
        let sent = self.stream.write_all(bytes.as_ref()).await;
        sent.unwrap_or_else(|error| panic!("{} cannot send: {error}", self.name));
    }

    /// Waits for a line, and returns it without its newline (CR LF or LF).
    ///
    /// # Panics
    /// If the connection ends before, the line is longer than 1 MiB or is not UTF-8.
    pub async fn line(&mut self) -> String {
        match self.try_line().await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("{} waits for a line, and the connection has ended", self.name),
            Err(error) => panic!("{} waits for a line: {error}", self.name),
        }
    }

    /// Like [`line`](Self::line); `None` when the peer has ended its stream and no line has begun.
    ///
    /// It can be given up and called again: what has been received of a line is kept.
    ///
    /// # Errors
    /// The connection is reset, or ends within a line; the line is too long (1 MiB) or not UTF-8.
    pub async fn try_line(&mut self) -> io::Result<Option<String>> {
        let _waits = self.actor.waits("a line");
        loop {
            let chunk = self.stream.fill_buf().await?;
            if chunk.is_empty() {
                if self.line.is_empty() {
                    return Ok(None);
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let newline = chunk.iter().position(|&byte| byte == b'\n');
            let used = newline.map_or(chunk.len(), |at| at + 1);
            self.line.extend_from_slice(&chunk[..used]);
            self.stream.consume(used);
            let invalid = |why: &'static str| io::Error::new(io::ErrorKind::InvalidData, why);
            if self.line.len() > MAX_LINE {
                return Err(invalid("a line is longer than 1 MiB"));
            }
            if newline.is_some() {
                let mut line = std::mem::take(&mut self.line);
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return String::from_utf8(line).map(Some).map_err(|_| invalid("a line is not UTF-8"));
            }
        }
    }

    /// Waits for so many bytes.
    ///
    /// # Panics
    /// If the connection ends before.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let _waits = self.actor.waits("bytes");
        let mut bytes = vec![0; count];
        let read = self.stream.read_exact(&mut bytes).await;
        read.unwrap_or_else(|error| panic!("{} waits for {count} bytes: {error}", self.name));
        bytes
    }

    /// Waits until the peer has ended its stream; returns what came before.
    ///
    /// # Errors
    /// The connection is reset.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        let _waits = self.actor.waits("the end of the connection");
        let mut rest = std::mem::take(&mut self.line);
        self.stream.read_to_end(&mut rest).await?;
        Ok(rest)
    }

    /// Ends this side's stream (FIN); the other side can still send.
    pub async fn finish(&mut self) {
        // A simulated shutdown cannot fail; a connection that is gone has no stream to end.
        let _ = self.stream.shutdown().await;
    }

    /// The simulated socket, for its addresses and faults. Bytes are to be read from the `Wire` itself.
    pub fn socket(&self) -> &SimStream {
        self.stream.get_ref()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncBufRead for Wire {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().stream).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.stream).consume(amount);
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("client", &self.name).finish_non_exhaustive()
    }
}
