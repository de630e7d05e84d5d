//! The two sides of a slot: what a loop asks of an endpoint ([`Drive`]), and what an endpoint may do to its socket
//! ([`Io`]). One virtual call per read, none per message.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use workerman_protocol::{Outbox, Random};

use crate::CloseReason;
use crate::dial::Redial;
use crate::remote::Remote;

/// The socket of an endpoint.
pub(crate) trait Io {
    fn send(&mut self, out: &mut Outbox) -> io::Result<usize>;
    fn send_slice(&mut self, bytes: &[u8]) -> io::Result<usize>;
    fn set_read(&mut self, on: bool);
    fn lend(&mut self, buffer: Vec<u8>);
    fn reclaim(&mut self) -> Option<Vec<u8>>;
    fn shutdown_write(&mut self);
}

/// What surrounds an endpoint during one call.
pub(crate) struct Env<'a> {
    pub(crate) now: Instant,
    pub(crate) unix_seconds: u64,
    pub(crate) random: &'a mut Random,
    /// Scratch, empty between calls: the protocol's own replies.
    pub(crate) reply: &'a mut Outbox,
    /// Scratch, empty between calls: what a batch sends.
    pub(crate) out: &'a mut Outbox,
    /// Bytes that waited on the connection when its batch began.
    pub(crate) queued: usize,
    pub(crate) remote: &'a Arc<Remote>,
    /// Replies are written even if a handler is still suspended.
    pub(crate) flush_held: bool,
}

/// What the loop has to do after a call.
#[derive(Default)]
pub(crate) struct Next {
    /// The connection is over: free the socket and the slot.
    pub(crate) gone: Gone,
    /// Come back in the next turn although nothing will happen on the socket.
    pub(crate) again: bool,
    /// Replies are held back for a suspended handler: flush them at the end of the next turn.
    pub(crate) hold: bool,
    /// When time alone changes something.
    pub(crate) deadline: Option<Instant>,
    /// Another protocol takes over.
    pub(crate) switch: Option<Box<dyn Drive>>,
}

/// Whether a connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Gone {
    #[default]
    No,
    /// Close the socket.
    Close,
    /// Reset it.
    Abort,
}

/// One connection, its protocol erased. After a call that panics only `crashed` is called.
pub(crate) trait Drive {
    /// The socket is up.
    fn opened(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next;
    /// Bytes arrived in the loop's chunk.
    fn data(&mut self, data: &mut BytesMut, io: &mut dyn Io, env: &mut Env<'_>) -> Next;
    /// Bytes arrived in the lent buffer.
    fn filled(&mut self, buffer: Vec<u8>, io: &mut dyn Io, env: &mut Env<'_>) -> Next;
    /// The peer sent FIN.
    fn eof(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next;
    /// There is room to write.
    fn writable(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next;
    /// Something outside happened: a send, a wish, a waker; or `again` or `hold` was said.
    fn stirred(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next;
    /// It is off the list of marked connections: a later mark puts it there again.
    fn unmark(&self);
    /// A deadline that was told may have passed.
    fn expired(&mut self, io: &mut dyn Io, env: &mut Env<'_>) -> Next;
    /// The loop drains; the connection ends by `until`.
    fn goodbye(&mut self, until: Instant, io: &mut dyn Io, env: &mut Env<'_>) -> Next;
    /// The socket broke and is gone.
    fn failed(&mut self, why: io::Error, env: &mut Env<'_>);
    /// The loop ends it, without a word to the peer.
    fn cut(&mut self, reason: CloseReason, env: &mut Env<'_>);
    /// A call has panicked.
    fn crashed(&mut self, panic: String, env: &mut Env<'_>);
    /// A client that connects again.
    fn redial(&mut self) -> Option<Redial>;
}
