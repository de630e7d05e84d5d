//! What the bare epoll server answers to HTTP: fixed bytes for each so many bytes that arrive, nothing is parsed.

use crate::floor::{Answer, Reply};
use crate::http::{Case, Life};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nServer: floor\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\n";

/// The same response for every request.
#[derive(Debug)]
pub struct Fixed {
    /// The length of a request.
    request: usize,
    /// As many responses as one read can ask for.
    responses: Vec<u8>,
    response: usize,
    ends: bool,
}

impl Fixed {
    /// For the requests of `case`; their bodies are not looked at.
    pub fn new(case: &Case) -> Self {
        let request = case.requests().length();
        let mut response = head(case);
        response.extend_from_slice(case.requests().expected(0));
        Self {
            request,
            responses: response.repeat(Self::BUFFER / request + 1),
            response: response.len(),
            ends: case.life == Life::ServerEnds,
        }
    }
}

impl Answer for Fixed {
    /// Bytes of a request that is not complete.
    type Rest = usize;

    #[inline]
    fn answer<'a>(&'a mut self, rest: &mut usize, received: &'a [u8]) -> Reply<'a> {
        let bytes = *rest + received.len();
        *rest = bytes % self.request;
        Reply::Back(&self.responses[..bytes / self.request * self.response])
    }

    fn ends(&self) -> bool {
        self.ends
    }
}

/// Each request's body behind a fixed head.
#[derive(Debug)]
pub struct Bodies {
    /// The length of a request, and where its body begins.
    request: usize,
    body: usize,
    head: Vec<u8>,
    /// Reused from answer to answer.
    out: Vec<u8>,
}

impl Bodies {
    /// For the requests of `case`, which have bodies.
    pub fn new(case: &Case) -> Self {
        let request = case.requests().length();
        Self { request, body: request - case.body_length(), head: head(case), out: Vec::new() }
    }
}

impl Answer for Bodies {
    /// The beginning of a request that is not complete.
    type Rest = Vec<u8>;

    #[inline]
    fn answer<'a>(&'a mut self, rest: &mut Vec<u8>, received: &'a [u8]) -> Reply<'a> {
        let joined;
        let bytes = if rest.is_empty() {
            received
        } else {
            rest.extend_from_slice(received);
            joined = std::mem::take(rest);
            &joined
        };
        self.out.clear();
        let requests = bytes.chunks_exact(self.request);
        rest.extend_from_slice(requests.remainder());
        for request in requests {
            self.out.extend_from_slice(&self.head);
            self.out.extend_from_slice(&request[self.body..]);
        }
        Reply::Back(&self.out)
    }
}

/// The head of a response, of a constant length and date.
fn head(case: &Case) -> Vec<u8> {
    let connection = if case.life == Life::ServerEnds { "Connection: close\r\n" } else { "" };
    format!("{HEAD}{connection}Content-Length: {}\r\n\r\n", case.body_length()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer::Reader;

    /// Sends three rounds of requests in pieces of `size` bytes, reads all answers.
    fn check<A: Answer>(mut floor: A, case: &Case, size: usize) {
        let (mut rest, mut next) = (A::Rest::default(), 5);
        for _ in 0..3 {
            let mut requests = case.requests();
            requests.renew(&mut next);
            let (mut reader, mut answered) = (Reader::default(), 0);
            for piece in requests.bytes().chunks(size) {
                let Reply::Back(mut answer) = floor.answer(&mut rest, piece) else { panic!("for others") };
                while !answer.is_empty() {
                    answered += usize::from(reader.read(&mut answer, requests.expected(answered)).unwrap());
                }
            }
            assert_eq!(answered, case.outstanding, "{} in pieces of {size} B", case.name);
        }
    }

    #[test]
    fn every_request_gets_a_right_answer() {
        for case in Case::ALL {
            for size in [97, Fixed::BUFFER] {
                if case.echoes() {
                    check(Bodies::new(&case), &case, size);
                } else {
                    check(Fixed::new(&case), &case, size);
                }
            }
        }
    }
}
