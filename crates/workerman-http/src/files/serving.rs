//! A response that is being looked for on another thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use workerman_protocol::http::{Response, StatusCode};

use super::answer::plain;

/// A response for a file, once it has been looked for; a future that borrows nothing.
///
/// The search begins at once, on a thread that may block, and ends by itself if this is dropped.
#[must_use = "a response that nobody awaits is not sent"]
pub struct Serving(State);

enum State {
    Ready(Option<Response>),
    Searching(JoinHandle<Response>),
}

impl Serving {
    pub(crate) fn ready(response: Response) -> Self {
        Self(State::Ready(Some(response)))
    }

    pub(crate) fn search(search: impl FnOnce() -> Response + Send + 'static) -> Self {
        match Handle::try_current() {
            Ok(runtime) => Self(State::Searching(runtime.spawn_blocking(search))),
            Err(error) => {
                tracing::error!(%error, "files are served only inside of a tokio runtime");
                Self::ready(plain(StatusCode::INTERNAL_SERVER_ERROR))
            }
        }
    }
}

impl Future for Serving {
    type Output = Response;

    /// # Panics
    /// Polled again after it was ready, like every future of an async function.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let response = match &mut self.0 {
            State::Ready(response) => response.take().expect("polled after it was ready"),
            State::Searching(search) => ready!(Pin::new(search).poll(cx)).unwrap_or_else(|error| {
                tracing::error!(%error, "the search for a file ended early");
                plain(StatusCode::INTERNAL_SERVER_ERROR)
            }),
        };
        self.0 = State::Ready(None);
        Poll::Ready(response)
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}
