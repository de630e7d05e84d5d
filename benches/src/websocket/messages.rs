//! Text messages as a client sends them, masked, and as a server answers them.

use crate::wire::Wire;

/// FIN and the opcode of text.
const TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;
/// In the first byte: the message is compressed.
const COMPRESSED: u8 = 0x40;
/// Digits of the number that makes a message differ from those before it.
const DIGITS: usize = 8;
/// More messages in a row than are the same again.
const NUMBERS: u64 = 10_u64.pow(DIGITS as u32);
const KEY: usize = 4;

/// The messages of one write; all have the same length.
#[derive(Clone, Debug)]
pub struct Messages {
    size: usize,
    count: usize,
    /// The number of the next message; those of different connections are far apart.
    next: u64,
    /// Masked, as they are sent.
    frames: Vec<u8>,
    /// The same messages as a server frames them.
    answers: Vec<u8>,
}

impl Messages {
    /// `count` messages of `size` bytes, at least those of their number, for the connection at `index`.
    pub fn new(size: usize, count: usize, index: usize) -> Self {
        let size = size.max(DIGITS);
        let mut answers = Vec::new();
        for seed in 0..count {
            put_head(&mut answers, TEXT, 0, size);
            Wire::Tcp.put_message(&mut answers, size, index * count + seed);
        }
        let frames = vec![0; (head_length(size) + KEY + size) * count];
        let mut messages = Self { size, count, next: index as u64 * 1_000_003, frames, answers };
        messages.renew();
        messages
    }

    /// Numbers the messages anew, and masks each with a key of its own.
    pub fn renew(&mut self) {
        let head = head_length(self.size);
        let answers = self.answers.chunks_exact_mut(head + self.size);
        for (frame, answer) in self.frames.chunks_exact_mut(head + KEY + self.size).zip(answers) {
            let text = &mut answer[head..];
            put_number(&mut text[..DIGITS], self.next);
            let key = key(self.next);
            frame[..head].copy_from_slice(&answer[..head]);
            frame[1] |= MASKED;
            frame[head..head + KEY].copy_from_slice(&key);
            mask(&mut frame[head + KEY..], &answer[head..], key);
            self.next = (self.next + 1) % NUMBERS;
        }
    }

    /// All of them, to be sent.
    pub fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// The bytes that must be answered.
    pub fn answers(&self) -> &[u8] {
        &self.answers
    }

    /// Their number.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The text of the first one.
    pub fn text(&self) -> &[u8] {
        &self.answers[head_length(self.size)..][..self.size]
    }
}

/// The frames that answer `count` messages of `size` bytes with a text that is none of them.
pub fn prefabricated(size: usize, count: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    put_head(&mut frame, TEXT, 0, size);
    frame.resize(frame.len() + size, b'*');
    frame.repeat(count)
}

/// The length of the frame of a client's message of `size` bytes.
pub fn frame_length(size: usize) -> usize {
    head_length(size) + KEY + size
}

/// The frame of a client's message whose compressed bytes are `payload`.
pub fn compressed(payload: &[u8], number: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    put_head(&mut frame, TEXT | COMPRESSED, MASKED, payload.len());
    let key = key(number);
    frame.extend_from_slice(&key);
    let begin = frame.len();
    frame.resize(begin + payload.len(), 0);
    mask(&mut frame[begin..], payload, key);
    frame
}

/// The payload of a server's frame with a whole compressed text of less than 64 KiB; none if it is something else, how
/// many bytes are missing if it is not complete.
pub fn payload_of_compressed(frame: &[u8]) -> Option<Result<&[u8], usize>> {
    let (length, head) = match *frame {
        [] => return Some(Err(2)),
        [first, ..] if first != TEXT | COMPRESSED => return None,
        [_] => return Some(Err(1)),
        [_, 126, high, low, ..] => (usize::from(u16::from_be_bytes([high, low])), 4),
        [_, 126, ..] => return Some(Err(4 - frame.len())),
        [_, length, ..] if length < 126 => (usize::from(length), 2),
        _ => return None,
    };
    Some(frame.get(head..head + length).ok_or_else(|| head + length - frame.len()))
}

/// The length of a frame's head without the key.
fn head_length(size: usize) -> usize {
    match size {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// RFC 6455, section 5.2.
fn put_head(out: &mut Vec<u8>, first: u8, masked: u8, size: usize) {
    out.push(first);
    match size {
        0..=125 => out.push(masked | size as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(size as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
}

/// A key that nobody guesses is not needed here, only one that changes.
fn key(number: u64) -> [u8; KEY] {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) as u32 | 1).to_ne_bytes()
}

fn mask(out: &mut [u8], text: &[u8], key: [u8; KEY]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut outs = out.chunks_exact_mut(8);
    let mut words = text.chunks_exact(8);
    for (out, text) in outs.by_ref().zip(words.by_ref()) {
        let text = text.try_into().map_or(0, u64::from_ne_bytes);
        out.copy_from_slice(&(text ^ word).to_ne_bytes());
    }
    for (index, (out, text)) in outs.into_remainder().iter_mut().zip(words.remainder()).enumerate() {
        *out = text ^ key[index % KEY];
    }
}

fn put_number(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The text of each frame of a client, byte by byte as RFC 6455 says it.
    fn read(mut frames: &[u8]) -> Vec<(Vec<u8>, [u8; 4])> {
        let mut texts = Vec::new();
        while !frames.is_empty() {
            assert_eq!(frames[0], 0x81);
            assert!(frames[1] >= 0x80);
            let (length, head) = match frames[1] & 0x7f {
                126 => (usize::from(frames[2]) << 8 | usize::from(frames[3]), 4),
                127 => (frames[2..10].iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), 10),
                length => (usize::from(length), 2),
            };
            let key: [u8; 4] = frames[head..head + 4].try_into().unwrap();
            let (payload, rest) = frames[head + 4..].split_at(length);
            texts.push((payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect(), key));
            frames = rest;
        }
        texts
    }

    #[test]
    fn messages_and_keys_differ_and_are_what_is_answered() {
        for size in [20, 21, 125, 126, 1024, 65_535, 65_536] {
            let mut messages = Messages::new(size, 3, 7);
            let (mut texts, mut keys) = (HashSet::new(), HashSet::new());
            for _ in 0..3 {
                messages.renew();
                assert_eq!(messages.frames().len(), frame_length(size) * 3);
                let mut answers = Vec::new();
                for (text, key) in read(messages.frames()) {
                    assert_eq!(text.len(), size);
                    assert!(text.is_ascii());
                    put_head(&mut answers, 0x81, 0, size);
                    answers.extend_from_slice(&text);
                    assert!(texts.insert(text), "{size} repeats itself");
                    keys.insert(key);
                }
                assert!(answers == messages.answers());
                assert_eq!(answers[answers.len() / 3 - size..answers.len() / 3], *messages.text());
            }
            assert_eq!((texts.len(), keys.len()), (9, 9));
        }
    }

    #[test]
    fn what_is_prefabricated_is_a_frame_too() {
        assert_eq!(prefabricated(20, 2).len(), 44);
        assert_eq!(prefabricated(20, 1)[..3], [0x81, 20, b'*']);
        assert_eq!(prefabricated(1024, 1)[..5], [0x81, 126, 4, 0, b'*']);
        assert_eq!(prefabricated(65_536, 1)[..11], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0, b'*']);
    }

    #[test]
    fn a_compressed_answer_is_taken_out_of_its_frame_when_it_is_complete() {
        assert_eq!(compressed(b"abc", 5)[..2], [0xc1, 0x83]);
        for length in [3, 300] {
            let mut frame = Vec::new();
            put_head(&mut frame, 0xc1, 0, length);
            frame.resize(frame.len() + length, b'x');
            for at in 0..frame.len() {
                let missing = payload_of_compressed(&frame[..at]).unwrap().unwrap_err();
                assert!(missing > 0 && at + missing <= frame.len());
            }
            assert_eq!(payload_of_compressed(&frame), Some(Ok(&vec![b'x'; length][..])));
        }
        assert_eq!(payload_of_compressed(&[0x81, 3, 1, 2, 3]), None);
    }
}
