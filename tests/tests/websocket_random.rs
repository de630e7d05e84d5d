//! Random conversations over WebSocket: nothing is lost, nothing comes twice, everything comes in order.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use workerman_connection::{Client, Connection, Handlers, SendError, Service, Settings};
use workerman_event::sim::{self, HostAddr, LinkOptions, Network};
use workerman_protocol::Protocol;
use workerman_protocol::websocket::deflate::Deflate;
use workerman_protocol::websocket::handshake::Hello;
use workerman_protocol::websocket::{
    Error, Event, Fragment, Kind, Message, Outgoing, Websocket, WebsocketClient,
};
use workerman_tests::simulation::{event_loop, serve, settled, sleep, until};
use workerman_tests::websocket::codec::{Frame, op};
use workerman_tests::websocket::peer::Peer;

/// Something that is said.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    Message(Message),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A message in fragments of these lengths.
    Fragments(Kind, Vec<Vec<u8>>),
}

impl Said {
    /// What the other side is told.
    fn heard(&self) -> Self {
        match self {
            Self::Fragments(kind, parts) => {
                let all = parts.concat();
                Self::Message(match kind {
                    Kind::Text => String::from_utf8(all).unwrap().into(),
                    Kind::Binary => all.into(),
                })
            }
            other => other.clone(),
        }
    }
}

/// Text of many kinds of characters.
fn text(random: &mut fastrand::Rng, length: usize) -> String {
    (0..length).map(|_| ['a', 'b', ' ', 'é', '€', '😀'][random.usize(..6)]).collect()
}

fn bytes(random: &mut fastrand::Rng, length: usize) -> Vec<u8> {
    let few = random.bool();
    (0..length).map(|_| random.u8(..) & if few { 1 } else { 255 }).collect()
}

fn script(random: &mut fastrand::Rng, count: usize) -> Vec<Said> {
    (0..count)
        .map(|n| {
            let length = match random.u8(..10) {
                0 => 0,
                1..7 => random.usize(..100),
                7 | 8 => random.usize(..3_000),
                _ => random.usize(..100_000),
            };
            match random.u8(..10) {
                0 => Said::Ping(format!("ping {n}").into()),
                1 => Said::Pong(format!("pong {n}").into()),
                2..5 => Said::Message(format!("{n} {}", text(random, length)).into()),
                5..8 => Said::Message(bytes(random, length).into()),
                _ => {
                    let is_text = random.bool();
                    let mut all =
                        if is_text { text(random, length).into_bytes() } else { bytes(random, length) };
                    let mut parts = Vec::new();
                    for _ in 0..random.usize(1..6) {
                        let rest = all.split_off(random.usize(..=all.len()));
                        parts.push(std::mem::replace(&mut all, rest));
                    }
                    parts.push(all);
                    Said::Fragments(if is_text { Kind::Text } else { Kind::Binary }, parts)
                }
            }
        })
        .collect()
}

/// The code of an end, and whether it was clean.
type End = (Option<u16>, bool);

/// What a side of ours has heard, and how its connection ended.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Said>>>, Arc<Mutex<Vec<End>>>);

impl Ear {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn closes(&self) -> Vec<End> {
        self.1.lock().unwrap().clone()
    }

    fn handlers<P: Protocol<Incoming = Message, Event = Event>>(
        &self,
        open: impl Fn(Connection<P>) + Send + Sync + 'static,
    ) -> Handlers<P> {
        let [messages, pings, pongs, closes] = [(); 4].map(|()| self.clone());
        let hear = |ear: &Self, said| ear.0.lock().unwrap().push(said);
        Handlers::new()
            .on_open(move |conn: &Connection<P>, _| open(conn.clone()))
            .on_message(move |_: &Connection<P>, message| hear(&messages, Said::Message(message)))
            .on_ping(move |_: &Connection<P>, payload| hear(&pings, Said::Ping(payload.to_vec())))
            .on_pong(move |_: &Connection<P>, payload| hear(&pongs, Said::Pong(payload.to_vec())))
            .on_close(move |_: &Connection<P>, reason| {
                closes.1.lock().unwrap().push((reason.code(), reason.is_clean()));
            })
    }

    /// Without the pongs that answer pings: those say what the pings said.
    fn heard(&self) -> Vec<Said> {
        let heard = self.0.lock().unwrap();
        let asked = |said: &&Said| !matches!(said, Said::Pong(payload) if payload.starts_with(b"ping "));
        heard.iter().filter(asked).cloned().collect()
    }

    fn answers(&self) -> Vec<Vec<u8>> {
        let heard = self.0.lock().unwrap();
        let answers = heard.iter().filter_map(|said| match said {
            Said::Pong(payload) if payload.starts_with(b"ping ") => Some(payload.clone()),
            _ => None,
        });
        answers.collect()
    }
}

/// Says all of it, and waits where the queue is full.
async fn say<P>(conn: Connection<P>, said: Vec<Said>, seed: u64)
where
    P: Protocol<Incoming = Message, Outgoing = Outgoing, Event = Event, Error = Error>,
{
    let mut random = fastrand::Rng::with_seed(seed);
    let send = async |outgoing: Outgoing| loop {
        match conn.send(outgoing.clone()) {
            Ok(_) => return,
            Err(SendError::Full { .. }) => conn.ready().await.expect("an open connection"),
            Err(error) => panic!("{error}"),
        }
    };
    for said in said {
        if random.u8(..4) == 0 {
            sleep(random.u64(..20)).await;
        }
        match said {
            Said::Message(message) if random.u8(..8) == 0 => send(message.compress(random.bool())).await,
            Said::Message(message) => send(message.into()).await,
            Said::Ping(payload) => send(Outgoing::ping(payload)).await,
            Said::Pong(payload) => send(Outgoing::Pong(payload.into())).await,
            Said::Fragments(kind, parts) => {
                let last = parts.len() - 1;
                for (n, data) in parts.into_iter().enumerate() {
                    let fragment = Fragment { kind, first: n == 0, last: n == last, data: data.into() };
                    send(fragment.into()).await;
                }
            }
        }
    }
}

fn heard_of(said: &[Said]) -> Vec<Said> {
    said.iter().map(Said::heard).collect()
}

fn pings_of(said: &[Said]) -> Vec<Vec<u8>> {
    let pings = said.iter().filter_map(|said| match said {
        Said::Ping(payload) => Some(payload.clone()),
        _ => None,
    });
    pings.collect()
}

/// The answers are to pings that were asked, in their order; of pings that pile up only the latest need be answered
/// (RFC 6455 section 5.5.3).
fn answered(answers: &[Vec<u8>], pings: &[Vec<u8>]) -> bool {
    let mut pings = pings.iter();
    answers.iter().all(|answer| pings.any(|ping| ping == answer))
}

fn link(network: &Network, a: HostAddr, b: HostAddr, random: &mut fastrand::Rng) {
    let options = LinkOptions {
        latency: Duration::from_millis(random.u64(..3))..=Duration::from_millis(random.u64(3..30)),
        ..LinkOptions::default()
    };
    network.set_between(a, b, options);
}

#[test]
fn our_two_sides_understand_each_other() {
    for seed in 0..60 {
        sim::block_on(seed, async |network| {
            let mut random = fastrand::Rng::with_seed(seed);
            let (server, here) = (network.host("server"), network.host("client"));
            link(&network, server, here, &mut random);
            let (from_server, from_client) = (script(&mut random, 60), script(&mut random, 60));
            let deflate = match seed % 3 {
                0 => None,
                1 => Some(Deflate::new().min_size(10)),
                _ => Some(Deflate::new().min_size(10).takeover(true)),
            };
            let (at_server, at_client) = (Ear::default(), Ear::default());
            let own = from_server.clone();
            let handlers =
                at_server.handlers(move |conn| drop(workerman_event::spawn(say(conn, own.clone(), seed))));
            let websocket = Websocket::new().compress(deflate.clone());
            let service = Service::new("test", move || websocket.clone(), handlers, Settings::default());
            let serving = serve(&network, server, 80, service);
            let dialing = event_loop(&network, here);
            let protocol = WebsocketClient::new(Hello::new("ws://server/").unwrap()).compress(deflate);
            let own = from_client.clone();
            let conn = Client::with(protocol, server.socket(80).to_string())
                .handlers(at_client.handlers(move |conn| {
                    drop(workerman_event::spawn(say(conn, own.clone(), seed + 1)));
                }))
                .connect_on(&dialing)
                .unwrap();
            until("all has arrived", || (at_client.heard().len(), at_server.heard().len()) == (60, 60)).await;
            sleep(1_000).await;
            assert!(at_server.heard() == heard_of(&from_client), "seed {seed}");
            assert!(at_client.heard() == heard_of(&from_server), "seed {seed}");
            assert!(answered(&at_server.answers(), &pings_of(&from_server)), "seed {seed}");
            assert!(answered(&at_client.answers(), &pings_of(&from_client)), "seed {seed}");
            conn.close_with_code(4000, "");
            until("both are closed", || !at_server.closes().is_empty() && !at_client.closes().is_empty())
                .await;
            sleep(10_000).await;
            assert_eq!(
                (at_server.closes(), at_client.closes()),
                (vec![(Some(4000), true)], vec![(Some(4000), true)])
            );
            settled(&serving);
            settled(&dialing);
        });
    }
}

/// Sends a script by the independent codec, cut anywhere.
async fn say_by_hand(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8], random: &mut fastrand::Rng) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = match random.u8(..3) {
            0 => 1,
            1 => random.usize(1..40),
            _ => random.usize(1..20_000),
        };
        let (piece, after) = rest.split_at(n.min(rest.len()));
        stream.write_all(piece).await.unwrap();
        if random.u8(..4) == 0 {
            sleep(random.u64(..5)).await;
        }
        rest = after;
    }
}

/// The bytes of a script, masked or not; control frames get between fragments.
fn by_hand(peer: &Peer, said: &[Said], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut out = Vec::new();
    for said in said {
        let frames = match said {
            Said::Message(Message::Text(text)) => vec![Frame::text(text.as_str())],
            Said::Message(Message::Binary(bytes)) => vec![Frame::binary(bytes.to_vec())],
            Said::Ping(payload) => vec![Frame::new(op::PING, payload.clone())],
            Said::Pong(payload) => vec![Frame::new(op::PONG, payload.clone())],
            Said::Fragments(kind, parts) => {
                let mut frames = Vec::new();
                for (n, part) in parts.iter().enumerate() {
                    let first = if *kind == Kind::Text { op::TEXT } else { op::BINARY };
                    let frame = Frame::new(if n == 0 { first } else { op::MORE }, part.clone());
                    frames.push(if n + 1 == parts.len() { frame } else { frame.unfinished() });
                    if random.bool() && n + 1 < parts.len() {
                        frames.push(Frame::new(op::PING, "ping within"));
                    }
                }
                frames
            }
        };
        for frame in frames {
            out.extend(peer.bytes(&frame));
        }
    }
    out
}

#[test]
fn our_server_understands_a_stranger_however_it_is_cut() {
    for seed in 0..40 {
        sim::block_on(seed, async |network| {
            let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
            let (server, here) = (network.host("server"), network.host("client"));
            link(&network, server, here, &mut random);
            let from_client = script(&mut random, 40);
            let ear = Ear::default();
            let service = Service::new("test", Websocket::new, ear.handlers(|_| {}), Settings::default());
            let serving = serve(&network, server, 80, service);
            let mut peer = Peer::connect(&network, here, server, 80).await;
            let mut bytes = by_hand(&peer, &from_client, &mut random);
            let pings = bytes.len();
            bytes.extend(peer.bytes(&Frame::close(3000, "that is all")));
            assert!(pings > 0);
            say_by_hand(&mut peer.stream, &bytes, &mut random).await;
            let frames = peer.rest().await;
            assert_eq!(frames.last(), Some(&Frame::close(3000, "")), "seed {seed}");
            drop(peer);
            until("it is closed", || !ear.closes().is_empty()).await;
            let within = |said: &Said| *said == Said::Ping(b"ping within".to_vec());
            let heard: Vec<Said> =
                ear.0.lock().unwrap().iter().filter(|said| !within(said)).cloned().collect();
            assert!(heard == heard_of(&from_client), "seed {seed}");
            // Each ping, those within messages too, has its answer, in order.
            let asked: Vec<Said> =
                ear.0.lock().unwrap().iter().filter(|said| matches!(said, Said::Ping(_))).cloned().collect();
            let answers: Vec<Said> = frames[..frames.len() - 1]
                .iter()
                .map(|frame| {
                    assert_eq!(frame.opcode, op::PONG);
                    Said::Ping(frame.payload.clone())
                })
                .collect();
            assert_eq!(asked, answers, "seed {seed}");
            assert_eq!(ear.closes(), [(Some(3000), true)]);
            assert!(ear.len() >= 40);
            sleep(60_000).await;
            settled(&serving);
        });
    }
}

#[test]
fn our_client_understands_a_stranger_however_it_is_cut() {
    for seed in 0..40 {
        sim::block_on(seed, async |network| {
            let mut random = fastrand::Rng::with_seed(seed ^ 0xc1e);
            let (server, here) = (network.host("server"), network.host("client"));
            link(&network, server, here, &mut random);
            let listener = network.listen(server, 80).unwrap();
            let dialing = event_loop(&network, here);
            let ear = Ear::default();
            let protocol = WebsocketClient::new(Hello::new("ws://server/").unwrap());
            let (from_client, from_server) = (script(&mut random, 30), script(&mut random, 40));
            let conn = Client::with(protocol, server.socket(80).to_string())
                .handlers(ear.handlers(|_| {}))
                .connect_on(&dialing)
                .unwrap();
            let mut peer = Peer::accept(listener.accept().await.unwrap()).await;
            let bytes = by_hand(&peer, &from_server, &mut random);
            say_by_hand(&mut peer.stream, &bytes, &mut random).await;
            // Only now: nobody reads here while this is sent.
            drop(workerman_event::spawn(say(conn.clone(), from_client.clone(), seed)));
            // What the client says, put together; pongs to our pings aside.
            let (mut heard, mut partial) = (Vec::new(), None::<(Kind, Vec<u8>)>);
            while heard.len() < 30 {
                let frame = peer.frame().await.expect("more to come");
                match frame.opcode {
                    op::PING => heard.push(Said::Ping(frame.payload)),
                    op::PONG if frame.payload.starts_with(b"ping ") => {}
                    op::PONG => heard.push(Said::Pong(frame.payload)),
                    opcode => {
                        let kind = if opcode == op::TEXT { Kind::Text } else { Kind::Binary };
                        let (kind, mut all) = partial.take().unwrap_or((kind, Vec::new()));
                        all.extend(frame.payload);
                        if frame.fin {
                            heard.push(Said::Fragments(kind, vec![all]).heard());
                        } else {
                            partial = Some((kind, all));
                        }
                    }
                }
            }
            assert!(heard == heard_of(&from_client), "seed {seed}");
            peer.send(&Frame::close(1001, "")).await;
            while peer.frame().await.expect("its close frame").opcode != op::CLOSE {}
            drop(peer);
            until("it is closed", || !ear.closes().is_empty()).await;
            assert_eq!(ear.closes(), [(Some(1001), true)]);
            let within = |said: &Said| *said == Said::Ping(b"ping within".to_vec());
            let told: Vec<Said> =
                ear.0.lock().unwrap().iter().filter(|said| !within(said)).cloned().collect();
            assert!(told == heard_of(&from_server), "seed {seed}");
        });
    }
}
