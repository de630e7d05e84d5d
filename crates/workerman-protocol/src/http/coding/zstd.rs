//! Zstandard (RFC 8878), with the window that RFC 9659 allows.

use std::io;

use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use super::decode::{Decode, Step};
use super::encode::Encode;

/// The window of the compressor, in bits: 512 KiB, so that many of them fit into memory.
const WINDOW: u32 = 19;

/// RFC 9659 section 3: no more than 8 MiB.
const MAX_WINDOW: u32 = 23;

/// What leaves the compressor at a time.
const ROOM: usize = 8 * 1024;

pub(super) struct ZstdEncoder {
    level: i32,
    /// Made when the first byte comes.
    encoder: Option<Encoder<'static>>,
}

impl ZstdEncoder {
    pub(super) fn new(level: u32) -> Self {
        Self { level: level as i32, encoder: None }
    }

    fn encoder(&mut self) -> io::Result<&mut Encoder<'static>> {
        if self.encoder.is_none() {
            let mut encoder = Encoder::new(self.level)?;
            encoder.set_parameter(CParameter::WindowLog(WINDOW))?;
            self.encoder = Some(encoder);
        }
        self.encoder.as_mut().ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

/// Lets the compressor append to `out`, as long as it has something.
fn drain(
    out: &mut Vec<u8>,
    mut act: impl FnMut(&mut OutBuffer<'_, [u8]>) -> io::Result<usize>,
) -> io::Result<()> {
    loop {
        let begin = out.len();
        out.resize(begin + ROOM, 0);
        let mut room = OutBuffer::around(&mut out[begin..]);
        let left = act(&mut room);
        let written = room.pos();
        out.truncate(begin + written);
        if left? == 0 {
            return Ok(());
        }
    }
}

impl Encode for ZstdEncoder {
    fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let encoder = self.encoder()?;
        let mut input = InBuffer::around(piece);
        drain(out, |room| {
            encoder.run(&mut input, room)?;
            Ok(piece.len() - input.pos())
        })
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let encoder = self.encoder()?;
        drain(out, |room| encoder.flush(room))
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let encoder = self.encoder()?;
        drain(out, |room| encoder.finish(room, true))
    }
}

pub(super) struct ZstdDecoder {
    decoder: Decoder<'static>,
    /// A frame is complete; another may follow.
    between: bool,
}

impl ZstdDecoder {
    pub(super) fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW))?;
        Ok(Self { decoder, between: false })
    }
}

impl Decode for ZstdDecoder {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<Step> {
        if self.between && input.is_empty() {
            return Ok(Step { read: 0, written: 0 });
        }
        let status = self.decoder.run_on_buffers(input, out)?;
        self.between = status.remaining == 0;
        Ok(Step { read: status.bytes_read, written: status.bytes_written })
    }

    fn is_complete(&self) -> bool {
        self.between
    }
}
