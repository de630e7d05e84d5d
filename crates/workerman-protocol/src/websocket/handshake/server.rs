//! The server's side, step by step: a head, the verdict, perhaps the application's decision.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;

use super::accept::Accept;
use super::check::{Policy, Refusal, check};
use super::token::{Asked, Decision, Handshake, Pending};
use crate::http::switch::RequestReader;
use crate::http::{Request, Response};

/// A connection of a server until its handshake is complete.
pub(in crate::websocket) struct Accepting(Stage);

enum Stage {
    Head(RequestReader),
    /// The application decides.
    Asked(Arc<Pending>),
    /// Nothing is to be done any more.
    Over,
}

/// What is next.
pub(in crate::websocket) enum Step {
    /// More of the head has to arrive.
    Need,
    /// The application has to decide.
    Blocked,
    /// The application is asked.
    Ask(Handshake),
    /// The connection is to be opened: [`Settled`](super::accept::Settled) has the answer.
    Open(Box<Accepted>),
    /// A rule or a limit is broken.
    Refuse(Refusal),
    /// The application has another answer.
    Reject(Response),
}

/// A handshake that is accepted.
pub(in crate::websocket) struct Accepted {
    pub(in crate::websocket) request: Request,
    pub(in crate::websocket) upgrade: super::check::Upgrade,
    pub(in crate::websocket) accept: Accept,
}

impl Accepting {
    pub(in crate::websocket) fn new() -> Self {
        Self(Stage::Head(RequestReader::default()))
    }

    /// Goes on; `asks`: the application decides about each handshake.
    pub(in crate::websocket) fn step(
        &mut self,
        input: &mut BytesMut,
        policy: &Policy,
        asks: bool,
        peer: Option<SocketAddr>,
        waker: &Waker,
    ) -> Step {
        let reader = match &mut self.0 {
            Stage::Head(reader) => reader,
            Stage::Asked(pending) => {
                let Some(decision) = pending.take() else { return Step::Blocked };
                self.0 = Stage::Over;
                return match decision {
                    Decision::Accept(asked, accept) => open(*asked, accept),
                    Decision::Reject(response) => Step::Reject(response),
                    Decision::Nothing => Step::Refuse(Refusal::of(500, "nobody has decided about it")),
                };
            }
            Stage::Over => return Step::Blocked,
        };
        let to_head = input.starts_with(b"HEAD ");
        let mut request = match reader.read(input) {
            Ok(None) => return Step::Need,
            Ok(Some(request)) => request,
            Err(unreadable) => {
                self.0 = Stage::Over;
                return Step::Refuse(Refusal::of(unreadable.status, unreadable.reason).for_head(to_head));
            }
        };
        self.0 = Stage::Over;
        if let Some(peer) = peer {
            request.set_remote(peer);
        }
        let upgrade = match check(&request, policy) {
            Ok(upgrade) => upgrade,
            Err(refusal) => return Step::Refuse(refusal),
        };
        if !asks {
            return open(Asked { request, upgrade }, Accept::new());
        }
        let (token, pending) = Handshake::new(request, upgrade, waker.clone());
        self.0 = Stage::Asked(pending);
        Step::Ask(token)
    }

    /// The time for it is over: what the client is told.
    pub(in crate::websocket) fn timeout(&mut self) -> Refusal {
        match std::mem::replace(&mut self.0, Stage::Over) {
            Stage::Head(_) => Refusal::of(408, "the handshake took too long"),
            Stage::Asked(_) | Stage::Over => Refusal::of(503, "nobody has decided about it in time"),
        }
    }
}

fn open(asked: Asked, accept: Accept) -> Step {
    let Asked { request, upgrade } = asked;
    Step::Open(Box::new(Accepted { request, upgrade, accept }))
}
