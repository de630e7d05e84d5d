//! The pieces of a body: spans of a file, and in between the heads of a `multipart/byteranges` (RFC 9110 section 14.6).

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;

use super::ranges::Span;

/// A piece of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    /// Written between spans.
    Bytes(Bytes),
    /// Read from the file.
    Span(Span),
}

/// The body of several ranges: its pieces, and how many bytes they are.
pub(crate) fn multipart(
    spans: &[Span],
    whole: u64,
    content_type: &[u8],
    boundary: &str,
) -> (VecDeque<Piece>, u64) {
    let mut pieces = VecDeque::with_capacity(spans.len() * 2 + 1);
    let mut length = 0;
    let mut text = |pieces: &mut VecDeque<Piece>, parts: &[&[u8]]| {
        let head = Bytes::from(parts.concat());
        length += head.len() as u64;
        pieces.push_back(Piece::Bytes(head));
    };
    let mut before: &[u8] = b"--";
    for span in spans {
        let range = span.content_range(whole);
        text(
            &mut pieces,
            &[
                before,
                boundary.as_bytes(),
                b"\r\nContent-Type: ",
                content_type,
                b"\r\nContent-Range: ",
                range.as_bytes(),
                b"\r\n\r\n",
            ],
        );
        pieces.push_back(Piece::Span(*span));
        before = b"\r\n--";
    }
    text(&mut pieces, &[before, boundary.as_bytes(), b"--\r\n"]);
    let length = length + spans.iter().map(|span| span.length).sum::<u64>();
    (pieces, length)
}

/// A boundary that no file can foresee, and so none contain.
pub(crate) fn boundary() -> String {
    // The keys are random, which is all that is needed here; a generator would be another dependency.
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_15_3_7_2_parts_have_heads_and_the_length_is_exact() {
        let spans = [Span { first: 5, length: 3 }, Span { first: 0, length: 1 }];
        let (pieces, length) = multipart(&spans, 10, b"text/plain", "XX");
        let file = b"0123456789";
        let body: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.to_vec(),
                Piece::Span(span) => file[span.first as usize..][..span.length as usize].to_vec(),
            })
            .collect();
        let expected = "--XX\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-7/10\r\n\r\n567\
            \r\n--XX\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/10\r\n\r\n0\
            \r\n--XX--\r\n";
        assert_eq!(String::from_utf8(body).unwrap(), expected);
        assert_eq!(length, expected.len() as u64);
    }

    #[test]
    fn boundaries_differ_and_have_the_form_of_rfc_2046() {
        let (one, other) = (boundary(), boundary());
        assert_ne!(one, other);
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
