//! How connections of the HTTP server end, or become something else: drains, limits, half-closes, upgrades, tunnels.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use workerman::http::{Admission, Http, Reply, Request, Response, StatusCode};
use workerman::{BoxError, Connection, Handlers, Line, Service, Settings, Text, Worker};
use workerman_tests::http_server::{Broken, Gate, Ground, Pieces, Seen, Wire, get, post, post_chunked};
use workerman_tests::on_all_grounds;

const SECOND: Duration = Duration::from_secs(1);

/// A worker that may take a minute to stop.
fn patient(ground: &Ground) -> Worker<Http> {
    ground.worker().stop_timeout(60 * SECOND)
}

fn a_stop_lets_the_answer_in_progress_arrive(ground: &Ground) {
    // From a handler that is suspended, by a token, as a stream that has begun.
    for how in ["handler", "token", "stream"] {
        let (gate, seen) = (Gate::default(), Seen::default());
        let (opens, begun, notes) = (gate.clone(), seen.clone(), seen.clone());
        let (piece, own) = (ground.large(10_000), ground.clone());
        let worker = patient(ground).on_message_async(async move |_, request: Request| {
            notes.note("begun");
            let (reply, gate) = (request.reply(), gate.pass());
            match request.path() {
                "/token" => drop(workerman::spawn(async move {
                    gate.await;
                    reply.send("late")
                })),
                "/stream" => {
                    let pieces = Pieces::new(100, piece).every(Duration::from_millis(1));
                    return Some(Response::stream(pieces));
                }
                _ => {
                    gate.await;
                    return Some("late".into());
                }
            }
            None
        });
        ground.run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            // On a real backend nobody can tell when the stop is seen.
            let behind = if own.is_virtual() { get("/behind") } else { String::new() };
            wire.say(get(&format!("/{how}")) + &behind).await;
            guest.until("it is begun", || begun.has("begun")).await;
            guest.stop();
            if how == "stream" {
                let answer = wire.answer().await;
                // Its head may have been on the way.
                assert_eq!(answer.body.len(), 100 * piece);
            } else {
                if own.is_virtual() {
                    guest.sleep(SECOND).await;
                }
                opens.open();
                let answer = wire.answer().await;
                assert_eq!(answer.text(), "late", "{how}");
                assert!(!own.is_virtual() || answer.closes());
            }
            if own.is_virtual() {
                wire.is_over().await;
                assert_eq!(begun.all().len(), 1, "what is behind is not begun");
            }
        });
    }
}
on_all_grounds!(a_stop_lets_the_answer_in_progress_arrive);

#[test]
fn an_answer_during_a_drain_says_close() {
    let worker = patient(&Ground::perfect()).on_message_async(async |_, request: Request| {
        if request.path() == "/slow" {
            let _ = workerman::sleep(10 * SECOND).await;
        }
        "fine"
    });
    Ground::perfect().run(worker, async |guest| {
        let (mut busy, mut idle, mut silent) =
            (guest.connect().await, guest.connect().await, guest.connect().await);
        let mut uploads = guest.connect().await;
        assert!(!idle.ask(get("/")).await.closes());
        busy.say(get("/slow")).await;
        uploads.say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc").await;
        guest.sleep(SECOND).await;
        guest.stop();
        guest.sleep(SECOND).await;
        // The next request of a connection that was idle may have been on its way.
        let answer = idle.ask(get("/")).await;
        assert_eq!((answer.text(), answer.closes()), ("fine", true));
        idle.is_over().await;
        uploads.say("defghij").await;
        let answer = uploads.answer().await;
        assert_eq!((answer.text(), answer.closes()), ("fine", true));
        uploads.is_over().await;
        let answer = busy.answer().await;
        assert_eq!((answer.text(), answer.closes()), ("fine", true));
        busy.is_over().await;
        assert!(guest.elapsed() < 12 * SECOND);
        // One that says nothing is ended when the time is over, and nobody new is taken.
        assert!(guest.peer().try_connect().await.is_err());
        silent.is_over().await;
        assert!(guest.elapsed() >= 61 * SECOND);
    });
}

fn a_drain_answers_all_that_was_handed_out(ground: &Ground) {
    let seen = Seen::default();
    let tokens: Arc<std::sync::Mutex<Vec<Reply>>> = Arc::default();
    let (kept, notes, begun) = (Arc::clone(&tokens), seen.clone(), seen.clone());
    let worker = patient(ground).pipeline(3).on_message(move |_, request: Request| {
        kept.lock().unwrap().push(request.reply());
        notes.note(request.path());
    });
    let own = ground.clone();
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        wire.say(get("/0") + &get("/1") + &get("/2") + &get("/3") + &get("/4")).await;
        guest.until("three are begun", || begun.all().len() == 3).await;
        guest.stop();
        if own.is_virtual() {
            guest.sleep(SECOND).await;
        }
        let mut taken: Vec<Reply> = tokens.lock().unwrap().drain(..).collect();
        for n in [2, 1, 0] {
            taken.remove(n).send(n.to_string()).unwrap();
        }
        for n in 0..3 {
            let answer = wire.answer().await;
            assert_eq!(answer.text(), n.to_string());
            assert!(!own.is_virtual() || answer.closes() == (n == 2), "the last one says close");
        }
        wire.is_over().await;
        assert_eq!(begun.all().len(), 3, "nothing more is begun");
    });
}

#[test]
fn a_drain_answers_all_that_was_handed_out_in_the_simulator() {
    // On a real backend nobody can tell when the stop is seen.
    a_drain_answers_all_that_was_handed_out(&Ground::perfect());
    a_drain_answers_all_that_was_handed_out(&Ground::tiny());
}

#[test]
fn a_drain_ends_in_time_whatever_is_in_progress() {
    let seen = Seen::default();
    let worker = seen.watch(Ground::perfect().worker()).on_message_async(async |_, request: Request| {
        if request.path() == "/stream" {
            return Response::stream(Pieces::new(3, 10).then_hang());
        }
        std::future::pending::<()>().await;
        "never".into()
    });
    Ground::perfect().run(worker, async |guest| {
        let mut wires = Vec::new();
        for path in ["/pending", "/stream"] {
            let mut wire = guest.connect().await;
            wire.say(get(path)).await;
            wires.push(wire);
        }
        let mut wire = guest.connect().await;
        wire.say("GET / HT").await;
        wires.push(wire);
        guest.sleep(SECOND).await;
        guest.stop();
        for wire in &mut wires {
            wire.is_gone().await;
        }
        assert!(guest.elapsed() <= 4 * SECOND, "{:?}", guest.elapsed());
    });
    assert_eq!(seen.take().iter().filter(|note| note.starts_with("closed")).count(), 3);
}

fn the_last_request_of_a_connection_says_close(ground: &Ground) {
    let worker = ground
        .worker()
        .protocol(Http::new().max_requests(3))
        .on_message(|_, request: Request| request.path().to_owned());
    ground.run(worker, async |guest| {
        for at_once in [false, true] {
            let mut wire = guest.connect().await;
            if at_once {
                wire.say((0..6).map(|n| get(&format!("/{n}"))).collect::<String>()).await;
            }
            for n in 0..3 {
                if !at_once {
                    wire.say(get(&format!("/{n}"))).await;
                }
                let answer = wire.answer().await;
                assert_eq!((answer.text(), answer.closes()), (&*format!("/{n}"), n == 2));
            }
            wire.is_over().await;
        }
    });
}
on_all_grounds!(the_last_request_of_a_connection_says_close);

fn a_client_may_end_its_stream_and_still_read(ground: &Ground) {
    let piece = ground.large(5000);
    let worker = ground.worker().pipeline(2).on_message_async(async move |_, request: Request| {
        match request.path() {
            "/slow" => tokio::time::sleep(Duration::from_millis(5)).await,
            "/stream" => return Response::stream(Pieces::new(100, piece)),
            "/token" => {
                let reply = request.reply();
                drop(workerman::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    reply.send("to /token")
                }));
                std::future::ready(()).await;
            }
            _ => {}
        }
        Response::text(format!("to {}", request.path()))
    });
    ground.run(worker, async move |guest| {
        for path in ["/plain", "/slow", "/token"] {
            let said = guest.exchange(get(path)).await;
            assert!(said.ends_with(&format!("\r\n\r\nto {path}")), "{said}");
            let said = guest.exchange(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
            assert!(said.ends_with(&format!("\r\n\r\nto {path}")), "{said}");
        }
        let said = guest.exchange(get("/stream") + &get("/slow")).await;
        assert!(said.matches('.').count() >= 100 * piece && said.ends_with("to /slow"));
        let said = guest.exchange(post("/a", "body") + &get("/slow") + &get("/b")).await;
        let places: Vec<_> = ["to /a", "to /slow", "to /b"].iter().map(|part| said.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{said}");
        // Nothing, or a part of something, is nothing to answer.
        for part in [
            "",
            "\r\n",
            "GET",
            "GET / HTTP/1.1\r\nHost: x\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc",
        ] {
            assert_eq!(guest.exchange(part).await, "", "{part:?}");
        }
        let said = guest.exchange(get("/slow") + "GET / HT").await;
        assert!(said.ends_with("to /slow"), "{said}");
    });
}
on_all_grounds!(a_client_may_end_its_stream_and_still_read);

#[test]
fn an_answer_behind_the_end_of_the_clients_stream_says_close() {
    let worker = Ground::perfect().worker().on_message_async(async |_, request: Request| {
        let _ = workerman::sleep(SECOND).await;
        if request.path() == "/stream" {
            return Response::stream(Pieces::new(3, 1000).every(SECOND));
        }
        "late".into()
    });
    Ground::perfect().run(worker, async |guest| {
        for path in ["/", "/stream"] {
            let mut wire = guest.connect().await;
            wire.say(get(path) + &get(path)).await;
            wire.finish().await;
            assert!(!wire.answer().await.closes(), "one more request is there");
            assert!(wire.answer().await.closes());
            wire.is_over().await;
        }
    });
}

fn nothing_is_read_behind_the_last_request(ground: &Ground) {
    let seen = Seen::default();
    let (notes, all) = (seen.clone(), seen.clone());
    let worker = ground.worker().pipeline(5).on_message(move |_, request: Request| {
        notes.note(request.path());
        request.path().to_owned()
    });
    ground.run(worker, async move |guest| {
        let close = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let old = "GET /last HTTP/1.0\r\n\r\n";
        for last in [close, old] {
            let mut wire = guest.connect().await;
            wire.say(get("/first") + last + &get("/never")).await;
            assert_eq!(wire.answer().await.text(), "/first");
            let answer = wire.answer().await;
            assert_eq!((answer.text(), answer.closes()), ("/last", true));
            // One who goes on sending still gets it.
            for _ in 0..10 {
                let _ = wire.try_say(get("/never")).await;
            }
            wire.is_over().await;
        }
        assert_eq!(all.take(), ["/first", "/last", "/first", "/last"]);
    });
}
on_all_grounds!(nothing_is_read_behind_the_last_request);

/// A service of lines in capitals, for connections that were HTTP before.
fn lines(seen: &Seen) -> Arc<Service<Text>> {
    let closes = seen.clone();
    let handlers = Handlers::new()
        .on_message(|_, line: Line| line.to_string().to_uppercase())
        .on_close(move |_, reason| closes.note(format_args!("lines closed: {reason}")));
    Arc::new(Service::new("lines", Text::new, handlers, Settings::default()))
}

fn switch(
    conn: &Connection<Http>,
    request: &Request,
    lines: &Arc<Service<Text>>,
) -> Result<Option<Response>, BoxError> {
    let offered = request.header("upgrade").is_some();
    match (request.path(), offered) {
        ("/switch", true) => {
            let _ = conn.send(Response::switching_protocols("lines").header("x-kind", "capital"))?;
        }
        ("host:80", _) => drop(conn.send(StatusCode::OK)?),
        ("refused:80", _) => return Ok(Some(StatusCode::FORBIDDEN.into())),
        _ => return Ok(Some(Response::text(format!("to {}", request.path())))),
    }
    let next = conn.upgrade(Text::new(), lines)?;
    let _ = next.send("first")?;
    Ok(None)
}

fn switching(ground: &Ground, seen: &Seen, is_async: bool) -> Worker<Http> {
    let lines = lines(seen);
    let worker = seen.watch(ground.worker()).protocol(Http::new().connect(true).pipeline(3));
    if is_async {
        worker.on_message_async(async move |conn, request| {
            tokio::task::yield_now().await;
            let switched = switch(conn, &request, &lines);
            tokio::task::yield_now().await;
            switched
        })
    } else {
        worker.on_message(move |conn, request| switch(conn, &request, &lines))
    }
}

async fn speaks_lines(wire: &mut Wire) {
    assert_eq!(wire.bytes(6).await, b"first\n");
    assert_eq!(wire.bytes(6).await, b"HELLO\n");
    wire.say("again\n").await;
    assert_eq!(wire.bytes(6).await, b"AGAIN\n");
    // Not even this is HTTP any more.
    wire.say(get("/")).await;
    assert_eq!(wire.bytes(15).await, b"GET / HTTP/1.1\n");
    wire.finish().await;
    let rest = String::from_utf8(wire.rest().await).unwrap();
    assert_eq!(rest, "HOST: X\n\n");
}

const UPGRADE: &str =
    "GET /switch HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: lines\r\n\r\n";

fn a_connection_is_handed_to_another_protocol(ground: &Ground) {
    for is_async in [false, true] {
        for in_pieces in [false, true] {
            let seen = Seen::default();
            ground.run(switching(ground, &seen, is_async), async move |guest| {
                let mut wire = guest.connect().await;
                // Answers before it leave before it; bytes behind it are the next protocol's.
                if in_pieces {
                    wire.drip(get("/a") + UPGRADE + "hello\n", Duration::from_millis(1)).await;
                } else {
                    wire.say(get("/a") + UPGRADE + "hello\n").await;
                }
                assert_eq!(wire.answer().await.text(), "to /a");
                let answer = wire.head().await;
                assert_eq!((answer.status, answer.field("connection")), (101, Some("Upgrade")));
                assert_eq!(
                    (answer.field("upgrade"), answer.field("x-kind")),
                    (Some("lines"), Some("capital"))
                );
                assert_eq!((answer.field("content-length"), answer.field("transfer-encoding")), (None, None));
                speaks_lines(&mut wire).await;
            });
            assert_eq!(seen.take(), ["lines closed: closed by the peer"]);
        }
    }
}
on_all_grounds!(a_connection_is_handed_to_another_protocol);

fn a_tunnel_is_what_comes_behind_connect(ground: &Ground) {
    for is_async in [false, true] {
        let seen = Seen::default();
        ground.run(switching(ground, &seen, is_async), async |guest| {
            let mut wire = guest.connect().await;
            let connect = |to: &str| format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
            // A refusal leaves the connection as it is.
            let answer = wire.ask(connect("refused:80")).await;
            assert_eq!((answer.status, answer.closes()), (403, false));
            wire.say(connect("host:80") + "hello\n").await;
            let answer = wire.head().await;
            assert_eq!((answer.status, answer.field("content-length")), (200, None));
            assert_eq!(answer.field("transfer-encoding"), None);
            speaks_lines(&mut wire).await;
        });
        assert_eq!(seen.take(), ["lines closed: closed by the peer"]);
    }
}
on_all_grounds!(a_tunnel_is_what_comes_behind_connect);

fn an_offer_may_be_declined(ground: &Ground) {
    let seen = Seen::default();
    ground.run(switching(ground, &seen, false), async |guest| {
        let mut wire = guest.connect().await;
        let offer = UPGRADE.replace("/switch", "/stay");
        wire.say(offer.clone() + &get("/b") + &offer + &get("/c")).await;
        for path in ["/stay", "/b", "/stay", "/c"] {
            assert_eq!(wire.answer().await.text(), format!("to {path}"));
        }
        // Without an offer there is nothing to take.
        assert_eq!(wire.ask(get("/switch")).await.text(), "to /switch");
    });
    assert_eq!(seen.take(), ["closed: closed by the peer"]);
}
on_all_grounds!(an_offer_may_be_declined);

fn a_body_comes_before_the_switch(ground: &Ground) {
    let seen = Seen::default();
    ground.run(switching(ground, &seen, true), async |guest| {
        let mut wire = guest.connect().await;
        let head = UPGRADE.replace("GET", "POST");
        let head = head.strip_suffix("\r\n").unwrap().to_owned();
        wire.say(head + "Content-Length: 4\r\n\r\nbodyhello\n").await;
        assert_eq!(wire.head().await.status, 101);
        speaks_lines(&mut wire).await;
    });
    assert_eq!(seen.take(), ["lines closed: closed by the peer"]);
}
on_all_grounds!(a_body_comes_before_the_switch);

fn many_clients_are_served_at_once(ground: &Ground) {
    const CLIENTS: usize = 200;
    let worker = ground.worker().threads(2).pipeline(4).on_message_async(async |_, request: Request| {
        if request.path().ends_with('3') {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let body = request.text().map(str::to_owned)?;
        Ok::<_, BoxError>(format!("{} {body}", request.path()))
    });
    ground.run(worker, async |guest| {
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            let guest = guest.clone();
            clients.spawn_local(async move {
                let mut wire = guest.connect().await;
                for round in 0..3 {
                    let asks: String = (0..5)
                        .map(|n| {
                            let (path, body) =
                                (format!("/{client}/{round}/{n}"), format!("body {client} {n}"));
                            if n % 2 == 0 { post(&path, &body) } else { post_chunked(&path, &body, 4) }
                        })
                        .collect();
                    wire.say(asks).await;
                    for n in 0..5 {
                        let answer = wire.answer().await;
                        assert_eq!(answer.text(), format!("/{client}/{round}/{n} body {client} {n}"));
                    }
                }
            });
        }
        let mut done = 0;
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
            done += 1;
        }
        assert_eq!(done, CLIENTS);
    });
}
on_all_grounds!(many_clients_are_served_at_once);

fn a_handler_may_close_without_an_answer(ground: &Ground) {
    for how in ["/close", "/end", "/abort"] {
        let seen = Seen::default();
        let worker = seen.watch(ground.worker()).on_request_head(|_| Admission::Buffer(100)).on_message(
            |conn, request: Request| match request.path() {
                "/close" => conn.close(),
                "/end" => conn.end(),
                _ => conn.abort(),
            },
        );
        ground.run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            wire.say(get(how) + &get("/never")).await;
            if how == "/abort" {
                wire.is_gone().await;
            } else {
                wire.is_over().await;
            }
        });
        assert!(!seen.has("error"), "{seen:?}");
    }
}
on_all_grounds!(a_handler_may_close_without_an_answer);

fn a_switch_waits_for_the_whole_request(ground: &Ground) {
    // Its body is streamed, and nobody has read it: the bytes behind the head are no lines.
    let seen = Seen::default();
    let lines = lines(&seen);
    let worker = seen.watch(ground.worker()).on_request_head(|_| Admission::Stream);
    let worker = worker.on_message_async(async move |conn, mut request: Request| -> Result<_, BoxError> {
        if request.path() == "/reads" {
            let _ = request.buffer(100).await?;
        }
        if request.header("upgrade").is_none() {
            return Ok(Some(Response::text("fine")));
        }
        conn.send(Response::switching_protocols("lines")).map(drop)?;
        tokio::task::yield_now().await;
        let _ = conn.upgrade(Text::new(), &lines)?.send("first")?;
        Ok(None)
    });
    let own = ground.clone();
    ground.run(worker, async move |guest| {
        let post = |path: &str| {
            let head = UPGRADE.replace("GET /switch", &format!("POST {path}"));
            head.strip_suffix("\r\n").unwrap().to_owned() + "Content-Length: 6\r\n\r\n"
        };
        let mut wire = guest.connect().await;
        wire.say(post("/reads") + "body!\nhello\n").await;
        assert_eq!(wire.head().await.status, 101);
        speaks_lines(&mut wire).await;
        let mut wire = guest.connect().await;
        wire.say(post("/ignores") + "bo").await;
        if own.is_virtual() {
            guest.sleep(SECOND).await;
        }
        let _ = wire.try_say("dy!\nhello\n").await;
        // On a real backend it may all have been there in time.
        wire.finish().await;
        let said = String::from_utf8(wire.rest().await).unwrap();
        assert!(!said.contains("DY!") && !said.contains("BODY"), "{said}");
    });
}
on_all_grounds!(a_switch_waits_for_the_whole_request);

fn no_client_loses_an_answer_to_a_stop(ground: &Ground) {
    const CLIENTS: usize = 30;
    let (seen, piece) = (Seen::default(), ground.large(3000));
    let notes = seen.clone();
    let worker = patient(ground).threads(2).pipeline(3).on_message_async(async move |_, request: Request| {
        notes.note("asked");
        match request.path() {
            "/slow" => tokio::time::sleep(Duration::from_millis(1)).await,
            "/stream" => return Response::stream(Pieces::new(50, piece)),
            _ => {}
        }
        Response::text(request.path().to_owned())
    });
    ground.run(worker, async move |guest| {
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            let guest = guest.clone();
            clients.spawn_local(async move {
                let mut wire = guest.connect().await;
                let mut answers = 0;
                loop {
                    // Or no time passes where answers need none.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let paths: &[&str] = match client % 3 {
                        0 => &["/slow"],
                        1 => &["/stream"],
                        _ => &["/a", "/slow", "/b"],
                    };
                    if wire.try_say(paths.iter().map(|path| get(path)).collect::<String>()).await.is_err() {
                        break;
                    }
                    for path in paths {
                        let answer = match wire.try_answer().await {
                            Ok(answer) => answer,
                            // The head of the one before it had been written when the stop came.
                            Err(Broken::Ended) if *path == "/stream" && answers > 0 => return answers,
                            // What is behind the last answer was not begun; that last answer said so.
                            Err(broken) => panic!("{path} of {client} after {answers}: {broken:?}"),
                        };
                        answers += 1;
                        assert!(*path == "/stream" || answer.text() == *path);
                        if answer.closes() {
                            wire.is_over().await;
                            return answers;
                        }
                    }
                }
                answers
            });
        }
        guest.until("everybody is served", || seen.all().len() > 5 * CLIENTS).await;
        guest.stop();
        while let Some(answers) = clients.join_next().await {
            assert!(answers.unwrap() > 0);
        }
    });
}
on_all_grounds!(no_client_loses_an_answer_to_a_stop);
