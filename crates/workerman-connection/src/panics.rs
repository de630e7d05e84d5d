//! Catching what users' code throws, payloads that panic when dropped included.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// Calls `f`; a panic becomes its message.
///
/// Unwind safety is asserted because a callback borrows nothing of ours but a handle, which a panic cannot break; what
/// it shares with others (`Fn + Sync`) is its own matter.
#[inline]
pub(crate) fn guard<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(text)
}

/// The message of a panic; its payload is dropped.
#[cold]
pub(crate) fn text(payload: Box<dyn Any + Send>) -> String {
    let text = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(no message)".to_owned()
    };
    forget(payload);
    text
}

/// Drops a payload; if that panics too, its payload is leaked rather than dropped.
#[cold]
pub(crate) fn forget(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// Runs a task of a user's; a panic in it is logged and counted by the thread's loop.
pub(crate) async fn guarded<T>(task: impl Future<Output = T>) -> Option<T> {
    let mut task = Box::pin(task);
    let done = poll_fn(|cx| match guard(|| task.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Some),
        Err(panic) => {
            count();
            tracing::error!(%panic, "a task panicked");
            Poll::Ready(None)
        }
    })
    .await;
    dispose(task);
    done
}

/// Drops something that is or holds one value of a user's; a panic is logged and counted by the thread's loop.
///
/// One call for each value: two of them that panic in one drop would end the process.
pub(crate) fn dispose<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        dropped_badly(&text(panic));
    }
}

/// [Disposes](dispose) of several values one by one.
pub(crate) fn dispose_all<T>(values: impl IntoIterator<Item = T>) {
    for value in values {
        dispose(value);
    }
}

#[cold]
fn dropped_badly(panic: &str) {
    count();
    tracing::error!(%panic, "a value panicked when it was dropped");
}

fn count() {
    if let Some(local) = crate::timer::current() {
        local.remote.counters.panics.add(1);
    }
}
