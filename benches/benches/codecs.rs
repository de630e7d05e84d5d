//! Codecs alone: time per message and bytes per second, by size of message, decoding and encoding.
//!
//! `cargo bench -p workerman-benches --bench codecs -- [--codec TEXT]`. Decoding takes a message out of a filled
//! buffer and drops it; encoding appends it to an outbox (and clones a shared `Bytes` for it). Filling and emptying
//! the buffers is not timed.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use workerman_benches::arguments::Arguments;
use workerman_benches::codec::{Codec, batch, payload};
use workerman_benches::spread::Spread;
use workerman_benches::wire::Wire;
use workerman_protocol::{Frame, Protocol, Raw, Text};

const SIZES: [usize; 6] = [20, 64, 1024, 4 * 1024, 16 * 1024, 64 * 1024];
/// What arrives or leaves together, about: the loop's read buffer.
const BATCH: usize = 64 * 1024;
/// Least messages that are timed together, so that reading the clock does not count.
const TOGETHER: usize = 32;
const SAMPLES: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::of_process();
    // Without `--bench` this is `cargo test`: show that it works, measure nothing.
    let measure = arguments.flag("--bench");
    let sample = if measure { Duration::from_millis(20) } else { Duration::ZERO };
    let only: Option<String> = arguments.option("--codec")?;
    arguments.finish()?;
    let wants = |name: &str| only.as_deref().is_none_or(|text| name.contains(text));
    println!("{:<14} {:>7} {:>12}  {:<32}", "codec", "bytes", "MB/s", "ns per message (least..greatest)");
    if wants("raw") {
        run(Raw::new, "raw", Wire::Tcp, sample);
    }
    if wants("text") {
        run(Text::new, "text", Wire::Text, sample);
    }
    if wants("frame") {
        run(Frame::new, "frame", Wire::Frame, sample);
    }
    Ok(())
}

fn run<P: Protocol<Outgoing: From<Bytes>>>(make: fn() -> P, name: &str, wire: Wire, sample: Duration) {
    for size in SIZES {
        // Without delimiters, what arrives together is one message.
        let messages = if wire == Wire::Tcp { 1 } else { (BATCH / size).max(1) };
        let input = batch(wire, size, messages);
        let reads = TOGETHER.div_ceil(messages);
        let mut codec = Codec::new(make());
        let mut arrived = Vec::with_capacity(reads);
        let decode = measure(messages * reads, sample, || {
            arrived.clear();
            arrived.extend((0..reads).map(|_| BytesMut::from(&input[..])));
            let began = Instant::now();
            for input in &mut arrived {
                codec.decode(input);
            }
            began.elapsed()
        });
        print(&format!("{name} decode"), size, decode);

        let message = payload(size);
        let mut codec = Codec::new(make());
        let together = (BATCH / size).max(TOGETHER);
        let encode = measure(together, sample, || {
            let began = Instant::now();
            codec.encode(&message, together);
            let elapsed = began.elapsed();
            codec.sent();
            elapsed
        });
        print(&format!("{name} encode"), size, encode);
    }
}

/// Nanoseconds per message; `batch` handles `messages` of them and tells how long it took.
fn measure(messages: usize, sample: Duration, mut batch: impl FnMut() -> Duration) -> Option<Spread> {
    Spread::of((0..SAMPLES).map(|_| {
        let began = Instant::now();
        let (mut total, mut batches) = (Duration::ZERO, 0_u32);
        while batches == 0 || began.elapsed() < sample {
            total += batch();
            batches += 1;
        }
        total.as_secs_f64() * 1e9 / (f64::from(batches) * messages as f64)
    }))
}

fn print(name: &str, size: usize, spread: Option<Spread>) {
    let Some(Spread { median, min, max }) = spread else { return };
    println!("{name:<14} {size:>7} {:>12.0}  {median:.1} ({min:.1}..{max:.1})", size as f64 * 1e3 / median);
}
