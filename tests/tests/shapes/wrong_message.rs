//! The message's type is the protocol's.
use workerman::prelude::*;

fn main() {
    let _ = Worker::text("127.0.0.1:0").on_message(|_, frame: Bytes| frame);
}
