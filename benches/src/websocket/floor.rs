//! What the floor answers over WebSocket: prefabricated frames, one for each so many bytes that arrive. It unmasks and
//! parses nothing.

use super::handshake;
use super::messages::{frame_length, prefabricated};
use super::{Case, Kind};
use crate::floor::{Answer, Reply};

/// The same frame for every message, to its sender or to all others.
#[derive(Debug)]
pub struct Fixed {
    kind: Kind,
    request: usize,
    response: String,
    /// The length of a client's frame.
    frame: usize,
    /// As many answers as one read can ask for.
    answers: Vec<u8>,
    answer: usize,
}

/// How far a connection is.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rest {
    /// The handshake is over.
    open: bool,
    /// Bytes of what is not complete.
    bytes: usize,
}

impl Fixed {
    /// For the messages of `case`.
    pub fn new(case: &Case) -> Self {
        let frame = frame_length(case.size);
        let most = Self::BUFFER / frame + 1;
        let answers = prefabricated(case.size, most);
        Self {
            kind: case.kind,
            request: handshake::request(false).len(),
            response: handshake::response(),
            frame,
            answer: answers.len() / most,
            answers,
        }
    }
}

impl Answer for Fixed {
    type Rest = Rest;

    /// Large messages in one read.
    const BUFFER: usize = 256 * 1024;

    #[inline]
    fn answer<'a>(&'a mut self, rest: &mut Rest, received: &'a [u8]) -> Reply<'a> {
        rest.bytes += received.len();
        if !rest.open {
            // The first message follows only behind the answer.
            if rest.bytes < self.request {
                return Reply::Back(&[]);
            }
            *rest = Rest { open: true, bytes: 0 };
            return Reply::Back(self.response.as_bytes());
        }
        let answers = &self.answers[..rest.bytes / self.frame * self.answer];
        rest.bytes %= self.frame;
        match self.kind {
            Kind::Echo => Reply::Back(answers),
            Kind::FanOut => Reply::Others(answers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_answers_as_messages_behind_the_handshake() {
        for case in Case::ALL {
            for size in [97, Fixed::BUFFER] {
                let (mut floor, mut rest, mut answered) = (Fixed::new(&case), Rest::default(), Vec::new());
                for piece in handshake::request(false).as_bytes().chunks(size) {
                    let Reply::Back(answer) = floor.answer(&mut rest, piece) else { panic!("for others") };
                    answered.extend_from_slice(answer);
                }
                assert_eq!(answered, handshake::response().as_bytes());
                answered.clear();
                for piece in case.messages(3).frames().chunks(size) {
                    match (floor.answer(&mut rest, piece), case.kind) {
                        (Reply::Back(answer), Kind::Echo) | (Reply::Others(answer), Kind::FanOut) => {
                            answered.extend_from_slice(answer);
                        }
                        (reply, _) => panic!("{}: {reply:?}", case.name),
                    }
                }
                assert!(answered == prefabricated(case.size, case.outstanding), "{}", case.name);
            }
        }
    }
}
