//! Compression of messages: permessage-deflate (RFC 7692).
//!
//! [`Deflate`] holds the settings. A server [accepts](Deflate::accept) what a client offers, a client
//! [offers](Deflate::offer) and [confirms](Offer::confirm) the answer; both come to what is [`Agreed`], and that falls
//! into two halves: an [`Inflater`] for what is received, and an [`Outflow`] for what is sent.
//!
//! # What it costs
//! A compressor takes between 150 KB (window of 9 bits) and 280 KB (15 bits), an inflater 48 KB. A connection that keeps them
//! from message to message (*context takeover*) compresses small messages of one kind much better, and ten thousand of
//! those take 3 GB. So by default nobody does: contexts are reset for each message, in both directions, and one
//! compressor and one inflater for each thread serve all its connections, which then have nothing of their own. A
//! message of 1 KiB of JSON is compressed in about 7 µs and inflated in 1.5 µs; resetting the compressor is 2.5 µs of it.
//!
//! With takeover the contexts are made when they are first used, and their number is [limited](Deflate::max_contexts): who
//! comes later gets none, which is agreed upon in the handshake.
//!
//! An inflater that is in the midst of a message cannot serve others meanwhile. A connection keeps one for that time if
//! there is a place among the contexts; else the compressed bytes wait for the rest, up to 48 KiB of them, because a peer
//! must not be able to make a thousand inflaters of a thousand bytes.
//!
//! # The library
//! `zlib-rs` is written in Rust, and the only one that can compress for smaller windows than 15 bits. It is used directly:
//! with its memory level 5 in place of 8 a compressor takes 100 KB less, is faster for short messages, and compresses
//! as well.

mod agreement;
mod compress;
mod compressor;
mod inflate;
mod settings;
#[cfg(test)]
mod tests;

pub use agreement::{Agreed, NegotiationError, Offer, Outflow};
pub use compress::Deflater;
pub use compressor::Compressor;
pub use inflate::{InflateError, Inflater};
pub use settings::Deflate;

/// The name of the extension.
const NAME: &str = "permessage-deflate";

/// What ends each flush of a compressor, and is not sent (RFC 7692 section 7.2.1): the length of an empty stored block, and
/// its complement.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The header of an empty stored block and its padding: an empty message (RFC 7692 section 7.2.3.6).
const EMPTY: [u8; 1] = [0];
