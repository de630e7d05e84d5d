//! What happens rarely: look-ups, signals, and the pause of a listener that could not accept.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::resolver::Resolver;
use crate::signals::Signals;

/// The first pause of a listener that could not accept; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The waker of everything in [`Side`]: it raises a flag and wakes the loop's task.
///
/// So a turn that was woken by a socket looks at one flag and polls nothing of this.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.wake();
    }
}

#[derive(Debug)]
pub(super) struct Side {
    pub(super) resolver: Resolver,
    pub(super) signals: Signals,
    pause: Option<Pin<Box<Sleep>>>,
    next_pause: Duration,
    bell: Arc<Bell>,
    waker: Waker,
    /// The waker that the bell has, to compare it without the lock.
    task: Waker,
}

impl Side {
    pub(super) fn new() -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(false), task: Mutex::new(Waker::noop().clone()) });
        Self {
            resolver: Resolver::new(),
            signals: Signals::default(),
            pause: None,
            next_pause: FIRST_PAUSE,
            waker: bell.clone().into(),
            bell,
            task: Waker::noop().clone(),
        }
    }

    /// Makes the task of a turn the one that is woken.
    #[inline]
    pub(super) fn attach(&mut self, task: &Waker) {
        if !self.task.will_wake(task) {
            self.task = task.clone();
            *self.bell.task.lock().unwrap_or_else(PoisonError::into_inner) = task.clone();
        }
    }

    pub(super) fn wake_task(&self) {
        self.task.wake_by_ref();
    }

    /// Asks for a poll of everything here.
    pub(super) fn ring(&self) {
        self.bell.rung.store(true, Ordering::Release);
    }

    #[inline]
    pub(super) fn is_rung(&self) -> bool {
        self.bell.rung.load(Ordering::Acquire)
    }

    /// Takes the ring; who does so polls everything until it is pending, or rings again.
    pub(super) fn answer(&self) -> Waker {
        self.bell.rung.store(false, Ordering::Release);
        self.waker.clone()
    }

    /// Starts the pause, unless one runs.
    pub(super) fn start_pause(&mut self) {
        if self.pause.is_none() {
            self.pause = Some(Box::pin(sleep(self.next_pause)));
            self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
            self.ring();
        }
    }

    /// Accepting works: the next pause is a short one again.
    #[inline]
    pub(super) fn reset_pause(&mut self) {
        self.next_pause = FIRST_PAUSE;
    }

    /// Whether a pause has just ended.
    pub(super) fn pause_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let ended = self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx) == Poll::Ready(()));
        if ended {
            self.pause = None;
        }
        ended
    }
}

/// The clock of the turns.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) now: std::time::Instant,
    /// When both clocks were read, and what the wall clock said then.
    read: std::time::Instant,
    wall: Duration,
}

/// How often the wall clock is read again, to follow its being set.
const WALL_CLOCK_PERIOD: Duration = Duration::from_secs(1);

impl Clock {
    pub(super) fn new() -> Self {
        let now = Instant::now().into_std();
        Self { now, read: now, wall: wall_clock() }
    }

    /// Reads the clock: tokio's, so that a test that pauses it pauses this one too.
    pub(super) fn tick(&mut self) {
        self.now = Instant::now().into_std();
        if self.now.saturating_duration_since(self.read) >= WALL_CLOCK_PERIOD {
            self.read = self.now;
            self.wall = wall_clock();
        }
    }

    pub(super) fn unix_time(&self) -> Duration {
        self.wall + self.now.saturating_duration_since(self.read)
    }
}

fn wall_clock() -> Duration {
    // Before 1970 the clock is certainly wrong; zero is as good as any other answer.
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
