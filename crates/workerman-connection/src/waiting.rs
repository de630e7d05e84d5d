//! Waiting for room in a queue, or for the end of a connection, from any task or thread.
//!
//! Why no wake-up is lost: a waiter registers and raises `WAITED`, then looks once more; the loop lowers the queue (or
//! raises `CLOSED`), then looks for `WAITED`. For the flags of one atomic that order is enough. The queue is another
//! variable, so each side puts a sequentially consistent fence between its write and its look: whichever fence comes
//! second, its side sees what the other has written. The loop pays for the fence only when a queue falls to its
//! low-water mark from above; a waiter that saw less had no reason to wait.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::task::{Context, Poll, Waker};

use workerman_protocol::Protocol;

use crate::SendError;
use crate::shared::{BACKLOG, CLOSED, SHUT, Shared, WAITED};

/// Those who wait, each under a number of its own, so that one that gives up leaves nothing behind.
#[derive(Default)]
pub(crate) struct Waiters {
    last: u64,
    list: Vec<(u64, Waker)>,
}

/// A place in [`Waiters`]; given up when dropped.
struct Place<P: Protocol> {
    shared: Arc<Shared<P>>,
    key: u64,
}

impl<P: Protocol> Place<P> {
    fn new(shared: &Arc<Shared<P>>) -> Self {
        Self { shared: Arc::clone(shared), key: 0 }
    }

    /// Registers, or registers anew.
    fn wait(&mut self, cx: &Context<'_>) {
        let mut core = self.shared.lock();
        let waiters = &mut core.attached.get_or_insert_default().waiters;
        let old = match waiters.list.iter_mut().find(|(key, _)| *key == self.key) {
            Some((_, waker)) if waker.will_wake(cx.waker()) => None,
            Some((_, waker)) => Some(std::mem::replace(waker, cx.waker().clone())),
            None => {
                waiters.last += 1;
                self.key = waiters.last;
                waiters.list.push((self.key, cx.waker().clone()));
                None
            }
        };
        drop(core);
        // The waker's own code runs outside of the lock.
        drop(old);
        self.shared.set(WAITED);
        fence(Ordering::SeqCst);
    }
}

impl<P: Protocol> Drop for Place<P> {
    fn drop(&mut self) {
        if self.key == 0 {
            return;
        }
        let mut core = self.shared.lock();
        let list = &mut core.attached.get_or_insert_default().waiters.list;
        let index = list.iter().position(|(key, _)| *key == self.key);
        let waker = index.map(|index| list.swap_remove(index));
        drop(core);
        drop(waker);
    }
}

/// Waits until there is room: see `Connection::ready`.
pub(crate) fn ready<P: Protocol>(
    shared: &Arc<Shared<P>>,
) -> impl Future<Output = Result<(), SendError<P::Error>>> + Send + 'static + use<P> {
    ready_for(shared, false)
}

/// The same for one who sends exclusively.
pub(crate) fn ready_alone<P: Protocol>(
    shared: &Arc<Shared<P>>,
) -> impl Future<Output = Result<(), SendError<P::Error>>> + Send + 'static + use<P> {
    ready_for(shared, true)
}

fn ready_for<P: Protocol>(
    shared: &Arc<Shared<P>>,
    alone: bool,
) -> impl Future<Output = Result<(), SendError<P::Error>>> + Send + 'static + use<P> {
    let mut place = Place::new(shared);
    let mut waits = false;
    poll_fn(move |cx| {
        let settings = &place.shared.service.settings;
        let (low, high) = (settings.low_mark(), settings.high_water);
        let look = |shared: &Shared<P>, waits: bool| -> Option<Result<(), SendError<P::Error>>> {
            if shared.flags() & SHUT != 0 {
                return Some(Err(shared.shut()));
            }
            if !alone && shared.flags() & BACKLOG != 0 {
                return None;
            }
            let queued = if alone { shared.queued_alone() } else { shared.queued() };
            let room = queued < high && (!waits || queued <= low);
            // A mark of zero is never undercut: an empty queue is all the room there will be.
            (room || queued == 0).then_some(Ok(()))
        };
        if let Some(result) = look(&place.shared, waits) {
            return Poll::Ready(result);
        }
        waits = true;
        place.wait(cx);
        look(&place.shared, waits).map_or(Poll::Pending, Poll::Ready)
    })
}

/// Waits for the end: see `Connection::closed`.
pub(crate) fn closed<P: Protocol>(
    shared: &Arc<Shared<P>>,
) -> impl Future<Output = ()> + Send + 'static + use<P> {
    let mut place = Place::new(shared);
    poll_fn(move |cx| {
        if place.shared.flags() & CLOSED != 0 {
            return Poll::Ready(());
        }
        place.wait(cx);
        if place.shared.flags() & CLOSED != 0 { Poll::Ready(()) } else { Poll::Pending }
    })
}

impl<P: Protocol> Shared<P> {
    /// Wakes all who wait for room or for the end; who still has to wait registers again.
    pub(crate) fn release(&self) {
        if self.clear(WAITED) & WAITED != 0 {
            let waiters = self
                .lock()
                .attached
                .as_mut()
                .map_or_else(Vec::new, |attached| std::mem::take(&mut attached.waiters.list));
            for (_, waiter) in waiters {
                waiter.wake();
            }
        }
    }

    /// Nothing is taken any more; who waits for room waits in vain.
    pub(crate) fn shut_down(&self) {
        if self.set(SHUT) & SHUT == 0 {
            self.release();
        }
    }

    /// The loop's side of the queue is `queued` bytes long now; wakes who waits for that.
    pub(crate) fn set_pending(&self, queued: usize) {
        let before = self.pending.load(Ordering::Relaxed);
        self.pending.store(queued, Ordering::Relaxed);
        let low = self.service.settings.low_mark();
        if queued > low {
            return;
        }
        if before > low {
            fence(Ordering::SeqCst);
        }
        if self.flags() & WAITED != 0 {
            self.release();
        }
    }
}
