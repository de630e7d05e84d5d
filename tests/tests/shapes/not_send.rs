//! Handlers run on any thread of the worker.
use std::rc::Rc;

use workerman::prelude::*;

fn main() {
    let name = Rc::new("server".to_owned());
    let _ = Worker::text("127.0.0.1:0").on_message(move |_, _| name.to_string());
}
