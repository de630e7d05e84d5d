//! One timer of the runtime, moved as the next deadline of a loop moves.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::Sleep;

/// Wakes a task at an instant that may be changed at any time; one `tokio` timer, reused.
///
/// Moving the instant forward costs nothing: the timer that is already set stays, and when it fires it is set once
/// more. So a loop may call [`set`](Self::set) every turn. The granularity is that of tokio: 1 ms, never early.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// use workerman_event::{Alarm, block_on};
///
/// block_on(async {
///     let due = Instant::now() + Duration::from_millis(2);
///     let mut alarm = Alarm::new();
///     alarm.set(Some(due));
///     std::future::poll_fn(|cx| alarm.poll(cx)).await;
///     assert!(Instant::now() >= due);
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Default)]
pub struct Alarm {
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// An alarm that is not set.
    pub const fn new() -> Self {
        Self { at: None, sleep: None }
    }

    /// Sets the instant, or with `None` switches the alarm off; takes effect with the next [`poll`](Self::poll).
    pub fn set(&mut self, at: Option<Instant>) {
        self.at = at;
    }

    /// The instant that is set.
    pub fn at(&self) -> Option<Instant> {
        self.at
    }

    /// `Ready` when the instant has come, and from then on until another one is set.
    ///
    /// Otherwise the task of `cx` is woken at that instant (perhaps also before).
    ///
    /// # Panics
    /// If called outside of a tokio runtime with time enabled.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let at = tokio::time::Instant::from_std(at);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        ready!(sleep.as_mut().poll(cx));
        if sleep.deadline() < at {
            // It was set for an earlier instant than is wanted by now.
            sleep.as_mut().reset(at);
            ready!(sleep.as_mut().poll(cx));
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").field("at", &self.at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Runs a test in virtual time.
    fn virtually<F: Future>(test: F) -> F::Output {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build_local(Default::default()).unwrap().block_on(test)
    }

    /// Polls once.
    async fn rings(alarm: &mut Alarm) -> bool {
        poll_fn(|cx| Poll::Ready(alarm.poll(cx).is_ready())).await
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn rings_at_its_instant_and_stays_ready() {
        virtually(async {
            let due = now() + SECOND;
            let mut alarm = Alarm::new();
            alarm.set(Some(due));
            poll_fn(|cx| alarm.poll(cx)).await;
            assert!(now() >= due && now() <= due + Duration::from_millis(1));
            poll_fn(|cx| alarm.poll(cx)).await;
        });
    }

    #[test]
    fn moves_forward_and_back() {
        virtually(async {
            let start = now();
            let mut alarm = Alarm::new();
            alarm.set(Some(start + SECOND));
            assert!(!rings(&mut alarm).await);
            alarm.set(Some(start + SECOND * 5));
            poll_fn(|cx| alarm.poll(cx)).await;
            assert!(now() >= start + SECOND * 5 && now() < start + SECOND * 6);
            alarm.set(Some(start + SECOND * 60));
            assert!(!rings(&mut alarm).await);
            alarm.set(Some(start + SECOND * 7));
            poll_fn(|cx| alarm.poll(cx)).await;
            assert!(now() >= start + SECOND * 7 && now() < start + SECOND * 8);
        });
    }

    #[test]
    fn off_means_off() {
        virtually(async {
            let mut alarm = Alarm::new();
            alarm.set(Some(now() + SECOND));
            assert!(!rings(&mut alarm).await);
            alarm.set(None);
            let late = tokio::time::timeout(SECOND * 10, poll_fn(|cx| alarm.poll(cx))).await;
            assert!(late.is_err());
        });
    }

    #[test]
    fn wakes_the_task_that_polled_last() {
        virtually(async {
            let (first, last) = (Arc::new(Count::default()), Arc::new(Count::default()));
            let mut alarm = Alarm::new();
            alarm.set(Some(now() + SECOND));
            for count in [&first, &last] {
                let waker = Waker::from(count.clone());
                assert!(alarm.poll(&mut Context::from_waker(&waker)).is_pending());
            }
            tokio::time::sleep(SECOND * 2).await;
            assert_eq!(first.0.load(Ordering::Relaxed), 0);
            assert_eq!(last.0.load(Ordering::Relaxed), 1);
        });
    }
}
