//! The conformance data of handshakes: `tests/data/websocket/handshake/README.md` describes the format.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use workerman_protocol::testing::{Harness, Seen};
use workerman_protocol::websocket::handshake::{HandshakeError, Hello, Key};
use workerman_protocol::websocket::{Error, Event, Websocket, WebsocketClient};
use workerman_protocol::{Protocol, Role};

use crate::http::text::{bytes, show};

/// Which side of a connection the data of a folder is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Requests, for a server.
    Server,
    /// Answers, for a client.
    Client,
}

/// A test: these bytes, that verdict.
#[derive(Clone, Debug)]
pub struct Case {
    /// File, line and name.
    pub place: String,
    /// Settings of the server, by their name.
    settings: Vec<(String, Vec<String>)>,
    /// What the peer sends, before `{accept}` is known.
    sent: Vec<String>,
    row: Option<String>,
    expected: Expected,
}

/// What must come of the bytes.
#[derive(Clone, Debug, Default)]
struct Expected {
    what: What,
    /// Fields of the answer, with their value.
    fields: Vec<(String, String)>,
    absent: Vec<String>,
    protocol: Option<String>,
    body: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum What {
    #[default]
    Incomplete,
    Open,
    /// A server refuses with this status.
    Reject(u16),
    /// A server has refused with this status.
    Refused(u16),
    Error,
}

/// All cases of one side, file by file.
///
/// # Panics
/// If the data is not right; the message names the file and the line.
pub fn load(side: Side) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/websocket/handshake").join(match side {
        Side::Server => "server",
        Side::Client => "client",
    });
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    for path in files {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let content = std::fs::read_to_string(&path).unwrap();
        cases.extend(parse(side, &file, &content).unwrap_or_else(|what| panic!("{file}: {what}")));
    }
    let names: BTreeSet<_> = cases.iter().map(|case| case.place.rsplit(' ').next().unwrap()).collect();
    assert_eq!(names.len(), cases.len(), "a name is there twice");
    cases
}

fn parse(side: Side, file: &str, content: &str) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    let mut drafts: Vec<(usize, Vec<&str>)> = Vec::new();
    for (at, line) in content.lines().enumerate() {
        if line.ends_with([' ', '\t']) {
            return Err(format!("line {}: white space at the end", at + 1));
        }
        match (line.strip_prefix("--- "), drafts.last_mut()) {
            (Some(_), _) => drafts.push((at + 1, vec![line])),
            _ if line.is_empty() || line.starts_with('#') => {}
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => return Err(format!("line {}: no case has begun", at + 1)),
        }
    }
    for (line, lines) in drafts {
        cases.extend(draft(side, file, line, &lines).map_err(|what| format!("case of line {line}: {what}"))?);
    }
    Ok(cases)
}

fn draft(side: Side, file: &str, at: usize, lines: &[&str]) -> Result<Vec<Case>, String> {
    let name = lines[0].trim_start_matches("--- ");
    let (mut sections, mut settings, mut sent, mut rows) = (0, Vec::new(), Vec::new(), Vec::new());
    let mut expected: Option<Vec<&str>> = None;
    for line in &lines[1..] {
        if let Some(list) = line.strip_prefix("rfc: ") {
            sections = list.split(", ").map(section).sum::<Result<usize, _>>()?;
        } else if let Some(setting) = line.strip_prefix("set: ") {
            let mut words = setting.split(' ').map(str::to_owned);
            let name = words.next().filter(|name| ["protocols", "origins"].contains(&&**name));
            settings.push((name.ok_or("an unknown setting")?, words.collect()));
        } else if let Some(text) = line.strip_prefix("> ") {
            sent.push(text.to_owned());
        } else if let Some(what) = line.strip_prefix("= ") {
            if expected.replace(vec![what]).is_some() {
                return Err("two verdicts".into());
            }
        } else if let Some(detail) = line.strip_prefix("  ") {
            expected.as_mut().ok_or("a detail of nothing")?.push(detail);
        } else if let Some(row) = line.strip_prefix("with ") {
            let split = row.split_once(": ").or_else(|| row.strip_suffix(':').map(|name| (name, "")));
            rows.push(split.ok_or_else(|| format!("no row: {row}"))?);
        } else {
            return Err(format!("no line of a case: {line}"));
        }
    }
    let expected = expected.ok_or("no verdict")?;
    if sections == 0 || sent.is_empty() {
        return Err("no section, or nothing is sent".into());
    }
    let case = |row: Option<(&str, &str)>| -> Result<Case, String> {
        let name = row.map_or_else(|| name.to_owned(), |(row, _)| format!("{name}/{row}"));
        Ok(Case {
            place: format!("{file}:{at} {name}"),
            settings: settings.clone(),
            sent: sent.clone(),
            row: row.map(|(_, text)| text.to_owned()),
            expected: expectation(side, &expected, row.map(|(_, text)| text))?,
        })
    };
    if rows.is_empty() {
        return Ok(vec![case(None)?]);
    }
    if !sent.iter().any(|text| text.contains("{}")) {
        return Err("rows but no {}".into());
    }
    rows.into_iter().map(|row| case(Some(row))).collect()
}

/// A section of an RFC that the data may name; 1, to be counted.
fn section(text: &str) -> Result<usize, String> {
    let known = text.split_once(' ').is_some_and(|(rfc, section)| {
        ["6454", "6455", "6585", "9110", "9112"].contains(&rfc)
            && section.split('.').all(|number| number.parse::<u8>().is_ok_and(|number| number > 0))
    });
    if known { Ok(1) } else { Err(format!("no section: {text}")) }
}

fn expectation(side: Side, lines: &[&str], row: Option<&str>) -> Result<Expected, String> {
    let text = |text: &str| -> Result<String, String> {
        let row = row.map(|row| bytes(row, None)).transpose()?;
        String::from_utf8(bytes(text, row.as_deref())?).map_err(|_| "not text".into())
    };
    let status =
        |code: &str| -> Result<u16, String> { text(code)?.parse().map_err(|_| format!("no status: {code}")) };
    let (what, rest) = lines[0].split_once(' ').unwrap_or((lines[0], ""));
    let what = match (side, what) {
        (_, "open") => What::Open,
        (Side::Server, "incomplete") => What::Incomplete,
        (Side::Server, "reject") => What::Reject(status(rest)?),
        (Side::Client, "refused") => What::Refused(status(rest)?),
        (Side::Client, "error") => What::Error,
        _ => return Err(format!("no verdict: {what}")),
    };
    let mut expected = Expected { what, ..Expected::default() };
    for line in &lines[1..] {
        let (kind, rest) = line.split_once(' ').ok_or_else(|| format!("no detail: {line}"))?;
        match kind {
            "field" => {
                let (name, value) = rest.split_once(": ").ok_or_else(|| format!("no field: {line}"))?;
                expected.fields.push((name.to_owned(), text(value)?));
            }
            "no" => expected.absent.push(rest.trim_start_matches("field ").to_owned()),
            "protocol" => expected.protocol = Some(text(rest)?),
            "body" => expected.body = text(rest)?,
            _ => return Err(format!("no detail: {line}")),
        }
    }
    Ok(expected)
}

impl Case {
    /// The bytes, for the answer to a key.
    fn bytes(&self, accept: &str) -> Result<Vec<u8>, String> {
        let known = |text: &str| text.replace("{accept}", accept);
        let row = self.row.as_deref().map(|row| bytes(&known(row), None)).transpose()?;
        self.sent.iter().try_fold(Vec::new(), |mut all, text| {
            all.extend(bytes(&known(text), row.as_deref())?);
            Ok(all)
        })
    }
}

/// Runs a case in one piece, cut at every byte, and byte by byte.
///
/// # Errors
/// What is wrong.
pub fn run(side: Side, case: &Case) -> Result<(), String> {
    let length = case.bytes("").map_err(|what| format!("{}: {what}", case.place))?.len();
    let short = if length < 600 { length } else { 0 };
    let mut cuts: Vec<Vec<usize>> = (1..short.max(1)).map(|cut| vec![cut]).collect();
    cuts.push(Vec::new());
    cuts.push((1..length).collect());
    for cut in cuts {
        let result = match side {
            Side::Server => server(case, &cut),
            Side::Client => client(case, &cut),
        };
        result.map_err(|what| {
            let bytes = case.bytes("{accept}").unwrap_or_default();
            let cut = if cut.len() > 1 { &[0][..] } else { &cut };
            format!("{}: {what} (cut at {cut:?}) for {}", case.place, show(&bytes))
        })?;
    }
    Ok(())
}

/// Lets the pieces arrive.
fn feed<P: Protocol>(harness: &mut Harness<P>, bytes: &[u8], cuts: &[usize]) {
    let mut from = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        let cut = cut.min(bytes.len());
        harness.feed(&bytes[from..cut]);
        from = cut;
    }
}

/// The sub-protocol of the connection, if it is open.
fn opened<P: Protocol<Event = Event>>(harness: &mut Harness<P>) -> Option<Option<String>> {
    harness.seen().into_iter().find_map(|seen| match seen {
        Seen::Event(Event::Open(open)) => Some(open.protocol().map(str::to_owned)),
        _ => None,
    })
}

fn server(case: &Case, cuts: &[usize]) -> Result<(), String> {
    let mut websocket = Websocket::new();
    for (name, values) in &case.settings {
        websocket = match name.as_str() {
            "protocols" => websocket.protocols(values),
            _ => websocket.origins(values),
        };
    }
    let mut harness = Harness::new(websocket, Instant::now());
    feed(&mut harness, &case.bytes("")?, cuts);
    let output = String::from_utf8_lossy(&harness.output()).into_owned();
    let protocol = opened(&mut harness);
    let expected = &case.expected;
    let status = output.get(9..12).and_then(|status| status.parse().ok());
    match (expected.what, &protocol, status) {
        (What::Incomplete, None, None) => {
            return if harness.is_open() { Ok(()) } else { Err("it has ended".into()) };
        }
        (What::Open, Some(_), Some(101)) if harness.is_open() => {}
        (What::Reject(wanted), None, Some(status)) if wanted == status && !harness.is_open() => {}
        _ => return Err(format!("it answered {}", show(output.as_bytes()))),
    }
    if protocol.flatten() != expected.protocol {
        return Err("another sub-protocol".into());
    }
    let (head, body) = output.split_once("\r\n\r\n").ok_or("the answer is incomplete")?;
    let field = |name: &str| {
        head.split("\r\n").skip(1).find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    };
    if field("sec-websocket-protocol") != expected.protocol.as_deref() {
        return Err(format!("another sub-protocol in {}", show(head.as_bytes())));
    }
    for (name, value) in &expected.fields {
        if field(name) != Some(value) {
            return Err(format!("not {name}: {value} in {}", show(head.as_bytes())));
        }
    }
    if let Some(name) = expected.absent.iter().find(|name| field(name).is_some()) {
        return Err(format!("there is a field {name}"));
    }
    if let What::Reject(_) = expected.what {
        // It says where it ends, and that the connection does. (To HEAD the body is only told.)
        let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
        let fits = length == Some(body.len()) || body.is_empty();
        if !fits || field("connection") != Some("close") {
            return Err(format!("no proper end of {}", show(output.as_bytes())));
        }
    }
    Ok(())
}

fn client(case: &Case, cuts: &[usize]) -> Result<(), String> {
    let hello = Hello::new("ws://a/").map_err(|error| error.to_string())?.protocols(["chat", "superchat"]);
    let mut harness = Harness::new(WebsocketClient::new(hello), Instant::now()).role(Role::Client);
    harness.open();
    let request = String::from_utf8_lossy(&harness.output()).into_owned();
    let key = request.split("\r\n").find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let key = key.and_then(|key| Key::parse(key.as_bytes())).ok_or("no key")?;
    feed(&mut harness, &case.bytes(key.answer().as_str())?, cuts);
    let protocol = opened(&mut harness);
    harness.eof();
    let expected = &case.expected;
    match (expected.what, harness.error()) {
        (What::Open, _) => match protocol {
            Some(protocol) if protocol == expected.protocol => Ok(()),
            Some(other) => Err(format!("another sub-protocol: {other:?}")),
            None => Err(format!("not open: {:?}", harness.error())),
        },
        _ if protocol.is_some() => Err("it is open".into()),
        (What::Refused(status), Some(Error::Handshake(HandshakeError::Refused(refused)))) => {
            if refused.status() == status && refused.body() == expected.body.as_bytes() {
                Ok(())
            } else {
                Err(format!("{refused} with {}", show(refused.body())))
            }
        }
        (What::Error, Some(Error::Handshake(HandshakeError::Answer(_) | HandshakeError::Ended))) => Ok(()),
        (_, other) => Err(format!("{other:?}")),
    }
}
