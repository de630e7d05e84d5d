//! The short way through a head that is complete and has nothing unusual: nearly every one.
//!
//! It looks at each byte at most three times, in loops that compilers and `memchr` make wide, where the general parser
//! goes byte by byte. Whatever it does not know at once (an error, an odd method, an absolute target, text that is not
//! ASCII, an end that is not there yet) it leaves to the general way, whose verdict counts: what this way takes, that one
//! takes too, and sees the same in it. A test holds them against each other.

use http::Method;

use super::tokens::TOKEN;
use super::{CONNECTS, HEAD, Limits, Parsed, Seen};
use crate::http::Version;

/// Most bytes of a method that is worth the short way.
const METHOD: usize = 8;

/// Parses a complete, plain head; `None` for everything else.
#[inline]
pub(super) fn parse(input: &[u8], limits: &Limits) -> Option<Parsed> {
    let end = memchr::memchr(b'\n', input)?;
    let line = input[..end].strip_suffix(b"\r")?;
    if line.len() > limits.line {
        return None;
    }
    // RFC 9112 section 3: method SP request-target SP HTTP-version.
    let (front, version) = match line.strip_suffix(b" HTTP/1.1") {
        Some(front) => (front, Version::Http11),
        None => (line.strip_suffix(b" HTTP/1.0")?, Version::Http10),
    };
    let space = front.iter().take(METHOD + 1).take_while(|byte| byte.is_ascii_uppercase()).count();
    let [b' ', target @ ..] = &front[space..] else { return None };
    if target.first() != Some(&b'/') || memchr::memchr2(b' ', b'#', target).is_some() {
        return None;
    }
    let method = Method::from_bytes(&front[..space]).ok()?;

    let fields = end + 1;
    let (mut at, mut count) = (fields, 0);
    let mut seen = Seen::default();
    loop {
        let rest = &input[at..];
        if let [b'\r', b'\n', ..] = rest {
            break;
        }
        let end = memchr::memchr(b'\n', rest)?;
        let line = rest[..end].strip_suffix(b"\r")?;
        let name = line.iter().take_while(|byte| TOKEN[usize::from(**byte)]).count();
        let [b':', value @ ..] = &line[name..] else { return None };
        if name == 0 {
            return None;
        }
        seen.field(&line[..name], value.trim_ascii()).ok()?;
        count += 1;
        at += end + 1;
    }
    let len = at + 2;
    // The line ends that were found are the only bytes that are no text: no NUL, no bare CR, nothing above ASCII.
    if count > limits.fields || at - 2 >= limits.head || unprintable(&input[..len]) != 2 * (count + 2) {
        return None;
    }
    seen.host(version).ok()?;
    let (framing, mut flags) = seen.framing(version).ok()?;
    if method == Method::HEAD {
        flags |= HEAD;
    }
    if method == Method::CONNECT {
        flags |= CONNECTS;
    }
    let begin = space + 1;
    Some(Parsed {
        len,
        framing,
        flags,
        target: (begin as u32, (begin + target.len()) as u32),
        fields: fields as u32,
        version,
        method,
    })
}

/// Number of bytes that are neither visible ASCII nor a space or tab.
fn unprintable(text: &[u8]) -> usize {
    // In pieces whose count fits a byte, so that it is counted sixteen or more at a time.
    text.chunks(192)
        .map(|piece| {
            let count = piece.iter().fold(0u8, |count, byte| {
                let control = (*byte < b' ') & (*byte != b'\t');
                count + u8::from(control | (*byte >= 0x7f))
            });
            usize::from(count)
        })
        .sum()
}
