//! The client's side, step by step: the request, the head of the answer, what a refusal says.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::accept::Agreement;
use super::error::{HandshakeError, Refused};
use super::hello::Hello;
use super::key::Key;
use crate::http::switch::{ChunkReader, ResponseReader};
use crate::http::{Error, Response, StatusCode};

/// Most interim answers (1xx) before the one that counts.
const MAX_INTERIM: u8 = 16;

/// A connection of a client until its handshake is complete.
pub(in crate::websocket) struct Connecting {
    hello: Arc<Hello>,
    key: Key,
    extensions: Option<Box<str>>,
    interim: u8,
    stage: Stage,
}

enum Stage {
    Head(ResponseReader),
    /// The server has refused: what it says about it.
    Body(Refused, Ending, BytesMut),
}

/// Where the body of a refusal ends.
enum Ending {
    Length(u64),
    Chunks(ChunkReader),
    Close,
}

/// What is next.
#[derive(Debug)]
pub(in crate::websocket) enum Step {
    /// More has to arrive.
    Need,
    /// The connection is open; what is left of the input are frames.
    Open(Box<Connected>),
}

/// A handshake that has succeeded.
#[derive(Debug)]
pub(in crate::websocket) struct Connected {
    pub(in crate::websocket) response: Response,
    pub(in crate::websocket) agreement: Agreement,
}

impl Connecting {
    /// With a new random key, and what is offered as extensions.
    pub(in crate::websocket) fn new(
        hello: Arc<Hello>,
        extensions: Option<String>,
    ) -> Result<Self, HandshakeError> {
        Ok(Self::with_key(hello, extensions, Key::random()?))
    }

    fn with_key(hello: Arc<Hello>, extensions: Option<String>, key: Key) -> Self {
        let extensions = extensions.map(String::into_boxed_str);
        Self { hello, key, extensions, interim: 0, stage: Stage::Head(ResponseReader::default()) }
    }

    /// Appends the request.
    pub(in crate::websocket) fn write(&self, out: &mut BytesMut) -> Result<(), HandshakeError> {
        self.hello.write(&self.key, self.extensions.as_deref(), out)
    }

    /// Reads the answer.
    pub(in crate::websocket) fn step(&mut self, input: &mut BytesMut) -> Result<Step, HandshakeError> {
        loop {
            let reader = match &mut self.stage {
                Stage::Head(reader) => reader,
                Stage::Body(..) => return self.body(input),
            };
            let head = reader.read(input).map_err(|error| {
                HandshakeError::Answer(match error {
                    Error::Response(reason) => reason,
                    _ => "its head is too long",
                })
            })?;
            let Some(mut head) = head else { return Ok(Step::Need) };
            let status = head.response.status();
            if status == StatusCode::SWITCHING_PROTOCOLS {
                let response = head.response;
                let agreement = self.hello.verify(&self.key, self.extensions.as_deref(), &response)?;
                return Ok(Step::Open(Box::new(Connected { response, agreement })));
            }
            if status.is_informational() {
                // RFC 9110 section 15.2: they can come before every answer.
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(HandshakeError::Answer("too many interim answers"));
                }
                continue;
            }
            let ending = match head.length {
                Some(length) => Ending::Length(length),
                None if head.chunked => Ending::Chunks(ChunkReader::default()),
                None => Ending::Close,
            };
            self.stage = Stage::Body(Refused::of(&mut head.response), ending, BytesMut::new());
        }
    }

    /// Takes what is wanted of the body of a refusal; an error as soon as that is there.
    fn body(&mut self, input: &mut BytesMut) -> Result<Step, HandshakeError> {
        let Stage::Body(_, ending, body) = &mut self.stage else { return Ok(Step::Need) };
        let room = Refused::MAX_BODY - body.len();
        let complete = match ending {
            Ending::Length(length) => {
                let most = usize::try_from(*length).unwrap_or(usize::MAX).min(room);
                let taken = input.split_to(most.min(input.len()));
                *length -= taken.len() as u64;
                body.put_slice(&taken);
                taken.len() == most
            }
            Ending::Chunks(reader) => reader.read(input, room, body),
            Ending::Close => {
                body.put_slice(&input.split_to(room.min(input.len())));
                false
            }
        };
        if complete || body.len() >= Refused::MAX_BODY {
            return Err(self.refused().unwrap_or(HandshakeError::Ended));
        }
        Ok(Step::Need)
    }

    /// The refusal as far as it has come, if there is one.
    fn refused(&mut self) -> Option<HandshakeError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Head(ResponseReader::default()));
        let Stage::Body(mut refused, _, body) = stage else { return None };
        refused.body = body.freeze();
        Some(HandshakeError::Refused(Box::new(refused)))
    }

    /// The server has ended its stream: why there is no connection.
    pub(in crate::websocket) fn ended(&mut self) -> HandshakeError {
        self.refused().unwrap_or(HandshakeError::Ended)
    }
}
