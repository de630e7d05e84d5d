//! What is sent converts into the protocol's outgoing message.
use workerman::prelude::*;

fn main() {
    let _ = Worker::text("127.0.0.1:0").on_connect(|conn| conn.send(3.5));
}
