//! Which encoding of a file a client gets, where several lie beside each other (RFC 9110 section 12.5.3).

/// A content coding that a file may lie beside another in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// From the one that is smallest.
    pub(crate) const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// As `Content-Encoding` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
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
    let weight = |names: &[&str]| {
        let of = |wanted: &[&str]| {
            elements(field).find(|(name, _)| wanted.iter().any(|own| name.eq_ignore_ascii_case(own)))
        };
        of(names).or_else(|| of(&["*"])).map(|(_, weight)| weight)
    };
    // Without a word about it, the plain file is acceptable, but nothing that was named is liked less.
    let plain = weight(&["identity"]).unwrap_or(1).max(1);
    let mut codings: Vec<(u16, Coding)> = Coding::ALL
        .into_iter()
        .filter_map(|coding| {
            let weight = match coding {
                Coding::Brotli => weight(&["br"]),
                // Section 8.4.1.3: recipients take the old name for the same.
                Coding::Gzip => weight(&["gzip", "x-gzip"]),
            };
            Some((weight?, coding)).filter(|(weight, _)| *weight >= plain)
        })
        .collect();
    // Stable: equal ones stay from the smallest.
    codings.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    codings.into_iter().map(|(_, coding)| coding).collect()
}

/// Names and weights, in thousandths; an element that cannot be read has the weight 0.
fn elements(field: &str) -> impl Iterator<Item = (&str, u16)> {
    field.split(',').map(|element| {
        let (name, parameters) = element.split_once(';').map_or((element, None), |(a, b)| (a, Some(b)));
        (name.trim(), parameters.map_or(1000, |parameters| quality(parameters.trim()).unwrap_or(0)))
    })
}

/// A weight (section 12.4.2), in thousandths.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    if !name.trim().eq_ignore_ascii_case("q")
        || fraction.len() > 3
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    match whole {
        "0" => format!("{fraction:0<3}").parse().ok(),
        "1" if fraction.bytes().all(|byte| byte == b'0') => Some(1000),
        _ => None,
    }
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
            ("gzip;level=3", &[]),
        ] {
            assert_eq!(welcome(Some(field.as_bytes())), expected, "{field}");
        }
        assert_eq!(welcome(None), []);
    }
}
