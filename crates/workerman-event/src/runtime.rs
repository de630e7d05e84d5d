//! The runtime of an event-loop thread: a tokio `LocalRuntime`, so that callbacks may use any tokio library.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
pub use tokio::task::JoinHandle;

/// Runs a future on this thread, in a new single-threaded tokio runtime with I/O and time, until it is done.
///
/// Tasks that were [spawned](spawn) and are not finished by then are dropped.
///
/// What the future results in comes within the `Result` of this call. If that is a `Result` itself, both are to be looked
/// at: `block_on(work())??`, or `block_on(work())?` where the inner one is what is returned.
///
/// # Errors
/// `InvalidInput` when the thread is inside a tokio runtime already; otherwise what the system says when the runtime
/// cannot be built (no file descriptor left).
///
/// # Examples
/// ```
/// let answer = workerman_event::block_on(async {
///     let task = workerman_event::spawn(async { 42 });
///     task.await.unwrap()
/// })?;
/// assert_eq!(answer, 42);
/// # std::io::Result::Ok(())
/// ```
pub fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    if Handle::try_current().is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "cannot start an event loop inside an asynchronous runtime: this thread is running one already",
        ));
    }
    let runtime = Builder::new_current_thread().enable_all().build_local(Default::default())?;
    Ok(runtime.block_on(future))
}

/// Starts a task on the runtime of this thread; the future need not be `Send`.
///
/// # Panics
/// If the thread is not inside [`block_on`] (or another tokio `LocalRuntime` or `LocalSet`).
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    tokio::task::spawn_local(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_inside_a_runtime_is_refused_with_a_reason() {
        let inner = block_on(async { block_on(async {}) }).unwrap();
        let error = inner.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("inside an asynchronous runtime"), "{error}");
    }

    #[test]
    fn tasks_of_the_thread_need_not_be_send() {
        let value = std::rc::Rc::new(std::cell::Cell::new(0));
        let seen = value.clone();
        block_on(async move { spawn(async move { seen.set(7) }).await.unwrap() }).unwrap();
        assert_eq!(value.get(), 7);
    }
}
