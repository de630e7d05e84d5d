//! A head that arrives in pieces: found in linear time, and refused as early as its bytes allow.

use super::{Limits, Parsed, Refusal, parse, refuse};

/// How far an unfinished head has been looked at.
///
/// Every byte is looked at once for line ends. The parser itself runs on the first bytes, on the first line, each time the
/// head has doubled, and when it is complete: nonsense is refused early, and the sum stays linear.
#[derive(Clone, Copy, Default, Debug)]
pub(in super::super) struct Scan {
    scanned: u32,
    /// What the parser has seen; and [`LINE`], in one word to keep an idle connection small.
    parsed: u32,
}

/// The request line is complete.
const LINE: u32 = 1 << 31;

/// What a look found.
pub(in super::super) enum Found {
    Head(Parsed),
    /// Not complete.
    Partial,
}

impl Scan {
    /// Looks at what has arrived of a head.
    #[inline]
    pub(in super::super) fn look(&mut self, input: &[u8], limits: &Limits) -> Result<Found, Refusal> {
        if self.scanned > 0 && !self.ends(input, limits)? {
            return Ok(Found::Partial);
        }
        match parse(input, limits)? {
            Some(parsed) => {
                *self = Self::default();
                Ok(Found::Head(parsed))
            }
            None => {
                let line = if memchr::memchr(b'\n', input).is_some() { LINE } else { 0 };
                self.parsed = input.len() as u32 | line;
                self.scanned = input.len() as u32;
                Ok(Found::Partial)
            }
        }
    }

    /// Whether a head has begun and is not complete.
    pub(in super::super) fn is_begun(self) -> bool {
        self.scanned > 0
    }

    /// Whether the parser has to look: a line is complete that must be seen now, or broken, or the head has doubled, or
    /// is at a limit.
    fn ends(&mut self, input: &[u8], limits: &Limits) -> Result<bool, Refusal> {
        let from = self.scanned as usize;
        self.scanned = input.len() as u32;
        let (had_line, parsed) = (self.parsed & LINE != 0, self.parsed & !LINE);
        let mut has_line = had_line;
        for at in memchr::memchr_iter(b'\n', &input[from..]) {
            let at = from + at;
            has_line = true;
            if at >= 3 && input[at - 3..at] == *b"\r\n\r" {
                return Ok(true);
            }
            if at == 0 || input[at - 1] != b'\r' {
                return Ok(true);
            }
        }
        // A CR is at the end of a line, or nowhere (RFC 9112 section 2.2).
        let bare = |at: usize| input.get(at + 1).is_some_and(|next| *next != b'\n');
        let broken = memchr::memchr_iter(b'\r', &input[from - 1..]).any(|at| bare(from - 1 + at));
        Ok(has_line != had_line
            || broken
            || input.len() >= 2 * parsed as usize
            || (!has_line && input.len() > limits.line + 1)
            || input.len() >= limits.head)
    }
}

/// An unfinished head: is it within its limits still?
#[cold]
pub(super) fn partial(input: &[u8], limits: &Limits) -> Result<(), Refusal> {
    // The first LF ends the request line, or should.
    match memchr::memchr(b'\n', input) {
        Some(at) if at == 0 || input[at - 1] != b'\r' => {
            return Err(refuse(400, "a line that does not end with CR LF"));
        }
        Some(at) if at - 1 > limits.line => return Err(refuse(414, "the request line is too long")),
        None if input.len() > limits.line + 1 => return Err(refuse(414, "the request line is too long")),
        _ => {}
    }
    // A bare LF further down, which `httparse` would take as a line end.
    if memchr::memchr_iter(b'\n', input).any(|at| input[at - 1] != b'\r') {
        return Err(refuse(400, "a line that does not end with CR LF"));
    }
    // The empty line may still begin before the limit.
    let begins = |at: usize| b"\r\n\r\n".starts_with(&input[at..]);
    if input.len() >= limits.head
        && !(1..=3)
            .any(|back| back < input.len() && begins(input.len() - back) && input.len() - back < limits.head)
    {
        return Err(refuse(431, "the head is too long"));
    }
    Ok(())
}

/// Whether more has to come before the version can be told.
#[cold]
pub(super) fn awaits_version(input: &[u8]) -> bool {
    memchr::memchr(b'\n', input).is_none()
}

/// The status for what `httparse` refuses; the same whether more of the head has come or not.
#[cold]
pub(super) fn refusal(input: &[u8], error: httparse::Error, limits: &Limits) -> Refusal {
    let end = memchr::memchr2(b'\r', b'\n', input).unwrap_or(input.len());
    if end > limits.line {
        // What is beyond the limit is not looked at.
        let within = &input[..limits.line + 1];
        return match httparse::Request::new(&mut []).parse(within) {
            Err(error) if error != httparse::Error::Version => by_error(within, error, limits),
            _ => refuse(414, "the request line is too long"),
        };
    }
    by_error(input, error, limits)
}

fn by_error(input: &[u8], error: httparse::Error, limits: &Limits) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => {
            // `httparse` takes a bare LF as a line end.
            let lines = memchr::memchr_iter(b'\n', input).take(limits.fields + 1);
            match lines.into_iter().find(|at| *at == 0 || input[at - 1] != b'\r') {
                Some(_) => refuse(400, "a line that does not end with CR LF"),
                None => refuse(431, "too many fields"),
            }
        }
        httparse::Error::Version => {
            let line = memchr::memchr(b'\n', input).and_then(|end| input[..end].strip_suffix(b"\r"));
            let mut parts = line.unwrap_or_default().split(|byte| *byte == b' ');
            // RFC 9110 section 15.6.6: another version of HTTP, as opposed to something that is none.
            match (parts.nth(2), parts.next()) {
                (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
                    if major.is_ascii_digit() && minor.is_ascii_digit() =>
                {
                    refuse(505, "another version of HTTP")
                }
                _ => refuse(400, "a request line without a valid version"),
            }
        }
        // RFC 9112 section 5.1: no white space between a field name and its colon; 5.2: no folding.
        httparse::Error::HeaderName => refuse(400, "an invalid field name"),
        // RFC 9110 section 5.5: no NUL, no bare CR, no control characters.
        httparse::Error::HeaderValue => refuse(400, "an invalid field value"),
        httparse::Error::NewLine => refuse(400, "an invalid line end"),
        httparse::Error::Token => refuse(400, "an invalid method or target"),
        httparse::Error::Status => refuse(400, "an invalid request line"),
    }
}
