//! Frames, written from RFC 6455 section 5.2 alone: the other side of the tests. It shares no code with the library.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Opcodes (RFC 6455 section 11.8).
pub mod op {
    /// A further part of a message.
    pub const MORE: u8 = 0;
    /// Text.
    pub const TEXT: u8 = 1;
    /// Bytes.
    pub const BINARY: u8 = 2;
    /// The end.
    pub const CLOSE: u8 = 8;
    /// A question for a sign of life.
    pub const PING: u8 = 9;
    /// The answer to it.
    pub const PONG: u8 = 10;
}

/// How the length of a frame is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// In as few bytes as possible.
    Shortest,
    /// In 16 bits, whatever it is.
    Sixteen,
    /// In 64 bits, whatever it is.
    SixtyFour,
}

/// A frame, as lawful as its fields are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The last one of its message.
    pub fin: bool,
    /// RSV1 is 4, RSV2 is 2, RSV3 is 1.
    pub rsv: u8,
    /// See [`op`].
    pub opcode: u8,
    /// What it says, unmasked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame of a message or a control frame that is complete by itself.
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, rsv: 0, opcode, payload: payload.into() }
    }

    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(op::TEXT, text.into())
    }

    /// Bytes.
    pub fn binary(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(op::BINARY, payload)
    }

    /// A close frame with a code and a reason.
    pub fn close(code: u16, reason: &str) -> Self {
        Self::new(op::CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// The same with a cleared FIN bit.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    /// Whether it is a control frame.
    pub fn is_control(&self) -> bool {
        self.opcode & 8 != 0
    }

    /// The code of a close frame, if it has one.
    pub fn code(&self) -> Option<u16> {
        let (code, _) = self.payload.split_first_chunk::<2>()?;
        (self.opcode == op::CLOSE).then(|| u16::from_be_bytes(*code))
    }

    /// The frame as it is sent, masked with this key if there is one.
    pub fn bytes(&self, key: Option<[u8; 4]>) -> Vec<u8> {
        self.bytes_with(key, Length::Shortest, self.payload.len() as u64)
    }

    /// The frame with a header that says something else.
    pub fn bytes_with(&self, key: Option<[u8; 4]>, form: Length, length: u64) -> Vec<u8> {
        let mut out = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        let mask = if key.is_some() { 0x80 } else { 0 };
        match form {
            Length::Shortest if length < 126 => out.push(mask | length as u8),
            Length::Shortest | Length::Sixteen if length < 65_536 => {
                out.push(mask | 126);
                out.extend((length as u16).to_be_bytes());
            }
            _ => {
                out.push(mask | 127);
                out.extend(length.to_be_bytes());
            }
        }
        match key {
            Some(key) => {
                out.extend(key);
                out.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
            }
            None => out.extend(&self.payload),
        }
        out
    }
}

/// Reads frames, and insists on all that a lone frame can break.
#[derive(Debug)]
pub struct Reader {
    masked: bool,
    /// RSV1 has a meaning.
    compressed: bool,
    buffer: Vec<u8>,
    /// The keys of the masked frames, in order.
    pub keys: Vec<[u8; 4]>,
}

impl Reader {
    /// A reader of what a client (masked) or a server has sent.
    pub fn new(masked: bool, compressed: bool) -> Self {
        Self { masked, compressed, buffer: Vec::new(), keys: Vec::new() }
    }

    /// Adds what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that are no complete frame yet.
    pub fn left(&self) -> &[u8] {
        &self.buffer
    }

    /// The next complete frame.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn frame(&mut self) -> Result<Option<Frame>, String> {
        let bytes = &self.buffer;
        let (Some(&first), Some(&second)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
        let (fin, rsv, opcode) = (first & 0x80 != 0, first >> 4 & 7, first & 15);
        if rsv & 3 != 0 || (rsv & 4 != 0 && !(self.compressed && matches!(opcode, op::TEXT | op::BINARY))) {
            return Err(format!("reserved bits {rsv:03b} with opcode {opcode}"));
        }
        if !matches!(opcode, 0..=2 | 8..=10) {
            return Err(format!("opcode {opcode}"));
        }
        if (second & 0x80 != 0) != self.masked {
            return Err(format!("a mask is {}", if self.masked { "missing" } else { "forbidden" }));
        }
        let (mut at, length) = match second & 0x7f {
            126 => {
                let Some(length) = bytes.get(2..4) else { return Ok(None) };
                (4, u64::from(u16::from_be_bytes([length[0], length[1]])))
            }
            127 => {
                let Some(length) = bytes.get(2..10) else { return Ok(None) };
                (10, u64::from_be_bytes(length.try_into().unwrap()))
            }
            length => (2, u64::from(length)),
        };
        if at
            != (if length < 126 {
                2
            } else if length < 65_536 {
                4
            } else {
                10
            })
            || length >> 63 != 0
        {
            return Err(format!("a length of {length} in {at} bytes"));
        }
        if opcode & 8 != 0 && (!fin || length > 125) {
            return Err(format!("a control frame of {length} bytes, final: {fin}"));
        }
        let mut key = [0; 4];
        if self.masked {
            let Some(found) = bytes.get(at..at + 4) else { return Ok(None) };
            key.copy_from_slice(found);
            at += 4;
        }
        let end = at + length as usize;
        let Some(payload) = bytes.get(at..end) else { return Ok(None) };
        let payload = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        if self.masked {
            self.keys.push(key);
        }
        self.buffer.drain(..end);
        Ok(Some(Frame { fin, rsv, opcode, payload }))
    }

    /// All complete frames.
    ///
    /// # Errors
    /// The rule that one of them breaks.
    pub fn all(&mut self) -> Result<Vec<Frame>, String> {
        std::iter::from_fn(|| self.frame().transpose()).collect()
    }
}

/// The end of each compressed message, which is not sent (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Compresses messages (RFC 7692 section 7.2.1).
#[derive(Debug)]
pub struct Deflater {
    stream: Compress,
    takeover: bool,
}

impl Deflater {
    /// With or without what was sent before.
    pub fn new(takeover: bool) -> Self {
        Self { stream: Compress::new(Compression::default(), false), takeover }
    }

    /// The payload of a compressed message.
    pub fn message(&mut self, plain: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.stream.reset();
        }
        let mut out = Vec::with_capacity(plain.len() + 1024);
        let before = self.stream.total_in();
        loop {
            let done = (self.stream.total_in() - before) as usize;
            self.stream.compress_vec(&plain[done..], &mut out, FlushCompress::Sync).unwrap();
            if out.len() < out.capacity() {
                break;
            }
            out.reserve(1024);
        }
        if out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        }
        if out.is_empty() { vec![0] } else { out }
    }
}

/// Inflates messages (RFC 7692 section 7.2.2).
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    takeover: bool,
}

impl Inflater {
    /// With or without what was received before.
    pub fn new(takeover: bool) -> Self {
        Self { stream: Decompress::new(false), takeover }
    }

    /// The message of a compressed payload, at most `limit` bytes.
    ///
    /// # Errors
    /// It is no compressed message (`false`), or it is longer (`true`).
    pub fn message(&mut self, payload: &[u8], limit: usize) -> Result<Vec<u8>, bool> {
        if !self.takeover {
            self.stream.reset(false);
        }
        let input = [payload, &TAIL].concat();
        let mut out = Vec::with_capacity(4096);
        let mut done = 0;
        loop {
            let before = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress_vec(&input[done..], &mut out, FlushDecompress::Sync)
                .map_err(|_| false)?;
            done += (self.stream.total_in() - before.0) as usize;
            if out.len() > limit {
                return Err(true);
            }
            if status == flate2::Status::StreamEnd {
                // A last block: RFC 7692 section 7.2.3.4 has such messages. A new stream begins behind it.
                self.stream.reset(false);
                if input.len() - done <= TAIL.len() + 1 {
                    return Ok(out);
                }
            } else if out.len() < out.capacity() {
                return Ok(out);
            }
            if out.len() == out.capacity() {
                out.reserve(out.capacity());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // Section 5.7.
        assert_eq!(Frame::text("Hello").bytes(None), b"\x81\x05Hello");
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(Frame::text("Hello").bytes(Some([0x37, 0xfa, 0x21, 0x3d])), masked);
        let mut reader = Reader::new(true, false);
        reader.push(&masked);
        assert_eq!(reader.frame(), Ok(Some(Frame::text("Hello"))));
        assert_eq!(Frame::text("Hel").unfinished().bytes(None), b"\x01\x03Hel");
        assert_eq!(Frame::binary(vec![0; 256]).bytes(None)[..4], [0x82, 0x7e, 1, 0]);
        assert_eq!(Frame::binary(vec![0; 65_536]).bytes(None)[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn compressed_messages_of_the_rfc() {
        // RFC 7692 sections 7.2.3.1, 7.2.3.2 (takeover), 7.2.3.3 (no compression), 7.2.3.4 (a last block), 7.2.3.5.
        let mut inflater = Inflater::new(true);
        for payload in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(inflater.message(payload, 100).unwrap(), b"Hello", "{payload:x?}");
        }
        assert_eq!(inflater.message(b"\xff\xff\xff", 100), Err(false));
    }

    #[test]
    fn what_is_deflated_is_inflated() {
        for takeover in [false, true] {
            let (mut deflater, mut inflater) = (Deflater::new(takeover), Inflater::new(takeover));
            for plain in [&b""[..], b"a", &[7; 100_000], &b"0123456789".repeat(50)] {
                let payload = deflater.message(plain);
                assert_eq!(inflater.message(&payload, 100_000).unwrap(), plain);
                if plain.len() == 100_000 {
                    assert_eq!(inflater.message(&payload, 99_999), Err(true));
                    inflater = Inflater::new(takeover);
                    deflater = Deflater::new(takeover);
                }
            }
        }
    }
}
