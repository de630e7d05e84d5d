//! Cases over sockets.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;

use workerman::http::{Http, Reply, Request, Response};
use workerman::{BackendKind, Worker};

use super::data::{Case, Expected, Message, Setting};
use super::server::{CANARY, Exchange, check, protocol, seen};
use super::text::show;
use crate::workers::{PATIENCE, Running, start};

/// How requests are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answering {
    /// By what the handler returns.
    Returning,
    /// By tokens, from another thread, several requests of a connection at a time, the youngest first.
    ByToken,
}

/// A worker with the limits of a case.
pub fn worker(kind: BackendKind, answering: Answering, case: &Case) -> Running<Http> {
    let worker = Worker::http("127.0.0.1:0").protocol(protocol(case));
    match answering {
        Answering::Returning => start(kind, worker.on_message(|_, request| seen(&request))),
        Answering::ByToken => {
            let (send, tokens) = mpsc::channel::<(Reply, Response)>();
            std::thread::spawn(move || {
                while let Ok(first) = tokens.recv() {
                    let mut waiting = vec![first];
                    waiting.extend(tokens.try_iter());
                    for (reply, response) in waiting.into_iter().rev() {
                        // The client may have been refused, and left, in the meantime.
                        let _ = reply.send(response);
                    }
                }
            });
            start(
                kind,
                worker.pipeline(4).on_message(move |_, request: Request| {
                    // The thread takes them as long as there is a worker.
                    let _ = send.send((request.reply(), seen(&request)));
                }),
            )
        }
    }
}

/// Runs all cases, each on a connection of its own.
///
/// # Errors
/// For each case that went wrong what was wrong.
pub fn run(kind: BackendKind, answering: Answering, cases: &[Case]) -> Result<(), Vec<String>> {
    let mut workers: BTreeMap<&BTreeMap<Setting, usize>, Running<Http>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in cases {
        let worker = workers.entry(&case.settings).or_insert_with(|| worker(kind, answering, case));
        if let Err(what) = one(worker.tcp(), case) {
            let bytes = show(&case.bytes);
            wrong.push(format!("{} on {kind:?}, {answering:?}: {what} for {bytes}", case.place));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn one(server: SocketAddr, case: &Case) -> Result<(), String> {
    let mut peer = TcpStream::connect(server).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    let ends = matches!(
        case.expected.last(),
        Some(Expected::Reject(_) | Expected::Accept { message: Message { close: true, .. }, .. })
    );
    let incomplete = matches!(case.expected.last(), Some(Expected::Incomplete));
    // A server that refuses may end while this is being written: what it has said must arrive all the same.
    let _ = peer.write_all(&case.bytes);
    if !incomplete {
        let _ = peer.write_all(CANARY);
    }
    if !ends {
        let _ = peer.shutdown(Shutdown::Write);
    }
    let mut output = Vec::new();
    if let Err(error) = peer.read_to_end(&mut output) {
        let missed = if error.kind() == ErrorKind::ConnectionReset { "reset" } else { "no end" };
        return Err(format!("{missed} after {} bytes: {}", output.len(), show(&output)));
    }
    if incomplete {
        // RFC 9112 8 lets a server say what it misses.
        if let Some(at) = output.windows(10).position(|window| window == b"HTTP/1.1 4") {
            output.truncate(at);
        }
    }
    check(case, &Exchange { output, ended: ends, half_closed: !ends }, !incomplete)
}
