//! Timers of the loop on this thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use workerman_event::{Removed, TimerId, Timers};

use crate::Error;
use crate::fanout::Fanout;
use crate::panics::{dispose, dispose_all};
use crate::remote::Remote;

/// What a timer calls.
pub(crate) enum Call {
    Once(Box<dyn FnOnce()>),
    Every(Box<dyn FnMut()>),
}

/// The part of a loop that callbacks reach through the thread.
pub(crate) struct Local {
    pub(crate) remote: Arc<Remote>,
    pub(crate) timers: RefCell<Timers<Call>>,
    /// What its connections broadcast.
    pub(crate) fanout: RefCell<Fanout>,
}

impl Local {
    pub(crate) fn new(remote: Arc<Remote>) -> Self {
        Self { remote, timers: RefCell::new(Timers::default()), fanout: RefCell::default() }
    }
}

thread_local! {
    /// The loop whose turn runs now.
    static CURRENT: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
    /// The loop whose thread this is, for the thread's other tasks.
    static THREAD: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

pub(crate) fn current() -> Option<Rc<Local>> {
    let running = CURRENT.with_borrow(Clone::clone);
    running.or_else(|| THREAD.with_borrow(Clone::clone))
}

/// Calls `f` with the loop whose turn runs now, if one does.
#[inline]
pub(crate) fn with_running<R>(f: impl FnOnce(&Local) -> R) -> Option<R> {
    CURRENT.with(|current| current.try_borrow().ok()?.as_deref().map(f))
}

/// While it lives, this loop's turn runs on the thread.
pub(crate) struct Current(Option<Rc<Local>>);

impl Current {
    pub(crate) fn enter(local: &Rc<Local>) -> Self {
        Self(CURRENT.replace(Some(Rc::clone(local))))
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// While it lives, this is the thread's loop.
pub(crate) struct Thread(Option<Rc<Local>>);

impl Thread {
    pub(crate) fn enter(local: &Rc<Local>) -> Self {
        Self(THREAD.replace(Some(Rc::clone(local))))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        THREAD.set(self.0.take());
    }
}

/// A timer of the event loop on this thread; dropping the handle does not cancel it.
///
/// Timers work wherever an event loop runs: in callbacks, in handlers that are suspended, in tasks spawned on the
/// loop's thread. A callback that panics is caught and logged; a repeating timer goes on.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
/// use workerman_connection::Timer;
///
/// # fn callback() -> Result<(), workerman_connection::Error> {
/// let beat = Timer::repeat(Duration::from_secs(1), || println!("tick"))?;
/// Timer::after(Duration::from_secs(5), move || {
///     beat.cancel();
/// })?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timer(TimerId);

impl Timer {
    /// Calls `f` once, `delay` from now; never, if the clock cannot express that.
    ///
    /// # Errors
    /// [`Error::NoLoop`] outside of an event loop's thread.
    #[doc(alias = "delay")]
    pub fn after(delay: Duration, f: impl FnOnce() + 'static) -> Result<Self, Error> {
        Self::insert(delay, None, Call::Once(Box::new(f)))
    }

    /// Calls `f` every `interval`, first after one interval. Missed calls are skipped, not made up for.
    ///
    /// An interval of zero means once per turn of the loop.
    ///
    /// # Errors
    /// [`Error::NoLoop`] outside of an event loop's thread.
    #[doc(alias = "add")]
    pub fn repeat(interval: Duration, f: impl FnMut() + 'static) -> Result<Self, Error> {
        Self::insert(interval, Some(interval), Call::Every(Box::new(f)))
    }

    fn insert(delay: Duration, every: Option<Duration>, call: Call) -> Result<Self, Error> {
        let local = current().ok_or(Error::NoLoop)?;
        let at = later(tokio::time::Instant::now().into_std(), delay);
        let id = local.timers.borrow_mut().insert(at, every, call);
        // A task beside the loop sets it while the loop sleeps until some later instant.
        if CURRENT.with_borrow(Option::is_none) {
            let _ = local.remote.post(Box::new(|_| ()));
        }
        Ok(Self(id))
    }

    /// Cancels the timer; `true` if it would still have been called. Callable from its own callback.
    #[doc(alias = "del")]
    pub fn cancel(self) -> bool {
        let Some(local) = current() else { return false };
        let removed = local.timers.borrow_mut().remove(self.0);
        let live = !matches!(removed, Removed::Unknown);
        dispose(removed);
        live
    }

    /// Cancels all timers of the loop on this thread; returns how many there were.
    #[doc(alias = "delAll")]
    pub fn cancel_all() -> usize {
        let Some(local) = current() else { return 0 };
        let removed = local.timers.borrow_mut().cancel_all();
        let count = removed.len();
        dispose_all(removed);
        count
    }

    /// Number of timers that wait on this thread's loop.
    pub fn count() -> usize {
        current().map_or(0, |local| local.timers.borrow().len())
    }
}

/// `delay` after `now`; what the clock cannot express is thirty years.
pub(crate) fn later(now: Instant, delay: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    now.checked_add(delay.min(NEVER)).unwrap_or(now)
}

/// Waits; other connections are served meanwhile.
///
/// In a loop, and wherever else tokio keeps time: in `block_on`, in a task of a tokio runtime.
///
/// # Errors
/// [`Error::NoLoop`] where nothing keeps time.
///
/// # Panics
/// In a tokio runtime that was built without its timer.
pub async fn sleep(duration: Duration) -> Result<(), Error> {
    if current().is_none() && tokio::runtime::Handle::try_current().is_err() {
        return Err(Error::NoLoop);
    }
    tokio::time::sleep(duration).await;
    Ok(())
}
