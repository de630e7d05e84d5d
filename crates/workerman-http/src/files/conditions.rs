//! Preconditions (RFC 9110 section 13), as a function of the request's fields and what is known of the file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::question::Question;

/// An entity tag (RFC 9110 section 8.8.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tag {
    pub(crate) weak: bool,
    /// Between the quotes.
    pub(crate) opaque: String,
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\"{}\"", if self.weak { "W/" } else { "" }, self.opaque)
    }
}

/// What tells one state of a representation from another.
#[derive(Clone, Debug)]
pub(crate) struct Validators {
    pub(crate) tag: Tag,
    /// Seconds since 1970, where the file has a time that HTTP can express; never in the future.
    pub(crate) modified: Option<u64>,
}

/// A file that changed less than this ago may change again without its time telling: clocks of file systems are coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// The last second of the year 9999, which is as far as a date goes.
const LAST_SECOND: u64 = 253_402_300_799;

impl Validators {
    /// From size, time and number of a file; `coding` tells its encodings apart.
    pub(crate) fn new(
        length: u64,
        modified: Option<SystemTime>,
        inode: u64,
        coding: Option<&str>,
        now: SystemTime,
    ) -> Self {
        let (sign, time) = match modified.unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH) {
            Ok(after) => ("", after),
            Err(before) => ("n", before.duration()),
        };
        let mut opaque = format!("{inode:x}-{length:x}-{sign}{:x}", time.as_nanos());
        if let Some(coding) = coding {
            opaque.push('-');
            opaque.push_str(coding);
        }
        let settled =
            modified.and_then(|modified| now.duration_since(modified).ok()).is_some_and(|age| age >= SETTLED);
        // Section 8.8.2.1: a time in the future is replaced by the present.
        let modified = modified
            .and_then(|modified| modified.min(now).duration_since(UNIX_EPOCH).ok())
            .map(|since| since.as_secs())
            .filter(|second| *second <= LAST_SECOND);
        Self { tag: Tag { weak: !settled, opaque }, modified }
    }

    /// As `Last-Modified` shows it.
    pub(crate) fn last_modified(&self) -> Option<String> {
        let second = self.modified?;
        Some(httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second)))
    }

    /// Whether an entity tag of the request is the same, by the weak or the strong comparison (section 8.8.3.2).
    fn is(&self, given: Given<'_>, strong: bool) -> bool {
        given.opaque == self.tag.opaque.as_bytes() && !(strong && (given.weak || self.tag.weak))
    }

    /// `If-Range` (section 13.1.5): only a strong validator, and only an exact match, allows a part.
    pub(crate) fn allow_range(&self, field: &[u8]) -> bool {
        if let Some(tags) = tags(field) {
            return matches!(*tags, [tag] if self.is(tag, true));
        }
        // A date is a strong validator only if the file could not change twice in its second (section 8.8.2.2).
        !self.tag.weak && date(field).is_some_and(|date| Some(date) == self.modified)
    }
}

/// What the preconditions of a request come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// They hold: the request is performed.
    Perform,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates the preconditions in the order of section 13.2.2, all but `If-Range`.
pub(crate) fn evaluate(question: &Question, validators: &Validators) -> Verdict {
    if let Some(field) = &question.if_match {
        // Section 13.1.1. What cannot be read matches nothing: 412 is what saves the client from a mistake.
        if !matches(field, validators, true) {
            return Verdict::Failed;
        }
    } else if let Some(limit) = question.if_unmodified_since.as_deref().and_then(date) {
        // Section 13.1.4; without a date the field is to be ignored.
        if validators.modified.is_some_and(|modified| modified > limit) {
            return Verdict::Failed;
        }
    }
    if let Some(field) = &question.if_none_match {
        // Section 13.1.2, for GET and HEAD: nothing else gets here.
        if matches(field, validators, false) {
            return Verdict::NotModified;
        }
    } else if let Some(since) = question.if_modified_since.as_deref().and_then(date) {
        if validators.modified.is_some_and(|modified| modified <= since) {
            return Verdict::NotModified;
        }
    }
    Verdict::Perform
}

fn matches(field: &[u8], validators: &Validators, strong: bool) -> bool {
    field.trim_ascii() == b"*"
        || tags(field).is_some_and(|tags| tags.iter().any(|tag| validators.is(*tag, strong)))
}

/// An entity tag as a request gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Given<'a> {
    weak: bool,
    opaque: &'a [u8],
}

/// The entity tags of a list; `None` if it is not one.
fn tags(field: &[u8]) -> Option<Vec<Given<'_>>> {
    let mut tags = Vec::new();
    let mut rest = field.trim_ascii();
    while !rest.is_empty() {
        // Empty elements mean nothing (section 5.6.1.2).
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
            continue;
        }
        // The mark of weakness is case-sensitive (section 8.8.3).
        let (weak, quoted) = rest.strip_prefix(b"W/").map_or((false, rest), |after| (true, after));
        let quoted = quoted.strip_prefix(b"\"")?;
        let end = quoted.iter().position(|byte| *byte == b'"')?;
        let opaque = &quoted[..end];
        if !opaque.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)) {
            return None;
        }
        tags.push(Given { weak, opaque });
        rest = quoted[end + 1..].trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
    (!tags.is_empty()).then_some(tags)
}

/// A date in one of the three forms (section 5.6.7), in seconds since 1970.
fn date(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    Some(httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests;
