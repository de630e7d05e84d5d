//! Content codings: compressed bodies (RFC 9110 sections 8.4 and 12.5.3).
//!
//! A server chooses a coding by what the client [accepts](Accept) and [compresses](compress) the response: whole if it is
//! small and in memory, else piece by piece while it is sent. Where its source has nothing more for now, what has been
//! compressed is flushed, so that the client waits for nothing that is there.
//!
//! What arrives compressed is [decoded](decode_body) piece by piece too, never more than a limit: a few bytes can stand for
//! gigabytes.
//!
//! Codings are features of the crate: `gzip` (pure Rust), `brotli`, `zstd`. What is not built in is never offered.
//! Compressors are large (a quarter of a megabyte and more), so they are made when the first byte comes, those of gzip are
//! used again, and there is a limit on how many there are at once ([`Compression::max_streams`]).

mod accept;
#[cfg(feature = "brotli")]
mod brotli;
mod compress;
mod decode;
mod encode;
#[cfg(feature = "gzip")]
mod gzip;
mod kind;
mod messages;
#[cfg(test)]
mod tests;
#[cfg(feature = "zstd")]
mod zstd;

use std::fmt;

pub use self::accept::Accept;
pub use self::compress::{Compression, compress};
pub use self::decode::{Decoder, decode_body, decode_bytes};
pub use self::encode::Encoder;
pub use self::kind::compressible;

/// A content coding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Coding {
    /// Bytes as they are.
    Identity,
    /// `gzip` (RFC 1952).
    Gzip,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878, RFC 9659).
    Zstd,
}

impl Coding {
    /// The codings that are built in, those first that are preferred where a client likes them equally.
    pub const AVAILABLE: &'static [Self] = &[
        #[cfg(feature = "zstd")]
        Self::Zstd,
        #[cfg(feature = "brotli")]
        Self::Brotli,
        #[cfg(feature = "gzip")]
        Self::Gzip,
    ];

    /// The name in `Content-Encoding` and `Accept-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of a name, in any case; `x-gzip` is gzip (RFC 9110 section 8.4.1.3). `None` for one that is unknown.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = [Self::Identity, Self::Gzip, Self::Brotli, Self::Zstd];
        let gzip = name.eq_ignore_ascii_case("x-gzip").then_some(Self::Gzip);
        gzip.or_else(|| known.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name())))
    }

    /// Whether it is built in; [`Identity`](Self::Identity) always is.
    pub fn is_available(self) -> bool {
        self == Self::Identity || Self::AVAILABLE.contains(&self)
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
