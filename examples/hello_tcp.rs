//! The smallest server: bytes come, an answer goes. What TCP delivers is a piece of a stream, cut anywhere; for whole
//! messages see `chat` (lines) and `frame_rpc` (frames).
//!
//! ```sh
//! cargo run --release --example hello_tcp            # or: -- 127.0.0.1:0
//! echo ann | nc -N localhost 2345                    # hello ann
//! ```
#![forbid(unsafe_code)]

use workerman::prelude::*;

fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2345".to_owned());
    Worker::tcp(address)
        .name("hello")
        .on_message(|_, bytes| [b"hello ", bytes.as_ref()].concat())
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}
