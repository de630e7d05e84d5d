//! Datagram sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::Epoll;
use super::slots::Target;
use crate::chunk::Chunk;
use crate::socket::DatagramInner;
use crate::{Datagram, DatagramId, Sink};

/// Datagrams that one socket gives in one turn.
const DATAGRAMS: usize = 64;

/// Room is reported with each datagram that leaves, so it is watched only while it is wanted.
const EVENTS: EventFlags = EventFlags::IN.union(EventFlags::ET);

/// A datagram socket in use.
#[derive(Debug)]
pub(super) struct Mailbox {
    socket: OwnedFd,
    readable: bool,
    queued: bool,
    want_write: bool,
    write_ready: bool,
}

impl Epoll {
    pub(super) fn open_mailbox(&mut self, socket: Datagram) -> io::Result<DatagramId> {
        let socket = match socket.into_inner() {
            DatagramInner::Udp(socket) => OwnedFd::from(socket),
            #[cfg(feature = "sim")]
            DatagramInner::Sim(_) => {
                let why = "a simulated socket needs the simulated backend";
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
        };
        let id = self.next_id();
        self.poller.add(&socket, Target::Datagram(id).key(), EVENTS)?;
        let mailbox =
            Mailbox { socket, readable: false, queued: false, want_write: false, write_ready: false };
        self.mailboxes.insert(id, mailbox);
        Ok(DatagramId(id))
    }

    pub(super) fn close_mailbox(&mut self, id: DatagramId) {
        if let Some(mailbox) = self.mailboxes.remove(&id.0) {
            // Clones keep the socket and with it its registration alive.
            self.poller.delete(&mailbox.socket);
        }
    }

    pub(super) fn send_mail(
        &mut self,
        id: DatagramId,
        to: Option<SocketAddr>,
        payload: &[u8],
    ) -> io::Result<()> {
        let Some(mailbox) = self.mailboxes.get_mut(&id.0) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let send = || match to {
            Some(to) => rustix::net::sendto(&mailbox.socket, payload, SendFlags::NOSIGNAL, &to),
            None => rustix::net::send(&mailbox.socket, payload, SendFlags::NOSIGNAL),
        };
        match rustix::io::retry_on_intr(send) {
            Ok(_) => Ok(()),
            Err(Errno::AGAIN) => {
                if !mailbox.want_write {
                    mailbox.want_write = true;
                    // Room that has come meanwhile is reported by this as a new edge.
                    let events = EVENTS.union(EventFlags::OUT);
                    self.poller.modify(&mailbox.socket, Target::Datagram(id.0).key(), events)?;
                }
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(why) => Err(why.into()),
        }
    }

    /// Notes an event. Returns whether the socket has to be served now.
    pub(super) fn note_mailbox(&mut self, id: DatagramId, flags: EventFlags) -> bool {
        let Some(mailbox) = self.mailboxes.get_mut(&id.0) else { return false };
        mailbox.readable |= flags.intersects(EventFlags::IN.union(EventFlags::ERR));
        mailbox.write_ready |= mailbox.want_write && flags.contains(EventFlags::OUT);
        !mailbox.queued
    }

    /// Takes a socket out of the queue's books. Returns whether it still exists.
    pub(super) fn unqueue_mailbox(&mut self, id: DatagramId) -> bool {
        self.mailboxes.get_mut(&id.0).map(|mailbox| mailbox.queued = false).is_some()
    }

    /// Tells of room, and reads what has arrived, within the bounds.
    pub(super) fn serve_mailbox<S: Sink<Self>>(&mut self, id: DatagramId, left: &mut usize, sink: &mut S) {
        let Some(mailbox) = self.mailboxes.get_mut(&id.0) else { return };
        if std::mem::take(&mut mailbox.write_ready) {
            *left = left.saturating_sub(1);
            mailbox.want_write = false;
            if let Err(why) = self.poller.modify(&mailbox.socket, Target::Datagram(id.0).key(), EVENTS) {
                tracing::error!(error = %why, "cannot change what is watched of a datagram socket");
            }
            sink.datagram_writable(self, id);
        }
        for _ in 0..DATAGRAMS {
            let Some(mailbox) = self.mailboxes.get_mut(&id.0) else { return };
            if !mailbox.readable || *left == 0 {
                break;
            }
            *left -= 1;
            let mut buffer = self.chunk.take();
            match rustix::net::recvfrom(&mailbox.socket, spare_capacity(&mut buffer), RecvFlags::empty()) {
                Ok((_, _, from)) => {
                    let mut payload = Chunk::lend(buffer);
                    if let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) {
                        sink.datagram(self, id, from, &mut payload);
                    }
                    self.chunk.give_back(payload);
                }
                Err(why) => {
                    self.chunk.put(buffer);
                    match why {
                        Errno::AGAIN => mailbox.readable = false,
                        Errno::INTR => {}
                        why => {
                            // The system tells an error of the network once. Any other one may stay for good: then
                            // the next event decides, not the next attempt.
                            mailbox.readable = is_told_once(why);
                            sink.datagram_failed(self, id, why.into());
                        }
                    }
                }
            }
        }
        if let Some(mailbox) = self.mailboxes.get_mut(&id.0) {
            if mailbox.readable && !mailbox.queued {
                mailbox.queued = true;
                self.queue(Target::Datagram(id.0));
            }
        }
    }

    /// Queues a socket that was found by an event, but not served.
    pub(super) fn queue_mailbox(&mut self, id: DatagramId) {
        if let Some(mailbox) = self.mailboxes.get_mut(&id.0) {
            if !mailbox.queued {
                mailbox.queued = true;
                self.queue(Target::Datagram(id.0));
            }
        }
    }
}

/// Errors that came by a message of the network (ICMP), for an earlier datagram.
fn is_told_once(why: Errno) -> bool {
    matches!(
        why,
        Errno::CONNREFUSED
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::ACCESS
            | Errno::PERM
            | Errno::MSGSIZE
            | Errno::NOPROTOOPT
            | Errno::PROTO
            | Errno::OPNOTSUPP
            | Errno::TIMEDOUT
    )
}
