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

/// Runs a hook as a task, so that a panic in it becomes an error.
pub(crate) async fn caught<T: 'static>(
    hook: impl Future<Output = Result<T, BoxError>> + 'static,
) -> Result<T, BoxError> {
    match workerman_event::spawn(hook).await {
        Ok(result) => result,
        Err(ended) => Err(match ended.try_into_panic() {
            Ok(payload) => {
                let text = payload
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| payload.downcast_ref::<String>().cloned())
                    .unwrap_or_default();
                format!("panicked: {text}").into()
            }
            Err(cancelled) => cancelled.into(),
        }),
    }
}
