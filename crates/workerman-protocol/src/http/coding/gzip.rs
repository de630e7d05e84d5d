//! gzip (RFC 1952).

use std::cell::RefCell;
use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::decode::{Decode, Step};
use super::encode::Encode;

/// The window of deflate, in bits: the largest there is.
const WINDOW: u8 = 15;

/// Most compressors that a thread keeps for later: about 380 KB each.
const KEPT: usize = 2;

/// What is made room for at a time.
const ROOM: usize = 8 * 1024;

thread_local! {
    /// Compressors that have been reset, with their level.
    static FREE: RefCell<Vec<(u32, Compress)>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct GzipEncoder {
    level: u32,
    /// Made when the first byte comes.
    compress: Option<Compress>,
}

impl GzipEncoder {
    pub(super) fn new(level: u32) -> Self {
        Self { level, compress: None }
    }

    fn run(&mut self, mut input: &[u8], out: &mut Vec<u8>, flush: FlushCompress) -> io::Result<()> {
        let level = self.level;
        let compress = self.compress.get_or_insert_with(|| take(level));
        loop {
            if out.capacity() - out.len() < 64 {
                out.reserve(ROOM);
            }
            let before = compress.total_in();
            let status = compress.compress_vec(input, out, flush)?;
            input = &input[(compress.total_in() - before) as usize..];
            let is_full = out.len() == out.capacity();
            match flush {
                FlushCompress::Finish if status == Status::StreamEnd => return Ok(()),
                FlushCompress::Finish => {}
                // With room left there is nothing more to say.
                _ if input.is_empty() && !is_full => return Ok(()),
                _ => {}
            }
        }
    }
}

/// A compressor that somebody else is done with, or a new one.
fn take(level: u32) -> Compress {
    let kept = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        let at = free.iter().position(|(own, _)| *own == level)?;
        Some(free.swap_remove(at).1)
    });
    kept.ok().flatten().unwrap_or_else(|| Compress::new_gzip(Compression::new(level), WINDOW))
}

impl Encode for GzipEncoder {
    fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.run(piece, out, FlushCompress::None)
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.run(&[], out, FlushCompress::Sync)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.run(&[], out, FlushCompress::Finish)
    }
}

impl Drop for GzipEncoder {
    fn drop(&mut self) {
        let Some(mut compress) = self.compress.take() else { return };
        let level = self.level;
        // A thread that ends keeps nothing.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                compress.reset();
                free.push((level, compress));
            }
        });
    }
}

pub(super) struct GzipDecoder {
    inflate: Decompress,
    /// A member is complete; another may follow.
    between: bool,
}

impl GzipDecoder {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new_gzip(WINDOW), between: false }
    }
}

impl Decode for GzipDecoder {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<Step> {
        if self.between {
            // RFC 1952 section 2.2: members follow each other without anything between them.
            if input.is_empty() {
                return Ok(Step { read: 0, written: 0 });
            }
            *self = Self::new();
        }
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, out, FlushDecompress::None)?;
        self.between = status == Status::StreamEnd;
        Ok(Step {
            read: (self.inflate.total_in() - read) as usize,
            written: (self.inflate.total_out() - written) as usize,
        })
    }

    fn is_complete(&self) -> bool {
        self.between
    }
}
