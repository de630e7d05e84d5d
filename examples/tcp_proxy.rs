//! A proxy: each connection is piped to one of its own to the target, both ways, with backpressure (a slow side stops
//! the reading of the other) and half-closes passed on.
//!
//! ```sh
//! cargo run --release --example hello_tcp
//! cargo run --release --example tcp_proxy            # or: -- 127.0.0.1:0 example.org:80
//! echo ann | nc -N localhost 2349                    # hello ann
//! ```
#![forbid(unsafe_code)]

use workerman::prelude::*;

fn main() -> workerman::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:2349".to_owned());
    let target = arguments.next().unwrap_or_else(|| "127.0.0.1:2345".to_owned());
    Worker::tcp(address)
        .name("proxy")
        .on_connect(move |conn| -> workerman::Result<()> {
            // It is sent to while it still connects: what comes before waits in its queue.
            let upstream = Client::tcp(&target).on_error(|_, error| eprintln!("{error}")).connect()?;
            conn.pipe(&upstream);
            upstream.pipe(conn);
            Ok(())
        })
        .on_close(|conn, reason| println!("{} bytes in, {} out: {reason}", conn.bytes_in(), conn.bytes_out()))
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}
