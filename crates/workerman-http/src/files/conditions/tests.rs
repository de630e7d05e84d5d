use super::*;

/// 1994-11-06 08:49:37 GMT, the date of the RFC's examples.
const THEN: u64 = 784_111_777;
const THEN_TEXT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE_TEXT: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const AFTER_TEXT: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

fn strong() -> Validators {
    Validators { tag: Tag { weak: false, opaque: "x,y".into() }, modified: Some(THEN) }
}

fn weak() -> Validators {
    Validators { tag: Tag { weak: true, opaque: "x,y".into() }, modified: Some(THEN) }
}

fn ask(fields: &[(&str, &str)]) -> Question {
    Question::read(true, fields.iter().map(|(name, value)| (*name, value.as_bytes())))
}

fn verdict(fields: &[(&str, &str)], validators: &Validators) -> Verdict {
    evaluate(&ask(fields), validators)
}

#[test]
fn without_preconditions_it_is_performed() {
    assert_eq!(verdict(&[], &strong()), Verdict::Perform);
    assert_eq!(verdict(&[("range", "bytes=0-1"), ("if-range", "\"z\"")], &strong()), Verdict::Perform);
}

#[test]
fn section_13_1_1_if_match_compares_strongly() {
    for (field, expected) in [
        ("\"x,y\"", Verdict::Perform),
        ("*", Verdict::Perform),
        (" \"a\" , \"x,y\"", Verdict::Perform),
        ("\"a\"", Verdict::Failed),
        ("W/\"x,y\"", Verdict::Failed),
        ("x,y", Verdict::Failed),
        ("", Verdict::Failed),
        ("\"x,y\", junk", Verdict::Failed),
    ] {
        assert_eq!(verdict(&[("if-match", field)], &strong()), expected, "{field}");
    }
    assert_eq!(verdict(&[("if-match", "\"x,y\"")], &weak()), Verdict::Failed);
    assert_eq!(verdict(&[("if-match", "*")], &weak()), Verdict::Perform);
    // Repeated fields are one list.
    assert_eq!(verdict(&[("if-match", "\"a\""), ("If-Match", "\"x,y\"")], &strong()), Verdict::Perform);
}

#[test]
fn section_13_1_2_if_none_match_compares_weakly() {
    for (field, expected) in [
        ("\"x,y\"", Verdict::NotModified),
        ("W/\"x,y\"", Verdict::NotModified),
        ("*", Verdict::NotModified),
        ("\"a\",,\"x,y\"", Verdict::NotModified),
        ("\"a\"", Verdict::Perform),
        ("\"X,Y\"", Verdict::Perform),
        ("w/\"x,y\"", Verdict::Perform),
        ("x,y", Verdict::Perform),
        ("\"x,y", Verdict::Perform),
        ("\"x,y\"\"z\"", Verdict::Perform),
        ("\"x,y\" W/ \"z\"", Verdict::Perform),
    ] {
        assert_eq!(verdict(&[("if-none-match", field)], &strong()), expected, "{field}");
        assert_eq!(verdict(&[("if-none-match", field)], &weak()), expected, "{field}");
    }
}

#[test]
fn section_13_1_3_if_modified_since() {
    for (field, expected) in [
        (THEN_TEXT, Verdict::NotModified),
        (AFTER_TEXT, Verdict::NotModified),
        (BEFORE_TEXT, Verdict::Perform),
        // The obsolete forms (section 5.6.7).
        ("Sunday, 06-Nov-94 08:49:37 GMT", Verdict::NotModified),
        ("Sun Nov  6 08:49:37 1994", Verdict::NotModified),
        // Not dates: ignored.
        ("Sun, 06 Nov 1994 08:49:37", Verdict::Perform),
        ("Mon, 31 Feb 2124 08:49:37 GMT", Verdict::Perform),
        ("784111777", Verdict::Perform),
        ("", Verdict::Perform),
    ] {
        assert_eq!(verdict(&[("if-modified-since", field)], &strong()), expected, "{field}");
    }
    let unknown = Validators { modified: None, ..strong() };
    assert_eq!(verdict(&[("if-modified-since", THEN_TEXT)], &unknown), Verdict::Perform);
    // Two dates are none.
    let twice = [("if-modified-since", THEN_TEXT), ("if-modified-since", THEN_TEXT)];
    assert_eq!(verdict(&twice, &strong()), Verdict::Perform);
}

#[test]
fn section_13_1_4_if_unmodified_since() {
    for (field, expected) in [
        (THEN_TEXT, Verdict::Perform),
        (AFTER_TEXT, Verdict::Perform),
        (BEFORE_TEXT, Verdict::Failed),
        ("yesterday", Verdict::Perform),
    ] {
        assert_eq!(verdict(&[("if-unmodified-since", field)], &strong()), expected, "{field}");
    }
    let unknown = Validators { modified: None, ..strong() };
    assert_eq!(verdict(&[("if-unmodified-since", BEFORE_TEXT)], &unknown), Verdict::Perform);
}

#[test]
fn section_13_1_5_if_range_wants_a_strong_match() {
    for (field, allowed) in [
        ("\"x,y\"", true),
        ("W/\"x,y\"", false),
        ("\"z\"", false),
        ("\"x,y\", \"x,y\"", false),
        ("*", false),
        (THEN_TEXT, true),
        // Not the same date, though it would satisfy If-Unmodified-Since.
        (AFTER_TEXT, false),
        (BEFORE_TEXT, false),
        ("Sun Nov  6 08:49:37 1994", true),
        ("", false),
    ] {
        assert_eq!(strong().allow_range(field.as_bytes()), allowed, "{field}");
        assert!(!weak().allow_range(field.as_bytes()), "{field}");
    }
}

#[test]
fn section_13_2_2_the_order_of_evaluation() {
    // If-Match decides before all others, and If-Unmodified-Since is not even looked at beside it.
    assert_eq!(verdict(&[("if-match", "\"a\""), ("if-none-match", "\"x,y\"")], &strong()), Verdict::Failed);
    assert_eq!(
        verdict(&[("if-match", "\"x,y\""), ("if-unmodified-since", BEFORE_TEXT)], &strong()),
        Verdict::Perform
    );
    // If If-Match holds, If-None-Match is next.
    assert_eq!(
        verdict(&[("if-match", "\"x,y\""), ("if-none-match", "\"x,y\"")], &strong()),
        Verdict::NotModified
    );
    assert_eq!(
        verdict(&[("if-unmodified-since", BEFORE_TEXT), ("if-none-match", "\"x,y\"")], &strong()),
        Verdict::Failed
    );
    // If-Modified-Since is ignored beside If-None-Match, even one that cannot be read.
    for field in ["\"a\"", "junk"] {
        assert_eq!(
            verdict(&[("if-none-match", field), ("if-modified-since", AFTER_TEXT)], &strong()),
            Verdict::Perform
        );
    }
}

#[test]
fn section_8_8_1_a_tag_is_strong_once_the_file_has_settled() {
    let of = |modified, now| Validators::new(7, Some(modified), 3, None, now);
    assert!(!of(at(THEN), at(THEN + 2)).tag.weak);
    assert!(of(at(THEN), at(THEN + 1)).tag.weak);
    assert!(of(at(THEN), at(THEN)).tag.weak);
    // From the future: nobody knows what comes.
    assert!(of(at(THEN + 9), at(THEN)).tag.weak);
    assert!(Validators::new(7, None, 3, None, at(THEN)).tag.weak);
    // The opaque part does not change when it becomes strong, so a cache keeps what it has.
    assert_eq!(of(at(THEN), at(THEN)).tag.opaque, of(at(THEN), at(THEN + 60)).tag.opaque);
}

#[test]
fn every_part_of_a_tag_counts() {
    let now = at(THEN + 60);
    let nanosecond = Duration::from_nanos(1);
    let all = [
        Validators::new(7, Some(at(THEN)), 3, None, now),
        Validators::new(8, Some(at(THEN)), 3, None, now),
        Validators::new(7, Some(at(THEN) + nanosecond), 3, None, now),
        Validators::new(7, Some(at(THEN)), 4, None, now),
        Validators::new(7, Some(at(THEN)), 3, Some("gzip"), now),
        Validators::new(7, Some(at(THEN)), 3, Some("br"), now),
        Validators::new(7, Some(UNIX_EPOCH + Duration::from_secs(1)), 3, None, now),
        Validators::new(7, Some(UNIX_EPOCH - Duration::from_secs(1)), 3, None, now),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(all[at + 1..].iter().all(|other| other.tag != one.tag), "{one:?}");
        let text = one.tag.to_string();
        assert_eq!(tags(text.as_bytes()).unwrap().len(), 1, "{text}");
        assert!(one.allow_range(text.as_bytes()), "{text}");
    }
}

#[test]
fn section_8_8_2_1_last_modified_is_not_in_the_future_and_has_a_form() {
    let of = |modified| Validators::new(7, Some(modified), 3, None, at(THEN)).last_modified();
    assert_eq!(of(at(THEN)).as_deref(), Some(THEN_TEXT));
    assert_eq!(of(at(THEN - 1) + Duration::from_nanos(999_999_999)).as_deref(), Some(BEFORE_TEXT));
    assert_eq!(of(at(THEN + 1000)).as_deref(), Some(THEN_TEXT));
    assert_eq!(of(UNIX_EPOCH - Duration::from_secs(1)), None);
    // A clock beyond the year 9999 has no date that HTTP could show.
    let late = at(LAST_SECOND + 1);
    assert_eq!(Validators::new(7, Some(late), 3, None, late).last_modified(), None);
    assert!(Validators::new(7, Some(late - Duration::from_secs(1)), 3, None, late).last_modified().is_some());
}

#[test]
fn tags_are_quoted_and_may_hold_commas() {
    assert_eq!(tags(b"\"a,b\", W/\"\"").unwrap().len(), 2);
    assert_eq!(tags("\"\u{e9}\"".as_bytes()).unwrap().len(), 1);
    for field in ["", ",", "\"", "\"a", "a", "\"a b\"", "\"a\" \"b\"", "W/", "W/a", "\"a\x7f\""] {
        assert_eq!(tags(field.as_bytes()), None, "{field}");
    }
}
