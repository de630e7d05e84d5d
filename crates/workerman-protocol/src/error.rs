//! What can be wrong with the bytes of a peer, or with a message that is to be sent.

/// Why one of this crate's codecs refused bytes or a message.
///
/// Text of a peer never appears in it, only numbers, so that it can be logged as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The peer sent `limit` bytes and no line break among them.
    #[error("a line is longer than the limit of {limit} bytes")]
    LineTooLong {
        /// Most bytes a line may take, its line break included.
        limit: usize,
    },
    /// A text to be sent has a line break inside; the peer would take it for several messages.
    #[error("the text has a line break at byte {at}: send each line as a message of its own")]
    LineBreak {
        /// Where the first one is.
        at: usize,
    },
    /// The peer announced a frame that is shorter than its own header.
    #[error("a frame announces {length} bytes in total, fewer than its header of {header}")]
    FrameTooShort {
        /// The total length in the header.
        length: usize,
        /// Bytes of the header: the least a frame can have.
        header: usize,
    },
    /// The peer announced a frame above the limit, or a message to be sent does not fit the length field.
    #[error("a frame of {length} bytes in total exceeds the limit of {limit}")]
    FrameTooLong {
        /// The total length, header included.
        length: usize,
        /// Most bytes a frame may have, header included.
        limit: usize,
    },
}
