//! The epoll instance, registered in the thread's tokio runtime.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use tokio::net::unix::pipe::Receiver;

/// Events fetched by one system call at most, whatever a turn may handle.
const BATCH: usize = 256;

pub(super) struct Poller {
    /// Owns the epoll descriptor. It is no pipe, but the pipe's end is the one type of tokio that takes any readable
    /// descriptor over without `unsafe`: tokio's own epoll instance then watches ours.
    gate: Receiver,
    storage: Storage,
}

/// Memory for the events of one fetch; it is taken out of the poller while they are handled.
pub(super) type Storage = Vec<MaybeUninit<Event>>;

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let gate = Receiver::from_owned_fd_unchecked(epoll::create(CreateFlags::CLOEXEC)?)?;
        Ok(Self { gate, storage: Vec::new() })
    }

    pub(super) fn add(&self, socket: impl AsFd, key: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.gate, socket, EventData::new_u64(key), flags)?)
    }

    pub(super) fn modify(&self, socket: impl AsFd, key: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.gate, socket, EventData::new_u64(key), flags)?)
    }

    /// Ends a registration. Needed before a descriptor is closed only if others refer to its socket.
    pub(super) fn delete(&self, socket: impl AsFd) {
        let _ = epoll::delete(&self.gate, socket);
    }

    /// Whether events may be waiting; if not, the task of `cx` is woken by the next one.
    pub(super) fn is_ready(&self, cx: &mut Context<'_>) -> bool {
        // An error means that the runtime is shutting down: nothing will ever be ready.
        matches!(self.gate.poll_read_ready(cx), Poll::Ready(Ok(())))
    }
    pub(super) fn take_storage(&mut self) -> Storage {
        let mut storage = mem::take(&mut self.storage);
        if storage.is_empty() {
            storage.resize(BATCH, MaybeUninit::uninit());
        }
        storage
    }

    pub(super) fn put_storage(&mut self, storage: Storage) {
        self.storage = storage;
    }

    /// Fetches at most `limit` events, without waiting.
    pub(super) fn fetch<'a>(&self, storage: &'a mut Storage, limit: usize) -> &'a [Event] {
        let limit = limit.clamp(1, storage.len());
        let mut found: &[Event] = &[];
        let room = &mut storage[..limit];
        let outcome = self.gate.try_io(|| {
            match epoll::wait(&self.gate, room, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                Ok((events, _)) => found = events,
                // Nothing was fetched, and nothing is known: come back.
                Err(rustix::io::Errno::INTR) => return Ok(()),
                Err(why) => return Err(why.into()),
            }
            // Fewer than asked for are all: tokio shall watch the instance again. A full batch may not be all.
            if found.len() < limit { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if let Err(why) = outcome {
            if why.kind() != io::ErrorKind::WouldBlock {
                tracing::error!(error = %why, "the event loop cannot wait for events");
            }
        }
        found
    }
}
