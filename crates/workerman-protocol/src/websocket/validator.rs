//! UTF-8 that arrives in pieces (RFC 6455 section 8.1): refused at the first byte that makes it impossible.

use super::utf8::is_utf8;

/// What is known of a text that has not arrived whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Validator {
    /// The beginning of a character whose rest has not arrived.
    begun: [u8; 3],
    len: u8,
}

impl Validator {
    /// Takes the next piece; `false`: this is no UTF-8, whatever follows.
    ///
    /// `ascii`: whether the piece is known to be ASCII.
    pub(super) fn push(&mut self, piece: &[u8], ascii: bool) -> bool {
        let Some(rest) = self.complete(piece) else { return false };
        if ascii || rest.is_empty() {
            return true;
        }
        let (whole, begun) = rest.split_at(rest.len() - begun(rest));
        if !is_utf8(whole) || !is_beginning(begun) {
            return false;
        }
        self.begin(begun);
        true
    }

    /// The beginning of a character whose rest has not arrived.
    pub(super) fn begun(&self) -> &[u8] {
        &self.begun[..usize::from(self.len)]
    }

    /// Whether the text may end here.
    pub(super) fn is_complete(&self) -> bool {
        self.len == 0
    }

    /// Completes the character that has begun, as far as the piece goes; returns what is behind it.
    fn complete<'a>(&mut self, piece: &'a [u8]) -> Option<&'a [u8]> {
        let had = usize::from(self.len);
        if had == 0 {
            return Some(piece);
        }
        let length = length(self.begun[0]);
        let more = (length - had).min(piece.len());
        let mut character = [0; 4];
        character[..had].copy_from_slice(&self.begun[..had]);
        character[had..had + more].copy_from_slice(&piece[..more]);
        let character = &character[..had + more];
        if character.len() < length {
            self.begin(character);
            return is_beginning(character).then_some(&[]);
        }
        self.len = 0;
        std::str::from_utf8(character).is_ok().then(|| &piece[more..])
    }

    fn begin(&mut self, begun: &[u8]) {
        self.begun[..begun.len()].copy_from_slice(begun);
        self.len = begun.len() as u8;
    }
}

/// How long the character is that begins with this byte; 1 for one that begins none.
fn length(first: u8) -> usize {
    match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

/// Bytes at the end of `text` that belong to a character which goes on behind it.
fn begun(text: &[u8]) -> usize {
    let mut last = text.iter().rev().take(3).enumerate();
    match last.find(|(_, byte)| **byte & 0xc0 != 0x80) {
        Some((behind, first)) if length(*first) > behind + 1 => behind + 1,
        _ => 0,
    }
}

/// Whether a character can begin with these bytes.
fn is_beginning(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // The end came too early; anything else is wrong already.
        Err(error) => error.valid_up_to() == 0 && error.error_len().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// After how many bytes it is refused, fed in pieces of these lengths.
    fn refused_after(text: &[u8], pieces: &[usize]) -> Option<usize> {
        let mut validator = Validator::default();
        let mut at = 0;
        let mut pieces = pieces.iter().cycle();
        while at < text.len() {
            let end = (at + pieces.next().unwrap()).min(text.len());
            let piece = &text[at..end];
            if !validator.push(piece, piece.is_ascii()) {
                return Some(end);
            }
            at = end;
        }
        None
    }

    /// The first byte that makes it impossible, by the standard library.
    fn impossible_from(text: &[u8]) -> Option<usize> {
        (1..=text.len())
            .find(|end| std::str::from_utf8(&text[..*end]).is_err_and(|error| error.error_len().is_some()))
    }

    #[test]
    fn refuses_at_the_first_byte_that_is_wrong() {
        let texts: [&[u8]; 14] = [
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
            b"\xc0\xaf",
            b"\xc1",
            b"\xe0\x80\xaf",
            b"\xe0\x9f\xbf",
            b"\xf0\x80\x80\xaf",
            b"\xf0\x8f\xbf\xbf",
            b"\xf5",
            b"\xff",
            b"a\x80",
            b"\xe2\x82a",
            b"\xf4\x8f\xbf\xbf\xf4\x90",
            b"\xed\x9f\xbf\xed\xa0",
        ];
        for text in texts {
            let at = impossible_from(text).unwrap();
            assert_eq!(refused_after(text, &[1]), Some(at), "{text:x?}");
            assert_eq!(refused_after(text, &[text.len()]), Some(text.len()));
        }
    }

    #[test]
    fn knows_whether_a_character_has_begun() {
        let mut validator = Validator::default();
        for (piece, begun) in
            [(&b"a\xf0"[..], &b"\xf0"[..]), (b"\x9f\x98", b"\xf0\x9f\x98"), (b"", b"\xf0\x9f\x98")]
        {
            assert!(validator.push(piece, false));
            assert_eq!(validator.begun(), begun);
        }
        assert!(validator.push(b"\x80", false) && validator.is_complete());
        // What is ASCII ends no character.
        assert!(validator.push(b"\xc3", false) && !validator.push(b"a", true));
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(
            text in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..20),
                (any::<String>(), proptest::collection::vec(0x80_u8.., 1..4)).prop_map(|(text, bytes)| [text.into_bytes(), bytes].concat()),
            ],
            pieces in proptest::collection::vec(1_usize..9, 1..5),
        ) {
            prop_assert_eq!(refused_after(&text, &[1]), impossible_from(&text));
            let refused = refused_after(&text, &pieces);
            prop_assert_eq!(refused.is_some(), impossible_from(&text).is_some());
            let mut validator = Validator::default();
            let fine = validator.push(&text, text.is_ascii()) && validator.is_complete();
            prop_assert_eq!(fine, std::str::from_utf8(&text).is_ok());
        }
    }
}
