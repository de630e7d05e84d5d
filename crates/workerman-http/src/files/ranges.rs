//! Ranges of bytes (RFC 9110 section 14), as a function of the field and the length of the representation.

/// Bytes of a representation: at least one, and within it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) length: u64,
}

impl Span {
    /// The last byte that belongs to it, as `Content-Range` counts.
    pub(crate) fn last(self) -> u64 {
        self.first + (self.length - 1)
    }

    /// What to answer a request for these bytes with, where all of them are announced (RFC 9110 section 14.4).
    pub(crate) fn content_range(self, whole: u64) -> String {
        format!("bytes {}-{}/{whole}", self.first, self.last())
    }

    fn end(self) -> u64 {
        self.first + self.length
    }
}

/// What a `Range` field selects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Selection {
    /// Everything: the field is ignored, as the RFC demands or allows.
    Whole,
    /// One range: 206.
    One(Span),
    /// Several ranges that are apart from each other, in the order of the field: 206 with `multipart/byteranges`.
    Several(Vec<Span>),
    /// None of the ranges has a byte: 416.
    Unsatisfiable,
}

/// What two parts cost between each other, roughly; ranges that are nearer are sent as one (RFC 9110 section 15.3.7.2).
const GAP: u64 = 80;

/// Reads a `Range` field for a representation of `length` bytes.
///
/// Ignored, so that everything is sent: another unit than `bytes` (section 14.2 demands it), a field that breaks the
/// grammar, more than `most` ranges (section 17.15 allows it). Ranges that overlap or nearly touch become one, so no
/// byte is ever sent twice.
pub(crate) fn select(field: &[u8], length: u64, most: usize) -> Selection {
    let Some(set) = byte_ranges(field) else { return Selection::Whole };
    let mut spans: Vec<Span> = Vec::new();
    let mut specs = 0;
    for spec in set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if spec.is_empty() {
            // Empty elements of a list mean nothing (section 5.6.1.2).
            continue;
        }
        specs += 1;
        if specs > most {
            return Selection::Whole;
        }
        match span(spec, length) {
            Some(Some(span)) => join(&mut spans, span),
            Some(None) => {}
            None => return Selection::Whole,
        }
    }
    match *spans {
        // A field without any range is no range set at all.
        [] if specs == 0 => Selection::Whole,
        // A suffix of nothing is satisfiable, but `Content-Range` cannot say "no bytes" (section 14.1.2).
        [] if length == 0 && has_suffix(set) => Selection::Whole,
        [] => Selection::Unsatisfiable,
        [span] => Selection::One(span),
        _ => Selection::Several(spans),
    }
}

/// The range set behind `bytes=`. Names of units are case-insensitive (section 14.1).
fn byte_ranges(field: &[u8]) -> Option<&[u8]> {
    let (unit, set) = field.split_at_checked(b"bytes=".len())?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// One range: `Some(None)` if it has no byte here, `None` if it breaks the grammar (section 14.1.1).
fn span(spec: &[u8], length: u64) -> Option<Option<Span>> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let wanted = number(last)?.min(length);
        return Some((wanted > 0).then(|| Span { first: length - wanted, length: wanted }));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    if first >= length {
        return Some(None);
    }
    Some(Some(Span { first, length: last.min(length - 1) - first + 1 }))
}

/// Digits and nothing else; a number too large for 64 bits is larger than any file.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        digits
            .iter()
            .fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))),
    )
}

fn has_suffix(set: &[u8]) -> bool {
    set.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|spec| spec.strip_prefix(b"-").and_then(number).is_some_and(|wanted| wanted > 0))
}

/// Adds a range, in the place of the first one that it touches.
fn join(spans: &mut Vec<Span>, new: Span) {
    let mut new = new;
    let mut place = spans.len();
    // A range that grew may touch others now. There are never more than `most`.
    while let Some(at) = spans.iter().position(|old| touch(*old, new)) {
        let old = spans.remove(at);
        let first = old.first.min(new.first);
        new = Span { first, length: old.end().max(new.end()) - first };
        place = place.min(at);
    }
    spans.insert(place.min(spans.len()), new);
}

fn touch(one: Span, other: Span) -> bool {
    one.first <= other.end().saturating_add(GAP) && other.first <= one.end().saturating_add(GAP)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Selection::{One, Several, Unsatisfiable, Whole};
    use super::*;

    fn of(field: &str, length: u64) -> Selection {
        select(field.as_bytes(), length, 8)
    }

    fn span(first: u64, last: u64) -> Span {
        Span { first, length: last - first + 1 }
    }

    #[test]
    fn section_14_1_2_examples() {
        assert_eq!(of("bytes=0-499", 10_000), One(span(0, 499)));
        assert_eq!(of("bytes=500-999", 10_000), One(span(500, 999)));
        assert_eq!(of("bytes=-500", 10_000), One(span(9500, 9999)));
        assert_eq!(of("bytes=9500-", 10_000), One(span(9500, 9999)));
        assert_eq!(of("bytes=0-0,-1", 10_000), Several(vec![span(0, 0), span(9999, 9999)]));
        assert_eq!(of("bytes= 0-999, 4500-5499, -1000", 10_000), {
            Several(vec![span(0, 999), span(4500, 5499), span(9000, 9999)])
        });
        // "Other valid (but not canonical) specifications of the second 500 bytes."
        assert_eq!(of("bytes=500-600,601-999", 10_000), One(span(500, 999)));
        assert_eq!(of("bytes=500-700,601-999", 10_000), One(span(500, 999)));
    }

    #[test]
    fn ends_beyond_the_representation_are_cut() {
        assert_eq!(of("bytes=5-99999999999999999999999999", 10), One(span(5, 9)));
        assert_eq!(of("bytes=-99999999999999999999999999", 10), One(span(0, 9)));
        assert_eq!(of("bytes=0-", 10), One(span(0, 9)));
        assert_eq!(of("bytes=9-9", 10), One(span(9, 9)));
        assert_eq!(of("bytes=0-18446744073709551615", u64::MAX), One(span(0, u64::MAX - 1)));
    }

    #[test]
    fn what_has_no_byte_is_unsatisfiable() {
        for field in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-", "bytes=10-,-0"] {
            assert_eq!(of(field, 10), Unsatisfiable, "{field}");
        }
        assert_eq!(of("bytes=0-", 0), Unsatisfiable);
        assert_eq!(of("bytes=0-0", 0), Unsatisfiable);
        // One satisfiable range is enough.
        assert_eq!(of("bytes=10-,3-4", 10), One(span(3, 4)));
    }

    #[test]
    fn a_suffix_of_nothing_is_everything() {
        assert_eq!(of("bytes=-5", 0), Whole);
        assert_eq!(of("bytes=-0", 0), Unsatisfiable);
    }

    #[test]
    fn other_units_and_broken_fields_are_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=2-1",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=0x1-2",
            "bytes=1 -2",
            "bytes =0-1",
            "bytes:0-1",
            "items=0-1",
            "bytes=0-1,x",
            "bytes=0-1;1-2",
            "bytes=0-1, 5-4",
            " bytes=0-1",
        ] {
            assert_eq!(of(field, 10), Whole, "{field}");
        }
        assert_eq!(of("BYTES=0-1", 10), One(span(0, 1)));
        assert_eq!(of("bytes=, ,0-1 ,\t,", 10), One(span(0, 1)));
    }

    #[test]
    fn too_many_ranges_are_everything() {
        let field = |count: usize| {
            let specs: Vec<String> =
                (0..count).map(|at| format!("{}-{}", at * 1000, at * 1000 + 1)).collect();
            format!("bytes={}", specs.join(","))
        };
        assert!(matches!(of(&field(8), 1 << 20), Several(spans) if spans.len() == 8));
        assert_eq!(of(&field(9), 1 << 20), Whole);
        assert_eq!(select(b"bytes=0-1", 10, 0), Whole);
    }

    #[test]
    fn near_ranges_become_one_in_the_place_of_the_first() {
        assert_eq!(of("bytes=5000-5001,0-10,20-30", 10_000), Several(vec![span(5000, 5001), span(0, 30)]));
        // The third joins the first two, which were apart.
        assert_eq!(of("bytes=0-10,300-310,50-250", 10_000), One(span(0, 310)));
        assert_eq!(of("bytes=0-9,90-99", 10_000), One(span(0, 99)));
        assert_eq!(of("bytes=0-9,91-99", 10_000), Several(vec![span(0, 9), span(91, 99)]));
    }

    #[test]
    fn content_range_names_the_last_byte() {
        assert_eq!(span(0, 0).content_range(1), "bytes 0-0/1");
        assert_eq!(span(42, 1233).content_range(1234), "bytes 42-1233/1234");
    }

    fn specs() -> impl Strategy<Value = String> {
        let number = prop_oneof![0_u64..400, 0..u64::MAX];
        let spec = prop_oneof![
            (number.clone(), number.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            number.clone().prop_map(|a| format!("{a}-")),
            number.prop_map(|a| format!("-{a}")),
        ];
        prop::collection::vec(spec, 1..8).prop_map(|specs| format!("bytes={}", specs.join(",")))
    }

    /// What a valid field asks for, byte by byte.
    fn wanted(field: &str, byte: u64, length: u64) -> bool {
        field["bytes=".len()..].split(',').any(|spec| {
            let (first, last) = spec.split_once('-').unwrap();
            match (first.parse::<u64>(), last.parse::<u64>()) {
                (Ok(first), Ok(last)) => (first..=last).contains(&byte),
                (Ok(first), Err(_)) => byte >= first,
                (Err(_), Ok(suffix)) => byte >= length.saturating_sub(suffix),
                (Err(_), Err(_)) => unreachable!(),
            }
        })
    }

    proptest! {
        /// Whatever comes: spans lie inside, are not empty, and are apart from each other.
        #[test]
        fn spans_are_sound(field in "(bytes=)?[0-9a-z,\\- ]{0,40}", length in 0_u64..300) {
            let spans = match of(&field, length) {
                One(span) => vec![span],
                Several(spans) => {
                    prop_assert!(spans.len() > 1);
                    spans
                }
                Whole | Unsatisfiable => vec![],
            };
            for (at, span) in spans.iter().enumerate() {
                prop_assert!(span.length > 0 && span.last() < length);
                for other in &spans[at + 1..] {
                    prop_assert!(!touch(*span, *other));
                }
            }
        }

        /// A valid field gets every byte that it asks for, and no other but in gaps that are cheaper to send.
        #[test]
        fn what_is_asked_for_is_sent(field in specs(), length in 1_u64..400) {
            let spans = match of(&field, length) {
                One(span) => vec![span],
                Several(spans) => spans,
                Unsatisfiable => vec![],
                Whole => return Err(TestCaseError::fail("a valid field was ignored")),
            };
            let mut gap = 0;
            for byte in 0..length {
                let sent = spans.iter().any(|span| (span.first..=span.last()).contains(&byte));
                if wanted(&field, byte, length) {
                    prop_assert!(sent, "byte {byte} is missing");
                    gap = 0;
                } else if sent {
                    gap += 1;
                    prop_assert!(gap <= GAP, "byte {byte} is not wanted");
                }
            }
        }
    }
}
