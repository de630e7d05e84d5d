//! One stream socket of the tokio backend: connecting, then open.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Buf;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::wake::{Key, Ready, Wakeup, poll_now};
use crate::chunk::Chunk;
use crate::socket::ConnectionOptions;
use crate::{Address, Token};

/// How many chunks one system call gathers.
const GATHER: usize = 64;

/// An open stream socket of either family.
pub(super) enum Io {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Runs the same expression for either family.
macro_rules! either {
    ($io:expr, $stream:ident => $body:expr) => {
        match $io {
            Io::Tcp($stream) => $body,
            #[cfg(unix)]
            Io::Unix($stream) => $body,
        }
    };
}

impl Io {
    fn poll_read(&mut self, waker: &Waker, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        either!(self, stream => poll_now(waker, stream.read_buf(buffer)))
    }

    fn poll_read_ready(&self, waker: &Waker) -> Poll<io::Result<()>> {
        either!(self, stream => poll_now(waker, poll_fn(|cx| stream.poll_read_ready(cx))))
    }

    fn poll_write_ready(&self, waker: &Waker) -> Poll<io::Result<()>> {
        either!(self, stream => poll_now(waker, poll_fn(|cx| stream.poll_write_ready(cx))))
    }

    fn poll_write(&mut self, waker: &Waker, chunks: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        either!(self, stream => {
            poll_now(waker, poll_fn(|cx| Pin::new(&mut *stream).poll_write_vectored(cx, chunks)))
        })
    }

    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        either!(self, stream => SockRef::from(stream).shutdown(Shutdown::Write))
    }

    /// Makes the coming close send a reset.
    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        either!(self, stream => SockRef::from(stream).set_linger(Some(Duration::ZERO)))
    }

    pub(super) fn local_address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(stream) => stream.local_addr().map(Address::Tcp),
            #[cfg(unix)]
            Self::Unix(stream) => {
                let address = stream.local_addr()?;
                Ok(Address::Unix(address.as_pathname().map(Arc::from)))
            }
        }
    }
}

/// A connect that is under way, or that has succeeded and is not told yet.
struct Connect {
    future: Pin<Box<dyn Future<Output = io::Result<Io>>>>,
    connected: Option<Io>,
    address: Address,
}

enum Link {
    Connecting(Box<Connect>),
    Open(Io),
}

/// What a read came to.
pub(super) enum Read {
    /// Nothing there, or reading is off.
    Nothing,
    /// Bytes in the thread's buffer.
    Chunk(Vec<u8>),
    /// Bytes in the lent buffer.
    Lent(Vec<u8>),
    Eof,
    Failed(io::Error),
}

/// A stream socket with what the backend has to remember of it.
pub(super) struct Conn {
    link: Link,
    pub(super) wakeup: Arc<Wakeup>,
    waker: Waker,
    pub(super) lent: Option<Vec<u8>>,
    reading: bool,
    eof: bool,
    /// A send took less than everything: tell when there is room.
    wants_room: bool,
}

impl Conn {
    fn new(token: Token, ready: &Arc<Ready>, link: Link) -> Self {
        let wakeup = Wakeup::new(Key::Stream(token), ready);
        let waker = Waker::from(wakeup.clone());
        Self { link, wakeup, waker, lent: None, reading: true, eof: false, wants_room: false }
    }

    pub(super) fn open(token: Token, ready: &Arc<Ready>, io: Io) -> Self {
        Self::new(token, ready, Link::Open(io))
    }

    pub(super) fn connecting(token: Token, ready: &Arc<Ready>, address: &Address) -> Self {
        let target = address.clone();
        let future = Box::pin(async move {
            match target {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    // It fails only for a peer that is gone again, which the first read reports.
                    let _ = ConnectionOptions::default().apply(SockRef::from(&stream));
                    Ok(Io::Tcp(stream))
                }
                #[cfg(unix)]
                Address::Unix(Some(path)) => UnixStream::connect(path).await.map(Io::Unix),
                Address::Unix(_) => {
                    let why = "cannot connect to a unix socket: it has no path, or this system has none";
                    Err(io::Error::new(io::ErrorKind::Unsupported, why))
                }
            }
        });
        let connect = Connect { future, connected: None, address: address.clone() };
        Self::new(token, ready, Link::Connecting(Box::new(connect)))
    }

    /// Goes on with a connect (the first call starts it); an open socket is ready.
    pub(super) fn poll_connect(&mut self) -> Poll<io::Result<()>> {
        if let Link::Connecting(connect) = &mut self.link {
            if connect.connected.is_none() {
                match poll_now(&self.waker, connect.future.as_mut()) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(result) => connect.connected = Some(result?),
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Opens a socket whose connect has succeeded, and says once which peer it has.
    pub(super) fn take_connected(&mut self) -> Option<Address> {
        let Link::Connecting(connect) = &mut self.link else { return None };
        let io = connect.connected.take()?;
        let address = connect.address.clone();
        self.link = Link::Open(io);
        Some(address)
    }

    /// One read, never one that ends in would-block: tokio forgets the readiness after a short read.
    pub(super) fn read(&mut self, chunk: &mut Chunk) -> Read {
        let Link::Open(io) = &mut self.link else { return Read::Nothing };
        if !self.reading || self.eof {
            return Read::Nothing;
        }
        let lent = self.lent.is_some();
        let mut buffer = self.lent.take().unwrap_or_else(|| chunk.take());
        let result = io.poll_read(&self.waker, &mut buffer);
        if let Poll::Ready(Ok(1..)) = result {
            return if lent { Read::Lent(buffer) } else { Read::Chunk(buffer) };
        }
        if lent {
            self.lent = Some(buffer);
        } else {
            chunk.put(buffer);
        }
        match result {
            Poll::Ready(Ok(_)) => {
                self.eof = true;
                Read::Eof
            }
            Poll::Ready(Err(why)) if why.kind() == io::ErrorKind::Interrupted => {
                self.wakeup.enqueue();
                Read::Nothing
            }
            Poll::Ready(Err(why)) => Read::Failed(why),
            Poll::Pending => Read::Nothing,
        }
    }

    /// Asks for a turn as soon as there is something to read; costs no system call.
    pub(super) fn await_data(&self) {
        if let (Link::Open(io), true, false) = (&self.link, self.reading, self.eof) {
            if io.poll_read_ready(&self.waker).is_ready() {
                self.wakeup.enqueue();
            }
        }
    }

    pub(super) fn set_read(&mut self, on: bool) {
        if std::mem::replace(&mut self.reading, on) != on {
            self.await_data();
        }
    }

    /// Whether a send that fell short can go on now; says so once.
    pub(super) fn take_room(&mut self) -> bool {
        let room = match &self.link {
            Link::Open(io) => self.wants_room && io.poll_write_ready(&self.waker).is_ready(),
            Link::Connecting(_) => false,
        };
        if room {
            self.wants_room = false;
        }
        room
    }

    /// Writes from the front of `out` until the system takes less than is offered.
    pub(super) fn send(&mut self, out: &mut impl Buf) -> io::Result<usize> {
        let mut taken = 0;
        if let Link::Open(io) = &mut self.link {
            while out.has_remaining() {
                let mut chunks = [IoSlice::new(&[]); GATHER];
                let used = out.chunks_vectored(&mut chunks);
                let offered: usize = chunks[..used].iter().map(|chunk| chunk.len()).sum();
                let written = match io.poll_write(&self.waker, &chunks[..used]) {
                    Poll::Ready(Ok(written)) => written,
                    Poll::Ready(Err(why)) if why.kind() == io::ErrorKind::Interrupted => continue,
                    Poll::Ready(Err(why)) => return Err(why),
                    Poll::Pending => 0,
                };
                out.advance(written);
                taken += written;
                if written < offered || offered == 0 {
                    break;
                }
            }
        }
        if out.has_remaining() {
            self.wants_room = true;
            self.await_room();
        }
        Ok(taken)
    }

    /// Asks for a turn as soon as there is room to write, if somebody waits for it.
    pub(super) fn await_room(&self) {
        if let (Link::Open(io), true) = (&self.link, self.wants_room) {
            if io.poll_write_ready(&self.waker).is_ready() {
                self.wakeup.enqueue();
            }
        }
    }

    pub(super) fn io(&self) -> Option<&Io> {
        match &self.link {
            Link::Open(io) => Some(io),
            Link::Connecting(_) => None,
        }
    }
}
