//! The data, changed at random: what readers have disagreed about, put where nobody has put it yet.

use fastrand::Rng;

use super::data::Case;

/// What is put into inputs: what readers have disagreed about.
const PIECES: [&[u8]; 52] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\r",
    b" ",
    b"\t",
    b"\0",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\xff",
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"\\",
    b"+",
    b"-",
    b"_",
    b".",
    b"/",
    b"#",
    b"?",
    b"*",
    b"@",
    b"[",
    b"]",
    b"%",
    b"0",
    b"1",
    b"5",
    b"f",
    b"x",
    b"0x",
    b"chunked",
    b"identity",
    b"close",
    b"keep-alive",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// Some bytes of a case, changed a little.
///
/// Half of them come of the first ones, so that not all are nonsense to begin with; `cases` says how many these are.
pub fn mutated((cases, good): (&[Case], usize), random: &mut Rng) -> Vec<u8> {
    let most = if random.bool() { cases.len() } else { good };
    let mut bytes = cases[random.usize(..most)].bytes.clone();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        let longest = if random.bool() { 1 } else { 30 };
        let end = at + random.usize(..=longest.min(bytes.len() - at));
        match random.u8(..6) {
            0 | 1 => drop(bytes.splice(at..at, PIECES[random.usize(..PIECES.len())].iter().copied())),
            2 => drop(bytes.splice(at..end, PIECES[random.usize(..PIECES.len())].iter().copied())),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                drop(bytes.splice(to..to, copy));
            }
            _ => {
                let other = &cases[random.usize(..cases.len())].bytes;
                let from = random.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

/// Bytes from 0x80 on stand for pieces, as far as there are any; the others for themselves. (For fuzzers.)
pub fn expand(short: &[u8]) -> Vec<u8> {
    let piece = |byte: &u8| PIECES.get(usize::from(*byte).checked_sub(0x80)?).copied();
    short.iter().flat_map(|byte| piece(byte).unwrap_or(std::slice::from_ref(byte))).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_bytes_stand_for_pieces() {
        let last = 0x80 + PIECES.len() as u8;
        assert_eq!(
            expand(&[b'G', 0, 0x80, 0x82, last, 0xff]),
            [b"G\0\r\r\n".as_slice(), &[last, 0xff]].concat()
        );
    }
}
