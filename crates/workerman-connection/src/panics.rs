//! Catching what users' code throws, payloads that panic when dropped included.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `f`; a panic becomes its message.
///
/// Unwind safety is asserted because whatever a panicking callback had borrowed is thrown away: the connection ends.
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
    if let Some(local) = crate::timer::current() {
        local.remote.counters.panics.add(1);
    }
    tracing::error!(%panic, "a value panicked when it was dropped");
}
