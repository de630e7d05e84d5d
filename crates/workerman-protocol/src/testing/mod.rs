//! Tools to test a codec without a connection: this crate's own, and yours.
//!
//! A decoder sees its input cut wherever the network cut it, and its peer may be hostile. So there is more to test than
//! one message at a time: that the cuts do not matter ([`every_split`], [`random_splits`]), that limits hold before
//! anything is waited for ([`limits`]), and that what one side encodes the other decodes ([`round_trip`]). Each of these
//! takes a closure that makes fresh [`Harness`]es, so the role, the seed and the answers of the application are yours to
//! choose; they panic with a description where a check fails, as assertions do, and return a [`Transcript`] of what the
//! protocol said, for assertions of your own.
//!
//! Nothing here reads a clock: a harness starts at the instant it is given, and its time passes when it is told
//! ([`Harness::advance`]).
//!
//! # Examples
//! ```
//! # #[cfg(feature = "text")] {
//! use std::time::Instant;
//! use workerman_protocol::testing::{Ended, Harness, every_split, limits, round_trip};
//! use workerman_protocol::{Line, Text};
//!
//! let text = || Harness::new(Text::new().max_message(16), Instant::now());
//!
//! let transcript = every_split(text, b"one\r\ntwo\n\nrest");
//! assert_eq!(transcript.messages().collect::<Vec<_>>(), ["one", "two", ""]);
//! assert_eq!(transcript.ended, Ended::Truncated);
//!
//! let transcript = limits(text, &[b'a'; 1000]);
//! assert_eq!(transcript.ended.to_string(), "failed: a line is longer than the limit of 16 bytes");
//!
//! round_trip(text(), text, [Line::from("one"), Line::from(""), Line::from("three")]);
//! # }
//! ```

mod checks;
mod half;
mod harness;
mod transcript;

pub use checks::{every_split, limits, random_splits, round_trip};
pub use harness::Harness;
pub use transcript::{Ended, Seen, Transcript};
