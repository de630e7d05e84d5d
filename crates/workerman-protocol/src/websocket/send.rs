//! Sending: messages to frames (RFC 6455 section 5.2).

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::deflate::Deflater;
use super::frame::{
    self, BINARY, CONTINUATION, FIN, MASKED, MAX_CONTROL, MAX_HEADER, PING, PONG, RSV1, TEXT,
};
use super::{Error, Fragment, Kind, Message, Outgoing, compression, mask};
use crate::{Outbox, SHARE_FROM, Shared};

/// The sending half of a connection: what its encoder has to know.
pub struct Sending(pub(super) Compression);

/// How messages are compressed.
pub(super) enum Compression {
    /// Each for itself, by the compressor of this number; not at all with 0.
    Free(u8),
    /// Each may refer to those before it.
    Context(Box<Deflater>),
}

impl Sending {
    /// A sending half made for one send.
    #[inline]
    pub(super) const fn free(bits: u8) -> Self {
        Self(Compression::Free(bits))
    }

    pub(super) fn with_context(deflater: Deflater) -> Self {
        Self(Compression::Context(Box::new(deflater)))
    }

    /// The payload of a message as it is sent compressed, if it is.
    #[inline]
    fn compress(&mut self, payload: &[u8], asked: Option<bool>) -> Option<Bytes> {
        match &mut self.0 {
            Compression::Free(0) => None,
            Compression::Free(number) => compression::compress(*number, payload, asked),
            Compression::Context(deflater) => compression::compress_with(deflater, payload, asked),
        }
    }
}

impl Default for Sending {
    fn default() -> Self {
        Self::free(0)
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("context", &matches!(self.0, Compression::Context(_))).finish()
    }
}

/// Appends what is sent.
#[inline]
pub(super) fn encode<const CLIENT: bool>(
    sending: &mut Sending,
    outgoing: Outgoing,
    out: &mut Outbox,
) -> Result<(), Error> {
    match outgoing {
        Outgoing::Message { message, compress } => {
            let (opcode, payload) = parts(message);
            match sending.compress(&payload, compress) {
                // RFC 7692 section 6: the first reserved bit says so.
                Some(compressed) => frame::<CLIENT>(FIN | RSV1 | opcode, compressed, out),
                None => frame::<CLIENT>(FIN | opcode, payload, out),
            }
        }
        Outgoing::Ping(payload) => control::<CLIENT>(PING, &payload, out),
        Outgoing::Pong(payload) => control::<CLIENT>(PONG, &payload, out),
        Outgoing::Fragment(Fragment { kind, first, last, data }) => {
            let opcode = if first { opcode(kind) } else { CONTINUATION };
            frame::<CLIENT>(if last { FIN | opcode } else { opcode }, data, out)
        }
    }
}

/// Appends what was encoded for many.
#[inline]
pub(super) fn append_shared(sending: &mut Sending, shared: &Shared, out: &mut Outbox) {
    match sending.0 {
        Compression::Free(0) => out.put_bytes(shared.bytes().clone()),
        _ => compression::append_shared(&mut sending.0, shared, out),
    }
}

/// A message of a server, encoded once for many: nothing is masked, so that the bytes are the same for all.
pub(super) fn encode_shared(outgoing: &Outgoing) -> Option<Shared> {
    let mut out = Outbox::new();
    encode::<false>(&mut Sending::default(), outgoing.clone(), &mut out).ok()?;
    let note = match outgoing {
        Outgoing::Message { compress: None, .. } => compression::AS_SET,
        Outgoing::Message { compress: Some(true), .. } => compression::ALWAYS,
        _ => compression::NEVER,
    };
    Some(Shared::from(out.into_bytes()).with_note(note))
}

/// Least bytes that the encoding takes.
#[inline]
pub(super) fn size_hint(outgoing: &Outgoing) -> usize {
    match outgoing {
        Outgoing::Message { message, compress: Some(false) } => message.len() + 2,
        // Compressed it may be nearly nothing.
        Outgoing::Message { .. } => 2,
        Outgoing::Ping(payload) | Outgoing::Pong(payload) => payload.len() + 2,
        Outgoing::Fragment(fragment) => fragment.data.len() + 2,
    }
}

const fn opcode(kind: Kind) -> u8 {
    match kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    }
}

#[inline]
fn parts(message: Message) -> (u8, Bytes) {
    match message {
        Message::Text(text) => (TEXT, text.into_bytes()),
        Message::Binary(bytes) => (BINARY, bytes),
    }
}

/// Appends a frame; `first` is its first byte.
#[inline]
pub(super) fn frame<const CLIENT: bool>(first: u8, payload: Bytes, out: &mut Outbox) -> Result<(), Error> {
    if payload.len() <= SHARE_FROM {
        return copied::<CLIENT>(first, &payload, out.buffer());
    }
    if CLIENT {
        // In a buffer of its own, so that the one for small pieces does not grow with it.
        let mut whole = BytesMut::with_capacity(MAX_HEADER + payload.len());
        copied::<CLIENT>(first, &payload, &mut whole)?;
        out.put_shared(whole.freeze());
    } else {
        let (header, len) = frame::write(first, false, payload.len());
        out.put_slice(&header[..len]);
        out.put_shared(payload);
    }
    Ok(())
}

/// Appends a frame with a copy of its payload.
#[inline(always)]
fn copied<const CLIENT: bool>(first: u8, payload: &[u8], out: &mut BytesMut) -> Result<(), Error> {
    out.reserve(MAX_HEADER + payload.len());
    if payload.len() < 126 {
        out.extend_from_slice(&[first, if CLIENT { MASKED } else { 0 } | payload.len() as u8]);
    } else {
        let (header, len) = frame::write(first, CLIENT, payload.len());
        out.extend_from_slice(&header[..len]);
    }
    if CLIENT {
        let key = mask::key()?;
        out.extend_from_slice(&key.bytes());
        mask::append(out, payload, key);
    } else {
        out.extend_from_slice(payload);
    }
    Ok(())
}

/// Appends a control frame.
#[inline]
pub(super) fn control<const CLIENT: bool>(opcode: u8, payload: &[u8], out: &mut Outbox) -> Result<(), Error> {
    if payload.len() > MAX_CONTROL {
        return Err(Error::ControlTooLong { length: payload.len() });
    }
    copied::<CLIENT>(FIN | opcode, payload, out.buffer())
}
