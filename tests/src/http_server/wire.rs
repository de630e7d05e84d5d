//! A connection of a client that speaks bytes and reads answers strictly.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use workerman::sim;

use super::sealed::Sealed;

/// How the end of an answer's body was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is no body.
    None,
    /// By its length.
    Length,
    /// By its last chunk.
    Chunked,
    /// By the end of the stream.
    Close,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Its body, without the framing.
    pub body: Vec<u8>,
    /// The fields behind the body.
    pub trailers: Vec<(String, String)>,
    /// How its end was told.
    pub framing: Framing,
}

impl Answer {
    /// The only value of a field.
    ///
    /// # Panics
    /// If there are two.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(own, _)| own == name);
        let first = values.next();
        assert!(values.next().is_none(), "two fields {name} in {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// Whether it says that the connection ends.
    pub fn closes(&self) -> bool {
        self.field("connection") == Some("close")
    }
}

/// Why there is no (whole) answer.
#[derive(Debug)]
pub enum Broken {
    /// The stream has ended before an answer has begun.
    Ended,
    /// The stream has ended, or was reset, within an answer; this came of its body.
    Truncated(Vec<u8>),
    /// The connection was reset before an answer has begun.
    Reset,
}

/// A connection to the worker. Dropping it closes it.
pub struct Wire {
    stream: Stream,
    /// Received and not taken.
    input: Vec<u8>,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Clean,
    Reset,
}

enum Stream {
    Sim(sim::Wire),
    Real(TcpStream),
    /// Through a layer.
    Sealed(Box<Sealed>),
    /// Another half writes.
    Reads(ReadHalf<Box<Stream>>),
}

/// The half of a [`Wire`] that sends while the other one reads.
pub struct Says(WriteHalf<Box<Stream>>);

impl Says {
    /// Sends bytes.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref()).await?;
        self.0.flush().await
    }

    /// Ends the stream.
    pub async fn finish(mut self) {
        let _ = self.0.shutdown().await;
    }
}

impl fmt::Debug for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Says")
    }
}

impl Wire {
    pub(super) fn simulated(wire: sim::Wire) -> Self {
        Self { stream: Stream::Sim(wire), input: Vec::new(), end: None }
    }

    pub(super) fn sealed(wire: sim::Wire) -> Self {
        Self { stream: Stream::Sealed(Box::new(Sealed::new(wire))), input: Vec::new(), end: None }
    }

    pub(super) fn real(stream: TcpStream) -> Self {
        Self { stream: Stream::Real(stream), input: Vec::new(), end: None }
    }

    /// Reads here, and sends there.
    pub fn split(self) -> (Self, Says) {
        let (reads, writes) = tokio::io::split(Box::new(self.stream));
        (Self { stream: Stream::Reads(reads), ..self }, Says(writes))
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// If the connection is broken.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_say(bytes).await.expect("an open connection");
    }

    /// Sends bytes, when failing is what is tested.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Sends as many bytes as the network takes until it takes none for a minute of virtual time, at most `most`;
    /// returns how many.
    pub async fn pour(&mut self, most: usize) -> usize {
        let mut poured = 0;
        while poured < most {
            let some = vec![b'p'; (most - poured).min(16 * 1024)];
            let minute = Duration::from_secs(60);
            match tokio::time::timeout(minute, self.stream.write(&some)).await {
                Ok(Ok(count)) => poured += count,
                Ok(Err(_)) | Err(_) => break,
            }
        }
        poured
    }

    /// Sends bytes one at a time, and lets everybody look at each.
    pub async fn drip(&mut self, bytes: impl AsRef<[u8]>, every: Duration) {
        for byte in bytes.as_ref() {
            self.say([*byte]).await;
            tokio::time::sleep(every).await;
        }
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.say(&request).await;
        if request.as_ref().starts_with(b"HEAD ") { self.answer_to_head().await } else { self.answer().await }
    }

    /// Sends bytes while it reads, ends its stream, and returns all that comes back up to the end, dates left out.
    pub async fn exchange(self, says: impl AsRef<[u8]>) -> String {
        let (mut reads, mut writes) = self.split();
        let writing = async {
            // A server that closes early does not want the rest.
            let _ = writes.try_say(says).await;
            writes.finish().await;
        };
        let (rest, ()) = tokio::join!(reads.rest(), writing);
        without_dates(&rest)
    }

    /// Reads the next answer, to a request that is no HEAD.
    ///
    /// # Panics
    /// If it does not come whole, or is not one.
    pub async fn answer(&mut self) -> Answer {
        self.try_answer().await.unwrap_or_else(|broken| panic!("no answer: {broken:?}"))
    }

    /// Reads the next answer; being told to continue comes before it, or not.
    ///
    /// # Panics
    /// If it does not come whole, or is not one.
    pub async fn final_answer(&mut self) -> Answer {
        let answer = self.answer().await;
        if answer.status == 100 { self.answer().await } else { answer }
    }

    /// Reads the next answer, to a HEAD request.
    ///
    /// # Panics
    /// If it does not come whole, or is not one.
    pub async fn answer_to_head(&mut self) -> Answer {
        self.read_answer(true).await.unwrap_or_else(|broken| panic!("no answer: {broken:?}"))
    }

    /// Reads the next answer, to a HEAD request or not.
    ///
    /// # Panics
    /// If it does not come whole, or is not one.
    pub async fn next(&mut self, to_head: bool) -> Answer {
        if to_head { self.answer_to_head().await } else { self.answer().await }
    }

    /// Reads the next answer, when failing is what is tested.
    ///
    /// # Errors
    /// It does not come whole.
    pub async fn try_answer(&mut self) -> Result<Answer, Broken> {
        self.read_answer(false).await
    }

    /// Reads the head of the next answer, and leaves its body to be read as bytes.
    pub async fn head(&mut self) -> Answer {
        self.read_head().await.unwrap_or_else(|broken| panic!("no head: {broken:?}"))
    }

    async fn read_answer(&mut self, to_head: bool) -> Result<Answer, Broken> {
        let mut answer = self.read_head().await?;
        let coded = answer.field("transfer-encoding").map(|coding| assert_eq!(coding, "chunked")).is_some();
        let length: Option<usize> =
            answer.field("content-length").map(|length| length.parse().expect("a length"));
        assert!(!(coded && length.is_some()), "framed twice: {answer:?}");
        answer.framing =
            match (to_head || answer.status < 200 || [204, 304].contains(&answer.status), coded, length) {
                (true, ..) => Framing::None,
                (_, true, _) => Framing::Chunked,
                (_, _, Some(_)) => Framing::Length,
                _ => Framing::Close,
            };
        match answer.framing {
            Framing::None => {}
            Framing::Length => {
                let length = length.unwrap_or(0);
                if !self.has(length).await {
                    return Err(Broken::Truncated(std::mem::take(&mut self.input)));
                }
                answer.body = self.input.drain(..length).collect();
            }
            Framing::Close => {
                while self.fill().await {}
                answer.body = std::mem::take(&mut self.input);
                if self.end == Some(End::Reset) {
                    return Err(Broken::Truncated(answer.body));
                }
            }
            Framing::Chunked => self.read_chunks(&mut answer).await?,
        }
        Ok(answer)
    }

    async fn read_chunks(&mut self, answer: &mut Answer) -> Result<(), Broken> {
        loop {
            let Some(line) = self.take_line().await else {
                return Err(Broken::Truncated(std::mem::take(&mut answer.body)));
            };
            let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
            if size == 0 {
                break;
            }
            if !self.has(size + 2).await {
                answer.body.append(&mut self.input);
                return Err(Broken::Truncated(std::mem::take(&mut answer.body)));
            }
            answer.body.extend(self.input.drain(..size));
            let end: Vec<u8> = self.input.drain(..2).collect();
            assert_eq!(end, b"\r\n", "the end of a chunk");
        }
        loop {
            match self.take_line().await {
                None => return Err(Broken::Truncated(std::mem::take(&mut answer.body))),
                Some(line) if line.is_empty() => return Ok(()),
                Some(line) => answer.trailers.push(field(&line)),
            }
        }
    }

    async fn read_head(&mut self) -> Result<Answer, Broken> {
        let Some(line) = self.take_line().await else {
            return Err(match self.end {
                Some(End::Reset) => Broken::Reset,
                _ if self.input.is_empty() => Broken::Ended,
                _ => Broken::Truncated(Vec::new()),
            });
        };
        let rest = line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("no status line: {line:?}"));
        assert!(rest.as_bytes().get(3) == Some(&b' '), "no reason behind the status: {line:?}");
        let status = rest[..3].parse().expect("a status");
        let mut answer = Answer {
            status,
            fields: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
            framing: Framing::None,
        };
        loop {
            match self.take_line().await {
                None => return Err(Broken::Truncated(Vec::new())),
                Some(line) if line.is_empty() => return Ok(answer),
                Some(line) => answer.fields.push(field(&line)),
            }
        }
    }

    /// Waits for an interim answer `100 Continue`.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn continues(&mut self) {
        let interim = self.head().await;
        assert_eq!((interim.status, interim.fields.len()), (100, 0));
    }

    /// Exactly so many bytes.
    ///
    /// # Panics
    /// If the stream ends before.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        assert!(self.has(count).await, "the connection has ended after {} bytes", self.input.len());
        self.input.drain(..count).collect()
    }

    /// What comes up to the clean end of the stream.
    ///
    /// # Panics
    /// If it is reset.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        assert_eq!(self.end, Some(End::Clean), "reset after {} bytes", self.input.len());
        std::mem::take(&mut self.input)
    }

    /// Waits for the clean end of the stream, before which nothing comes any more.
    ///
    /// # Panics
    /// If something comes, or a reset.
    pub async fn is_over(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "more came: {}", String::from_utf8_lossy(&rest));
    }

    /// Waits for the end of the stream, or for a reset.
    pub async fn is_gone(&mut self) {
        while self.fill().await {}
    }

    /// Whether nothing comes, not even an end, for so long in virtual time.
    pub async fn is_silent(&mut self, time: Duration) -> bool {
        self.input.is_empty() && self.end.is_none() && tokio::time::timeout(time, self.fill()).await.is_err()
    }

    /// Ends its own stream; the other side can still send.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Closes with a reset.
    pub fn reset(self) {
        match self.stream {
            Stream::Sim(wire) => wire.socket().sever(),
            Stream::Sealed(sealed) => sealed.wire().socket().sever(),
            Stream::Real(stream) => {
                // Dropping it then is a reset.
                stream.set_zero_linger().expect("an open socket");
            }
            Stream::Reads(_) => panic!("a half cannot reset"),
        }
    }

    /// A line without its end; `None` if the stream has ended before.
    async fn take_line(&mut self) -> Option<String> {
        let mut from = 0;
        loop {
            if let Some(at) = self.input[from..].iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.input.drain(..=from + at).collect();
                line.pop();
                assert_eq!(line.pop(), Some(b'\r'), "a line ends with CR LF");
                return Some(String::from_utf8(line).expect("text"));
            }
            from = self.input.len();
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Waits until so many bytes are there.
    async fn has(&mut self, count: usize) -> bool {
        while self.input.len() < count {
            if !self.fill().await {
                return false;
            }
        }
        true
    }

    /// Reads more; `false` at the end. To give it up loses nothing.
    async fn fill(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => self.end = Some(End::Clean),
            Ok(_) => return true,
            Err(_) => self.end = Some(End::Reset),
        }
        false
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}"));
    (name.to_ascii_lowercase(), value.to_owned())
}

/// What was said as text, without its `Date` lines.
fn without_dates(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    said.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect()
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("input", &self.input.len())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Sim(wire) => Pin::new(wire).poll_read(cx, buf),
            Self::Sealed(sealed) => Pin::new(sealed).poll_read(cx, buf),
            Self::Real(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Reads(half) => Pin::new(half).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Sim(wire) => Pin::new(wire).poll_write(cx, bytes),
            Self::Sealed(sealed) => Pin::new(sealed).poll_write(cx, bytes),
            Self::Real(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Reads(_) => panic!("the other half writes"),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Sealed(sealed) => Pin::new(sealed).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Sim(wire) => Pin::new(wire).poll_shutdown(cx),
            Self::Sealed(sealed) => Pin::new(sealed).poll_shutdown(cx),
            Self::Real(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Reads(_) => panic!("the other half writes"),
        }
    }
}
