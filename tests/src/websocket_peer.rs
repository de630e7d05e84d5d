//! A client by hand: heads as they are sent, frames byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::workers::PATIENCE;

/// The key of the example of RFC 6455.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A right request, with more lines.
pub fn hello(target: &str, lines: &[&str]) -> String {
    let mut head = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    );
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

/// A whole frame of a client: masked, with the opcode and the FIN bit.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The first frame of what a server has sent, with its length on the wire: FIN and opcode, payload.
pub fn parse(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let [first, second, rest @ ..] = bytes else { return None };
    assert_eq!(second & 0x80, 0, "a server masks nothing");
    let (length, head) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(head..head + length)?;
    Some((*first, payload.to_vec(), head + length))
}

/// A blocking client.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    /// Connects, and says nothing.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Connects and opens; the head of the answer must be a 101.
    pub fn open(address: SocketAddr, target: &str, lines: &[&str]) -> Self {
        let mut peer = Self::connect(address);
        let answer = peer.ask(&hello(target, lines));
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        peer
    }

    /// Sends a head and waits for one.
    pub fn ask(&mut self, head: &str) -> String {
        self.say(head.as_bytes());
        self.head()
    }

    /// The head of an answer.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.read.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = self.read.drain(..at + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert!(self.more(), "the stream ended after {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Sends bytes.
    pub fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a text.
    pub fn text(&mut self, text: &str) {
        self.say(&frame(1, text.as_bytes()));
    }

    fn more(&mut self) -> bool {
        let mut piece = [0; 65536];
        match self.stream.read(&mut piece) {
            Ok(count) => {
                self.read.extend_from_slice(&piece[..count]);
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error} after {} bytes", self.read.len()),
        }
    }

    /// The next frame: its first byte and its payload; `None` at the end of the stream.
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((first, payload, length)) = parse(&self.read) {
                self.read.drain(..length);
                return Some((first, payload));
            }
            if !self.more() {
                assert!(self.read.is_empty(), "half a frame: {:?}", self.read);
                return None;
            }
        }
    }

    /// The next frame, which must be a whole text.
    pub fn line(&mut self) -> String {
        match self.frame() {
            Some((0x81, payload)) => String::from_utf8(payload).unwrap(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The next frame, which must be a close frame: its code and its reason. The end of the stream follows our answer.
    pub fn closed(&mut self) -> (u16, String) {
        let Some((0x88, payload)) = self.frame() else { panic!("no close frame") };
        self.say(&frame(8, &payload[..2.min(payload.len())]));
        assert_eq!(self.frame(), None, "something behind the close frame");
        let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
        (code, String::from_utf8(payload.get(2..).unwrap_or_default().to_vec()).unwrap())
    }

    /// Everything up to the end of the stream.
    pub fn rest(&mut self) -> String {
        while self.more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }
}
