//! An exchange by hand: what the client says, what it makes of what a server says.

mod requests;
mod responses;
mod uploads;

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::{ClientEvent, ClientRequest, HttpClient};
use crate::Role;
use crate::http::{Body, Headers, Version};
use crate::testing::{Harness, Seen};

fn client() -> Harness<HttpClient> {
    Harness::new(HttpClient::new(), Instant::now()).role(Role::Client)
}

fn get() -> ClientRequest {
    ClientRequest::get("http://h/")
}

/// A response whose body was read as far as it came.
#[derive(PartialEq, Eq, Debug)]
struct Got {
    status: u16,
    version: Version,
    headers: Headers,
    body: Vec<u8>,
    /// How the body ended; `None`: not yet.
    ended: Option<Result<(), String>>,
    trailers: Option<Headers>,
}

/// All that came of some input.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    got: Vec<Got>,
    events: Vec<String>,
    ended: String,
    finished: bool,
}

impl Outcome {
    /// The one response, complete.
    fn whole(&self) -> &Got {
        let [got] = &self.got[..] else { panic!("not one response: {self:?}") };
        assert_eq!(got.ended, Some(Ok(())), "{self:?}");
        got
    }

    fn is_whole(&self) -> bool {
        self.got.iter().any(|got| got.ended == Some(Ok(())))
    }

    /// Whether the exchange is over, and the connection can be used again.
    fn reusable(&self) -> Option<bool> {
        self.events.iter().find_map(|event| match event.as_str() {
            "done: true" => Some(true),
            "done: false" => Some(false),
            _ => None,
        })
    }
}

/// Reads everything that can be read, and lets the client go on as long as that changes anything.
#[derive(Default)]
struct Reader {
    got: Vec<(Got, Body)>,
    events: Vec<String>,
}

impl Reader {
    fn read(&mut self, harness: &mut Harness<HttpClient>) {
        loop {
            for seen in harness.seen() {
                match seen {
                    Seen::Message(response) => {
                        let got = Got {
                            status: response.status().as_u16(),
                            version: response.version().unwrap(),
                            headers: response.headers().clone(),
                            body: Vec::new(),
                            ended: None,
                            trailers: None,
                        };
                        self.got.push((got, response.into_body()));
                    }
                    Seen::Event(ClientEvent::Done { reusable }) => {
                        self.events.push(format!("done: {reusable}"));
                    }
                    Seen::Event(ClientEvent::Interim(response)) => {
                        self.events.push(format!("interim: {}", response.status().as_u16()));
                    }
                }
            }
            let mut progress = false;
            for (got, body) in &mut self.got {
                while got.ended.is_none() {
                    match body.poll_data(&mut Context::from_waker(std::task::Waker::noop())) {
                        Poll::Pending => break,
                        Poll::Ready(Some(Ok(data))) => got.body.extend_from_slice(&data),
                        Poll::Ready(Some(Err(error))) => got.ended = Some(Err(error.to_string())),
                        Poll::Ready(None) => {
                            got.ended = Some(Ok(()));
                            got.trailers = body.trailers().cloned();
                        }
                    }
                    progress = true;
                }
            }
            if !progress {
                return;
            }
            harness.decode();
        }
    }

    fn outcome(self, harness: &Harness<HttpClient>) -> Outcome {
        Outcome {
            got: self.got.into_iter().map(|(got, _)| got).collect(),
            events: self.events,
            ended: harness.ended().to_string(),
            finished: harness.is_finished(),
        }
    }
}

/// Sends a request and lets the answer come in pieces, then the end of the stream if `eof`.
fn run(request: ClientRequest, input: &[u8], cuts: &[usize], eof: bool) -> Outcome {
    let mut harness = client();
    harness.send(request).unwrap();
    let mut reader = Reader::default();
    let mut start = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        harness.feed(&input[start..cut]);
        reader.read(&mut harness);
        start = cut;
    }
    if eof {
        harness.eof();
        reader.read(&mut harness);
    }
    reader.outcome(&harness)
}

/// Why something is refused may be told earlier and differently when less of it is there.
fn without_reasons(mut outcome: Outcome) -> Outcome {
    let cut = |text: &mut String| {
        for kind in ["failed: not an HTTP/1 response", "the body is malformed"] {
            if text.starts_with(kind) {
                text.truncate(kind.len());
            }
        }
    };
    cut(&mut outcome.ended);
    for got in &mut outcome.got {
        if let Some(Err(why)) = &mut got.ended {
            cut(why);
        }
    }
    outcome
}

/// The same, however the answer is cut.
fn every_split(request: impl Fn() -> ClientRequest, input: &[u8], eof: bool) -> Outcome {
    let run = |cuts: &[usize]| without_reasons(run(request(), input, cuts, eof));
    let whole = run(&[]);
    for cut in 0..=input.len() {
        assert_eq!(run(&[cut]), whole, "cut after {cut} bytes");
    }
    let bytes: Vec<usize> = (1..input.len()).collect();
    assert_eq!(run(&bytes), whole, "byte by byte");
    self::run(request(), input, &[], eof)
}

/// A body that does not know its length.
fn pieces(pieces: &[&'static str]) -> Body {
    Body::stream(Pieces(pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect()))
}

/// A stream that is always ready.
struct Pieces(std::collections::VecDeque<Bytes>);

impl futures_core::Stream for Pieces {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}
