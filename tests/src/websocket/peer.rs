//! A peer of ours on a simulated network, which speaks by the independent codec.

use std::collections::VecDeque;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_event::sim::{HostAddr, Network, SimStream};

use super::codec::{Frame, Reader};
use super::opening;

/// A client of our server, or a server of our client.
#[derive(Debug)]
pub struct Peer {
    /// The stream below.
    pub stream: SimStream,
    reader: Reader,
    frames: VecDeque<Frame>,
    masks: bool,
}

/// The head that comes next, to its empty line.
///
/// # Panics
/// If the stream ends before.
pub async fn head(stream: &mut SimStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    String::from_utf8(head).unwrap()
}

impl Peer {
    /// A client that is open.
    ///
    /// # Panics
    /// If the server does not answer with 101.
    pub async fn connect(network: &Network, from: HostAddr, server: HostAddr, port: u16) -> Self {
        let mut stream = network.connect(from, server.socket(port)).await.expect("a server");
        stream.write_all(opening::request("").as_bytes()).await.unwrap();
        let head = head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self { stream, reader: Reader::new(false, false), frames: VecDeque::new(), masks: true }
    }

    /// A server on a stream that one of our clients has opened.
    ///
    /// # Panics
    /// If the client asks for something else.
    pub async fn accept(mut stream: SimStream) -> Self {
        let request = head(&mut stream).await;
        stream.write_all(opening::answer(request.as_bytes(), "").as_bytes()).await.unwrap();
        Self { stream, reader: Reader::new(true, false), frames: VecDeque::new(), masks: false }
    }

    /// The bytes of a frame of this side.
    pub fn bytes(&self, frame: &Frame) -> Vec<u8> {
        frame.bytes(self.masks.then_some([0x12, 0x34, 0x56, 0x78]))
    }

    /// Sends a frame.
    ///
    /// # Panics
    /// If the connection is gone.
    pub async fn send(&mut self, frame: &Frame) {
        let bytes = self.bytes(frame);
        self.stream.write_all(&bytes).await.expect("an open connection");
    }

    /// The next frame; `None` at the end of the stream, or after a reset.
    ///
    /// # Panics
    /// If it breaks a rule.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            let mut buffer = [0; 4096];
            let n = self.stream.read(&mut buffer).await.unwrap_or(0);
            if n == 0 {
                assert!(self.reader.left().is_empty(), "the stream ends within a frame");
                return None;
            }
            self.reader.push(&buffer[..n]);
            self.frames.extend(self.reader.all().expect("a lawful frame"));
        }
    }

    /// All frames up to the end of the stream.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        frames
    }
}
