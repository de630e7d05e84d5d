//! `peer-tokio-websockets MODE ADDRESS`: tokio-websockets, with one write for what has arrived together.
#![forbid(unsafe_code)]

use std::error::Error;
use std::rc::Rc;

use peer_websocket_support::{Hub, Mode, broadcast, echo_when_all_are_taken, serve};
use tokio::net::TcpStream;
use tokio_websockets::{Config, Message, ServerBuilder};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let hub = Rc::new(Hub::default());
    serve(false, move |stream, mode| run(stream, mode, Rc::clone(&hub)))
}

async fn run(stream: TcpStream, mode: Mode, hub: Rc<Hub<Message>>) {
    let config = Config::default().flush_threshold(64 * 1024);
    let Ok((_, socket)) = ServerBuilder::new().config(config).accept(stream).await else { return };
    let is_data = |message: &Message| message.is_text() || message.is_binary();
    match mode {
        Mode::Broadcast => broadcast(socket, hub, is_data).await,
        Mode::Echo | Mode::Deflate => echo_when_all_are_taken(socket, is_data).await,
    }
}
