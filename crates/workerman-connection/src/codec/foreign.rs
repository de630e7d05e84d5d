//! A codec of `tokio_util` as a protocol.

use std::fmt;
use std::marker::PhantomData;

use bytes::{Buf, BytesMut};
use tokio_util::codec::{Decoder, Encoder};
use workerman_protocol::{Context, DEFAULT_MAX_MESSAGE, Decoded, Eof, Event, Outbox, Protocol};

use crate::BoxError;

/// Why a [`Foreign`] codec refused bytes or a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// The decoder refused what the peer sent; the error is the codec's own.
    #[error(transparent)]
    Decode(BoxError),
    /// The encoder refused a message; the error is the codec's own.
    #[error(transparent)]
    Encode(BoxError),
    /// The decoder made no message of as many bytes as the limit allows.
    #[error("no message within the limit of {limit} bytes")]
    TooLong {
        /// Most bytes that may wait undecoded.
        limit: usize,
    },
    /// The connection is not up yet, so its encoder is not known: send from `on_connect` on, or use [`Foreign`].
    #[error("the connection is not up yet, and the codec is made when it is")]
    NotOpen,
}

/// How the codecs of a connection are made: one that decodes and one that encodes.
///
/// Any codec that is [`Default`] makes itself. For a codec that has to be configured, implement it for an empty type of
/// your own.
///
/// # Examples
/// ```
/// use tokio_util::codec::LengthDelimitedCodec;
/// use workerman_connection::codec::{Foreign, MakeCodec};
///
/// /// Two bytes of length in front, little-endian.
/// struct Short;
///
/// impl MakeCodec for Short {
///     type Codec = LengthDelimitedCodec;
///
///     fn make_codec() -> LengthDelimitedCodec {
///         LengthDelimitedCodec::builder().length_field_length(2).little_endian().new_codec()
///     }
/// }
///
/// let protocol = Foreign::<Short, bytes::Bytes>::new().max_message(64 * 1024);
/// # fn check(_: impl workerman_protocol::Protocol) {}
/// # check(protocol);
/// ```
pub trait MakeCodec: 'static {
    /// The codec.
    type Codec: Decoder + Send + 'static;

    /// Makes one; called twice for each connection.
    fn make_codec() -> Self::Codec;
}

impl<C: Decoder + Default + Send + 'static> MakeCodec for C {
    type Codec = C;

    fn make_codec() -> C {
        C::default()
    }
}

/// A codec of `tokio_util` as a protocol whose connections can be sent `O`.
///
/// The decoding and the sending half of a connection each get a codec of their own, made by the *type* `M`
/// ([`MakeCodec`]). So the encoder is there from the first moment: what a client sends before it is connected is encoded
/// at once, counts towards the marks, and leaves in order; and after a reconnect both halves begin anew. (For a codec
/// that is known only at run time see [`foreign`].) Connections of an encoder of size zero are sent to without a lock,
/// and can be broadcast to.
///
/// The decoder gets a buffer of its own, into which input is copied: what it splits off or reserves never touches the
/// loop's read buffer. The rest of an input moves to a small buffer, and an idle connection owns none.
///
/// Most codecs know no limit, so the adapter has one: if the decoder makes no message of
/// [`max_message`](Self::max_message) bytes, the connection ends with [`ForeignError::TooLong`]. What the codec stores
/// inside itself is the codec's own affair. At the end of the stream
/// [`decode_eof`](Decoder::decode_eof) is asked until it has no more messages; bytes that are left then, with an error
/// or without, are a truncation. (A codec that has consumed the head of a message and is left with nothing reports a
/// clean end: it alone could know better.)
///
/// # Examples
/// ```
/// use tokio_util::codec::LinesCodec;
/// use workerman_connection::codec::Foreign;
/// use workerman_connection::{Handlers, Service, Settings};
///
/// let handlers = Handlers::new().on_message(|_, line: String| format!("you said {line}"));
/// let service = Service::new("echo", Foreign::<LinesCodec, String>::new, handlers, Settings::default());
/// # let _ = service;
/// ```
pub struct Foreign<M: MakeCodec, O> {
    decoding: Decoding<M::Codec>,
    sends: PhantomData<fn(O)>,
}

impl<M: MakeCodec, O> Foreign<M, O> {
    /// A protocol with a codec that `M` makes, and messages of at most 10 MiB ([`DEFAULT_MAX_MESSAGE`]).
    pub fn new() -> Self {
        Self { decoding: Decoding::new(M::make_codec()), sends: PhantomData }
    }

    /// Sets the most bytes that may wait undecoded; default 10 MiB, at least 1.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.decoding.limit = bytes.max(1);
        self
    }
}

impl<M: MakeCodec, O> Default for Foreign<M, O> {
    fn default() -> Self {
        Self::new()
    }
}

/// A clone is for another connection: the same limit, a new codec.
impl<M: MakeCodec, O> Clone for Foreign<M, O> {
    fn clone(&self) -> Self {
        Self::new().max_message(self.decoding.limit)
    }
}

impl<M: MakeCodec, O> fmt::Debug for Foreign<M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign").field("decoding", &self.decoding).finish()
    }
}

/// The sending half of a [`Foreign`] protocol: its encoder.
pub struct ForeignSending<M: MakeCodec>(M::Codec);

impl<M: MakeCodec> Default for ForeignSending<M> {
    fn default() -> Self {
        Self(M::make_codec())
    }
}

impl<M: MakeCodec> fmt::Debug for ForeignSending<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignSending")
    }
}

impl<M, O> Protocol for Foreign<M, O>
where
    M: MakeCodec,
    M::Codec: Encoder<O>,
    <M::Codec as Decoder>::Item: 'static,
    <M::Codec as Decoder>::Error: Into<BoxError>,
    <M::Codec as Encoder<O>>::Error: Into<BoxError>,
    O: Send + 'static,
{
    type Incoming = <M::Codec as Decoder>::Item;
    type Outgoing = O;
    type Event = Event;
    type Error = ForeignError;
    type Sending = ForeignSending<M>;

    fn decode(
        &mut self,
        input: &mut BytesMut,
        _: &mut Context<'_, Self>,
    ) -> Result<Decoded<Self>, ForeignError> {
        Ok(self.decoding.next(input)?.map_or(Decoded::Need(1), Decoded::Message))
    }

    fn eof(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> Result<Eof<Self>, ForeignError> {
        Ok(match self.decoding.last(input)? {
            Last::Message(message) => Eof::Message(message),
            Last::Clean => Eof::Clean,
            Last::Truncated => Eof::Truncated,
        })
    }

    fn encode(sending: &mut Self::Sending, message: O, out: &mut Outbox) -> Result<(), ForeignError> {
        sending.0.encode(message, out.buffer()).map_err(|error| ForeignError::Encode(error.into()))
    }

    fn into_parts(self, unread: BytesMut) -> BytesMut {
        self.decoding.into_parts(unread)
    }

    fn max_message(&self) -> usize {
        self.decoding.limit
    }
}

/// A codec that is known only at run time as a protocol whose connections can be sent `O`.
///
/// It is made by [`foreign`]. The sending half gets its clone of the codec when the connection is up, and there is no
/// encoder before: a `send` on a client that is not connected (yet, or again) is refused with
/// [`ForeignError::NotOpen`], so that nothing waits unencoded, uncounted, and out of order. Send from `on_connect` on.
/// A broadcast is refused as well, since encoders may differ. Everything else is as for [`Foreign`], which has neither
/// restriction.
pub struct ForeignWith<C, O> {
    /// What clones are made of: neither half has touched it.
    fresh: C,
    decoding: Decoding<C>,
    sends: PhantomData<fn(O)>,
}

/// A codec that is known only at run time, as a protocol; of at most 10 MiB a message ([`DEFAULT_MAX_MESSAGE`]).
///
/// # Examples
/// ```
/// use tokio_util::codec::AnyDelimiterCodec;
/// use workerman_connection::codec::foreign;
/// use workerman_connection::{Handlers, Service, Settings};
///
/// let delimiter = std::env::args().nth(1).unwrap_or_else(|| ";".to_owned());
/// let codec = AnyDelimiterCodec::new(delimiter.clone().into_bytes(), delimiter.into_bytes());
/// let handlers = Handlers::new().on_message(|conn, _bytes| conn.send("thank you"));
/// let make = move || foreign::<_, &'static str>(codec.clone());
/// let service = Service::new("fields", make, handlers, Settings::default());
/// # let _ = service;
/// ```
pub fn foreign<C: Decoder + Clone, O>(codec: C) -> ForeignWith<C, O> {
    ForeignWith { fresh: codec.clone(), decoding: Decoding::new(codec), sends: PhantomData }
}

impl<C, O> ForeignWith<C, O> {
    /// Sets the most bytes that may wait undecoded; default 10 MiB, at least 1.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.decoding.limit = bytes.max(1);
        self
    }
}

/// A clone is for another connection: the same limit, the codec as it was given.
impl<C: Decoder + Clone, O> Clone for ForeignWith<C, O> {
    fn clone(&self) -> Self {
        foreign(self.fresh.clone()).max_message(self.decoding.limit)
    }
}

impl<C, O> fmt::Debug for ForeignWith<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignWith").field("decoding", &self.decoding).finish()
    }
}

impl<C, O> Protocol for ForeignWith<C, O>
where
    C: Decoder + Encoder<O> + Clone + Send + 'static,
    C::Item: 'static,
    <C as Decoder>::Error: Into<BoxError>,
    <C as Encoder<O>>::Error: Into<BoxError>,
    O: Send + 'static,
{
    type Incoming = C::Item;
    type Outgoing = O;
    type Event = Event;
    type Error = ForeignError;
    type Sending = Option<C>;

    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), ForeignError> {
        let codec = self.fresh.clone();
        cx.sending(|sending| *sending = Some(codec));
        Ok(())
    }

    fn decode(
        &mut self,
        input: &mut BytesMut,
        _: &mut Context<'_, Self>,
    ) -> Result<Decoded<Self>, ForeignError> {
        Ok(self.decoding.next(input)?.map_or(Decoded::Need(1), Decoded::Message))
    }

    fn eof(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> Result<Eof<Self>, ForeignError> {
        Ok(match self.decoding.last(input)? {
            Last::Message(message) => Eof::Message(message),
            Last::Clean => Eof::Clean,
            Last::Truncated => Eof::Truncated,
        })
    }

    fn encode(sending: &mut Option<C>, message: O, out: &mut Outbox) -> Result<(), ForeignError> {
        let codec = sending.as_mut().ok_or(ForeignError::NotOpen)?;
        codec.encode(message, out.buffer()).map_err(|error| ForeignError::Encode(error.into()))
    }

    fn into_parts(self, unread: BytesMut) -> BytesMut {
        self.decoding.into_parts(unread)
    }

    fn max_message(&self) -> usize {
        self.decoding.limit
    }
}

/// Unused room that a decoder may reserve before it is taken away: 64 KiB, or as much as has been received.
const SPARE: usize = 64 * 1024;

/// A decoder and its buffer.
struct Decoding<D> {
    codec: D,
    /// Given to the decoder and not consumed by it.
    held: BytesMut,
    limit: usize,
    /// A message was made since `held` moved to memory of its own.
    made: bool,
    /// The stream has ended: only `decode_eof` is asked.
    ended: bool,
}

/// What is found at the end of a stream.
enum Last<T> {
    Message(T),
    Clean,
    Truncated,
}

impl<D> Decoding<D> {
    fn new(codec: D) -> Self {
        Self { codec, held: BytesMut::new(), limit: DEFAULT_MAX_MESSAGE, made: false, ended: false }
    }

    /// Makes the rest of a batch small: an unfinished message pins no memory of finished ones, nor any that a decoder
    /// has reserved on the word of the peer.
    fn settle(&mut self) {
        let spare = self.held.capacity() - self.held.len();
        if self.held.is_empty() {
            self.held = BytesMut::new();
        } else if self.made || spare > SPARE.max(self.held.len()) {
            self.held = BytesMut::from(&self.held[..]);
        }
        self.made = false;
    }

    fn into_parts(self, unread: BytesMut) -> BytesMut {
        if self.held.is_empty() {
            return unread;
        }
        let mut all = self.held;
        all.extend_from_slice(&unread);
        all
    }
}

impl<D: Decoder<Error: Into<BoxError>>> Decoding<D> {
    /// The next message; `None` when all of `input` is taken and makes none.
    fn next(&mut self, input: &mut BytesMut) -> Result<Option<D::Item>, ForeignError> {
        if self.ended {
            return Ok(None);
        }
        loop {
            let decoded = self.codec.decode(&mut self.held);
            if let Some(message) = decoded.map_err(|error| ForeignError::Decode(error.into()))? {
                self.made = true;
                return Ok(Some(message));
            }
            // Whether a message is too long must not depend on how it was cut: never more than the limit is given.
            let room = self.limit.saturating_sub(self.held.len());
            if room == 0 {
                return Err(ForeignError::TooLong { limit: self.limit });
            }
            if input.is_empty() {
                self.settle();
                return Ok(None);
            }
            let n = room.min(input.len());
            self.held.extend_from_slice(&input[..n]);
            input.advance(n);
        }
    }

    fn last(&mut self, input: &mut BytesMut) -> Result<Last<D::Item>, ForeignError> {
        if let Some(message) = self.next(input)? {
            return Ok(Last::Message(message));
        }
        self.ended = true;
        let left = self.held.len();
        match self.codec.decode_eof(&mut self.held) {
            Ok(Some(message)) => Ok(Last::Message(message)),
            Ok(None) if self.held.is_empty() => Ok(Last::Clean),
            Ok(None) => Ok(Last::Truncated),
            // The decoder had nothing against these bytes before and consumed none now: only their end is wrong.
            Err(_) if left > 0 && self.held.len() == left => Ok(Last::Truncated),
            Err(error) => Err(ForeignError::Decode(error.into())),
        }
    }
}

impl<D> fmt::Debug for Decoding<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoding")
            .field("held", &self.held.len())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio_util::codec::{BytesCodec, LengthDelimitedCodec, LinesCodec, LinesCodecError};

    use super::*;

    fn drain<D: Decoder<Error: Into<BoxError>>>(
        decoding: &mut Decoding<D>,
        bytes: &[u8],
    ) -> Result<Vec<D::Item>, ForeignError> {
        let mut input = BytesMut::from(bytes);
        let mut all = Vec::new();
        while let Some(message) = decoding.next(&mut input)? {
            all.push(message);
        }
        Ok(all)
    }

    #[test]
    fn every_split_of_a_stream_yields_the_same() {
        let stream = b"one\r\ntwo\n\nlast";
        for cut in 0..=stream.len() {
            let mut decoding = Decoding::new(LinesCodec::new());
            let mut all = drain(&mut decoding, &stream[..cut]).unwrap();
            all.extend(drain(&mut decoding, &stream[cut..]).unwrap());
            assert_eq!(all, ["one", "two", ""]);
            let mut empty = BytesMut::new();
            assert!(matches!(decoding.last(&mut empty), Ok(Last::Message(line)) if line == "last"));
            assert!(decoding.next(&mut empty).unwrap().is_none());
            assert!(matches!(decoding.last(&mut empty), Ok(Last::Clean)));
        }
    }

    #[test]
    fn the_limit_is_exact_however_the_bytes_arrive() {
        for step in 1..12 {
            let run = |stream: &[u8]| {
                let mut decoding = Decoding::new(LinesCodec::new());
                decoding.limit = 6;
                stream.chunks(step).map(|part| drain(&mut decoding, part)).collect::<Result<Vec<_>, _>>()
            };
            assert_eq!(run(b"12345\n12345\n").unwrap().concat(), ["12345", "12345"]);
            assert!(matches!(run(b"12345\n123456\n"), Err(ForeignError::TooLong { limit: 6 })));
        }
    }

    #[test]
    fn what_is_left_at_the_end_is_a_truncation_and_garbage_is_not() {
        let mut decoding = Decoding::new(LengthDelimitedCodec::new());
        assert!(drain(&mut decoding, b"\0\0\0\x05ab").unwrap().is_empty());
        assert!(matches!(decoding.last(&mut BytesMut::new()), Ok(Last::Truncated)));

        let mut decoding = Decoding::new(LinesCodec::new());
        assert!(drain(&mut decoding, b"\xff\xfe").unwrap().is_empty());
        let Err(ForeignError::Decode(error)) = decoding.last(&mut BytesMut::new()) else {
            panic!("not UTF-8, and no message")
        };
        assert!(matches!(error.downcast_ref(), Some(LinesCodecError::Io(_))));
    }

    #[test]
    fn announced_bytes_reserve_nothing_that_stays() {
        let mut decoding = Decoding::new(LengthDelimitedCodec::new());
        assert!(drain(&mut decoding, b"\0\x7f\0\0a").unwrap().is_empty(), "8 MB announced");
        assert!(decoding.held.capacity() <= 2 * SPARE, "{} bytes for one", decoding.held.capacity());
        assert_eq!(decoding.held, "a");
    }

    #[test]
    fn an_idle_decoder_owns_no_buffer_and_a_rest_pins_no_messages() {
        let mut decoding = Decoding::new(LinesCodec::new());
        let mut batch = "a line of the batch\n".repeat(1000);
        assert_eq!(drain(&mut decoding, batch.as_bytes()).unwrap().len(), 1000);
        assert_eq!(decoding.held.capacity(), 0);
        batch.push_str("rest");
        assert_eq!(drain(&mut decoding, batch.as_bytes()).unwrap().len(), 1000);
        assert!(!decoding.held.try_reclaim(1024), "the buffer of the batch is gone");
        assert_eq!(decoding.into_parts(BytesMut::from(" and more")), "rest and more");
    }

    #[test]
    fn an_encoder_without_state_takes_no_room_and_a_late_one_refuses() {
        assert_eq!(size_of::<<Foreign<BytesCodec, Bytes> as Protocol>::Sending>(), 0);
        let mut out = Outbox::new();
        let refused =
            ForeignWith::<LinesCodec, &'static str>::encode(&mut None, "too early", &mut out).unwrap_err();
        assert!(matches!(refused, ForeignError::NotOpen) && out.is_empty());
        ForeignWith::<LinesCodec, &'static str>::encode(&mut Some(LinesCodec::new()), "now", &mut out)
            .unwrap();
        assert_eq!(out.into_bytes(), "now\n");
    }
}
