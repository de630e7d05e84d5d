//! What a route's handler may return.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use workerman_protocol::http::{BoxError, Response};

/// What a handler came to: a response, or nothing, since it answers by the request's token; or its failure.
pub type Answered = Result<Option<Response>, BoxError>;

/// A request that was given to its handler.
pub enum Routed {
    /// The handler is done.
    Ready(Answered),
    /// The handler is async.
    Later(Pin<Box<dyn Future<Output = Answered>>>),
}

impl Routed {
    /// Waits for the handler.
    ///
    /// # Errors
    /// The handler's own.
    pub async fn finish(self) -> Answered {
        match self {
            Self::Ready(answered) => answered,
            Self::Later(later) => later.await,
        }
    }
}

impl fmt::Debug for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(answered) => f.debug_tuple("Ready").field(answered).finish(),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}

/// What a route's handler may return: a response or what converts into one, a `Result` with a [`Response`] as its error
/// included; a `Result` with any other error, which is a failure (500); nothing or `None`, if it answers by
/// [`Request::reply`]; or a future of these.
///
/// `M` is inferred and only keeps the cases apart.
///
/// [`Request::reply`]: workerman_protocol::http::Request::reply
#[diagnostic::on_unimplemented(
    message = "the handler of a route cannot return `{Self}`",
    label = "this closure must return a response, an `Option` or a `Result` of one, `()`, or a future of these",
    note = "a response is anything that converts into one (`Into<Response>`)",
    note = "with `?` the closure needs a hint: `|request| -> Result<_, workerman::http::Response> {{ .. }}`"
)]
pub trait Answer<M> {
    /// Does what the value means.
    fn routed(self) -> Routed;
}

/// The cases of [`Answer`], as types.
#[derive(Debug)]
enum Kind {}

/// `()`: answered by the request's token.
#[derive(Debug)]
pub struct Unit(Kind);
/// A response.
#[derive(Debug)]
pub struct Reply(Kind);
/// An `Option` of another case.
#[derive(Debug)]
pub struct Optional<M>(Kind, PhantomData<M>);
/// A `Result` of another case, whose error is a failure.
#[derive(Debug)]
pub struct Fallible<M>(Kind, PhantomData<M>);
/// A future of another case.
#[derive(Debug)]
pub struct Async<M>(Kind, PhantomData<M>);

impl Answer<Unit> for () {
    fn routed(self) -> Routed {
        Routed::Ready(Ok(None))
    }
}

impl<T: Into<Response>> Answer<Reply> for T {
    fn routed(self) -> Routed {
        Routed::Ready(Ok(Some(self.into())))
    }
}

impl<M, T: Answer<M>> Answer<Optional<M>> for Option<T> {
    fn routed(self) -> Routed {
        self.map_or(Routed::Ready(Ok(None)), Answer::routed)
    }
}

impl<M, T: Answer<M>, E: Into<BoxError>> Answer<Fallible<M>> for Result<T, E> {
    fn routed(self) -> Routed {
        self.map_or_else(|error| Routed::Ready(Err(error.into())), Answer::routed)
    }
}

impl<M, F> Answer<Async<M>> for F
where
    F: Future + 'static,
    F::Output: Answer<M>,
{
    fn routed(self) -> Routed {
        Routed::Later(Box::pin(async move { self.await.routed().finish().await }))
    }
}
