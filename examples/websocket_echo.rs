//! Sends back what it gets, text as text and bytes as bytes, on any path: the target of conformance tools.
//!
//! Messages are compressed for clients that offer it. A message may have 64 MiB, so this one is not for the internet.
//!
//! ```sh
//! cargo run --release --example websocket_echo                 # or: -- 127.0.0.1:0
//! ```
#![forbid(unsafe_code)]

use workerman::prelude::*;
use workerman::websocket::deflate::Deflate;

/// Most bytes of a message, and of a frame.
const MOST: usize = 64 << 20;

fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:2346".to_owned());
    Worker::websocket(address)
        .name("websocket_echo")
        .compress(Deflate::new())
        .max_message(MOST)
        .max_frame(MOST)
        // What is sent back must fit the queue, while some of the message before may still be in it.
        .hard_limit(2 * MOST)
        .on_message(|_, message| message)
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}
