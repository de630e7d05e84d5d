//! Section 8.1: text is UTF-8, and fails as soon as it is not.

use super::*;

const GOOD: &str = "κόσμε";
/// Beyond the last character there is.
const BAD: &[u8] = b"\xf4\x90\x80\x80";

/// After how many bytes a server ends the connection with 1007, fed byte by byte.
fn fails_after(input: &[u8]) -> Option<usize> {
    let mut harness = server();
    for (at, byte) in input.iter().enumerate() {
        harness.feed(&[*byte]);
        if !harness.is_open() {
            assert_eq!(close_code(&harness.output()), Some(1007));
            return Some(at + 1);
        }
    }
    None
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    for bad in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"a\x80", BAD] {
        for before in [0, 1, 20, 100, 5_000] {
            let payload = [&vec![b'a'; before], bad].concat();
            let transcript = if before < 1000 {
                refused(&masked(0x81, &payload), 1007)
            } else {
                let mut harness = server();
                harness.feed(&masked(0x81, &payload));
                harness.into_transcript()
            };
            assert_eq!(close_code(&transcript.output), Some(1007));
        }
        let mut client = client();
        client.feed(&plain(0x81, bad));
        assert_eq!(client_frames(&client.output())[0].1[..2], 1007_u16.to_be_bytes());
    }
    // Bytes are bytes.
    assert_eq!(taken(&masked(0x82, BAD)), [Seen::Message(BAD.into())]);
}

#[test]
fn fragments_may_be_cut_within_characters() {
    let payload = [GOOD, "\u{1f600}", "ascii"].concat();
    for cut in 0..payload.len() {
        let (first, second) = payload.as_bytes().split_at(cut);
        assert_eq!(taken(&[masked(0x01, first), masked(0x80, second)].concat()), [text(&payload)]);
    }
    let mut frames: Vec<u8> =
        payload.bytes().enumerate().flat_map(|(i, byte)| masked(u8::from(i == 0), [byte])).collect();
    frames.extend(masked(0x80, ""));
    assert_eq!(taken(&frames), [text(&payload)]);
}

#[test]
fn text_fails_with_the_frame_that_makes_it_impossible() {
    // The first fragment is good, the second is not, and a third never comes.
    let input = [masked(0x01, GOOD), masked(0x00, BAD)].concat();
    refused(&input, 1007);
    // A character that has begun is not continued.
    let input = [masked(0x01, b"a\xe2\x82"), masked(0x00, b""), masked(0x00, b"a")].concat();
    refused(&input, 1007);
    // The message ends within a character.
    refused(&[masked(0x01, "a"), masked(0x80, b"\xe2\x82")].concat(), 1007);
}

#[test]
fn text_fails_within_a_frame_that_has_not_arrived() {
    let payload = [GOOD.as_bytes(), BAD, b"edited"].concat();
    // 0xf4 alone may begin a character, 0xf4 0x90 may not.
    let bad_at = GOOD.len() + 2;
    assert_eq!(fails_after(&masked(0x81, &payload)), Some(6 + bad_at));
    // Of a long one, too.
    let mut long = vec![b'a'; 200];
    long.extend_from_slice(&payload);
    assert_eq!(fails_after(&masked(0x81, &long)), Some(8 + 200 + bad_at));
    // In the second fragment, with a character that began in the first.
    let (first, second) = payload.split_at(3);
    let input = [masked(0x01, first), masked(0x80, second)].concat();
    assert_eq!(fails_after(&input), Some(9 + 6 + bad_at - 3));
    // In the chunks of a test suite: good, bad, and the rest never comes.
    let frame = masked(0x81, &payload);
    let mut harness = server();
    harness.feed(&frame[..6 + GOOD.len()]);
    assert!(harness.is_open());
    harness.feed(&frame[6 + GOOD.len()..][..4]);
    assert_eq!(close_code(&harness.output()), Some(1007));
}

#[test]
fn each_byte_is_looked_at_once() {
    // A text of 1 MiB in pieces of 100 bytes takes no longer than it should: quadratic work would be 5 GB.
    let payload = "é".repeat(512 * 1024);
    let frame = masked(0x81, &payload);
    let mut harness = server();
    frame.chunks(100).for_each(|piece| harness.feed(piece));
    assert_eq!(harness.messages(), [Message::from(payload)]);
}
