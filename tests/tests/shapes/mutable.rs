//! Handlers run on several threads at a time: what they count with must be shareable.
use workerman::prelude::*;

fn main() {
    let mut count = 0;
    let _ = Worker::text("127.0.0.1:0").on_message(move |_, _| {
        count += 1;
        count.to_string()
    });
}
