//! What the WebSocket targets share: streams of frames that are nearly right, and a reader that reads them plainly.

use libfuzzer_sys::arbitrary;
use workerman_protocol::Protocol;
use workerman_protocol::testing::{Harness, Seen, Transcript};
use workerman_protocol::websocket::{Event, Message};

/// Most bytes of a message, and most fragments of one, in these targets.
pub const MAX_MESSAGE: usize = 200;
pub const MAX_FRAGMENTS: u32 = 5;

/// A frame that may be wrong in every way.
#[derive(arbitrary::Arbitrary, Debug)]
pub struct Frame {
    pub first: First,
    /// Whether the bit of the mask is wrong.
    pub wrong_mask: bool,
    /// How many bytes the length takes, in place of the fewest: 2 or 8.
    pub long: Option<bool>,
    /// A length that is not that of the payload.
    pub lie: Option<u64>,
    pub key: [u8; 4],
    pub payload: Payload,
}

#[derive(arbitrary::Arbitrary, Debug)]
pub enum First {
    Text,
    Binary,
    BeginText,
    BeginBinary,
    Continue,
    End,
    Ping,
    Pong,
    Close,
    Any(u8),
}

#[derive(arbitrary::Arbitrary, Debug)]
pub enum Payload {
    Text(String),
    Bytes(Vec<u8>),
    Code(u16, String),
    Zeros(u8),
}

impl Frame {
    /// Appends it, as the side that `masks` or does not.
    pub fn write(&self, masks: bool, out: &mut Vec<u8>) {
        let mut payload = match &self.payload {
            Payload::Text(text) => text.clone().into_bytes(),
            Payload::Bytes(bytes) => bytes.clone(),
            Payload::Code(code, text) => [&code.to_be_bytes()[..], text.as_bytes()].concat(),
            Payload::Zeros(length) => vec![0; usize::from(*length)],
        };
        out.push(match self.first {
            First::Text => 0x81,
            First::Binary => 0x82,
            First::BeginText => 0x01,
            First::BeginBinary => 0x02,
            First::Continue => 0x00,
            First::End => 0x80,
            First::Ping => 0x89,
            First::Pong => 0x8a,
            First::Close => 0x88,
            First::Any(byte) => byte,
        });
        let masked = masks != self.wrong_mask;
        let mask = if masked { 0x80 } else { 0 };
        let length = self.lie.unwrap_or(payload.len() as u64);
        match (self.long, length) {
            (None, 0..=125) => out.push(mask | length as u8),
            (None | Some(false), 0..=0xffff) => {
                out.push(mask | 126);
                out.extend((length as u16).to_be_bytes());
            }
            _ => {
                out.push(mask | 127);
                out.extend(length.to_be_bytes());
            }
        }
        if masked {
            out.extend(self.key);
            payload.iter_mut().zip(self.key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        out.extend(payload);
    }
}

/// Feeds a connection that has just been opened, in one piece, byte by byte, and in pieces of another size: that makes no
/// difference.
pub fn cut<P>(open: impl Fn() -> Harness<P>, input: &[u8], size: u8) -> Transcript<P>
where
    P: Protocol<Incoming = Message, Event = Event>,
{
    let run = |size: usize| {
        let mut harness = open();
        harness.seen();
        harness.output();
        input.chunks(size).for_each(|piece| harness.feed(piece));
        harness.eof();
        harness.into_transcript()
    };
    let whole = run(input.len().max(1));
    for size in [1, usize::from(size).max(2)] {
        assert_eq!(run(size), whole, "in pieces of {size}");
    }
    whole
}

/// What a plain reading of a whole stream finds.
#[derive(Debug, PartialEq)]
pub struct Read {
    pub seen: Vec<Seen<Message, Event>>,
    pub end: End,
}

#[derive(Debug, PartialEq)]
pub enum End {
    /// The stream ends between messages.
    Clean,
    /// It ends within one.
    Truncated,
    /// A close frame, and its code.
    Closed(Option<u16>),
    /// It breaks a rule: the code to close with.
    Broken(u16),
}

/// Reads everything that one side has sent: RFC 6455 section 5 to the letter, and in no hurry.
pub fn read(mut input: &[u8], masked: bool) -> Read {
    let mut seen = Vec::new();
    let end = loop {
        // The message so far: whether it is text, its bytes, its fragments.
        let mut message: Option<(bool, Vec<u8>, u32)> = None;
        match read_message(&mut input, masked, &mut message, &mut seen) {
            Ok(message) => seen.push(Seen::Message(message)),
            Err(end) => break end,
        }
    };
    Read { seen, end }
}

fn read_message(
    input: &mut &[u8],
    masked: bool,
    message: &mut Option<(bool, Vec<u8>, u32)>,
    seen: &mut Vec<Seen<Message, Event>>,
) -> Result<Message, End> {
    loop {
        let ends = if input.is_empty() && message.is_none() { End::Clean } else { End::Truncated };
        let Some((&first, rest)) = input.split_first() else { return Err(ends) };
        let opcode = first & 15;
        let control = opcode >= 8;
        let known = matches!(opcode, 0..=2 | 8..=10);
        if first & 0x70 != 0 || !known || (control && first & 0x80 == 0) {
            return Err(End::Broken(1002));
        }
        if !control && (opcode == 0) != message.is_some() {
            return Err(End::Broken(1002));
        }
        if message.as_ref().is_some_and(|message| !control && message.2 >= MAX_FRAGMENTS) {
            return Err(End::Broken(1009));
        }
        let Some((&second, rest)) = rest.split_first() else { return Err(End::Truncated) };
        if (second & 0x80 != 0) != masked || (control && second & 0x7f > 125) {
            return Err(End::Broken(1002));
        }
        let (bytes, least) = match second & 0x7f {
            126 => (2, 126),
            127 => (8, 65_536),
            _ => (0, 0),
        };
        let Some((length, rest)) = rest.split_at_checked(bytes) else { return Err(End::Truncated) };
        let length = match bytes {
            0 => u64::from(second & 0x7f),
            _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if length < least || length >> 63 != 0 {
            return Err(End::Broken(1002));
        }
        let had = message.as_ref().map_or(0, |message| message.1.len() as u64);
        if !control && length + had > MAX_MESSAGE as u64 {
            return Err(End::Broken(1009));
        }
        let Some((key, rest)) = rest.split_at_checked(if masked { 4 } else { 0 }) else {
            return Err(End::Truncated);
        };
        let length = length as usize;
        let arrived = &rest[..length.min(rest.len())];
        let mut payload = arrived.to_vec();
        if masked {
            payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        let whole = payload.len() == length;
        *input = &rest[payload.len()..];
        if control {
            if !whole {
                return Err(End::Truncated);
            }
            match opcode {
                8 => return Err(close(&payload)),
                9 => seen.push(Seen::Event(Event::Ping(payload.into()))),
                _ => seen.push(Seen::Event(Event::Pong(payload.into()))),
            }
            continue;
        }
        let (text, so_far, fragments) = message.get_or_insert((opcode == 1, Vec::new(), 0));
        so_far.extend(payload);
        *fragments += 1;
        let last = whole && first & 0x80 != 0;
        if *text {
            match std::str::from_utf8(so_far) {
                Ok(_) => {}
                Err(error) if error.error_len().is_none() && !last => {}
                Err(_) => return Err(End::Broken(1007)),
            }
        }
        if !whole {
            return Err(End::Truncated);
        }
        if last {
            let (text, bytes) = (*text, std::mem::take(so_far));
            return Ok(if text { String::from_utf8(bytes).unwrap_or_default().into() } else { bytes.into() });
        }
    }
}

fn close(payload: &[u8]) -> End {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { End::Closed(None) } else { End::Broken(1002) };
    };
    let code = u16::from_be_bytes(*code);
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 if std::str::from_utf8(reason).is_ok() => {
            End::Closed(Some(code))
        }
        1000..=1003 | 1007..=1014 | 3000..=4999 => End::Broken(1007),
        _ => End::Broken(1002),
    }
}
