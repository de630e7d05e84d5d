//! Patterns of paths, as a route writes them.

use super::RouteError;

/// A part of a pattern, between two slashes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// These bytes, decoded.
    Literal(Box<[u8]>),
    /// Any bytes, but at least one.
    Param,
    /// All that follows; nothing, too.
    Tail,
}

/// The parts of a pattern, and the names of its parameters in their order.
pub(super) fn parse(pattern: &str) -> Result<(Vec<Part>, Vec<Box<str>>), RouteError> {
    let error = |reason| RouteError::Pattern { pattern: pattern.to_owned(), reason };
    let rest = pattern.strip_prefix('/').ok_or_else(|| error("it does not begin with a slash"))?;
    let (mut parts, mut names) = (Vec::new(), Vec::<Box<str>>::new());
    for text in rest.split('/') {
        if parts.last() == Some(&Part::Tail) {
            return Err(error("something follows the tail"));
        }
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let Some(inner) = inner else {
            if text.contains(['{', '}']) {
                return Err(error("a parameter is a whole part between two slashes"));
            }
            let literal = percent_encoding::percent_decode_str(text).collect();
            parts.push(Part::Literal(literal));
            continue;
        };
        let (part, name) = inner.strip_prefix('*').map_or((Part::Param, inner), |name| (Part::Tail, name));
        if name.is_empty() || name.contains(['{', '}', '*']) {
            return Err(error("a parameter has no name, or one with braces or a star in it"));
        }
        if names.iter().any(|other| **other == *name) {
            return Err(error("two parameters have the same name"));
        }
        parts.push(part);
        names.push(name.into());
    }
    Ok((parts, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Part {
        Part::Literal(text.as_bytes().into())
    }

    #[test]
    fn patterns_have_literals_parameters_and_a_tail() {
        let of = |pattern| parse(pattern).unwrap();
        assert_eq!(of("/").0, [literal("")]);
        assert_eq!(of("/a/b/").0, [literal("a"), literal("b"), literal("")]);
        assert_eq!(of("/a%20b/%7Bc%7D").0, [literal("a b"), literal("{c}")]);
        let (parts, names) = of("/users/{id}/{*rest}");
        assert_eq!(parts, [literal("users"), Part::Param, Part::Tail]);
        assert_eq!(names, ["id".into(), "rest".into()]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in [
            "", "a", "{a}", "/a{b}", "/{a}b", "/{", "/}", "/{}", "/{*}", "/{{a}}", "/{a}/{a}", "/{*a}/b",
            "/{*a}/", "/{**a}", "/{a*}",
        ] {
            assert!(matches!(parse(pattern), Err(RouteError::Pattern { .. })), "{pattern}");
        }
    }
}
