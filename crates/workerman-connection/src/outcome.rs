//! What a handler may return, and what becomes of it.

use std::future::Future;
use std::pin::Pin;

use workerman_protocol::Protocol;

use crate::{BoxError, Connection, Error, SendError, Sent};

/// A handler that has been called: done, failed, or still running.
pub enum Settled {
    /// Nothing is left to do.
    Done,
    /// It failed; the connection ends.
    Fail(Error),
    /// It is suspended; the loop polls it in place.
    Later(Pin<Box<dyn Future<Output = Result<(), Error>>>>),
}

impl Settled {
    /// Runs a suspended handler to its end.
    async fn finish(self) -> Result<(), Error> {
        match self {
            Self::Done => Ok(()),
            Self::Fail(error) => Err(error),
            Self::Later(later) => later.await,
        }
    }
}

impl std::fmt::Debug for Settled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("Done"),
            Self::Fail(error) => write!(f, "Fail({error})"),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}

/// What a handler may return: nothing, a reply, the status of a `send`, an `Option` or a `Result` of these, or a
/// future of any of them.
///
/// An `Err` goes to `on_error` and ends the connection. `M` is inferred and only keeps the cases apart.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "this closure must return `()`, a reply, `conn.send(..)`, an `Option` or a `Result` of these, or a future",
    note = "a reply is anything that converts into the protocol's outgoing message (`Into<P::Outgoing>`)",
    note = "with `?` the closure needs a hint: `|conn, message| -> Result<_, workerman::Error> {{ .. }}`"
)]
pub trait Outcome<P: Protocol, M> {
    /// Does what the value means.
    fn settle(self, conn: &Connection<P>) -> Settled;
}

/// The cases of [`Outcome`], as types.
#[derive(Debug)]
pub enum Kind {}

/// `()`.
#[derive(Debug)]
pub struct Unit(Kind);
/// The status of a send.
#[derive(Debug)]
pub struct Status(Kind);
/// A reply.
#[derive(Debug)]
pub struct Reply(Kind);
/// An `Option` of another case.
#[derive(Debug)]
pub struct Optional<M>(Kind, std::marker::PhantomData<M>);
/// A `Result` of another case.
#[derive(Debug)]
pub struct Fallible<M>(Kind, std::marker::PhantomData<M>);
/// A future of another case.
#[derive(Debug)]
pub struct Async<M>(Kind, std::marker::PhantomData<M>);

impl<P: Protocol> Outcome<P, Unit> for () {
    #[inline]
    fn settle(self, _: &Connection<P>) -> Settled {
        Settled::Done
    }
}

impl<P: Protocol> Outcome<P, Status> for Sent {
    #[inline]
    fn settle(self, _: &Connection<P>) -> Settled {
        Settled::Done
    }
}

impl<P: Protocol, T: Into<P::Outgoing>> Outcome<P, Reply> for T {
    #[inline]
    fn settle(self, conn: &Connection<P>) -> Settled {
        match conn.send(self) {
            // A reply to somebody who is gone, or whose connection has another protocol by now, is nobody's error.
            Ok(_) | Err(SendError::Closed | SendError::Upgraded) => Settled::Done,
            Err(error) => Settled::Fail(Error::Reply(error.into())),
        }
    }
}

impl<P: Protocol, M, T: Outcome<P, M>> Outcome<P, Optional<M>> for Option<T> {
    #[inline]
    fn settle(self, conn: &Connection<P>) -> Settled {
        self.map_or(Settled::Done, |value| value.settle(conn))
    }
}

impl<P: Protocol, M, T: Outcome<P, M>, E: Into<BoxError>> Outcome<P, Fallible<M>> for Result<T, E> {
    #[inline]
    fn settle(self, conn: &Connection<P>) -> Settled {
        match self {
            Ok(value) => value.settle(conn),
            Err(error) => Settled::Fail(Error::Handler(error.into())),
        }
    }
}

impl<P: Protocol, M, F> Outcome<P, Async<M>> for F
where
    F: Future + 'static,
    F::Output: Outcome<P, M>,
{
    fn settle(self, conn: &Connection<P>) -> Settled {
        let conn = conn.clone();
        Settled::Later(Box::pin(async move { self.await.settle(&conn).finish().await }))
    }
}

/// Runs an async handler that borrows the connection.
pub(crate) fn settle_async<P, M, R>(future: impl Future<Output = R> + 'static, conn: Connection<P>) -> Settled
where
    P: Protocol,
    R: Outcome<P, M>,
{
    Settled::Later(Box::pin(async move { future.await.settle(&conn).finish().await }))
}
