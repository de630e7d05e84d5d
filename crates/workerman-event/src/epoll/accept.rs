//! Listeners: accepting with a bound, and surviving the lack of descriptors.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll::EventFlags;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, acceptfrom_with};

use super::Epoll;
use super::slots::{Target, state};
use crate::socket::{ListenerInner, ListenerParts, Unlink};
use crate::{Listener, ListenerId, Sink};

/// Connections that one listener gives in one turn.
const ACCEPTS: usize = 64;
/// Connections of the queue that are closed at once when there is no descriptor for them.
const SHED: usize = 1024;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A listener in use.
#[derive(Debug)]
pub(super) struct Accepting {
    socket: OwnedFd,
    /// What its connections start with.
    state: u16,
    paused: bool,
    /// There may be connections in the kernel's queue.
    readable: bool,
    queued: bool,
    /// Accepting failed, and nothing was accepted since.
    failing: bool,
    /// Waits for the end of the pause.
    resting: bool,
    /// Removes a unix socket's file with the last of its listeners.
    _unlink: Option<Arc<Unlink>>,
}

/// A descriptor that is closed to have one when there is no other.
pub(super) fn open_reserve() -> Option<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC).ok()
}

impl Epoll {
    pub(super) fn open_listener(&mut self, listener: Listener) -> io::Result<ListenerId> {
        // The options of accepted sockets were set on the listener; here they are inherited.
        let ListenerParts { inner, unlink, .. } = listener.into_parts();
        let (socket, family) = match inner {
            ListenerInner::Tcp(listener) => (OwnedFd::from(listener), 0),
            ListenerInner::Unix(listener) => (OwnedFd::from(listener), state::UNIX),
            #[cfg(feature = "sim")]
            ListenerInner::Sim(_) => {
                let why = "a simulated listener needs the simulated backend";
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
        };
        let id = self.next_id();
        self.poller.add(&socket, Target::Listener(id).key(), EventFlags::IN | EventFlags::ET)?;
        let listener = Accepting {
            socket,
            state: family | state::READ_ON,
            paused: false,
            readable: false,
            queued: false,
            failing: false,
            resting: false,
            _unlink: unlink,
        };
        self.listeners.insert(id, listener);
        Ok(ListenerId(id))
    }

    pub(super) fn close_listener(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.remove(&id.0) {
            // Clones, here or in another process, keep the socket and with it its registration alive.
            self.poller.delete(&listener.socket);
        }
    }

    pub(super) fn set_accepting(&mut self, id: ListenerId, on: bool) {
        if let Some(listener) = self.listeners.get_mut(&id.0) {
            listener.paused = !on;
            self.queue_listener(id);
        }
    }

    /// Queues a listener that has something to accept and may do so.
    fn queue_listener(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id.0) else { return };
        if listener.readable && !listener.paused && !listener.resting && !listener.queued {
            listener.queued = true;
            self.queue(Target::Listener(id.0));
        }
    }

    /// Notes an event. Returns whether the listener has to be served now.
    pub(super) fn note_listener(&mut self, id: ListenerId) -> bool {
        let Some(listener) = self.listeners.get_mut(&id.0) else { return false };
        listener.readable = true;
        !listener.queued
    }

    /// Takes a listener out of the queue's books. Returns whether it still exists.
    pub(super) fn unqueue_listener(&mut self, id: ListenerId) -> bool {
        self.listeners.get_mut(&id.0).map(|listener| listener.queued = false).is_some()
    }

    /// Accepts what has queued up, within the bounds.
    pub(super) fn serve_listener<S: Sink<Self>>(&mut self, id: ListenerId, left: &mut usize, sink: &mut S) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get_mut(&id.0) else { return };
            if !listener.readable || listener.paused || listener.resting || *left == 0 {
                break;
            }
            // Also one that ends with an error costs its share of the turn.
            *left -= 1;
            match acceptfrom_with(&listener.socket, FLAGS) {
                Ok((socket, peer)) => {
                    listener.failing = false;
                    let state = listener.state;
                    self.side.reset_pause();
                    match self.insert_stream(socket, state) {
                        Ok(token) => sink.accepted(self, id, token, super::address(peer)),
                        Err(why) => return self.rest(id, 1, &why, sink),
                    }
                }
                Err(Errno::AGAIN) => {
                    listener.readable = false;
                    break;
                }
                Err(why @ (Errno::MFILE | Errno::NFILE)) => {
                    let shed = self.shed(id);
                    return self.rest(id, shed, &why.into(), sink);
                }
                Err(why) if concerns_one(why) => {}
                Err(why) => return self.rest(id, 0, &why.into(), sink),
            }
        }
        self.queue_listener(id);
    }

    /// Closes the connections that wait, so that their peers need not wait for a time-out.
    fn shed(&mut self, id: ListenerId) -> usize {
        let Some(listener) = self.listeners.get_mut(&id.0) else { return 0 };
        if self.reserve.take().is_none() {
            self.reserve = open_reserve();
            return 0;
        }
        let mut shed = 0;
        while shed < SHED {
            match accept_with(&listener.socket, FLAGS) {
                Ok(_closed_at_once) => shed += 1,
                Err(Errno::AGAIN) => {
                    listener.readable = false;
                    break;
                }
                Err(_) => break,
            }
        }
        self.reserve = open_reserve();
        shed
    }

    /// Accepts no more until the pause is over. Told once, until something is accepted again.
    fn rest<S: Sink<Self>>(&mut self, id: ListenerId, shed: usize, why: &io::Error, sink: &mut S) {
        let Some(listener) = self.listeners.get_mut(&id.0) else { return };
        listener.resting = true;
        let first = !std::mem::replace(&mut listener.failing, true);
        self.side.start_pause();
        if first {
            sink.accept_failed(self, id, shed, why);
        }
    }

    /// The pause is over: all that rested try again.
    pub(super) fn end_rest(&mut self) {
        if self.reserve.is_none() {
            self.reserve = open_reserve();
        }
        let rested: Vec<u64> = self.listeners.iter().filter(|(_, l)| l.resting).map(|(id, _)| *id).collect();
        for id in rested {
            if let Some(listener) = self.listeners.get_mut(&id) {
                listener.resting = false;
            }
            self.queue_listener(ListenerId(id));
        }
    }
}

/// Errors of the connection that would have been accepted: the next one may be well.
fn concerns_one(why: Errno) -> bool {
    matches!(
        why,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::PROTO
            | Errno::PERM
            | Errno::TIMEDOUT
            | Errno::CONNRESET
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
    )
}
