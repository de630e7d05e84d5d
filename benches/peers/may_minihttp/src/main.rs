//! `peer-may_minihttp ADDRESS`: may_minihttp with one worker thread.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Read};
use std::net::TcpListener;

use may_minihttp::{HttpServer, HttpService, Request, Response};

/// Of a coroutine, in words of eight bytes; 10 KiB of a request's head lie on it, and twice as much of an answer's.
const STACK: usize = 0x1000;
const CONNECTIONS: usize = 10_100;

#[derive(Clone)]
struct Answer;

impl HttpService for Answer {
    fn call(&mut self, request: Request<'_, '_, '_>, response: &mut Response<'_>) -> io::Result<()> {
        // The path is given with its query.
        let path = request.path().split('?').next().unwrap_or_default();
        let body = match (request.method(), path) {
            ("GET", "/plaintext") => peer_support::PLAINTEXT,
            ("GET", "/256") => peer_support::SMALL,
            ("GET", "/100k") => peer_support::LARGE,
            ("POST", "/echo") => {
                let mut body = Vec::new();
                request.body().read_to_end(&mut body)?;
                response.header("Content-Type: text/plain").body_vec(body);
                return Ok(());
            }
            _ => {
                response.status_code(404, "Not Found");
                return Ok(());
            }
        };
        response.header("Content-Type: text/plain").body(body);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    peer_support::end_with_bench();
    may::config().set_workers(1).set_pool_capacity(CONNECTIONS).set_stack_size(STACK);
    // It binds by itself and does not tell the port: choose a free one for it.
    let address = TcpListener::bind(peer_support::address()?)?.local_addr()?;
    let server = HttpServer(Answer).start(address)?;
    println!("listening on {address}");
    server.join().map_err(|_| "the server panicked")?;
    Ok(())
}
