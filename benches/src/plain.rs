//! The hand-written tokio server: a task per connection on a current-thread runtime, written as well as that allows.
//!
//! All tasks read into one buffer of the thread; everything that has arrived is decoded, and its answers leave in one
//! write. Messages are answered from where they lie, so there is no allocation per message.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::wire::Wire;

const BUFFER: usize = 64 * 1024;
/// Most bytes of a message that is not complete yet.
const MAX_MESSAGE: usize = 10 * 1024 * 1024;

/// The buffers that the connections of a thread share.
struct Scratch {
    input: Box<[u8]>,
    output: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { input: vec![0; BUFFER].into(), output: Vec::with_capacity(BUFFER) });
}

/// Serves for ever, in the runtime it is called in.
///
/// # Errors
/// The listener fails; a connection that fails is closed.
pub async fn serve(listener: TcpListener, wire: Wire) -> io::Result<Infallible> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // A peer that resets or talks nonsense loses its connection, and only that.
            let _ = Session { stream, wire, rest: Vec::new(), unsent: Vec::new() }.run().await;
        });
    }
}

struct Session {
    stream: TcpStream,
    wire: Wire,
    /// The beginning of a message that is not complete.
    rest: Vec<u8>,
    /// What the kernel did not take.
    unsent: Vec<u8>,
}

impl Session {
    async fn run(mut self) -> io::Result<()> {
        while poll_fn(|cx| SCRATCH.with_borrow_mut(|scratch| self.poll_batch(scratch, cx))).await? {
            if !self.unsent.is_empty() {
                self.stream.write_all(&self.unsent).await?;
                self.unsent = Vec::new();
            }
        }
        Ok(())
    }

    /// Reads once, answers what is complete in one write; false at the end of the stream.
    fn poll_batch(&mut self, scratch: &mut Scratch, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Scratch { input, output } = scratch;
        let mut buffer = ReadBuf::new(input);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let data = buffer.filled();
        if data.is_empty() {
            return Poll::Ready(Ok(false));
        }
        let answer = if self.wire == Wire::Tcp {
            data
        } else {
            output.clear();
            self.answer(data, output)?;
            &output[..]
        };
        let sent = match self.stream.try_write(answer) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if sent < answer.len() {
            self.unsent.extend_from_slice(&answer[sent..]);
        }
        Poll::Ready(Ok(true))
    }

    /// Decodes what is complete, appends its answers to `output`, keeps the rest.
    fn answer(&mut self, data: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        if self.rest.is_empty() {
            let used = echo_messages(self.wire, data, output)?;
            self.rest.extend_from_slice(&data[used..]);
        } else {
            self.rest.extend_from_slice(data);
            let used = echo_messages(self.wire, &self.rest, output)?;
            self.rest.drain(..used);
        }
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        if self.rest.len() > MAX_MESSAGE { Err(too_long()) } else { Ok(()) }
    }
}

/// Decodes the whole messages at the front of `input`, encodes them again, returns the bytes used.
fn echo_messages(wire: Wire, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
    let mut used = 0;
    while let Some((message, length)) = match wire {
        Wire::Tcp => (!input[used..].is_empty()).then(|| (&input[used..], input.len() - used)),
        Wire::Text => first_line(&input[used..]),
        Wire::Frame => first_frame(&input[used..])?,
    } {
        if wire == Wire::Frame {
            output.extend_from_slice(&(message.len() as u32 + 4).to_be_bytes());
        }
        output.extend_from_slice(message);
        if wire == Wire::Text {
            output.push(b'\n');
        }
        used += length;
    }
    Ok(used)
}

/// The first line without its end, and its length with it.
fn first_line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', input)?;
    let line = &input[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// The payload of the first frame, and the length of the frame.
fn first_frame(input: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let Some(head) = input.first_chunk::<4>() else { return Ok(None) };
    let total = u32::from_be_bytes(*head) as usize;
    if total < 4 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame shorter than its own head"));
    }
    if total > MAX_MESSAGE {
        return Err(too_long());
    }
    Ok(input.get(4..total).map(|payload| (payload, total)))
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the message is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_messages_are_echoed_and_the_rest_waits() {
        let mut output = Vec::new();
        assert_eq!(echo_messages(Wire::Text, b"one\r\ntwo\nthr", &mut output).unwrap(), 9);
        assert_eq!(output, b"one\ntwo\n");
        output.clear();
        assert_eq!(echo_messages(Wire::Frame, b"\0\0\0\x05a\0\0\0\x04\0\0\0\x06b", &mut output).unwrap(), 9);
        assert_eq!(output, b"\0\0\0\x05a\0\0\0\x04");
        assert!(echo_messages(Wire::Frame, b"\0\0\0\x03", &mut output).is_err());
        assert!(echo_messages(Wire::Frame, &u32::MAX.to_be_bytes(), &mut output).is_err());
    }
}
