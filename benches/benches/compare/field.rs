//! What is compared: the cases of HTTP and of WebSocket, how their servers and loads are asked for them, and our bars.

use std::fmt;

use workerman_benches::http::{self, Life};
use workerman_benches::websocket::{self, Kind};

/// Bytes per idle connection that we want at most.
const IDLE: f64 = 512.0;

/// A protocol, with the servers that speak it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Field {
    Http,
    WebSocket,
}

impl Field {
    pub(crate) const ALL: [Self; 2] = [Self::Http, Self::WebSocket];

    /// The floor's word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WebSocket => "websocket",
        }
    }

    /// Where the peers are, in the folder of all.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Http => "",
            Self::WebSocket => "websocket/",
        }
    }

    /// The program of the load.
    pub(crate) fn load(self) -> &'static str {
        match self {
            Self::Http => env!("CARGO_BIN_EXE_http-load"),
            Self::WebSocket => env!("CARGO_BIN_EXE_websocket-load"),
        }
    }

    pub(crate) fn cases(self) -> Vec<Case> {
        match self {
            Self::Http => http_cases(),
            Self::WebSocket => websocket_cases(),
        }
    }
}

/// What the servers do, and what is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// The same again and again on some connections; the processor time for each `unit`.
    Traffic { unit: &'static str, connections: usize, outstanding: usize },
    /// One exchange on each of many connections; the memory for each.
    Idle { deflate: bool },
}

/// What we want to reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Bar {
    None,
    /// The ratio of processor time to the floor's, or bytes per connection.
    AtMost(f64),
    /// So many bytes per connection beyond those without compression.
    BeyondIdle(f64),
}

/// A row of the last table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) field: Field,
    pub(crate) name: &'static str,
    pub(crate) what: What,
    pub(crate) bar: Bar,
    /// The load's word for what is sent.
    pub(crate) load: &'static str,
    /// Our server's word, and that of the WebSocket peers.
    pub(crate) ours: &'static str,
    pub(crate) peers: Option<&'static str>,
    /// A peer that is no measure here.
    pub(crate) unchecked: Option<&'static str>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.field.name(), self.name)
    }
}

fn http_cases() -> Vec<Case> {
    let bars = [("plaintext", 1.08), ("plaintext-x16", 1.30), ("new-connection", 1.12)];
    let row = |name, load, what, bar| Case {
        field: Field::Http,
        name,
        what,
        bar,
        load,
        ours: "http",
        peers: None,
        // It parses next to nothing, and parsing is what is left there.
        unchecked: (name == "plaintext-x16").then_some("may_minihttp"),
    };
    let traffic = http::Case::ALL.into_iter().map(|case| {
        let bar = bars.iter().find(|(name, _)| *name == case.name);
        let what = What::Traffic { unit: "request", connections: 64, outstanding: case.outstanding };
        row(case.name, case.name, what, bar.map_or(Bar::None, |&(_, bar)| Bar::AtMost(bar)))
    });
    let kept = http::Case::ALL.into_iter().find(|case| case.life == Life::Kept);
    let idle = kept.map(|case| row("idle", case.name, What::Idle { deflate: false }, Bar::AtMost(IDLE)));
    traffic.chain(idle).collect()
}

fn websocket_cases() -> Vec<Case> {
    let traffic = websocket::Case::ALL.into_iter().map(|case| {
        let together = case.outstanding > 1;
        let (unit, ours, bar) = match case.kind {
            Kind::Echo if together => ("message", "websocket", 1.25),
            Kind::Echo if case.size > 16 * 1024 => ("message", "websocket", 1.20),
            Kind::Echo => ("message", "websocket", 1.05),
            Kind::FanOut if together => ("delivery", "broadcast", 1.15),
            Kind::FanOut => ("delivery", "broadcast", 1.05),
        };
        let peers = if case.kind == Kind::Echo { "echo" } else { "broadcast" };
        let what = What::Traffic { unit, connections: case.connections(), outstanding: case.outstanding };
        row(case.name, case.name, what, Bar::AtMost(bar), ours, peers)
    });
    let idle = row("idle", "echo-20", What::Idle { deflate: false }, Bar::AtMost(IDLE), "websocket", "echo");
    let what = What::Idle { deflate: true };
    let deflate = row("idle-deflate", "echo-1k", what, Bar::BeyondIdle(1024.0), "deflate", "deflate");
    return traffic.chain([idle, deflate]).collect();

    fn row(
        name: &'static str,
        load: &'static str,
        what: What,
        bar: Bar,
        ours: &'static str,
        peers: &'static str,
    ) -> Case {
        Case { field: Field::WebSocket, name, what, bar, load, ours, peers: Some(peers), unchecked: None }
    }
}
