//! The server's codec driven without a connection: requests in, responses out.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use workerman_protocol::http::{Answers, Body, Http, Request, Response};
use workerman_protocol::{
    Context, Decoded, Handle, Outbox, Protocol, Random, Role, SendingHalf, SendingHandle,
};

use super::Case;

/// The sending half, kept where a connection keeps it: shared, under a lock.
#[derive(Default)]
struct Half(Mutex<Answers>);

impl SendingHalf<Answers> for Half {
    fn with(&self, with: &mut dyn FnMut(&mut Answers)) {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl SendingHandle<Answers> for Half {
    fn wake(&self) {}

    fn is_closed(&self) -> bool {
        false
    }
}

/// Lends the half, and gives handles of it to requests as a connection does.
struct Lent(Handle<Answers>);

impl SendingHalf<Answers> for Lent {
    fn with(&self, with: &mut dyn FnMut(&mut Answers)) {
        self.0.with(with);
    }

    fn handle(&self) -> Option<Handle<Answers>> {
        Some(Arc::clone(&self.0))
    }
}

/// One connection's codec, and the handler of its requests.
pub struct Server {
    http: Http,
    sending: Lent,
    case: Case,
    now: Instant,
    random: Random,
    reply: Outbox,
}

impl Server {
    /// For the requests of `case`.
    pub fn new(case: Case) -> Self {
        Self {
            http: Http::new().server("workerman"),
            sending: Lent(Arc::new(Half::default())),
            case,
            now: Instant::now(),
            random: Random::new(1),
            reply: Outbox::new(),
        }
    }

    /// Answers every request in `input`, as if all had arrived together; returns their number.
    ///
    /// # Panics
    /// If `input` is not a sequence of whole requests, each of which may have an answer.
    #[inline]
    pub fn serve(&mut self, input: &mut BytesMut) -> usize {
        let mut requests = 0;
        loop {
            let mut cx = Context::new(
                self.now,
                784_111_777,
                Role::Server,
                &mut self.random,
                &mut self.reply,
                &self.sending,
                Waker::noop(),
            );
            let request = match self.http.decode(input, &mut cx) {
                Ok(Decoded::Message(request)) => request,
                Ok(Decoded::Need(_)) if input.is_empty() => return requests,
                Ok(other) => panic!("{other:?} in a batch of whole requests"),
                Err(error) => panic!("{error}"),
            };
            let response = answer(request, &self.case);
            if let Err(error) = self.http.answer(response, &mut cx) {
                panic!("{error}");
            }
            requests += 1;
        }
    }

    /// Takes what was answered as sent, returns its number of bytes; the buffer stays for the next batch.
    #[inline]
    pub fn sent(&mut self) -> usize {
        let bytes = self.reply.remaining();
        self.reply.clear(usize::MAX);
        bytes
    }
}

/// The handler of a case.
#[inline]
fn answer(request: Request, case: &Case) -> Response {
    match case.body() {
        Some(body) => Response::text(Body::from(Bytes::from_static(body))),
        None => Response::bytes(request.into_body()),
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("case", &self.case).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Life;
    use crate::http::answer::Reader;

    #[test]
    fn every_request_gets_a_right_answer() {
        for case in Case::ALL.into_iter().filter(|case| case.life == Life::Kept) {
            let mut server = Server::new(case);
            for round in 0..3 {
                let mut requests = case.requests();
                requests.renew(&mut 5);
                let mut input = BytesMut::from(requests.bytes());
                assert_eq!(server.serve(&mut input), case.outstanding);
                let output = server.reply.copy_to_bytes(server.reply.remaining());
                let (mut left, mut reader) = (&output[..], Reader::default());
                for index in 0..case.outstanding {
                    assert!(reader.read(&mut left, requests.expected(index)).unwrap(), "{round}");
                }
                assert!(left.is_empty());
                assert_eq!(server.sent(), 0);
            }
        }
    }
}
