//! The conformance data: what it says and how it is read. `tests/data/http/README.md` describes the format.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::text::bytes;

/// Which side of a connection the data of a folder is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Requests, for a server.
    Server,
    /// Responses, for a client.
    Client,
}

/// A test: these bytes, that verdict.
#[derive(Clone, Debug)]
pub struct Case {
    /// File, line and name.
    pub place: String,
    /// Its name; unique in its folder.
    pub name: String,
    /// The sections of RFCs that decide it: "9112 2.2".
    pub sections: Vec<String>,
    /// Limits that differ from the defaults.
    pub settings: BTreeMap<Setting, usize>,
    /// The methods of the requests that a client has sent, in order; never empty.
    pub asked: Vec<String>,
    /// What the peer sends.
    pub bytes: Vec<u8>,
    /// Where the bytes begin that come after the next request, for the second request and those behind it.
    pub turns: Vec<usize>,
    /// What must come of it, in order.
    pub expected: Vec<Expected>,
}

/// A limit that a case may set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Setting {
    /// Most bytes of a request line, or of a status line.
    RequestLine,
    /// Most bytes of a head.
    Head,
    /// Most fields.
    Fields,
    /// Most bytes of a body.
    Body,
    /// Most bytes of the chunk extensions of one message.
    ChunkExtension,
}

/// One thing that comes of the bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// A request that the application gets.
    Accept {
        /// Its method.
        method: String,
        /// Its target, as sent.
        target: Vec<u8>,
        /// The rest.
        message: Message,
    },
    /// A refusal with one of these status codes; then the server ends the connection.
    Reject(Vec<u16>),
    /// A response that the caller gets.
    Response {
        /// Its status code.
        status: u16,
        /// The rest.
        message: Message,
    },
    /// An error for the caller; then the client ends the connection.
    Error,
    /// Nothing (more) before further bytes come: neither a message nor a refusal.
    Incomplete,
}

/// What a message must look like, besides its first line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The minor version.
    pub minor: u8,
    /// For each name, all its values in order; none for a field that must be absent.
    pub fields: BTreeMap<String, Vec<Vec<u8>>>,
    /// All of the body.
    pub body: Vec<u8>,
    /// All trailer fields.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Whether the connection ends after this message and its answer.
    pub close: bool,
    /// Whether a server asks for the body with 100 (Continue) when nothing of it has come; not checked where the case
    /// does not say it.
    pub continues: Option<bool>,
}

impl Default for Message {
    fn default() -> Self {
        Self {
            minor: 1,
            fields: BTreeMap::new(),
            body: Vec::new(),
            trailers: Vec::new(),
            close: false,
            continues: None,
        }
    }
}

/// What is wrong with the data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slip {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Slip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// The folder of the data.
pub fn folder(side: Side) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/http").join(match side {
        Side::Server => "server",
        Side::Client => "client",
    })
}

/// All cases of one side, file by file.
///
/// # Panics
/// If the data is not right; the message names the file and the line.
pub fn load(side: Side) -> Vec<Case> {
    let folder = folder(side);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    let mut names = BTreeSet::new();
    for path in files {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(file.ends_with(".txt"), "{file} is no conformance data");
        let content = std::fs::read_to_string(&path).unwrap();
        let read = parse(side, &file, &content).unwrap_or_else(|slip| panic!("{file}, {slip}"));
        assert!(!read.is_empty(), "{file} has no case");
        for case in &read {
            assert!(names.insert(case.name.clone()), "{}: the name is taken", case.place);
        }
        cases.extend(read);
    }
    cases
}

/// The cases of one file.
///
/// # Errors
/// The first thing that is not as the format says.
pub fn parse(side: Side, file: &str, content: &str) -> Result<Vec<Case>, Slip> {
    let mut cases = Vec::new();
    let mut open: Option<Draft<'_>> = None;
    let mut line = 0;
    for text in content.lines() {
        line += 1;
        let slip = |what| Slip { line, what };
        if text.ends_with([' ', '\t']) {
            return Err(slip("white space at the end; write \\s".into()));
        }
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(name) = text.strip_prefix("--- ") {
            if let Some(draft) = open.replace(Draft::new(line, name).map_err(slip)?) {
                draft.finish(side, file, &mut cases).map_err(slip)?;
            }
            continue;
        }
        let Some(draft) = &mut open else { return Err(slip("no case has begun".into())) };
        draft.line(side, text).map_err(slip)?;
    }
    if let Some(draft) = open {
        draft.finish(side, file, &mut cases).map_err(|what| Slip { line, what })?;
    }
    Ok(cases)
}

/// A case that is being read; texts stay as they are written until its rows are known.
struct Draft<'a> {
    line: usize,
    name: &'a str,
    sections: Vec<String>,
    settings: BTreeMap<Setting, usize>,
    asked: Vec<String>,
    /// Texts, and whether they come after the next request.
    sent: Vec<(bool, &'a str)>,
    expected: Vec<(&'a str, Vec<&'a str>)>,
    rows: Vec<(&'a str, &'a str)>,
}

fn named(name: &str) -> Result<&str, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(format!("no name of a case: {name:?}"));
    }
    Ok(name)
}

impl<'a> Draft<'a> {
    fn new(line: usize, name: &'a str) -> Result<Self, String> {
        Ok(Self {
            line,
            name: named(name)?,
            sections: Vec::new(),
            settings: BTreeMap::new(),
            asked: Vec::new(),
            sent: Vec::new(),
            expected: Vec::new(),
            rows: Vec::new(),
        })
    }

    fn line(&mut self, side: Side, text: &'a str) -> Result<(), String> {
        let (head, sent, expected, rows) = (
            self.sent.is_empty() && self.expected.is_empty(),
            self.expected.is_empty(),
            !self.sent.is_empty() && self.rows.is_empty(),
            !self.expected.is_empty(),
        );
        let order = |right: bool| if right { Ok(()) } else { Err("a line out of order".to_owned()) };
        if let Some(list) = text.strip_prefix("rfc: ") {
            order(head && self.sections.is_empty())?;
            self.sections = list.split(", ").map(section).collect::<Result<_, _>>()?;
        } else if let Some(list) = text.strip_prefix("set: ") {
            order(head && self.settings.is_empty())?;
            for item in list.split(", ") {
                let (setting, value) = setting(item)?;
                if self.settings.insert(setting, value).is_some() {
                    return Err(format!("set twice: {item:?}"));
                }
            }
        } else if let Some(list) = text.strip_prefix("asked: ") {
            order(head && self.asked.is_empty() && side == Side::Client)?;
            self.asked = list.split(", ").map(method).collect::<Result<_, _>>()?;
        } else if let Some(bytes) = text.strip_prefix("> ") {
            order(sent)?;
            self.sent.push((false, bytes));
        } else if let Some(bytes) = text.strip_prefix(">> ") {
            order(sent && !self.sent.is_empty() && side == Side::Client)?;
            self.sent.push((true, bytes));
        } else if let Some(what) = text.strip_prefix("= ") {
            order(expected)?;
            self.expected.push((what, Vec::new()));
        } else if let Some(detail) = text.strip_prefix("  ") {
            order(expected)?;
            let (_, details) = self.expected.last_mut().ok_or("a detail of nothing")?;
            details.push(detail);
        } else if let Some(row) = text.strip_prefix("with ") {
            order(rows)?;
            let (name, text) = row
                .split_once(": ")
                .or_else(|| row.strip_suffix(':').map(|name| (name, "")))
                .ok_or_else(|| format!("no row: {row:?}"))?;
            self.rows.push((named(name)?, text));
        } else {
            return Err(format!("no line of a case: {text:?}"));
        }
        Ok(())
    }

    fn finish(self, side: Side, file: &str, cases: &mut Vec<Case>) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("the case {:?} of line {} {what}", self.name, self.line));
        if self.sections.is_empty() {
            return wrong("names no section of an RFC");
        }
        if self.sent.is_empty() || self.expected.is_empty() {
            return wrong("sends or expects nothing");
        }
        if self.rows.is_empty() {
            cases.push(self.case(side, file, None)?);
            return Ok(());
        }
        // A row that no text asks for would test the same again and again.
        let texts = self
            .sent
            .iter()
            .map(|(_, text)| text)
            .chain(self.expected.iter().flat_map(|(what, details)| std::iter::once(what).chain(details)));
        if !texts.into_iter().any(|text| text.contains("{}")) {
            return wrong("has rows but no {}");
        }
        for row in &self.rows {
            cases.push(self.case(side, file, Some(*row))?);
        }
        Ok(())
    }

    fn case(&self, side: Side, file: &str, row: Option<(&str, &str)>) -> Result<Case, String> {
        let name = row.map_or_else(|| self.name.to_owned(), |(row, _)| format!("{}/{row}", self.name));
        let row = row.map(|(_, text)| bytes(text, None)).transpose()?;
        let row = row.as_deref();
        let mut sent = Vec::new();
        let mut turns = Vec::new();
        for (turn, text) in &self.sent {
            if *turn {
                turns.push(sent.len());
            }
            sent.extend(bytes(text, row)?);
        }
        if turns.len() >= self.asked.len().max(1) {
            return Err(format!("{name} has more turns than requests"));
        }
        let mut expected = Vec::new();
        for (what, details) in &self.expected {
            // What follows a refusal, a failure or the end of the connection is not looked at.
            let over = expected.last().is_some_and(|last| match last {
                Expected::Accept { message, .. } | Expected::Response { message, .. } => message.close,
                _ => true,
            });
            if over {
                return Err(format!("{name} expects {what:?} after the end"));
            }
            expected.push(expectation(side, what, details, row)?);
        }
        let asked = if self.asked.is_empty() { vec!["GET".to_owned()] } else { self.asked.clone() };
        Ok(Case {
            place: format!("{file}:{} {name}", self.line),
            name,
            sections: self.sections.clone(),
            settings: self.settings.clone(),
            asked,
            bytes: sent,
            turns,
            expected,
        })
    }
}

/// The RFCs that the data may name, and how many numbered sections each has.
const RFCS: [(u16, u8); 7] =
    [(3986, 8), (6265, 8), (6455, 14), (6585, 8), (9110, 19), (9112, 12), (9113, 12)];

fn section(text: &str) -> Result<String, String> {
    let unknown = || format!("no section of a known RFC: {text:?}");
    let (rfc, section) = text.split_once(' ').ok_or_else(unknown)?;
    let rfc: u16 = rfc.parse().map_err(|_| unknown())?;
    let (_, last) = RFCS.iter().find(|(known, _)| *known == rfc).ok_or_else(unknown)?;
    let mut numbers = section
        .split('.')
        .map(|number| number.parse::<u8>().ok().filter(|parsed| *parsed > 0 && parsed.to_string() == number));
    let first = numbers.next().flatten().ok_or_else(unknown)?;
    if first > *last || numbers.any(|number| number.is_none()) {
        return Err(unknown());
    }
    Ok(text.to_owned())
}

fn setting(text: &str) -> Result<(Setting, usize), String> {
    let unknown = || format!("no setting: {text:?}");
    let (name, value) = text.split_once(' ').ok_or_else(unknown)?;
    let setting = match name {
        "max-request-line" => Setting::RequestLine,
        "max-head" => Setting::Head,
        "max-fields" => Setting::Fields,
        "max-body" => Setting::Body,
        "max-chunk-extension" => Setting::ChunkExtension,
        _ => return Err(unknown()),
    };
    Ok((setting, value.parse().map_err(|_| unknown())?))
}

fn method(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("no method: {text:?}"));
    }
    Ok(text.to_owned())
}

fn status(text: &str) -> Result<u16, String> {
    let known = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| known).ok_or_else(|| format!("no status code: {text:?}"))
}

fn expectation(side: Side, what: &str, details: &[&str], row: Option<&[u8]>) -> Result<Expected, String> {
    let alone = |expected| {
        if details.is_empty() { Ok(expected) } else { Err(format!("{what:?} has no details")) }
    };
    match (side, what.split_once(' ').unwrap_or((what, ""))) {
        (Side::Server, ("accept", rest)) => {
            let (first, target) = rest.split_once(' ').ok_or_else(|| format!("no request: {what:?}"))?;
            let method =
                method(&String::from_utf8(bytes(first, row)?).map_err(|_| format!("no method: {first:?}"))?)?;
            let target = bytes(target, row)?;
            Ok(Expected::Accept { method, target, message: message(side, details, row)? })
        }
        (Side::Server, ("reject", list)) => {
            const KNOWN: [u16; 9] = [400, 405, 408, 413, 414, 417, 431, 501, 505];
            let list: Vec<u16> = list.split('|').map(status).collect::<Result<_, _>>()?;
            if let Some(other) = list.iter().find(|status| !KNOWN.contains(status)) {
                return Err(format!("{other} is no refusal"));
            }
            alone(Expected::Reject(list))
        }
        (Side::Client, ("response", code)) => {
            let code =
                String::from_utf8(bytes(code, row)?).map_err(|_| format!("no status code: {code:?}"))?;
            Ok(Expected::Response { status: status(&code)?, message: message(side, details, row)? })
        }
        (Side::Client, ("error", "")) => alone(Expected::Error),
        (_, ("incomplete", "")) => alone(Expected::Incomplete),
        _ => Err(format!("no expectation: {what:?}")),
    }
}

fn message(side: Side, details: &[&str], row: Option<&[u8]>) -> Result<Message, String> {
    let mut message = Message::default();
    let mut seen = BTreeSet::new();
    for detail in details {
        let (kind, rest) = detail.split_once(' ').unwrap_or((detail, ""));
        let field = |text: &str| -> Result<(String, Vec<u8>), String> {
            let (name, value) = text
                .split_once(": ")
                .or_else(|| text.strip_suffix(':').map(|name| (name, "")))
                .ok_or_else(|| format!("no field: {detail:?}"))?;
            let name = String::from_utf8(bytes(name, row)?).map_err(|_| format!("no field: {detail:?}"))?;
            Ok((name.to_ascii_lowercase(), bytes(value, row)?))
        };
        let once = match (kind, rest) {
            ("version", "1.0") => {
                message.minor = 0;
                true
            }
            ("field", text) => {
                let (name, value) = field(text)?;
                let values = message.fields.entry(name).or_default();
                values.push(value);
                false
            }
            ("body", text) => {
                message.body.extend(bytes(text, row)?);
                false
            }
            ("trailer", text) => {
                message.trailers.push(field(text)?);
                false
            }
            ("close", "") => {
                message.close = true;
                true
            }
            ("continue", "") if side == Side::Server => {
                message.continues = Some(true);
                true
            }
            ("no", "continue") if side == Side::Server => {
                message.continues = Some(false);
                true
            }
            ("no", rest) => {
                let name = rest.strip_prefix("field ").ok_or_else(|| format!("no detail: {detail:?}"))?;
                if message.fields.insert(name.to_ascii_lowercase(), Vec::new()).is_some() {
                    return Err(format!("{name} is expected and not"));
                }
                true
            }
            _ => return Err(format!("no detail: {detail:?}")),
        };
        if once && !seen.insert(*detail) {
            return Err(format!("said twice: {detail:?}"));
        }
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# A comment.
--- one
rfc: 9112 3.2, 9110 5.5
set: max-body 16, max-head 100
> GET / HTTP/1.1\\r\\n
> Host: {}\\r\\n\\r\\n
= accept GET /
  field Host: {}
  no field x-other
  close
with short: a
with empty:

--- two
rfc: 6585 5
> {3*x}
= reject 400|431
";

    #[test]
    fn a_file_says_what_it_says() {
        let cases = parse(Side::Server, "file", GOOD).unwrap();
        assert_eq!(cases.len(), 3);
        assert_eq!(cases[0].place, "file:2 one/short");
        assert_eq!(cases[1].name, "one/empty");
        assert_eq!(cases[0].sections, ["9112 3.2", "9110 5.5"]);
        assert_eq!(cases[0].settings, BTreeMap::from([(Setting::Body, 16), (Setting::Head, 100)]));
        assert_eq!(cases[0].bytes, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(cases[1].bytes, b"GET / HTTP/1.1\r\nHost: \r\n\r\n");
        let Expected::Accept { method, target, message } = &cases[0].expected[0] else {
            panic!("not accepted")
        };
        assert_eq!((method.as_str(), target.as_slice()), ("GET", b"/".as_slice()));
        assert!(message.close);
        assert_eq!(message.fields["host"], [b"a"]);
        assert!(message.fields["x-other"].is_empty());
        assert_eq!(cases[2].expected, [Expected::Reject(vec![400, 431])]);
        assert_eq!(cases[2].bytes, b"xxx");
    }

    #[test]
    fn a_client_file_says_what_it_says() {
        let text = "--- a\nrfc: 9112 6.3\nasked: HEAD, GET\n> x\n>> y\n> z\n= response 200\n  version 1.0\n  trailer A: b\n\
                    \u{20} body x\n  body y\n= error\n";
        let cases = parse(Side::Client, "file", text).unwrap();
        assert_eq!(cases[0].asked, ["HEAD", "GET"]);
        assert_eq!(
            (cases[0].bytes.as_slice(), cases[0].turns.as_slice()),
            (b"xyz".as_slice(), [1].as_slice())
        );
        let message = Message {
            minor: 0,
            body: b"xy".to_vec(),
            trailers: vec![("a".into(), b"b".to_vec())],
            ..Message::default()
        };
        assert_eq!(cases[0].expected, [Expected::Response { status: 200, message }, Expected::Error]);
    }

    #[test]
    fn a_slip_is_found_in_its_line() {
        let slips = [
            ("> GET", 1, "no case has begun"),
            ("--- A", 1, "no name"),
            ("--- a\nrfc: 9112", 2, "no section"),
            ("--- a\nrfc: 9999 1", 2, "no section"),
            ("--- a\nrfc: 9112 13.1", 2, "no section"),
            ("--- a\nrfc: 9112 2..2", 2, "no section"),
            ("--- a\nrfc: 9112 2.2\nrfc: 9112 2.2", 3, "out of order"),
            ("--- a\nset: max-x 1", 2, "no setting"),
            ("--- a\nset: max-head x", 2, "no setting"),
            ("--- a\nset: max-head 1, max-head 2", 2, "set twice"),
            ("--- a\nasked: GET", 2, "out of order"),
            ("--- a\nrfc: 9112 2\n> x\nrfc: 9112 2", 4, "out of order"),
            ("--- a\nrfc: 9112 2\n= reject 400", 3, "out of order"),
            ("--- a\nrfc: 9112 2\n> x\n>> y", 4, "out of order"),
            ("--- a\nrfc: 9112 2\n> x\n  body x", 4, "a detail of nothing"),
            ("--- a\nrfc: 9112 2\n> x\nwith a: b", 4, "out of order"),
            ("--- a\nrfc: 9112 2\n> x \n= reject 400", 3, "white space"),
            ("--- a\nrfc: 9112 2\n> x\n= reject 200", 4, "200 is no refusal"),
            ("--- a\nrfc: 9112 2\n> x\n= reject 40", 4, "no status"),
            ("--- a\nrfc: 9112 2\n> x\n= reject 400\n  body x", 5, "no details"),
            ("--- a\nrfc: 9112 2\n> x\n= accept GET", 4, "no request"),
            ("--- a\nrfc: 9112 2\n> x\n= response 200", 4, "no expectation"),
            ("--- a\nrfc: 9112 2\n> x\n= accept GET /\n  version 1.1", 5, "no detail"),
            ("--- a\nrfc: 9112 2\n> x\n= accept GET /\n  closed", 5, "no detail"),
            ("--- a\nrfc: 9112 2\n> x\n= accept GET /\n  close\n  close", 6, "said twice"),
            ("--- a\nrfc: 9112 2\n> x\n= accept GET /\n  field a: b\n  no field a", 6, "expected and not"),
            ("--- a\nrfc: 9112 2\n> x\n= reject 400\n= incomplete", 5, "after the end"),
            ("--- a\nrfc: 9112 2\n> \\x\n= reject 400", 4, "unknown escape"),
            ("--- a\nrfc: 9112 2\n> {}\n= reject 400", 4, "without rows"),
            ("--- a\nrfc: 9112 2\n> x\n= reject 400\nwith a: b", 5, "no {}"),
            ("--- a\nrfc: 9112 2\n> {}\n= reject 400\nwith a", 5, "no row"),
            ("--- a\nrfc: 9112 2\n> x\n= reject 400\nwhat", 5, "no line of a case"),
            ("--- a\n> x\n= reject 400", 3, "names no section"),
            ("--- a\nrfc: 9112 2\n> x", 3, "expects nothing"),
        ];
        for (text, line, what) in slips {
            let slip = parse(Side::Server, "file", text).unwrap_err();
            assert!(slip.line == line && slip.what.contains(what), "{text:?}: {slip}, not {line} {what}");
        }
    }
}
