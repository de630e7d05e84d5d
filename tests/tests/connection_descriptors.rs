//! A service that runs out of file descriptors goes on: a process of its own, since its limit is lowered.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use workerman_connection::{Client, CloseReason, Connection, Handlers, Service, Settings};
use workerman_event::BackendKind;
use workerman_protocol::{Line, Text};
use workerman_tests::serving::{Serving, events, hold, next};

#[test]
fn out_of_descriptors_and_back() {
    for kind in [BackendKind::Epoll, BackendKind::Tokio] {
        if kind.is_available() {
            survives(kind);
        }
    }
}

fn survives(kind: BackendKind) {
    let handlers = Handlers::new().on_message(|_: &Connection<Text>, line: Line| line);
    let server = Serving::start(kind, Service::new("scarce", Text::new, handlers, Settings::default()));
    let mut served = server.peer();
    served.say("before\n");
    assert_eq!(served.line().as_deref(), Some("before"));
    // Peers that are in the backlog when the limit is met: the loop is held up until then.
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (told, seen) = events();
    let mut taken: Vec<File> = Vec::new();
    let held = hold(&server);
    let waiting: Vec<_> = (0..8).map(|_| server.peer()).collect();
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), maximum }).unwrap();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    drop(held);
    // A client of the program meets the limit too, and is told.
    let _client = Client::text(server.address.to_string())
        .on_close(move |_, reason| told.send(reason).unwrap())
        .connect_on(&server.handle)
        .unwrap();
    assert_eq!(next(&seen), CloseReason::ConnectFailed);
    while server.handle.snapshot().refused_accepts == 0 {
        served.say("meanwhile\n");
        assert_eq!(served.line().as_deref(), Some("meanwhile"));
    }
    drop((taken, waiting));
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let mut late = server.peer();
    late.say("after\n");
    assert_eq!(late.line().as_deref(), Some("after"));
    served.say("still\n");
    assert_eq!(served.line().as_deref(), Some("still"));
}
