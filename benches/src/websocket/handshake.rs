//! The client's side of the opening handshake, which is not measured.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// The key and its answer of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// As browsers offer it.
const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
/// Most bytes of the answer's head.
const MAX_HEAD: usize = 8 * 1024;

/// The request; its length is that of every request without compression.
pub fn request(deflate: bool) -> String {
    let extensions = if deflate { DEFLATE } else { "" };
    format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    )
}

/// The right answer to [`request`], without compression.
pub fn response() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
}

/// Asks for a WebSocket on `stream`, which blocks; with compression if `deflate`.
///
/// # Errors
/// The connection fails, or the answer is no right one, or does not agree to what is asked for.
pub fn open(stream: &mut TcpStream, deflate: bool) -> io::Result<()> {
    stream.write_all(request(deflate).as_bytes())?;
    let mut head = Vec::new();
    // The server has nothing to say behind it before it is spoken to.
    while !head.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 1024];
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if head.len() > MAX_HEAD => return Err(invalid("a handshake without end")),
            length => head.extend_from_slice(&piece[..length]),
        }
    }
    check(&head, deflate).map_err(invalid)
}

/// RFC 6455, section 4.1.
fn check(head: &[u8], deflate: bool) -> Result<(), &'static str> {
    let head = std::str::from_utf8(head).map_err(|_| "the handshake is no text")?;
    if !head.starts_with("HTTP/1.1 101 ") {
        return Err("the handshake is not answered by 101");
    }
    let field = |name: &str| {
        let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    };
    if !field("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err("the handshake's upgrade is not to websocket");
    }
    if !field("connection").is_some_and(|value| value.to_ascii_lowercase().contains("upgrade")) {
        return Err("the handshake's connection is not upgraded");
    }
    if field("sec-websocket-accept") != Some(ACCEPT) {
        return Err("the handshake's key is not accepted");
    }
    match field("sec-websocket-extensions") {
        Some(value) if deflate && value.starts_with("permessage-deflate") => Ok(()),
        Some(_) => Err("the handshake has an extension that nobody asked for"),
        None if deflate => Err("compression is not agreed to"),
        None => Ok(()),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_answer_will_do() {
        let right = response();
        assert_eq!(check(right.as_bytes(), false), Ok(()));
        assert_eq!(check(right.as_bytes(), true), Err("compression is not agreed to"));
        let agreed = right.replace("\r\n\r\n", "\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n");
        assert_eq!(check(agreed.as_bytes(), true), Ok(()));
        assert!(check(agreed.as_bytes(), false).unwrap_err().contains("extension"));
        for (what, instead) in [
            ("101 S", "400 S"),
            ("Upgrade: w", "Upgrade: h2w"),
            ("Connection: U", "Connection: close, -"),
            ("s3p", "s3q"),
        ] {
            assert!(check(right.replace(what, instead).as_bytes(), false).is_err(), "{instead}");
        }
    }
}
