//! Which encoding of a file a client gets, where several lie beside each other (RFC 9110 section 12.5.3).

use workerman_protocol::http::coding::{Accept, Coding as ContentCoding};

/// A content coding that a file may lie beside another in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// From the one that is smallest.
    pub(crate) const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    fn of_content(self) -> ContentCoding {
        match self {
            Self::Brotli => ContentCoding::Brotli,
            Self::Gzip => ContentCoding::Gzip,
        }
    }

    /// As `Content-Encoding` names it.
    pub(crate) fn name(self) -> &'static str {
        self.of_content().name()
    }

    /// What the name of a file in this coding ends with.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }
}

/// The codings that are welcome, the most welcome first; those that the client likes less than the plain file are not
/// among them.
///
/// A client that says nothing gets the plain file: it takes anything, but may not know what to do with it.
pub(crate) fn welcome(field: Option<&[u8]>) -> Vec<Coding> {
    let Some(field) = field.and_then(|field| std::str::from_utf8(field).ok()) else { return Vec::new() };
    let accept = Accept::parse(field);
    // Without a word about it, the plain file is acceptable, but nothing that was named is liked less.
    let plain = accept.weight(ContentCoding::Identity).unwrap_or(1).max(1);
    let mut codings: Vec<(u16, Coding)> = Coding::ALL
        .into_iter()
        .filter_map(|coding| Some((accept.weight(coding.of_content())?, coding)))
        .filter(|(weight, _)| *weight >= plain)
        .collect();
    // Stable: equal ones stay from the smallest.
    codings.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    codings.into_iter().map(|(_, coding)| coding).collect()
}

#[cfg(test)]
mod tests {
    use super::Coding::{Brotli, Gzip};
    use super::*;

    #[test]
    fn section_12_5_3_what_is_welcome() {
        for (field, expected) in [
            ("gzip, deflate, br", &[Brotli, Gzip][..]),
            ("gzip", &[Gzip]),
            ("x-gzip", &[Gzip]),
            ("GZIP;Q=1.0", &[Gzip]),
            ("br;q=0.5, gzip;q=0.8", &[Gzip, Brotli]),
            ("br;q=0, gzip", &[Gzip]),
            ("*", &[Brotli, Gzip]),
            ("*;q=0, gzip;q=0.001", &[Gzip]),
            ("gzip;q=0, *", &[Brotli]),
            ("identity, gzip;q=0.5", &[]),
            ("identity;q=0.5, gzip;q=0.5", &[Gzip]),
            ("identity;q=0, gzip;q=0", &[]),
            ("", &[]),
            ("identity", &[]),
            ("zstd", &[]),
            ("gzip;q=2", &[]),
            ("gzip;q=0.0001", &[]),
            ("gzip;q=x", &[]),
            ("gzip;q=0.5, gzip;q=0", &[]),
        ] {
            assert_eq!(welcome(Some(field.as_bytes())), expected, "{field}");
        }
        assert_eq!(welcome(None), []);
    }
}
