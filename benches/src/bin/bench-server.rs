//! `bench-server tcp|text|frame|http|websocket|deflate|broadcast ADDRESS`: one worker, one thread, in process, by the API
//! that users have.
//!
//! The first three echo; over HTTP there are `GET /plaintext`, `/256` and `/100k`, and `POST /echo`. The last three are
//! WebSocket on any path: an echo, the same with compression, and one that sends every message to all others.
//! `WORKERMAN_EVENT_LOOP` chooses the backend.
#![forbid(unsafe_code)]

use std::error::Error;
use std::net::SocketAddr;

use workerman::http::Method;
use workerman::prelude::*;
use workerman::websocket::deflate::Deflate;
use workerman_benches::arguments::Arguments;
use workerman_benches::wire::Wire;

const SMALL: &[u8] = &[b'x'; 256];
const LARGE: &[u8] = &[b'x'; 102_400];

fn main() -> Result<(), Box<dyn Error>> {
    #[cfg(target_os = "linux")]
    workerman_benches::process::end_with_parent()?;
    let mut arguments = Arguments::of_process();
    let protocol: String = arguments.word("protocol")?;
    let address = arguments.word::<SocketAddr>("address")?.to_string();
    arguments.finish()?;
    match &*protocol {
        "http" => run(Worker::http(address).server("workerman").on_message(|_, request| answer(request))),
        "websocket" => run(Worker::websocket(address).on_message(|_, message| message)),
        "deflate" => {
            let websocket = Websocket::new().compress(Deflate::new());
            run(Worker::websocket(address).protocol(websocket).on_message(|_, message| message))
        }
        "broadcast" => run(Worker::websocket(address).on_message(|conn, message| {
            conn.worker().broadcast_except(message, |other| other == conn)?;
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        })),
        wire => match wire.parse()? {
            Wire::Tcp => run(Worker::tcp(address).on_message(|_, bytes| bytes)),
            Wire::Text => run(Worker::text(address).on_message(|_, line| line)),
            Wire::Frame => run(Worker::frame(address).on_message(|_, frame| frame)),
        },
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
