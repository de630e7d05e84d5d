//! `peer-tokio-tungstenite-default MODE ADDRESS`: tokio-tungstenite as its examples use it.
#![forbid(unsafe_code)]

use std::error::Error;
use std::rc::Rc;

use peer_websocket_support::{Hub, Mode, broadcast, echo_singly, serve};
use tokio::net::TcpStream;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let hub = Rc::new(Hub::default());
    serve(false, move |stream, mode| run(stream, mode, Rc::clone(&hub)))
}

async fn run(stream: TcpStream, mode: Mode, hub: Rc<Hub<Message>>) {
    let Ok(socket) = accept_async(stream).await else { return };
    let is_data = |message: &Message| message.is_text() || message.is_binary();
    match mode {
        Mode::Broadcast => broadcast(socket, hub, is_data).await,
        Mode::Echo | Mode::Deflate => echo_singly(socket, is_data).await,
    }
}
