//! The chunked transfer coding, decoded piece by piece (RFC 9112 section 7.1).

#[cfg(test)]
mod tests;

use bytes::{Buf, BytesMut};
use http::{HeaderName, HeaderValue};

use super::Headers;
use super::parse::{is_token, is_token_byte};

/// What the parts of a chunked body besides its data may be at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChunkLimits {
    /// Bytes of chunk extensions, over the whole body.
    pub(super) extensions: usize,
    /// Bytes of the trailer section.
    pub(super) trailers: usize,
    /// Fields of the trailer section.
    pub(super) fields: usize,
}

/// Why a body is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ChunkError {
    /// It breaks the grammar.
    Malformed(&'static str),
    /// It is beyond a limit.
    TooLarge {
        /// Of what.
        what: Part,
        limit: usize,
    },
}

/// What of a chunked body has a limit besides its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Extensions,
    Trailers,
    TrailerFields,
}

impl Part {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Extensions => "the extensions of chunks",
            Self::Trailers => "the trailer section",
            Self::TrailerFields => "the number of trailers",
        }
    }
}

/// What is next in a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// So many bytes at the front of the input are data. The caller takes them, or a part of them, out of the input and
    /// says so by [`Chunked::took`].
    Data(usize),
    /// The body is complete; the input begins with what follows it.
    End(Option<Headers>),
    /// At least so many bytes are missing.
    Need(usize),
}

/// A decoder of one body.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// How far the input was searched for a line end.
    scanned: usize,
    /// Bytes of extensions so far.
    extensions: usize,
    /// Folded lines of trailers are read, not refused.
    folds: bool,
    limits: ChunkLimits,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// Most digits of a chunk size: what 64 bits hold.
const DIGITS: usize = 16;

impl Chunked {
    pub(super) fn new(limits: ChunkLimits) -> Self {
        Self { state: State::Size, scanned: 0, extensions: 0, folds: false, limits }
    }

    /// As a user agent reads it: RFC 9112 section 5.2, a folded line goes on behind a space.
    pub(super) fn unfolding(mut self) -> Self {
        self.folds = true;
        self
    }

    /// Looks at the front of the input; takes everything but data out of it.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Chunk, ChunkError> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = self.line(input)? else { return Ok(Chunk::Need(1)) };
                    let size = self.size(&input[..line])?;
                    input.advance(line + 2);
                    self.scanned = 0;
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(left) => {
                    return Ok(match usize::try_from(left).unwrap_or(usize::MAX).min(input.len()) {
                        // With the line end behind it, and the first byte of a size.
                        0 => Chunk::Need(usize::try_from(left).unwrap_or(usize::MAX).saturating_add(3)),
                        ready => Chunk::Data(ready),
                    });
                }
                State::DataEnd => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok(Chunk::Need(2 - input.len())),
                    _ => return Err(ChunkError::Malformed("a chunk that does not end with CR LF")),
                },
                State::Trailers => return self.trailers(input),
                State::Done => return Ok(Chunk::End(None)),
            }
        }
    }

    /// Bytes of the current chunk that are still to come.
    pub(super) fn announced(&self) -> u64 {
        if let State::Data(left) = self.state { left } else { 0 }
    }

    /// So many bytes of data were taken out of the input.
    pub(super) fn took(&mut self, taken: usize) {
        if let State::Data(left) = &mut self.state {
            *left = left.saturating_sub(taken as u64);
            if *left == 0 {
                self.state = State::DataEnd;
            }
        }
    }

    /// The end of the size line, without its line end, once it is there.
    fn line(&mut self, input: &[u8]) -> Result<Option<usize>, ChunkError> {
        let most = DIGITS + self.limits.extensions.saturating_sub(self.extensions);
        // As early as it can be told: what is no digit and no extension is nothing.
        let digits = input.iter().take(DIGITS + 1).take_while(|byte| byte.is_ascii_hexdigit()).count();
        let wrong = match input.get(digits) {
            _ if digits > DIGITS => true,
            Some(b';' | b' ' | b'\t') => digits == 0,
            Some(b'\r') => digits == 0 || input.get(digits + 1).is_some_and(|next| *next != b'\n'),
            Some(_) => true,
            None => false,
        };
        if wrong {
            return Err(ChunkError::Malformed("a chunk size that is not a number of at most 16 digits"));
        }
        let from = self.scanned;
        self.scanned = input.len();
        match memchr::memchr(b'\n', &input[from..]).map(|at| from + at) {
            Some(at) if at > most + 1 => Err(self.too_many_extensions()),
            Some(at) if input[at - 1] != b'\r' => {
                Err(ChunkError::Malformed("a chunk size line that does not end with CR LF"))
            }
            Some(at) => Ok(Some(at - 1)),
            // One more for the CR.
            None if input.len() > most + 1 => Err(self.too_many_extensions()),
            None => Ok(None),
        }
    }

    fn too_many_extensions(&self) -> ChunkError {
        ChunkError::TooLarge { what: Part::Extensions, limit: self.limits.extensions }
    }

    /// `chunk-size [ chunk-ext ]`.
    fn size(&mut self, line: &[u8]) -> Result<u64, ChunkError> {
        // There is one at least, and not too many: `line` has looked.
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = line[..digits].iter().fold(0u64, |size, digit| {
            (size << 4) | u64::from((*digit as char).to_digit(16).unwrap_or_default())
        });
        // Room for sums of it, and what every implementation can hold.
        if i64::try_from(size).is_err() {
            return Err(ChunkError::Malformed("a chunk size beyond 63 bits"));
        }
        self.extensions += line.len() - digits;
        if self.extensions > self.limits.extensions {
            return Err(self.too_many_extensions());
        }
        check_extensions(&line[digits..])?;
        Ok(size)
    }

    /// The trailer section (RFC 9112 section 7.1.2), once it is complete.
    fn trailers(&mut self, input: &mut BytesMut) -> Result<Chunk, ChunkError> {
        if input.starts_with(b"\r\n") {
            input.advance(2);
            self.state = State::Done;
            return Ok(Chunk::End(None));
        }
        let most = self.limits.trailers.saturating_add(4);
        let seen = &input[..input.len().min(most)];
        let from = self.scanned;
        self.scanned = seen.len();
        // RFC 9112 section 2.2: a CR or LF is a part of a line end, or an error.
        if from > 0 && seen[from - 1] == b'\r' && seen.get(from).is_some_and(|next| *next != b'\n') {
            return Err(BARE);
        }
        let mut end = None;
        for at in memchr::memchr2_iter(b'\r', b'\n', &seen[from..]) {
            let at = from + at;
            if seen[at] == b'\r' {
                if seen.get(at + 1).is_some_and(|next| *next != b'\n') {
                    return Err(BARE);
                }
                continue;
            }
            if at == 0 || seen[at - 1] != b'\r' {
                return Err(BARE);
            }
            if at >= 3 && seen[at - 3..at] == *b"\r\n\r" {
                end = Some(at + 1);
                break;
            }
        }
        if end.is_none() && input.len() >= most {
            return Err(ChunkError::TooLarge { what: Part::Trailers, limit: self.limits.trailers });
        }
        let Some(end) = end else { return Ok(Chunk::Need(1)) };
        let section = &input[..end];
        let trailers = match self.folds.then(|| unfold(section)).flatten() {
            Some(section) => parse_trailers(&section, self.limits.fields),
            None => parse_trailers(section, self.limits.fields),
        }?;
        input.advance(end);
        self.state = State::Done;
        Ok(Chunk::End((!trailers.is_empty()).then_some(trailers)))
    }
}

const BARE: ChunkError = ChunkError::Malformed("a trailer line that does not end with CR LF");

/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )` (RFC 9112 section 7.1.1).
fn check_extensions(mut rest: &[u8]) -> Result<(), ChunkError> {
    const WRONG: ChunkError = ChunkError::Malformed("an invalid chunk extension");
    let skip = |text: &mut &[u8]| {
        let spaces = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        *text = &text[spaces..];
    };
    let token = |text: &mut &[u8]| {
        let len = text.iter().take_while(|byte| is_token_byte(**byte)).count();
        *text = &text[len..];
        len > 0
    };
    while !rest.is_empty() {
        skip(&mut rest);
        rest = rest.strip_prefix(b";").ok_or(WRONG)?;
        skip(&mut rest);
        if !token(&mut rest) {
            return Err(WRONG);
        }
        let mut value = rest;
        skip(&mut value);
        let Some(value) = value.strip_prefix(b"=") else { continue };
        rest = value;
        skip(&mut rest);
        if rest.first() == Some(&b'"') {
            rest = &rest[quoted(rest).ok_or(WRONG)?..];
        } else if !token(&mut rest) {
            return Err(WRONG);
        }
    }
    Ok(())
}

/// The length of the quoted string at the front (RFC 9110 section 5.6.4).
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                let escaped = *text.get(at + 1)?;
                if !is_text(escaped) {
                    return None;
                }
                at += 2;
            }
            byte if is_text(*byte) => at += 1,
            _ => return None,
        }
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Fields that mean nothing behind a body, or would change what has been decided already (RFC 9110 section 6.5.1).
const FORBIDDEN: [&str; 45] = [
    "accept-ranges",
    "age",
    "allow",
    "authentication-info",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "range",
    "retry-after",
    "server",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Whether a field may stand in a trailer section.
pub(super) fn may_trail(name: &str) -> bool {
    !FORBIDDEN.contains(&name)
}

/// A trailer section with a space in place of each fold; `None` if there is none. What a fold would begin with is none
/// without a field before it.
fn unfold(section: &[u8]) -> Option<Vec<u8>> {
    let is_fold = |three: &[u8]| matches!(three, [b'\r', b'\n', b' ' | b'\t']);
    let first = section.windows(3).position(is_fold)?;
    let mut unfolded = Vec::with_capacity(section.len());
    let (begin, mut rest) = section.split_at(first);
    unfolded.extend_from_slice(begin);
    while let Some((byte, behind)) = rest.split_first() {
        if rest.get(..3).is_some_and(is_fold) {
            let blanks = rest[2..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            rest = &rest[2 + blanks..];
            while let Some(b' ' | b'\t') = unfolded.last() {
                unfolded.pop();
            }
            unfolded.push(b' ');
        } else {
            unfolded.push(*byte);
            rest = behind;
        }
    }
    Some(unfolded)
}

/// A complete trailer section; forbidden fields are dropped.
fn parse_trailers(section: &[u8], most: usize) -> Result<Headers, ChunkError> {
    let mut slots = vec![httparse::EMPTY_HEADER; most];
    let fields = match httparse::parse_headers(section, &mut slots) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        Ok(httparse::Status::Partial) => return Err(ChunkError::Malformed("an invalid trailer section")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(ChunkError::TooLarge { what: Part::TrailerFields, limit: most });
        }
        Err(_) => return Err(ChunkError::Malformed("an invalid trailer field")),
    };
    let mut trailers = Headers::new();
    for field in fields {
        if !is_token(field.name.as_bytes()) {
            return Err(ChunkError::Malformed("an invalid trailer name"));
        }
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(ChunkError::Malformed("an invalid trailer field"));
        };
        if may_trail(name.as_str()) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}
