//! An ordered list of header fields.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Header fields in their order; names are case-insensitive.
///
/// A list, since messages have few fields: looking one up walks it. It allocates nothing while it is empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// No fields; allocates nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Number of fields, repeated ones counted each.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value of a field. `name` is compared without regard to case.
    pub fn get(&self, name: impl AsRef<str>) -> Option<&HeaderValue> {
        self.get_all(name).next()
    }

    /// The first value of a field, if it is visible ASCII.
    pub fn get_str(&self, name: impl AsRef<str>) -> Option<&str> {
        self.get(name)?.to_str().ok()
    }

    /// All values of a field, in their order.
    pub fn get_all(&self, name: impl AsRef<str>) -> impl Iterator<Item = &HeaderValue> {
        self.0
            .iter()
            .filter(move |(own, _)| own.as_str().eq_ignore_ascii_case(name.as_ref()))
            .map(|(_, value)| value)
    }

    /// Whether a field is there.
    pub fn contains(&self, name: impl AsRef<str>) -> bool {
        self.get(name).is_some()
    }

    /// Sets a field: every older value of it is removed.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        if let Some(at) = self.0.iter().position(|(own, _)| *own == name) {
            let mut index = 0;
            self.0.retain(|(own, _)| {
                index += 1;
                index - 1 == at || *own != name
            });
            self.0[at].1 = value;
        } else {
            self.0.push((name, value));
        }
    }

    /// Adds a field behind those that are there, of the same name or not.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// Removes every value of a field; tells whether there was one.
    pub fn remove(&mut self, name: impl AsRef<str>) -> bool {
        let before = self.0.len();
        self.0.retain(|(own, _)| !own.as_str().eq_ignore_ascii_case(name.as_ref()));
        self.0.len() != before
    }

    /// All fields in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Headers {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl Extend<(HeaderName, HeaderValue)> for Headers {
    fn extend<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(&mut self, fields: I) {
        self.0.extend(fields);
    }
}

impl IntoIterator for Headers {
    type Item = (HeaderName, HeaderValue);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Self {
        let mut fields = Self(Vec::with_capacity(map.len()));
        let mut last = None;
        for (name, value) in map {
            // A repeated field comes without its name.
            last = name.or(last);
            if let Some(name) = &last {
                fields.append(name.clone(), value);
            }
        }
        fields
    }
}

impl From<Headers> for HeaderMap {
    fn from(fields: Headers) -> Self {
        let mut map = Self::with_capacity(fields.len());
        for (name, value) in fields {
            map.append(name, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, VARY};

    use super::*;

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[test]
    fn names_are_case_insensitive_and_values_keep_their_order() {
        let mut fields = Headers::new();
        fields.append(VARY, value("a"));
        fields.append(ACCEPT, value("x"));
        fields.append(VARY, value("b"));
        assert_eq!(fields.get("vArY"), Some(&value("a")));
        assert_eq!(fields.get_all("VARY").collect::<Vec<_>>(), [&value("a"), &value("b")]);
        fields.insert(VARY, value("c"));
        assert_eq!(fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["vary", "accept"]);
        assert_eq!(fields.get_str("vary"), Some("c"));
        assert!(fields.remove("Accept") && !fields.remove("Accept"));
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn a_header_map_goes_both_ways() {
        let mut map = HeaderMap::new();
        map.append(VARY, value("a"));
        map.append(VARY, value("b"));
        map.append(ACCEPT, value("x"));
        let fields = Headers::from(map.clone());
        assert_eq!(fields.len(), 3);
        assert_eq!(fields.get_all("vary").count(), 2);
        assert_eq!(HeaderMap::from(fields), map);
    }
}
