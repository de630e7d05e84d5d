//! The short way through a head that is complete and has nothing unusual: nearly every one.
//!
//! It finds the ends of lines in loops that compilers make wide, and looks at names alone byte by byte. Whatever it does
//! not know at once (an error, an odd method, an absolute target, text that is not ASCII, an end that is not there yet) it
//! leaves to the general way, whose verdict counts: what this way takes, that one takes too, and sees the same in it. A
//! test holds them against each other.

use http::Method;

use super::tokens::TOKEN;
use super::{HEAD, Limits, Parsed, Seen};
use crate::http::Version;

/// Most bytes of a method that is worth the short way.
const METHOD: usize = 8;

/// Parses a complete, plain head; `None` for everything else.
#[inline]
pub(super) fn parse(input: &[u8], limits: &Limits) -> Option<Parsed> {
    let end = text(input);
    let [line @ .., b'\r', b'\n'] = input.get(..end + 2)? else { return None };
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
    // RFC 9112 section 3.2.3: its target is another one.
    if method == Method::CONNECT {
        return None;
    }

    let fields = end + 2;
    let (mut at, mut count) = (fields, 0);
    let mut seen = Seen::default();
    loop {
        let rest = &input[at..];
        let end = text(rest);
        let [line @ .., b'\r', b'\n'] = rest.get(..end + 2)? else { return None };
        if line.is_empty() {
            break;
        }
        let name = line.iter().take_while(|byte| TOKEN[usize::from(**byte)]).count();
        let [b':', value @ ..] = &line[name..] else { return None };
        if name == 0 {
            return None;
        }
        seen.field(&line[..name], trim(value)).ok()?;
        count += 1;
        at += end + 2;
    }
    let len = at + 2;
    if count > limits.fields || at - 2 >= limits.head {
        return None;
    }
    seen.host(version).ok()?;
    let (framing, mut flags) = seen.framing(version).ok()?;
    if method == Method::HEAD {
        flags |= HEAD;
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

/// Without the spaces around it; tabs have led to the general way.
#[inline]
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' '] = value {
        value = rest;
    }
    value
}

/// How many bytes at the front are visible ASCII or spaces.
///
/// Sixteen at a time in a form that compilers make one comparison of, then the first of the last few by arithmetic.
#[inline]
fn text(input: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = input.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        if !block.iter().fold(true, |text, byte| text & is_text(*byte)) {
            break;
        }
        at += 16;
    }
    while let Some(word) = input.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let odd = first_odd(u64::from_le_bytes(*word));
        at += odd;
        if odd < 8 {
            return at;
        }
    }
    at + input[at..].iter().take_while(|byte| is_text(**byte)).count()
}

#[inline]
fn is_text(byte: u8) -> bool {
    // One comparison of signed bytes: those above ASCII are negative.
    (byte as i8 >= b' ' as i8) & (byte != 0x7f)
}

/// Which of eight bytes is the first that is no text; 8 if all are.
///
/// In each byte the high bit is set by one that is above ASCII, below a space, or DEL. A borrow can only come from a byte
/// that is odd itself, so the lowest one is right.
#[inline]
fn first_odd(word: u64) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let control = word.wrapping_sub(ONES * 0x20);
    let delete = (word ^ (ONES * 0x7f)).wrapping_sub(ONES);
    let odd = (word | control | delete) & (ONES * 0x80);
    odd.trailing_zeros() as usize / 8
}
