//! A codec driven without a connection: batches of messages through its decoder, and through its encoder.

use std::cell::RefCell;
use std::fmt;
use std::task::Waker;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use workerman_protocol::{Context, Decoded, Outbox, Protocol, Random, Role};

use crate::wire::Wire;

/// A protocol, its sending half, and what is given to it with each call.
pub struct Codec<P: Protocol> {
    protocol: P,
    sending: RefCell<P::Sending>,
    now: Instant,
    random: Random,
    reply: Outbox,
    out: Outbox,
}

impl<P: Protocol> Codec<P> {
    /// A new connection's codec.
    pub fn new(protocol: P) -> Self {
        Self {
            protocol,
            sending: RefCell::default(),
            now: Instant::now(),
            random: Random::new(1),
            reply: Outbox::new(),
            out: Outbox::new(),
        }
    }

    /// Opens the connection; `input` is what the protocol reads before its first message, such as a handshake.
    ///
    /// # Panics
    /// If this does not open it.
    pub fn begin(&mut self, input: &mut BytesMut) {
        let (now, waker) = (self.now, Waker::noop());
        let (random, reply) = (&mut self.random, &mut self.reply);
        let mut cx = Context::new(now, 784_111_777, Role::Server, random, reply, &self.sending, waker);
        if let Err(error) = self.protocol.open(&mut cx) {
            panic!("{error}");
        }
        match self.protocol.decode(input, &mut cx) {
            Ok(Decoded::Event(_)) => self.reply.clear(usize::MAX),
            Ok(other) => panic!("{other:?} instead of an open connection"),
            Err(error) => panic!("{error}"),
        }
    }

    /// Decodes everything in `input`, drops the messages, returns their number.
    ///
    /// # Panics
    /// If `input` is not a sequence of whole messages.
    #[inline]
    pub fn decode(&mut self, input: &mut BytesMut) -> usize {
        let mut messages = 0;
        while !input.is_empty() {
            let mut cx = Context::new(
                self.now,
                0,
                Role::Server,
                &mut self.random,
                &mut self.reply,
                &self.sending,
                Waker::noop(),
            );
            match self.protocol.decode(input, &mut cx) {
                Ok(Decoded::Message(message)) => drop(std::hint::black_box(message)),
                Ok(other) => panic!("{other:?} in a batch of whole messages"),
                Err(error) => panic!("{error}"),
            }
            messages += 1;
        }
        messages
    }

    /// Encodes `message` `times` times, as for so many sends that leave together; returns the bytes.
    ///
    /// # Panics
    /// If the message has no encoding.
    #[inline]
    pub fn encode(&mut self, message: &Bytes, times: usize) -> usize
    where
        P::Outgoing: From<Bytes>,
    {
        let sending = self.sending.get_mut();
        for _ in 0..times {
            if let Err(error) = P::encode(sending, P::Outgoing::from(message.clone()), &mut self.out) {
                panic!("{error}");
            }
        }
        std::hint::black_box(&mut self.out).remaining()
    }

    /// Takes what was encoded as sent; the buffer stays for the next batch.
    #[inline]
    pub fn sent(&mut self) {
        self.out.clear(usize::MAX);
    }
}

impl<P: Protocol> fmt::Debug for Codec<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("out", &self.out).finish_non_exhaustive()
    }
}

/// The bytes of `messages` messages with payloads of `size` bytes.
pub fn batch(wire: Wire, size: usize, messages: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for seed in 0..messages {
        wire.put_message(&mut bytes, size, seed);
    }
    bytes
}

/// A payload of `size` bytes.
pub fn payload(size: usize) -> Bytes {
    batch(Wire::Tcp, size, 1).into()
}

#[cfg(test)]
mod tests {
    use workerman_protocol::{Frame, Raw, Text};

    use super::*;

    fn check<P: Protocol<Outgoing: From<Bytes>>>(make: fn() -> P, wire: Wire, messages: usize) {
        for size in [1, 64, 20_000] {
            let mut codec = Codec::new(make());
            let bytes = batch(wire, size, messages);
            assert_eq!(codec.decode(&mut BytesMut::from(&bytes[..])), messages);
            assert_eq!(codec.encode(&payload(size), messages), bytes.len());
            codec.sent();
            assert_eq!(codec.encode(&payload(size), 0), 0);
        }
    }

    #[test]
    fn batches_are_what_the_codecs_read_and_write() {
        check(Raw::new, Wire::Tcp, 1);
        check(Text::new, Wire::Text, 5);
        check(Frame::new, Wire::Frame, 5);
    }
}
