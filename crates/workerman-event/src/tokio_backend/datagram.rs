//! Datagram sockets of the tokio backend.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::wake::{Key, Ready, Wakeup, poll_now};
use crate::socket::DatagramInner;
use crate::{Datagram, DatagramId};

/// An open datagram socket.
pub(super) struct Udp {
    socket: Arc<UdpSocket>,
    /// Resolves when the socket has an error, such as an unreachable peer, and nothing to read: tokio wakes neither
    /// readers nor writers for that.
    error: Pin<Box<dyn Future<Output = ()>>>,
    pub(super) wakeup: Arc<Wakeup>,
    waker: Waker,
    wants_room: bool,
}

impl Udp {
    pub(super) fn open(socket: Datagram, id: DatagramId, ready: &Arc<Ready>) -> io::Result<Self> {
        let socket = match socket.into_inner() {
            DatagramInner::Udp(socket) => UdpSocket::from_std(socket)?,
            #[cfg(feature = "sim")]
            DatagramInner::Sim(_) => return Err(super::simulated()),
        };
        let wakeup = Wakeup::new(Key::Datagram(id), ready);
        let socket = Arc::new(socket);
        let error = await_error(&socket);
        Ok(Self { socket, error, waker: Waker::from(wakeup.clone()), wakeup, wants_room: false })
    }

    /// The error that the network reported, if it did; then the socket asks for a turn at the next one.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        if poll_now(&self.waker, self.error.as_mut()).is_pending() {
            return None;
        }
        let error = self.socket.take_error().ok().flatten();
        self.forget(Interest::ERROR);
        self.error = await_error(&self.socket);
        if poll_now(&self.waker, self.error.as_mut()).is_ready() {
            self.wakeup.enqueue();
            self.error = await_error(&self.socket);
        }
        error
    }

    /// Tells the reactor what it has not seen, so that the next edge is one.
    fn forget(&self, readiness: Interest) {
        let _ = self.socket.try_io(readiness, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }

    /// The next datagram; `None` when there is none, and then the socket asks for a turn when one comes.
    pub(super) fn receive(&self, buffer: &mut Vec<u8>) -> Option<io::Result<SocketAddr>> {
        loop {
            match self.socket.try_recv_buf_from(buffer) {
                Ok((_, from)) => return Some(Ok(from)),
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => return Some(Err(why)),
            }
            if poll_now(&self.waker, poll_fn(|cx| self.socket.poll_recv_ready(cx))).is_ready() {
                self.wakeup.enqueue();
            }
            return None;
        }
    }

    /// Whether a datagram that found no room can be tried again; says so once.
    pub(super) fn take_room(&mut self) -> bool {
        let room = self.wants_room
            && poll_now(&self.waker, poll_fn(|cx| self.socket.poll_send_ready(cx))).is_ready();
        if room {
            self.wants_room = false;
        }
        room
    }

    /// Past the reactor, which does not know of a new socket yet that it is writable.
    pub(super) fn send(&mut self, to: Option<SocketAddr>, payload: &[u8]) -> io::Result<()> {
        let socket = SockRef::from(&*self.socket);
        let send = || match to {
            Some(to) => socket.send_to(payload, &to.into()),
            None => socket.send(payload),
        };
        let mut result = send();
        if result.as_ref().is_err_and(|why| why.kind() == io::ErrorKind::Interrupted) {
            result = send();
        }
        let Err(why) = result else { return Ok(()) };
        if why.kind() == io::ErrorKind::WouldBlock {
            self.wants_room = true;
            self.forget(Interest::WRITABLE);
            if poll_now(&self.waker, poll_fn(|cx| self.socket.poll_send_ready(cx))).is_ready() {
                self.wakeup.enqueue();
            }
        }
        Err(why)
    }
}

fn await_error(socket: &Arc<UdpSocket>) -> Pin<Box<dyn Future<Output = ()>>> {
    let socket = socket.clone();
    Box::pin(async move {
        // It fails only when the runtime ends.
        let _ = socket.ready(Interest::ERROR).await;
    })
}
