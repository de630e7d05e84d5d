//! Connections that are open, without a socket.

use std::time::Instant;

use workerman_protocol::testing::{Harness, Seen};
use workerman_protocol::websocket::deflate::Deflate;
use workerman_protocol::websocket::handshake::{Hello, Key};
use workerman_protocol::websocket::{Event, Kind, Websocket, WebsocketClient};
use workerman_protocol::{Protocol, Role};

use super::data::{Case, Setting};

/// A handshake's request, with these lines besides what it needs.
pub fn request(extra: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
    )
}

/// The answer to a request that a client has sent, with these lines besides what it needs.
///
/// # Panics
/// If there is no right key in the request.
pub fn answer(request: &[u8], extra: &str) -> String {
    let request = std::str::from_utf8(request).unwrap();
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let answer = Key::parse(key.as_bytes()).unwrap().answer();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{extra}\r\n",
        answer.as_str()
    )
}

/// What either side offers or answers of compression in a case.
pub fn extension(case: &Case) -> &'static str {
    match case.settings.get(&Setting::Deflate) {
        None => "",
        Some(2) => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        Some(_) => {
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
        }
    }
}

macro_rules! with_settings {
    ($value:expr, $case:expr) => {{
        let mut value = $value;
        for (&setting, &n) in &$case.settings {
            value = match setting {
                Setting::MaxMessage => value.max_message(n),
                Setting::MaxFrame => value.max_frame(n),
                Setting::MaxFragments => value.max_fragments(n as u32),
                Setting::Fragments => value.fragments(true),
                Setting::Only => value.only(if n == 1 { Kind::Text } else { Kind::Binary }),
                Setting::Deflate => value.compress(Deflate::new().takeover(n == 2)),
            };
        }
        value
    }};
}

/// The server with the settings of a case.
pub fn websocket(case: &Case) -> Websocket {
    with_settings!(Websocket::new(), case)
}

/// The client with the settings of a case.
///
/// # Panics
/// Never, with such an address.
pub fn client(case: &Case, url: &str) -> WebsocketClient {
    with_settings!(WebsocketClient::new(Hello::new(url).unwrap()), case)
}

/// A server's connection that is open; `extra` is in the request.
///
/// # Panics
/// If it does not open.
pub fn open_server(websocket: Websocket, extra: &str) -> Harness<Websocket> {
    let mut harness = Harness::new(websocket, Instant::now());
    harness.feed(request(extra).as_bytes());
    opened(&mut harness);
    assert!(harness.output().starts_with(b"HTTP/1.1 101 "));
    harness
}

/// A client's connection that is open; `extra` is in the answer.
///
/// # Panics
/// If it does not open.
pub fn open_client(client: WebsocketClient, extra: &str) -> Harness<WebsocketClient> {
    let mut harness = Harness::new(client, Instant::now()).role(Role::Client);
    harness.open();
    let answer = answer(&harness.output(), extra);
    harness.feed(answer.as_bytes());
    opened(&mut harness);
    harness
}

fn opened<P: Protocol<Event = Event>>(harness: &mut Harness<P>) {
    let seen = harness.seen();
    assert!(matches!(seen[..], [Seen::Event(Event::Open(_))]), "{}", harness.ended());
}
