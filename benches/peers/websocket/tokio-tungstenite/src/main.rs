//! `peer-tokio-tungstenite MODE ADDRESS`: tokio-tungstenite with a read buffer of 8 KiB instead of 128, and one write for
//! what has arrived together.
#![forbid(unsafe_code)]

use std::error::Error;
use std::rc::Rc;

use peer_websocket_support::{Hub, Mode, broadcast, echo_together, serve};
use tokio::net::TcpStream;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let hub = Rc::new(Hub::default());
    serve(false, move |stream, mode| run(stream, mode, Rc::clone(&hub)))
}

async fn run(stream: TcpStream, mode: Mode, hub: Rc<Hub<Message>>) {
    let config = WebSocketConfig::default().read_buffer_size(8 * 1024);
    let Ok(socket) = accept_async_with_config(stream, Some(config)).await else { return };
    let is_data = |message: &Message| message.is_text() || message.is_binary();
    match mode {
        Mode::Broadcast => broadcast(socket, hub, is_data).await,
        Mode::Echo | Mode::Deflate => echo_together(socket, is_data).await,
    }
}
