//! Cases over sockets.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use workerman_connection::{
    Client, CloseReason, Connection, EventLoop, Handlers, LoopHandle, LoopSettings, Service, Settings,
};
use workerman_event::BackendKind;
use workerman_protocol::Protocol;
use workerman_protocol::testing::Seen;
use workerman_protocol::websocket::{Error, Event, Message, Outgoing};

use super::codec::{Frame, Inflater, Reader, op};
use super::data::{Case, End, Role, Setting, Step, Told};
use super::drive::{brief, expected, merged, outgoing, told};
use super::opening;
use crate::serving::{PATIENCE, Serving};

/// What callbacks tell a test, in order.
enum Note<P: Protocol> {
    Open(Connection<P>),
    Told(Result<Told, String>),
    Close(CloseReason),
}

/// Handlers that tell a test everything.
fn noting<P>() -> (Handlers<P>, Receiver<Note<P>>)
where
    P: Protocol<Incoming = Message, Outgoing = Outgoing, Event = Event, Error = Error>,
{
    let (told_to, notes) = channel();
    let tell = move |note| {
        // A test that has given up does not listen.
        let _ = told_to.send(note);
    };
    let (opens, messages, pings, pongs, fragments) =
        (tell.clone(), tell.clone(), tell.clone(), tell.clone(), tell.clone());
    let handlers = Handlers::new()
        .on_open(move |conn: &Connection<P>, _| opens(Note::Open(conn.clone())))
        .on_message(move |_: &Connection<P>, message| messages(Note::Told(told(Seen::Message(message)))))
        .on_ping(move |_, payload| pings(Note::Told(told(Seen::Event(Event::Ping(payload))))))
        .on_pong(move |_, payload| pongs(Note::Told(told(Seen::Event(Event::Pong(payload))))))
        .on_fragment(move |_, fragment| fragments(Note::Told(told(Seen::Event(Event::Fragment(fragment))))))
        .on_close(move |_: &Connection<P>, reason| tell(Note::Close(reason.clone())));
    (handlers, notes)
}

/// Whether a case can be run over sockets: what our application does comes before what the peer does.
fn suits(case: &Case) -> bool {
    let theirs = |step: &Step| matches!(step, Step::Bytes(_) | Step::End);
    let first = case.steps.iter().position(theirs).unwrap_or(case.steps.len());
    // Of two closes at once the later one may be all that the loop sees.
    let closes = case.steps.iter().filter(|step| matches!(step, Step::Close(..))).count();
    case.steps[first..].iter().all(theirs) && !case.steps.contains(&Step::Goodbye) && closes <= 1
}

/// A loop of its own for clients.
struct Dialing {
    handle: LoopHandle,
    thread: Option<JoinHandle<()>>,
}

impl Dialing {
    fn start(kind: BackendKind) -> Self {
        let (event_loop, handle) = EventLoop::new(LoopSettings::default());
        let thread = Some(std::thread::spawn(move || event_loop.run(kind).unwrap()));
        Self { handle, thread }
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs all cases of a side that can be run so, each on a connection of its own; returns how many.
///
/// # Errors
/// For each case that went wrong what was wrong.
///
/// # Panics
/// If there are no sockets to be had.
pub fn run(kind: BackendKind, role: Role, cases: &[Case]) -> Result<usize, Vec<String>> {
    let cases: Vec<&Case> = cases.iter().filter(|case| case.role == role && suits(case)).collect();
    let mut servers = BTreeMap::new();
    let dialing = Dialing::start(kind);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        let done = match role {
            Role::Server => {
                let (server, notes) = servers.entry(&case.settings).or_insert_with(|| {
                    let (handlers, notes) = noting();
                    let websocket = opening::websocket(case);
                    let make = move || websocket.clone();
                    (Serving::start(kind, Service::new("test", make, handlers, Settings::default())), notes)
                });
                let mut peer = TcpStream::connect(server.address).unwrap();
                peer.write_all(opening::request(opening::extension(case)).as_bytes()).unwrap();
                let head = head(&mut peer);
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                one(peer, notes, case)
            }
            Role::Client => {
                let (handlers, notes) = noting();
                let address = listener.local_addr().unwrap();
                let protocol = opening::client(case, &format!("ws://{address}/"));
                let conn = Client::with(protocol, address.to_string())
                    .handlers(handlers)
                    .connect_on(&dialing.handle)
                    .unwrap();
                let (mut peer, _) = listener.accept().unwrap();
                let request = head(&mut peer);
                let answer = opening::answer(request.as_bytes(), opening::extension(case));
                peer.write_all(answer.as_bytes()).unwrap();
                let done = one(peer, &notes, case);
                drop(conn);
                done
            }
        };
        if let Err(what) = done {
            wrong.push(format!("{} on {kind:?}: {what}", case.place));
        }
    }
    if wrong.is_empty() { Ok(cases.len()) } else { Err(wrong) }
}

/// A head, to its empty line.
///
/// # Panics
/// If none comes.
pub fn head(peer: &mut TcpStream) -> String {
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    peer.set_nodelay(true).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        peer.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} within {head:?}"));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Reads until it is enough, or to the end of the stream (`true`).
fn read(
    peer: &mut TcpStream,
    reader: &mut Reader,
    frames: &mut Vec<Frame>,
    enough: impl Fn(&[Frame]) -> bool,
) -> Result<bool, String> {
    let mut buffer = vec![0; 65_536];
    while !enough(frames) {
        match peer.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(n) => reader.push(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("{error} behind {}", brief(frames))),
        }
        frames.extend(reader.all()?);
    }
    Ok(false)
}

fn one<P>(mut peer: TcpStream, notes: &Receiver<Note<P>>, case: &Case) -> Result<(), String>
where
    P: Protocol<Incoming = Message, Outgoing = Outgoing, Event = Event, Error = Error>,
{
    let next = || notes.recv_timeout(PATIENCE).map_err(|_| "nothing is told any more".to_owned());
    let Note::Open(conn) = next()? else { return Err("it does not open".into()) };
    let mut reader = Reader::new(case.role == Role::Client, case.settings.contains_key(&Setting::Deflate));
    let mut frames = Vec::new();
    let (mut said, mut closes) = (0, false);
    for step in &case.steps {
        match step {
            Step::Send(frame) => {
                let _ = conn.send(outgoing(frame)).map_err(|error| error.to_string())?;
                said += 1;
            }
            Step::Close(code, reason) => {
                conn.close_with_code(*code, reason);
                said += usize::from(!std::mem::replace(&mut closes, true));
            }
            _ => {}
        }
    }
    let in_time = |what: String| format!("{what} (what is ours)");
    read(&mut peer, &mut reader, &mut frames, |frames| frames.len() >= said).map_err(in_time)?;
    let (mut ended, mut canary) = (false, false);
    for step in &case.steps {
        match step {
            // One that has failed need not read all of it.
            Step::Bytes(bytes) => drop(peer.write_all(bytes)),
            Step::End => {
                ended = true;
                drop(peer.shutdown(Shutdown::Write));
            }
            _ => {}
        }
    }
    match &case.end {
        End::Open => {
            if case.whole {
                canary = true;
                let key = (case.role == Role::Server).then_some([9, 8, 7, 6]);
                drop(peer.write_all(&Frame::new(op::PING, "canary").bytes(key)));
            }
            drop(peer.shutdown(Shutdown::Write));
        }
        End::Closing(_) if !ended => {
            drop(peer.shutdown(Shutdown::Write));
        }
        End::ClosedByPeer(..) | End::ClosedByUs(_) if case.role == Role::Client && !ended => {
            // The server ends the stream, and that is the peer here.
            let closed = |frames: &[Frame]| frames.last().is_some_and(|frame| frame.opcode == op::CLOSE);
            read(&mut peer, &mut reader, &mut frames, closed)?;
            drop(peer.shutdown(Shutdown::Write));
        }
        _ => {}
    }
    read(&mut peer, &mut reader, &mut frames, |_| false)?;
    if !reader.left().is_empty() {
        return Err("the stream ends within a frame".into());
    }
    let mut all = Vec::new();
    let reason = loop {
        match next()? {
            Note::Told(told) => all.push(told?),
            Note::Close(reason) => break reason,
            Note::Open(_) => return Err("it opens twice".into()),
        }
    };
    if canary {
        let last = (frames.pop(), all.pop());
        if last != (Some(Frame::new(op::PONG, "canary")), Some(Told::Ping("canary".into()))) {
            return Err(format!("a ping behind the case is not answered, but there is {last:?}"));
        }
    }
    if let Some(kind) = case.settings.get(&Setting::Deflate) {
        let mut inflater = Inflater::new(*kind == 2);
        for frame in frames.iter_mut().filter(|frame| frame.rsv == 4) {
            frame.payload = inflater.message(&frame.payload, usize::MAX).map_err(|_| "no deflated data")?;
            frame.rsv = 0;
        }
    }
    let closes = frames.last().is_some_and(|frame| frame.opcode == op::CLOSE);
    let close = if closes { frames.pop() } else { None };
    let code = close.as_ref().and_then(Frame::code);
    let expected = expected(case);
    let failed = matches!(case.end, End::Fails(..) | End::Broken(_));
    let told = merged(all, failed);
    if told != expected.told || frames != expected.answers {
        return Err(format!("{} and {} instead of {}", brief(&told), brief(&frames), brief(&expected)));
    }
    let what = (reason.code(), reason.by_peer(), reason.is_clean());
    let right = match &case.end {
        End::Open | End::Lost => close.is_none() && what == (Some(1006), true, false),
        End::Fails(right, _) => code == Some(*right) && what == (Some(*right), false, false),
        End::Broken(right) | End::Closing(right) => code == Some(*right) && !what.1 && !what.2,
        End::ClosedByPeer(right, text) => {
            code == (*right != 1005).then_some(*right)
                && close.is_some()
                && what == (Some(*right), true, true)
                && reason.text() == text
        }
        End::ClosedByUs(right) => code == Some(*right) && what == (Some(*right), false, true),
    };
    if right {
        return Ok(());
    }
    Err(format!("it ends with {what:?}, {reason} and a close frame with {code:?}; {:?}", case.end))
}
