//! What `on_worker_start` and `on_worker_stop` may return.

use std::future::Future;
use std::pin::Pin;

use workerman_connection::BoxError;
use workerman_connection::outcome::{Async, Fallible, Unit};

/// A hook that has been called.
pub type Hooked = Pin<Box<dyn Future<Output = Result<(), BoxError>>>>;

/// What a hook of a worker may return: nothing, a `Result`, or a future of these. `M` is inferred.
#[diagnostic::on_unimplemented(
    message = "a worker hook cannot return `{Self}`",
    label = "this closure must return `()`, a `Result<(), _>`, or a future of these"
)]
pub trait HookOutcome<M> {
    /// The rest of the hook.
    fn hooked(self) -> Hooked;
}

impl HookOutcome<Unit> for () {
    fn hooked(self) -> Hooked {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl<E: Into<BoxError>> HookOutcome<Fallible<Unit>> for Result<(), E> {
    fn hooked(self) -> Hooked {
        Box::pin(std::future::ready(self.map_err(Into::into)))
    }
}

impl<M, F> HookOutcome<Async<M>> for F
where
    F: Future + 'static,
    F::Output: HookOutcome<M>,
{
    fn hooked(self) -> Hooked {
        Box::pin(async move { self.await.hooked().await })
    }
}
