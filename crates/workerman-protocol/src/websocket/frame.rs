//! The header of a frame (RFC 6455 section 5.2).

use super::Error;
use super::mask::Key;

/// The longest header: two bytes, eight of length, four of a key.
pub(super) const MAX_HEADER: usize = 14;
/// Most bytes of a control frame's payload (RFC 6455 section 5.5).
pub(super) const MAX_CONTROL: usize = 125;

pub(super) const FIN: u8 = 0x80;
pub(super) const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
pub(super) const MASKED: u8 = 0x80;

pub(super) const CONTINUATION: u8 = 0x0;
pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xa;

/// A complete header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// Bytes of the header.
    pub(super) len: usize,
    /// Bytes of the payload.
    pub(super) payload: usize,
    pub(super) key: Key,
}

/// What the first byte says, where it breaks no rule by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct First(u8);

impl First {
    /// `compresses`: whether RSV1 has a meaning (RFC 7692 section 6).
    pub(super) fn parse(byte: u8, compresses: bool) -> Result<Self, Error> {
        let first = Self(byte);
        // RFC 6455 section 5.2: reserved bits are 0, unless an extension gives them a meaning.
        if byte & RSV2_AND_3 != 0 {
            return Err(Error::Protocol("a reserved bit is set"));
        }
        match first.opcode() {
            TEXT | BINARY if first.rsv1() && !compresses => {
                Err(Error::Protocol("a compressed frame, and no compression was negotiated"))
            }
            TEXT | BINARY => Ok(first),
            // RFC 7692 section 6: the bit is for the first frame of a message.
            CONTINUATION | CLOSE | PING | PONG if first.rsv1() => {
                Err(Error::Protocol("a reserved bit is set"))
            }
            CONTINUATION => Ok(first),
            // RFC 6455 section 5.5.
            CLOSE | PING | PONG if !first.is_final() => Err(Error::Protocol("a fragmented control frame")),
            CLOSE | PING | PONG => Ok(first),
            _ => Err(Error::Protocol("a reserved opcode")),
        }
    }

    pub(super) const fn opcode(self) -> u8 {
        self.0 & 0xf
    }

    pub(super) const fn is_final(self) -> bool {
        self.0 & FIN != 0
    }

    pub(super) const fn rsv1(self) -> bool {
        self.0 & RSV1 != 0
    }

    pub(super) const fn is_control(self) -> bool {
        self.0 & 0x8 != 0
    }
}

impl Header {
    /// The header at the front of `input`, `Err(Ok(n))` if `n` bytes are missing. What has arrived of it breaks no rule then.
    ///
    /// `masked`: whether the peer has to mask. `most`: bytes of payload that are allowed.
    #[inline]
    pub(super) fn parse(
        input: &[u8],
        masked: bool,
        is_control: bool,
        most: impl FnOnce(usize) -> Result<(), Error>,
    ) -> Result<Self, Result<usize, Error>> {
        let broken = |rule| Err(Err(Error::Protocol(rule)));
        let Some(&[_, second]) = input.first_chunk::<2>() else { return Err(Ok(2 - input.len())) };
        // RFC 6455 section 5.1.
        if (second & MASKED != 0) != masked {
            return broken(if masked {
                "a frame of a client without a mask"
            } else {
                "a masked frame of a server"
            });
        }
        let short = second & !MASKED;
        if is_control && usize::from(short) > MAX_CONTROL {
            return broken("a control frame of more than 125 bytes");
        }
        let (at, payload) = match short {
            126 => {
                let Some(&[_, _, a, b]) = input.first_chunk::<4>() else { return Err(Ok(4 - input.len())) };
                let payload = u16::from_be_bytes([a, b]);
                if payload < 126 {
                    return broken("a length that is not encoded in the shortest way");
                }
                (4, usize::from(payload))
            }
            127 => {
                let Some(&[_, _, ref length @ ..]) = input.first_chunk::<10>() else {
                    return Err(Ok(10 - input.len()));
                };
                let payload = u64::from_be_bytes(*length);
                if payload <= u64::from(u16::MAX) {
                    return broken("a length that is not encoded in the shortest way");
                }
                if payload >> 63 != 0 {
                    return broken("a length with the highest bit set");
                }
                // What does not fit has no place in memory either.
                (10, usize::try_from(payload).unwrap_or(usize::MAX))
            }
            short => (2, usize::from(short)),
        };
        most(payload).map_err(Err)?;
        if !masked {
            return Ok(Self { len: at, payload, key: Key::default() });
        }
        match input.get(at..at + 4).and_then(<[u8]>::first_chunk) {
            Some(key) => Ok(Self { len: at + 4, payload, key: Key::new(*key) }),
            None => Err(Ok(at + 4 - input.len())),
        }
    }
}

/// The bytes of a header without a key, and how many of them count.
#[inline(always)]
pub(super) fn write(first: u8, masked: bool, payload: usize) -> ([u8; 10], usize) {
    let mask = if masked { MASKED } else { 0 };
    let mut header = [0; 10];
    header[0] = first;
    // RFC 6455 section 5.2: the shortest way.
    if payload < 126 {
        header[1] = mask | payload as u8;
        (header, 2)
    } else if let Ok(payload) = u16::try_from(payload) {
        header[1] = mask | 126;
        header[2..4].copy_from_slice(&payload.to_be_bytes());
        (header, 4)
    } else {
        header[1] = mask | 127;
        header[2..].copy_from_slice(&(payload as u64).to_be_bytes());
        (header, 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &[u8], masked: bool) -> Result<Header, Result<usize, Error>> {
        Header::parse(input, masked, false, |_| Ok(()))
    }

    #[test]
    fn what_is_written_is_read_and_asked_for_byte_by_byte() {
        for masked in [false, true] {
            for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 40] {
                let (header, len) = write(FIN | TEXT, masked, payload);
                let mut header = header[..len].to_vec();
                if masked {
                    header.extend_from_slice(&[1, 2, 3, 4]);
                }
                let key = if masked { Key::new([1, 2, 3, 4]) } else { Key::default() };
                assert_eq!(parse(&header, masked), Ok(Header { len: header.len(), payload, key }));
                for cut in 0..header.len() {
                    let missing = parse(&header[..cut], masked).unwrap_err().unwrap();
                    assert!(missing >= 1 && cut + missing <= header.len());
                }
                assert!(matches!(parse(&header, !masked), Err(Err(Error::Protocol(_)))));
            }
        }
    }

    #[test]
    fn the_shortest_length_alone_is_taken() {
        for header in [&b"\x82\x7e\0\x7d"[..], b"\x82\x7f\0\0\0\0\0\0\xff\xff", b"\x82\x7f\x80\0\0\0\0\0\0\0"]
        {
            assert!(matches!(parse(header, false), Err(Err(Error::Protocol(_)))), "{header:x?}");
        }
    }

    #[test]
    fn a_length_is_refused_before_the_key_has_arrived() {
        let most = |payload| if payload > 9 { Err(Error::Utf8) } else { Ok(()) };
        assert_eq!(Header::parse(b"\x82\x8a", true, false, most), Err(Err(Error::Utf8)));
        assert_eq!(Header::parse(b"\x82\x89", true, false, most), Err(Ok(4)));
    }

    #[test]
    fn first_bytes() {
        let fine = |byte, compresses| First::parse(byte, compresses).is_ok();
        for byte in 0..=u8::MAX {
            let (fin, reserved, opcode) = (byte & 0x80 != 0, byte >> 4 & 7, byte & 15);
            let plain = matches!((fin, opcode), (_, 0..=2) | (true, 8..=10));
            assert_eq!(fine(byte, false), plain && reserved == 0, "{byte:x}");
            let compressed = reserved == 4 && matches!(opcode, 1 | 2);
            assert_eq!(fine(byte, true), plain && (reserved == 0 || compressed), "{byte:x}");
        }
    }
}
