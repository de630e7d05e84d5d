//! The table of routes, as a tree of the parts of paths.

use std::borrow::Cow;

use workerman_protocol::http::Method;

use super::pattern::Part;

/// A place in the tree: what may follow, and what ends here.
#[derive(Default, Debug)]
pub(super) struct Node {
    /// Sorted.
    literals: Vec<(Box<[u8]>, Node)>,
    param: Option<Box<Node>>,
    tail: Methods,
    here: Methods,
}

/// The routes of one pattern: by method, `None` for any; the number says which route.
#[derive(Default, Debug)]
pub(super) struct Methods(Vec<(Option<Method>, usize)>);

impl Methods {
    /// The route for a method. A GET serves HEAD, too: the protocol leaves the body away (RFC 9110 section 9.3.2).
    pub(super) fn route(&self, method: &Method) -> Option<usize> {
        let of = |wanted: Option<&Method>| {
            self.0.iter().find(|(own, _)| own.as_ref() == wanted).map(|(_, route)| *route)
        };
        of(Some(method))
            .or_else(|| if *method == Method::HEAD { of(Some(&Method::GET)) } else { None })
            .or_else(|| of(None))
    }

    /// The methods that have a route of their own.
    pub(super) fn named(&self) -> impl Iterator<Item = &Method> {
        self.0.iter().filter_map(|(method, _)| method.as_ref())
    }
}

impl Node {
    /// Adds a route; the other one if there is one for the same paths and method already.
    pub(super) fn insert(
        &mut self,
        parts: &[Part],
        method: Option<Method>,
        route: usize,
    ) -> Result<(), usize> {
        let methods = match parts.split_first() {
            None => &mut self.here,
            Some((Part::Tail, _)) => &mut self.tail,
            Some((Part::Param, rest)) => {
                return self.param.get_or_insert_default().insert(rest, method, route);
            }
            Some((Part::Literal(literal), rest)) => {
                let at = match self.literals.binary_search_by(|(own, _)| own.cmp(literal)) {
                    Ok(at) => at,
                    Err(at) => {
                        self.literals.insert(at, (literal.clone(), Self::default()));
                        at
                    }
                };
                return self.literals[at].1.insert(rest, method, route);
            }
        };
        if let Some((_, other)) = methods.0.iter().find(|(own, _)| *own == method) {
            return Err(*other);
        }
        methods.0.push((method, route));
        Ok(())
    }

    /// Visits what matches a path, still encoded, from the most exact: a literal before a parameter before a tail, part
    /// by part. Ends when `visit` returns `true`, and says so.
    ///
    /// Parts are split before they are decoded, so an encoded slash splits nothing. No place is visited twice, and none
    /// that the path does not lead to, so this costs no more than the table is large.
    pub(super) fn visit<'p>(
        &self,
        rest: Option<&'p str>,
        captured: &mut Vec<Cow<'p, str>>,
        visit: &mut impl FnMut(&Methods, &[Cow<'p, str>]) -> bool,
    ) -> bool {
        let Some(rest) = rest else {
            return !self.here.0.is_empty() && visit(&self.here, captured);
        };
        let (part, after) = rest.split_once('/').map_or((rest, None), |(part, after)| (part, Some(after)));
        if let Some(next) = self.literal(part) {
            if next.visit(after, captured, visit) {
                return true;
            }
        }
        // What is no text is no value of a parameter.
        let text = |part: &'p str| percent_encoding::percent_decode_str(part).decode_utf8().ok();
        if let Some((next, value)) = self.param.as_ref().filter(|_| !part.is_empty()).zip(text(part)) {
            captured.push(value);
            if next.visit(after, captured, visit) {
                return true;
            }
            captured.pop();
        }
        if self.tail.0.is_empty() {
            return false;
        }
        let Some(value) = text(rest) else { return false };
        captured.push(value);
        let done = visit(&self.tail, captured);
        captured.pop();
        done
    }

    fn literal(&self, part: &str) -> Option<&Self> {
        if self.literals.is_empty() {
            return None;
        }
        let name: Cow<'_, [u8]> = percent_encoding::percent_decode_str(part).into();
        let at = self.literals.binary_search_by(|(own, _)| (**own).cmp(&*name)).ok()?;
        Some(&self.literals[at].1)
    }
}
