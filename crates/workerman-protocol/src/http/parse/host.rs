//! The target of a request and the host it names (RFC 9112 section 3.2, RFC 3986 section 3.2).

use std::net::Ipv6Addr;

use http::Method;

use super::{Refusal, refuse};

/// The four forms of a target (RFC 9112 section 3.2).
pub(super) fn check_target(method: &Method, target: &str) -> Result<(), Refusal> {
    let bytes = target.as_bytes();
    // RFC 3986 section 2: a URI is ASCII; RFC 9112 section 3.2: a target has no fragment. `httparse` has refused white
    // space and control characters. (Characters such as `|` that browsers leave as they are in queries pass.)
    if !bytes.is_ascii() || memchr::memchr(b'#', bytes).is_some() {
        return Err(refuse(400, "a target with a character that no URI has"));
    }
    if *method == Method::CONNECT {
        // Section 3.2.3: only host and port, and the port is required.
        let port = target.rfind(':').map_or("", |colon| &target[colon + 1..]);
        // RFC 9110 section 9.3.6: one that is empty or invalid is refused; nobody listens at port 0.
        let valid = is_host(bytes) && port.parse::<u16>().is_ok_and(|port| port > 0);
        return if valid { Ok(()) } else { Err(refuse(400, "CONNECT needs a host and a port")) };
    }
    if bytes.first() == Some(&b'/') {
        return Ok(());
    }
    if target == "*" {
        // Section 3.2.4.
        return if *method == Method::OPTIONS { Ok(()) } else { Err(refuse(400, "`*` is only for OPTIONS")) };
    }
    let Some(at) = target.find("://") else {
        return Err(refuse(400, "a target that is neither a path nor a URI"));
    };
    let mut scheme = target[..at].bytes();
    let valid = scheme.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && scheme.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let rest = &target[at + 3..];
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    // RFC 9110 section 4.2.4: user information in an http URI is an error.
    if valid && is_host(authority.as_bytes()) {
        Ok(())
    } else {
        Err(refuse(400, "a URI without a valid scheme and host"))
    }
}

/// `uri-host [ ":" port ]`, the value of a Host field (RFC 9110 section 7.2).
///
/// Empty is not valid: an http URI has a host (section 4.2.1). Nor is a comma, which a name may have by RFC 3986: it
/// could be two values made one.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let (name, port) = if host.first() == Some(&b'[') {
        let Some(end) = host.iter().position(|byte| *byte == b']') else { return false };
        if !is_literal(&host[1..end]) {
            return false;
        }
        match &host[end + 1..] {
            [] => return true,
            [b':', port @ ..] => (&host[..=end], port),
            _ => return false,
        }
    } else {
        let plain = host.iter().take_while(|byte| NAME[usize::from(**byte)]).count();
        match &host[plain..] {
            [] => return plain > 0,
            [b':', port @ ..] if plain > 0 => (&host[..plain], port),
            _ => match host.iter().position(|byte| *byte == b':') {
                Some(colon) => (&host[..colon], &host[colon + 1..]),
                None => (host, &[][..]),
            },
        }
    };
    if !is_port(port) {
        return false;
    }
    name.first() == Some(&b'[') || is_name(name)
}

/// `port` of RFC 3986 section 3.2.3, which may be empty, as far as there is such a port.
fn is_port(port: &[u8]) -> bool {
    let digits = port.iter().all(u8::is_ascii_digit);
    // Without leading zeros, so that any number of them is none.
    let value = port
        .iter()
        .fold(0, |value: u32, digit| value.saturating_mul(10).saturating_add(u32::from(digit & 15)));
    digits && value <= u32::from(u16::MAX)
}

/// Bytes of a `reg-name` that stand for themselves, without the comma.
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=');
        byte += 1;
    }
    table
};

/// `reg-name` of RFC 3986 section 3.2.2, without the comma, and not empty.
fn is_name(name: &[u8]) -> bool {
    let plain = name.iter().take_while(|byte| NAME[usize::from(**byte)]).count();
    let mut rest = &name[plain..];
    while let [byte, tail @ ..] = rest {
        rest = match byte {
            byte if NAME[usize::from(*byte)] => tail,
            b'%' => match tail {
                [high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => tail,
                _ => return false,
            },
            _ => return false,
        };
    }
    !name.is_empty()
}

/// `IPv6address / IPvFuture` of RFC 3986 section 3.2.2.
fn is_literal(literal: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(literal) else { return false };
    if text.parse::<Ipv6Addr>().is_ok() {
        return true;
    }
    let Some((version, address)) = text.strip_prefix(['v', 'V']).and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&byte);
    !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !address.is_empty()
        && address.bytes().all(allowed)
}
