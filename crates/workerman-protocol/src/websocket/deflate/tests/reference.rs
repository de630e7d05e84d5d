//! A second inflater, as plain as RFC 1951 reads: it also tells how far back a stream reaches.

/// What a stream holds.
#[derive(Default, Debug)]
pub(super) struct Inflated {
    pub(super) bytes: Vec<u8>,
    /// The furthest distance of a match.
    pub(super) reach: usize,
}

impl Inflated {
    /// Inflates a payload behind what was inflated before; what its sender has left out is appended.
    pub(super) fn append(&mut self, payload: &[u8]) -> Option<()> {
        let whole = [payload, &super::super::TAIL].concat();
        let mut bits = Bits { bytes: &whole, at: 0 };
        // To the end of the last block that begins.
        while bits.at < whole.len() * 8 {
            let is_final = bits.take(1)? == 1;
            match bits.take(2)? {
                0 => self.stored(&mut bits)?,
                1 => {
                    let lengths: Vec<u8> = (0..288).map(fixed_length).collect();
                    self.coded(&mut bits, &Code::new(&lengths), &Code::new(&[5; 30]))?;
                }
                2 => {
                    let (literals, distances) = dynamic(&mut bits)?;
                    self.coded(&mut bits, &literals, &distances)?;
                }
                _ => return None,
            }
            if is_final {
                bits.at = bits.at.next_multiple_of(8);
            }
        }
        Some(())
    }

    fn stored(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        bits.at = bits.at.next_multiple_of(8);
        let (length, complement) = (bits.take(16)?, bits.take(16)?);
        if length != !complement & 0xffff {
            return None;
        }
        for _ in 0..length {
            let byte = bits.take(8)?;
            self.bytes.push(byte as u8);
        }
        Some(())
    }

    fn coded(&mut self, bits: &mut Bits<'_>, literals: &Code, distances: &Code) -> Option<()> {
        loop {
            match literals.read(bits)? {
                literal @ 0..256 => self.bytes.push(literal as u8),
                256 => return Some(()),
                symbol @ 257..=285 => {
                    let length = extended(bits, symbol - 257, 4, 3, Some(28))?;
                    let symbol = distances.read(bits)?;
                    let distance = extended(bits, symbol, 2, 1, None)?;
                    self.reach = self.reach.max(distance);
                    let from = self.bytes.len().checked_sub(distance)?;
                    for at in from..from + length {
                        self.bytes.push(self.bytes[at]);
                    }
                }
                _ => return None,
            }
        }
    }
}

/// The lengths and distances of RFC 1951 section 3.2.5: groups of symbols, each with one more bit than the one before.
fn extended(
    bits: &mut Bits<'_>,
    symbol: usize,
    group: usize,
    least: usize,
    last: Option<usize>,
) -> Option<usize> {
    if last == Some(symbol) {
        return Some(258);
    }
    if symbol < 2 * group {
        return Some(least + symbol);
    }
    let extra = symbol / group - 1;
    Some(least + ((group + symbol % group) << extra) + bits.take(extra)?)
}

fn fixed_length(symbol: usize) -> u8 {
    match symbol {
        0..144 => 8,
        144..256 => 9,
        256..280 => 7,
        _ => 8,
    }
}

fn dynamic(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    let (literals, distances, lengths) = (bits.take(5)? + 257, bits.take(5)? + 1, bits.take(4)? + 4);
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let mut of_lengths = [0; 19];
    for at in &ORDER[..lengths] {
        of_lengths[*at] = bits.take(3)? as u8;
    }
    let code = Code::new(&of_lengths);
    let mut all: Vec<u8> = Vec::new();
    while all.len() < literals + distances {
        let (length, times) = match code.read(bits)? {
            length @ 0..16 => (length as u8, 1),
            16 => (*all.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            _ => (0, 11 + bits.take(7)?),
        };
        all.extend(std::iter::repeat_n(length, times));
    }
    let (literals, distances) = all.split_at_checked(literals)?;
    Some((Code::new(literals), Code::new(distances)))
}

/// A Huffman code (RFC 1951 section 3.2.2): how many codes each length has, and the symbols in the order of their codes.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut code = Self { counts: [0; 16], symbols: Vec::new() };
        for length in 1..16 {
            let of_length = lengths.iter().enumerate().filter(|(_, own)| usize::from(**own) == length);
            code.symbols.extend(of_length.map(|(symbol, _)| symbol));
            code.counts[length] = code.symbols.len() - code.counts[..length].iter().sum::<usize>();
        }
        code
    }

    fn read(&self, bits: &mut Bits<'_>) -> Option<usize> {
        // The first code of this length, and its symbol.
        let (mut word, mut first, mut symbol) = (0, 0, 0);
        for count in &self.counts[1..] {
            word = word << 1 | bits.take(1)?;
            first <<= 1;
            if word < first + count {
                return self.symbols.get(symbol + (word - first)).copied();
            }
            first += count;
            symbol += count;
        }
        None
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<usize> {
        let mut value = 0;
        for shift in 0..count {
            value |= usize::from(*self.bytes.get(self.at / 8)? >> (self.at % 8) & 1) << shift;
            self.at += 1;
        }
        Some(value)
    }
}

#[test]
fn reads_the_examples_of_the_rfc() {
    // RFC 7692 section 7.2.3.1 to 7.2.3.5: Hello, compressed, stored, final, in two blocks.
    for payload in [
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
    ] {
        let mut inflated = Inflated::default();
        inflated.append(payload).unwrap();
        assert_eq!(inflated.bytes, b"Hello");
    }
    // Section 7.2.3.2: the second message refers to the first.
    let mut inflated = Inflated::default();
    inflated.append(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]).unwrap();
    inflated.append(&[0xf2, 0x00, 0x11, 0x00, 0x00]).unwrap();
    assert_eq!((&inflated.bytes[..], inflated.reach), (&b"HelloHello"[..], 5));
    assert!(Inflated::default().append(&[0xf2, 0x00, 0x11, 0x00, 0x00]).is_none());
}
