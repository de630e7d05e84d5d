//! Answers with what it was sent: the target of conformance tools.
//!
//! `GET /` is answered with `OK`, `/echo` with the field lines of the request, `/cookie` with its cookies, one `name=value`
//! a line, and everything else with its own body. The status is always 200, unless the request breaks a rule of HTTP.
//!
//! ```sh
//! cargo run --release --example http_echo            # or: -- 127.0.0.1:0
//! curl http://localhost:2345/echo -H 'X-Kind: test'
//! ```
#![forbid(unsafe_code)]

use workerman::http::Method;
use workerman::prelude::*;

fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:2345".to_owned());
    Worker::http(address)
        .name("http_echo")
        .on_message(|_, request| echo(request))
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}

fn echo(request: Request) -> Response {
    match request.path() {
        "/echo" => {
            let mut lines = Vec::new();
            for (name, value) in request.fields() {
                // Values need not be text.
                lines.extend_from_slice(&[name.as_bytes(), b": ", value, b"\n"].concat());
            }
            Response::text(lines)
        }
        "/cookie" => Response::text(
            request.cookies().map(|(name, value)| format!("{name}={value}\n")).collect::<String>(),
        ),
        "/" if request.method() == Method::GET && request.bytes().is_some_and(Bytes::is_empty) => {
            Response::text("OK")
        }
        _ => Response::bytes(request.into_body()),
    }
}
