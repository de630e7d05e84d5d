//! Listeners of the tokio backend, and what to do when accepting fails.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use super::stream::Io;
use super::wake::{Key, Ready, Wakeup, poll_now};
use crate::socket::{ConnectionOptions, ListenerInner};
use crate::{Address, Listener, ListenerId};

/// The first pause after accepting failed; it doubles up to [`LONGEST_PAUSE`] until something is accepted.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many queued connections are shed at most before a pause.
const SHED: usize = 256;
/// How many errors of single connections are passed over in one turn.
const PASSED_OVER: usize = 64;

enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// An open listener.
pub(super) struct Accepting {
    socket: Socket,
    accepted: ConnectionOptions,
    /// Removes a unix socket's file at the end.
    #[cfg(unix)]
    _unlink: Option<Arc<crate::socket::Unlink>>,
    pub(super) wakeup: Arc<Wakeup>,
    waker: Waker,
    pub(super) paused: bool,
    /// Accepting failed and goes on then.
    pub(super) retry: Option<Instant>,
    pause: Duration,
}

impl Accepting {
    pub(super) fn open(listener: Listener, id: ListenerId, ready: &Arc<Ready>) -> io::Result<Self> {
        let parts = listener.into_parts();
        let socket = match parts.inner {
            ListenerInner::Tcp(listener) => Socket::Tcp(TcpListener::from_std(listener)?),
            #[cfg(unix)]
            ListenerInner::Unix(listener) => Socket::Unix(UnixListener::from_std(listener)?),
            #[cfg(feature = "sim")]
            ListenerInner::Sim(_) => return Err(super::simulated()),
        };
        let wakeup = Wakeup::new(Key::Listener(id), ready);
        Ok(Self {
            socket,
            accepted: parts.accepted,
            #[cfg(unix)]
            _unlink: parts.unlink,
            waker: Waker::from(wakeup.clone()),
            wakeup,
            paused: false,
            retry: None,
            pause: FIRST_PAUSE,
        })
    }

    fn poll_once(&self) -> Poll<io::Result<(Io, Address)>> {
        match &self.socket {
            Socket::Tcp(listener) => poll_now(&self.waker, poll_fn(|cx| listener.poll_accept(cx)))
                .map_ok(|(stream, peer)| (Io::Tcp(stream), Address::Tcp(peer))),
            #[cfg(unix)]
            Socket::Unix(listener) => {
                poll_now(&self.waker, poll_fn(|cx| listener.poll_accept(cx))).map_ok(|(stream, peer)| {
                    (Io::Unix(stream), Address::Unix(peer.as_pathname().map(Arc::from)))
                })
            }
        }
    }

    /// The next connection of the queue; errors that concern only one connection are passed over.
    pub(super) fn poll_accept(&mut self) -> Poll<io::Result<(Io, Address)>> {
        for _ in 0..PASSED_OVER {
            match self.poll_once() {
                Poll::Ready(Err(why)) if concerns_one(&why) => {}
                Poll::Ready(Ok((stream, peer))) => {
                    self.pause = FIRST_PAUSE;
                    #[allow(irrefutable_let_patterns)] // there is one family only on Windows
                    if let Io::Tcp(stream) = &stream {
                        self.accepted.apply_accepted(SockRef::from(stream));
                    }
                    return Poll::Ready(Ok((stream, peer)));
                }
                other => return other,
            }
        }
        self.wakeup.enqueue();
        Poll::Pending
    }

    /// Accepts and closes at once what is queued, so that the peers need not wait for nothing.
    pub(super) fn shed(&self) -> usize {
        (0..SHED).take_while(|_| matches!(self.poll_once(), Poll::Ready(Ok(_)))).count()
    }

    /// Stops until a pause is over, and makes the next one longer.
    pub(super) fn back_off(&mut self, now: Instant) {
        self.retry = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether an error of `accept` is that of one connection that broke while it was queued.
fn concerns_one(why: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        why.kind(),
        ConnectionAborted
            | ConnectionReset
            | Interrupted
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
            | PermissionDenied
            | TimedOut
    )
}

/// A descriptor to spare: released for a moment when there is no other, to accept and shed.
#[derive(Debug, Default)]
pub(super) struct Reserve(Option<std::fs::File>);

impl Reserve {
    /// Takes one if there is none.
    pub(super) fn fill(&mut self) {
        if self.0.is_none() && cfg!(unix) {
            self.0 = std::fs::File::open("/dev/null").ok();
        }
    }

    /// Gives it away for the time of `body`, if the error is that there are no descriptors left.
    pub(super) fn lend(&mut self, why: &io::Error, body: impl FnOnce() -> usize) -> usize {
        if !out_of_descriptors(why) || self.0.take().is_none() {
            return 0;
        }
        let shed = body();
        self.fill();
        shed
    }
}

#[cfg(unix)]
fn out_of_descriptors(why: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| why.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(not(unix))]
fn out_of_descriptors(_: &io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_one_connection_do_not_stop_a_listener() {
        assert!(concerns_one(&io::ErrorKind::ConnectionAborted.into()));
        assert!(!concerns_one(&io::ErrorKind::OutOfMemory.into()));
    }

    #[cfg(unix)]
    #[test]
    fn the_reserve_is_lent_only_when_descriptors_are_out() {
        let mut reserve = Reserve::default();
        let out = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        assert_eq!(reserve.lend(&out, || 3), 0, "an empty reserve");
        reserve.fill();
        assert_eq!(reserve.lend(&io::ErrorKind::OutOfMemory.into(), || 3), 0);
        assert_eq!(reserve.lend(&out, || 3), 3);
        assert!(reserve.0.is_some());
    }
}
