//! A server on a unix socket that only its owner may use. The file is removed when the server stops.
//!
//! ```sh
//! cargo run --release --example unix_socket          # or: -- unix:///run/user/1000/upper.sock
//! echo hello | nc -NU /tmp/workerman.sock            # HELLO
//! ```
#![forbid(unsafe_code)]

use workerman::ListenOptions;
use workerman::prelude::*;

fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| {
        let path = std::env::temp_dir().join("workerman.sock");
        format!("unix://{}", path.display())
    });
    Worker::text(address)
        .name("upper")
        .listen_options(ListenOptions::default().mode(0o600))
        .on_message(|_, line| line.to_string_lossy().to_uppercase())
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}
