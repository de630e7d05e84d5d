//! The server's side of the data: what a server must have said at the end of a case, and a handler that tells what it
//! was given.

use bytes::Bytes;
use workerman_protocol::http::{Headers, Http, Request, RequestHead, Response, Version};

use super::data::{Case, Expected, Message, Setting};
use super::reference::{self, Answered, Limits};

/// What a request of the tests asks for that must, or must not, be served behind a case.
pub const CANARY: &[u8] = b"GET /canary HTTP/1.1\r\nHost: canary\r\n\r\n";

/// The interim response that asks for content.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What came of the bytes of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// Everything that the server said.
    pub output: Vec<u8>,
    /// Whether it ended the connection of its own accord.
    pub ended: bool,
    /// Whether the client had ended its stream when the last answer was made, perhaps: that may say close then.
    pub half_closed: bool,
}

/// A server with the limits of a case.
pub fn protocol(case: &Case) -> Http {
    let mut http = Http::new();
    for (setting, value) in &case.settings {
        http = match setting {
            Setting::RequestLine => http.max_request_line(*value),
            Setting::Head => http.max_head(*value),
            Setting::Fields => http.max_fields(*value),
            Setting::Body => http.max_body(*value),
            Setting::ChunkExtension => http.max_chunk_extensions(*value),
        };
    }
    http
}

/// The same limits, for the reference.
pub fn limits(case: &Case) -> Limits {
    let mut limits = Limits::default();
    for (setting, value) in &case.settings {
        *match setting {
            Setting::RequestLine => &mut limits.first_line,
            Setting::Head => &mut limits.head,
            Setting::Fields => &mut limits.fields,
            Setting::Body => &mut limits.body,
            Setting::ChunkExtension => &mut limits.chunk_extension,
        } = *value;
    }
    limits
}

/// The answer of the tests: a response with a field for each part of the request, as it was handed to the application.
pub fn seen(request: &Request) -> Response {
    seen_with(request, request.bytes().map(Bytes::as_ref).unwrap_or_default(), request.trailers())
}

/// The same, for a request whose body was read apart from it.
pub fn seen_with(head: &RequestHead, body: &[u8], trailers: Option<&Headers>) -> Response {
    let mut response = Response::text("seen\n")
        .header("seen-method", hex(head.method().as_str().as_bytes()))
        .header("seen-target", hex(head.target().as_bytes()))
        .header("seen-version", if head.version() == Version::Http10 { "0" } else { "1" })
        .header("seen-body", body.len().to_string())
        .header("seen-sum", sum(body).to_string());
    for (name, value) in head.fields() {
        response = response.append("seen-field", pair(name.as_bytes(), value));
    }
    for (name, value) in trailers.into_iter().flat_map(Headers::iter) {
        response = response.append("seen-trailer", pair(name.as_str().as_bytes(), value.as_bytes()));
    }
    response
}

fn pair(name: &[u8], value: &[u8]) -> String {
    format!("{}={}", hex(&name.to_ascii_lowercase()), hex(value))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |digit: u8| char::from(b"0123456789abcdef"[usize::from(digit)]);
    // With a sign in front, so that nothing is still something.
    let mut text = String::with_capacity(1 + 2 * bytes.len());
    text.push('.');
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    text
}

/// Tells bodies apart (FNV-1a).
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether the request that is refused asks with HEAD, so that the refusal has no content (RFC 9110 9.3.2).
fn refused_head(case: &Case) -> bool {
    let last = reference::requests(&case.bytes, &limits(case));
    let begin = last.iter().rev().find_map(|asked| match asked {
        reference::Asked::Request(request) => Some(request.message.end),
        _ => None,
    });
    let refused = &case.bytes[begin.unwrap_or(0)..];
    refused.strip_prefix(b"\r\n").unwrap_or(refused).starts_with(b"HEAD ")
}

/// Checks what a server has said against what a case expects.
///
/// `canary` tells that [`CANARY`] was sent behind the bytes of the case: it must have been served if the connection
/// persists, and must not if it does not.
///
/// # Errors
/// What is wrong.
pub fn check(case: &Case, exchange: &Exchange, canary: bool) -> Result<(), String> {
    let mut expected = case.expected.clone();
    let complete = !matches!(expected.last(), Some(Expected::Incomplete));
    if !complete {
        expected.pop();
    }
    let persists = !matches!(
        expected.last(),
        Some(Expected::Reject(_) | Expected::Accept { message: Message { close: true, .. }, .. })
    );
    if canary && persists && complete {
        let message =
            Message { fields: [("host".to_owned(), vec![b"canary".to_vec()])].into(), ..Message::default() };
        expected.push(Expected::Accept { method: "GET".into(), target: b"/canary".to_vec(), message });
    }
    let asked: Vec<&str> = expected
        .iter()
        .map(|expected| match expected {
            Expected::Accept { method, .. } => method,
            _ if refused_head(case) => "HEAD",
            _ => "GET",
        })
        .collect();
    let limits = Limits { first_line: 1 << 20, head: 1 << 20, fields: 1 << 10, ..Limits::default() };
    let answers = reference::responses(&exchange.output, &asked, false, &limits);
    let mut end = 0;
    let count = expected.len();
    let mut answers = answers.iter();
    for (at, expected) in expected.iter().enumerate() {
        let Some(Answered::Response(answer)) = answers.next() else {
            return Err(format!("no (complete) response where it must be: {expected:?}"));
        };
        end = answer.message.end;
        common(answer)?;
        match expected {
            Expected::Accept { method, target, message } => {
                let may_close = exchange.half_closed && at + 1 == count;
                accepted(answer, method, target, message, may_close)?;
            }
            Expected::Reject(list) => refused(answer, list)?,
            other => return Err(format!("{other:?} is nothing for a server")),
        }
    }
    let mut behind = &exchange.output[end..];
    if !complete {
        behind = behind.strip_prefix(CONTINUE).unwrap_or(behind);
    }
    if !behind.is_empty() {
        return Err(format!("{} bytes too many were said", behind.len()));
    }
    if exchange.ended == persists {
        return Err(if persists { "the connection was ended" } else { "the connection was not ended" }.into());
    }
    Ok(())
}

fn values<'a>(answer: &'a reference::Response, name: &str) -> Vec<&'a [u8]> {
    let named = answer.message.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|(_, value)| value.as_slice()).collect()
}

/// What every response must have.
fn common(answer: &reference::Response) -> Result<(), String> {
    // RFC 9112 2.3: the version of the server.
    if answer.message.minor != 1 {
        return Err("the version of the response is not 1.1".into());
    }
    // RFC 9110 6.6.1: an origin server with a clock sends Date.
    let [date] = values(answer, "date")[..] else { return Err("no Date".into()) };
    let shape = |(byte, shape): (&u8, &u8)| match shape {
        b'a' => byte.is_ascii_alphabetic(),
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    };
    let like = b"aaa, 00 aaa 0000 00:00:00 GMT";
    if date.len() != like.len() || !date.iter().zip(like).all(shape) {
        return Err(format!("no IMF-fixdate (RFC 9110 5.6.7): {}", String::from_utf8_lossy(date)));
    }
    if values(answer, "content-length").len() != 1 {
        return Err("not one Content-Length".into());
    }
    Ok(())
}

fn has_option(answer: &reference::Response, option: &str) -> bool {
    values(answer, "connection").iter().any(|value| value.eq_ignore_ascii_case(option.as_bytes()))
}

fn refused(answer: &reference::Response, list: &[u16]) -> Result<(), String> {
    if !list.contains(&answer.status) {
        return Err(format!("{} instead of {list:?}", answer.status));
    }
    if !has_option(answer, "close") {
        return Err("a refusal without Connection: close".into());
    }
    if answer.message.body.len() > 200 {
        return Err("the body of a refusal is not short".into());
    }
    // RFC 9110 15.5.6.
    if answer.status == 405 && values(answer, "allow").len() != 1 {
        return Err("405 without Allow".into());
    }
    Ok(())
}

fn accepted(
    answer: &reference::Response,
    method: &str,
    target: &[u8],
    message: &Message,
    may_close: bool,
) -> Result<(), String> {
    if answer.status != 200 {
        return Err(format!("{} instead of the request {method}", answer.status));
    }
    let same = |name: &str, expected: &[u8]| {
        let found = values(answer, name);
        if found == [expected] {
            return Ok(());
        }
        let found = found.iter().map(|found| String::from_utf8_lossy(found)).collect::<Vec<_>>();
        Err(format!("{name} is {found:?}, not {}", String::from_utf8_lossy(expected)))
    };
    same("seen-method", hex(method.as_bytes()).as_bytes())?;
    same("seen-target", hex(target).as_bytes())?;
    same("seen-version", message.minor.to_string().as_bytes())?;
    same("seen-body", message.body.len().to_string().as_bytes())?;
    same("seen-sum", sum(&message.body).to_string().as_bytes())?;
    for (name, expected) in &message.fields {
        let front = format!("{}=", hex(name.as_bytes())).into_bytes();
        let found = values(answer, "seen-field");
        let found = found.iter().filter_map(|found| found.strip_prefix(front.as_slice()));
        if !found.eq(expected.iter().map(|value| hex(value).into_bytes())) {
            return Err(format!("not the expected values of {name}"));
        }
    }
    let trailers: Vec<_> =
        message.trailers.iter().map(|(name, value)| pair(name.as_bytes(), value).into_bytes()).collect();
    if values(answer, "seen-trailer") != trailers {
        return Err("not the expected trailers".into());
    }
    let (close, keep) = (has_option(answer, "close"), has_option(answer, "keep-alive"));
    match (message.close, message.minor) {
        (true, 1) if !close => Err("the last answer does not say close (RFC 9112 9.6)".into()),
        (true, _) if keep => Err("the last answer says keep-alive".into()),
        (false, _) if close && may_close => Ok(()),
        (false, _) if close => Err("the answer says close".into()),
        (false, 0) if !keep => Err("the answer to 1.0 does not say keep-alive (RFC 9112 9.3)".into()),
        _ => Ok(()),
    }
}

/// What must be the same however the bytes were cut: all but the interim responses (whether a server sends 100 (Continue)
/// depends on what has come already) and the words of a refusal.
pub fn essence(exchange: &Exchange) -> Exchange {
    let mut output = Vec::with_capacity(exchange.output.len());
    let mut rest = exchange.output.as_slice();
    while let Some(first) = rest.first() {
        if rest.starts_with(b"HTTP/1.1 4") || rest.starts_with(b"HTTP/1.1 5") {
            output.extend_from_slice(&rest[..rest.len().min(12)]);
            break;
        }
        rest = match rest.strip_prefix(CONTINUE) {
            Some(behind) => behind,
            None => {
                output.push(*first);
                &rest[1..]
            }
        };
    }
    Exchange { output, ended: exchange.ended, half_closed: exchange.half_closed }
}
