//! The server from the README: greets whatever you send.
//!
//! ```sh
//! cargo run --release --example hello_websocket                # or: -- 127.0.0.1:0
//! cargo run --release --example websocket_client -- ws://localhost:2346
//! ```
//! Or in the console of a browser:
//! `ws = new WebSocket("ws://localhost:2346"); ws.onmessage = m => console.log(m.data); ws.onopen = () => ws.send("Ann")`
#![forbid(unsafe_code)]

use workerman::prelude::*;

fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:2346".to_owned());
    Worker::websocket(address)
        .name("hello_websocket")
        .on_message(|_, message| format!("hello {message}"))
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}
