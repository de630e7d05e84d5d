//! Senders that are held until a handshake is done, and sending halves that it sets free: on every backend, with and
//! without a layer below.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_connection::{
    Client, Connection, EventLoop, Handlers, LoopSettings, Reconnect, SendError, Sent, Service, Settings,
};
use workerman_event::sim::LinkOptions;
use workerman_event::{BackendKind, spawn};
use workerman_protocol::{Goodbye, Raw, Role};
use workerman_tests::conformance::sim::{Perfect, Simulated};
use workerman_tests::conformance::{World, patiently};
use workerman_tests::on_real_backends;
use workerman_tests::serving::{self, Serving};
use workerman_tests::shaking::rig::{
    Conn, Conns, Lines, marked, noting, peer, service, settle, start, until,
};
use workerman_tests::shaking::{Agreed, Counted, Marks, Shaking, Wrong};
use workerman_tests::toy::Seen;
use workerman_tests::xor::Xor;

async fn everything_leaves_in_order<M: Marks, W: World>(world: W) {
    let conns = Conns::new();
    let keep = conns.clone();
    let handlers = Handlers::new()
        .on_connect(move |conn: &Conn<M>| {
            for line in ["a", "b"] {
                assert_eq!(conn.send(line).unwrap(), Sent::Accepted);
            }
            assert!(matches!(conn.send("no\tencoding"), Err(SendError::Encode(Wrong(_)))));
            keep.0.lock().unwrap().push(conn.clone());
        })
        .on_event(|conn: &Conn<M>, ()| conn.send("asked"))
        .on_message(|conn: &Conn<M>, line| {
            let _ = conn.send(format!("first {line}"))?;
            assert!(matches!(conn.send("no\tencoding"), Err(SendError::Encode(Wrong(_)))));
            Ok::<_, SendError<Wrong>>(format!("said {line}"))
        });
    let (handle, _, address) = start(&world, service::<M>(handlers, Settings::default()));
    let mut peer = peer(&world, &address).await;
    let conn = conns.next().await;
    let _ = conn.send("c").unwrap();
    peer.say("PING\nASK\nPING\n").await;
    peer.hears(&["PONG", "PONG"]).await;
    let _ = conn.send("d").unwrap();
    let mut marks = M::default();
    let held: usize =
        ["a", "b", "c", "asked", "d"].map(|line| marks.mark().len() + line.len() + 1).iter().sum();
    assert_eq!((conn.buffered() as u64, handle.snapshot().bytes_queued), (held as u64, held as u64));
    peer.say("HELLO 5\nx\ny\n").await;
    let lines = ["a", "b", "c", "asked", "d", "first x", "said x", "first y", "said y", "e", "f"];
    // The failed one has used a number of the stateful half, in a callback before the release as well.
    let mut all = expected::<M>(&lines);
    all.insert(5, "(open)".to_owned());
    peer.hears(&["WELCOME 5"]).await;
    peer.hears(&all[..10]).await;
    let _ = conn.send("e").unwrap();
    let _ = conn.send("f").unwrap();
    peer.hears(&all[10..]).await;
    assert_eq!((conn.buffered(), conn.messages_out()), (0, 11));
    assert_eq!(handle.snapshot().messages_out, 11);
    drop(peer);
    settle(&handle).await;
}

/// The lines of `everything_leaves_in_order`: what has no encoding takes a number, too.
fn expected<M: Marks>(lines: &[&str]) -> Vec<String> {
    let mut marks = M::default();
    let mut marked = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        marked.push(if M::FREE && n >= 5 {
            format!("[5] {line}")
        } else {
            format!("{}{line}", marks.mark())
        });
        if *line == "b" || line.starts_with("first") {
            marks.mark();
        }
    }
    marked
}

async fn the_marks_hold<M: Marks, W: World>(world: W) {
    let (seen, conns) = (Seen::default(), Conns::new());
    let settings = Settings { high_water: 100, hard_limit: 1000, ..Settings::default() };
    let (handle, _, address) = start(&world, service::<M>(noting(&seen, &conns), settings));
    let mut peer = peer(&world, &address).await;
    let conn = conns.next().await;
    let mut sent = 1;
    while conn.send("0123456789").unwrap() == Sent::Accepted {
        sent += 1;
    }
    assert!(matches!(conn.send("more"), Err(SendError::Full { queued }) if queued == conn.buffered()));
    let ready = spawn(conn.ready());
    until("full", || seen.all() == ["full"]).await;
    // It is not full for its handshake.
    peer.say("PING\n").await;
    peer.hears(&["PONG"]).await;
    assert!(!ready.is_finished() && conn.buffered() >= 100);
    peer.say("HELLO 2\n").await;
    peer.hears(&["WELCOME 2"]).await;
    peer.hears(&marked::<M>(sent, 2, &vec!["0123456789"; sent])).await;
    peer.hears(&["(open)"]).await;
    assert!(patiently(ready).await.unwrap().unwrap().is_ok());
    until("drained", || seen.all() == ["full", "drained"]).await;
    assert_eq!(conn.send("again").unwrap(), Sent::Accepted);
    peer.line().await;
    drop(peer);
    settle(&handle).await;
}

/// What the peer says, what it hears, what is told of the end, and what is done to the connection.
type Ends<M> = (&'static str, &'static str, &'static str, fn(&Conn<M>));

async fn what_is_held_at_the_end_is_dropped<M: Marks, W: World>(world: W) {
    let ends: [Ends<M>; 7] = [
        ("NO\n", "400\n", "closed: protocol error", |_| ()),
        ("FINE\n", "", "closed: closed by this side", |_| ()),
        ("", "", "closed: closed by this side", Connection::close),
        ("", "", "closed: closed by this side", Connection::end),
        ("", "", "closed: closed by this side", Connection::abort),
        ("", "", "closed: closed by this side", |conn| assert!(conn.close_with("last").is_ok())),
        ("", "BYE 4 so\n", "closed: closed by this side with 4: so", |conn| conn.close_with_code(4, "so")),
    ];
    for (n, (says, hears, tells, end)) in ends.into_iter().enumerate() {
        let (seen, conns) = (Seen::default(), Conns::new());
        let (handle, _, address) = start(&world, service::<M>(noting(&seen, &conns), Settings::default()));
        let mut peer = peer(&world, &address).await;
        let conn = conns.next().await;
        let _ = conn.send("held").unwrap();
        let _ = conn.send("held too").unwrap();
        peer.say(says).await;
        end(&conn);
        if n == 4 {
            drop(peer);
        } else {
            assert_eq!(peer.rest().await, hears, "case {n}");
        }
        settle(&handle).await;
        assert_eq!(seen.all().last().unwrap(), tells, "case {n}");
        let lost = if n == 5 { 3 } else { 2 };
        assert_eq!((conn.buffered(), handle.snapshot().send_failures), (0, lost), "case {n}");
        assert!(matches!(conn.send("late"), Err(SendError::Closed)));
    }
}

async fn an_end_of_the_peer_drops_what_is_held<M: Marks, W: World>(world: W) {
    let (seen, conns) = (Seen::default(), Conns::new());
    let (handle, _, address) = start(&world, service::<M>(noting(&seen, &conns), Settings::default()));
    let mut peer = peer(&world, &address).await;
    let conn = conns.next().await;
    let _ = conn.send("held").unwrap();
    peer.0.shutdown().await.unwrap();
    assert_eq!(peer.rest().await, "");
    settle(&handle).await;
    assert_eq!(seen.all(), ["closed: closed by the peer"]);
    assert_eq!(handle.snapshot().send_failures, 1);
}

async fn a_last_message_ends_the_stream_behind_the_handshake<M: Marks, W: World>(world: W) {
    let (seen, conns) = (Seen::default(), Conns::new());
    let (handle, _, address) = start(&world, service::<M>(noting(&seen, &conns), Settings::default()));
    let mut peer = peer(&world, &address).await;
    let conn = conns.next().await;
    let _ = conn.send("one").unwrap();
    let _ = conn.send("LAST").unwrap();
    assert!(matches!(conn.send("late"), Err(SendError::Closed)));
    peer.say("PING\nHELLO 1\n").await;
    let [one, last] = &marked::<M>(2, 1, &["one", "LAST"])[..] else { unreachable!() };
    assert_eq!(peer.rest().await, format!("PONG\nWELCOME 1\n{one}\n{last}\n(open)\n"));
    settle(&handle).await;
}

async fn a_close_with_a_code_may_wait_for_the_handshake<M: Marks, W: World>(world: W) {
    let (seen, conns) = (Seen::default(), Conns::new());
    let make = || Shaking::<M>::new().goodbye(Goodbye::WhenPeerCloses);
    let service = Service::new("patient", make, noting(&seen, &conns), Settings::default());
    let (handle, _, address) = start(&world, service);
    let mut peer = peer(&world, &address).await;
    let conn = conns.next().await;
    let _ = conn.send("held").unwrap();
    conn.close_with_code(3, "later");
    peer.hears(&["BYE 3 later"]).await;
    peer.say("HELLO 4\n").await;
    peer.hears(&["WELCOME 4"]).await;
    peer.hears(&marked::<M>(1, 4, &["held"])).await;
    peer.hears(&["(open)"]).await;
    peer.say("BYE 3\n").await;
    assert_eq!(peer.rest().await, "BYE BYE\n");
    settle(&handle).await;
    assert_eq!(seen.all(), ["closed: closed by this side with 3: later"]);
}

async fn a_drain_ends_a_handshake<M: Marks, W: World>(world: W) {
    let (seen, conns) = (Seen::default(), Conns::new());
    let (handle, _, address) = start(&world, service::<M>(noting(&seen, &conns), Settings::default()));
    let peer = peer(&world, &address).await;
    let conn = conns.next().await;
    let _ = conn.send("held").unwrap();
    let drain = handle.clone();
    let drained = spawn(async move { drain.drain(Duration::from_secs(20)).await.unwrap() });
    assert_eq!(peer.rest().await, "GOING\n");
    assert_eq!(patiently(drained).await.unwrap().unwrap().finished, 1);
    assert_eq!(seen.all(), ["closed: shutdown"]);
    settle(&handle).await;
    assert_eq!(handle.snapshot().send_failures, 1);
}

async fn a_panicking_encoder_ends_its_connection<M: Marks, W: World>(world: W) {
    for opens in [false, true] {
        let (seen, conns) = (Seen::default(), Conns::new());
        let (handle, _, address) = start(&world, service::<M>(noting(&seen, &conns), Settings::default()));
        let mut peer = peer(&world, &address).await;
        let conn = conns.next().await;
        if opens {
            peer.say("HELLO 1\n").await;
            peer.hears(&["WELCOME 1", "(open)"]).await;
        }
        assert!(matches!(conn.send("PANIC"), Err(SendError::Panicked)));
        settle(&handle).await;
        assert_eq!(seen.all(), ["closed: panic"]);
        assert_eq!(handle.snapshot().panics, 1);
    }
}

async fn what_a_broken_off_encoder_left_is_taken_back<M: Marks, W: World>(world: W) {
    let handlers = Handlers::new().on_message(|conn: &Conn<M>, line| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| conn.send("PANIC")));
        assert!(caught.is_err() || matches!(caught, Ok(Err(SendError::Panicked))));
        line
    });
    let (handle, _, address) = start(&world, service::<M>(handlers, Settings::default()));
    let mut peer = peer(&world, &address).await;
    peer.say("HELLO 7\nx\n").await;
    if M::FREE || size_of::<M>() == 0 {
        peer.hears(&["WELCOME 7", "(open)"]).await;
        peer.hears(&marked::<M>(0, 7, &["x"])).await;
    } else {
        // Its state is lost, and so is the connection; of what was not written before, nothing is.
        let mut all = Vec::new();
        while let Ok(byte) = patiently(peer.0.read_u8()).await.expect("an end in time") {
            all.push(byte);
        }
        assert!(b"WELCOME 7\n(open)\n".starts_with(&all), "{all:?}");
    }
    drop(peer);
    settle(&handle).await;
}

async fn a_broadcast_reaches_the_held_and_the_free<M: Marks, W: World>(world: W) {
    let (seen, conns) = (Seen::default(), Conns::new());
    let (handle, service, address) = start(&world, service::<M>(noting(&seen, &conns), Settings::default()));
    let mut peers = Vec::new();
    for bits in [4, 5] {
        let mut open = peer(&world, &address).await;
        open.say(&format!("HELLO {bits}\n")).await;
        open.hears(&[format!("WELCOME {bits}"), "(open)".to_owned()]).await;
        peers.push((bits, open));
    }
    let mut held = peer(&world, &address).await;
    until("three", || service.len() == 3).await;
    let result = service.broadcast("news").unwrap();
    assert_eq!((result.sent, result.refused), (3, 0));
    let counts = !M::FREE && size_of::<M>() > 0;
    for (bits, open) in &mut peers {
        let free = format!("[{bits}] {}", if *bits == 5 { "NEWS" } else { "news" });
        let expected = if M::FREE {
            free
        } else if counts {
            "1 news".to_owned()
        } else {
            "news".to_owned()
        };
        open.hears(&[expected]).await;
    }
    held.say("HELLO 5\n").await;
    held.hears(&["WELCOME 5", if counts { "1 news" } else { "news" }, "(open)"]).await;
    drop((peers, held));
    settle(&handle).await;
}

async fn what_is_sent_while_dialling_waits_for_the_handshake<M: Marks, W: World>(world: W) {
    let (event_loop, handle) = EventLoop::new(LoopSettings::default());
    drop(spawn(event_loop.run_on(world.backend())));
    let (acceptor, address) = world.acceptor();
    let (seen, conns) = (Seen::default(), Conns::new());
    let policy = Reconnect { first: Duration::from_millis(5), ..Reconnect::default() };
    let conn = Client::with(Shaking::<M>::new(), address.to_string().trim_start_matches("tcp://"))
        .handlers(noting(&seen, &conns))
        .reconnect(policy)
        .connect_on(&handle)
        .unwrap();
    let _ = conn.send("while dialling").unwrap();
    // The first ends before the handshake is done: what was sent is kept.
    let mut first = Lines(patiently(W::accept(&acceptor)).await.unwrap());
    first.hears(&["HELLO 5"]).await;
    let _ = conn.send("while shaking").unwrap();
    drop(first);
    let mut second = Lines(patiently(W::accept(&acceptor)).await.unwrap());
    second.hears(&["HELLO 5"]).await;
    let _ = conns.next().await;
    second.say("WELCOME 5\n").await;
    second.hears(&marked::<M>(2, 5, &["while dialling", "while shaking"])).await;
    second.hears(&["(open)"]).await;
    let _ = conn.send("while up").unwrap();
    // A stateful half begins anew with the connection.
    let mark = if M::FREE {
        "[5] "
    } else if size_of::<M>() > 0 {
        "1 "
    } else {
        ""
    };
    second.hears(&[format!("{mark}while up")]).await;
    drop(second);
    until("lost", || seen.all().len() == 2).await;
    // Refused until the loss has been told, then held for the next.
    let mut taken = Err(SendError::Closed);
    until("taken", || {
        taken = conn.send("while lost");
        taken.is_ok()
    })
    .await;
    let mut third = Lines(patiently(W::accept(&acceptor)).await.unwrap());
    third.hears(&["HELLO 5"]).await;
    third.say("PING\nWELCOME 6\n").await;
    third.hears(&["PONG"]).await;
    third.hears(&marked::<M>(1, 6, &["while lost"])).await;
    third.hears(&["(open)"]).await;
    conn.close();
    assert_eq!(third.rest().await, "");
    patiently(conn.closed()).await.unwrap();
    until("nothing is queued", || handle.snapshot().bytes_queued == 0).await;
    handle.stop();
}

async fn a_client_that_gives_up_drops_what_is_held<M: Marks, W: World>(world: W) {
    let (event_loop, handle) = EventLoop::new(LoopSettings::default());
    drop(spawn(event_loop.run_on(world.backend())));
    let (acceptor, address) = world.acceptor();
    let conn = Client::with(Shaking::<M>::new(), address.to_string().trim_start_matches("tcp://"))
        .connect_on(&handle)
        .unwrap();
    let _ = conn.send("held").unwrap();
    drop(patiently(W::accept(&acceptor)).await.unwrap());
    patiently(conn.closed()).await.unwrap();
    until("nothing is queued", || handle.snapshot().bytes_queued == 0).await;
    assert_eq!(handle.snapshot().send_failures, 1);
    handle.stop();
}

async fn a_protocol_that_takes_over_may_be_open_at_once<M: Marks, W: World>(world: W) {
    let seen = Seen::default();
    let conns = Conns::<M>::new();
    let next = noting(&seen, &conns).on_connect(|conn: &Conn<M>| conn.send("up"));
    let next = Arc::new(service::<M>(next.on_message(|_, line| format!("next {line}")), Settings::default()));
    let handlers = Handlers::new().on_message(move |conn: &Connection<Raw>, line: Bytes| {
        let bits = line[0] - b'0';
        let _ = conn.send("SWITCHING\n")?;
        let protocol = if bits == 0 { Shaking::new() } else { Shaking::done(bits) };
        let upgraded = conn.upgrade(protocol, &next)?;
        let _ = upgraded.send("early").unwrap();
        Ok::<_, SendError<std::convert::Infallible>>(())
    });
    let (event_loop, handle) = EventLoop::new(LoopSettings::default());
    let (listener, address) = world.listener();
    handle.listen(Arc::new(Service::new("raw", Raw::new, handlers, Settings::default())), listener).unwrap();
    drop(spawn(event_loop.run_on(world.backend())));

    let mut open = peer(&world, &address).await;
    open.say("9").await;
    open.hears(&["SWITCHING"]).await;
    let [early, up, x] = &marked::<M>(1, 9, &["early", "up", "next x"])[..] else { unreachable!() };
    open.hears(&[early, "(open)", up]).await;
    open.say("x\n").await;
    open.hears(&[x]).await;

    let mut shakes = peer(&world, &address).await;
    shakes.say("0").await;
    shakes.hears(&["SWITCHING"]).await;
    shakes.say("HELLO 8\nx\n").await;
    shakes.hears(&["WELCOME 8"]).await;
    let [early, up, x] = &marked::<M>(2, 8, &["early", "up", "next x"])[..] else { unreachable!() };
    shakes.hears(&[early, up, "(open)", x]).await;
    drop((open, shakes));
    settle(&handle).await;
}

async fn a_protocol_that_is_replaced_before_its_handshake_lets_go<M: Marks, W: World>(world: W) {
    let raw = Arc::new(Service::new("raw", Raw::new, Handlers::new(), Settings::default()));
    let handlers = Handlers::new().on_event(move |conn: &Conn<M>, ()| {
        let _ = conn.send("one")?;
        let next = conn.upgrade(Raw::new(), &raw)?;
        let _ = next.send("raw\n").unwrap();
        Ok::<_, SendError<Wrong>>(())
    });
    let (handle, _, address) = start(&world, service::<M>(handlers, Settings::default()));
    let mut peer = peer(&world, &address).await;
    peer.say("PING\nASK\n").await;
    peer.hears(&["PONG"]).await;
    peer.hears(&marked::<M>(1, 0, &["one"])).await;
    peer.hears(&["raw"]).await;
    drop(peer);
    settle(&handle).await;
}

async fn a_handshake_is_timed_while_the_application_decides<M: Marks, W: World>(world: W) {
    let seen = Seen::default();
    let handlers = noting(&seen, &Conns::new()).on_event(|_: &Conn<M>, ()| std::future::pending::<()>());
    let settings = Settings { handshake_timeout: Some(Duration::from_millis(300)), ..Settings::default() };
    let (handle, _, address) = start(&world, service::<M>(handlers, settings));
    let mut peer = peer(&world, &address).await;
    peer.say("ASK\nPING\n").await;
    peer.hears(&["PONG", "503"]).await;
    assert_eq!(peer.rest().await, "");
    settle(&handle).await;
    let timeout = "timed out: the handshake was not finished";
    let expected =
        [format!("error: {timeout}"), "closed: timeout: the handshake was not finished".to_owned()];
    assert_eq!(seen.all(), expected);
}

async fn a_farewell_is_told<M: Marks, W: World>(world: W) {
    // Said by the peer, by this side and answered, by this side and not answered.
    for case in 0..3 {
        let (seen, conns) = (Seen::default(), Conns::new());
        let make = || Shaking::<M>::new().goodbye(Goodbye::WhenPeerCloses);
        let told = seen.clone();
        let handlers = noting(&seen, &conns).on_close(move |_, reason| {
            let all = (reason.code(), reason.text(), reason.is_clean(), reason.by_peer());
            told.note(format_args!("{all:?}"));
        });
        let service = Service::new("polite", make, handlers, Settings::default());
        let (handle, _, address) = start(&world, service);
        let mut peer = peer(&world, &address).await;
        peer.say("HELLO 1\n").await;
        peer.hears(&["WELCOME 1", "(open)"]).await;
        let conn = conns.next().await;
        let expected = match case {
            0 => {
                peer.say("BYE 7 enough\n").await;
                assert_eq!(peer.rest().await, "BYE BYE\n");
                "(Some(7), \"enough\", true, true)"
            }
            case => {
                conn.close_with_code(8, "done");
                peer.hears(&["BYE 8 done"]).await;
                if case == 1 {
                    peer.say("BYE\n").await;
                    assert_eq!(peer.rest().await, "BYE BYE\n");
                    "(Some(8), \"done\", true, false)"
                } else {
                    drop(peer);
                    "(Some(8), \"done\", false, false)"
                }
            }
        };
        settle(&handle).await;
        assert_eq!(seen.all(), [expected], "case {case}");
    }
}

async fn both_sides_hold_over_a_layer<M: Marks, W: World>(world: W) {
    let seen = Seen::default();
    let (at_server, at_client) = (seen.clone(), Seen::default());
    let handlers = Handlers::new()
        .on_connect(|conn: &Conn<M>| conn.send("server"))
        .on_message(move |_, line| at_server.note(line));
    let service = service::<M>(handlers, Settings::default()).layer(|| Box::new(Xor::new(Role::Server, 0)));
    let (handle, _, address) = start(&world, service);
    let heard = at_client.clone();
    let conn = Client::with(Shaking::<M>::new(), address.to_string().trim_start_matches("tcp://"))
        .layer(|| Box::new(Xor::new(Role::Client, 0x5a)))
        .on_connect(|conn: &Conn<M>| conn.send("client"))
        .on_message(move |_, line| heard.note(line))
        .connect_on(&handle)
        .unwrap();
    let _ = conn.send("early").unwrap();
    until("both have said all", || seen.all().len() == 3 && at_client.all().len() == 2).await;
    // The client answers nothing to the handshake; its own open line comes behind what it held.
    let mut client = marked::<M>(2, 5, &["early", "client"]);
    client.push("(open)".to_owned());
    let mut server = marked::<M>(1, 5, &["server"]);
    server.push("(open)".to_owned());
    assert_eq!((seen.all(), at_client.all()), (client, server));
    conn.close();
    settle(&handle).await;
}

/// Every body, with each kind of sending half.
macro_rules! bodies {
    (@each $world:ident: $($body:ident),* $(,)?) => {
        $(mod $body {
            #[test]
            fn stateless() {
                super::super::$world(async |world| super::super::$body::<(), _>(world).await);
            }

            #[test]
            fn stateful() {
                super::super::$world(async |world| super::super::$body::<super::super::Counted, _>(world).await);
            }

            #[test]
            fn free() {
                super::super::$world(async |world| super::super::$body::<super::super::Agreed, _>(world).await);
            }
        })*
    };
    ($($world:ident),*) => {
        $(mod $world {
            bodies! { @each $world:
                everything_leaves_in_order, the_marks_hold, what_is_held_at_the_end_is_dropped,
                an_end_of_the_peer_drops_what_is_held, a_last_message_ends_the_stream_behind_the_handshake,
                a_close_with_a_code_may_wait_for_the_handshake, a_drain_ends_a_handshake,
                a_panicking_encoder_ends_its_connection, what_a_broken_off_encoder_left_is_taken_back,
                a_broadcast_reaches_the_held_and_the_free, what_is_sent_while_dialling_waits_for_the_handshake,
                a_client_that_gives_up_drops_what_is_held, a_protocol_that_takes_over_may_be_open_at_once,
                a_protocol_that_is_replaced_before_its_handshake_lets_go,
                a_handshake_is_timed_while_the_application_decides, a_farewell_is_told,
                both_sides_hold_over_a_layer,
            }
        })*
    };
}

type Sims = Simulated<Perfect>;

fn perfect(body: impl AsyncFn(Sims)) {
    Sims::run_with(1, LinkOptions::default(), async |world| body(world).await);
}

fn choppy(body: impl AsyncFn(Sims)) {
    for seed in 0..5 {
        let options = LinkOptions {
            segment: 1..=7,
            capacity: 64,
            latency: Duration::from_millis(1)..=Duration::from_millis(9),
            ..LinkOptions::default()
        };
        Sims::run_with(seed, options, async |world| body(world).await);
    }
}

#[cfg(unix)]
fn on_tokio(
    body: impl AsyncFn(workerman_tests::conformance::real::Real<workerman_event::tokio_backend::Tokio>),
) {
    World::run(async |world| body(world).await);
}

bodies!(perfect, choppy);
#[cfg(unix)]
bodies!(on_tokio);

#[cfg(target_os = "linux")]
fn on_epoll(body: impl AsyncFn(workerman_tests::conformance::real::Real<workerman_event::epoll::Epoll>)) {
    World::run(async |world| body(world).await);
}

#[cfg(target_os = "linux")]
bodies!(on_epoll);

on_real_backends! {
    the_order_of_each_sender_holds_across_the_release,
}

fn the_order_of_each_sender_holds_across_the_release(kind: BackendKind) {
    keeps_order::<()>(kind);
    keeps_order::<Counted>(kind);
    keeps_order::<Agreed>(kind);
}

/// Threads send before, while and after the handshake is done, and so do callbacks.
fn keeps_order<M: Marks>(kind: BackendKind) {
    const SENDERS: usize = 3;
    const LINES: usize = 300;
    for _ in 0..5 {
        let (told, conns) = serving::events();
        let handlers = Handlers::new()
            .on_connect(move |conn: &Conn<M>| {
                told.send(conn.clone()).unwrap();
                conn.send("callback 0")
            })
            .on_event(|conn: &Conn<M>, ()| {
                for n in 1..3 {
                    let _ = conn.send(format!("callback {n}"))?;
                }
                Ok::<_, SendError<Wrong>>(())
            })
            .on_message(|_, line| format!("callback {line}"));
        let server = Serving::start(kind, service::<M>(handlers, Settings::default()));
        let mut peer = server.peer();
        let conn = serving::next(&conns);
        let threads: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let conn = conn.clone();
                std::thread::spawn(move || {
                    for n in 0..LINES {
                        let _ = conn.send(format!("thread{sender} {n}")).unwrap();
                    }
                })
            })
            .collect();
        peer.say("ASK\nHELLO 9\n3\n4\n");
        let mut next = std::collections::BTreeMap::new();
        let mut lines = 0;
        while lines < SENDERS * LINES + 5 {
            let line = peer.line().expect("a line");
            if line == "WELCOME 9" || line == "(open)" {
                continue;
            }
            // A mark may be in front.
            let words: Vec<_> = line.split(' ').collect();
            let [.., sender, number] = &words[..] else { panic!("{line}") };
            let next = next.entry((*sender).to_owned()).or_insert(0);
            assert_eq!(number.parse(), Ok(*next), "{line}");
            *next += 1;
            lines += 1;
            if words.len() == 3 && !M::FREE {
                assert_eq!(words[0].parse(), Ok(lines), "{line}");
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        server.settle();
        assert_eq!((conn.buffered(), conn.messages_out()), (0, lines as u64));
    }
}
