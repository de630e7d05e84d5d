//! The conformance data of open connections; `tests/data/websocket/frames/README.md` describes the format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::codec::{Deflater, Frame, Length, op};
use crate::http::text::bytes;

/// Which side is ours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Our server, and a client as the peer.
    Server,
    /// Our client, and a server as the peer.
    Client,
}

/// A setting that differs from the default.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Setting {
    /// Most bytes of a message.
    MaxMessage,
    /// Most bytes of a frame.
    MaxFrame,
    /// Most fragments of a message.
    MaxFragments,
    /// Fragments are delivered.
    Fragments,
    /// Only text (1) or only bytes (2) is taken.
    Only,
    /// Compression: 1 without takeover, 2 with it in both directions.
    Deflate,
}

/// What happens, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The peer's bytes.
    Bytes(Vec<u8>),
    /// The peer ends its stream.
    End,
    /// Our application closes.
    Close(u16, String),
    /// Our application sends.
    Send(Frame),
    /// Our side drains.
    Goodbye,
}

/// What the application is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// A message.
    Message(u8, Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// What came of a message in fragments, and whether that was all of it.
    Fragments(u8, Vec<u8>, bool),
}

/// How it is at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// Open.
    Open,
    /// The connection fails with this code, sent in a close frame; `true`: with the last byte, and not before.
    Fails(u16, bool),
    /// The peer has closed, and was answered.
    ClosedByPeer(u16, String),
    /// We have closed, and were answered.
    ClosedByUs(u16),
    /// We have closed, and were not answered yet.
    Closing(u16),
    /// We have closed with this code, and the peer has answered with what breaks the protocol.
    Broken(u16),
    /// The stream has ended without a closing handshake.
    Lost,
}

/// A test.
#[derive(Clone, Debug)]
pub struct Case {
    /// File, line and name.
    pub place: String,
    /// Its name; unique.
    pub name: String,
    /// Who is ours.
    pub role: Role,
    /// Sections of RFCs: "6455 5.2".
    pub sections: Vec<String>,
    /// What differs from the defaults.
    pub settings: BTreeMap<Setting, usize>,
    /// What happens.
    pub steps: Vec<Step>,
    /// What the application is told, in order.
    pub told: Vec<Told>,
    /// What the peer gets, in order, without the close frame that `end` speaks of.
    pub answers: Vec<Frame>,
    /// How it ends.
    pub end: End,
    /// The peer's bytes end between two frames.
    pub whole: bool,
}

/// All cases.
///
/// # Panics
/// If the data is not right; the message names the file and the line.
pub fn load() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/websocket/frames");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let (mut cases, mut names) = (Vec::new(), BTreeSet::new());
    for path in files {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let content = std::fs::read_to_string(&path).unwrap();
        let read = parse(&file, &content).unwrap_or_else(|slip| panic!("{file}, {slip}"));
        assert!(!read.is_empty(), "{file} has no case");
        for case in &read {
            assert!(names.insert((case.name.clone(), case.role)), "{}: the name is taken", case.place);
        }
        cases.extend(read);
    }
    cases
}

/// The cases of one file; one for each row and each side.
///
/// # Errors
/// The line, and what is wrong with it.
pub fn parse(file: &str, content: &str) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    let mut draft: Option<Draft<'_>> = None;
    let mut at = 0;
    for line in content.lines() {
        at += 1;
        if line.ends_with([' ', '\t']) {
            return Err(format!("line {at}: white space at the end; write \\s"));
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("--- ") {
            if let Some(draft) = draft.replace(Draft { line: at, name, ..Draft::default() }) {
                draft.finish(file, &mut cases)?;
            }
            continue;
        }
        let Some(draft) = &mut draft else { return Err(format!("line {at}: no case has begun")) };
        match line.strip_prefix("with ") {
            Some(row) => {
                let (name, text) = row
                    .split_once(": ")
                    .or_else(|| row.strip_suffix(':').map(|name| (name, "")))
                    .ok_or_else(|| format!("line {at}: no row: {row:?}"))?;
                draft.rows.push((at, name, text));
            }
            None if draft.rows.is_empty() => draft.lines.push((at, line)),
            None => return Err(format!("line {at}: behind the rows")),
        }
    }
    if let Some(draft) = draft {
        draft.finish(file, &mut cases)?;
    }
    Ok(cases)
}

#[derive(Default)]
struct Draft<'a> {
    line: usize,
    name: &'a str,
    lines: Vec<(usize, &'a str)>,
    rows: Vec<(usize, &'a str, &'a str)>,
}

impl Draft<'_> {
    fn finish(self, file: &str, cases: &mut Vec<Case>) -> Result<(), String> {
        let fits = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
        };
        if !fits(self.name) {
            return Err(format!("line {}: no name of a case: {:?}", self.line, self.name));
        }
        let has = |what| self.lines.iter().any(|(_, line)| line.contains(what));
        let uses = has("{}") || has("{1}") || has("{2}") || has("{3}");
        if uses == self.rows.is_empty() {
            return Err(format!("line {}: rows without a place, or places without rows", self.line));
        }
        if self.rows.is_empty() {
            return self.sides(file, self.line, self.name, None, cases);
        }
        for (line, name, text) in &self.rows {
            if !fits(name) {
                return Err(format!("line {line}: no name of a row: {name:?}"));
            }
            self.sides(file, *line, &format!("{}/{name}", self.name), Some(text), cases)?;
        }
        Ok(())
    }

    fn sides(
        &self,
        file: &str,
        at: usize,
        name: &str,
        row: Option<&str>,
        cases: &mut Vec<Case>,
    ) -> Result<(), String> {
        let side = self.lines.iter().find_map(|(_, line)| line.strip_prefix("side: "));
        let roles: &[Role] = match side {
            None => &[Role::Server, Role::Client],
            Some("server") => &[Role::Server],
            Some("client") => &[Role::Client],
            Some(other) => return Err(format!("line {}: no side: {other:?}", self.line)),
        };
        for role in roles {
            let mut case = Case {
                place: format!("{file}:{at} {name} ({role:?})"),
                name: name.to_owned(),
                role: *role,
                sections: Vec::new(),
                settings: BTreeMap::new(),
                steps: Vec::new(),
                told: Vec::new(),
                answers: Vec::new(),
                end: End::Open,
                whole: true,
            };
            let mut deflater = None;
            for (line, text) in &self.lines {
                let text = filled(text, row);
                case.line(&text, &mut deflater).map_err(|what| format!("line {line}: {what} ({name})"))?;
            }
            if case.sections.is_empty() || case.steps.is_empty() {
                return Err(format!("line {}: no section, or nothing happens", self.line));
            }
            cases.push(case);
        }
        Ok(())
    }
}

/// The line with what the row says.
fn filled(line: &str, row: Option<&str>) -> String {
    let Some(row) = row else { return line.to_owned() };
    let mut text = line.replace("{}", row);
    for (number, column) in row.split(" | ").enumerate() {
        text = text.replace(&format!("{{{}}}", number + 1), column);
    }
    text
}

impl Case {
    fn line(&mut self, line: &str, deflater: &mut Option<Deflater>) -> Result<(), String> {
        if let Some(list) = line.strip_prefix("rfc: ") {
            for item in list.split(", ") {
                let (rfc, section) = item.split_once(' ').ok_or("no section")?;
                let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                if !["6455", "7692", "3629"].contains(&rfc) || section.is_empty() || !digits(section) {
                    return Err(format!("no section of an RFC: {item:?}"));
                }
                self.sections.push(item.to_owned());
            }
        } else if line.starts_with("side: ") {
        } else if let Some(list) = line.strip_prefix("set: ") {
            for item in list.split(", ") {
                let (setting, value) = setting(item).ok_or_else(|| format!("no setting: {item:?}"))?;
                self.settings.insert(setting, value);
            }
            *deflater = self.settings.get(&Setting::Deflate).map(|kind| Deflater::new(*kind == 2));
        } else if let Some(frame) = line.strip_prefix("> ") {
            let sent = self.sent(frame, deflater)?;
            match self.steps.last_mut() {
                Some(Step::Bytes(bytes)) => bytes.extend(sent),
                _ => self.steps.push(Step::Bytes(sent)),
            }
        } else if let Some(act) = line.strip_prefix("+ ") {
            self.steps.push(step(act)?);
        } else if let Some(told) = line.strip_prefix("= ") {
            self.told.push(told_of(told)?);
        } else if let Some(answer) = line.strip_prefix("< ") {
            self.answers.push(plain(answer)?);
        } else if let Some(end) = line.strip_prefix("end: ") {
            self.end = ended(end)?;
        } else {
            return Err(format!("no line of a case: {line:?}"));
        }
        Ok(())
    }

    /// The bytes of a line of the peer.
    fn sent(&mut self, line: &str, deflater: &mut Option<Deflater>) -> Result<Vec<u8>, String> {
        let (kind, options, text) = split(line)?;
        if kind == "raw" {
            self.whole = options.contains(&"whole");
            return bytes(text, None);
        }
        self.whole = true;
        let (kind, fin) = kind.strip_suffix('+').map_or((kind, true), |kind| (kind, false));
        let mut frame = Frame { fin, rsv: 0, opcode: opcode(kind)?, payload: Vec::new() };
        let mut raw = false;
        let (mut masked, mut key) = (self.role == Role::Server, [0x37, 0xfa, 0x21, 0x3d]);
        let (mut form, mut says, mut split_at, mut times, mut cut) =
            (Length::Shortest, None, None, 1_usize, usize::MAX);
        let mut compress = false;
        for option in options {
            let number = |text: &str| text.parse::<usize>().map_err(|_| format!("no number: {text:?}"));
            match option.split_once('=') {
                None => match option {
                    "rsv1" => frame.rsv |= 4,
                    "rsv2" => frame.rsv |= 2,
                    "rsv3" => frame.rsv |= 1,
                    "len16" => form = Length::Sixteen,
                    "len64" => form = Length::SixtyFour,
                    "wrong-mask" => masked = !masked,
                    "raw" => raw = true,
                    "z" => compress = true,
                    other => return Err(format!("no option: {other:?}")),
                },
                Some(("key", digits)) => {
                    key = u32::from_str_radix(digits, 16).map_err(|_| "no key")?.to_be_bytes();
                }
                Some(("says", n)) => says = Some(n.parse::<u64>().map_err(|_| "no number")?),
                Some(("split", n)) => split_at = Some(number(n)?.max(1)),
                Some(("times", n)) => times = number(n)?,
                Some(("cut", n)) => cut = number(n)?,
                Some(_) => return Err(format!("no option: {option:?}")),
            }
        }
        frame.payload = payload(frame.opcode, raw, text)?;
        if compress {
            let deflater = deflater.as_mut().ok_or("compressed without `set: deflate`")?;
            frame.payload = deflater.message(&frame.payload);
            frame.rsv |= 4;
        }
        let key = masked.then_some(key);
        let mut out = Vec::new();
        match split_at {
            Some(size) => {
                let pieces: Vec<&[u8]> = frame.payload.chunks(size).collect();
                let last = pieces.len().max(1) - 1;
                for (n, piece) in pieces.into_iter().enumerate() {
                    let piece = Frame {
                        fin: n == last && fin,
                        rsv: if n == 0 { frame.rsv } else { 0 },
                        opcode: if n == 0 { frame.opcode } else { op::MORE },
                        payload: piece.to_vec(),
                    };
                    out.extend(piece.bytes(key));
                }
            }
            None => {
                let length = says.unwrap_or(frame.payload.len() as u64);
                self.whole = length == frame.payload.len() as u64;
                out = frame.bytes_with(key, form, length);
            }
        }
        if cut < out.len() {
            out.truncate(cut);
            self.whole = false;
        }
        Ok(out.repeat(times))
    }
}

fn setting(item: &str) -> Option<(Setting, usize)> {
    Some(match item.split_once(' ').unwrap_or((item, "")) {
        ("max-message", n) => (Setting::MaxMessage, n.parse().ok()?),
        ("max-frame", n) => (Setting::MaxFrame, n.parse().ok()?),
        ("max-fragments", n) => (Setting::MaxFragments, n.parse().ok()?),
        ("fragments", "") => (Setting::Fragments, 1),
        ("only", "text") => (Setting::Only, 1),
        ("only", "binary") => (Setting::Only, 2),
        ("deflate", "") => (Setting::Deflate, 1),
        ("deflate", "takeover") => (Setting::Deflate, 2),
        _ => return None,
    })
}

fn opcode(kind: &str) -> Result<u8, String> {
    Ok(match kind {
        "more" => op::MORE,
        "text" => op::TEXT,
        "binary" => op::BINARY,
        "close" => op::CLOSE,
        "ping" => op::PING,
        "pong" => op::PONG,
        other => other
            .strip_prefix("op")
            .and_then(|digit| u8::from_str_radix(digit, 16).ok())
            .filter(|opcode| *opcode < 16)
            .ok_or_else(|| format!("no frame: {other:?}"))?,
    })
}

/// What a line names: a kind, options in brackets, a text.
fn split(line: &str) -> Result<(&str, Vec<&str>, &str), String> {
    let end = line.find([' ', '[']).unwrap_or(line.len());
    let (kind, rest) = line.split_at(end);
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("a bracket is not closed")?,
        None => ("", rest),
    };
    let text = rest.strip_prefix(' ').unwrap_or(rest);
    Ok((kind, options.split_whitespace().collect(), text))
}

/// A payload; that of a close frame is a code and a reason.
fn payload(opcode: u8, raw: bool, text: &str) -> Result<Vec<u8>, String> {
    if opcode != op::CLOSE || raw || text.is_empty() {
        return bytes(text, None);
    }
    let (code, reason) = text.split_once(' ').unwrap_or((text, ""));
    let code: u16 = code.parse().map_err(|_| format!("no code: {code:?}"))?;
    Ok([&code.to_be_bytes(), bytes(reason, None)?.as_slice()].concat())
}

fn plain(line: &str) -> Result<Frame, String> {
    let (kind, options, text) = split(line)?;
    let (kind, fin) = kind.strip_suffix('+').map_or((kind, true), |kind| (kind, false));
    let opcode = opcode(kind)?;
    let raw = options.contains(&"raw");
    Ok(Frame { fin, rsv: 0, opcode, payload: payload(opcode, raw, text)? })
}

fn step(line: &str) -> Result<Step, String> {
    if line == "end" {
        return Ok(Step::End);
    }
    if line == "goodbye" {
        return Ok(Step::Goodbye);
    }
    let frame = plain(line)?;
    if frame.opcode != op::CLOSE {
        return Ok(Step::Send(frame));
    }
    let code = frame.code().ok_or("a close without a code")?;
    Ok(Step::Close(code, String::from_utf8(frame.payload[2..].to_vec()).map_err(|_| "no text")?))
}

fn told_of(line: &str) -> Result<Told, String> {
    if let Some(rest) = line.strip_prefix("part ") {
        let frame = plain(rest)?;
        return Ok(Told::Fragments(frame.opcode, frame.payload, frame.fin));
    }
    let frame = plain(line)?;
    Ok(match frame.opcode {
        op::TEXT | op::BINARY => Told::Message(frame.opcode, frame.payload),
        op::PING => Told::Ping(frame.payload),
        op::PONG => Told::Pong(frame.payload),
        _ => return Err(format!("nothing that is told: {line:?}")),
    })
}

fn ended(line: &str) -> Result<End, String> {
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("no code: {text:?}"));
    let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
    Ok(match what {
        "open" => End::Open,
        "lost" => End::Lost,
        "fails" => match rest.strip_suffix(" at once") {
            Some(code) => End::Fails(number(code)?, true),
            None => End::Fails(number(rest)?, false),
        },
        "closed" => {
            let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            let reason = String::from_utf8(bytes(reason, None)?).map_err(|_| "no text")?;
            End::ClosedByPeer(number(code)?, reason)
        }
        "closed-by-us" => End::ClosedByUs(number(rest)?),
        "closing" => End::Closing(number(rest)?),
        "broken" => End::Broken(number(rest)?),
        _ => return Err(format!("no end: {line:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_of_everything() {
        let text = "--- a\nrfc: 6455 5.2\nset: max-message 5, fragments\nside: server\n> text+[key=01020304] {1}\n\
                    > raw \\x89\n+ close 1000 x\n+ end\n= part text {2}\n< pong y\nend: fails 1002 at once\n\
                    with one: a | b\nwith two: c | {3*d}\n";
        let cases = parse("f", text).unwrap();
        assert_eq!(cases.len(), 2);
        let case = &cases[1];
        assert_eq!(case.name, "a/two");
        assert_eq!(case.settings, BTreeMap::from([(Setting::MaxMessage, 5), (Setting::Fragments, 1)]));
        assert_eq!(
            case.steps,
            [
                Step::Bytes(vec![1, 0x81, 1, 2, 3, 4, b'c' ^ 1, 0x89]),
                Step::Close(1000, "x".into()),
                Step::End
            ]
        );
        assert_eq!(case.told, [Told::Fragments(1, b"ddd".to_vec(), true)]);
        assert_eq!(case.answers, [Frame::new(op::PONG, "y")]);
        assert_eq!(case.end, End::Fails(1002, true));
        assert!(!case.whole);
    }

    #[test]
    fn both_sides_where_none_is_named() {
        let cases = parse("f", "--- a\nrfc: 6455 5.2\n> text a\n= text a\n").unwrap();
        let steps: Vec<_> = cases.iter().map(|case| (case.role, case.steps.clone())).collect();
        assert_eq!(steps[1], (Role::Client, vec![Step::Bytes(b"\x81\x01a".to_vec())]));
        assert_eq!(steps.len(), 2);
    }

    #[test]
    fn slips_are_errors() {
        for (text, what) in [
            ("> text", "line 1: no case"),
            ("--- A\n> text", "no name of a case"),
            ("--- a\n> text \nx", "line 2: white space"),
            ("--- a\nrfc: 6455\n> text", "line 2: no section"),
            ("--- a\nrfc: 6455 5.2\n> txt", "line 3: no frame"),
            ("--- a\nrfc: 6455 5.2\n> text[rsv4] a", "line 3: no option"),
            ("--- a\nrfc: 6455 5.2\n> text[z] a", "line 3: compressed without"),
            ("--- a\nrfc: 6455 5.2\nset: limit 4\n> text a", "line 3: no setting"),
            ("--- a\nrfc: 6455 5.2\n> text {}", "line 1: rows"),
            ("--- a\nrfc: 6455 5.2\n> text a\nwith a: b", "line 1: rows"),
            ("--- a\nrfc: 6455 5.2\n> text a\nend: never", "line 4: no end"),
            ("--- a\nrfc: 6455 5.2\n> text a\n= close 1000", "line 4: nothing that is told"),
            ("--- a\nrfc: 6455 5.2\n= text a", "line 1: no section, or nothing"),
            ("--- a\n> text a", "line 1: no section, or nothing"),
        ] {
            let slip = parse("f", text).unwrap_err();
            assert!(slip.contains(what), "{text:?}: {slip}");
        }
    }
}
