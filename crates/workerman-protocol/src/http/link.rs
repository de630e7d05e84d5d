//! Answers that do not come from a returning handler: what the sending half keeps, and the token to answer later.

use std::fmt;

use super::{Error, Response};
use crate::Handle;

/// The sending half of a server's connection: answers on their way to the decoding half, which writes them.
#[derive(Default)]
pub struct Answers(Option<Box<Waiting>>);

/// Most answers that may wait to be written: more than any pipeline is long.
const MOST: usize = 1024;

#[derive(Default)]
struct Waiting {
    /// Requests whose answer comes by a token, by their number.
    claimed: Vec<u32>,
    answers: Vec<Answer>,
}

/// An answer that has come.
pub(super) struct Answer {
    /// For which request; `None` for the oldest one that nobody has a token for.
    pub(super) number: Option<u32>,
    /// `None` for a token that was dropped.
    pub(super) response: Option<Response>,
}

impl Answers {
    /// Leaves a response for the oldest request that waits.
    pub(super) fn send(&mut self, response: Response) -> Result<(), Error> {
        if !self.has_room() {
            return Err(Error::NothingToAnswer);
        }
        self.0.get_or_insert_default().answers.push(Answer { number: None, response: Some(response) });
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.0.as_ref().is_none_or(|waiting| waiting.answers.len() < MOST)
    }

    /// What has come since the last time: answers in their order, then tokens that were dropped, whose requests nobody
    /// has claimed from now on. That of `handled` stays.
    pub(super) fn take(&mut self, handled: Option<u32>) -> Vec<Answer> {
        let Some(waiting) = &mut self.0 else { return Vec::new() };
        let (mut answers, dropped): (Vec<_>, Vec<_>) =
            std::mem::take(&mut waiting.answers).into_iter().partition(|answer| answer.response.is_some());
        for answer in dropped {
            if answer.number == handled {
                waiting.answers.push(answer);
            } else {
                waiting.claimed.retain(|number| answer.number != Some(*number));
                answers.push(answer);
            }
        }
        if waiting.claimed.is_empty() && waiting.answers.is_empty() {
            self.0 = None;
        }
        answers
    }

    /// Whether an answer waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|waiting| waiting.answers.is_empty())
    }

    /// Whether somebody holds a token for this request.
    pub(super) fn is_claimed(&self, number: u32) -> bool {
        self.0.as_ref().is_some_and(|waiting| waiting.claimed.contains(&number))
    }

    /// A request has its answer.
    pub(super) fn settle(&mut self, number: u32) {
        let Some(waiting) = &mut self.0 else { return };
        waiting.claimed.retain(|claimed| *claimed != number);
        if waiting.claimed.is_empty() && waiting.answers.is_empty() {
            self.0 = None;
        }
    }

    /// Claims a request for a token; `false` if another was first.
    fn claim(&mut self, number: u32) -> bool {
        let claimed = &mut self.0.get_or_insert_default().claimed;
        let first = !claimed.contains(&number);
        if first {
            claimed.push(number);
        }
        first
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.0.as_ref().map_or(0, |waiting| waiting.answers.len());
        f.debug_struct("Answers").field("waiting", &waiting).finish()
    }
}

/// The right to answer one request, later and from anywhere.
///
/// Dropped without an answer, the client gets a 500.
#[must_use = "a request whose reply is dropped is answered with 500"]
pub struct Reply {
    /// `None` once it was used, or if another token was first.
    half: Option<Handle<Answers>>,
    number: u32,
}

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The client has left, or its request was answered already.
    #[error("the client is gone, or its request was answered")]
    Gone,
    /// A mistake was made in building the response; the client gets a 500.
    #[error("the response cannot be sent: {0}")]
    Invalid(#[source] Error),
}

impl Reply {
    pub(super) fn new(half: Option<&Handle<Answers>>, number: u32) -> Self {
        let mut claimed = false;
        if let Some(half) = half {
            half.with(&mut |answers| claimed = answers.claim(number));
        }
        Self { half: half.filter(|_| claimed).cloned(), number }
    }

    /// Answers the request.
    ///
    /// # Errors
    /// The client has left, another answer was first, or the response is one that cannot be sent.
    pub fn send(mut self, response: impl Into<Response>) -> Result<(), ReplyError> {
        let mut response = response.into();
        if let Some(error) = response.take_error() {
            return Err(ReplyError::Invalid(error));
        }
        let half = self.half.take().ok_or(ReplyError::Gone)?;
        if deliver(&half, self.number, Some(response)) { Ok(()) } else { Err(ReplyError::Gone) }
    }

    /// Whether an answer can no longer reach the client.
    pub fn is_gone(&self) -> bool {
        self.half.as_ref().is_none_or(|half| half.is_closed())
    }
}

/// Leaves an answer in the sending half and wakes the connection; `false` if nobody will look.
fn deliver(half: &Handle<Answers>, number: u32, response: Option<Response>) -> bool {
    if half.is_closed() {
        return false;
    }
    let mut answer = Some(Answer { number: Some(number), response });
    half.with(&mut |answers| {
        // One that was answered in another way is settled.
        if answers.has_room() && answers.is_claimed(number) {
            answers.0.get_or_insert_default().answers.extend(answer.take());
        }
    });
    half.wake();
    // What was not taken is the user's: it is dropped outside of the lock.
    answer.is_none()
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(half) = self.half.take() {
            // Without a client there is nobody to tell.
            deliver(&half, self.number, None);
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("gone", &self.is_gone()).finish_non_exhaustive()
    }
}
