//! A connection is open: what its handshake was.

use std::fmt;

use super::handshake::{Agreement, Connected};
use crate::http::{Request, Response};

/// A connection is open: the handshake that opened it.
pub struct Open(Box<How>);

enum How {
    Accepted { request: Request, agreement: Agreement },
    Connected(Connected),
}

impl Open {
    pub(super) fn accepted(request: Request, agreement: Agreement) -> Self {
        Self(Box::new(How::Accepted { request, agreement }))
    }

    pub(super) fn connected(connected: Connected) -> Self {
        Self(Box::new(How::Connected(connected)))
    }

    /// The client's request, at a server.
    pub fn request(&self) -> Option<&Request> {
        match &*self.0 {
            How::Accepted { request, .. } => Some(request),
            How::Connected(_) => None,
        }
    }

    /// The client's request, at a server, to be kept.
    pub fn into_request(self) -> Option<Request> {
        match *self.0 {
            How::Accepted { request, .. } => Some(request),
            How::Connected(_) => None,
        }
    }

    /// The server's answer, at a client.
    pub fn response(&self) -> Option<&Response> {
        match &*self.0 {
            How::Accepted { .. } => None,
            How::Connected(connected) => Some(&connected.response),
        }
    }

    /// What both sides have agreed on.
    pub fn agreement(&self) -> &Agreement {
        match &*self.0 {
            How::Accepted { agreement, .. } => agreement,
            How::Connected(connected) => &connected.agreement,
        }
    }

    /// The sub-protocol that was chosen.
    pub fn protocol(&self) -> Option<&str> {
        self.agreement().protocol.as_deref()
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("agreement", self.agreement()).finish_non_exhaustive()
    }
}
