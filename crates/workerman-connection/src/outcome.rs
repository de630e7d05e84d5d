//! What a handler may return, and what becomes of it.

use std::future::Future;
use std::pin::Pin;

use workerman_protocol::Protocol;

use crate::{BoxError, Connection, Error, SendError, Sent};

/// A handler that has been called: done, failed, or still running.
pub enum Settled<P: Protocol> {
    /// Nothing is left to do.
    Done,
    /// It has answered, and the protocol's decoding half writes the answers ([`Protocol::ANSWERS`]).
    Reply(P::Outgoing),
    /// It failed; the connection ends.
    Fail(Error),
    /// It is suspended; the loop polls it in place.
    Later(Suspended<P>),
}

/// A handler that is suspended. It ends with its answer, where the protocol's decoding half writes the answers.
pub type Suspended<P> = Pin<Box<dyn Future<Output = Result<Option<<P as Protocol>::Outgoing>, Error>>>>;

impl<P: Protocol> Settled<P> {
    /// Runs a suspended handler to its end.
    async fn finish(self) -> Result<Option<P::Outgoing>, Error> {
        match self {
            Self::Done => Ok(None),
            Self::Reply(message) => Ok(Some(message)),
            Self::Fail(error) => Err(error),
            Self::Later(later) => later.await,
        }
    }
}

/// Sends a reply. One to somebody who is gone, or whose connection has another protocol by now, is nobody's error.
pub(crate) fn send<P: Protocol>(conn: &Connection<P>, message: impl Into<P::Outgoing>) -> Result<(), Error> {
    match conn.send(message) {
        Ok(_) | Err(SendError::Closed | SendError::Upgraded) => Ok(()),
        Err(error) => Err(Error::Reply(error.into())),
    }
}

impl<P: Protocol> std::fmt::Debug for Settled<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("Done"),
            Self::Reply(_) => f.write_str("Reply(..)"),
            Self::Fail(error) => write!(f, "Fail({error})"),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}

/// What a handler may return: nothing, a reply, the status of a `send`, an `Option` or a `Result` of these, or a
/// future of any of them.
///
/// An `Err` goes to `on_error` and ends the connection, unless the protocol has an answer to it
/// ([`Protocol::failed`]). `M` is inferred and only keeps the cases apart.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "this closure must return `()`, a reply, `conn.send(..)`, an `Option` or a `Result` of these, or a future",
    note = "a reply is anything that converts into the protocol's outgoing message (`Into<P::Outgoing>`)",
    note = "with `?` the closure needs a hint: `|conn, message| -> Result<_, workerman::Error> {{ .. }}`"
)]
pub trait Outcome<P: Protocol, M> {
    /// Does what the value means.
    fn settle(self, conn: &Connection<P>) -> Settled<P>;
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
    fn settle(self, _: &Connection<P>) -> Settled<P> {
        Settled::Done
    }
}

impl<P: Protocol> Outcome<P, Status> for Sent {
    #[inline]
    fn settle(self, _: &Connection<P>) -> Settled<P> {
        Settled::Done
    }
}

impl<P: Protocol, T: Into<P::Outgoing>> Outcome<P, Reply> for T {
    #[inline]
    fn settle(self, conn: &Connection<P>) -> Settled<P> {
        if P::ANSWERS {
            return Settled::Reply(self.into());
        }
        match send(conn, self) {
            Ok(()) => Settled::Done,
            Err(error) => Settled::Fail(error),
        }
    }
}

impl<P: Protocol, M, T: Outcome<P, M>> Outcome<P, Optional<M>> for Option<T> {
    #[inline]
    fn settle(self, conn: &Connection<P>) -> Settled<P> {
        self.map_or(Settled::Done, |value| value.settle(conn))
    }
}

impl<P: Protocol, M, T: Outcome<P, M>, E: Into<BoxError>> Outcome<P, Fallible<M>> for Result<T, E> {
    #[inline]
    fn settle(self, conn: &Connection<P>) -> Settled<P> {
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
    fn settle(self, conn: &Connection<P>) -> Settled<P> {
        let conn = conn.clone();
        Settled::Later(Box::pin(async move { self.await.settle(&conn).finish().await }))
    }
}

/// Runs an async handler that borrows the connection.
pub(crate) fn settle_async<P, M, R>(
    future: impl Future<Output = R> + 'static,
    conn: Connection<P>,
) -> Settled<P>
where
    P: Protocol,
    R: Outcome<P, M>,
{
    Settled::Later(Box::pin(async move { future.await.settle(&conn).finish().await }))
}
