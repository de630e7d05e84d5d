//! Receiving: frames to messages (RFC 6455 sections 5 and 8.1).

use bytes::{Buf, Bytes, BytesMut};

use super::core::{Core, DEAF, DEFLATES, HEARD, OVER, OWES, PARTIAL, SLOW, Side};
use super::frame::{self, BINARY, CONTINUATION, First, Header, MAX_CONTROL, MAX_HEADER, TEXT};
use super::mask::Key;
use super::utf8::is_utf8;
use super::validator::Validator;
use super::{Error, Event, Fragment, Kind, Message, Utf8Bytes, compression};
use crate::{COPY_UP_TO, Context, Decoded, take};

/// Most bytes of a fragment that is delivered.
const PIECE: usize = 64 * 1024;

/// Most bytes of compressed data that make a fragment: inflated they are 264 KiB at most.
const COMPRESSED_PIECE: usize = 256;

/// A message that has begun and is not complete.
pub(super) struct Partial {
    kind: Kind,
    /// It is compressed.
    compressed: bool,
    /// Frames of it that have begun.
    fragments: u32,
    /// Bytes of the message, with those of the frame that has begun.
    size: usize,
    /// The text so far.
    text: Validator,
    /// What has arrived of it, but for what is left in the input.
    data: BytesMut,
    /// A fragment of it has been delivered.
    delivered: bool,
    /// The frame that has begun and is not complete.
    frame: Option<Payload>,
}

/// The payload of a frame.
#[derive(Clone, Copy)]
struct Payload {
    /// Bytes that have not been taken.
    left: usize,
    key: Key,
    /// It is the last of its message.
    last: bool,
    /// It is the only one of its message, and stays in the input until it is complete, behind a header of so many bytes: what the
    /// loop has read with its first bytes is then read on in place.
    whole: Option<u8>,
    /// So many bytes of it have been unmasked and checked there.
    ready: usize,
}

impl Core {
    /// The next message or event.
    #[inline]
    pub(super) fn decode<P: Side>(
        &mut self,
        input: &mut BytesMut,
        cx: &mut Context<'_, P>,
    ) -> Result<Decoded<P>, Error> {
        if self.bits & SLOW == 0 {
            if let Some((text, range)) = self.whole::<P>(input) {
                return self.take_whole(text, range, input, cx);
            }
        }
        self.decode_slowly(input, cx)
    }

    /// Whether the input begins with a complete frame that is a message by itself: is it text, and where is its payload? Whatever
    /// is not the usual is left to others.
    #[inline(always)]
    fn whole<P: Side>(&self, input: &[u8]) -> Option<(bool, (usize, usize))> {
        let &[first, second] = input.first_chunk::<2>()?;
        let text = first == frame::FIN | TEXT;
        if !text && first != frame::FIN | BINARY {
            return None;
        }
        // With a wrong bit for the mask this is above 127.
        let (at, len) = match if P::CLIENT { second } else { second ^ frame::MASKED } {
            short @ 0..=125 => (2, usize::from(short)),
            126 => {
                let &[_, _, a, b] = input.first_chunk::<4>()?;
                (4, usize::from(u16::from_be_bytes([a, b])))
            }
            _ => return None,
        };
        if at == 4 && len < 126 {
            return None;
        }
        let begin = if P::CLIENT { at } else { at + 4 };
        let fits =
            len <= self.config.max_frame && len <= self.config.max_message && begin + len <= input.len();
        fits.then_some((text, (begin, begin + len)))
    }

    /// Takes a message that is complete in the input.
    #[inline(always)]
    fn take_whole<P: Side>(
        &mut self,
        text: bool,
        (begin, end): (usize, usize),
        input: &mut BytesMut,
        cx: &mut Context<'_, P>,
    ) -> Result<Decoded<P>, Error> {
        self.bits |= HEARD;
        let (header, payload) = input[..end].split_at_mut(begin);
        let ascii = match header.last_chunk::<4>() {
            Some(key) if !P::CLIENT => Key::new(*key).apply(payload),
            _ => text && payload.is_ascii(),
        };
        if text && !ascii && !is_utf8(payload) {
            return Err(self.fail(Error::Utf8, cx));
        }
        // As `take` does it, with one step over header and payload where it copies.
        let payload = if end - begin <= COPY_UP_TO {
            let payload = Bytes::copy_from_slice(payload);
            input.advance(end);
            payload
        } else {
            input.advance(begin);
            take(input, end - begin)
        };
        Ok(Decoded::Message(if text {
            Message::Text(Utf8Bytes::checked(payload))
        } else {
            Message::Binary(payload)
        }))
    }

    /// Whatever may come.
    fn decode_slowly<P: Side>(
        &mut self,
        input: &mut BytesMut,
        cx: &mut Context<'_, P>,
    ) -> Result<Decoded<P>, Error> {
        loop {
            if self.has(OVER) {
                // RFC 6455 section 5.5.1: what follows a close frame has no meaning.
                input.clear();
                return Ok(Decoded::Need(1));
            }
            match self.step(input, cx) {
                // What is of no interest has been checked all the same: the frames behind it can be found.
                Ok(Some(Decoded::Message(_) | Decoded::Event(_))) if self.has(DEAF) => {}
                Ok(Some(Decoded::Need(n))) => {
                    self.note_heard(cx.now());
                    self.pay(cx);
                    // What is owed is written when there is room. Not within a frame, though: a connection that is blocked
                    // does not read on for ever, and a peer that writes a large frame first and reads then waited in vain.
                    let waits = self.has(OWES) && input.len() < MAX_HEADER;
                    return Ok(if waits { Decoded::Blocked } else { Decoded::Need(n) });
                }
                Ok(Some(decoded)) => return Ok(decoded),
                Ok(None) => {}
                Err(error) => return Err(self.fail(error, cx)),
            }
        }
    }

    /// The next frame, or what has arrived of it; `None` if there is nothing to tell.
    fn step<P: Side>(
        &mut self,
        input: &mut BytesMut,
        cx: &mut Context<'_, P>,
    ) -> Result<Option<Decoded<P>>, Error> {
        if self.frame().is_some() {
            return self.payload(input);
        }
        let Some(&first) = input.first() else { return Ok(Some(Decoded::Need(1))) };
        let first = First::parse(first, self.has(DEFLATES))?;
        if first.is_control() {
            return self.control(first, input, cx);
        }
        self.check_order(first)?;
        let in_message = if self.config.fragments {
            // Nothing of it is kept.
            usize::MAX
        } else {
            let most = self.config.max_message;
            // What is compressed can be a little longer than the message.
            let more = if self.is_compressed(first) { most / 16 + 1024 } else { 0 };
            most.saturating_add(more).saturating_sub(self.partial().map_or(0, |partial| partial.size))
        };
        let config = &self.config;
        let most = |payload| match () {
            () if payload > config.max_frame => Err(too_big("a frame", config.max_frame)),
            () if payload > in_message => Err(too_big("a message", config.max_message)),
            () => Ok(()),
        };
        let header = match Header::parse(input, !P::CLIENT, false, most) {
            Ok(header) => header,
            Err(Ok(missing)) => return Ok(Some(Decoded::Need(missing))),
            Err(Err(error)) => return Err(error),
        };
        if !self.begin(first, header) {
            input.advance(header.len);
        }
        Ok(None)
    }

    /// The message that has begun.
    fn partial(&mut self) -> Option<&mut Partial> {
        self.more.as_mut()?.partial.as_mut()
    }

    fn frame(&mut self) -> Option<&mut Payload> {
        self.partial()?.frame.as_mut()
    }

    /// Whether the message is compressed that a data frame belongs to.
    fn is_compressed(&mut self, first: First) -> bool {
        first.rsv1() || self.partial().is_some_and(|partial| partial.compressed)
    }

    /// Whether a data frame may come now (RFC 6455 section 5.4), and whether it is one too many.
    fn check_order(&mut self, first: First) -> Result<(), Error> {
        let (most, only) = (self.config.max_fragments, self.config.only);
        match (first.opcode(), self.partial()) {
            (CONTINUATION, None) => Err(Error::Protocol("a continuation of nothing")),
            (CONTINUATION, Some(partial)) if partial.fragments >= most => {
                Err(too_big("the number of fragments", most as usize))
            }
            (CONTINUATION, Some(_)) => Ok(()),
            (_, Some(_)) => Err(Error::Protocol("a message begins within another one")),
            (opcode, None) if only.is_some_and(|only| only != kind_of(opcode)) => Err(Error::Unsupported),
            _ => Ok(()),
        }
    }

    /// A data frame begins; whether it stays in the input.
    fn begin(&mut self, first: First, header: Header) -> bool {
        self.bits |= HEARD | PARTIAL;
        let whole =
            first.opcode() != CONTINUATION && first.is_final() && !first.rsv1() && !self.config.fragments;
        let partial = self.more().partial.get_or_insert_with(|| Partial {
            kind: kind_of(first.opcode()),
            compressed: first.rsv1(),
            fragments: 0,
            size: 0,
            text: Validator::default(),
            data: BytesMut::new(),
            delivered: false,
            frame: None,
        });
        partial.fragments = partial.fragments.saturating_add(1);
        partial.size = partial.size.saturating_add(header.payload);
        partial.frame = Some(Payload {
            left: header.payload,
            key: header.key,
            last: first.is_final(),
            whole: whole.then_some(header.len as u8),
            ready: 0,
        });
        whole
    }

    /// What has arrived of the payload of the frame that has begun.
    fn payload<P: Side>(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<P>>, Error> {
        let delivers = self.config.fragments;
        let Some(partial) = self.more.as_mut().and_then(|more| more.partial.as_mut()) else {
            return Ok(None);
        };
        let Some(frame) = &mut partial.frame else { return Ok(None) };
        if let Some(header) = frame.whole {
            let header = usize::from(header);
            let have = frame.left.min(input.len() - header);
            let new = &mut input[header + frame.ready..header + have];
            check::<P>(partial.kind, &mut partial.text, frame.key.after(frame.ready), new)?;
            if have > frame.ready {
                self.bits |= HEARD;
            }
            frame.ready = have;
            if have < frame.left {
                return Ok(Some(Decoded::Need(frame.left - have)));
            }
            input.advance(header);
            let payload = take(input, have);
            return self.complete(payload).map(Some);
        }
        let most = match () {
            () if !delivers => usize::MAX,
            () if partial.compressed => COMPRESSED_PIECE,
            () => PIECE,
        };
        let n = frame.left.min(input.len()).min(most);
        if n == 0 && frame.left > 0 {
            return Ok(Some(Decoded::Need(frame.left)));
        }
        if n > 0 {
            self.bits |= HEARD;
        }
        let key = frame.key;
        frame.key = key.after(n);
        frame.left -= n;
        let ended = frame.left == 0;
        let last = ended && frame.last;
        if ended {
            partial.frame = None;
        }
        if partial.compressed {
            if !P::CLIENT {
                key.apply(&mut input[..n]);
            }
            self.inflate(&input[..n], last)?;
            input.advance(n);
            let made = self.partial().map_or(0, |partial| partial.data.len());
            if delivers && !ended && !input.is_empty() && made < PIECE {
                return Ok(None);
            }
        } else {
            check::<P>(partial.kind, &mut partial.text, key, &mut input[..n])?;
            if delivers && partial.data.is_empty() && partial.text.is_complete() {
                // Without a copy, if it is large.
                let data = take(input, n);
                return Ok(self.deliver(data, last));
            }
            partial.data.extend_from_slice(&input[..n]);
            input.advance(n);
        }
        let Some(partial) = self.partial() else { return Ok(None) };
        if delivers {
            // A character that has begun waits for its rest.
            let whole = partial.data.len() - partial.text.begun().len();
            let data = partial.data.split_to(whole).freeze();
            return if last && !partial.text.is_complete() {
                Err(Error::Utf8)
            } else {
                Ok(self.deliver(data, last))
            };
        }
        if !last {
            return Ok(None);
        }
        let payload = std::mem::take(&mut partial.data).freeze();
        self.complete(payload).map(Some)
    }

    /// Inflates what has arrived of a compressed message.
    fn inflate(&mut self, chunk: &[u8], last: bool) -> Result<(), Error> {
        let Some(more) = self.more.as_mut() else { return Ok(()) };
        let Some(partial) = &mut more.partial else { return Ok(()) };
        // What is to be delivered in fragments must not be held back, to come all at once.
        let (settings, at_once) = (self.config.deflate.as_ref(), self.config.fragments);
        let inflater = compression::inflater(&mut more.inflater, settings, at_once)?;
        let begin = partial.data.len();
        let limit = if at_once { usize::MAX } else { self.config.max_message };
        inflater.push(chunk, last, limit, &mut partial.data)?;
        if last && inflater.is_idle() {
            more.inflater = None;
        }
        let inflated = &partial.data[begin..];
        if partial.kind == Kind::Text && !partial.text.push(inflated, false) {
            return Err(Error::Utf8);
        }
        Ok(())
    }

    /// A message is complete.
    fn complete<P: Side>(&mut self, payload: Bytes) -> Result<Decoded<P>, Error> {
        let Some(partial) = self.forget() else { return Ok(Decoded::Need(1)) };
        if !partial.text.is_complete() {
            return Err(Error::Utf8);
        }
        Ok(Decoded::Message(match partial.kind {
            Kind::Text => Message::Text(Utf8Bytes::checked(payload)),
            Kind::Binary => Message::Binary(payload),
        }))
    }

    /// A fragment for an application that asks for them; `None` if there is nothing in it.
    fn deliver<P: Side>(&mut self, data: Bytes, last: bool) -> Option<Decoded<P>> {
        let partial = self.partial()?;
        if data.is_empty() && !last {
            return None;
        }
        let first = !std::mem::replace(&mut partial.delivered, true);
        let fragment = Fragment { kind: partial.kind, first, last, data };
        if last {
            self.forget();
        }
        Some(Decoded::Event(Event::Fragment(fragment)))
    }

    /// No message is in progress.
    pub(super) fn forget(&mut self) -> Option<Partial> {
        self.bits &= !PARTIAL;
        let partial = self.more.as_mut().and_then(|more| more.partial.take());
        self.tidy();
        partial
    }

    /// Whether a message has begun and is not complete.
    pub(super) fn is_within_message(&self) -> bool {
        self.has(PARTIAL)
    }

    /// A control frame, once it is complete (RFC 6455 section 5.5).
    fn control<P: Side>(
        &mut self,
        first: First,
        input: &mut BytesMut,
        cx: &mut Context<'_, P>,
    ) -> Result<Option<Decoded<P>>, Error> {
        let header = match Header::parse(input, !P::CLIENT, true, |_| Ok(())) {
            Ok(header) => header,
            Err(Ok(missing)) => return Ok(Some(Decoded::Need(missing))),
            Err(Err(error)) => return Err(error),
        };
        let end = header.len + header.payload;
        let Some(payload) = input.get(header.len..end) else {
            return Ok(Some(Decoded::Need(end - input.len())));
        };
        let mut copy = [0; MAX_CONTROL];
        let copy = &mut copy[..header.payload];
        copy.copy_from_slice(payload);
        if !P::CLIENT {
            header.key.apply(copy);
        }
        if first.opcode() == frame::CLOSE {
            return self.closed_by_peer(copy, end, input, cx);
        }
        self.bits |= HEARD;
        input.advance(end);
        let payload = Bytes::copy_from_slice(copy);
        Ok(Some(Decoded::Event(if first.opcode() == frame::PING {
            self.answer_ping(copy, cx);
            Event::Ping(payload)
        } else {
            Event::Pong(payload)
        })))
    }
}

/// Unmasks in place what has arrived, and checks it where it is text.
#[inline]
fn check<P: Side>(kind: Kind, text: &mut Validator, key: Key, bytes: &mut [u8]) -> Result<(), Error> {
    let ascii = if P::CLIENT { kind == Kind::Text && bytes.is_ascii() } else { key.apply(bytes) };
    if kind == Kind::Text && !text.push(bytes, ascii) {
        return Err(Error::Utf8);
    }
    Ok(())
}

const fn kind_of(opcode: u8) -> Kind {
    if opcode == TEXT { Kind::Text } else { Kind::Binary }
}

pub(super) const fn too_big(what: &'static str, limit: usize) -> Error {
    Error::TooBig { what, limit }
}
