//! Compressing piece by piece.

use std::io;

use super::Coding;

/// What each coding can do. Output is appended to `out`.
pub(super) trait Encode: Send {
    fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) -> io::Result<()>;
    /// Brings out all that has been written.
    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()>;
    /// Writes the end; called once, and nothing after it.
    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()>;
}

/// Compresses a body piece by piece. Does nothing that is not asked for: no input, no output.
///
/// # Examples
/// ```
/// # #[cfg(feature = "gzip")] {
/// use workerman_protocol::http::coding::{Coding, Encoder, decode_bytes};
/// let mut encoder = Encoder::new(Coding::Gzip, None).unwrap();
/// let mut out = Vec::new();
/// encoder.write(b"hello ", &mut out)?;
/// encoder.flush(&mut out)?; // the client has "hello " now
/// encoder.write(b"world", &mut out)?;
/// encoder.finish(&mut out)?;
/// assert_eq!(decode_bytes(&out, &[Coding::Gzip], 100).unwrap(), "hello world");
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Encoder {
    inner: Box<dyn Encode>,
    coding: Coding,
}

impl Encoder {
    /// A compressor. `level` is the coding's own: 1 to 9 for gzip (6 if nothing is said), 0 to 11 for brotli (4), 1 to 19
    /// for zstd (3); others are brought into the range. `None` for what is not [available](Coding::is_available), and for
    /// bytes as they are.
    #[cfg_attr(not(any(feature = "gzip", feature = "brotli", feature = "zstd")), allow(unused_variables))]
    pub fn new(coding: Coding, level: Option<u32>) -> Option<Self> {
        let inner: Option<Box<dyn Encode>> = match coding {
            #[cfg(feature = "gzip")]
            Coding::Gzip => Some(Box::new(super::gzip::GzipEncoder::new(level.unwrap_or(6).clamp(1, 9)))),
            #[cfg(feature = "brotli")]
            Coding::Brotli => Some(Box::new(super::brotli::BrotliEncoder::new(level.unwrap_or(4).min(11)))),
            #[cfg(feature = "zstd")]
            Coding::Zstd => Some(Box::new(super::zstd::ZstdEncoder::new(level.unwrap_or(3).clamp(1, 19)))),
            _ => None,
        };
        Some(Self { inner: inner?, coding })
    }

    /// Which coding it writes.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Compresses a piece; what comes of it is appended to `out`, maybe nothing yet.
    ///
    /// # Errors
    /// The compressor failed, for want of memory; it is of no use any more.
    pub fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.inner.write(piece, out)
    }

    /// Brings out everything that was written so far, so that the other side can read it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.inner.flush(out)
    }

    /// Writes the end.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.inner.finish(out)
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("coding", &self.coding).finish_non_exhaustive()
    }
}
