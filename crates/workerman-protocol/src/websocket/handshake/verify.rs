//! The client's verdict about the server's answer (RFC 6455 section 4.1, the second list).

use super::accept::Agreement;
use super::error::HandshakeError;
use super::extensions::{Extension, single_token};
use super::hello::Hello;
use super::key::Key;
use super::list;
use crate::http::{HeaderName, Response, StatusCode, Version, header};

const fn wrong(reason: &'static str) -> HandshakeError {
    HandshakeError::Answer(reason)
}

impl Hello {
    /// Checks an answer with status 101, by every rule; `extensions` is what was offered, as it was said.
    ///
    /// # Errors
    /// It breaks a rule, or agrees to what was not offered.
    pub fn verify(
        &self,
        key: &Key,
        extensions: Option<&str>,
        response: &Response,
    ) -> Result<Agreement, HandshakeError> {
        // Item 1; other statuses are looked at before. RFC 9110 section 7.8: there is no upgrade in HTTP/1.0.
        if response.status() != StatusCode::SWITCHING_PROTOCOLS || response.version() == Some(Version::Http10)
        {
            return Err(wrong("it does not begin with HTTP/1.1 101"));
        }
        let lines = |name: HeaderName| {
            response.headers().iter().filter(move |(own, _)| **own == name).map(|(_, value)| value.as_bytes())
        };
        // Item 2: this protocol, and no other beside it.
        let mut upgrade = list::elements(lines(header::UPGRADE)).filter(|name| !name.is_empty());
        match (upgrade.next(), upgrade.next()) {
            (Some(name), None) if name.eq_ignore_ascii_case(b"websocket") => {}
            _ => return Err(wrong("its Upgrade is not websocket")),
        }
        // Item 3.
        let mut options = list::elements(lines(header::CONNECTION));
        if !options.any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
            return Err(wrong("its Connection does not have upgrade"));
        }
        // Item 4; section 11.3.3: it is there once.
        let mut answers = lines(header::SEC_WEBSOCKET_ACCEPT).map(list::trim);
        match (answers.next(), answers.next()) {
            (Some(answer), None) if answer == key.answer().as_str().as_bytes() => {}
            (Some(_), Some(_)) => return Err(wrong("more than one Sec-WebSocket-Accept")),
            (Some(_), None) => return Err(wrong("its Sec-WebSocket-Accept does not fit the key")),
            (None, _) => return Err(wrong("no Sec-WebSocket-Accept")),
        }
        // Item 5. One answer agrees to an offer once (RFC 7692 section 5 for the only one there is).
        let agreed = Extension::parse_all(lines(header::SEC_WEBSOCKET_EXTENSIONS))
            .ok_or(wrong("its Sec-WebSocket-Extensions breaks the grammar"))?;
        let offered = Extension::parse_all(extensions.map(str::as_bytes)).unwrap_or_default();
        for (at, extension) in agreed.iter().enumerate() {
            if !offered.iter().any(|offered| offered.name() == extension.name()) {
                return Err(wrong("it agrees to an extension that was not offered"));
            }
            if agreed[..at].iter().any(|other| other.name() == extension.name()) {
                return Err(wrong("it agrees to an extension twice"));
            }
        }
        // Item 6; section 11.3.4: it is there once, and has one value.
        let mut protocols = lines(header::SEC_WEBSOCKET_PROTOCOL);
        let protocol = match (protocols.next(), protocols.next()) {
            (None, _) => None,
            (Some(_), Some(_)) => return Err(wrong("more than one Sec-WebSocket-Protocol")),
            (Some(value), None) => {
                let name = single_token(value).ok_or(wrong("its Sec-WebSocket-Protocol is not a token"))?;
                if !self.protocols.iter().any(|offered| **offered == *name) {
                    return Err(wrong("it chooses a sub-protocol that was not offered"));
                }
                Some(Box::from(name))
            }
        };
        Ok(Agreement { protocol, extensions: agreed })
    }
}
