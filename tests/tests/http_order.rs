//! Which answer leaves when: one request at a time, pipelines, tokens to answer later.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use workerman::http::{Admission, Http, Reply, ReplyError, Request, Response};
use workerman::{BackendKind, BoxError, Worker};
use workerman_tests::http_server::{Gate, Ground, Guest, Pieces, Seen, Watch, get, post};
use workerman_tests::on_all_grounds;
use workerman_tests::workers::on_each;

/// Tokens that handlers leave for the test, by the path of their request.
#[derive(Clone, Default)]
struct Tokens(Arc<Mutex<Vec<(String, Reply)>>>);

impl Tokens {
    fn keep(&self, request: &Request) {
        self.0.lock().unwrap().push((request.path().to_owned(), request.reply()));
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn take(&self, path: &str) -> Reply {
        let mut tokens = self.0.lock().unwrap();
        let at =
            tokens.iter().position(|(own, _)| own == path).unwrap_or_else(|| panic!("no token of {path}"));
        tokens.remove(at).1
    }

    async fn arrive(&self, guest: &Guest, count: usize) {
        guest.until("the requests are handed out", || self.count() >= count).await;
    }

    /// A worker whose handlers leave a token and return nothing.
    fn worker(&self, ground: &Ground) -> Worker<Http> {
        let own = self.clone();
        ground.worker().on_message(move |_, request| own.keep(&request))
    }
}

/// Lets whatever can happen now happen.
async fn settle(ground: &Ground, guest: &Guest) {
    if ground.is_virtual() {
        guest.sleep(Duration::from_secs(5)).await;
    }
}

fn to(path: &str) -> Response {
    Response::text(format!("to {path}"))
}

fn one_request_at_a_time(ground: &Ground) {
    let tokens = Tokens::default();
    let (worker, own) = (tokens.worker(ground), ground.clone());
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        wire.say(get("/a") + &get("/b") + &get("/c")).await;
        for path in ["/a", "/b", "/c"] {
            tokens.arrive(&guest, 1).await;
            settle(&own, &guest).await;
            assert_eq!(tokens.count(), 1, "the next one is not handed out");
            tokens.take(path).send(to(path)).unwrap();
            assert_eq!(wire.answer().await.text(), format!("to {path}"));
        }
    });
}
on_all_grounds!(one_request_at_a_time);

fn a_pipeline_is_answered_in_the_order_of_its_requests(ground: &Ground) {
    let tokens = Tokens::default();
    let (worker, own) = (tokens.worker(ground).pipeline(3), ground.clone());
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        wire.say(["/a", "/b", "/c", "/d", "/e"].map(get).concat()).await;
        tokens.arrive(&guest, 3).await;
        settle(&own, &guest).await;
        assert_eq!(tokens.count(), 3, "no more than three are in flight");
        for path in ["/c", "/b"] {
            tokens.take(path).send(to(path)).unwrap();
        }
        if own.is_virtual() {
            assert!(wire.is_silent(Duration::from_secs(5)).await);
        }
        assert_eq!(tokens.count(), 1, "what is answered and not sent counts as well");
        tokens.take("/a").send(to("/a")).unwrap();
        for path in ["/a", "/b", "/c"] {
            assert_eq!(wire.answer().await.text(), format!("to {path}"));
        }
        tokens.arrive(&guest, 2).await;
        drop(tokens.take("/e"));
        tokens.take("/d").send(to("/d")).unwrap();
        assert_eq!(wire.answer().await.text(), "to /d");
        assert_eq!(wire.answer().await.status, 500, "a token that is dropped");
        wire.say(get("/f")).await;
        tokens.arrive(&guest, 1).await;
        tokens.take("/f").send(to("/f")).unwrap();
        assert_eq!(wire.answer().await.text(), "to /f");
    });
}
on_all_grounds!(a_pipeline_is_answered_in_the_order_of_its_requests);

/// Answers in every way that there is; those behind tokens and `send` come when the gate is opened, last ones first.
fn mixed(ground: &Ground, seen: &Seen, gate: &Gate) -> Worker<Http> {
    let (gate, closes) = (gate.clone(), seen.clone());
    let piece = ground.large(7000);
    ground
        .worker()
        .on_request_head(|head| match head.path() {
            "/rejected" => Admission::Reject(to("/rejected").with_status(403)),
            _ => Admission::Buffer(1000),
        })
        .on_close(move |_, reason| closes.note(format_args!("closed: {reason}")))
        .on_message(move |conn, request| -> Result<Option<Response>, BoxError> {
            let path = request.path().to_owned();
            match &*path {
                "/fails" => return Err("secret".into()),
                "/streams" => return Ok(Some(Response::stream(Pieces::new(30, piece)))),
                "/tokens" => {
                    let (reply, gate) = (request.reply(), gate.pass());
                    workerman::spawn(async move {
                        gate.await;
                        reply.send(to(&path))
                    });
                }
                "/drops" => drop(request.reply()),
                "/sends" => drop(conn.send(to(&path))?),
                _ => return Ok(Some(to(&path))),
            }
            Ok(None)
        })
}

fn all_ways_to_answer_keep_the_order(ground: &Ground) {
    for pipeline in [1, 2, 3, 20] {
        let (seen, gate) = (Seen::default(), Gate::default());
        let worker = mixed(ground, &seen, &gate).pipeline(pipeline);
        let piece = ground.large(7000);
        ground.run(worker, async move |guest| {
            let ways = ["/plain", "/tokens", "/rejected", "/streams", "/sends", "/drops", "/fails"];
            let mut paths: Vec<&str> = Vec::new();
            for first in ways {
                for second in ways {
                    // `send` is for the oldest one without a token: it must be the only one of its kind in flight.
                    paths.extend([first, second, "/plain"]);
                }
            }
            let asks: String = paths.iter().map(|path| get(path)).collect();
            let mut wire = guest.connect().await;
            let (mut said, mut rest) = (0, asks.as_bytes());
            let streamed = 30 * piece;
            // The answers that were read bound what is in flight, so that both directions have room.
            for path in &paths {
                while said < 2000 && !rest.is_empty() {
                    let (some, behind) = rest.split_at(rest.len().min(100));
                    wire.say(some).await;
                    (said, rest) = (said + some.len(), behind);
                }
                said = said.saturating_sub(40);
                gate.open();
                let answer = wire.answer().await;
                let expected = match *path {
                    "/rejected" => (403, "to /rejected".len()),
                    "/streams" => (200, streamed),
                    "/drops" | "/fails" => (500, 0),
                    other => (200, "to ".len() + other.len()),
                };
                assert_eq!((answer.status, answer.body.len()), expected, "{path}");
                assert!(
                    answer.body.len() > 100
                        || !answer.body.starts_with(b"to")
                        || answer.text().ends_with(path)
                );
            }
        });
        assert_eq!(seen.take(), ["closed: closed by the peer"]);
    }
}
on_all_grounds!(all_ways_to_answer_keep_the_order);

fn the_next_request_waits_for_the_end_of_a_streamed_answer(ground: &Ground) {
    let seen = Seen::default();
    let (notes, told) = (seen.clone(), seen.clone());
    let watch = Watch::default();
    let watched = watch.clone();
    let piece = ground.large(10_000);
    let worker = ground.worker().on_message(move |_, request: Request| {
        notes.note(format_args!("{} after {} pieces", request.path(), watched.given()));
        match request.path() {
            "/stream" => Response::stream(Pieces::new(100, piece).watched(&watched)),
            _ => to("/b"),
        }
    });
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        wire.say(get("/stream") + &get("/b")).await;
        assert_eq!(wire.answer().await.body.len(), 100 * piece);
        assert_eq!(wire.answer().await.text(), "to /b");
        assert_eq!(told.take(), ["/stream after 0 pieces", "/b after 100 pieces"]);
    });
}
on_all_grounds!(the_next_request_waits_for_the_end_of_a_streamed_answer);

fn a_long_stream_goes_on_while_more_requests_may_come(ground: &Ground) {
    let piece = ground.large(3000);
    let worker = ground.worker().pipeline(4).on_message(move |_, request: Request| match request.path() {
        "/stream" => Response::stream(Pieces::new(300, piece)),
        _ => to("/b"),
    });
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        assert_eq!(wire.ask(get("/stream")).await.body.len(), 300 * piece);
        wire.say(get("/stream") + &get("/b") + &get("/stream")).await;
        assert_eq!(wire.answer().await.body.len(), 300 * piece);
        assert_eq!(wire.answer().await.text(), "to /b");
        assert_eq!(wire.answer().await.body.len(), 300 * piece);
    });
}
on_all_grounds!(a_long_stream_goes_on_while_more_requests_may_come);

fn a_token_may_outlive_its_client(ground: &Ground) {
    for resets in [false, true] {
        let (tokens, seen) = (Tokens::default(), Seen::default());
        let worker = seen.watch(tokens.worker(ground));
        let told = seen.clone();
        ground.run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            wire.say(get("/a")).await;
            tokens.arrive(&guest, 1).await;
            let token = tokens.take("/a");
            assert!(!token.is_gone());
            if resets {
                wire.reset();
                guest.until("the reset is seen", || told.has("closed")).await;
                assert!(token.is_gone());
                assert!(matches!(token.send("late"), Err(ReplyError::Gone)));
            } else {
                // One who has said all may still read: that cannot be told from one who is gone.
                drop(wire);
                let _ = token.send("late");
                guest.until("the end", || told.has("closed")).await;
            }
        });
    }
}
on_all_grounds!(a_token_may_outlive_its_client);

fn only_the_first_token_of_a_request_counts(ground: &Ground) {
    let worker = ground.worker().on_message(|_, request: Request| -> Result<(), BoxError> {
        let (first, second) = (request.reply(), request.reply());
        assert!(!first.is_gone() && second.is_gone());
        assert!(matches!(second.send("never"), Err(ReplyError::Gone)));
        // A mistake takes the token along: nobody else can answer.
        if request.path() == "/spoiled" {
            let spoiled = first.send(Response::text("x").header("a b", "c"));
            assert!(matches!(spoiled, Err(ReplyError::Invalid(_))), "{spoiled:?}");
        } else {
            first.send(to(request.path()))?;
        }
        assert!(request.reply().is_gone());
        Ok(())
    });
    ground.run(worker, async |guest| {
        let mut wire = guest.connect().await;
        assert_eq!(wire.ask(get("/a")).await.text(), "to /a");
        assert_eq!(wire.ask(get("/spoiled")).await.status, 500);
        assert_eq!(wire.ask(get("/b")).await.text(), "to /b");
    });
}
on_all_grounds!(only_the_first_token_of_a_request_counts);

fn a_token_answers_after_its_handler_has_failed(ground: &Ground) {
    for (is_async, panics) in [(false, false), (false, true), (true, false), (true, true)] {
        let (tokens, seen) = (Tokens::default(), Seen::default());
        let kept = tokens.clone();
        let act = move |request: &Request| -> Result<(), BoxError> {
            kept.keep(request);
            match request.path() {
                "/fails" if panics => panic!("expected by the test"),
                "/fails" => Err("secret".into()),
                _ => Ok(()),
            }
        };
        let worker = seen.watch(ground.worker());
        let worker = if is_async {
            worker.on_message_async(async move |_, request| {
                tokio::task::yield_now().await;
                act(&request)
            })
        } else {
            worker.on_message(move |_, request| act(&request))
        };
        let own = ground.clone();
        let told = seen.clone();
        ground.run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            wire.say(get("/fails") + &get("/b")).await;
            tokens.arrive(&guest, 1).await;
            guest.until("the failure is told", || told.has("error")).await;
            tokens.take("/fails").send(to("/fails")).unwrap();
            let answer = wire.answer().await;
            assert_eq!(answer.text(), "to /fails");
            if panics {
                // On real threads the answer may come in the moment between the panic and its consequences.
                assert!(answer.closes() || matches!(own, Ground::Real(_)));
                wire.is_over().await;
                assert_eq!(tokens.count(), 0);
            } else {
                assert!(!answer.closes());
                tokens.arrive(&guest, 1).await;
                tokens.take("/b").send(to("/b")).unwrap();
                assert_eq!(wire.answer().await.text(), "to /b");
            }
        });
    }
}
on_all_grounds!(a_token_answers_after_its_handler_has_failed);

fn tokens_that_nobody_needed_leave_nothing_behind(ground: &Ground) {
    fn act(request: &Request) -> Option<Response> {
        let reply = request.reply();
        match request.path() {
            "/token" => reply.send(to("/token")).unwrap(),
            "/nothing" => drop(reply),
            // Its right to answer is given away unused, and it answers all the same.
            _ => return Some(to("/now")),
        }
        None
    }
    for is_async in [false, true] {
        let seen = Seen::default();
        let worker = seen.watch(ground.worker());
        let worker = if is_async {
            worker.on_message_async(async |_, request| {
                tokio::task::yield_now().await;
                act(&request)
            })
        } else {
            worker.on_message(|_, request| act(&request))
        };
        ground.run(worker, async |guest| {
            let mut wire = guest.connect().await;
            // More than the queue of answers is long.
            for _ in 0..30 {
                wire.say(get("/now").repeat(50)).await;
                for _ in 0..50 {
                    assert_eq!(wire.answer().await.text(), "to /now");
                }
            }
            assert_eq!(wire.ask(get("/token")).await.text(), "to /token");
            assert_eq!(wire.ask(get("/nothing")).await.status, 500);
            assert_eq!(wire.ask(get("/token")).await.text(), "to /token");
            assert_eq!(wire.ask(get("/now")).await.text(), "to /now");
        });
        assert_eq!(seen.take(), ["closed: closed by the peer"]);
    }
}
on_all_grounds!(tokens_that_nobody_needed_leave_nothing_behind);

fn a_failure_is_answered_in_its_own_place(ground: &Ground) {
    // Behind the request whose handler is suspended and fails: one whose body has begun, one that is rejected, one
    // that waits for the handler.
    let behinds: [&[&str]; 4] = [
        &["POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo", "dy"],
        &["GET /rejected HTTP/1.1\r\nHost: x\r\n\r\nGET /c HTTP/1.1\r\nHost: x\r\n\r\n", ""],
        &["GET /c HTTP/1.1\r\nHost: x\r\n\r\nGET /d HTTP/1.1\r\nHost: x\r\n\r\n", ""],
        &["GET /rejected HTTP/1.1\r\nHost: x\r\n\r\n", "GET /c HTTP/1.1\r\nHost: x\r\n\r\n"],
    ];
    for (case, behind) in behinds.into_iter().enumerate() {
        for panics in [false, true] {
            let (gate, seen) = (Gate::default(), Seen::default());
            let (opens, notes) = (gate.clone(), seen.clone());
            let worker = seen
                .watch(ground.worker())
                .pipeline(5)
                .on_request_head(|head| match head.path() {
                    "/rejected" => Admission::Reject(to("/rejected").with_status(403)),
                    _ => Admission::Buffer(1000),
                })
                .on_message_async(async move |_, request: Request| -> Result<Response, BoxError> {
                    notes.note(request.path());
                    if request.path() == "/fails" {
                        gate.pass().await;
                        assert!(!panics, "expected by the test");
                        return Err("secret".into());
                    }
                    Ok(to(request.path()))
                });
            let own = ground.clone();
            ground.run(worker, async move |guest| {
                let mut wire = guest.connect().await;
                wire.say(get("/a") + &get("/fails") + behind[0]).await;
                assert_eq!(wire.answer().await.text(), "to /a");
                settle(&own, &guest).await;
                opens.open();
                let answer = wire.answer().await;
                assert_eq!((answer.status, answer.closes()), (500, panics), "{case}");
                if panics {
                    wire.is_over().await;
                    return;
                }
                wire.say(behind[1]).await;
                if behind[0].contains("/rejected") {
                    assert_eq!(wire.answer().await.status, 403, "{case}");
                }
                assert_eq!(wire.answer().await.text(), "to /c", "{case}");
                if behind[0].contains("/d") {
                    assert_eq!(wire.answer().await.text(), "to /d", "{case}");
                }
            });
            let all = seen.take();
            let told = if panics {
                "error: a callback panicked: expected by the test"
            } else {
                "error: handler failed: secret"
            };
            assert_eq!(
                all.iter().filter(|note| note.starts_with("error")).collect::<Vec<_>>(),
                [told],
                "{all:?}"
            );
        }
    }
}
on_all_grounds!(a_failure_is_answered_in_its_own_place);

fn a_refusal_comes_behind_the_answers_that_are_owed(ground: &Ground) {
    for pipeline in [1, 5] {
        let (tokens, seen) = (Tokens::default(), Seen::default());
        let worker = seen.watch(tokens.worker(ground)).pipeline(pipeline);
        let own = ground.clone();
        ground.run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            wire.say(get("/a") + &get("/b") + "NONSENSE\r\n\r\n" + &get("/c")).await;
            if pipeline > 1 {
                tokens.arrive(&guest, 2).await;
                settle(&own, &guest).await;
                tokens.take("/b").send(to("/b")).unwrap();
            }
            tokens.arrive(&guest, 1).await;
            tokens.take("/a").send(to("/a")).unwrap();
            assert_eq!(wire.answer().await.text(), "to /a");
            if pipeline == 1 {
                tokens.arrive(&guest, 1).await;
                tokens.take("/b").send(to("/b")).unwrap();
            }
            assert_eq!(wire.answer().await.text(), "to /b");
            let answer = wire.answer().await;
            assert_eq!((answer.status, answer.closes()), (400, true));
            wire.is_over().await;
            assert_eq!(tokens.count(), 0);
        });
        assert!(seen.has("error: protocol error: request refused with 400"), "{seen:?}");
    }
}
on_all_grounds!(a_refusal_comes_behind_the_answers_that_are_owed);

fn a_refusal_comes_behind_the_answer_of_a_suspended_handler(ground: &Ground) {
    for fails in [false, true] {
        let gate = Gate::default();
        let opens = gate.clone();
        let worker = ground.worker().pipeline(2).on_message_async(async move |_, _| {
            gate.pass().await;
            if fails { Err("secret") } else { Ok("late") }
        });
        let own = ground.clone();
        ground.run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            wire.say(get("/a") + "NONSENSE\r\n\r\n").await;
            settle(&own, &guest).await;
            opens.open();
            assert_eq!(wire.answer().await.status, if fails { 500 } else { 200 });
            let answer = wire.answer().await;
            assert_eq!((answer.status, answer.closes()), (400, true));
            wire.is_over().await;
        });
    }
}
on_all_grounds!(a_refusal_comes_behind_the_answer_of_a_suspended_handler);

fn a_large_answer_ahead_does_not_cost_the_next_one(ground: &Ground) {
    // The handler of the second request is suspended while the first answer fills the queue.
    let (tokens, gate) = (Tokens::default(), Gate::default());
    let (kept, opens) = (tokens.clone(), gate.clone());
    let large = ground.large(8_000_000);
    // Less than the answer wherever it is.
    let worker =
        ground.worker().pipeline(2).high_water(100_000).on_message_async(async move |_, request: Request| {
            if request.path() == "/large" {
                kept.keep(&request);
                return None;
            }
            gate.pass().await;
            Some(to("/b"))
        });
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        wire.say(get("/large") + &get("/b")).await;
        tokens.arrive(&guest, 1).await;
        tokens.take("/large").send(Response::bytes(vec![b'l'; large])).unwrap();
        let head = wire.head().await;
        assert_eq!(head.field("content-length"), Some(&*large.to_string()));
        opens.open();
        assert_eq!(wire.bytes(large).await.len(), large);
        assert_eq!(wire.answer().await.text(), "to /b");
    });
}
on_all_grounds!(a_large_answer_ahead_does_not_cost_the_next_one);

/// Real threads cannot be simulated.
#[test]
fn tokens_work_from_other_threads() {
    on_each(|kind: BackendKind| {
        let ground = Ground::Real(kind);
        let worker = ground.worker().pipeline(8).on_message(|_, request: Request| {
            let reply = request.reply();
            std::thread::spawn(move || reply.send(to(request.path())).unwrap());
        });
        ground.run(worker, async |guest| {
            let mut wire = guest.connect().await;
            for round in 0..20 {
                let paths: Vec<String> = (0..20).map(|n| format!("/{round}/{n}")).collect();
                wire.say(paths.iter().map(|path| get(path)).collect::<String>()).await;
                for path in &paths {
                    assert_eq!(wire.answer().await.text(), format!("to {path}"));
                }
            }
        });
    });
}

fn bodies_and_pipelines_go_together(ground: &Ground) {
    let tokens = Tokens::default();
    let worker = tokens.worker(ground).pipeline(3);
    let large = "x".repeat(ground.large(200_000));
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        let asks = post("/a", &large) + &get("/b") + &post("/c", &large);
        let kept = tokens.clone();
        let answers = async {
            kept.arrive(&guest, 3).await;
            for path in ["/c", "/a", "/b"] {
                kept.take(path).send(to(path)).unwrap();
            }
        };
        tokio::join!(wire.say(asks), answers);
        for path in ["/a", "/b", "/c"] {
            assert_eq!(wire.answer().await.text(), format!("to {path}"));
        }
    });
}
on_all_grounds!(bodies_and_pipelines_go_together);

#[test]
fn a_flood_of_requests_is_not_kept() {
    // While the first one waits, little more than the bound is read.
    for pipeline in [1, 4] {
        let tokens = Tokens::default();
        let ground = Ground::perfect();
        let worker = tokens.worker(&ground).pipeline(pipeline);
        ground.run(worker, async move |guest| {
            let ask = get("/flood");
            let (mut wire, mut said) = (guest.connect().await, 0);
            let flood = ask.repeat(50_000);
            while said < flood.len() {
                let sending = wire.try_say(&flood[said..said + ask.len() * 50]);
                if tokio::time::timeout(Duration::from_secs(60), sending).await.is_err() {
                    break;
                }
                said += ask.len() * 50;
            }
            assert!(said > 64 * 1024 && said < 300 * 1024, "{said} bytes were taken");
            assert_eq!(tokens.count(), pipeline);
        });
    }
}

#[test]
fn requests_are_not_handled_while_nobody_reads_their_answers() {
    let handled = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&handled);
    let ground = Ground::perfect();
    let worker = ground.worker().on_message(move |_, _| {
        counts.fetch_add(1, Ordering::SeqCst);
        Response::bytes(vec![b'.'; 10_000])
    });
    ground.run(worker, async move |guest| {
        const ALL: usize = 2000;
        let (mut reads, mut says) = guest.connect().await.split();
        let reading = async {
            guest.sleep(Duration::from_secs(100)).await;
            // What makes an answer count as in flight, and one answer more.
            let ahead = handled.load(Ordering::SeqCst) * 10_000;
            assert!((64 * 1024..=150_000).contains(&ahead), "{ahead} bytes of answers were made");
            for _ in 0..ALL {
                assert_eq!(reads.answer().await.body.len(), 10_000);
            }
        };
        let (sent, ()) = tokio::join!(says.try_say(get("/").repeat(ALL)), reading);
        sent.unwrap();
        assert_eq!(handled.load(Ordering::SeqCst), ALL);
    });
}

fn a_paused_connection_still_answers(ground: &Ground) {
    let (gate, seen) = (Gate::default(), Seen::default());
    let (opens, notes, told) = (gate.clone(), seen.clone(), seen.clone());
    let piece = ground.large(5000);
    let worker = ground.worker().pipeline(2).on_message(move |conn, request: Request| {
        notes.note(request.path());
        if request.path() != "/pauses" {
            return to(request.path());
        }
        conn.pause();
        let (conn, gate) = (conn.clone(), gate.pass());
        workerman::spawn(async move {
            gate.await;
            conn.resume();
        });
        Response::stream(Pieces::new(100, piece))
    });
    let own = ground.clone();
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        wire.say(get("/a") + &get("/pauses") + &get("/b")).await;
        assert_eq!(wire.answer().await.text(), "to /a");
        assert_eq!(wire.answer().await.body.len(), 100 * piece);
        settle(&own, &guest).await;
        assert_eq!(told.all(), ["/a", "/pauses"], "the next one waits");
        opens.open();
        assert_eq!(wire.answer().await.text(), "to /b");
    });
}
on_all_grounds!(a_paused_connection_still_answers);

fn a_broadcast_is_nobodys_answer(ground: &Ground) {
    let worker = ground.worker().on_message_async(async |conn, request: Request| {
        if request.path() == "/news" {
            let refused = conn.service().broadcast(Response::text("news"));
            assert!(refused.is_err(), "{refused:?}");
        }
        tokio::task::yield_now().await;
        to(request.path())
    });
    ground.run(worker, async |guest| {
        let (mut idle, mut wire) = (guest.connect().await, guest.connect().await);
        assert_eq!(idle.ask(get("/a")).await.text(), "to /a");
        assert_eq!(wire.ask(get("/news")).await.text(), "to /news");
        for path in ["/b", "/c"] {
            assert_eq!(idle.ask(get(path)).await.text(), format!("to {path}"));
            assert_eq!(wire.ask(get(path)).await.text(), format!("to {path}"));
        }
    });
}
on_all_grounds!(a_broadcast_is_nobodys_answer);

fn a_task_that_panics_drops_its_token(ground: &Ground) {
    let worker = ground.worker().on_message(|_, request: Request| {
        let reply = request.reply();
        workerman::spawn(async move {
            tokio::task::yield_now().await;
            assert!(request.path() != "/panics", "expected by the test");
            reply.send(to(request.path()))
        });
    });
    ground.run(worker, async |guest| {
        let mut wire = guest.connect().await;
        let answer = wire.ask(get("/panics")).await;
        assert_eq!((answer.status, answer.closes()), (500, false));
        assert_eq!(wire.ask(get("/a")).await.text(), "to /a");
    });
}
on_all_grounds!(a_task_that_panics_drops_its_token);
