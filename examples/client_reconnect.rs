//! A client that comes back: its server hangs up after each answer. The client's callbacks and its handle survive that.
//! Both live on one loop here; stop with Ctrl-C.
//!
//! ```sh
//! cargo run --release --example client_reconnect     # or: -- 127.0.0.1:0
//! echo bob | nc localhost 2350                       # the same server, for you: hello bob
//! ```
#![forbid(unsafe_code)]

use std::time::Duration;

use workerman::prelude::*;

fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2350".to_owned());
    Worker::text(address)
        .on_worker_start(|server| {
            let address = server.addresses().remove(0).to_string();
            println!("listening on {address}");
            start_client(&address)
        })
        // What is queued still goes out before the connection ends.
        .on_message(|conn, line| conn.close_with(format!("hello {line}")))
        .run()
}

/// Made inside a callback, the client lives on the loop of that callback.
fn start_client(address: &str) -> workerman::Result<()> {
    // The pauses double from half a second up to five seconds; a random part of each is left out.
    let (first, cap) = (Duration::from_millis(500), Duration::from_secs(5));
    Client::text(address)
        .reconnect(Reconnect { first, cap, max_attempts: Some(10) })
        .on_connect(|server| {
            println!("client: connected");
            server.send("ann")
        })
        .on_message(|_, line| println!("client: {line}"))
        .on_error(|_, error| println!("client: {error}"))
        .on_close(|_, reason| println!("client: {reason}"))
        .connect()?;
    Ok(())
}
