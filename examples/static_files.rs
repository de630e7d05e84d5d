//! The files below a folder, with ranges, preconditions and encodings that lie beside them.
//!
//! ```sh
//! cargo run --release --example static_files -- .    # or: -- FOLDER 127.0.0.1:0
//! curl --range 0-99 http://localhost:2345/README.md
//! ```
#![forbid(unsafe_code)]

use workerman::http::HeaderValue;
use workerman::http::files::Files;
use workerman::prelude::*;

fn main() -> workerman::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().unwrap_or_else(|| ".".to_owned());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:2345".to_owned());
    // A browser keeps what it has, and asks each time whether it is still right.
    let files = Files::new(root)
        .index("index.html")
        .precompressed(true)
        .cache_control(HeaderValue::from_static("no-cache"));
    Worker::http(address)
        .name("static_files")
        .on_message(move |_, request| files.respond(&request))
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}
