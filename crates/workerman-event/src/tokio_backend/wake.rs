//! How a socket's wake-up reaches the one task that serves all sockets.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::{DatagramId, ListenerId, Token};

/// What has something to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Stream(Token),
    Listener(ListenerId),
    Datagram(DatagramId),
}

/// The keys that were woken since the last turn, and the task to wake for them.
#[derive(Default)]
pub(super) struct Ready(Mutex<Woken>);

#[derive(Default)]
struct Woken {
    keys: Vec<Key>,
    task: Option<Waker>,
}

impl Ready {
    fn lock(&self) -> MutexGuard<'_, Woken> {
        // Nothing panics under this lock, and a list of keys is never half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, key: Key) {
        let task = {
            let mut woken = self.lock();
            woken.keys.push(key);
            // Whoever made the list non-empty has woken the task already.
            if woken.keys.len() == 1 { woken.task.clone() } else { None }
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Asks for a turn for the sake of something that has no key.
    pub(super) fn wake(&self) {
        let task = self.lock().task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Begins a turn: wake-ups go to `task` from here on, and the keys so far are exchanged for an empty list.
    pub(super) fn begin_turn(&self, task: &Waker, keys: &mut Vec<Key>) {
        debug_assert!(keys.is_empty());
        let stale = {
            let mut woken = self.lock();
            std::mem::swap(&mut woken.keys, keys);
            match &woken.task {
                Some(known) if known.will_wake(task) => None,
                _ => woken.task.replace(task.clone()),
            }
        };
        drop(stale);
    }
}

/// The waker of one socket: puts its key on the list, once until it is served.
pub(super) struct Wakeup {
    key: Key,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wakeup {
    pub(super) fn new(key: Key, ready: &Arc<Ready>) -> Arc<Self> {
        Arc::new(Self { key, queued: AtomicBool::new(false), ready: ready.clone() })
    }

    /// Asks for a turn of this socket, from inside or outside of a turn.
    pub(super) fn enqueue(&self) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.push(self.key);
        }
    }

    /// Its turn has come: a wake-up from here on asks for another one.
    pub(super) fn begin(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.enqueue();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.enqueue();
    }
}

/// Polls once, without tokio's cooperative budget.
///
/// The budget counts per task, and one task serves all sockets here: it would end a turn in its middle. The bound of
/// a turn is its `max_events`.
pub(super) fn poll_now<F: Future>(waker: &Waker, future: F) -> Poll<F::Output> {
    let future: Pin<&mut _> = pin!(tokio::task::unconstrained(future));
    future.poll(&mut Context::from_waker(waker))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn many_wake_ups_are_one_key_and_one_wake_of_the_task() {
        let count = Arc::new(Count::default());
        let task = Waker::from(count.clone());
        let ready = Arc::new(Ready::default());
        let mut keys = Vec::new();
        ready.begin_turn(&task, &mut keys);
        let first = Key::Stream(Token::new(1, 0));
        let second = Key::Listener(ListenerId(2));
        let wakeups = [Wakeup::new(first, &ready), Wakeup::new(second, &ready)];
        for _ in 0..3 {
            for wakeup in &wakeups {
                Waker::from(wakeup.clone()).wake_by_ref();
            }
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        ready.begin_turn(&task, &mut keys);
        assert_eq!(keys, [first, second]);
        // Not served yet, so it is still on its way; after that it counts anew.
        wakeups[0].enqueue();
        wakeups[1].begin();
        wakeups[1].enqueue();
        keys.clear();
        ready.begin_turn(&task, &mut keys);
        assert_eq!(keys, [second]);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }
}
