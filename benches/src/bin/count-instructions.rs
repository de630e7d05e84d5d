//! `count-instructions WORKLOAD MESSAGES`: a fixed piece of work to be counted by callgrind; `count-instructions list`
//! names the workloads. `scripts/instruction-counts` runs it.
//!
//! Only what happens inside the functions whose names begin with `counted` is to be counted: not the start of the
//! process, nor filling the input.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use bytes::{Bytes, BytesMut};
use workerman_benches::arguments::Arguments;
use workerman_benches::codec::{Codec, batch, payload};
use workerman_benches::http::codec::Server;
use workerman_benches::http::{Case, Life};
use workerman_benches::websocket::{self, Kind};
use workerman_benches::wire::Wire;
use workerman_protocol::{Frame, Protocol, Raw, Text};

/// Messages that arrive and leave together.
const BATCH: usize = 16;
const CODECS: [Wire; 3] = [Wire::Tcp, Wire::Text, Wire::Frame];
const SIZES: [usize; 3] = [64, 1024, 16 * 1024];

/// A piece of work.
#[derive(Clone, Copy)]
enum Workload {
    Decode(Wire, usize),
    Encode(Wire, usize),
    /// Masked text messages, many of one size together.
    DecodeWebSocket(websocket::Case),
    EncodeWebSocket(websocket::Case),
    /// Requests of HTTP parsed and answered; as many together as the case has outstanding.
    Http(Case),
}

impl Workload {
    fn all() -> impl Iterator<Item = Self> {
        let sized = |wire| SIZES.map(move |size| (wire, size));
        let codecs = CODECS.into_iter().flat_map(sized);
        let messages = websocket::Case::ALL
            .into_iter()
            .filter(|case| case.kind == Kind::Echo && case.outstanding == BATCH);
        let cases = Case::ALL.into_iter().filter(|case| case.life == Life::Kept);
        codecs
            .flat_map(|(wire, size)| [Self::Decode(wire, size), Self::Encode(wire, size)])
            .chain(cases.map(Self::Http))
            .chain(messages.flat_map(|case| [Self::DecodeWebSocket(case), Self::EncodeWebSocket(case)]))
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(wire, size) => write!(f, "decode-{wire}-{size}"),
            Self::Encode(wire, size) => write!(f, "encode-{wire}-{size}"),
            Self::Http(case) => write!(f, "http-{}", case.name),
            Self::DecodeWebSocket(case) => write!(f, "decode-websocket-{}", case.size),
            Self::EncodeWebSocket(case) => write!(f, "encode-websocket-{}", case.size),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::of_process();
    let name: String = arguments.word("workload")?;
    if name == "list" {
        arguments.finish()?;
        for workload in Workload::all() {
            println!("{workload}");
        }
        return Ok(());
    }
    let messages: usize = arguments.word("messages")?;
    arguments.finish()?;
    match Workload::all().find(|workload| workload.to_string() == name).ok_or("no such workload")? {
        Workload::Decode(Wire::Tcp, size) => decode(Raw::new(), Wire::Tcp, size, messages),
        Workload::Decode(Wire::Text, size) => decode(Text::new(), Wire::Text, size, messages),
        Workload::Decode(Wire::Frame, size) => decode(Frame::new(), Wire::Frame, size, messages),
        Workload::Encode(Wire::Tcp, size) => encode(Raw::new(), Wire::Tcp, size, messages),
        Workload::Encode(Wire::Text, size) => encode(Text::new(), Wire::Text, size, messages),
        Workload::Encode(Wire::Frame, size) => encode(Frame::new(), Wire::Frame, size, messages),
        Workload::Http(case) => http(case, messages),
        Workload::DecodeWebSocket(case) => decode_websocket(case, messages),
        Workload::EncodeWebSocket(case) => {
            encode_batches(websocket::codec::open(), case.size, messages / BATCH, BATCH);
        }
    }
    Ok(())
}

/// Without delimiters, what arrives together is one message.
fn together(wire: Wire) -> usize {
    if wire == Wire::Tcp { 1 } else { BATCH }
}

/// Decodes `messages` messages, in batches.
fn decode(protocol: impl Protocol, wire: Wire, size: usize, messages: usize) {
    let mut codec = Codec::new(protocol);
    let input = batch(wire, size, together(wire));
    for _ in 0..messages / together(wire) {
        counted_decode(&mut codec, &mut BytesMut::from(&input[..]));
    }
}

/// Encodes `messages` messages, in batches.
fn encode<P: Protocol<Outgoing: From<Bytes>>>(protocol: P, wire: Wire, size: usize, messages: usize) {
    encode_batches(Codec::new(protocol), size, messages / together(wire), together(wire));
}

fn encode_batches<P: Protocol<Outgoing: From<Bytes>>>(
    mut codec: Codec<P>,
    size: usize,
    batches: usize,
    together: usize,
) {
    let message = payload(size);
    for _ in 0..batches {
        counted_encode(&mut codec, &message, together);
    }
}

/// Decodes `messages` masked messages, in batches; those of a batch have keys and texts of their own.
fn decode_websocket(case: websocket::Case, messages: usize) {
    let mut codec = websocket::codec::open();
    let mut input = case.messages(0);
    for _ in 0..messages / BATCH {
        counted_decode(&mut codec, &mut BytesMut::from(input.frames()));
        input.renew();
    }
}

/// Parses and answers `messages` requests, in batches.
fn http(case: Case, messages: usize) {
    let mut server = Server::new(case);
    let (mut requests, mut next) = (case.requests(), 0);
    for _ in 0..messages / case.outstanding {
        requests.renew(&mut next);
        counted_http(&mut server, &mut BytesMut::from(requests.bytes()));
    }
}

#[inline(never)]
fn counted_decode(codec: &mut Codec<impl Protocol>, input: &mut BytesMut) {
    codec.decode(input);
}

#[inline(never)]
fn counted_encode<P: Protocol<Outgoing: From<Bytes>>>(codec: &mut Codec<P>, message: &Bytes, times: usize) {
    codec.encode(message, times);
    codec.sent();
}

#[inline(never)]
fn counted_http(server: &mut Server, input: &mut BytesMut) {
    server.serve(input);
    server.sent();
}
