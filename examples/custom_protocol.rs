//! A protocol of one's own on one page: length of the body (4 bytes, big-endian), type (1 byte), body, CRC-32 of type
//! and body (4 bytes). A `ping` (1) is answered by a `pong` (2) with the same body.
//!
//! ```sh
//! cargo run --release --example custom_protocol      # or: -- 127.0.0.1:0
//! printf '\0\0\0\002\001hi\147\311\213\166' | nc -N localhost 2348 | xxd
//! ```
#![forbid(unsafe_code)]

use workerman::prelude::*;
use workerman::protocol::{Context, Decoded, Event, Outbox, take};
use workerman::{Bytes, BytesMut};

const MAX_BODY: usize = 64 * 1024;
const HEADER: usize = 5;

struct Packets;

/// Type and body.
struct Packet(u8, Bytes);

#[derive(Debug, thiserror::Error)]
enum Invalid {
    #[error("a body of {0} bytes is longer than {MAX_BODY}")]
    TooLong(usize),
    #[error("the checksum is wrong")]
    Checksum,
}

impl Protocol for Packets {
    type Incoming = Packet;
    type Outgoing = Packet;
    type Event = Event;
    type Error = Invalid;
    type Sending = ();

    fn decode(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> Result<Decoded<Self>, Invalid> {
        let Some(&[a, b, c, d, kind]) = input.first_chunk::<HEADER>() else {
            return Ok(Decoded::Need(HEADER - input.len()));
        };
        let end = match u32::from_be_bytes([a, b, c, d]) as usize {
            // Before anything is waited for: nobody can announce a gigabyte.
            length if length > MAX_BODY => return Err(Invalid::TooLong(length)),
            length => HEADER + length,
        };
        if input.len() < end + 4 {
            return Ok(Decoded::Need(end + 4 - input.len()));
        }
        let packet = take(input, end + 4);
        if packet[end..] != crc32fast::hash(&packet[4..end]).to_be_bytes() {
            return Err(Invalid::Checksum);
        }
        Ok(Decoded::Message(Packet(kind, packet.slice(HEADER..end))))
    }

    fn encode(_: &mut (), Packet(kind, body): Packet, out: &mut Outbox) -> Result<(), Invalid> {
        let length = u32::try_from(body.len()).map_err(|_| Invalid::TooLong(body.len()))?;
        let mut crc = crc32fast::Hasher::new_with_initial(crc32fast::hash(&[kind]));
        crc.update(&body);
        out.put_slice(&length.to_be_bytes());
        out.put_slice(&[kind]);
        out.put_bytes(body);
        out.put_slice(&crc.finalize().to_be_bytes());
        Ok(())
    }
}

fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2348".to_owned());
    Worker::with_fn(|| Packets, address)
        .on_message(|_, Packet(kind, body)| (kind == 1).then_some(Packet(2, body)))
        .on_error(|conn, error| eprintln!("{}: {error}", conn.peer_addr()))
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}
