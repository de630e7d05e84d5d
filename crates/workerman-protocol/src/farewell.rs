//! What was said about the end of a connection.

/// What the two sides told each other about the end of a connection: a code, a text, who began, and whether both agreed.
///
/// For protocols that have words for it ([`Protocol::farewell`](crate::Protocol::farewell)).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Farewell {
    /// The code, as the protocol counts them.
    pub code: u16,
    /// The reason in words, of the side that began; may be empty.
    pub text: Box<str>,
    /// The peer said it first.
    pub by_peer: bool,
    /// Both sides said goodbye; nothing was lost.
    pub clean: bool,
}
