//! An async closure that borrows the connection belongs to `on_message_async`.
use workerman::prelude::*;

fn main() {
    let _ = Worker::text("127.0.0.1:0").on_message(async |conn, line| conn.send(line));
}
