//! Tests of the chunked coding.

use super::*;

fn limits() -> ChunkLimits {
    ChunkLimits { extensions: 32, trailers: 64, fields: 3 }
}

/// Data, trailers, and what is left of the input.
type Decoded = (Vec<u8>, Headers, Vec<u8>);

/// Decodes all of `input`, handed over in pieces of `step` bytes: data, trailers, and what is left.
fn decode(input: &[u8], step: usize) -> Result<Option<Decoded>, ChunkError> {
    let mut chunked = Chunked::new(limits());
    let (mut buffer, mut data) = (BytesMut::new(), Vec::new());
    let mut pieces = input.chunks(step);
    loop {
        match chunked.next(&mut buffer)? {
            Chunk::Data(ready) => {
                data.extend_from_slice(&buffer.split_to(ready));
                chunked.took(ready);
            }
            Chunk::End(trailers) => {
                let rest = [&buffer[..], &pieces.collect::<Vec<_>>().concat()].concat();
                return Ok(Some((data, trailers.unwrap_or_default(), rest)));
            }
            Chunk::Need(more) => {
                assert!(more > 0);
                let Some(piece) = pieces.next() else { return Ok(None) };
                buffer.extend_from_slice(piece);
            }
        }
    }
}

#[test]
fn data_trailers_and_what_follows_are_the_same_for_each_split() {
    let input = b"3\r\nabc\r\n0A ; a=b;c=\"d\\\"e\"\r\n0123456789\r\n00\r\nETag: x\r\nHost: no\r\n\r\nGET /";
    for step in 1..=input.len() {
        let (data, trailers, rest) = decode(input, step).unwrap().unwrap();
        assert_eq!((&data[..], &rest[..]), (&b"abc0123456789"[..], &b"GET /"[..]));
        assert_eq!((trailers.len(), trailers.get_str("etag")), (1, Some("x")), "Host is dropped");
    }
}

#[test]
fn what_is_not_the_grammar_is_refused() {
    let bad: [&[u8]; 22] = [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\na",
        b"1 \r\na",
        b"1\na\r\n",
        b"1\r\nab",
        b"1\r\na\n0",
        b"1\r\na\r\r",
        b"10000000000000000\r\n",
        b"00000000000000001\r\n",
        b"8000000000000000\r\n",
        b"1;\r\n",
        b"1;=x\r\n",
        b"1;a=\r\n",
        b"1;a=\"\n\"\r\n",
        b"1;a=\"x\r\n",
        b"1,a\r\n",
        b"0\r\n x: y\r\n\r\n",
        b"0\r\nx : y\r\n\r\n",
    ];
    for input in bad {
        for step in [1, input.len()] {
            let decoded = decode(input, step);
            assert!(matches!(decoded, Err(ChunkError::Malformed(_))), "{input:?} by {step}: {decoded:?}");
        }
    }
}

#[test]
fn limits_hold_over_the_whole_body() {
    let long = [b"1;".as_slice(), &[b'x'; 40], b"\r\na\r\n0\r\n\r\n"].concat();
    let many = b"1;aaaaaaaaa\r\na\r\n".repeat(4);
    let trailer = [b"0\r\nx: ".as_slice(), &[b'y'; 80], b"\r\n\r\n"].concat();
    let fields = b"0\r\na:b\r\na:b\r\na:b\r\na:b\r\n\r\n";
    for input in [&long[..], &many, &trailer, fields] {
        for step in [1, input.len()] {
            assert!(matches!(decode(input, step), Err(ChunkError::TooLarge { .. })), "by {step}");
        }
    }
}

#[test]
fn an_unfinished_body_is_not_complete() {
    let whole = b"3\r\nabc\r\n0\r\n\r\n";
    for end in 0..whole.len() {
        assert_eq!(decode(&whole[..end], 2), Ok(None));
    }
    let mut chunked = Chunked::new(limits());
    assert_eq!(
        chunked.next(&mut BytesMut::from(&b"64\r\n"[..])),
        Ok(Chunk::Need(103)),
        "with its end and a digit"
    );
}
