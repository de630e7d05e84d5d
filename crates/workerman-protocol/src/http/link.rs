//! What a request keeps of its connection: how to answer later.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::Response;

/// The connection of one or more requests, as far as they know it.
pub(super) struct Link {
    /// Wakes the connection, which then looks into the inbox.
    waker: Waker,
    pub(super) peer: Option<SocketAddr>,
    /// The connection is over: nobody will look.
    gone: AtomicBool,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    /// Requests whose answer comes by a token, by their number.
    claimed: Vec<u32>,
    /// Answers that came; `None` for a token that was dropped.
    answers: Vec<(u32, Option<Response>)>,
}

impl Link {
    pub(super) fn new(waker: Waker, peer: Option<SocketAddr>) -> Arc<Self> {
        Arc::new(Self { waker, peer, gone: AtomicBool::new(false), inbox: Mutex::default() })
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an answer to this request comes by a token.
    pub(super) fn is_claimed(&self, number: u32) -> bool {
        self.inbox().claimed.contains(&number)
    }

    /// The answers that have come: `None` for a token that was dropped.
    pub(super) fn take_answers(&self) -> Vec<(u32, Option<Response>)> {
        std::mem::take(&mut self.inbox().answers)
    }

    /// A request was answered: its number is forgotten.
    pub(super) fn settle(&self, number: u32) {
        self.inbox().claimed.retain(|claimed| *claimed != number);
    }

    /// Nobody will look into the inbox any more.
    pub(super) fn close(&self) {
        self.gone.store(true, Ordering::Release);
        // What came too late is dropped, outside of the lock: a body may do anything then.
        let late = self.take_answers();
        drop(late);
    }

    /// A token for a request; the first one for it counts.
    pub(super) fn reply(self: &Arc<Self>, number: u32) -> Reply {
        let mut inbox = self.inbox();
        let first = !inbox.claimed.contains(&number);
        if first {
            inbox.claimed.push(number);
        }
        drop(inbox);
        Reply { link: first.then(|| Arc::clone(self)), number }
    }

    fn deliver(&self, number: u32, answer: Option<Response>) -> Result<(), Gone> {
        if self.gone.load(Ordering::Acquire) {
            return Err(Gone);
        }
        self.inbox().answers.push((number, answer));
        self.waker.wake_by_ref();
        Ok(())
    }
}

/// The right to answer one request, later and from anywhere.
///
/// Dropped without an answer, the client gets a 500.
#[must_use = "a request whose reply is dropped is answered with 500"]
pub struct Reply {
    /// `None` once it was used, or if another token was first.
    link: Option<Arc<Link>>,
    number: u32,
}

/// The client has left, or the request was answered already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the client is gone, or its request was answered")]
pub struct Gone;

impl Reply {
    pub(super) fn nowhere() -> Self {
        Self { link: None, number: 0 }
    }

    /// Answers the request.
    ///
    /// # Errors
    /// The client has left, or another answer was first; the response is dropped.
    pub fn send(mut self, response: impl Into<Response>) -> Result<(), Gone> {
        let response = response.into();
        self.link.take().ok_or(Gone)?.deliver(self.number, Some(response))
    }

    /// Whether an answer can no longer reach the client.
    pub fn is_gone(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.gone.load(Ordering::Acquire))
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            // Without a client there is nobody to tell.
            let _ = link.deliver(self.number, None);
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("gone", &self.is_gone()).finish_non_exhaustive()
    }
}
