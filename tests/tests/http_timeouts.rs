//! Deadlines of the HTTP server, in virtual time.
#![forbid(unsafe_code)]

use std::time::Duration;

use workerman::http::{Admission, BodyError, Http, Request, Response};
use workerman::sim::LinkOptions;
use workerman::{BoxError, sleep};
use workerman_tests::http_server::{Broken, Gate, Ground, Guest, Pieces, Seen, Watch, Wire, get, post};
use workerman_tests::simulation::GRANULE;

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn at(happened: Duration, expected: Duration) {
    assert!(happened >= expected, "early: {happened:?}, expected {expected:?}");
    assert!(happened <= expected + GRANULE, "late: {happened:?}, expected {expected:?}");
}

/// Perfect links, and ones with latency that cut everything.
fn grounds() -> [Ground; 3] {
    [Ground::perfect(), Ground::choppy(7), Ground::tiny()]
}

/// A protocol that takes bodies however slow they are.
fn at_any_rate() -> Http {
    Http::new().min_body_rate(0, Duration::ZERO)
}

async fn ends_with(wire: &mut Wire, status: u16) {
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.closes()), (status, true));
    wire.is_over().await;
}

#[test]
fn silence_ends_after_75_seconds_without_a_word() {
    for asks in [false, true] {
        let seen = Seen::default();
        let worker = seen.watch(Ground::perfect().worker()).on_message(|_, _| "hi");
        Ground::perfect().run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            for _ in 0..if asks { 5 } else { 0 } {
                guest.sleep(74 * SECOND).await;
                assert_eq!(wire.ask(get("/")).await.text(), "hi");
            }
            let last = guest.elapsed();
            wire.is_over().await;
            at(guest.elapsed(), last + 75 * SECOND);
        });
        let why = ["error: timed out: nothing was received", "closed: timeout: nothing was received"];
        assert_eq!(seen.take(), why);
    }
}

#[test]
fn a_head_takes_10_seconds_at_most_however_it_comes() {
    for every in [Duration::from_millis(10), SECOND, 9 * SECOND, 100 * SECOND] {
        for before in [false, true] {
            let seen = Seen::default();
            let worker = seen.watch(Ground::perfect().worker()).on_message(|_, _| "hi");
            Ground::perfect().run(worker, async move |guest| {
                let mut wire = guest.connect().await;
                guest.sleep(60 * SECOND).await;
                if before {
                    assert_eq!(wire.ask(get("/")).await.text(), "hi");
                    guest.sleep(60 * SECOND).await;
                }
                let began = guest.elapsed();
                let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(2000));
                let (mut bytes, mut told) = (head.bytes(), None);
                while told.is_none() {
                    let _ = wire.try_say([bytes.next().unwrap()]).await;
                    if !wire.is_silent(every).await {
                        told = Some(guest.elapsed());
                    }
                }
                at(told.unwrap(), began + 10 * SECOND);
                ends_with(&mut wire, 408).await;
            });
            assert!(seen.has("closed: timeout"), "{seen:?}");
        }
    }
}

#[test]
fn each_head_has_its_own_10_seconds() {
    // The rest of one head and the beginning of the next come together, again and again.
    for is_async in [false, true] {
        let worker = Ground::perfect().worker();
        let worker = if is_async {
            worker.on_message_async(async |_, _| {
                sleep(SECOND).await?;
                Ok::<_, BoxError>("hi")
            })
        } else {
            worker.on_message(|_, _| "hi")
        };
        Ground::perfect().run(worker, async |guest| {
            let mut wire = guest.connect().await;
            let (begin, end) = ("GET / HTTP/1.1\r\nHo", "st: x\r\n\r\n");
            wire.say(begin).await;
            for _ in 0..10 {
                guest.sleep(8 * SECOND).await;
                wire.say(end.to_owned() + begin).await;
                assert_eq!(wire.answer().await.text(), "hi");
            }
            let last = guest.elapsed();
            assert_eq!(wire.answer().await.status, 408);
            at(guest.elapsed(), last + 10 * SECOND);
        });
    }
}

#[test]
fn a_body_in_memory_must_make_progress_within_30_seconds() {
    for framing in ["Content-Length: 40", "Transfer-Encoding: chunked"] {
        for ground in grounds() {
            let worker = ground.worker().protocol(at_any_rate()).on_message(|_, _| "hi");
            ground.run(worker, async move |guest| {
                let mut wire = guest.connect().await;
                wire.say(format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n")).await;
                if framing.starts_with('T') {
                    wire.say("28\r\n").await;
                }
                for _ in 0..20 {
                    guest.sleep(29 * SECOND).await;
                    wire.say("x").await;
                }
                let last = guest.elapsed();
                let answer = wire.answer().await;
                let took = guest.elapsed() - last;
                assert!(took >= 30 * SECOND && took < 31 * SECOND, "{took:?}");
                assert_eq!((answer.status, answer.closes()), (408, true));
                wire.is_over().await;
            });
        }
    }
}

#[test]
fn a_large_body_over_a_slow_link_makes_progress() {
    // Each read of it takes longer than the deadline would allow for all of it.
    for (speed, size) in [(1000, 300_000), (20_000, 8_000_000)] {
        let slow = LinkOptions { bytes_per_second: Some(speed), capacity: 4096, ..LinkOptions::default() };
        let ground = Ground::Sim(1, slow);
        let worker = ground
            .worker()
            .on_message(|_, request: Request| request.bytes().map_or(0, bytes::Bytes::len).to_string());
        ground.run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            let answer = wire.ask(post("/", &"x".repeat(size))).await;
            assert_eq!(answer.text(), size.to_string());
            assert!(guest.elapsed() > 250 * SECOND);
        });
    }
}

#[test]
fn a_streamed_body_that_stands_still_is_an_error_of_its_reader() {
    for away in [false, true] {
        let (seen, watch) = (Seen::default(), Watch::default());
        let (notes, watched) = (seen.clone(), watch.clone());
        let worker = seen
            .watch(Ground::perfect().worker())
            .protocol(at_any_rate())
            .on_request_head(|_| Admission::Stream)
            .on_message_async(async move |_, mut request: Request| {
                let (kept, notes, reply) =
                    (Pieces::new(1, 1).watched(&watched), notes.clone(), request.reply());
                let reading = async move {
                    while let Some(piece) = request.body_mut().data().await {
                        if let Err(error) = piece {
                            notes.note(format_args!("reader: {error}"));
                            return;
                        }
                    }
                    let _ = reply.send("read");
                    drop(kept);
                };
                if away {
                    workerman::spawn(reading);
                } else {
                    reading.await;
                }
            });
        Ground::perfect().run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            wire.say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n").await;
            for _ in 0..5 {
                guest.sleep(29 * SECOND).await;
                wire.say("x").await;
            }
            let last = guest.elapsed();
            let answer = wire.answer().await;
            at(guest.elapsed(), last + 30 * SECOND);
            assert_eq!((answer.status, answer.closes()), (408, true));
            wire.is_over().await;
            assert!(watch.is_dropped(), "its reader is through");
        });
        assert_eq!(seen.has("reader: the body made no progress for too long"), away, "{seen:?}");
        assert!(seen.has("closed: timeout"), "{seen:?}");
    }
}

#[test]
fn a_client_that_waits_for_us_is_in_no_hurry() {
    // For the reader of its body, for being told to continue, for the answer of an older request.
    for case in ["reader", "continue", "older"] {
        let gate = Gate::default();
        let opens = gate.clone();
        let worker = Ground::perfect()
            .worker()
            .pipeline(2)
            .on_request_head(|head| match head.path() {
                "/stream" => Admission::Stream,
                _ => Admission::Buffer(1000),
            })
            .on_message_async(async move |_, mut request: Request| {
                let (reply, gate) = (request.reply(), gate.pass());
                let answering = async move {
                    if request.path() != "/now" {
                        gate.await;
                    }
                    let mut read = 0;
                    while let Some(piece) = request.body_mut().data().await {
                        read += piece?.len();
                    }
                    let _ = reply.send(read.to_string());
                    Ok::<(), BodyError>(())
                };
                workerman::spawn(answering);
            });
        Ground::perfect().run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            let head = "POST /stream HTTP/1.1\r\nHost: x\r\n";
            match case {
                "reader" => {
                    wire.say(format!("{head}Content-Length: 1000000\r\n\r\n")).await;
                    let poured = wire.pour(1_000_000).await;
                    assert!(poured < 300_000);
                    assert!(wire.is_silent(1000 * SECOND).await);
                    opens.open();
                    assert_eq!(poured + wire.pour(1_000_000 - poured).await, 1_000_000);
                    assert_eq!(wire.answer().await.text(), "1000000");
                }
                "continue" => {
                    wire.say(format!("{head}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")).await;
                    assert!(wire.is_silent(1000 * SECOND).await);
                    opens.open();
                    wire.continues().await;
                    guest.sleep(29 * SECOND).await;
                    wire.say("12345").await;
                    assert_eq!(wire.answer().await.text(), "5");
                    // From then on it is its turn.
                    wire.say(format!("{head}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")).await;
                    guest.sleep(1000 * SECOND).await;
                    opens.open();
                    wire.continues().await;
                    let told = guest.elapsed();
                    assert_eq!(wire.answer().await.status, 408);
                    at(guest.elapsed(), told + 30 * SECOND);
                }
                _ => {
                    let behind =
                        "POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
                    wire.say(get("/") + behind).await;
                    assert!(wire.is_silent(1000 * SECOND).await);
                    opens.open();
                    assert_eq!(wire.answer().await.text(), "0");
                    wire.continues().await;
                    guest.sleep(29 * SECOND).await;
                    wire.say("12345").await;
                    assert_eq!(wire.answer().await.text(), "5");
                    // One that stalls does not cost the older one its answer.
                    wire.say(get("/") + "POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12").await;
                    assert!(wire.is_silent(1000 * SECOND).await);
                    opens.open();
                    assert_eq!(wire.answer().await.text(), "0");
                    let answered = guest.elapsed();
                    let answer = wire.answer().await;
                    assert_eq!((answer.status, answer.closes()), (408, true));
                    at(guest.elapsed(), answered + 30 * SECOND);
                }
            }
        });
    }
}

#[test]
fn handlers_and_sources_take_all_the_time_they_need() {
    let seen = Seen::default();
    let worker = seen.watch(Ground::perfect().worker()).on_message_async(
        async |_, request: Request| -> Result<Response, BoxError> {
            if request.path() == "/source" {
                return Ok(Response::stream(Pieces::new(3, 10).every(300 * SECOND)));
            }
            sleep(500 * SECOND).await?;
            Ok("slow".into())
        },
    );
    Ground::perfect().run(worker, async |guest| {
        let mut wire = guest.connect().await;
        assert_eq!(wire.ask(get("/handler")).await.text(), "slow");
        assert_eq!(wire.ask(get("/source")).await.body.len(), 30);
        // The next request has begun meanwhile: its time begins when it is looked at.
        wire.say(get("/handler") + "GET /handler HTT").await;
        assert_eq!(wire.answer().await.text(), "slow");
        guest.sleep(9 * SECOND).await;
        wire.say("P/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(wire.answer().await.text(), "slow");
    });
    assert_eq!(seen.take(), ["closed: closed by the peer"]);
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_reset_after_five_minutes() {
    for streams in [false, true] {
        let (seen, watch) = (Seen::default(), Watch::default());
        let watched = watch.clone();
        let worker = seen.watch(Ground::perfect().worker()).on_message(move |_, _| {
            if streams {
                Response::stream(Pieces::new(1000, 10_000).watched(&watched))
            } else {
                Response::bytes(vec![b'.'; 10_000_000])
            }
        });
        let told = seen.clone();
        Ground::perfect().run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            wire.say(get("/")).await;
            let began = guest.elapsed();
            for _ in 0..400 {
                guest.sleep(SECOND).await;
                if told.has("closed") {
                    break;
                }
            }
            let took = guest.elapsed() - began;
            assert!(took >= 300 * SECOND && took <= 302 * SECOND, "{took:?}");
            assert!(!streams || watch.is_dropped());
            assert!(matches!(wire.try_answer().await, Err(Broken::Truncated(_) | Broken::Reset)));
        });
        assert!(seen.has("closed: timeout"), "{seen:?}");
    }
}

#[test]
fn a_slow_reader_may_take_its_time() {
    for streams in [false, true] {
        let slow = LinkOptions { capacity: 4096, bytes_per_second: Some(100), ..LinkOptions::default() };
        let ground = Ground::Sim(1, slow);
        let worker = ground.worker().on_message(move |_, _| {
            if streams {
                Response::stream(Pieces::new(10, 10_000))
            } else {
                Response::bytes(vec![b'.'; 100_000])
            }
        });
        ground.run(worker, async |guest| {
            let mut wire = guest.connect().await;
            assert_eq!(wire.ask(get("/")).await.body.len(), 100_000);
            assert!(guest.elapsed() > 900 * SECOND);
            // It was not idle while it read; now it is.
            let done = guest.elapsed();
            wire.is_over().await;
            assert!(guest.elapsed() - done <= 75 * SECOND + GRANULE);
        });
    }
}

#[test]
fn the_rest_of_a_body_that_nobody_reads_is_not_awaited_for_ever() {
    let seen = Seen::default();
    let worker = seen
        .watch(Ground::perfect().worker())
        .on_request_head(|_| Admission::Stream)
        .on_message(|_, _| "not read");
    Ground::perfect().run(worker, async |guest| {
        let mut wire = guest.connect().await;
        wire.say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n").await;
        let answer = wire.answer().await;
        assert_eq!((answer.text(), answer.closes()), ("not read", false));
        let answered = guest.elapsed();
        wire.is_over().await;
        at(guest.elapsed(), answered + 30 * SECOND);
    });
    assert!(seen.has("closed: timeout"), "{seen:?}");
}

/// A client of each slow or silent kind; ends when the server has ended it.
async fn slow(guest: &Guest, kind: usize) {
    let mut wire = guest.connect().await;
    match kind % 5 {
        0 => {}
        1 => wire.say("GET / HTTP/1.1\r\nHost: ").await,
        2 => wire.say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\nab").await,
        3 => wire.say("POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\nab").await,
        _ => {
            wire.say(get("/large")).await;
            guest.sleep(400 * SECOND).await;
        }
    }
    wire.is_gone().await;
}

#[test]
fn slow_clients_cost_nobody_else_anything() {
    let worker = Ground::perfect()
        .worker()
        .on_request_head(|head| match head.path() {
            "/stream" => Admission::Stream,
            _ => Admission::Buffer(1000),
        })
        .on_message_async(async |_, mut request: Request| -> Result<Response, BoxError> {
            while let Some(piece) = request.body_mut().data().await {
                piece?;
            }
            Ok(match request.path() {
                "/large" => Response::bytes(vec![b'.'; 1_000_000]),
                _ => Response::text("quick"),
            })
        });
    Ground::perfect().run(worker, async |guest| {
        let crowd = async {
            let mut all = tokio::task::JoinSet::new();
            for kind in 0..200 {
                let guest = guest.clone();
                all.spawn_local(async move { slow(&guest, kind).await });
            }
            while let Some(ended) = all.join_next().await {
                ended.unwrap();
            }
        };
        let quick = async {
            let mut wire = guest.connect().await;
            for _ in 0..4000 {
                let asked = guest.elapsed();
                assert_eq!(wire.ask(get("/")).await.text(), "quick");
                assert!(guest.elapsed() - asked <= Duration::from_millis(2));
                guest.sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::join!(crowd, quick);
    });
}

#[test]
fn a_refused_client_that_goes_on_sending_is_not_heard_for_ever() {
    let seen = Seen::default();
    let worker = seen.watch(Ground::perfect().worker()).on_message(|_, _| "never");
    Ground::perfect().run(worker, async |guest| {
        let mut wire = guest.connect().await;
        wire.say("NONSENSE\r\n\r\n").await;
        let refused = guest.elapsed();
        while wire.try_say("and so on").await.is_ok() {
            guest.sleep(Duration::from_millis(100)).await;
        }
        assert!(guest.elapsed() - refused >= 29 * SECOND, "it had time to read");
        assert!(guest.elapsed() - refused <= 31 * SECOND, "{:?}", guest.elapsed() - refused);
    });
    assert!(seen.has("error: protocol error: request refused with 400"), "{seen:?}");
}

#[test]
fn an_answer_that_a_close_waits_for_does_not_stand_for_ever() {
    let (seen, watch) = (Seen::default(), Watch::default());
    let watched = watch.clone();
    let worker = seen.watch(Ground::perfect().worker()).on_message(move |conn, _| -> Result<(), BoxError> {
        let pieces = Pieces::new(20, 10).every(29 * SECOND).then_hang().watched(&watched);
        let _ = conn.send(Response::stream(pieces))?;
        conn.close();
        Ok(())
    });
    Ground::perfect().run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        wire.say(get("/")).await;
        match wire.try_answer().await {
            Err(Broken::Truncated(body)) => assert_eq!(body.len(), 200),
            other => panic!("{other:?}"),
        }
        let expected = 20 * 29 * SECOND + 30 * SECOND;
        assert!(guest.elapsed() >= expected && guest.elapsed() <= expected + SECOND, "{:?}", guest.elapsed());
        drop(wire);
        guest.until("the stream is dropped", || watch.is_dropped()).await;
    });
}
