//! A hook has nobody to reply to.
use workerman::prelude::*;

fn main() {
    let _ = Worker::text("127.0.0.1:0").on_worker_start(|worker| worker.name().to_owned());
}
