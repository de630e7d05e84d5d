//! Talks to a WebSocket server: sends each line you type, prints what comes. Or is itself tested by a conformance tool that
//! is a server.
//!
//! ```sh
//! cargo run --release --example websocket_client -- ws://localhost:2346/any/path
//! cargo run --release --example websocket_client -- conformance ws://localhost:9001 workerman
//! ```
#![forbid(unsafe_code)]

use std::sync::mpsc::channel;

use workerman::prelude::*;
use workerman::websocket::deflate::Deflate;
use workerman::{BoxError, Connection, block_on};

/// Most bytes of a message, and of a frame, in a test of conformance.
const MOST: usize = 64 << 20;

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["conformance", server, agent] => conformance(server, agent),
        [address] => talk(address),
        _ => Err("usage: websocket_client ADDRESS | conformance SERVER AGENT".into()),
    }
}

/// Sends the lines of the standard input, and prints what comes.
fn talk(address: &str) -> Result<(), BoxError> {
    let conn = Client::websocket(address)
        .on_open(|conn, _| println!("connected to {}", conn.peer_addr()))
        .on_message(|_, message| {
            // Whatever a peer sends ends up on a terminal: no escape sequences.
            println!("{}", message.to_string().replace(|c: char| c.is_control() && c != '\n', " "));
        })
        .on_error(|_, error| eprintln!("{error}"))
        .on_close(|_, reason| println!("{reason}"))
        .connect()?;
    for line in std::io::stdin().lines() {
        // The end of the connection has been told.
        if conn.send(line?).is_err() {
            break;
        }
    }
    conn.close();
    Ok(block_on(conn.closed())?)
}

/// Asks for the number of cases, echoes through each of them, and lets the server write its report.
fn conformance(server: &str, agent: &str) -> Result<(), BoxError> {
    let (told, tells) = channel();
    visit(format!("{server}/getCaseCount"), move |_, message| {
        let _ = told.send(message.to_string());
        None
    })?;
    let cases: u32 = tells.try_recv()?.trim().parse()?;
    for case in 1..=cases {
        println!("case {case} of {cases}");
        visit(format!("{server}/runCase?case={case}&agent={agent}"), |_, message| Some(message))?;
    }
    visit(format!("{server}/updateReports?agent={agent}"), |_, _| None)
}

/// Connects, answers each message, and waits for the end.
fn visit(
    address: String,
    answer: impl Fn(&Connection<WebsocketClient>, Message) -> Option<Message> + Send + Sync + 'static,
) -> Result<(), BoxError> {
    Client::websocket(address)
        .compress(Deflate::new())
        .max_message(MOST)
        .max_frame(MOST)
        .settings(Settings { hard_limit: 2 * MOST, ..Settings::default() })
        .on_message(answer)
        .run()?;
    Ok(())
}
