//! Sending: messages to frames (RFC 6455 section 5.2).

use bytes::{Bytes, BytesMut};

use super::frame::{self, BINARY, CONTINUATION, FIN, MAX_CONTROL, MAX_HEADER, PING, PONG, TEXT};
use super::{Error, Fragment, Kind, Message, Outgoing, mask};
use crate::{Outbox, SHARE_FROM, Shared};

/// The sending half of a connection: what its encoder has to know.
#[derive(Clone, Default, Debug)]
pub struct Sending {
    /// The parameters of compression; 0 for none.
    bits: u8,
}

impl Sending {
    /// A sending half made for one send.
    pub(super) fn free(bits: u8) -> Self {
        Self { bits }
    }
}

/// Appends what is sent.
#[inline]
pub(super) fn encode<const CLIENT: bool>(
    sending: &mut Sending,
    outgoing: Outgoing,
    out: &mut Outbox,
) -> Result<(), Error> {
    let _ = sending.bits;
    match outgoing {
        Outgoing::Message { message, .. } => {
            let (opcode, payload) = parts(message);
            frame::<CLIENT>(FIN | opcode, payload, out)
        }
        Outgoing::Ping(payload) => control::<CLIENT>(PING, &payload, out),
        Outgoing::Pong(payload) => control::<CLIENT>(PONG, &payload, out),
        Outgoing::Fragment(Fragment { kind, first, last, data }) => {
            let opcode = if first { opcode(kind) } else { CONTINUATION };
            frame::<CLIENT>(if last { FIN | opcode } else { opcode }, data, out)
        }
    }
}

/// A message of a server, encoded once for many: nothing is masked, so that the bytes are the same for all.
pub(super) fn encode_shared(outgoing: &Outgoing) -> Option<Shared> {
    let mut out = Outbox::new();
    encode::<false>(&mut Sending::default(), outgoing.clone(), &mut out).ok()?;
    let shared = Shared::from(out.into_bytes());
    if !matches!(outgoing, Outgoing::Message { compress: None | Some(true), .. }) {
        // There is no other form.
        shared.memo(|| None);
    }
    Some(shared)
}

/// Least bytes that the encoding takes.
#[inline]
pub(super) fn size_hint(outgoing: &Outgoing) -> usize {
    match outgoing {
        // Compressed it may be anything.
        Outgoing::Message { compress: Some(true), .. } => 2,
        Outgoing::Message { message, .. } => message.len() + 2,
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
    let (header, len) = frame::write(first, CLIENT, payload.len());
    out.reserve(MAX_HEADER + payload.len());
    out.extend_from_slice(&header[..len]);
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
