//! `bench-server tcp|text|frame ADDRESS`: one worker, one thread, in process, by the API that users have.
//!
//! `WORKERMAN_EVENT_LOOP` chooses the backend.
#![forbid(unsafe_code)]

use std::error::Error;

use workerman::{Protocol, Worker};
use workerman_benches::arguments;
use workerman_benches::wire::Wire;

fn main() -> Result<(), Box<dyn Error>> {
    #[cfg(target_os = "linux")]
    workerman_benches::process::end_with_parent()?;
    let (wire, address) = arguments::of_server()?;
    let address = address.to_string();
    match wire {
        Wire::Tcp => run(Worker::tcp(address).on_message(|_, bytes| bytes)),
        Wire::Text => run(Worker::text(address).on_message(|_, line| line)),
        Wire::Frame => run(Worker::frame(address).on_message(|_, frame| frame)),
    }
}

fn run<P: Protocol>(worker: Worker<P>) -> Result<(), Box<dyn Error>> {
    let bound = worker.bind()?;
    for address in bound.addresses() {
        println!("listening on {address}");
    }
    Ok(bound.run()?)
}
