//! Brotli (RFC 7932).

use std::io::{self, Write};

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, CompressorWriter};

use super::decode::{Decode, Step};
use super::encode::Encode;

/// The window of the compressor, in bits: 256 KiB, so that many of them fit into memory.
const WINDOW: u32 = 18;

/// What leaves the compressor at a time.
const ROOM: usize = 4 * 1024;

pub(super) struct BrotliEncoder {
    level: u32,
    /// Made when the first byte comes.
    writer: Option<CompressorWriter<Vec<u8>>>,
}

impl BrotliEncoder {
    pub(super) fn new(level: u32) -> Self {
        Self { level, writer: None }
    }

    /// Lends `out` to the compressor.
    fn with(
        &mut self,
        out: &mut Vec<u8>,
        act: impl FnOnce(&mut CompressorWriter<Vec<u8>>) -> io::Result<()>,
    ) -> io::Result<()> {
        let level = self.level;
        let writer =
            self.writer.get_or_insert_with(|| CompressorWriter::new(Vec::new(), ROOM, level, WINDOW));
        std::mem::swap(writer.get_mut(), out);
        let done = act(writer);
        std::mem::swap(writer.get_mut(), out);
        done
    }
}

impl Encode for BrotliEncoder {
    fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.with(out, |writer| writer.write_all(piece))
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.with(out, Write::flush)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.with(out, |_| Ok(()))?;
        if let Some(writer) = self.writer.take() {
            out.append(&mut writer.into_inner());
        }
        Ok(())
    }
}

pub(super) struct BrotliDecoder {
    state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
    ended: bool,
}

impl BrotliDecoder {
    pub(super) fn new() -> Self {
        let alloc = StandardAlloc::default;
        // Strict: no windows beyond those of the RFC, 16 MiB.
        Self { state: Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())), ended: false }
    }
}

impl Decode for BrotliDecoder {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<Step> {
        if self.ended {
            return Ok(Step { read: 0, written: 0 });
        }
        let (mut left, mut read) = (input.len(), 0);
        let (mut room, mut written, mut total) = (out.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut read,
            input,
            &mut room,
            &mut written,
            out,
            &mut total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => return Err(io::ErrorKind::InvalidData.into()),
            BrotliResult::ResultSuccess => self.ended = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
        Ok(Step { read, written })
    }

    fn is_complete(&self) -> bool {
        self.ended
    }
}
