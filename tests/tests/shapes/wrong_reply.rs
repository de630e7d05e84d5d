//! A number is no line.
use workerman::prelude::*;

fn main() {
    let _ = Worker::text("127.0.0.1:0").on_message(|_, _| 42);
}
