//! The contract: what a protocol is asked, and what it answers.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::time::Instant;

use bytes::BytesMut;

use crate::{Context, Farewell, Outbox, Shared};

/// Most bytes that one undecoded message may take on the wire, unless a protocol says otherwise: 10 MiB.
#[doc(alias = "maxPackageSize")]
pub const DEFAULT_MAX_MESSAGE: usize = 10 * 1024 * 1024;

/// The event type of a protocol that has no events; it has no values.
pub type Event = Infallible;

/// Bytes to messages and back, for one connection.
///
/// The order of calls: [`open`](Self::open) once; then [`decode`](Self::decode) as bytes arrive; [`tick`](Self::tick)
/// and [`timeout`](Self::timeout) as time passes; [`eof`](Self::eof) at the end of the peer's stream;
/// [`close`](Self::close) or [`goodbye`](Self::goodbye) when this side wants to end; [`into_parts`](Self::into_parts)
/// instead of these when another protocol takes over the connection. [`encode`](Self::encode) may be called at any
/// time in between, on the sending half.
///
/// See the [crate docs](crate) for a whole example.
pub trait Protocol: Sized + Send + 'static {
    /// What [`decode`](Self::decode) makes of the peer's bytes.
    type Incoming: 'static;
    /// What can be sent.
    type Outgoing: Send + 'static;
    /// What the peer says besides messages (a ping, a request head, a handshake): it has its own callback.
    ///
    /// [`Event`] where there is none.
    type Event: 'static;
    /// Why bytes cannot be decoded or a message cannot be encoded.
    type Error: Error + Send + Sync + 'static;
    /// The state of the sending half; `()` where the encoder needs none.
    ///
    /// A type of size zero makes sends inside callbacks free of locks, and so does [`Context::free`]. Otherwise it lives
    /// under the connection's lock.
    type Sending: Default + Send + 'static;

    /// Whether the decoding half writes the answers; default no.
    ///
    /// For a protocol whose answers are in the order of its messages and depend on them (HTTP). What a handler of a
    /// message returns goes to [`answer`](Self::answer) then, on the loop and without a lock.
    /// [`encode`](Self::encode), which everybody else's `send` goes through, keeps a promise: it appends nothing, but
    /// puts the message into [`Sending`](Self::Sending), where [`decode`](Self::decode) and [`pump`](Self::pump) find
    /// it, one of which is called after each send. So all that is said is said by the decoding half, and its replies need no
    /// ordering against the encoder's: they go where the loop writes from, however large the sending half is.
    const ANSWERS: bool = false;

    /// Whether a connection begins with its senders *held*; default no.
    ///
    /// For a protocol with a handshake, before whose end no message may go out. What the application sends, inside
    /// callbacks or elsewhere, is then kept apart until [`Context::release`], in the order of the sends, up to the
    /// high-water mark. It is encoded at once, while nothing is negotiated yet: so what the encoder makes before the
    /// release must be valid whatever the handshake will agree on. What this protocol itself puts into
    /// [`Context::reply`] is not held.
    ///
    /// A connection that ends before the release drops what is held; that of a client which connects again keeps it for
    /// the next one, and is held anew. Without effect together with [`ANSWERS`](Self::ANSWERS).
    const HOLDS: bool = false;

    /// Decodes the next message from the front of `input`.
    ///
    /// Called again and again until it needs more bytes; `input` may be empty. It takes the bytes of what it returns from `input`
    /// ([`take`](crate::take) is the way to do it) and may take bytes without returning anything. It remembers how
    /// far it scanned, checks a length against its limit before it waits for more, and never reserves memory for
    /// bytes that have only been announced.
    ///
    /// While a handler of an earlier message is suspended, decoding goes on until it yields the next message or
    /// event, which then waits; so a protocol can stream a body to that handler.
    ///
    /// # Errors
    /// What the peer sent is not this protocol. The connection ends: what was put into [`Context::reply`] before is
    /// still sent, in order, and the peer has time to read it.
    fn decode(
        &mut self,
        input: &mut BytesMut,
        cx: &mut Context<'_, Self>,
    ) -> Result<Decoded<Self>, Self::Error>;

    /// Appends the bytes of `message` to `out`.
    ///
    /// With [`ANSWERS`](Self::ANSWERS) it appends nothing, and leaves the message in `sending` for the decoding half.
    ///
    /// # Errors
    /// The message has no encoding (too long for its length field, forbidden in this state). What was appended is
    /// taken back, and the sender gets the error.
    fn encode(
        sending: &mut Self::Sending,
        message: Self::Outgoing,
        out: &mut Outbox,
    ) -> Result<(), Self::Error>;

    /// A number of bytes that the encoding of `message` takes at least; default 0.
    ///
    /// Asked only where the sending half has a state: what such an encoder has made cannot be taken back, so a message
    /// that does not fit the queue's hard limit by this number is refused before it is encoded, and one that is longer
    /// than it said is taken all the same.
    fn size_hint(message: &Self::Outgoing) -> usize {
        let _ = message;
        0
    }

    /// The sending half of a connection that has set it free with these bits ([`Context::free`]); default
    /// `Default::default()`.
    ///
    /// Made for each send, and forgotten after it: it must cost next to nothing.
    #[inline]
    fn free(bits: u8) -> Self::Sending {
        let _ = bits;
        Self::Sending::default()
    }

    /// Encodes a message once for many connections, or `None` if these bytes would differ between connections.
    ///
    /// A protocol with a stateless sending half (size zero) need not implement it: it is encoded once anyway.
    fn encode_shared(message: &Self::Outgoing) -> Option<Shared> {
        let _ = message;
        None
    }

    /// Appends what [`encode_shared`](Self::encode_shared) made, or the other form of it that this connection takes
    /// ([`Shared::memo`]); a protocol whose state can forbid it says so here.
    ///
    /// # Errors
    /// The connection is in a state in which the message may not be sent.
    fn append_shared(
        sending: &mut Self::Sending,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), Self::Error> {
        let _ = sending;
        out.put_bytes(shared.bytes().clone());
        Ok(())
    }

    /// Answers a message: what its handler has returned, to be put into [`Context::reply`].
    ///
    /// It is the message that was decoded last, or the one before it ([`Context::parked`]). Called only with
    /// [`ANSWERS`](Self::ANSWERS); an answer that a handler does not return comes through [`encode`](Self::encode). Of a long answer it puts a part at a time, and goes on
    /// in [`decode`](Self::decode): the connection cannot weigh what is put here. The default encodes the message.
    ///
    /// # Errors
    /// The message has no encoding. What was put is taken back, and [`failed`](Self::failed) is asked what to say
    /// instead.
    fn answer(&mut self, message: Self::Outgoing, cx: &mut Context<'_, Self>) -> Result<(), Self::Error> {
        cx.encode(message)
    }

    /// Writes what can be written while nothing may be decoded; default nothing.
    ///
    /// With [`ANSWERS`](Self::ANSWERS), called in place of [`decode`](Self::decode) when something was sent, woken or
    /// written while a decoded message still waits for its handler, while the application has paused the connection,
    /// while the input is lent to the system, and once more before the connection ends or is handed over. It takes
    /// messages out of the sending half and goes on with long answers, as `decode` does before it looks at its input.
    ///
    /// # Errors
    /// The connection ends, as for [`decode`](Self::decode).
    fn pump(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Self::Error> {
        let _ = cx;
        Ok(())
    }

    /// Whether an answer that has begun is still being made: a connection that is closed by its handle ends behind it,
    /// and until then [`pump`](Self::pump) is called in place of [`decode`](Self::decode). Default no.
    fn is_answering(&self) -> bool {
        false
    }

    /// Whether another protocol may take over, or something is owed before that: then [`pump`](Self::pump) is called until it
    /// may. Default yes.
    fn hands_over(&self) -> bool {
        true
    }

    /// Whether an end of the stream now would be taken for the proper end of an answer that is not complete: then the
    /// connection is reset in place of ended, so that the peer can tell. Default no.
    fn breaks_off(&self) -> bool {
        false
    }

    /// The handler of a message failed: what to say to the peer ([`Context::reply`]), and whether to go on.
    ///
    /// Without [`ANSWERS`](Self::ANSWERS) also where the handler of an event, or of the connection itself, failed.
    /// Asked after `on_error` was told. What is put is sent either way, in order with everything else. It is the message
    /// that was decoded last, or the one before it ([`Context::parked`]). The default ends the connection without a
    /// word.
    fn failed(&mut self, failure: Failure<'_>, cx: &mut Context<'_, Self>) -> Recovery {
        let _ = (failure, cx);
        Recovery::End
    }

    /// Begins: the connection is up (a layer below has finished its handshake). May speak first.
    ///
    /// [`Context::role`] tells which side this is.
    ///
    /// # Errors
    /// The connection ends, as for [`decode`](Self::decode).
    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Self::Error> {
        let _ = cx;
        Ok(())
    }

    /// The peer has ended its stream; `input` holds what is left of it.
    ///
    /// Called when [`decode`](Self::decode) needs more than there is, and again after [`Eof::Message`]. The default calls the rest of a message a truncation.
    ///
    /// # Errors
    /// The connection ends, as for [`decode`](Self::decode).
    fn eof(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Eof<Self>, Self::Error> {
        let _ = cx;
        Ok(if input.is_empty() { Eof::Clean } else { Eof::Truncated })
    }

    /// This side drains (a server stops or is replaced): what to say to the peer, and when to end.
    fn goodbye(&mut self, cx: &mut Context<'_, Self>) -> Goodbye {
        let _ = cx;
        Goodbye::Now
    }

    /// This side closes with a code and a reason, as far as the protocol has them: what to say, and when to end.
    fn close(&mut self, code: Option<u16>, reason: &str, cx: &mut Context<'_, Self>) -> Goodbye {
        let _ = (code, reason, cx);
        Goodbye::Now
    }

    /// Does what is due by time (a heartbeat) and tells when it wants to be called next; `None` for never.
    ///
    /// Called once after [`open`](Self::open), then at the instant it asked for (rounded up by some milliseconds).
    ///
    /// # Errors
    /// The connection ends, as for [`decode`](Self::decode).
    fn tick(&mut self, cx: &mut Context<'_, Self>) -> Result<Option<Instant>, Self::Error> {
        let _ = cx;
        Ok(None)
    }

    /// Which deadline runs now; the durations are settings of the connection.
    ///
    /// Asked after each batch of input. A kind that differs from the one before starts anew; so does
    /// [`Deadline::Idle`] and [`Deadline::Body`] with each arrival of bytes, but not [`Deadline::Handshake`] and
    /// [`Deadline::Head`], which a slow peer must not be able to stretch; a head behind a message that was handled in the
    /// batch is a new one.
    ///
    /// While the application is at work the deadlines rest, except [`Deadline::Handshake`], to whose end its decision
    /// belongs: a protocol that does not want that answers [`Deadline::None`] meanwhile.
    fn deadline(&self) -> Deadline {
        Deadline::Idle
    }

    /// A deadline has passed; the connection ends after what is put into [`Context::reply`] here.
    fn timeout(&mut self, which: Deadline, cx: &mut Context<'_, Self>) {
        let _ = (which, cx);
    }

    /// What the two sides told each other about the end, where the protocol has words for it; default nothing.
    ///
    /// Asked once, when the connection has ended: the application is told this in place of what the connection knows.
    fn farewell(&self) -> Option<Farewell> {
        None
    }

    /// Gives up the connection to another protocol: returns the bytes that are not decoded yet, oldest first.
    ///
    /// `unread` is what the connection holds; a protocol that keeps bytes of its own puts them in front.
    fn into_parts(self, unread: BytesMut) -> BytesMut {
        unread
    }

    /// Most bytes that one undecoded message may take on the wire; default 10 MiB ([`DEFAULT_MAX_MESSAGE`]).
    ///
    /// The connection enforces it for every protocol: an answer [`Decoded::Need`] that would go beyond ends the
    /// connection before anything is read or reserved. A protocol that checks its own limit can say more precisely
    /// what was too long.
    fn max_message(&self) -> usize {
        DEFAULT_MAX_MESSAGE
    }
}

/// What [`Protocol::decode`] found.
pub enum Decoded<P: Protocol> {
    /// A message, for `on_message`.
    Message(P::Incoming),
    /// Something else the peer said, for `on_event`.
    Event(P::Event),
    /// Not enough bytes: at least this many more are needed (1 where the number is unknown; 0 counts as 1).
    Need(usize),
    /// Nothing can be decoded until the application has answered or made room ([`Context::waker`]).
    ///
    /// Decoding is tried again after each send on the connection, each wake-up, when everything that was queued for
    /// the peer has been written ([`Context::queued`]), and when more bytes arrive; reading stops once the input that
    /// waits exceeds a limit.
    Blocked,
}

impl<P: Protocol> fmt::Debug for Decoded<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(_) => f.write_str("Message(..)"),
            Self::Event(_) => f.write_str("Event(..)"),
            Self::Need(n) => write!(f, "Need({n})"),
            Self::Blocked => f.write_str("Blocked"),
        }
    }
}

/// What the end of the peer's stream means.
pub enum Eof<P: Protocol> {
    /// A last message, ended by the end of the stream; `eof` is called again after it.
    Message(P::Incoming),
    /// The stream ended between messages.
    Clean,
    /// The stream ended within a message.
    Truncated,
    /// The end has to wait for the application or for room, as for [`Decoded::Blocked`]: an answer is owed, or not yet
    /// written. Decoding is tried again on the same occasions, and `eof` is asked again after it.
    Blocked,
}

impl<P: Protocol> fmt::Debug for Eof<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message(_) => "Message(..)",
            Self::Clean => "Clean",
            Self::Truncated => "Truncated",
            Self::Blocked => "Blocked",
        })
    }
}

/// When a connection ends after this side has said goodbye.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goodbye {
    /// As soon as what is queued has been sent.
    Now,
    /// After the message in progress (its rest is received, its handler runs, its answer is sent).
    AfterMessage,
    /// When the peer ends, or the deadline of the drain comes.
    WhenPeerCloses,
}

/// How the handler of a message failed.
#[derive(Clone, Copy, Debug)]
pub enum Failure<'a> {
    /// What it has returned, or why its answer has no encoding. A protocol may know errors of its own in it, whose cause is
    /// the peer.
    Error(&'a (dyn Error + 'static)),
    /// It panicked.
    Panic,
}

/// What becomes of a connection after the handler of a message failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Recovery {
    /// It ends as soon as what is queued has been sent.
    End,
    /// It goes on with the next message.
    Continue,
}

/// The deadline that runs; how long each lasts is a setting of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Deadline {
    /// The protocol's handshake must be complete.
    Handshake,
    /// The head of a message has begun and must be complete.
    Head,
    /// The body of a message must make progress.
    Body,
    /// Nothing is in progress; the next bytes are awaited.
    Idle,
    /// No deadline runs (the application works on an answer).
    None,
}

/// Which side of a connection a protocol is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The side that accepted.
    Server,
    /// The side that connected.
    Client,
}
