//! Compressing messages that refer to those before them.

use std::fmt;

use bytes::Bytes;
use zlib_rs::{Deflate, DeflateFlush};

use super::settings::Place;
use super::{Compressor, EMPTY, TAIL};

/// The least room for output that the library is called with: below 7 bytes it flushes twice.
const ROOM: usize = 64;

/// Compresses the messages of one side of one connection, each with the context of those before it.
pub struct Deflater {
    with: Compressor,
    /// Made at first use.
    deflate: Option<Box<Deflate>>,
    _place: Place,
}

impl Deflater {
    pub(super) fn new(with: Compressor, place: Place) -> Self {
        Self { with, deflate: None, _place: place }
    }

    /// The least length of a message that is compressed if nothing else is said of it, in bytes.
    pub fn min_size(&self) -> usize {
        self.with.min_size()
    }

    /// The payload of a compressed message. It may be larger than the message, and has to be sent all the same: later ones
    /// refer to it. `None` for a message that is to be sent as it is.
    pub fn compress(&mut self, message: &[u8]) -> Option<Bytes> {
        if message.is_empty() {
            return Some(Bytes::from_static(&EMPTY));
        }
        let deflate = self.deflate.get_or_insert_with(|| Box::new(self.with.make()));
        let compressed = run(deflate, message);
        if compressed.is_none() {
            // Nothing was sent of it. A compressor may begin anew whenever it likes.
            self.deflate = None;
        }
        compressed
    }
}

fn run(deflate: &mut Deflate, mut message: &[u8]) -> Option<Bytes> {
    let mut out = vec![0; message.len() / 2 + ROOM];
    let mut end = 0;
    loop {
        let (read, written) = (deflate.total_in(), deflate.total_out());
        deflate.compress(message, &mut out[end..], DeflateFlush::SyncFlush).ok()?;
        message = &message[usize::try_from(deflate.total_in() - read).ok()?..];
        end += usize::try_from(deflate.total_out() - written).ok()?;
        if end < out.len() {
            break;
        }
        out.resize(out.len() * 3 / 2 + ROOM, 0);
    }
    if !message.is_empty() {
        return None;
    }
    let payload = out[..end].strip_suffix(&TAIL)?;
    Some(Bytes::copy_from_slice(payload))
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begun = self.deflate.is_some();
        f.debug_struct("Deflater").field("with", &self.with).field("begun", &begun).finish_non_exhaustive()
    }
}
