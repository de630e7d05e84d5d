//! A page for everybody who asks.
//!
//! ```sh
//! cargo run --release --example hello_http           # or: -- 127.0.0.1:0
//! curl http://localhost:2345/some/path
//! ```
#![forbid(unsafe_code)]

use workerman::prelude::*;

fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:2345".to_owned());
    Worker::http(address)
        .name("hello_http")
        .on_message(|_, request| Response::text(format!("you asked for {}\n", request.path())))
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}
