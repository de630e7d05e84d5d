//! `bench-server tcp|text|frame|http ADDRESS`: one worker, one thread, in process, by the API that users have.
//!
//! The first three echo; over HTTP there are `GET /plaintext`, `/256` and `/100k`, and `POST /echo`.
//! `WORKERMAN_EVENT_LOOP` chooses the backend.
#![forbid(unsafe_code)]

use std::error::Error;
use std::net::SocketAddr;

use workerman::http::Method;
use workerman::prelude::*;
use workerman_benches::arguments::Arguments;
use workerman_benches::wire::Wire;

const SMALL: &[u8] = &[b'x'; 256];
const LARGE: &[u8] = &[b'x'; 102_400];

fn main() -> Result<(), Box<dyn Error>> {
    #[cfg(target_os = "linux")]
    workerman_benches::process::end_with_parent()?;
    let mut arguments = Arguments::of_process();
    let protocol: String = arguments.word("protocol (tcp, text, frame or http)")?;
    let address = arguments.word::<SocketAddr>("address")?.to_string();
    arguments.finish()?;
    if protocol == "http" {
        return run(Worker::http(address).server("workerman").on_message(|_, request| answer(request)));
    }
    match protocol.parse()? {
        Wire::Tcp => run(Worker::tcp(address).on_message(|_, bytes| bytes)),
        Wire::Text => run(Worker::text(address).on_message(|_, line| line)),
        Wire::Frame => run(Worker::frame(address).on_message(|_, frame| frame)),
    }
}

fn answer(request: Request) -> Response {
    match (request.method(), request.path()) {
        (&Method::GET, "/plaintext") => Response::text("Hello, World!"),
        (&Method::GET, "/256") => Response::text(Bytes::from_static(SMALL)),
        (&Method::GET, "/100k") => Response::text(Bytes::from_static(LARGE)),
        (&Method::POST, "/echo") => Response::bytes(request.into_body()),
        _ => Response::not_found(),
    }
}

fn run<P: Protocol>(worker: Worker<P>) -> Result<(), Box<dyn Error>> {
    let bound = worker.bind()?;
    for address in bound.addresses() {
        println!("listening on {address}");
    }
    Ok(bound.run()?)
}
