//! Compression of an open connection: what was agreed on, and its two halves (RFC 7692).

use bytes::Bytes;

use super::core::{Core, DEFLATES, Side};
use super::deflate::{Agreed, Compressor, Deflater, InflateError, Inflater, Outflow};
use super::frame::{self, FIN, RSV1};
use super::receive::too_big;
use super::send::{Compression, Sending};
use super::{Error, handshake::Extension};
use crate::{Context, Outbox, Role, Shared};

impl Core {
    /// The connection is open: what was agreed on takes effect for what is received, and for what is sent.
    pub(super) fn agree<P: Side>(&mut self, agreed: Option<Agreed>, cx: &mut Context<'_, P>) {
        let Some(agreed) = agreed else { return cx.free(0) };
        self.bits |= DEFLATES;
        let (inflater, outflow) = agreed.into_halves(if P::CLIENT { Role::Client } else { Role::Server });
        if !inflater.is_idle() {
            self.more().inflater = Some(Box::new(inflater));
        }
        match outflow {
            Outflow::Free(compressor) => cx.free(compressor.to_bits()),
            Outflow::Context(deflater) => cx.sending(|sending| *sending = Sending::with_context(deflater)),
        }
    }
}

/// What a server says about it, as what both have agreed on.
pub(super) fn said(agreed: Option<&Agreed>) -> Vec<Extension> {
    agreed.and_then(|agreed| Extension::parse_all([agreed.to_string().as_bytes()])).unwrap_or_default()
}

/// The inflater of a connection, or one for a message.
pub(super) fn inflater<'a>(
    kept: &'a mut Option<Box<Inflater>>,
    settings: Option<&super::deflate::Deflate>,
    at_once: bool,
) -> Result<&'a mut Inflater, Error> {
    match (kept, settings) {
        (Some(inflater), _) => Ok(inflater),
        (none, Some(settings)) => Ok(none.insert(Box::new(Inflater::new(settings).at_once(at_once)))),
        // Without settings nothing was agreed on, and no frame came this far.
        (None, None) => Err(Error::Inflate),
    }
}

impl From<InflateError> for Error {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::TooLarge { limit } => too_big("a message", limit),
            _ => Self::Inflate,
        }
    }
}

/// The payload as it is sent compressed, if it is. `asked`: what was said of this message.
#[cold]
pub(super) fn compress_with(deflater: &mut Deflater, payload: &[u8], asked: Option<bool>) -> Option<Bytes> {
    asked.unwrap_or(payload.len() >= deflater.min_size()).then(|| deflater.compress(payload))?
}

/// The same for one without a context.
#[cold]
pub(super) fn compress(number: u8, payload: &[u8], asked: Option<bool>) -> Option<Bytes> {
    let compressor = Compressor::from_bits(number)?;
    asked.unwrap_or(payload.len() >= compressor.min_size()).then(|| compressor.compress(payload))?
}

/// Notes of shared messages: whether they are compressed is for the settings to say, they always are, never.
pub(super) const AS_SET: u8 = 0;
pub(super) const ALWAYS: u8 = 1;
pub(super) const NEVER: u8 = 2;

/// Appends a server's frame that was encoded for many: compressed, if that was agreed on. One compression serves all that
/// have the same compressor.
#[cold]
pub(super) fn append_shared(compression: &mut Compression, shared: &Shared, out: &mut Outbox) {
    let plain = shared.bytes();
    let (first, payload) = parts(plain);
    let asked = match shared.note() {
        AS_SET => None,
        note => Some(note == ALWAYS),
    };
    let compressed = match compression {
        _ if asked == Some(false) => None,
        Compression::Context(deflater) => {
            compress_with(deflater, payload, asked).map(|data| whole(first, &data))
        }
        Compression::Free(number) => {
            let make = || compress(*number, payload, asked).map(|data| whole(first, &data));
            shared.memo(*number, make).cloned()
        }
    };
    out.put_bytes(compressed.unwrap_or_else(|| plain.clone()));
}

/// A compressed frame of a server.
fn whole(first: u8, data: &[u8]) -> Bytes {
    let (header, len) = frame::write(first | RSV1, false, data.len());
    [&header[..len], data].concat().into()
}

/// The first byte and the payload of a server's frame.
fn parts(frame: &[u8]) -> (u8, &[u8]) {
    let at = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    (frame.first().copied().unwrap_or(FIN), frame.get(at..).unwrap_or_default())
}
