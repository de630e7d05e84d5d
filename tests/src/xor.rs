//! A layer that hides bytes: two bytes of handshake, records with a length, a close notice.
//!
//! The client says `0x16` and a key, the server answers `0x17` and the key inverted. A record is its length, 1 to 255,
//! and as many bytes xored with the key; length 0 is the close notice. `0x15` is an alert before an error.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use workerman_connection::{BoxError, Layer, Received};
use workerman_protocol::{Outbox, Role};

const HELLO: u8 = 0x16;
const ANSWER: u8 = 0x17;

/// What the layer says before it fails.
pub const ALERT: u8 = 0x15;

/// How long its handshake may take.
pub const HANDSHAKE: Duration = Duration::from_secs(3);

/// One side of the layer.
#[derive(Debug)]
pub struct Xor {
    role: Role,
    key: u8,
    hello: Vec<u8>,
    established: bool,
    /// Missing bytes of the record that has begun.
    record: u8,
    ended: bool,
}

impl Xor {
    /// A side; the client's key.
    pub fn new(role: Role, key: u8) -> Self {
        Self { role, key, hello: Vec::new(), established: false, record: 0, ended: false }
    }

    /// A client's side whose peer is already known to agree; for tests that speak it themselves.
    pub fn agreed(key: u8) -> Self {
        Self { established: true, ..Self::new(Role::Client, key) }
    }

    fn shake(&mut self, input: &mut BytesMut, wire: &mut Outbox) -> Result<(), BoxError> {
        while self.hello.len() < 2 && !input.is_empty() {
            self.hello.push(input.get_u8());
        }
        let Some(&[kind, key]) = self.hello.first_chunk::<2>() else { return Ok(()) };
        let fits = match self.role {
            Role::Server => kind == HELLO,
            Role::Client => kind == ANSWER && key == !self.key,
        };
        if !fits {
            wire.put_slice(&[ALERT]);
            return Err("not this layer".into());
        }
        if self.role == Role::Server {
            self.key = key;
            wire.put_slice(&[ANSWER, !key]);
        }
        self.established = true;
        Ok(())
    }
}

impl Layer for Xor {
    fn open(&mut self, _: Instant, wire: &mut Outbox) -> Result<(), BoxError> {
        if self.role == Role::Client {
            wire.put_slice(&[HELLO, self.key]);
        }
        Ok(())
    }

    fn receive(
        &mut self,
        _: Instant,
        input: &mut BytesMut,
        plain: &mut BytesMut,
        wire: &mut Outbox,
    ) -> Result<Received, BoxError> {
        if !self.established {
            self.shake(input, wire)?;
        }
        while self.established && !self.ended && !input.is_empty() {
            if self.record == 0 {
                self.record = input.get_u8();
                self.ended = self.record == 0;
                continue;
            }
            let part = input.split_to(input.len().min(self.record.into()));
            self.record -= part.len() as u8;
            plain.extend(part.iter().map(|byte| byte ^ self.key));
        }
        input.clear();
        Ok(if self.ended { Received::End } else { Received::More })
    }

    fn is_established(&self) -> bool {
        self.established
    }

    fn send(&mut self, plain: &mut Outbox, wire: &mut Outbox) -> Result<(), BoxError> {
        while plain.has_remaining() {
            let length = plain.chunk().len().min(255);
            let record: Vec<u8> = plain.chunk()[..length].iter().map(|byte| byte ^ self.key).collect();
            wire.put_slice(&[length as u8]);
            wire.put_slice(&record);
            plain.advance(length);
        }
        Ok(())
    }

    fn close(&mut self, wire: &mut Outbox) {
        wire.put_slice(&[0]);
    }

    fn eof(&mut self) -> Result<(), BoxError> {
        if self.ended { Ok(()) } else { Err("cut off without a close notice".into()) }
    }

    fn handshake_timeout(&self) -> Option<Duration> {
        Some(HANDSHAKE)
    }
}

/// What a client of this layer puts on the wire for these bytes: handshake, records, and perhaps the close notice.
pub fn sealed(key: u8, plain: &[u8], closes: bool) -> Vec<u8> {
    let (mut out, mut wire) = (Outbox::new(), Outbox::new());
    wire.put_slice(&[HELLO, key]);
    out.put_slice(plain);
    let mut layer = Xor::agreed(key);
    layer.send(&mut out, &mut wire).expect("it cannot fail");
    if closes {
        layer.close(&mut wire);
    }
    wire.into_bytes().to_vec()
}

/// What a server has put on the wire, in plain, and whether its close notice was the last of it.
///
/// # Panics
/// If the handshake is wrong.
pub fn opened(key: u8, wire: &[u8]) -> (Vec<u8>, bool) {
    let mut plain = BytesMut::new();
    let mut layer = Xor::new(Role::Client, key);
    let received = layer.receive(Instant::now(), &mut BytesMut::from(wire), &mut plain, &mut Outbox::new());
    let received = received.expect("the server's side of the layer");
    (plain.to_vec(), received == Received::End)
}
