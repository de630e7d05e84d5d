//! What a request asks of a file: a copy of the fields that matter, which may leave the thread.

/// The fields of a GET or HEAD that decide what is sent.
#[derive(Clone, Default, Debug)]
pub(crate) struct Question {
    /// GET; otherwise HEAD, which gets the head of the whole file (RFC 9110 section 14.2: ranges are for GET).
    pub(crate) get: bool,
    pub(crate) if_match: Option<Vec<u8>>,
    pub(crate) if_none_match: Option<Vec<u8>>,
    pub(crate) if_modified_since: Option<Vec<u8>>,
    pub(crate) if_unmodified_since: Option<Vec<u8>>,
    pub(crate) if_range: Option<Vec<u8>>,
    pub(crate) range: Option<Vec<u8>>,
    pub(crate) accept_encoding: Option<Vec<u8>>,
}

impl Question {
    /// Picks the fields out of a head.
    pub(crate) fn read<'a>(get: bool, fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut question = Self { get, ..Self::default() };
        for (name, value) in fields {
            question.take(name, value);
        }
        if !get {
            question.range = None;
        }
        question
    }

    fn take(&mut self, name: &str, value: &[u8]) {
        let lists = [
            ("if-match", &mut self.if_match),
            ("if-none-match", &mut self.if_none_match),
            ("accept-encoding", &mut self.accept_encoding),
        ];
        for (own, list) in lists {
            if name.eq_ignore_ascii_case(own) {
                // Several fields of a list are one list (RFC 9110 section 5.3).
                match list {
                    Some(list) => list.extend_from_slice(b", "),
                    None => *list = Some(Vec::new()),
                }
                list.get_or_insert_default().extend_from_slice(value);
                return;
            }
        }
        let singles = [
            ("if-modified-since", &mut self.if_modified_since),
            ("if-unmodified-since", &mut self.if_unmodified_since),
            ("if-range", &mut self.if_range),
            ("range", &mut self.range),
        ];
        for (own, single) in singles {
            if name.eq_ignore_ascii_case(own) {
                // A field that may come once and comes twice has no meaning; an empty value has none either.
                *single = Some(if single.is_some() { Vec::new() } else { value.to_vec() });
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(get: bool, fields: &[(&str, &str)]) -> Question {
        Question::read(get, fields.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn lists_are_joined_and_repeated_singles_mean_nothing() {
        let question = read(
            true,
            &[
                ("If-None-Match", "\"a\""),
                ("if-none-match", "\"b\""),
                ("Range", "bytes=0-1"),
                ("RANGE", "bytes=2-3"),
                ("If-Range", "\"a\""),
                ("x-other", "1"),
            ],
        );
        assert_eq!(question.if_none_match.as_deref(), Some(&b"\"a\", \"b\""[..]));
        assert_eq!(question.range.as_deref(), Some(&b""[..]));
        assert_eq!(question.if_range.as_deref(), Some(&b"\"a\""[..]));
        assert!(question.if_match.is_none() && question.accept_encoding.is_none());
    }

    #[test]
    fn section_14_2_only_a_get_has_ranges() {
        let fields = [("range", "bytes=0-1"), ("if-none-match", "*")];
        assert!(read(true, &fields).range.is_some());
        assert!(read(false, &fields).range.is_none());
        assert!(read(false, &fields).if_none_match.is_some());
    }
}
