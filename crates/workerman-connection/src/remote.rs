//! The one door of a loop for everybody else: connections touched from outside, and commands.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use workerman_event::Token;

use crate::counters::Counters;
use crate::event_loop::Control;
use crate::{Error, LoopSettings};

/// Something to do on the loop's thread, between two turns.
pub(crate) type Command = Box<dyn FnOnce(&mut dyn Control) + Send>;

/// Most commands that wait for a loop.
const MAX_COMMANDS: usize = 65_536;

#[derive(Default)]
pub(crate) struct Inbox {
    /// Connections with something queued, wished or woken; each at most once (its `MARKED` flag).
    pub(crate) marked: Vec<Token>,
    /// Clients that are not connected, likewise.
    pub(crate) dials: Vec<u64>,
    pub(crate) commands: VecDeque<Command>,
    /// A service that was full has a place again.
    pub(crate) room: bool,
}

impl Inbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.marked.is_empty() && self.dials.is_empty() && self.commands.is_empty() && !self.room
    }
}

/// Shared by a loop and all handles of its connections.
pub(crate) struct Remote {
    inbox: Mutex<Inbox>,
    waker: Mutex<Option<Waker>>,
    /// The loop will look at the inbox by itself: nobody has to wake it.
    awake: AtomicBool,
    stopped: AtomicBool,
    /// Bytes queued on all connections of the loop.
    pub(crate) queued: AtomicUsize,
    pub(crate) settings: LoopSettings,
    pub(crate) counters: Counters,
}

impl Remote {
    pub(crate) fn new(settings: LoopSettings) -> Arc<Self> {
        Arc::new(Self {
            inbox: Mutex::default(),
            waker: Mutex::default(),
            awake: AtomicBool::new(true),
            stopped: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            settings,
            counters: Counters::default(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a connection on the list; the caller has set its `MARKED` flag.
    pub(crate) fn mark(&self, token: Token) {
        self.lock().marked.push(token);
        self.wake();
    }

    pub(crate) fn mark_dial(&self, dial: u64) {
        self.lock().dials.push(dial);
        self.wake();
    }

    /// Tells the loop that a service of its, which was full, has a place again.
    pub(crate) fn offer_room(&self) {
        self.lock().room = true;
        self.wake();
    }

    /// Hands a command to the loop.
    pub(crate) fn post(&self, command: Command) -> Result<(), Error> {
        let mut inbox = self.lock();
        // Checked under the lock: `stop` empties the inbox under it after it has set the flag.
        if self.stopped.load(Ordering::Acquire) || inbox.commands.len() >= MAX_COMMANDS {
            drop(inbox);
            return Err(Error::Stopped);
        }
        inbox.commands.push_back(command);
        drop(inbox);
        self.wake();
        Ok(())
    }

    /// Wakes the loop, unless it is awake or somebody else has done so.
    ///
    /// Why nothing is lost between `sleep`, `wake` and `begin`:
    /// - Who knocks has put its entry into the inbox before, under the lock. The loop lowers `awake` and looks into the
    ///   inbox after, under the same lock. If the entry comes first, the loop sees it and does not sleep. If the look
    ///   comes first, the release of the lock carries the lowered flag to who knocks: it finds `false` and wakes.
    /// - `awake` can be true again by then for two reasons. Another one knocked: its waker call is under way, and the
    ///   next turn takes the whole inbox. Or `begin` raised it: the turn that runs takes the inbox later, or, if it has
    ///   done so already, looks again in its own `sleep`.
    /// - The waker is stored by `begin`, before the flag can be lowered for the first time: who finds `false` finds it.
    ///   A loop that moves to another task stores the new one at its next turn; until then the old one was polled last.
    ///
    /// Of a connection, `MARKED` says that it is in the inbox. The loop lowers it before it looks at what the mark was
    /// for (`WOKEN`, `WISHED`, `QUEUED`), each of which is raised before the mark: so a mark that finds `MARKED` up is
    /// answered by a look that is still to come, and one that finds it down makes an entry of its own. The flags are
    /// bits of one atomic, so that their changes have one order for everybody. What a connection wants when it has no
    /// place in a loop yet is seen by the first batch after its place was stored: `MARKED` is lowered after that.
    fn wake(&self) {
        // No lock is held while waking.
        if !self.awake.swap(true, Ordering::AcqRel) {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// The loop begins a turn: nobody has to wake it until `sleep`.
    pub(crate) fn begin(&self, waker: &Waker) {
        self.awake.store(true, Ordering::Release);
        let mut stored = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !stored.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
            *stored = Some(waker.clone());
        }
    }

    /// The loop is about to sleep. `false`: something has come in meanwhile.
    pub(crate) fn sleep(&self) -> bool {
        self.awake.store(false, Ordering::SeqCst);
        if self.lock().is_empty() {
            return true;
        }
        self.awake.store(true, Ordering::Release);
        false
    }

    /// Swaps the inbox with an empty one (whose capacity is reused).
    pub(crate) fn swap(&self, with: &mut Inbox) {
        std::mem::swap(&mut *self.lock(), with);
    }

    /// The loop ends: nothing is taken any more. Returns what nobody will do, to be dropped by the caller.
    pub(crate) fn stop(&self) -> Inbox {
        self.stopped.store(true, Ordering::Release);
        std::mem::take(&mut *self.lock())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}
