//! The server's verdict about a request (RFC 6455 section 4.2.1): a proof that it is a handshake, or the answer it gets.

use std::fmt;

use super::extensions::Extension;
use super::key::{Answer, Key};
use super::list;
use super::origin::{Origins, Stranger};
use crate::http::{Method, Request, Response, StatusCode, Version, header, is_host};

/// What a server demands of handshakes, and what it offers.
///
/// # Examples
/// ```
/// use workerman_protocol::websocket::handshake::Policy;
/// let policy = Policy::new().protocols(["chat.v2", "chat.v1"]).origins(["https://example.com"]);
/// ```
#[derive(Clone, Default, Debug)]
pub struct Policy {
    protocols: Vec<Box<str>>,
    origins: Origins,
    told: Option<fn(&Refusal)>,
}

impl Policy {
    /// The defaults: no sub-protocols, and requests with cookies from pages of the same host only.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sub-protocols that the server speaks, the best first; default none.
    ///
    /// The first that the client offers too is chosen; without one the connection has none.
    ///
    /// # Panics
    /// If a name is not a token (RFC 6455 section 4.2.2), or twice in the list.
    #[must_use]
    pub fn protocols<S: Into<String>>(mut self, protocols: impl IntoIterator<Item = S>) -> Self {
        self.protocols = protocols.into_iter().map(|name| name.into().into_boxed_str()).collect();
        for (at, name) in self.protocols.iter().enumerate() {
            let token = crate::http::is_token(name.as_bytes());
            assert!(token, "the name of a sub-protocol has a forbidden character: {name:?}");
            assert!(!self.protocols[..at].contains(name), "a sub-protocol is there twice: {name:?}");
        }
        self
    }

    /// The pages that connections are taken from: origins like `https://example.com`, `https://*.example.com` for all
    /// hosts below it, `null` for pages without an origin, `*` for all.
    ///
    /// Default: a request with cookies (or with an `Authorization`) must come from a page of the host that it is sent to;
    /// one without may come from anywhere. With a list, every page must be on it. Requests without an `Origin` come from
    /// no browser and pass.
    ///
    /// `null` is what sandboxed frames and local files are called; any page can make itself one. `*` lets every page of
    /// the web act with the cookies of its visitors: only for servers that give everybody the same.
    ///
    /// # Panics
    /// If an element is none of these.
    #[must_use]
    pub fn origins<S: AsRef<str>>(mut self, origins: impl IntoIterator<Item = S>) -> Self {
        match Origins::listed(origins) {
            Ok(origins) => self.origins = origins,
            Err(wrong) => panic!("not an origin (like `https://example.com`): {wrong:?}"),
        }
        self
    }
}

impl Policy {
    /// Tells of each request that is refused, besides the answer to it: for logs.
    #[must_use]
    pub fn on_refusal(mut self, told: fn(&Refusal)) -> Self {
        self.told = Some(told);
        self
    }
}

/// The proof that a request is a handshake that this server takes: made only by [`check`].
#[derive(Debug)]
pub struct Upgrade {
    pub(super) answer: Answer,
    /// What the client offers.
    pub(super) offered: Vec<Box<str>>,
    /// Which of it the policy chose.
    pub(super) chosen: Option<usize>,
    pub(super) extensions: Vec<Extension>,
}

impl Upgrade {
    /// The sub-protocols that the client offers, the best first.
    pub fn offered_protocols(&self) -> impl ExactSizeIterator<Item = &str> {
        self.offered.iter().map(|name| &**name)
    }

    /// The sub-protocol that the policy has chosen.
    pub fn protocol(&self) -> Option<&str> {
        self.chosen.map(|at| &*self.offered[at])
    }

    /// The extensions that the client offers, the best first.
    pub fn offered_extensions(&self) -> &[Extension] {
        &self.extensions
    }
}

/// Checks a request by every rule for servers (RFC 6455 section 4.2.1), and by the policy.
///
/// # Errors
/// It is no handshake, a wrong one, or one that the policy does not allow; the refusal knows the answer.
///
/// # Examples
/// ```
/// use workerman_protocol::http::Request;
/// use workerman_protocol::websocket::handshake::{Policy, check};
///
/// let request = Request::builder("GET", "/chat")
///     .header("upgrade", "websocket")
///     .header("connection", "Upgrade")
///     .header("sec-websocket-version", "13")
///     .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
/// assert!(check(&request.build()?, &Policy::new()).is_ok());
///
/// let plain = Request::builder("GET", "/chat").build()?;
/// assert_eq!(check(&plain, &Policy::new()).unwrap_err().status(), 426);
/// # Ok::<(), workerman_protocol::http::Error>(())
/// ```
pub fn check(request: &Request, policy: &Policy) -> Result<Upgrade, Refusal> {
    let to_head = request.method() == Method::HEAD;
    verdict(request, policy).map_err(|refusal| {
        let refusal = refusal.for_head(to_head);
        if let Some(told) = policy.told {
            told(&refusal);
        }
        refusal
    })
}

fn verdict(request: &Request, policy: &Policy) -> Result<Upgrade, Refusal> {
    // Section 4.2.1, item 1.
    if request.method() != Method::GET {
        return Err(Refusal::of(405, "a handshake is a GET request"));
    }
    let seen = Seen::read(request);
    // Item 3: among other protocols it may offer, all in lists of their own order. (A version behind a slash makes it
    // another protocol.)
    let offers =
        list::elements(seen.upgrade.iter().copied()).any(|name| name.eq_ignore_ascii_case(b"websocket"));
    if !offers {
        // What is half a handshake is told what is missing; everything else, what this place is for.
        return Err(if seen.keys.is_empty() && seen.versions.is_empty() {
            Refusal::of(426, "only WebSocket is spoken here")
        } else {
            Refusal::of(400, "a handshake without `Upgrade: websocket`")
        });
    }
    // Item 1. RFC 9110 section 7.8: an upgrade of a 1.0 client is ignored, so it cannot have what it wants.
    if request.version() != Version::Http11 {
        return Err(Refusal::of(505, "a handshake needs HTTP/1.1"));
    }
    // Item 4.
    let options = list::elements(seen.connection.iter().copied());
    if !options.into_iter().any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
        return Err(Refusal::of(400, "a handshake without `Connection: Upgrade`"));
    }
    // Item 2; that there is one, and only one, is checked where a head is read.
    if !request.host().is_some_and(|host| is_host(host.as_bytes())) {
        return Err(Refusal::of(400, "a handshake without a valid Host"));
    }
    // Item 6, before the key: another version may have other keys. Section 11.3.5: the field is there once.
    match seen.versions[..] {
        [b"13"] => {}
        [_, _, ..] => return Err(Refusal::of(400, "more than one Sec-WebSocket-Version")),
        // Section 4.2.2, item 4.
        _ => return Err(Refusal::of(426, "the version of WebSocket is not 13")),
    }
    // Item 5; section 11.3.1: the field is there once.
    let key = match seen.keys[..] {
        [key] => Key::parse(key),
        [] => return Err(Refusal::of(400, "no Sec-WebSocket-Key")),
        _ => return Err(Refusal::of(400, "more than one Sec-WebSocket-Key")),
    };
    let key = key.ok_or(Refusal::of(400, "the Sec-WebSocket-Key is not base64 of 16 bytes"))?;
    // Frames begin right behind the head; bytes of a body would be taken for them.
    if request.content_length() != Some(0) {
        return Err(Refusal::of(400, "a handshake has no body"));
    }
    // Section 4.1, item 10: tokens, each there once.
    let offered = list::tokens(seen.protocols.iter().copied())
        .ok_or(Refusal::of(400, "a Sec-WebSocket-Protocol that is not a list of tokens"))?;
    let mut sorted = offered.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Refusal::of(400, "a sub-protocol is offered twice"));
    }
    // Section 9.1.
    let extensions = Extension::parse_all(seen.extensions.iter().copied())
        .ok_or(Refusal::of(400, "a Sec-WebSocket-Extensions that breaks its grammar"))?;
    origin(request, &seen, policy)?;
    let chosen =
        policy.protocols.iter().find_map(|own| offered.iter().position(|offered| *offered == &**own));
    Ok(Upgrade {
        answer: key.answer(),
        offered: offered.into_iter().map(Box::from).collect(),
        chosen,
        extensions,
    })
}

/// Section 4.2.2, item 4, and section 10.2.
fn origin(request: &Request, seen: &Seen<'_>, policy: &Policy) -> Result<(), Refusal> {
    let origin = match seen.origins[..] {
        [] => return Ok(()),
        [origin] => origin,
        _ => return Err(Refusal::of(400, "more than one Origin")),
    };
    let host = request.host().unwrap_or_default();
    policy.origins.check(origin, host, seen.credentials).map_err(|stranger| {
        let mut refusal = Refusal::of(403, match stranger {
            Stranger::CrossSite => {
                "the page is of another host, and its request has cookies: allow its origin if it may use them"
            }
            Stranger::NotListed => "the origin is not among those that are allowed",
        });
        let origin = String::from_utf8_lossy(origin);
        refusal.origin = Some((shortened(&origin), shortened(host)));
        refusal
    })
}

/// Of what a client wrote, no more than a log should have.
fn shortened(text: &str) -> Box<str> {
    text.chars().take(200).collect::<String>().into_boxed_str()
}

/// The fields of a handshake.
#[derive(Default)]
struct Seen<'a> {
    upgrade: Vec<&'a [u8]>,
    connection: Vec<&'a [u8]>,
    keys: Vec<&'a [u8]>,
    versions: Vec<&'a [u8]>,
    protocols: Vec<&'a [u8]>,
    extensions: Vec<&'a [u8]>,
    origins: Vec<&'a [u8]>,
    /// What a browser sends by itself to everybody who has been given it before.
    credentials: bool,
}

impl<'a> Seen<'a> {
    fn read(request: &'a Request) -> Self {
        let mut seen = Self::default();
        for (name, value) in request.fields() {
            let is = |own: &str| name.eq_ignore_ascii_case(own);
            let list = match name.len() {
                6 if is("origin") => &mut seen.origins,
                6 if is("cookie") => {
                    seen.credentials = true;
                    continue;
                }
                7 if is("upgrade") => &mut seen.upgrade,
                10 if is("connection") => &mut seen.connection,
                13 if is("authorization") => {
                    seen.credentials = true;
                    continue;
                }
                17 if is("sec-websocket-key") => &mut seen.keys,
                21 if is("sec-websocket-version") => &mut seen.versions,
                22 if is("sec-websocket-protocol") => &mut seen.protocols,
                24 if is("sec-websocket-extensions") => &mut seen.extensions,
                _ => continue,
            };
            list.push(value);
        }
        seen
    }
}

/// Why a request opens no connection, and what it is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    status: u16,
    reason: &'static str,
    /// The origin that was refused, and the host that was asked.
    origin: Option<(Box<str>, Box<str>)>,
    to_head: bool,
}

impl Refusal {
    pub(super) const fn of(status: u16, reason: &'static str) -> Self {
        Self { status, reason, origin: None, to_head: false }
    }

    /// A handler failed.
    pub(in crate::websocket) const fn failed() -> Self {
        Self::of(500, "the server failed")
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Which rule it breaks.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// The origin that was refused, as the client wrote it; for a log.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_ref().map(|(origin, _)| &**origin)
    }

    /// The host that the request with a refused origin was for; for a log.
    pub fn host(&self) -> Option<&str> {
        self.origin.as_ref().map(|(_, host)| &**host)
    }

    /// Whether the answer goes to a HEAD request, and so has no body.
    pub(in crate::websocket) fn to_head(&self) -> bool {
        self.to_head
    }

    pub(super) fn for_head(self, to_head: bool) -> Self {
        Self { to_head, ..self }
    }

    /// The answer: the status, what it demands besides, and a line of text.
    pub fn response(&self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let words = status.canonical_reason().unwrap_or("refused");
        let response = match self.status {
            // RFC 9110 section 15.5.22; the reason would be for people, who see a page of their browser's.
            426 => Response::new(status),
            _ => Response::text(format!("{} {words}: {}\n", self.status, self.reason)).with_status(status),
        };
        match self.status {
            // RFC 9110 section 15.5.6.
            405 => response.header(header::ALLOW, "GET"),
            // RFC 9110 section 15.5.22; RFC 6455 section 4.2.2, item 4.
            426 => response.header(header::UPGRADE, "websocket").header(header::SEC_WEBSOCKET_VERSION, "13"),
            _ => response,
        }
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        refusal.response()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the handshake was refused with {}: {}", self.status, self.reason)
    }
}

impl std::error::Error for Refusal {}
