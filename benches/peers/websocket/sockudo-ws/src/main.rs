//! `peer-sockudo-ws MODE ADDRESS`: sockudo-ws without its timers, with one write for what has arrived together.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io;
use std::rc::Rc;

use peer_websocket_support::{Hub, Mode, broadcast, echo_together, serve};
use sockudo_ws::deflate::DeflateConfig;
use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
use sockudo_ws::{CompressedWebSocketStream, Config, Message, WebSocketStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let hub = Rc::new(Hub::default());
    serve(true, move |stream, mode| run(stream, mode, Rc::clone(&hub)))
}

async fn run(mut stream: TcpStream, mode: Mode, hub: Rc<Hub<Message>>) {
    let deflate = (mode == Mode::Deflate).then(|| DeflateConfig {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        compression_level: 1,
        ..DeflateConfig::default()
    });
    if handshake(&mut stream, deflate.as_ref()).await.is_err() {
        return;
    }
    let config = Config::builder().auto_ping(false).idle_timeout(0).build();
    let is_data = |message: &Message| matches!(message, Message::Text(_) | Message::Binary(_));
    match deflate {
        Some(deflate) => {
            echo_together(CompressedWebSocketStream::server(stream, config, deflate), is_data).await;
        }
        None if mode == Mode::Broadcast => {
            broadcast(WebSocketStream::server(stream, config), hub, is_data).await;
        }
        None => echo_together(WebSocketStream::server(stream, config), is_data).await,
    }
}

/// As in its examples: it has no server of its own for a plain stream.
async fn handshake(stream: &mut TcpStream, deflate: Option<&DeflateConfig>) -> io::Result<()> {
    let mut received = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((request, _)) = parse_request(&received).map_err(io::Error::other)? {
            let extensions = deflate.map(DeflateConfig::to_response_header);
            let response = build_response(&generate_accept_key(request.key), None, extensions.as_deref());
            return stream.write_all(&response).await;
        }
    }
}
