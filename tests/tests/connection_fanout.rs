//! Broadcasts on the loop's own thread, among other sends: each receiver gets what is for it, whole and in order.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};

use fastrand::Rng;
use workerman_connection::{CloseReason, Connection, Handlers, LoopSettings, Service, Settings};
use workerman_event::BackendKind;
use workerman_protocol::Text;
use workerman_tests::on_real_backends;
use workerman_tests::serving::{Peer, Serving, events, next};

on_real_backends! {
    broadcasts_and_sends_keep_their_order,
    what_was_broadcast_before_an_end_is_sent,
    what_waits_is_counted_and_bounded,
}

/// A loop with some connections, in the order of the peers.
struct Setup {
    service: Arc<Service<Text>>,
    server: Serving,
    peers: Vec<Peer>,
    conns: Vec<Connection<Text>>,
}

fn setup(kind: BackendKind, peers: usize, handlers: Handlers<Text>, settings: Settings) -> Setup {
    let (told, conns) = events();
    let handlers = handlers.on_connect(move |conn: &Connection<Text>| told.send(conn.clone()).unwrap());
    let service = Arc::new(Service::new("fanout", Text::new, handlers, settings));
    let server = Serving::with(kind, LoopSettings::default(), &service);
    let (peers, conns) = (0..peers).map(|_| (server.peer(), next(&conns))).unzip();
    Setup { service, server, peers, conns }
}

/// One thing that a program does.
enum Step {
    Broadcast { skip: Option<usize>, line: String },
    Send { to: usize, line: String },
}

/// What a callback or a command is to do.
type Program = Arc<Mutex<Vec<Step>>>;

fn execute(program: &Program, service: &Service<Text>, conns: &[Connection<Text>]) {
    for step in program.lock().unwrap().drain(..) {
        match step {
            Step::Broadcast { skip, line } => {
                let skipped = skip.map(|skip| &conns[skip]);
                let told = service.broadcast_except(line, |conn| Some(conn) == skipped).unwrap();
                assert_eq!(told.sent + usize::from(skip.is_some()), conns.len());
            }
            Step::Send { to, line } => drop(conns[to].send(line).unwrap()),
        }
    }
}

fn broadcasts_and_sends_keep_their_order(kind: BackendKind) {
    const PEERS: usize = 5;
    let program = Program::default();
    let everyone = Arc::new(Mutex::new(Vec::new()));
    let (of_callback, conns_of_callback) = (Arc::clone(&program), Arc::clone(&everyone));
    let handlers = Handlers::new().on_message(move |conn: &Connection<Text>, _| {
        execute(&of_callback, conn.service(), &conns_of_callback.lock().unwrap());
    });
    let mut setup = setup(kind, PEERS, handlers, Settings::default());
    everyone.lock().unwrap().clone_from(&setup.conns);
    let mut random = Rng::with_seed(7);
    let mut number = 0;
    for _ in 0..300 {
        let mut expected = vec![Vec::new(); PEERS];
        for _ in 0..random.usize(1..20) {
            number += 1;
            let length = [3, 60, 60, 200, 5000, 40_000][random.usize(0..6)];
            let line = format!("{number:0length$}");
            let to = random.usize(0..PEERS);
            let step = match random.usize(0..4) {
                0 => Step::Send { to, line: line.clone() },
                1 => Step::Broadcast { skip: Some(to), line: line.clone() },
                _ => Step::Broadcast { skip: None, line: line.clone() },
            };
            for (index, expected) in expected.iter_mut().enumerate() {
                let gets = match &step {
                    Step::Send { to, .. } => index == *to,
                    Step::Broadcast { skip, .. } => *skip != Some(index),
                };
                if gets {
                    expected.extend_from_slice(line.as_bytes());
                    expected.push(b'\n');
                }
            }
            program.lock().unwrap().push(step);
        }
        if random.usize(0..2) == 0 {
            setup.peers[random.usize(0..PEERS)].say("go\n");
        } else {
            let (program, service, conns) =
                (Arc::clone(&program), Arc::clone(&setup.service), setup.conns.clone());
            setup.server.on_loop(move || execute(&program, &service, &conns));
        }
        for (peer, expected) in setup.peers.iter_mut().zip(expected) {
            assert!(peer.bytes(expected.len()) == expected);
        }
    }
    assert!(setup.conns.iter().all(|conn| conn.buffered() == 0));
}

fn what_was_broadcast_before_an_end_is_sent(kind: BackendKind) {
    let (told, ends) = events();
    let handlers = Handlers::new().on_close(move |_, reason| told.send(reason).unwrap());
    let mut setup = setup(kind, 4, handlers, Settings::default());
    let (service, conns) = (Arc::clone(&setup.service), setup.conns.clone());
    let sent = setup.server.on_loop(move || {
        let first = service.broadcast("first").unwrap().sent;
        conns[1].close();
        conns[2].abort();
        [first, service.broadcast("second").unwrap().sent]
    });
    assert_eq!(sent, [4, 2]);
    assert_eq!(setup.peers[1].rest(), (b"first\n".to_vec(), false));
    let mut reasons = [next(&ends), next(&ends)];
    reasons.sort_by_key(|reason| *reason != CloseReason::Local);
    assert_eq!(reasons[0], CloseReason::Local);
    // What they had to get holds nobody up.
    for line in ["third", "fourth"] {
        let (service, large) = (Arc::clone(&setup.service), line.repeat(100));
        assert_eq!(setup.server.on_loop(move || service.broadcast(large).unwrap().sent), 2);
    }
    let all = format!("first\nsecond\n{}\n{}\n", "third".repeat(100), "fourth".repeat(100));
    for peer in [0, 3] {
        assert_eq!(setup.peers[peer].bytes(all.len()), all.as_bytes());
    }
}

fn what_waits_is_counted_and_bounded(kind: BackendKind) {
    let settings = Settings { high_water: 10_000, ..Settings::default() };
    let mut setup = setup(kind, 2, Handlers::new(), settings);
    let (service, conns) = (Arc::clone(&setup.service), setup.conns.clone());
    let (queued, refused) = setup.server.on_loop(move || {
        service.broadcast("12345").unwrap();
        let queued = conns[1].buffered();
        let refused = (0..100).map(|_| service.broadcast("x".repeat(999)).unwrap().refused).sum::<usize>();
        (queued, refused)
    });
    assert_eq!(queued, 6);
    // 6 B, and ten times 1,000: the last one goes over the mark.
    assert_eq!(refused, 2 * 90);
    for peer in &mut setup.peers {
        let got = peer.bytes(10_006);
        assert!(got.starts_with(b"12345\nxxx"));
    }
    let sent = setup.server.handle.snapshot().messages_out;
    assert_eq!(sent, 22);
    let service = Arc::clone(&setup.service);
    assert_eq!(setup.server.on_loop(move || service.broadcast("again").unwrap().sent), 2);
    assert_eq!(setup.peers[0].bytes(6), b"again\n");
    // Nobody reads: at some point no more is taken, and what was taken arrives.
    let (mut taken, mut refused) = (0, false);
    while !refused {
        let (service, other) = (Arc::clone(&setup.service), setup.conns[1].clone());
        let line = "y".repeat(3999);
        let told =
            setup.server.on_loop(move || service.broadcast_except(line, |conn| *conn == other).unwrap());
        (taken, refused) = (taken + told.sent, told.refused == 1);
        assert!(taken < 100_000);
    }
    let got = setup.peers[0].bytes(taken * 4000);
    assert!(
        got.chunks(4000).all(|line| line[..3999].iter().all(|byte| *byte == b'y') && line[3999] == b'\n')
    );
}
