//! A reader of responses that believes nothing: status, required fields, framing and every byte of the body are checked.

use std::borrow::Cow;
use std::io;

use memchr::{memchr, memmem};

/// Most bytes of a head, of a chunk's first line, or of a trailer section.
const MAX_HEAD: usize = 16 * 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Where a connection is in the bytes of its responses.
#[derive(Debug, Default)]
pub struct Reader {
    part: Part,
    /// The beginning of a head or line that is not complete.
    rest: Vec<u8>,
    /// The last head, its end included, and what it said: the same bytes need not be checked twice.
    known: Option<(Vec<u8>, Framing)>,
    /// Bytes of the body that were read.
    body: usize,
}

#[derive(Clone, Copy, PartialEq, Debug, Default)]
enum Part {
    #[default]
    Head,
    /// So many bytes of a body with a length.
    Body(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailers,
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Framing {
    Length(usize),
    Chunked,
}

impl Reader {
    /// Takes bytes off `input` up to the end of a response, true if it was reached; its body must be `expected`.
    ///
    /// # Errors
    /// `InvalidData`: the response is not a well-formed 200 with `Date`, `Server`, and that body.
    pub fn read(&mut self, input: &mut &[u8], expected: &[u8]) -> io::Result<bool> {
        loop {
            match self.part {
                Part::Head => {
                    let Some(framing) = self.head(input)? else { return Ok(false) };
                    self.part = match framing {
                        Framing::Length(length) if length != expected.len() => {
                            return Err(wrong(&format!("a body of {length} B")));
                        }
                        Framing::Length(length) => Part::Body(length),
                        Framing::Chunked => Part::ChunkSize,
                    };
                }
                Part::Body(left) => {
                    let left = self.compare(input, left, expected)?;
                    self.part = Part::Body(left);
                    return if left == 0 { Ok(self.complete()) } else { Ok(false) };
                }
                Part::ChunkSize => {
                    let Some(line) = self.take(input, b"\r\n")? else { return Ok(false) };
                    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
                    self.part = match usize::from_str_radix(text(digits)?, 16) {
                        Ok(0) => Part::Trailers,
                        Ok(size) => Part::Chunk(size),
                        Err(_) => return Err(wrong("a chunk without a size")),
                    };
                }
                Part::Chunk(left) => {
                    let left = self.compare(input, left, expected)?;
                    if left > 0 {
                        self.part = Part::Chunk(left);
                        return Ok(false);
                    }
                    self.part = Part::ChunkEnd;
                }
                Part::ChunkEnd => {
                    let Some(line) = self.take(input, b"\r\n")? else { return Ok(false) };
                    if !line.is_empty() {
                        return Err(wrong("a chunk longer than its size"));
                    }
                    self.part = Part::ChunkSize;
                }
                Part::Trailers => {
                    let Some(line) = self.take(input, b"\r\n")? else { return Ok(false) };
                    if line.is_empty() {
                        return if self.body == expected.len() {
                            Ok(self.complete())
                        } else {
                            Err(wrong(&format!("a body of {} B", self.body)))
                        };
                    }
                }
            }
        }
    }

    fn complete(&mut self) -> bool {
        (self.part, self.body) = (Part::Head, 0);
        true
    }

    /// Takes a head off `input`; `None` if it has not arrived.
    fn head(&mut self, input: &mut &[u8]) -> io::Result<Option<Framing>> {
        if let Some((head, framing)) = &self.known {
            if self.rest.is_empty() && input.starts_with(head) {
                *input = &input[head.len()..];
                return Ok(Some(*framing));
            }
        }
        let Some(head) = self.take(input, END_OF_HEAD)? else { return Ok(None) };
        let framing = framing_of(&head)?;
        self.known = Some(([&head, END_OF_HEAD].concat(), framing));
        Ok(Some(framing))
    }

    /// Takes what precedes `end` and `end` itself off `input`; `None` if it has not arrived.
    fn take<'a>(&mut self, input: &mut &'a [u8], end: &[u8]) -> io::Result<Option<Cow<'a, [u8]>>> {
        let bytes = *input;
        let window = &bytes[..bytes.len().min(MAX_HEAD)];
        if self.rest.is_empty() {
            if let Some(at) = memmem::find(window, end) {
                *input = &bytes[at + end.len()..];
                return Ok(Some(Cow::Borrowed(&bytes[..at])));
            }
        }
        let before = self.rest.len();
        // What arrived before may hold the beginning of `end`.
        let from = before.saturating_sub(end.len() - 1);
        self.rest.extend_from_slice(window);
        match memmem::find(&self.rest[from..], end) {
            Some(at) => {
                *input = &bytes[from + at + end.len() - before..];
                let mut taken = std::mem::take(&mut self.rest);
                taken.truncate(from + at);
                Ok(Some(Cow::Owned(taken)))
            }
            None if self.rest.len() >= MAX_HEAD => Err(wrong("an endless head")),
            None => {
                *input = &[];
                Ok(None)
            }
        }
    }

    /// Compares at most `left` bytes of the body, returns how many are still to come.
    fn compare(&mut self, input: &mut &[u8], left: usize, expected: &[u8]) -> io::Result<usize> {
        let (body, behind) = input.split_at(left.min(input.len()));
        if expected.get(self.body..self.body + body.len()) != Some(body) {
            return Err(wrong("another body"));
        }
        self.body += body.len();
        *input = behind;
        Ok(left - body.len())
    }
}

/// Checks a head, without the empty line that ends it.
fn framing_of(head: &[u8]) -> io::Result<Framing> {
    let (status, mut fields) = next_line(head);
    if !status.starts_with(b"HTTP/1.1 200 ") {
        return Err(wrong(&String::from_utf8_lossy(status)));
    }
    let (mut date, mut server, mut length, mut chunked) = (false, false, None, false);
    while !fields.is_empty() {
        let (line, others) = next_line(fields);
        fields = others;
        let colon = memchr(b':', line).ok_or_else(|| wrong("a field without a colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"date") {
            date = value.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len() && value.ends_with(b" GMT");
        } else if name.eq_ignore_ascii_case(b"server") {
            server = !value.is_empty();
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let number = text(value)?.parse().map_err(|_| wrong("a length that is no number"))?;
            if length.replace(number).is_some() {
                return Err(wrong("two lengths"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            chunked = value.eq_ignore_ascii_case(b"chunked");
        }
    }
    match (length, chunked) {
        _ if !date => Err(wrong("no Date")),
        _ if !server => Err(wrong("no Server")),
        (Some(length), false) => Ok(Framing::Length(length)),
        (None, true) => Ok(Framing::Chunked),
        _ => Err(wrong("no framing, or two")),
    }
}

/// The first line without its end, and what follows.
fn next_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memmem::find(bytes, b"\r\n") {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (bytes, &[]),
    }
}

fn text(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| wrong("a number that is no text"))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is wrong: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: it\r\n";

    /// Feeds `answer` in pieces of `size` bytes, returns the number of responses.
    fn feed(answer: &str, size: usize, expected: &str) -> io::Result<usize> {
        let mut reader = Reader::default();
        let mut complete = 0;
        for mut piece in answer.as_bytes().chunks(size) {
            while !piece.is_empty() {
                complete += usize::from(reader.read(&mut piece, expected.as_bytes())?);
            }
        }
        Ok(complete)
    }

    #[test]
    fn answers_are_read_however_they_are_cut() {
        let length = format!("{HEAD}Content-Length: 5\r\n\r\nhello");
        let chunked =
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n003\r\nllo\r\n0\r\nT: x\r\n\r\n");
        let both = length.clone() + &chunked + &length;
        for size in 1..=both.len() {
            assert_eq!(feed(&both, size, "hello").unwrap(), 3, "in pieces of {size} B");
        }
        assert_eq!(feed(&both[..both.len() - 1], 7, "hello").unwrap(), 2);
    }

    #[test]
    fn an_empty_body_is_complete_with_its_head() {
        assert_eq!(feed(&format!("{HEAD}Content-Length: 0\r\n\r\n"), 1, "").unwrap(), 1);
    }

    #[test]
    fn wrong_answers_are_errors() {
        let length = "Content-Length: 5\r\n";
        for (answer, reason) in [
            (HEAD.replace("200", "404") + length + "\r\nhello", "404"),
            (HEAD.replace("date", "data") + length + "\r\nhello", "no Date"),
            (HEAD.replace("Server", "Serves") + length + "\r\nhello", "no Server"),
            (format!("{HEAD}{length}\r\nhellO"), "another body"),
            (format!("{HEAD}Content-Length: 4\r\n\r\nhell"), "4 B"),
            (format!("{HEAD}\r\nhello"), "framing"),
            (format!("{HEAD}{length}Transfer-Encoding: chunked\r\n\r\nhello"), "framing"),
            (format!("{HEAD}{length}{length}\r\nhello"), "two lengths"),
            (format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n0\r\n\r\n"), "4 B"),
            (format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n"), "longer"),
            (format!("{HEAD}Transfer-Encoding: chunked\r\n\r\nx\r\n"), "size"),
            (format!("{HEAD}{}", "x".repeat(MAX_HEAD)), "endless"),
        ] {
            let error = feed(&answer, 10, "hello").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(reason), "{error} instead of {reason}");
        }
    }
}
