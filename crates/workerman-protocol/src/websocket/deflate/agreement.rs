//! What the two sides agree upon (RFC 7692 sections 5 and 7.1).

use std::fmt;

use super::settings::{Direction, Place};
use super::{Compressor, Deflate, Deflater, Inflater, NAME};
use crate::Role;
use crate::websocket::handshake::Extension;

/// A window whose size nobody has said anything about.
const FULL: u8 = 15;

/// The parameters of an offer or an answer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// In an offer it may have no value: the client understands it.
    client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// Reads them. RFC 7692 section 7.1: what is unknown, has a wrong value or is there twice spoils the whole.
    fn read(extension: &Extension) -> Result<Self, NegotiationError> {
        let mut read = Self::default();
        for (name, value) in extension.parameters() {
            let twice = match (name, value) {
                ("server_no_context_takeover", None) => {
                    std::mem::replace(&mut read.server_no_context_takeover, true)
                }
                ("client_no_context_takeover", None) => {
                    std::mem::replace(&mut read.client_no_context_takeover, true)
                }
                ("server_max_window_bits", Some(value)) => {
                    read.server_max_window_bits.replace(bits(value)?).is_some()
                }
                ("client_max_window_bits", value) => {
                    read.client_max_window_bits.replace(value.map(bits).transpose()?).is_some()
                }
                (
                    "server_no_context_takeover" | "client_no_context_takeover" | "server_max_window_bits",
                    _,
                ) => {
                    return Err(NegotiationError::Value);
                }
                _ => return Err(NegotiationError::Unknown),
            };
            if twice {
                return Err(NegotiationError::Twice);
            }
        }
        Ok(read)
    }
}

/// RFC 7692 section 7.1.2: a decimal number from 8 to 15, without zeros in front.
fn bits(value: &str) -> Result<u8, NegotiationError> {
    let bits = ["8", "9", "10", "11", "12", "13", "14", "15"].iter().position(|text| *text == value);
    bits.and_then(|at| u8::try_from(8 + at).ok()).ok_or(NegotiationError::Value)
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; server_max_window_bits={bits}")?;
        }
        match self.client_max_window_bits {
            Some(Some(bits)) => write!(f, "; client_max_window_bits={bits}"),
            Some(None) => f.write_str("; client_max_window_bits"),
            None => Ok(()),
        }
    }
}

impl Deflate {
    /// The server's part: takes the first of a client's offers that can be taken; `None` if there is none, then nothing is
    /// compressed.
    ///
    /// `offers` are all extensions of the request, in its order; others than this one are skipped. An offer with a parameter
    /// that is unknown, has a wrong value or is there twice cannot be taken (RFC 7692 section 7.1).
    pub fn accept(&self, offers: &[Extension]) -> Option<Agreed> {
        let ours = offers.iter().filter(|offer| offer.name() == NAME);
        ours.filter_map(|offer| Parameters::read(offer).ok()).map(|offer| self.agree(offer)).next()
    }

    /// Every valid offer can be taken. It can forbid the server to take over its context; that of the client can be
    /// forbidden in the answer, whatever the offer says (RFC 7692 section 7.1.1.2).
    fn agree(&self, offer: Parameters) -> Agreed {
        let server = (!offer.server_no_context_takeover).then(|| self.place(self.server)).flatten();
        let client = (!offer.client_no_context_takeover).then(|| self.place(self.client)).flatten();
        let server_bits = offer.server_max_window_bits.unwrap_or(FULL).min(self.server.window_bits);
        let client_bits =
            offer.client_max_window_bits.map(|bits| bits.unwrap_or(FULL).min(self.client.window_bits));
        Agreed {
            answer: Parameters {
                server_no_context_takeover: server.is_none(),
                client_no_context_takeover: client.is_none(),
                // RFC 7692 section 7.1.2.1: it must be there if it was offered.
                server_max_window_bits: (offer.server_max_window_bits.is_some() || server_bits < FULL)
                    .then_some(server_bits),
                // RFC 7692 section 7.1.2.2: it must not be there if it was not offered.
                client_max_window_bits: client_bits.filter(|bits| *bits < FULL).map(Some),
            },
            server,
            client,
            server_bits,
            client_bits: client_bits.unwrap_or(FULL),
            settings: self.clone(),
        }
    }

    fn place(&self, direction: Direction) -> Option<Place> {
        if direction.takeover { self.contexts.take() } else { None }
    }

    /// The client's part: what to offer. One for each handshake, because it holds the places for its contexts.
    pub fn offer(&self) -> Offer {
        let (server, client) = (self.place(self.server), self.place(self.client));
        let below_full =
            |direction: Direction| (direction.window_bits < FULL).then_some(direction.window_bits);
        let parameters = Parameters {
            server_no_context_takeover: server.is_none(),
            client_no_context_takeover: client.is_none(),
            server_max_window_bits: below_full(self.server),
            client_max_window_bits: Some(below_full(self.client)),
        };
        Offer { parameters, server, client, settings: self.clone() }
    }
}

/// What a client offers. It shows itself as an element of the field `Sec-WebSocket-Extensions`.
#[derive(Debug)]
pub struct Offer {
    parameters: Parameters,
    server: Option<Place>,
    client: Option<Place>,
    settings: Deflate,
}

impl Offer {
    /// Checks the answer: all extensions of the response. `None` if there are none, then nothing is compressed.
    ///
    /// # Errors
    /// The answer is not one to this offer (RFC 7692 section 7.1): the connection is to be failed, with code 1010.
    pub fn confirm(self, answer: &[Extension]) -> Result<Option<Agreed>, NegotiationError> {
        let [answer] = answer else {
            return if answer.is_empty() { Ok(None) } else { Err(NegotiationError::Extension) };
        };
        if answer.name() != NAME {
            return Err(NegotiationError::Extension);
        }
        let (offer, answer) = (self.parameters, Parameters::read(answer)?);
        // RFC 7692 section 7.1.1.1: a server takes it by saying it.
        if offer.server_no_context_takeover && !answer.server_no_context_takeover {
            return Err(NegotiationError::Takeover);
        }
        let server_bits = answer.server_max_window_bits.unwrap_or(FULL);
        // Section 7.1.2.1: a server takes it by saying the same or less.
        if server_bits > offer.server_max_window_bits.unwrap_or(FULL) {
            return Err(NegotiationError::Window);
        }
        let own_bits = self.settings.client.window_bits;
        let client_bits = match answer.client_max_window_bits {
            None => own_bits,
            // Section 7.1.2.2: in an answer it has a value, not above the one offered.
            Some(bits) => bits.ok_or(NegotiationError::Value)?,
        };
        if client_bits > own_bits {
            return Err(NegotiationError::Window);
        }
        Ok(Some(Agreed {
            answer,
            server: self.server.filter(|_| !answer.server_no_context_takeover),
            client: self.client.filter(|_| !answer.client_no_context_takeover),
            server_bits,
            client_bits,
            settings: self.settings,
        }))
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parameters.fmt(f)
    }
}

/// What was agreed upon for a connection. A server's shows itself as the field `Sec-WebSocket-Extensions` of its answer.
#[derive(Debug)]
pub struct Agreed {
    answer: Parameters,
    /// The server takes over its context.
    server: Option<Place>,
    /// The client takes over its context.
    client: Option<Place>,
    server_bits: u8,
    client_bits: u8,
    settings: Deflate,
}

impl Agreed {
    /// Whether messages of the server may refer to those before them.
    pub fn server_takeover(&self) -> bool {
        self.server.is_some()
    }

    /// Whether messages of the client may refer to those before them.
    pub fn client_takeover(&self) -> bool {
        self.client.is_some()
    }

    /// The window of the server's compressor, in bits.
    pub fn server_window_bits(&self) -> u8 {
        self.server_bits
    }

    /// The window of the client's compressor, in bits.
    pub fn client_window_bits(&self) -> u8 {
        self.client_bits
    }

    /// What the side of this `role` needs for what it receives and for what it sends.
    pub fn into_halves(self, role: Role) -> (Inflater, Outflow) {
        let Self { server, client, server_bits, client_bits, settings, .. } = self;
        let (receive, send, bits) = match role {
            Role::Server => (client, server, server_bits),
            Role::Client => (server, client, client_bits),
        };
        let compressor = Compressor::new(settings.level, bits, settings.least(send.is_some()));
        let outflow = match send {
            Some(place) => Outflow::Context(Deflater::new(compressor, place)),
            None => Outflow::Free(compressor),
        };
        (Inflater::with(settings.contexts, receive), outflow)
    }
}

impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.answer.fmt(f)
    }
}

/// What compresses the messages of one side.
#[derive(Debug)]
pub enum Outflow {
    /// Each message for itself: nothing is kept.
    Free(Compressor),
    /// Each message may refer to those before it.
    Context(Deflater),
}

/// Why a server's answer cannot be taken.
///
/// The connection is to be failed with code 1010.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// An extension that was not offered, or more than one.
    #[error("the server answered with an extension that was not offered")]
    Extension,
    /// A parameter that RFC 7692 does not know.
    #[error("a parameter of permessage-deflate is unknown")]
    Unknown,
    /// A parameter has a value that it cannot have, or none.
    #[error("a parameter of permessage-deflate has a wrong value")]
    Value,
    /// A parameter is there twice.
    #[error("a parameter of permessage-deflate is repeated")]
    Twice,
    /// The server does not promise to reset its context.
    #[error("the server does not do without context takeover")]
    Takeover,
    /// A window is larger than was offered.
    #[error("the server wants a larger window than was offered")]
    Window,
}
