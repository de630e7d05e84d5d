//! A file as a stream of pieces, read on threads that may wait.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::parts::Piece;
use super::ranges::Span;

/// A body that is read as it is polled: while one piece is being sent, the next one is read, and no more than that.
///
/// Dropped, it reads nothing further; a read that has begun ends by itself.
#[derive(Debug)]
pub(crate) struct Reading {
    file: Arc<File>,
    pieces: VecDeque<Piece>,
    /// Most bytes of one read.
    size: usize,
    ahead: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Reading {
    /// Nothing is read before it is polled.
    pub(crate) fn new(file: File, pieces: VecDeque<Piece>, size: usize) -> Self {
        Self { file: Arc::new(file), pieces, size: size.max(1), ahead: None }
    }

    /// Begins to read what comes next, if that is in the file.
    fn begin(&mut self) -> io::Result<()> {
        let Some(Piece::Span(span)) = self.pieces.front_mut() else { return Ok(()) };
        // A span is never longer than it was announced, so what is appended to the file meanwhile is not sent.
        let now = Span { first: span.first, length: span.length.min(self.size as u64) };
        span.first += now.length;
        span.length -= now.length;
        if span.length == 0 {
            self.pieces.pop_front();
        }
        // Polled outside of a runtime there are no threads to read on.
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let file = Arc::clone(&self.file);
        self.ahead = Some(runtime.spawn_blocking(move || read(&file, now)));
        Ok(())
    }

    fn fail(&mut self, error: io::Error) -> Poll<Option<io::Result<Bytes>>> {
        self.pieces.clear();
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Reading {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.ahead.is_none() {
            match self.pieces.front_mut() {
                None => return Poll::Ready(None),
                Some(Piece::Bytes(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    self.pieces.pop_front();
                    return match self.begin() {
                        Ok(()) => Poll::Ready(Some(Ok(bytes))),
                        Err(error) => self.fail(error),
                    };
                }
                Some(Piece::Span(_)) => {
                    if let Err(error) = self.begin() {
                        return self.fail(error);
                    }
                }
            }
        }
        let Some(ahead) = &mut self.ahead else { return Poll::Ready(None) };
        let read = ready!(Pin::new(ahead).poll(cx));
        self.ahead = None;
        let read = read.unwrap_or_else(|gone| Err(io::Error::other(gone)));
        match read.and_then(|bytes| self.begin().map(|()| bytes)) {
            Ok(bytes) => Poll::Ready(Some(Ok(bytes.into()))),
            Err(error) => self.fail(error),
        }
    }
}

/// Reads a span, which ought to be there; blocks.
///
/// # Errors
/// `UnexpectedEof` if the file has become shorter than it was when its length was announced.
pub(crate) fn read(file: &File, span: Span) -> io::Result<Vec<u8>> {
    // A span that is read at once is as long as a setting allows, never as long as the file.
    let wanted = usize::try_from(span.length).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(wanted);
    fill(file, span, wanted, &mut bytes)?;
    if bytes.len() < wanted {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
    }
    Ok(bytes)
}

#[cfg(unix)]
fn fill(file: &File, span: Span, wanted: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    use rustix::buffer::spare_capacity;
    use rustix::io::{Errno, pread};

    while bytes.len() < wanted {
        let at = span.first + bytes.len() as u64;
        // An allocation may be larger than what was asked for: such bytes are cut off below.
        match pread(file, spare_capacity(bytes), at) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(wanted);
    Ok(())
}

#[cfg(not(unix))]
fn fill(file: &File, span: Span, wanted: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};

    // Only one read of a response is under way, so the place in the file is its own.
    let mut file = file;
    file.seek(SeekFrom::Start(span.first))?;
    file.take(wanted as u64).read_to_end(bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;

    use super::*;

    const SIZE: usize = 1000;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 % 251) as u8).collect()
    }

    fn span(first: u64, length: u64) -> Piece {
        Piece::Span(Span { first, length })
    }

    async fn next(reading: &mut Reading) -> Option<io::Result<Bytes>> {
        poll_fn(|cx| Pin::new(&mut *reading).poll_next(cx)).await
    }

    #[tokio::test]
    async fn pieces_come_in_order_and_no_larger_than_allowed() {
        let content = content(3500);
        let pieces = [Piece::Bytes("a".into()), span(10, 2500), Piece::Bytes("b".into()), span(0, 1)];
        let mut reading = Reading::new(file(&content), pieces.into(), SIZE);
        let mut whole = Vec::new();
        while let Some(piece) = next(&mut reading).await {
            let piece = piece.unwrap();
            assert!(!piece.is_empty() && piece.len() <= SIZE);
            whole.extend_from_slice(&piece);
        }
        assert_eq!(whole, [b"a", &content[10..2510], b"b", &content[..1]].concat());
        assert!(next(&mut reading).await.is_none());
    }

    #[tokio::test]
    async fn a_file_that_shrinks_is_an_error_and_no_end() {
        let file = file(&content(5000));
        let other = file.try_clone().unwrap();
        let mut reading = Reading::new(file, [span(0, 5000)].into(), SIZE);
        next(&mut reading).await.unwrap().unwrap();
        other.set_len(2500).unwrap();
        let mut left = 4;
        let error = loop {
            assert!(left > 0, "more came than there is");
            left -= 1;
            match next(&mut reading).await.expect("an end instead of an error") {
                Ok(piece) => assert!(!piece.is_empty()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert!(next(&mut reading).await.is_none());
    }

    #[tokio::test]
    async fn a_file_that_grows_is_cut_at_the_announced_length() {
        let content = content(1500);
        let mut file = file(&content);
        let mut reading = Reading::new(file.try_clone().unwrap(), [span(0, 1500)].into(), SIZE);
        file.write_all(b"more").unwrap();
        let mut whole = Vec::new();
        while let Some(piece) = next(&mut reading).await {
            whole.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(whole, content);
    }

    #[tokio::test]
    async fn one_piece_is_read_ahead_and_not_more() {
        let file = file(&content(5 * SIZE));
        let mut reading = Reading::new(file, [span(0, 5 * SIZE as u64)].into(), SIZE);
        let left = |reading: &Reading| match reading.pieces.front() {
            Some(Piece::Span(span)) => span.length as usize,
            _ => 0,
        };
        assert!(reading.ahead.is_none());
        next(&mut reading).await.unwrap().unwrap();
        assert!(reading.ahead.is_some());
        assert_eq!(left(&reading), 3 * SIZE);
        tokio::task::yield_now().await;
        assert_eq!(left(&reading), 3 * SIZE);
    }

    #[test]
    fn without_a_runtime_it_fails_instead_of_panicking() {
        let mut reading = Reading::new(file(b"abc"), [span(0, 3)].into(), SIZE);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Some(Err(_))) = Pin::new(&mut reading).poll_next(&mut cx) else {
            panic!("read without a thread to read on")
        };
        assert!(matches!(Pin::new(&mut reading).poll_next(&mut cx), Poll::Ready(None)));
    }
}
