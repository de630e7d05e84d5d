//! All workers of a program in one process, until a signal stops them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use workerman_event::Signals;
use workerman_protocol::Protocol;

use crate::run::{Bound, STOP_SIGNALS, Serving, raise_open_files};
use crate::{Error, Result, Worker};

/// One worker or several: a worker, a tuple of up to eight, or a `Vec` of boxed ones.
pub trait Workers {
    /// Erases the protocols.
    fn into_workers(self) -> Vec<Box<dyn AnyWorker>>;
}

/// A worker of any protocol, for [`run_all`].
pub trait AnyWorker {
    /// Opens the listeners; see [`Worker::bind`].
    ///
    /// # Errors
    /// As [`Worker::bind`].
    fn bind_any(self: Box<Self>) -> Result<Box<dyn AnyBound>>;
}

/// A bound worker of any protocol, for [`run_all`].
pub trait AnyBound {
    /// Starts it on threads of its own; see [`Bound::serve`].
    fn serve_any(self: Box<Self>) -> Box<dyn AnyServing>;
}

/// A running worker of any protocol, for [`run_all`].
pub trait AnyServing: Future<Output = Result<()>> + Send {
    /// Stops it gracefully.
    fn stop(&self);
}

impl<P: Protocol> AnyWorker for Worker<P> {
    fn bind_any(self: Box<Self>) -> Result<Box<dyn AnyBound>> {
        Ok(Box::new(self.bind()?))
    }
}

impl<P: Protocol> AnyBound for Bound<P> {
    fn serve_any(self: Box<Self>) -> Box<dyn AnyServing> {
        Box::new(self.serve())
    }
}

impl<P: Protocol> AnyServing for Serving<P> {
    fn stop(&self) {
        if let Some(handle) = self.handle() {
            handle.stop();
        }
    }
}

impl<P: Protocol> Workers for Worker<P> {
    fn into_workers(self) -> Vec<Box<dyn AnyWorker>> {
        vec![Box::new(self)]
    }
}

impl Workers for Vec<Box<dyn AnyWorker>> {
    fn into_workers(self) -> Vec<Box<dyn AnyWorker>> {
        self
    }
}

macro_rules! tuple {
    ($($name:ident),+) => {
        impl<$($name: Workers),+> Workers for ($($name,)+) {
            fn into_workers(self) -> Vec<Box<dyn AnyWorker>> {
                #[allow(non_snake_case, reason = "the type's name names the value")]
                let ($($name,)+) = self;
                let mut all = Vec::new();
                $(all.extend($name.into_workers());)+
                all
            }
        }
    };
}

tuple!(A);
tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
tuple!(A, B, C, D, E);
tuple!(A, B, C, D, E, F);
tuple!(A, B, C, D, E, F, G);
tuple!(A, B, C, D, E, F, G, H);

/// Runs all workers of a program, each on threads of its own, until SIGINT or SIGTERM, which drain them.
///
/// All addresses are bound before any worker starts. If one worker fails to start, or ends with an error, all stop and
/// that error is returned; workers that are stopped by their handles end quietly, and `run_all` ends with the last.
///
/// # Errors
/// An address cannot be bound (the error names it), a worker fails, or this is called inside a runtime.
///
/// # Examples
/// ```no_run
/// use workerman::prelude::*;
///
/// fn main() -> workerman::Result<()> {
///     let lines = Worker::text(":2347").on_message(|_, line| line);
///     let frames = Worker::frame(":2348").threads(2).on_message(|_, frame| frame);
///     workerman::run_all((lines, frames))
/// }
/// ```
#[doc(alias = "runAll")]
pub fn run_all(workers: impl Workers) -> Result<()> {
    if tokio::runtime::Handle::try_current().is_ok() {
        return Err(Error::InsideRuntime);
    }
    raise_open_files();
    let bound: Vec<_> =
        workers.into_workers().into_iter().map(AnyWorker::bind_any).collect::<Result<Vec<_>>>()?;
    workerman_event::block_on(async move {
        let mut signals = Signals::default();
        for signal in STOP_SIGNALS {
            signals.watch(*signal).map_err(Error::Signal)?;
        }
        let mut serving: Vec<Pin<Box<dyn AnyServing>>> =
            bound.into_iter().map(|bound| Box::into_pin(bound.serve_any())).collect();
        let mut first_failure = None;
        poll_fn(|cx| {
            while signals.poll(cx).is_ready() {
                serving.iter().for_each(|worker| worker.stop());
            }
            let mut failed = false;
            serving.retain_mut(|worker| match worker.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(result) => {
                    if let Err(error) = result {
                        failed = true;
                        first_failure.get_or_insert(error);
                    }
                    false
                }
            });
            if failed {
                serving.iter().for_each(|worker| worker.stop());
            }
            if serving.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        first_failure.map_or(Ok(()), Err)
    })?
}
