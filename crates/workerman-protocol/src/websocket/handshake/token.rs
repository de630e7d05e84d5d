//! The right to decide about a handshake, later and from anywhere.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Waker;

use super::accept::Accept;
use super::check::Upgrade;
use crate::http::{Request, Response};

/// A handshake that waits for the application: accept it or reject it, now or later, here or on another thread.
///
/// Dropped without a decision, the client gets a 500; after too long a time, a 503.
#[must_use = "a handshake whose token is dropped is answered with 500"]
pub struct Handshake {
    /// `None` once it is decided.
    asked: Option<Box<Asked>>,
    pending: Weak<Pending>,
}

/// A request that is a handshake.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) upgrade: Upgrade,
}

/// What the application says to a handshake.
pub(super) enum Decision {
    Accept(Box<Asked>, Accept),
    Reject(Response),
    /// The token was dropped.
    Nothing,
}

/// Where the connection waits for the decision.
pub(super) struct Pending {
    decision: Mutex<Option<Decision>>,
    waker: Waker,
}

impl Pending {
    /// The decision, once it has come.
    pub(super) fn take(&self) -> Option<Decision> {
        self.decision.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The client has left, or waited too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the client is gone")]
pub struct Gone;

impl Handshake {
    /// A token, and where its decision arrives.
    pub(super) fn new(request: Request, upgrade: Upgrade, waker: Waker) -> (Self, Arc<Pending>) {
        let pending = Arc::new(Pending { decision: Mutex::new(None), waker });
        let asked = Some(Box::new(Asked { request, upgrade }));
        (Self { asked, pending: Arc::downgrade(&pending) }, pending)
    }

    /// The request.
    pub fn request(&self) -> &Request {
        &self.asked().request
    }

    /// The request, to be changed: values that are [attached](Request::extensions_mut) are there when it is open.
    pub fn request_mut(&mut self) -> &mut Request {
        &mut self.asked.as_mut().expect(UNDECIDED).request
    }

    /// What the client offers: sub-protocols and extensions.
    pub fn upgrade(&self) -> &Upgrade {
        &self.asked().upgrade
    }

    fn asked(&self) -> &Asked {
        self.asked.as_ref().expect(UNDECIDED)
    }

    /// Opens the connection.
    ///
    /// A mistake in `accept` (see [`Accept`]) makes it a 500, which `on_error` is told.
    ///
    /// # Errors
    /// The client has left, or waited too long.
    pub fn accept(mut self, accept: Accept) -> Result<(), Gone> {
        let asked = self.asked.take().expect(UNDECIDED);
        self.decide(Decision::Accept(asked, accept))
    }

    /// Answers with a response instead, and ends the connection.
    ///
    /// Its body must be in memory. A redirect is possible, but browsers do not follow it.
    ///
    /// # Errors
    /// The client has left, or waited too long.
    pub fn reject(mut self, response: impl Into<Response>) -> Result<(), Gone> {
        self.asked = None;
        self.decide(Decision::Reject(response.into()))
    }

    /// Accepts or rejects.
    ///
    /// # Errors
    /// The client has left, or waited too long.
    pub fn decide_by(self, verdict: impl Into<Verdict>) -> Result<(), Gone> {
        match verdict.into() {
            Verdict::Accept(accept) => self.accept(accept),
            Verdict::Reject(response) => self.reject(response),
        }
    }

    /// Whether nobody waits for the decision any more.
    pub fn is_gone(&self) -> bool {
        self.pending.strong_count() == 0
    }

    fn decide(&self, decision: Decision) -> Result<(), Gone> {
        let pending = self.pending.upgrade().ok_or(Gone)?;
        *pending.decision.lock().unwrap_or_else(PoisonError::into_inner) = Some(decision);
        pending.waker.wake_by_ref();
        Ok(())
    }
}

/// Only what consumes the token takes the request out of it.
const UNDECIDED: &str = "a token has its request until it is used";

impl Drop for Handshake {
    fn drop(&mut self) {
        if self.asked.take().is_some() {
            // Without a client there is nobody to tell.
            let _ = self.decide(Decision::Nothing);
        }
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.asked.as_ref().map(|asked| &asked.request);
        f.debug_struct("Handshake").field("request", &request).finish_non_exhaustive()
    }
}

/// What a handler of handshakes says: yes, or another answer.
///
/// # Examples
/// ```
/// use workerman_protocol::http::{Request, Response};
/// use workerman_protocol::websocket::handshake::{Accept, Verdict};
///
/// fn decide(request: &Request) -> Verdict {
///     match request.query_value("token").as_deref() {
///         Some("secret") => Accept::new().into(),
///         _ => Response::of(401).into(),
///     }
/// }
/// ```
#[derive(Debug)]
pub enum Verdict {
    /// The connection opens.
    Accept(Accept),
    /// It gets this answer, and ends.
    Reject(Response),
}

impl From<Accept> for Verdict {
    fn from(accept: Accept) -> Self {
        Self::Accept(accept)
    }
}

impl From<Response> for Verdict {
    fn from(response: Response) -> Self {
        Self::Reject(response)
    }
}

impl From<()> for Verdict {
    /// Accepts as the settings say.
    fn from((): ()) -> Self {
        Self::Accept(Accept::new())
    }
}

impl<A: Into<Verdict>, R: Into<Response>> From<Result<A, R>> for Verdict {
    fn from(result: Result<A, R>) -> Self {
        match result {
            Ok(accept) => accept.into(),
            Err(response) => Self::Reject(response.into()),
        }
    }
}
