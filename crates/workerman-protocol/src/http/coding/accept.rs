//! What a client accepts: `Accept-Encoding` (RFC 9110 section 12.5.3).

use super::super::RequestHead;
use super::Coding;

/// Which codings a client accepts, and how much it likes them, in thousandths.
///
/// # Examples
/// ```
/// use workerman_protocol::http::coding::{Accept, Coding};
/// let accept = Accept::parse("gzip;q=0.5, br, *;q=0.1");
/// assert_eq!(accept.weight(Coding::Gzip), Some(500));
/// assert_eq!(accept.weight(Coding::Zstd), Some(100));
/// # #[cfg(feature = "gzip")]
/// assert_eq!(accept.choose(&[Coding::Gzip]), Coding::Gzip);
/// assert_eq!(accept.choose(&[]), Coding::Identity);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Accept {
    identity: Option<u16>,
    gzip: Option<u16>,
    brotli: Option<u16>,
    zstd: Option<u16>,
    any: Option<u16>,
}

impl Accept {
    /// Reads a value of the field. A member with a weight that is none counts for nothing.
    pub fn parse(value: &str) -> Self {
        let mut accept = Self::default();
        accept.add(value);
        accept
    }

    /// What a request says, in all its fields. Without one nothing is accepted but bytes as they are: any coding would be
    /// allowed, but few that do not ask for one can read it.
    pub fn of(head: &RequestHead) -> Self {
        let mut accept = Self::default();
        for value in head.header_all("accept-encoding") {
            accept.add(value);
        }
        accept
    }

    fn add(&mut self, value: &str) {
        for member in value.split(',') {
            let mut parts = member.split(';').map(|part| part.trim_matches([' ', '\t']));
            let name = parts.next().unwrap_or_default();
            let Some(weight) = weight(parts) else { continue };
            match Coding::from_name(name) {
                Some(Coding::Identity) => self.identity = Some(weight),
                Some(Coding::Gzip) => self.gzip = Some(weight),
                Some(Coding::Brotli) => self.brotli = Some(weight),
                Some(Coding::Zstd) => self.zstd = Some(weight),
                None if name == "*" => self.any = Some(weight),
                None => {}
            }
        }
    }

    /// How much a coding is liked, from 0 (not accepted) to 1000; `None` if nothing is said about it.
    pub fn weight(&self, coding: Coding) -> Option<u16> {
        let own = match coding {
            Coding::Identity => self.identity,
            Coding::Gzip => self.gzip,
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
        };
        own.or(self.any)
    }

    /// The coding that the client likes best of those that are offered and [available](Coding::is_available); of equal
    /// ones the first that is offered.
    ///
    /// Bytes as they are win only if the client likes them better. They are the answer as well where nothing is
    /// accepted, as the section recommends.
    pub fn choose(&self, offered: &[Coding]) -> Coding {
        let mut best = (Coding::Identity, 0);
        for coding in offered.iter().copied().filter(|coding| coding.is_available()) {
            let weight = self.weight(coding).unwrap_or(0);
            if weight > best.1 {
                best = (coding, weight);
            }
        }
        if self.weight(Coding::Identity).is_some_and(|weight| weight > best.1) {
            return Coding::Identity;
        }
        best.0
    }
}

/// The weight of a member by its parameters, 1000 if there is none (RFC 9110 section 12.4.2); `None` if it is malformed.
fn weight<'a>(parameters: impl Iterator<Item = &'a str>) -> Option<u16> {
    let mut weight = 1000;
    for parameter in parameters {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if name.trim_matches([' ', '\t']).eq_ignore_ascii_case("q") {
            weight = thousandths(value.trim_matches([' ', '\t']))?;
        }
    }
    Some(weight)
}

/// `0` or `1` with up to three digits behind a point.
fn thousandths(value: &str) -> Option<u16> {
    let (whole, part) = value.split_once('.').unwrap_or((value, ""));
    if part.len() > 3 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part = part.bytes().chain([b'0'; 3]).take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match (whole, part) {
        ("0", part) => Some(part),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_thousandths() {
        for (value, expected) in
            [("0", 0), ("1", 1000), ("0.5", 500), ("0.001", 1), ("1.000", 1000), ("0.", 0), ("1.", 1000)]
        {
            assert_eq!(thousandths(value), Some(expected), "{value}");
        }
        for bad in ["", "2", "1.1", "0.0001", "-1", "+1", "0,5", ".5", "00", "1e0", "0.5.5"] {
            assert_eq!(thousandths(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_last_word_about_a_coding_counts_and_the_star_is_for_the_rest() {
        let accept = Accept::parse(" GZip ; Q=0.5 ,br;q=x, *;q=0.1;a=b, x-gzip;q=0.7,,;,identity;q=0");
        assert_eq!(accept.weight(Coding::Gzip), Some(700));
        assert_eq!(accept.weight(Coding::Brotli), Some(100));
        assert_eq!(accept.weight(Coding::Identity), Some(0));
        assert_eq!(Accept::parse("").weight(Coding::Gzip), None);
        assert_eq!(Accept::parse("gzip").weight(Coding::Identity), None);
    }

    #[cfg(all(feature = "gzip", feature = "brotli", feature = "zstd"))]
    #[test]
    fn the_best_of_what_is_offered_is_chosen() {
        use Coding::{Brotli, Gzip, Identity, Zstd};
        let all = [Zstd, Brotli, Gzip];
        for (value, expected) in [
            ("", Identity),
            ("gzip", Gzip),
            ("gzip, deflate, br, zstd", Zstd),
            ("gzip, br", Brotli),
            ("gzip;q=1.0, br;q=0.9", Gzip),
            ("*", Zstd),
            ("*, zstd;q=0", Brotli),
            ("*;q=0", Identity),
            ("gzip;q=0", Identity),
            ("identity", Identity),
            ("identity, gzip", Gzip),
            ("identity;q=0.5, gzip;q=0.4", Identity),
            ("identity;q=0.5, gzip;q=0.5", Gzip),
            ("identity;q=0, gzip;q=0.001", Gzip),
            ("identity;q=0", Identity),
            ("deflate, compress", Identity),
            ("gzip;q=0.5, *;q=0.8", Zstd),
        ] {
            assert_eq!(Accept::parse(value).choose(&all), expected, "{value}");
        }
        assert_eq!(Accept::parse("gzip;q=0.5, *").choose(&[Gzip]), Identity, "the star is for identity too");
        assert_eq!(Accept::parse("gzip, br").choose(&[Gzip, Brotli]), Gzip);
    }

    #[cfg(feature = "gzip")]
    #[test]
    fn all_fields_of_a_request_count() {
        use super::super::super::Request;
        let request = Request::builder("GET", "/")
            .append("Accept-Encoding", "br;q=0")
            .append("accept-encoding", "gzip;q=0.1")
            .build()
            .unwrap();
        assert_eq!(Accept::of(&request).choose(&[Coding::Brotli, Coding::Gzip]), Coding::Gzip);
        let silent = Request::builder("GET", "/").build().unwrap();
        assert_eq!(Accept::of(&silent).choose(Coding::AVAILABLE), Coding::Identity);
    }
}
