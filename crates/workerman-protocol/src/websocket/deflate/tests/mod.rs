mod inflation;
mod negotiation;
mod reference;
mod round_trips;

use bytes::BytesMut;

use super::{Agreed, Deflate, Deflater, InflateError, Inflater, Outflow};
use crate::Role;
use crate::websocket::handshake::Extension;

/// The limit where none is meant to be met.
const MUCH: usize = 1 << 30;

fn parse(field: &str) -> Vec<Extension> {
    Extension::parse_all([field.as_bytes()]).unwrap()
}

/// What a server with these settings agrees upon with a client that offers this.
fn agreed(settings: &Deflate, offers: &str) -> Option<Agreed> {
    settings.accept(&parse(offers))
}

/// One whose context is taken over.
fn takeover() -> Deflate {
    Deflate::new().takeover(true)
}

/// A compressor with a context, for windows of so many bits.
fn deflater(level: u8, bits: u8) -> Deflater {
    let settings = takeover().level(level);
    let agreed = agreed(&settings, &format!("permessage-deflate; server_max_window_bits={bits}")).unwrap();
    let Outflow::Context(deflater) = agreed.into_halves(Role::Server).1 else { panic!("no takeover") };
    deflater
}

/// An inflater that keeps its context, if `takeover`.
fn inflater(with_takeover: bool) -> Inflater {
    let settings = Deflate::new().takeover(with_takeover);
    agreed(&settings, "permessage-deflate").unwrap().into_halves(Role::Server).0
}

/// A message that comes whole.
fn inflate(inflater: &mut Inflater, payload: &[u8]) -> Result<Vec<u8>, InflateError> {
    let mut out = BytesMut::new();
    inflater.push(payload, true, MUCH, &mut out)?;
    Ok(out.to_vec())
}

/// Text with much that comes again, near and far.
fn text(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = Vec::with_capacity(length + 64);
    while text.len() < length {
        let (id, user) = (random.u16(..), random.u8(..));
        text.extend_from_slice(
            format!("{{\"id\":{id},\"user\":\"name {user}\",\"text\":\"hello\"}},").as_bytes(),
        );
    }
    text.truncate(length);
    text
}

fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(length as u64);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}
