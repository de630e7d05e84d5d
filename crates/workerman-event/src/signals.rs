//! Signals of the system, as a loop watches them.

use std::fmt;
use std::io;
use std::task::{Context, Poll};

use crate::Signal;

/// The watched signals of a loop, polled by the loop's own task.
#[derive(Default)]
pub struct Signals {
    watched: Vec<(Signal, Source)>,
}

#[cfg(unix)]
type Source = tokio::signal::unix::Signal;
#[cfg(windows)]
type Source = tokio::signal::windows::CtrlC;

impl Signals {
    /// Watches a signal; its default action (ending the process) is off from now on, for the whole process.
    pub fn watch(&mut self, signal: Signal) -> io::Result<()> {
        if self.watched.iter().all(|(watched, _)| *watched != signal) {
            self.watched.push((signal, open(signal)?));
        }
        Ok(())
    }

    /// Nothing to poll for.
    pub fn is_idle(&self) -> bool {
        self.watched.is_empty()
    }

    /// The next signal that arrived; call it until `Pending`, which means that the task of `cx` is woken by the next.
    /// Signals of one kind that arrive before they are polled are one.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        for (signal, source) in &mut self.watched {
            // `None` would mean that the runtime ends.
            if let Poll::Ready(Some(())) = source.poll_recv(cx) {
                return Poll::Ready(*signal);
            }
        }
        Poll::Pending
    }
}

#[cfg(unix)]
fn open(signal: Signal) -> io::Result<Source> {
    use tokio::signal::unix::{SignalKind, signal as listen};
    listen(match signal {
        Signal::Interrupt => SignalKind::interrupt(),
        Signal::Terminate => SignalKind::terminate(),
        Signal::Quit => SignalKind::quit(),
        Signal::Hangup => SignalKind::hangup(),
        Signal::User1 => SignalKind::user_defined1(),
        Signal::User2 => SignalKind::user_defined2(),
    })
}

#[cfg(windows)]
fn open(signal: Signal) -> io::Result<Source> {
    match signal {
        Signal::Interrupt => tokio::signal::windows::ctrl_c(),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, format!("this system has no signal {signal:?}"))),
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.watched.iter().map(|(signal, _)| signal)).finish()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn a_raised_signal_is_told_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut signals = Signals::default();
            assert!(signals.is_idle());
            signals.watch(Signal::User1).unwrap();
            signals.watch(Signal::User1).unwrap();
            signals.watch(Signal::Hangup).unwrap();
            assert!(!signals.is_idle());
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::USR1).unwrap();
            assert_eq!(poll_fn(|cx| signals.poll(cx)).await, Signal::User1);
            let next = poll_fn(|cx| Poll::Ready(signals.poll(cx))).await;
            assert!(next.is_pending());
        });
    }
}
