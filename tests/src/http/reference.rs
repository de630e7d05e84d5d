//! A second reader of HTTP/1.1, to compare with: slow, on whole inputs, one line after the other as RFC 9112 tells it.
//!
//! It shares no code with the codec and depends on the standard library alone, so that fuzz targets can include it by
//! its path. What an RFC leaves open it decides as the codec promises, the strict way; section numbers are of RFC 9112
//! unless another is named.

/// Limits of a message.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of a request line or status line, without its end.
    pub first_line: usize,
    /// The empty line of a head, or of a trailer section, begins before so many bytes.
    pub head: usize,
    /// Most fields of a head, or of a trailer section.
    pub fields: usize,
    /// Most bytes of a body.
    pub body: usize,
    /// Most bytes of the chunk extensions of one message.
    pub chunk_extension: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_line: 8 * 1024,
            head: 16 * 1024,
            fields: 100,
            body: 10 * 1024 * 1024,
            chunk_extension: 16 * 1024,
        }
    }
}

/// A field: its name as sent, its value without the white space around it.
pub type Field = (Vec<u8>, Vec<u8>);

/// What both kinds of messages have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The minor version; the major one is 1.
    pub minor: u8,
    /// The fields of the head, in order.
    pub fields: Vec<Field>,
    /// The whole body.
    pub body: Vec<u8>,
    /// The fields of the trailer section, forbidden ones included.
    pub trailers: Vec<Field>,
    /// Whether the connection ends after this message (and its answer).
    pub close: bool,
    /// Where the message ends in the input.
    pub end: usize,
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The method.
    pub method: Vec<u8>,
    /// The target, as sent.
    pub target: Vec<u8>,
    /// Whether the client waits for 100 (Continue).
    pub continues: bool,
    /// The rest.
    pub message: Message,
}

/// A response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The codes of the interim responses before it.
    pub interim: Vec<u16>,
    /// The rest.
    pub message: Message,
}

/// What comes of the bytes of a client, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A request.
    Request(Request),
    /// A refusal with this status; the last.
    Refused(u16),
    /// The rest, if any, is the beginning of a request; the last.
    Incomplete,
}

/// What comes of the bytes of a server, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answered {
    /// A final response.
    Response(Response),
    /// The response cannot be read; the last.
    Failed,
    /// More must come; the last.
    Incomplete,
}

/// Why reading stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    /// These bytes are not acceptable: the status that says it best.
    Refuse(u16),
    /// The input ends here.
    More,
}

const BAD: Stop = Stop::Refuse(400);

/// All that the bytes of a client say.
pub fn requests(input: &[u8], limits: &Limits) -> Vec<Asked> {
    let mut outcomes = Vec::new();
    let mut reader = Reader { input, at: 0 };
    loop {
        match reader.request(limits) {
            Ok(request) => {
                let close = request.message.close;
                outcomes.push(Asked::Request(request));
                if close {
                    return outcomes;
                }
            }
            Err(Stop::Refuse(status)) => {
                outcomes.push(Asked::Refused(status));
                return outcomes;
            }
            Err(Stop::More) => {
                outcomes.push(Asked::Incomplete);
                return outcomes;
            }
        }
    }
}

/// All that the bytes of a server say to a client that has asked with these methods; `ended` tells that no more will come.
///
/// Bytes that follow the last response end the connection behind it (section 9.2).
pub fn responses(input: &[u8], asked: &[&str], ended: bool, limits: &Limits) -> Vec<Answered> {
    let mut outcomes = Vec::new();
    let mut reader = Reader { input, at: 0 };
    for method in asked {
        let mut interim = Vec::new();
        let response = loop {
            match reader.response(method.as_bytes(), ended, limits) {
                // RFC 9110 15.2: any number of interim responses may come before the final one.
                Ok(response) if (100..200).contains(&response.status) => interim.push(response.status),
                other => break other,
            }
        };
        match response {
            Ok(response) => {
                let close = response.message.close;
                outcomes.push(Answered::Response(Response { interim, ..response }));
                if close {
                    return outcomes;
                }
            }
            Err(Stop::More) if !ended => {
                outcomes.push(Answered::Incomplete);
                return outcomes;
            }
            Err(_) => {
                outcomes.push(Answered::Failed);
                return outcomes;
            }
        }
    }
    if let (true, Some(Answered::Response(last))) = (reader.at < input.len(), outcomes.last_mut()) {
        last.message.close = true;
    }
    outcomes
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.input[self.at..]
    }

    /// The next line without its end (section 2.2): CR LF ends it, and neither CR nor LF nor NUL can be in it.
    fn line(&mut self, limit: usize, too_long: u16) -> Result<&'a [u8], Stop> {
        let rest = self.rest();
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                b'\r' => match rest.get(at + 1) {
                    Some(b'\n') => {
                        self.at += at + 2;
                        return Ok(&rest[..at]);
                    }
                    Some(_) => return Err(BAD),
                    None => return Err(Stop::More),
                },
                b'\n' | 0 => return Err(BAD),
                _ if at == limit => return Err(Stop::Refuse(too_long)),
                _ => {}
            }
        }
        Err(Stop::More)
    }

    /// Exactly so many bytes.
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let bytes = self.rest().get(..count).ok_or(Stop::More)?;
        self.at += count;
        Ok(bytes)
    }

    /// Field lines up to the empty line (section 5), of a section that begins at `start`.
    fn fields(&mut self, start: usize, limits: &Limits, folds: bool) -> Result<Vec<Field>, Stop> {
        let mut fields: Vec<Field> = Vec::new();
        // What is measured ends where the line break in front of the empty line begins.
        if (self.at - start).saturating_sub(2) >= limits.head {
            return Err(Stop::Refuse(431));
        }
        for lines in 0.. {
            let line = self.line(limits.head.saturating_sub(self.at - start + 1), 431)?;
            if line.is_empty() {
                break;
            }
            if lines == limits.fields {
                return Err(Stop::Refuse(431));
            }
            if folds && (line.starts_with(b" ") || line.starts_with(b"\t")) {
                // Section 5.2: a user agent replaces the fold by a space.
                let (_, value) = fields.last_mut().ok_or(BAD)?;
                let more = trim(line);
                check_value(more)?;
                value.push(b' ');
                value.extend_from_slice(more);
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':').ok_or(BAD)?;
            let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
            if !is_token(name) {
                return Err(BAD);
            }
            check_value(value)?;
            fields.push((name.to_vec(), value.to_vec()));
        }
        for (_, value) in &mut fields {
            *value = trim(value).to_vec();
        }
        Ok(fields)
    }

    fn request(&mut self, limits: &Limits) -> Result<Request, Stop> {
        // Section 2.2: one empty line in front is ignored.
        if self.rest().starts_with(b"\r\n") {
            self.at += 2;
        }
        let start = self.at;
        let line = self.line(limits.first_line, 414)?;
        let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let [method, target, version] = parts[..] else { return Err(BAD) };
        if !is_token(method) || target.is_empty() {
            return Err(BAD);
        }
        let minor = match minor_version(version)? {
            Some(minor) if minor < 2 => minor,
            _ => return Err(Stop::Refuse(505)),
        };
        let form = check_target(method, target)?;
        let fields = self.fields(start, limits, false)?;
        check_host(&fields, minor)?;
        if form == Form::Authority {
            // RFC 9110 9.3.6: a tunnel is for the application to take.
            return Err(Stop::Refuse(405));
        }
        let framing = framing(&fields, minor, true)?;
        let continues = expectation(&fields)? && minor == 1;
        let mut message = Message {
            minor,
            close: closes(&fields, minor),
            fields,
            body: Vec::new(),
            trailers: Vec::new(),
            end: 0,
        };
        match framing {
            Framing::None => {}
            Framing::Length(length) => message.body = self.sized(length, limits)?,
            Framing::Chunked => (message.body, message.trailers) = self.chunked(limits, false)?,
        }
        message.end = self.at;
        Ok(Request { method: method.to_vec(), target: target.to_vec(), continues, message })
    }

    fn response(&mut self, method: &[u8], ended: bool, limits: &Limits) -> Result<Response, Stop> {
        let start = self.at;
        let line = self.line(limits.first_line, 400)?;
        // Section 4; the space in front of an empty reason is often missing.
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let Some(minor) = minor_version(parts.next().unwrap_or_default())? else { return Err(BAD) };
        let code = parts.next().unwrap_or_default();
        if code.len() != 3 || !code.iter().all(u8::is_ascii_digit) || code[0] == b'0' {
            return Err(BAD);
        }
        if code == b"101" {
            // RFC 9110 7.8: to what was not asked for. (No caller of this reader asks.)
            return Err(BAD);
        }
        let status = code.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        check_value(parts.next().unwrap_or_default())?;
        let fields = self.fields(start, limits, true)?;
        let framing = framing(&fields, minor, false)?;
        let close = closes(&fields, minor);
        let mut message = Message { minor, close, fields, body: Vec::new(), trailers: Vec::new(), end: 0 };
        // Section 6.3, 1 and 2: no content, whatever the fields say.
        let none = method == b"HEAD"
            || (100..200).contains(&status)
            || [204, 304].contains(&status)
            || (method == b"CONNECT" && (200..300).contains(&status));
        match framing {
            _ if none => {}
            Framing::Length(length) => message.body = self.sized(length, limits)?,
            Framing::Chunked => (message.body, message.trailers) = self.chunked(limits, true)?,
            // Section 6.3, 8: up to the end of the connection.
            Framing::None if self.rest().len() > limits.body => return Err(BAD),
            Framing::None if !ended => return Err(Stop::More),
            Framing::None => {
                message.body = self.rest().to_vec();
                self.at = self.input.len();
                message.close = true;
            }
        }
        message.end = self.at;
        Ok(Response { status, interim: Vec::new(), message })
    }

    fn sized(&mut self, length: u64, limits: &Limits) -> Result<Vec<u8>, Stop> {
        let length = usize::try_from(length).ok().filter(|length| *length <= limits.body);
        Ok(self.bytes(length.ok_or(Stop::Refuse(413))?)?.to_vec())
    }

    /// Section 7.1.
    fn chunked(&mut self, limits: &Limits, folds: bool) -> Result<(Vec<u8>, Vec<Field>), Stop> {
        let (mut body, mut extensions) = (Vec::new(), 0);
        loop {
            let rest = self.rest();
            let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            if digits > 16 || (digits == 0 && !rest.is_empty()) {
                return Err(BAD);
            }
            self.at += digits;
            let size = rest[..digits].iter().try_fold(0_u64, |size, digit| {
                size.checked_mul(16)?.checked_add(u64::from(value_of(*digit)))
            });
            let size = size.ok_or(BAD)?;
            let extension = self.line(limits.chunk_extension - extensions, 413)?;
            check_extension(extension)?;
            extensions += extension.len();
            if size == 0 {
                break;
            }
            let room = (limits.body - body.len()) as u64;
            if size > room {
                return Err(Stop::Refuse(413));
            }
            body.extend_from_slice(self.bytes(size as usize)?);
            match self.rest() {
                [b'\r', b'\n', ..] => self.at += 2,
                [] | [b'\r'] => return Err(Stop::More),
                _ => return Err(BAD),
            }
        }
        let trailers = self.fields(self.at, limits, folds)?;
        Ok((body, trailers))
    }
}

/// Where a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Section 6.3.
fn framing(fields: &[Field], minor: u8, request: bool) -> Result<Framing, Stop> {
    let lengths: Vec<&[u8]> = values(fields, "content-length").collect();
    let codings: Vec<&[u8]> = values(fields, "transfer-encoding").collect();
    if !codings.is_empty() {
        // Section 6.1: with a length it is an attempt to deceive, in 1.0 the framing is faulty.
        if !lengths.is_empty() || minor == 0 {
            return Err(BAD);
        }
        let codings = codings.join(&b","[..]).to_ascii_lowercase();
        let codings: Vec<&[u8]> = codings.split(|byte| *byte == b',').map(trim).collect();
        if !codings.iter().all(|coding| is_token(coding)) {
            return Err(BAD);
        }
        let chunked = |coding: &&[u8]| **coding == *b"chunked";
        return match codings.iter().position(chunked) {
            Some(0) if codings.len() == 1 => Ok(Framing::Chunked),
            // Chunked is the last, and applied once.
            Some(at) if at + 1 < codings.len() => Err(BAD),
            // Section 6.1: a coding that is not understood.
            _ if request => Err(Stop::Refuse(501)),
            _ => Err(BAD),
        };
    }
    match lengths[..] {
        [] => Ok(Framing::None),
        [length] if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            let parsed = std::str::from_utf8(length).ok().and_then(|length| length.parse().ok());
            parsed.map(Framing::Length).ok_or(BAD)
        }
        _ => Err(BAD),
    }
}

/// Whether 100 (Continue) is expected (RFC 9110 10.1.1); nothing else can be.
fn expectation(fields: &[Field]) -> Result<bool, Stop> {
    let mut expected = false;
    for value in values(fields, "expect") {
        for member in value.split(|byte| *byte == b',') {
            if !trim(member).eq_ignore_ascii_case(b"100-continue") {
                return Err(Stop::Refuse(417));
            }
            expected = true;
        }
    }
    Ok(expected)
}

/// Section 9.3.
fn closes(fields: &[Field], minor: u8) -> bool {
    let option = |wanted: &str| {
        values(fields, "connection")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|option| trim(option).eq_ignore_ascii_case(wanted.as_bytes()))
    };
    option("close") || (minor == 0 && !option("keep-alive"))
}

/// Section 3.2: one valid host, in 1.0 one at most.
fn check_host(fields: &[Field], minor: u8) -> Result<(), Stop> {
    let hosts: Vec<&[u8]> = values(fields, "host").collect();
    match hosts[..] {
        [] if minor == 0 => Ok(()),
        [host] if is_authority(host) => Ok(()),
        _ => Err(BAD),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Origin,
    Absolute,
    Authority,
    Asterisk,
}

/// Section 3.2.
fn check_target(method: &[u8], target: &[u8]) -> Result<Form, Stop> {
    if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(BAD);
    }
    if method == b"CONNECT" {
        let colon = target.iter().rposition(|byte| *byte == b':').ok_or(BAD)?;
        let port = target[colon + 1..].iter().any(|digit| *digit != b'0');
        return if port && is_authority(target) { Ok(Form::Authority) } else { Err(BAD) };
    }
    if target[0] == b'/' {
        return Ok(Form::Origin);
    }
    if target == b"*" {
        return if method == b"OPTIONS" { Ok(Form::Asterisk) } else { Err(BAD) };
    }
    let colon = target.iter().position(|byte| *byte == b':').ok_or(BAD)?;
    let (scheme, rest) = (&target[..colon], &target[colon + 1..]);
    let rest = rest.strip_prefix(b"//").ok_or(BAD)?;
    // RFC 3986 3.1.
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    if !scheme.first().is_some_and(u8::is_ascii_alphabetic) || !scheme.iter().all(fits) {
        return Err(BAD);
    }
    let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
    if is_authority(&rest[..end]) { Ok(Form::Absolute) } else { Err(BAD) }
}

/// `uri-host [ ":" port ]` with a host that is not empty (RFC 9110 4.2.1, 7.2; RFC 3986 3.2.2, 3.2.3).
fn is_authority(text: &[u8]) -> bool {
    let end = if text.starts_with(b"[") {
        match text.iter().position(|byte| *byte == b']') {
            Some(end) if is_address(&text[1..end]) => end + 1,
            _ => return false,
        }
    } else {
        let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        if end == 0 || !is_name(&text[..end]) {
            return false;
        }
        end
    };
    match &text[end..] {
        [] => true,
        [b':', port @ ..] => {
            let significant = port.iter().skip_while(|digit| **digit == b'0').count();
            // No port of TCP is above 65535: the order of numbers of five digits is that of their texts.
            port.iter().all(u8::is_ascii_digit)
                && (significant < 5 || (significant == 5 && &port[port.len() - 5..] <= b"65535".as_slice()))
        }
        _ => false,
    }
}

/// `reg-name`, but without commas: they come from joined fields.
fn is_name(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte) => rest,
            _ => return false,
        };
    }
}

/// `IPv6address` or `IPvFuture`.
fn is_address(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    if let Some(future) = text.strip_prefix(['v', 'V']) {
        let Some((version, address)) = future.split_once('.') else { return false };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&byte);
        return !version.is_empty()
            && version.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !address.is_empty()
            && address.bytes().all(fits);
    }
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Section 2.3: the minor version of 1, or none for another major one.
fn minor_version(text: &[u8]) -> Result<Option<u8>, Stop> {
    match text {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Ok((*major == b'1').then(|| minor - b'0'))
        }
        _ => Err(BAD),
    }
}

/// Section 7.1.1: `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`.
fn check_extension(text: &[u8]) -> Result<(), Stop> {
    let mut rest = text;
    while !rest.is_empty() {
        rest = trim_start(trim_start(rest).strip_prefix(b";").ok_or(BAD)?);
        rest = token(rest)?;
        let Some(value) = trim_start(rest).strip_prefix(b"=") else { continue };
        let value = trim_start(value);
        rest = if value.starts_with(b"\"") { quoted(&value[1..])? } else { token(value)? };
    }
    Ok(())
}

/// What is behind a token.
fn token(text: &[u8]) -> Result<&[u8], Stop> {
    let end = text.iter().position(|byte| !is_tchar(*byte)).unwrap_or(text.len());
    if end == 0 { Err(BAD) } else { Ok(&text[end..]) }
}

/// What is behind a quoted string that has begun (RFC 9110 5.6.4).
fn quoted(mut text: &[u8]) -> Result<&[u8], Stop> {
    loop {
        text = match text {
            [b'"', rest @ ..] => return Ok(rest),
            [b'\\', byte, rest @ ..] if is_text(*byte) => rest,
            [byte, rest @ ..] if is_text(*byte) && *byte != b'\\' => rest,
            _ => return Err(BAD),
        };
    }
}

/// Whether a field may be in a trailer section (RFC 9110 6.5.1): it frames, routes, modifies, authenticates or describes
/// nothing.
pub fn may_trail(name: &[u8]) -> bool {
    const NOT: &str = "authorization cache-control connection content-encoding content-length content-range content-type \
                       cookie expect host if-match if-modified-since if-none-match if-range if-unmodified-since keep-alive \
                       max-forwards pragma proxy-authorization range set-cookie te trailer transfer-encoding upgrade \
                       www-authenticate";
    !NOT.split(' ').any(|not| name.eq_ignore_ascii_case(not.as_bytes()))
}

fn values<'a>(fields: &'a [Field], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value.as_slice())
}

/// RFC 9110 5.5: visible characters, spaces, tabs and bytes above ASCII.
fn check_value(value: &[u8]) -> Result<(), Stop> {
    if value.iter().all(|byte| is_text(*byte)) { Ok(()) } else { Err(BAD) }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// RFC 9110 5.6.2.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_tchar(*byte))
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn value_of(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

fn trim_start(text: &[u8]) -> &[u8] {
    &text[text.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(text.len())..]
}

/// Without the white space (SP and HTAB, RFC 9110 5.6.3) at both ends.
fn trim(text: &[u8]) -> &[u8] {
    let text = trim_start(text);
    &text[..text.iter().rposition(|byte| !b" \t".contains(byte)).map_or(0, |last| last + 1)]
}
