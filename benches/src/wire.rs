//! The three forms in which the load is sent, and messages in them.

use std::fmt;
use std::str::FromStr;

/// How messages are delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// Not at all: bytes.
    Tcp,
    /// By a newline.
    Text,
    /// By a four-byte big-endian length in front, which counts itself.
    Frame,
}

impl Wire {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Text => "text",
            Self::Frame => "frame",
        }
    }

    /// Appends a message with a payload of `size` printable bytes, which differ from seed to seed.
    ///
    /// # Panics
    /// If `size` does not fit a frame's length field.
    pub fn put_message(self, out: &mut Vec<u8>, size: usize, seed: usize) {
        if self == Self::Frame {
            let total = u32::try_from(size + 4).expect("the payload fits a frame");
            out.extend_from_slice(&total.to_be_bytes());
        }
        // 61 is prime to the alphabet, so neighbouring seeds and neighbouring bytes differ.
        out.extend((0..size).map(|at| b'0' + ((at + seed * 61 + at / 75) % 75) as u8));
        if self == Self::Text {
            out.push(b'\n');
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Wire {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            // An idle connection is a raw one that says nothing.
            "tcp" | "idle" => Ok(Self::Tcp),
            "text" => Ok(Self::Text),
            "frame" => Ok(Self::Frame),
            _ => Err("expected tcp, text or frame"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_delimited_and_differ() {
        let message = |wire: Wire, seed| {
            let mut out = Vec::new();
            wire.put_message(&mut out, 200, seed);
            out
        };
        assert_eq!(message(Wire::Tcp, 0).len(), 200);
        assert_eq!(message(Wire::Frame, 0)[..4], 204_u32.to_be_bytes());
        let text = message(Wire::Text, 3);
        assert_eq!(text.iter().position(|&byte| byte == b'\n'), Some(200));
        assert!(text[..200].iter().all(|byte| (b'0'..b'0' + 75).contains(byte)));
        assert_ne!(message(Wire::Tcp, 1), message(Wire::Tcp, 2));
    }
}
