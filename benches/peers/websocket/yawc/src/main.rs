//! `peer-yawc MODE ADDRESS`: yawc behind hyper's upgrade, with one write for what has arrived together.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::rc::Rc;

use futures_util::StreamExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use peer_websocket_support::{Hub, Mode, broadcast, echo_together, serve};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use yawc::{CompressionLevel, Frame, OpCode, Options, UpgradeFut, WebSocket};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let hub = Rc::new(Hub::default());
    serve(true, move |stream, mode| run(stream, mode, Rc::clone(&hub)))
}

async fn run(stream: TcpStream, mode: Mode, hub: Rc<Hub<Frame>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let upgrade = WebSocket::upgrade_with_options(request, options(mode));
        let hub = Rc::clone(&hub);
        async move {
            let (response, socket) = upgrade?;
            spawn_local(talk(socket, mode, hub));
            Ok::<_, yawc::WebSocketError>(response)
        }
    });
    // A client that resets its connection ends that one only.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

fn options(mode: Mode) -> Options {
    let options = Options::default().with_utf8().with_backpressure_boundary(64 * 1024);
    if mode == Mode::Deflate {
        let options = options.with_compression_level(CompressionLevel::fast());
        options.server_no_context_takeover().client_no_context_takeover()
    } else {
        options.without_compression()
    }
}

async fn talk(socket: UpgradeFut, mode: Mode, hub: Rc<Hub<Frame>>) {
    let Ok(socket) = socket.await else { return };
    let socket = socket.map(Ok::<_, Infallible>);
    let is_data = |frame: &Frame| matches!(frame.opcode(), OpCode::Text | OpCode::Binary);
    match mode {
        Mode::Broadcast => broadcast(socket, hub, is_data).await,
        Mode::Echo | Mode::Deflate => echo_together(socket, is_data).await,
    }
}
