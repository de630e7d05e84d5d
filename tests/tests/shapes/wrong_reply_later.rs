//! A number is no line, not even later.
use workerman::prelude::*;

fn main() {
    let _ = Worker::text("127.0.0.1:0").on_message_async(async |_, _| 42);
}
