//! Compressed messages of WebSocket, sound, damaged and made up: nothing exceeds the limit, how they are cut makes no
//! difference, and what one side compresses the other inflates.
#![no_main]
#![forbid(unsafe_code)]

use bytes::BytesMut;
use libfuzzer_sys::{arbitrary, fuzz_target};
use workerman_protocol::Role;
use workerman_protocol::websocket::deflate::{Deflate, InflateError, Inflater, Outflow};
use workerman_protocol::websocket::handshake::Extension;

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    takeover: (bool, bool),
    bits: (u8, u8),
    level: u8,
    /// No more than so many contexts: what comes is held back then.
    contexts: Option<u8>,
    limit: u32,
    /// Beside the offer of the other side.
    offers: Vec<u8>,
    messages: Vec<Message>,
}

#[derive(arbitrary::Arbitrary, Debug)]
struct Message {
    /// The largest piece; 0 for 256.
    piece: u8,
    what: What,
}

#[derive(arbitrary::Arbitrary, Debug)]
enum What {
    Garbage(Vec<u8>),
    Sound { bytes: Vec<u8>, times: u16 },
    Damaged { bytes: Vec<u8>, times: u16, at: u16, with: u8 },
}

/// What comes of a message that arrives in pieces.
fn inflate(
    inflater: &mut Inflater,
    payload: &[u8],
    piece: usize,
    limit: usize,
) -> Result<Vec<u8>, InflateError> {
    let mut out = BytesMut::new();
    let inflated = payload
        .chunks(piece)
        .try_for_each(|piece| inflater.push(piece, false, limit, &mut out))
        .and_then(|()| inflater.push(&[], true, limit, &mut out));
    assert!(out.len() <= limit + 1, "{} of {limit}", out.len());
    // As it grows: twice what there is, and a piece.
    assert!(out.capacity() <= 2 * limit + (256 << 10), "{} for {limit}", out.capacity());
    inflated.map(|()| out.to_vec())
}

fn repeated(bytes: &[u8], times: u16) -> Vec<u8> {
    bytes.repeat(usize::from(times).min((4 << 20) / bytes.len().max(1)))
}

fuzz_target!(|input: Input| {
    let settings = Deflate::new()
        .level(1 + input.level % 9)
        .server_no_context_takeover(input.takeover.0)
        .client_no_context_takeover(input.takeover.1)
        .server_max_window_bits(9 + input.bits.0 % 7)
        .client_max_window_bits(9 + input.bits.1 % 7)
        .max_contexts(input.contexts.map_or(256, usize::from));
    if let Some(offers) = Extension::parse_all([&input.offers[..]]) {
        if let Some(agreed) = settings.accept(&offers) {
            let said = agreed.to_string();
            assert_eq!(Extension::parse_all([said.as_bytes()]).unwrap()[0].to_string(), said);
        }
        let _ = settings.offer().confirm(&offers);
    }

    let offer = settings.offer();
    let offers = Extension::parse_all([offer.to_string().as_bytes()]).unwrap();
    let accept = || settings.accept(&offers).unwrap();
    let (agreed, other) = (accept(), accept());
    // The places may have run out in between: then both take over what both can.
    if agreed.to_string() != other.to_string() {
        return;
    }
    let answer = Extension::parse_all([agreed.to_string().as_bytes()]).unwrap();
    let (_, mut outflow) = offer.confirm(&answer).unwrap().unwrap().into_halves(Role::Client);
    let (mut whole, _) = agreed.into_halves(Role::Server);
    let (mut cut, _) = other.into_halves(Role::Server);
    let limit = input.limit as usize % (2 << 20);
    let mut in_step = true;
    for Message { piece, what } in input.messages.iter().take(20) {
        let mut compress = |message: &[u8]| match &mut outflow {
            Outflow::Free(compressor) => compressor.compress(message),
            Outflow::Context(deflater) => deflater.compress(message),
        };
        let (payload, sound) = match what {
            What::Garbage(bytes) => (bytes.clone(), None),
            What::Sound { bytes, times } => {
                let message = repeated(bytes, *times);
                let Some(payload) = compress(&message) else { continue };
                (payload.to_vec(), Some(message))
            }
            What::Damaged { bytes, times, at, with } => {
                let Some(payload) = compress(&repeated(bytes, *times)) else { continue };
                let mut payload = payload.to_vec();
                let at = usize::from(*at) % payload.len();
                payload[at] ^= with;
                (payload, None)
            }
        };
        let result = inflate(&mut whole, &payload, payload.len().max(1), limit);
        let again = inflate(&mut cut, &payload, if *piece == 0 { 256 } else { usize::from(*piece) }, limit);
        assert_eq!(result, again);
        in_step &= sound.is_some();
        if let (Some(message), true) = (sound, in_step) {
            assert_eq!(
                result,
                if message.len() > limit { Err(InflateError::TooLarge { limit }) } else { Ok(message) }
            );
        }
        if result.is_err() {
            return;
        }
    }
});
