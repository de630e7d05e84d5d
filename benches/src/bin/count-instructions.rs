//! `count-instructions WORKLOAD MESSAGES`: a fixed piece of work to be counted by callgrind; `count-instructions list`
//! names the workloads. `scripts/instruction-counts` runs it.
//!
//! Only what happens inside the functions whose names begin with `counted` is to be counted: not the start of the
//! process, nor filling the input.
#![forbid(unsafe_code)]

use std::error::Error;

use bytes::{Bytes, BytesMut};
use workerman_benches::arguments::Arguments;
use workerman_benches::codec::{Codec, batch, payload};
use workerman_benches::wire::Wire;
use workerman_protocol::{Frame, Protocol, Raw, Text};

/// Messages that arrive and leave together.
const BATCH: usize = 16;
const CODECS: [Wire; 3] = [Wire::Tcp, Wire::Text, Wire::Frame];
const SIZES: [usize; 3] = [64, 1024, 16 * 1024];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::of_process();
    let name: String = arguments.word("workload")?;
    if name == "list" {
        arguments.finish()?;
        for (operation, wire, size) in workloads() {
            println!("{operation}-{wire}-{size}");
        }
        return Ok(());
    }
    let messages: usize = arguments.word("messages")?;
    arguments.finish()?;
    let named = |&(operation, wire, size): &(&str, Wire, usize)| name == format!("{operation}-{wire}-{size}");
    let (operation, wire, size) = workloads().find(named).ok_or("no such workload")?;
    match wire {
        Wire::Tcp => work(Raw::new(), operation, wire, size, messages),
        Wire::Text => work(Text::new(), operation, wire, size, messages),
        Wire::Frame => work(Frame::new(), operation, wire, size, messages),
    }
    Ok(())
}

fn workloads() -> impl Iterator<Item = (&'static str, Wire, usize)> {
    let sized = |wire| SIZES.map(move |size| (wire, size));
    CODECS
        .into_iter()
        .flat_map(sized)
        .flat_map(|(wire, size)| [("decode", wire, size), ("encode", wire, size)])
}

/// Decodes or encodes `messages` messages, in batches.
fn work<P>(protocol: P, operation: &str, wire: Wire, size: usize, messages: usize)
where
    P: Protocol<Outgoing: From<Bytes>>,
{
    let mut codec = Codec::new(protocol);
    // Without delimiters, what arrives together is one message.
    let together = if wire == Wire::Tcp { 1 } else { BATCH };
    let input = batch(wire, size, together);
    let message = payload(size);
    for _ in 0..messages / together {
        if operation == "decode" {
            counted_decode(&mut codec, &mut BytesMut::from(&input[..]));
        } else {
            counted_encode(&mut codec, &message, together);
        }
    }
}

#[inline(never)]
fn counted_decode<P: Protocol>(codec: &mut Codec<P>, input: &mut BytesMut) {
    codec.decode(input);
}

#[inline(never)]
fn counted_encode<P: Protocol<Outgoing: From<Bytes>>>(codec: &mut Codec<P>, message: &Bytes, times: usize) {
    codec.encode(message, times);
    codec.sent();
}
