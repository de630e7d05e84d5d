//! The parser: bytes in, parts out, without input or output (RFC 2046 section 5.1.1).
//!
//! ```text
//! Preamble ──delimiter──▶ Delimiter ──CRLF──▶ Head ──empty line──▶ Data ──delimiter──▶ PartEnd ─┐
//!                          ▲    └─"--"─▶ Epilogue                                               │
//!                          └────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A delimiter is `CR LF "--" boundary`. It has one CR, its first byte, and so can begin at one place only in what the
//! last piece of data ended with: how much of it was seen is a number, and no byte is kept or looked at twice.

use bytes::{Buf, Bytes};
use memchr::memmem::Finder;

use super::{Boundary, Limits, MultipartError, PartHead};

/// What a form consists of, in its order: a head, its data in pieces, the end of the part, and so on to the end.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A part begins.
    Part(PartHead),
    /// Some of the part's data, never empty; a part of the input that was given.
    Data(Bytes),
    /// The part has ended.
    PartEnd,
    /// The last boundary has passed; what follows is ignored.
    End,
}

/// An incremental parser of `multipart/form-data`.
///
/// It takes linear time, and memory for one head.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use workerman_http::multipart::{Boundary, Event, Limits, Parser};
/// # fn main() -> Result<(), workerman_http::multipart::MultipartError> {
/// let boundary = Boundary::of("multipart/form-data; boundary=b")?;
/// let mut parser = Parser::new(&boundary, Limits::new());
/// let mut input = Bytes::from("--b\r\nContent-Disposition: form-data; name=a\r\n\r\nhello\r\n--b--");
/// let Some(Event::Part(head)) = parser.parse(&mut input)? else { panic!() };
/// assert_eq!(head.name(), "a");
/// assert_eq!(parser.parse(&mut input)?, Some(Event::Data("hello".into())));
/// assert_eq!(parser.parse(&mut input)?, Some(Event::PartEnd));
/// assert_eq!(parser.parse(&mut input)?, Some(Event::End));
/// assert_eq!(parser.parse(&mut input)?, None);
/// parser.finish()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    delimiter: Bytes,
    finder: Finder<'static>,
    state: State,
    /// How many bytes of a delimiter the input ended with.
    held: usize,
    /// How many of those are not text if they are no delimiter: a line break that belongs to what came before.
    skip: usize,
    /// What has come of the present head.
    head: Vec<u8>,
    parts: usize,
    files: usize,
    /// Bytes of the preamble or the epilogue.
    outside: u64,
    /// Bytes that the present part may still have, and its limit.
    left: u64,
    most: u64,
    is_file: bool,
    total: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Before the first delimiter.
    Preamble,
    /// Within a part.
    Data,
    /// A part has ended, which was not told yet.
    PartEnd,
    /// Behind the boundary of a delimiter.
    Delimiter(Behind),
    /// In the head of a part.
    Head,
    /// Behind the last delimiter.
    Epilogue,
    /// An error was told.
    Failed,
}

/// Length of CR LF.
const LINE_BREAK: usize = 2;

/// What has come behind a boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Behind {
    Nothing,
    /// One `-` of the two that make it the last.
    Dash,
    /// White space, of which a mail relay may add any amount.
    Padding,
    CarriageReturn,
}

impl Parser {
    /// A parser for one form.
    pub fn new(boundary: &Boundary, limits: Limits) -> Self {
        let delimiter = Bytes::from([b"\r\n--", boundary.as_bytes()].concat());
        Self {
            limits,
            finder: Finder::new(&delimiter).into_owned(),
            delimiter,
            state: State::Preamble,
            // The first delimiter may do without its line break.
            held: LINE_BREAK,
            skip: LINE_BREAK,
            head: Vec::new(),
            parts: 0,
            files: 0,
            outside: 0,
            left: 0,
            most: 0,
            is_file: false,
            total: 0,
        }
    }

    /// Takes the next event out of the input; `None` when all of it has been used up.
    ///
    /// # Errors
    /// The form is malformed or exceeds a limit. It ends there: every later call is an error too.
    pub fn parse(&mut self, input: &mut Bytes) -> Result<Option<Event>, MultipartError> {
        let before = input.len();
        let result = self.next(input).and_then(|event| {
            self.total += (before - input.len()) as u64;
            if self.total > self.limits.total {
                return Err(MultipartError::TooLarge { what: "bytes", limit: self.limits.total });
            }
            Ok(event)
        });
        if result.is_err() {
            self.fail();
        }
        result
    }

    /// The input has ended.
    ///
    /// # Errors
    /// The last boundary is missing: the form was cut off.
    pub fn finish(&mut self) -> Result<(), MultipartError> {
        match self.state {
            State::Epilogue => Ok(()),
            State::Failed => Err(MultipartError::Ended),
            _ => {
                self.fail();
                Err(MultipartError::Malformed("the last boundary is missing"))
            }
        }
    }

    /// The form ends here with an error.
    pub(super) fn fail(&mut self) {
        self.state = State::Failed;
        self.head = Vec::new();
    }

    fn next(&mut self, input: &mut Bytes) -> Result<Option<Event>, MultipartError> {
        loop {
            match self.state {
                State::PartEnd => {
                    self.state = State::Delimiter(Behind::Nothing);
                    return Ok(Some(Event::PartEnd));
                }
                State::Failed => return Err(MultipartError::Ended),
                _ if input.is_empty() => return Ok(None),
                State::Preamble => {
                    let (text, found) = self.until_delimiter(input);
                    self.count_outside(text.len())?;
                    if found {
                        self.state = State::Delimiter(Behind::Nothing);
                    }
                }
                State::Epilogue => {
                    self.count_outside(input.len())?;
                    input.clear();
                }
                State::Data => {
                    let (data, found) = self.until_delimiter(input);
                    let size = data.len() as u64;
                    self.left = self.left.checked_sub(size).ok_or_else(|| self.part_too_large())?;
                    if found {
                        self.state = State::PartEnd;
                    }
                    if !data.is_empty() {
                        return Ok(Some(Event::Data(data)));
                    }
                }
                State::Delimiter(behind) => {
                    if self.behind_delimiter(behind, input)? {
                        return Ok(Some(Event::End));
                    }
                }
                State::Head => {
                    if let Some(head) = self.head(input)? {
                        return Ok(Some(Event::Part(head)));
                    }
                }
            }
        }
    }

    /// Takes out of the input what is before the next delimiter, and the delimiter, if it is there.
    fn until_delimiter(&mut self, input: &mut Bytes) -> (Bytes, bool) {
        if self.held > 0 {
            let expected = &self.delimiter[self.held..];
            let len = expected.len().min(input.len());
            if input[..len] == expected[..len] {
                input.advance(len);
                self.held += len;
                let found = self.held == self.delimiter.len();
                if found {
                    (self.held, self.skip) = (0, 0);
                }
                return (Bytes::new(), found);
            }
            // It was text. Without another CR in it, nothing of it can begin a delimiter.
            let text = self.delimiter.slice(self.skip..self.held);
            (self.held, self.skip) = (0, 0);
            return (text, false);
        }
        if let Some(at) = self.finder.find(input) {
            let text = input.split_to(at);
            input.advance(self.delimiter.len());
            return (text, true);
        }
        let tail = &input[input.len().saturating_sub(self.delimiter.len() - 1)..];
        self.held = memchr::memrchr(b'\r', tail)
            .map(|at| &tail[at..])
            .filter(|rest| self.delimiter.starts_with(rest))
            .map_or(0, <[u8]>::len);
        let text = input.split_to(input.len() - self.held);
        input.clear();
        (text, false)
    }

    /// Reads on behind a boundary; tells whether it was the last.
    ///
    /// What is neither the last nor followed by a line break is refused: for RFC 2046 it is a boundary since the line
    /// begins with one, other parsers take it for data.
    fn behind_delimiter(&mut self, mut behind: Behind, input: &mut Bytes) -> Result<bool, MultipartError> {
        while !input.is_empty() {
            behind = match (behind, input.get_u8()) {
                (Behind::Nothing, b'-') => Behind::Dash,
                (Behind::Dash, b'-') => {
                    self.state = State::Epilogue;
                    self.outside = 0;
                    return Ok(true);
                }
                (Behind::Nothing | Behind::Padding, b' ' | b'\t') => {
                    self.count_outside(1)?;
                    Behind::Padding
                }
                (Behind::Nothing | Behind::Padding, b'\r') => Behind::CarriageReturn,
                (Behind::CarriageReturn, b'\n') => {
                    self.parts += 1;
                    if self.parts > self.limits.parts {
                        let limit = self.limits.parts as u64;
                        return Err(MultipartError::TooLarge { what: "parts", limit });
                    }
                    self.state = State::Head;
                    return Ok(false);
                }
                _ => return Err(MultipartError::Malformed("a boundary is not followed by a line break")),
            };
        }
        self.state = State::Delimiter(behind);
        Ok(false)
    }

    /// Reads on in a head; returns it when it is complete.
    fn head(&mut self, input: &mut Bytes) -> Result<Option<PartHead>, MultipartError> {
        let line = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
        if self.head.len() + line > self.limits.head {
            let limit = self.limits.head as u64;
            return Err(MultipartError::TooLarge { what: "bytes of a head", limit });
        }
        self.head.extend_from_slice(&input[..line]);
        input.advance(line);
        if !self.head.ends_with(b"\n") {
            return Ok(None);
        }
        if !self.head.ends_with(b"\r\n") {
            return Err(MultipartError::Malformed("a head has a line feed without carriage return"));
        }
        if self.head.len() > 2 && !self.head.ends_with(b"\r\n\r\n") {
            return Ok(None);
        }
        // Its line would be one of a head if it has a colon, and is a boundary for RFC 2046.
        if self.head.starts_with(&self.delimiter[LINE_BREAK..]) || self.finder.find(&self.head).is_some() {
            return Err(MultipartError::Malformed("a head has a boundary in it"));
        }
        let head = PartHead::parse(std::mem::take(&mut self.head).into(), &self.limits)?;
        self.is_file = head.is_file();
        self.files += usize::from(self.is_file);
        if self.files > self.limits.files {
            let limit = self.limits.files as u64;
            return Err(MultipartError::TooLarge { what: "files", limit });
        }
        self.most = if self.is_file { self.limits.file } else { self.limits.field };
        self.left = self.most;
        self.state = State::Data;
        // The line break of the empty line is that of a delimiter too, if one follows: such a part has no data.
        (self.held, self.skip) = (LINE_BREAK, LINE_BREAK);
        Ok(Some(head))
    }

    fn part_too_large(&self) -> MultipartError {
        let what = if self.is_file { "bytes of a file" } else { "bytes of a field" };
        MultipartError::TooLarge { what, limit: self.most }
    }

    fn count_outside(&mut self, bytes: usize) -> Result<(), MultipartError> {
        self.outside += bytes as u64;
        if self.outside > self.limits.outside {
            let limit = self.limits.outside;
            return Err(MultipartError::TooLarge { what: "bytes outside of parts", limit });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
