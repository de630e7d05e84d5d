//! Nested names in queries and forms: `a[]`, `a[k]`, as PHP reads them.
//!
//! Built without recursion: every value is a node of one list, and one index finds a key of a map. So a variable costs
//! what its own name is long, whatever came before it; only the last step, which joins the nodes to a tree, goes down, at
//! most [`MAX_DEPTH`] levels.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::super::BadRequest;

/// Most variables of a query or a form with nested names: 1000.
pub const MAX_VARIABLES: usize = 1000;

/// Most pairs of brackets in one name: 64.
pub const MAX_DEPTH: usize = 64;

/// As far as the original counts.
const LAST_INDEX: u64 = i64::MAX as u64;

/// A value of a query or a form whose names may nest.
///
/// # Examples
/// ```
/// use workerman_protocol::http::Request;
/// let request = Request::builder("GET", "/?user[name]=Ann&tag[]=a&tag[]=b").build()?;
/// let query = request.php_query()?;
/// assert_eq!(query.get("user").and_then(|user| user.get("name")).and_then(|name| name.text()), Some("Ann"));
/// assert_eq!(query.get("tag").unwrap().values().filter_map(|tag| tag.text()).collect::<Vec<_>>(), ["a", "b"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FormValue {
    /// A value that holds no others.
    Text(String),
    /// Values whose keys are 0, 1, 2 and so on, in this order.
    List(Vec<FormValue>),
    /// Values by their keys, in the order of their first mention.
    Map(Vec<(String, FormValue)>),
}

impl FormValue {
    /// Reads pairs of names and values into one map, as [`Request::php_query`](super::super::Request::php_query) does with
    /// those of a query.
    ///
    /// # Errors
    /// As there.
    pub fn nested<N: AsRef<str>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, BadRequest> {
        nest(pairs)
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key; the keys of a list are its indexes.
    pub fn get(&self, key: &str) -> Option<&FormValue> {
        match self {
            Self::Text(_) => None,
            Self::List(values) => values.get(usize::try_from(index(key)?).ok()?),
            Self::Map(entries) => entries.iter().find(|(own, _)| own == key).map(|(_, value)| value),
        }
    }

    /// The values of a list or a map, in their order; of a text, none.
    pub fn values(&self) -> impl Iterator<Item = &FormValue> {
        let (list, map): (&[Self], &[(String, Self)]) = match self {
            Self::Text(_) => (&[], &[]),
            Self::List(values) => (values, &[]),
            Self::Map(entries) => (&[], entries),
        };
        list.iter().chain(map.iter().map(|(_, value)| value))
    }

    /// Number of values of a list or a map; 0 of a text.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::List(values) => values.len(),
            Self::Map(entries) => entries.len(),
        }
    }

    /// Whether it holds no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for FormValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => serializer.collect_seq(values),
            Self::Map(entries) => serializer.collect_map(entries.iter().map(|(key, value)| (key, value))),
        }
    }
}

/// Reads all pairs into one map.
pub(in super::super) fn nest<N: AsRef<str>, V: Into<String>>(
    pairs: impl IntoIterator<Item = (N, V)>,
) -> Result<FormValue, BadRequest> {
    let mut forest = Forest::default();
    for (count, (name, value)) in pairs.into_iter().enumerate() {
        if count == MAX_VARIABLES {
            return Err(BadRequest::TooMany { what: "variables", limit: MAX_VARIABLES });
        }
        forest.put(name.as_ref(), value.into())?;
    }
    Ok(forest.join())
}

/// All values while they are being collected. Map 0 is the whole.
struct Forest {
    nodes: Vec<Node>,
    /// The next free index of each map.
    maps: Vec<Option<u64>>,
    /// Map and key to node.
    index: BTreeMap<(usize, String), usize>,
}

enum Node {
    Text(String),
    Map(usize),
}

impl Default for Forest {
    fn default() -> Self {
        Self { nodes: Vec::new(), maps: vec![Some(0)], index: BTreeMap::new() }
    }
}

impl Forest {
    fn put(&mut self, name: &str, value: String) -> Result<(), BadRequest> {
        let (first, keys) = split(name);
        if first.is_empty() {
            return Ok(());
        }
        if keys.len() > MAX_DEPTH {
            return Err(BadRequest::TooMany { what: "levels in a name", limit: MAX_DEPTH });
        }
        let mut map = 0;
        let mut key = first;
        for next in keys {
            let Some(node) = self.node(map, key) else { return Ok(()) };
            map = match self.nodes[node] {
                Node::Map(map) => map,
                Node::Text(_) => {
                    // A new map, for a text that was there as well: what comes last counts.
                    self.maps.push(Some(0));
                    self.nodes[node] = Node::Map(self.maps.len() - 1);
                    self.maps.len() - 1
                }
            };
            key = next.to_owned();
        }
        if let Some(node) = self.node(map, key) {
            self.nodes[node] = Node::Text(value);
        }
        Ok(())
    }

    /// The node of a key, made if it is new; an empty key takes the next index. `None` if there is no next one.
    fn node(&mut self, map: usize, key: String) -> Option<usize> {
        let key = if key.is_empty() { self.maps[map]?.to_string() } else { key };
        let place = match self.index.entry((map, key)) {
            Entry::Occupied(known) => return Some(*known.get()),
            Entry::Vacant(place) => place,
        };
        if let Some(number) = index(&place.key().1) {
            let next = &mut self.maps[map];
            *next = next.map(|next| next.max(number + 1)).filter(|next| *next <= LAST_INDEX);
        }
        let node = self.nodes.len();
        self.nodes.push(Node::Text(String::new()));
        place.insert(node);
        Some(node)
    }

    fn join(self) -> FormValue {
        let mut maps: Vec<Vec<(usize, String)>> = Vec::new();
        maps.resize_with(self.maps.len(), Vec::new);
        for ((map, key), node) in self.index {
            maps[map].push((node, key));
        }
        for entries in &mut maps {
            // The order in which they were made.
            entries.sort_unstable_by_key(|(node, _)| *node);
        }
        let mut nodes = self.nodes;
        FormValue::Map(entries(0, &mut maps, &mut nodes))
    }
}

/// The entries of a map; goes down at most as deep as a name may.
fn entries(map: usize, maps: &mut [Vec<(usize, String)>], nodes: &mut [Node]) -> Vec<(String, FormValue)> {
    let own = std::mem::take(&mut maps[map]);
    let join = |(node, key): (usize, String)| {
        let value = match std::mem::replace(&mut nodes[node], Node::Map(0)) {
            Node::Text(text) => FormValue::Text(text),
            Node::Map(map) => {
                let entries = entries(map, maps, nodes);
                if (0_u64..).zip(&entries).all(|(at, (key, _))| index(key) == Some(at)) {
                    FormValue::List(entries.into_iter().map(|(_, value)| value).collect())
                } else {
                    FormValue::Map(entries)
                }
            }
        };
        (key, value)
    };
    own.into_iter().map(join).collect()
}

/// A key that is an index: a number without sign and leading zeros.
fn index(key: &str) -> Option<u64> {
    let plain = key.bytes().all(|byte| byte.is_ascii_digit()) && (key == "0" || !key.starts_with('0'));
    key.parse().ok().filter(|number| plain && *number <= LAST_INDEX)
}

/// The variable that a name stands for, and the keys behind it; an empty key is a new index. A name that begins with a
/// bracket stands for nothing.
fn split(name: &str) -> (String, Vec<&str>) {
    let name = name.trim_start_matches(' ');
    let Some(open) = name.find('[') else { return (plain(name), Vec::new()) };
    if open == 0 {
        return (String::new(), Vec::new());
    }
    let mut keys = Vec::new();
    let mut rest = &name[open + 1..];
    loop {
        let Some(close) = rest.find(']') else {
            if keys.is_empty() {
                // A bracket that is never closed is a part of the name.
                return (plain(name), keys);
            }
            break;
        };
        let key = &rest[..close];
        keys.push(if matches!(key, " " | "\t" | "\r" | "\n") { "" } else { key });
        // One more than is allowed is enough to refuse it.
        let Some(next) = rest[close + 1..].strip_prefix('[') else { break };
        if keys.len() > MAX_DEPTH {
            break;
        }
        rest = next;
    }
    (plain(&name[..open]), keys)
}

/// A name of a variable: what PHP's variables cannot have in theirs becomes `_`.
fn plain(name: &str) -> String {
    name.chars().map(|c| if matches!(c, '.' | ' ' | '[') { '_' } else { c }).collect()
}
