//! Bodies of requests and of answers: in memory and streamed, both ways, at both sides' pace.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use workerman::http::{Admission, Body, BodyError, Http, Request, Response};
use workerman::sim::LinkOptions;
use workerman::{BoxError, Worker};
use workerman_tests::http_server::{
    Broken, Framing, Gate, Ground, Pieces, Seen, Watch, get, post, post_chunked,
};
use workerman_tests::on_all_grounds;

const KIB: usize = 1024;

/// A text that is the same only if nothing is lost, doubled or out of order.
fn text(len: usize) -> String {
    let mut text = String::with_capacity(len + 10);
    for n in 0.. {
        if text.len() >= len {
            break;
        }
        text.push_str(&n.to_string());
        text.push(' ');
    }
    text.truncate(len);
    text
}

/// Tells texts apart.
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn told(bytes: &[u8]) -> String {
    format!("{} {}", bytes.len(), sum(bytes))
}

/// Reads a body to its end, or to what breaks it.
async fn read(body: &mut Body) -> Result<Vec<u8>, BodyError> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

/// Collects bodies up to a limit, streams below `/stream`, rejects `/rejected`.
fn admitting(worker: Worker<Http>, limit: usize) -> Worker<Http> {
    worker.on_request_head(move |head| match head.path() {
        "/rejected" => Admission::Reject(Response::text("no").with_status(403)),
        path if path.starts_with("/stream") => Admission::Stream,
        _ => Admission::Buffer(limit),
    })
}

fn bodies_are_collected_in_memory(ground: &Ground) {
    let worker =
        admitting(ground.worker(), 1000 * KIB).on_message(|_, request: Request| -> Result<_, BoxError> {
            Ok(told(request.bytes().ok_or("not in memory")?))
        });
    let sizes: Vec<usize> = [0, 1, 5, 1000, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 200_000, 999 * KIB]
        .map(|n| ground.large(n))
        .into();
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        for size in sizes {
            let body = text(size);
            for request in
                [post("/", &body), post_chunked("/", &body, 1 + size / 3), post_chunked("/", &body, 9000)]
            {
                // Something behind it, so that nothing may be lost there either.
                wire.say(request + &post("/", "tail")).await;
                assert_eq!(wire.answer().await.text(), told(body.as_bytes()), "{size}");
                assert_eq!(wire.answer().await.text(), told(b"tail"), "{size}");
            }
        }
    });
}
on_all_grounds!(bodies_are_collected_in_memory);

fn limits_hold_before_anything_is_kept(ground: &Ground) {
    let seen = Seen::default();
    let worker = admitting(seen.watch(ground.worker()), 10_000).on_message(|_, _| "never");
    let own = ground.clone();
    ground.run(worker, async move |guest| {
        let head = |fields: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        let chunked = head("Transfer-Encoding: chunked");
        let early = [
            head("Content-Length: 10001"),
            head("Content-Length: 10001\r\nExpect: 100-continue"),
            head("Content-Length: 18446744073709551615"),
            format!("{chunked}2711\r\n"),
            format!("{chunked}1000\r\n{}\r\n1711\r\n", text(4096)),
        ];
        for request in early {
            let mut wire = guest.connect().await;
            wire.say(&request).await;
            let answer = wire.answer().await;
            assert_eq!(
                (answer.status, answer.closes(), answer.framing),
                (413, true, Framing::Length),
                "{request}"
            );
            wire.is_over().await;
        }
        // One who sends on regardless gets the answer all the same.
        let mut wire = guest.connect().await;
        let body = text(own.large(300_000) + 10_000);
        let _ = wire.try_say(post("/", &body)).await;
        assert_eq!(wire.answer().await.status, 413);
        wire.is_over().await;
    });
    assert!(!seen.has("closed: reset"), "{seen:?}");
}
on_all_grounds!(limits_hold_before_anything_is_kept);

/// Handlers of streamed bodies: all of it, nothing of it, in a task of its own.
fn streaming(ground: &Ground, seen: &Seen) -> Worker<Http> {
    let notes = seen.clone();
    admitting(seen.watch(ground.worker()), 0).on_message_async(async move |_, mut request: Request| {
        let path = request.path().to_owned();
        if request.header("x-noted").is_some() {
            notes.note("begun");
        }
        match &*path {
            "/stream/ignored" => Ok(Some(Response::text("not read"))),
            "/stream/forgotten" => {
                drop(request.into_body());
                tokio::task::yield_now().await;
                Ok(Some(Response::text("not read")))
            }
            "/stream/begun" => {
                let begun = request.body_mut().data().await.transpose()?.unwrap_or_default();
                Ok(Some(Response::text(format!("begun with {}", char::from(begun[0])))))
            }
            "/stream/away" => {
                let (reply, notes) = (request.reply(), notes.clone());
                workerman::spawn(async move {
                    match read(request.body_mut()).await {
                        Ok(all) => drop(reply.send(told(&all))),
                        Err(error) => notes.note(format_args!("away: {error}")),
                    }
                });
                Ok(None)
            }
            _ => {
                let all = read(request.body_mut()).await.inspect_err(|error| {
                    notes.note(format_args!("here: {error}"));
                })?;
                let trailer =
                    request.trailers().and_then(|trailers| trailers.get_str("x-sum")).unwrap_or("none");
                Ok::<_, BodyError>(Some(Response::text(format!("{} {trailer}", told(&all)))))
            }
        }
    })
}

fn bodies_are_read_while_they_arrive(ground: &Ground) {
    let seen = Seen::default();
    let sizes: Vec<usize> =
        [0, 1, 1000, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 500_000].map(|n| ground.large(n)).into();
    ground.run(streaming(ground, &seen), async move |guest| {
        let mut wire = guest.connect().await;
        for size in sizes {
            let body = text(size);
            for request in [post("/stream", &body), post_chunked("/stream", &body, 1 + size / 3)] {
                wire.say(request + &post("/stream", "tail")).await;
                assert_eq!(wire.answer().await.text(), format!("{} none", told(body.as_bytes())), "{size}");
                assert_eq!(wire.answer().await.text(), format!("{} none", told(b"tail")), "{size}");
            }
            wire.say(post_chunked("/stream/away", &body, 5000) + &post("/stream", "tail")).await;
            assert_eq!(wire.answer().await.text(), told(body.as_bytes()), "{size}");
            assert_eq!(wire.answer().await.text(), format!("{} none", told(b"tail")), "{size}");
        }
        let trailers = "X-Sum: 15\r\nContent-Length: 7\r\n\r\n";
        let request = post_chunked("/stream", "abc", 2);
        wire.say(request.strip_suffix("\r\n").unwrap().to_owned() + trailers).await;
        assert_eq!(wire.answer().await.text(), format!("{} 15", told(b"abc")));
        assert_eq!(wire.ask(get("/stream")).await.text(), format!("{} none", told(b"")));
    });
    assert_eq!(seen.take(), ["closed: closed by the peer"]);
}
on_all_grounds!(bodies_are_read_while_they_arrive);

fn a_body_that_nobody_reads_costs_little(ground: &Ground) {
    let (seen, own) = (Seen::default(), ground.clone());
    ground.run(streaming(ground, &seen), async move |guest| {
        for path in ["/stream/ignored", "/stream/forgotten"] {
            // A small rest is thrown away.
            let mut wire = guest.connect().await;
            for size in [1, 1000, own.large(60 * KIB)] {
                let answer = wire.ask(post(path, &text(size))).await;
                assert_eq!((answer.text(), answer.closes()), ("not read", false), "{path} {size}");
            }
            // A large one ends the connection, behind the whole answer.
            let body = text(300 * KIB);
            let (head, body) =
                post(path, &body).split_once("\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            wire.say(head + "\r\n\r\n").await;
            let answer = wire.answer().await;
            assert_eq!((answer.text(), answer.closes()), ("not read", true), "{path}");
            let _ = wire.try_say(&body[..own.large(body.len())]).await;
            wire.is_over().await;
        }
        // One that is begun and given up: no more than the bound is read for nothing.
        let mut wire = guest.connect().await;
        wire.say("POST /stream/begun HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc").await;
        let answer = wire.answer().await;
        assert_eq!((answer.text(), answer.closes()), ("begun with a", true));
        wire.is_over().await;
    });
    assert!(!seen.has("error"), "{seen:?}");
}
on_all_grounds!(a_body_that_nobody_reads_costs_little);

fn rejected_bodies_are_never_kept(ground: &Ground) {
    let seen = Seen::default();
    ground.run(streaming(ground, &seen), async |guest| {
        let mut wire = guest.connect().await;
        // Small enough to be thrown away.
        wire.say(post("/rejected", &text(5000)) + &post("/stream", "tail")).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.text(), answer.closes()), (403, "no", false));
        assert_eq!(wire.answer().await.text(), format!("{} none", told(b"tail")));
        // Too large, of unknown length, or perhaps never sent.
        for fields in [
            "Content-Length: 1000000",
            "Transfer-Encoding: chunked",
            "Content-Length: 3\r\nExpect: 100-continue",
        ] {
            let mut wire = guest.connect().await;
            wire.say(format!("POST /rejected HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n")).await;
            let answer = wire.answer().await;
            assert_eq!((answer.status, answer.closes()), (403, true), "{fields}");
            wire.is_over().await;
        }
    });
    assert!(!seen.has("error"), "{seen:?}");
}
on_all_grounds!(rejected_bodies_are_never_kept);

fn expecting(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
}

fn a_client_is_told_to_continue_when_its_body_is_wanted(ground: &Ground) {
    let gate = Gate::default();
    let opens = gate.clone();
    let worker = admitting(ground.worker(), 100).on_message_async(async move |_, mut request: Request| {
        if request.path() == "/stream/later" {
            gate.pass().await;
        }
        Ok::<_, BodyError>(match request.path() {
            "/stream/never" => Response::text("not wanted"),
            "/stream/echo" => Response::bytes(request.into_body()),
            _ => Response::text(told(&read(request.body_mut()).await?)),
        })
    });
    let own = ground.clone();
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        // By choice in memory: at once. Streamed: when it is first read.
        for path in ["/", "/stream"] {
            wire.say(expecting(path)).await;
            wire.continues().await;
            wire.say("abcde").await;
            assert_eq!(wire.answer().await.text(), told(b"abcde"));
        }
        wire.say(expecting("/stream/later")).await;
        if own.is_virtual() {
            assert!(wire.is_silent(Duration::from_secs(20)).await, "nobody has asked for it yet");
        }
        opens.open();
        wire.continues().await;
        wire.say("abcde").await;
        assert_eq!(wire.answer().await.text(), told(b"abcde"));
        // One that does not wait is not told.
        opens.open();
        wire.say(expecting("/stream/later") + "abcde").await;
        let answer = if own.is_cut() { wire.final_answer().await } else { wire.answer().await };
        assert_eq!(answer.text(), told(b"abcde"));
        // Behind another request it is told in its turn.
        opens.open();
        wire.say(get("/stream") + &expecting("/")).await;
        assert_eq!(wire.answer().await.text(), told(b""));
        wire.continues().await;
        wire.say("abcde").await;
        assert_eq!(wire.answer().await.text(), told(b"abcde"));
        // An answer that is made of it begins before it comes.
        wire.say(expecting("/stream/echo")).await;
        wire.continues().await;
        let answer = wire.head().await;
        assert_eq!((answer.status, answer.closes(), answer.field("content-length")), (200, false, Some("5")));
        wire.say("abcde").await;
        assert_eq!(wire.bytes(5).await, b"abcde");
        // Nobody wants it: nobody knows whether it comes.
        wire.say(expecting("/stream/never")).await;
        let answer = wire.answer().await;
        assert_eq!((answer.text(), answer.closes()), ("not wanted", true));
        wire.is_over().await;
    });
}
on_all_grounds!(a_client_is_told_to_continue_when_its_body_is_wanted);

fn a_broken_body_is_an_error_of_its_reader(ground: &Ground) {
    for (path, who) in [("/stream", "here"), ("/stream/away", "away")] {
        let seen = Seen::default();
        let told = seen.clone();
        ground.run(streaming(ground, &seen), async move |guest| {
            // The client ends within the body, or breaks the rules.
            let mut wire = guest.connect().await;
            wire.say(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")).await;
            wire.finish().await;
            let knows = format!("{who}: the connection ended within the body");
            guest.until("the reader knows", || told.has(&knows)).await;
            // A client that has ended its stream may still read what its handler makes of it.
            if who == "here" {
                assert_eq!(wire.answer().await.status, 400);
            }
            wire.is_over().await;
            let mut wire = guest.connect().await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nX-Noted: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            wire.say(head + "3\r\nabc\r\n").await;
            guest.until("its handler has begun", || told.has("begun")).await;
            wire.say("xyz\r\n").await;
            let answer = wire.answer().await;
            assert_eq!((answer.status, answer.closes()), (400, true));
            guest.until("the reader knows", || told.has(&format!("{who}: the body is malformed"))).await;
            wire.is_over().await;
        });
        assert!(seen.has("closed: protocol error"), "{seen:?}");
    }
    // A reset: who has taken the body away is told; a suspended handler ends where it is.
    let (seen, watch) = (Seen::default(), Watch::default());
    let (notes, gone, dropped) = (seen.clone(), seen.clone(), watch.clone());
    let worker =
        admitting(seen.watch(ground.worker()), 0).on_message_async(async move |_, mut request: Request| {
            notes.note("begun");
            let kept = Pieces::new(1, 1).watched(&dropped);
            if request.path() == "/stream/away" {
                let (mut body, notes) = (request.into_body(), notes.clone());
                workerman::spawn(async move {
                    let error = read(&mut body).await.unwrap_err();
                    notes.note(format_args!("away: {error}"));
                });
            } else {
                let _ = read(request.body_mut()).await;
                std::future::pending::<()>().await;
            }
            drop(kept);
        });
    ground.run(worker, async move |guest| {
        for (path, knows) in
            [("/stream/away", "away: the connection ended within the body"), ("/stream", "closed")]
        {
            gone.take();
            let mut wire = guest.connect().await;
            wire.say(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")).await;
            guest.until("it is begun", || gone.has("begun")).await;
            wire.reset();
            guest.until("it knows", || gone.has(knows)).await;
        }
        guest.until("the handler is gone", || watch.is_dropped()).await;
    });
}
on_all_grounds!(a_broken_body_is_an_error_of_its_reader);

fn a_body_goes_back_as_it_comes(ground: &Ground) {
    let seen = Seen::default();
    let worker = admitting(seen.watch(ground.worker()), 0)
        .on_message(|_, request: Request| Response::bytes(request.into_body()));
    let size = ground.large(700_000);
    ground.run(worker, async move |guest| {
        for chunked in [false, true] {
            let body = text(size);
            let request =
                if chunked { post_chunked("/stream", &body, 10_000) } else { post("/stream", &body) };
            // All of it while it is answered, and no more than that is in flight anywhere.
            let said = guest.connect().await.exchange(request.clone() + &request).await;
            let head = said.split_once("\r\n\r\n").unwrap().0.to_owned();
            let length = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: " };
            assert!(head.contains(length), "{head}");
            if !chunked {
                assert_eq!(said.matches(&body).count(), 2);
            }
            assert!(said.len() > 2 * body.len());
        }
    });
    assert!(!seen.has("error"), "{seen:?}");
}
on_all_grounds!(a_body_goes_back_as_it_comes);

/// A large answer that its handler streams and closes behind, in one of several ways.
fn closing(worker: Worker<Http>, piece: usize) -> Worker<Http> {
    worker.on_message(move |conn, request: Request| -> Result<Option<Response>, BoxError> {
        let body = match request.path().split('/').next_back() {
            Some("sized") => Body::sized(100 * piece as u64, Pieces::new(100, piece)),
            Some("stream") => Body::stream(Pieces::new(100, piece)),
            _ => Body::from(vec![b'.'; 100 * piece]),
        };
        let answer = Response::bytes(body);
        if request.path().starts_with("/close/") {
            let _ = conn.send(answer)?;
            conn.close();
        } else if request.path().starts_with("/end/") {
            let _ = conn.send(answer)?;
            conn.end();
        } else if request.path().starts_with("/token/") {
            request.reply().send(answer)?;
            conn.close();
        } else {
            return Ok(Some(answer));
        }
        Ok(None)
    })
}

fn a_close_behind_an_answer_does_not_cut_it(ground: &Ground) {
    for how in ["close", "end", "token"] {
        for what in ["sized", "stream", "full"] {
            let piece = ground.large(20_000);
            let (worker, path) = (closing(ground.worker(), piece), format!("/{how}/{what}"));
            ground.run(worker, async move |guest| {
                let mut wire = guest.connect().await;
                wire.say(get(&path)).await;
                let answer = wire.answer().await;
                assert_eq!(
                    (answer.body.len(), answer.framing),
                    (
                        100 * piece,
                        match what {
                            "stream" => Framing::Chunked,
                            _ => Framing::Length,
                        }
                    ),
                    "{path}"
                );
                wire.is_over().await;
            });
        }
    }
}
on_all_grounds!(a_close_behind_an_answer_does_not_cut_it);

fn a_broken_answer_breaks_its_connection(ground: &Ground) {
    let seen = Seen::default();
    let worker = seen.watch(ground.worker()).on_message(|_, request: Request| match request.path() {
        "/fails" => Response::stream(Pieces::new(3, 5).then_fail()),
        "/panics" => Response::stream(Pieces::new(3, 5).then_panic()),
        "/short" => Response::bytes(Body::sized(20, Pieces::new(3, 5))),
        "/long" => Response::bytes(Body::sized(12, Pieces::new(3, 5))),
        "/sized-fails" => Response::bytes(Body::sized(20, Pieces::new(3, 5).then_fail())),
        _ => Response::text("fine"),
    });
    let errors = seen.clone();
    ground.run(worker, async move |guest| {
        let cases = [
            ("/fails", 15, "the source of the body failed: the source is gone"),
            ("/panics", 15, "the source of the body failed: the stream panicked"),
            ("/short", 15, "the body has 15 bytes instead of the 20 announced"),
            ("/long", 10, "the body has 15 bytes instead of the 12 announced"),
            ("/sized-fails", 15, "the source of the body failed: the source is gone"),
        ];
        for (path, came, why) in cases {
            for version in ["1.1", "1.0"] {
                errors.take();
                let mut wire = guest.connect().await;
                wire.say(format!("GET {path} HTTP/{version}\r\nHost: x\r\n\r\n") + &get("/fine")).await;
                match wire.try_answer().await {
                    Err(Broken::Truncated(body)) => assert!(body.len() <= came, "{path}: {body:?}"),
                    Err(Broken::Reset | Broken::Ended) => {}
                    other => panic!("{path} {version}: {other:?}"),
                }
                guest.until("the error is told", || errors.has("error")).await;
                assert!(errors.has(&format!("error: protocol error: the body failed: {why}")), "{errors:?}");
                wire.is_gone().await;
            }
        }
    });
}
on_all_grounds!(a_broken_answer_breaks_its_connection);

fn a_streamed_body_is_dropped_where_it_is_not_wanted(ground: &Ground) {
    let watches: Arc<Mutex<Vec<Watch>>> = Arc::default();
    let made = Arc::clone(&watches);
    let worker = ground.worker().on_message(move |_, request: Request| {
        let watch = Watch::default();
        made.lock().unwrap().push(watch.clone());
        let status = request.path()[1..].parse::<u16>().unwrap();
        Response::stream(Pieces::new(1000, 1000).watched(&watch)).with_status(status)
    });
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        for request in [get("/200").replace("GET", "HEAD"), get("/204"), get("/205"), get("/304")] {
            let answer = wire.ask(request).await;
            assert!(answer.body.is_empty());
        }
        for watch in watches.lock().unwrap().drain(..) {
            assert!(watch.is_dropped() && watch.given() == 0, "{watch:?}");
        }
    });
}
on_all_grounds!(a_streamed_body_is_dropped_where_it_is_not_wanted);

fn a_stream_is_dropped_when_its_client_leaves(ground: &Ground) {
    for hangs in [false, true] {
        let (seen, watch) = (Seen::default(), Watch::default());
        let (told, watched) = (seen.clone(), watch.clone());
        let worker = seen.watch(ground.worker()).on_message(move |_, _| {
            let pieces = Pieces::new(if hangs { 3 } else { 1_000_000 }, 1000).watched(&watched);
            Response::stream(if hangs { pieces.then_hang() } else { pieces })
        });
        let own = ground.clone();
        ground.run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            wire.say(get("/")).await;
            assert_eq!(wire.head().await.status, 200);
            wire.bytes(100).await;
            wire.reset();
            guest.until("the stream is dropped", || watch.is_dropped()).await;
            guest.until("the connection is gone", || told.has("closed")).await;
            // What the system keeps of it is the system's matter.
            assert!(!own.is_virtual() || watch.given() < 2000, "{watch:?}");
        });
    }
}
on_all_grounds!(a_stream_is_dropped_when_its_client_leaves);

/// The links that one can reckon with: so many bytes are in flight and unread, and no more.
fn reckonable() -> Ground {
    Ground::Sim(1, LinkOptions { capacity: 32 * KIB, ..LinkOptions::default() })
}

#[test]
fn a_sender_stops_when_its_reader_sleeps() {
    // In a handler that is suspended, and in a task of its own.
    for away in [false, true] {
        for chunked in [false, true] {
            let gate = Gate::default();
            let opens = gate.clone();
            let worker =
                admitting(reckonable().worker(), 0).on_message_async(async move |_, mut request: Request| {
                    let (reply, gate) = (request.reply(), gate.pass());
                    let reading = async move {
                        gate.await;
                        let (mut count, mut others) = (0, 0);
                        while let Some(Ok(piece)) = request.body_mut().data().await {
                            count += piece.len();
                            others += piece.iter().filter(|byte| **byte != b'p').count();
                        }
                        let _ = reply.send(format!("{count} {others}"));
                    };
                    if away {
                        workerman::spawn(reading);
                    } else {
                        reading.await;
                    }
                });
            reckonable().run(worker, async move |guest| {
                const WHOLE: usize = 1_000_000;
                let mut wire = guest.connect().await;
                let framing = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 1000000" };
                wire.say(format!("POST /stream HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n")).await;
                if chunked {
                    wire.say(format!("{WHOLE:x}\r\n")).await;
                }
                // 64 KiB for the reader, 64 KiB and a read undecoded, and what is in flight.
                let poured = wire.pour(WHOLE).await;
                assert!(poured > 64 * KIB, "{poured}: nobody is ahead of the reader");
                assert!(poured <= (64 + 64 + 64 + 32) * KIB, "{poured}: too many bytes were taken");
                opens.open();
                assert_eq!(poured + wire.pour(WHOLE - poured).await, WHOLE);
                if chunked {
                    wire.say("\r\n0\r\n\r\n").await;
                }
                assert_eq!(wire.answer().await.text(), format!("{WHOLE} 0"));
            });
        }
    }
}

#[test]
fn a_stream_is_polled_as_fast_as_its_client_reads() {
    const PIECE: usize = 1000;
    for chunked in [false, true] {
        let watch = Watch::default();
        let watched = watch.clone();
        let worker = reckonable().worker().on_message(move |_, _| {
            let pieces = Pieces::new(10_000, PIECE).watched(&watched);
            if chunked { Response::stream(pieces) } else { Response::bytes(Body::sized(10_000_000, pieces)) }
        });
        reckonable().run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            wire.say(get("/")).await;
            let mut read = 0;
            for _ in 0..10 {
                guest.sleep(Duration::from_secs(20)).await;
                // What waits in the queue, the last that was put, and what is in flight.
                let ahead = watch.given() * PIECE - read;
                assert!((32 * KIB..=(64 + 64 + 32) * KIB).contains(&ahead), "{ahead} bytes ahead");
                read += wire.bytes(100_000).await.len();
            }
            // Frames of chunks are small beside this.
            assert!(watch.given() * PIECE < read + 200 * KIB);
            wire.reset();
            guest.until("the stream is dropped", || watch.is_dropped()).await;
        });
    }
}

#[test]
fn a_close_waits_for_the_slowest_reader() {
    for how in ["close", "end", "token"] {
        for what in ["sized", "stream", "full"] {
            let slow =
                LinkOptions { capacity: 4 * KIB, bytes_per_second: Some(2000), ..LinkOptions::default() };
            let ground = Ground::Sim(1, slow);
            let (worker, path) = (closing(ground.worker(), 3000), format!("/{how}/{what}"));
            ground.run(worker, async move |guest| {
                let mut wire = guest.connect().await;
                wire.say(get(&path)).await;
                let began = guest.elapsed();
                assert_eq!(wire.answer().await.body.len(), 300_000, "{path}");
                wire.is_over().await;
                assert!(guest.elapsed() - began > Duration::from_secs(140));
            });
        }
    }
}

#[test]
fn nobody_waits_for_a_slow_body() {
    // One that trickles in, one that trickles out, and one who is quick.
    let handled = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&handled);
    let ground = Ground::perfect();
    let patient = Http::new().min_body_rate(0, Duration::ZERO);
    let worker = ground.worker().protocol(patient);
    let worker = admitting(worker, 10_000).on_message_async(async move |_, mut request: Request| {
        counts.fetch_add(1, Ordering::SeqCst);
        match request.path() {
            "/stream" => Ok(Response::text(told(&read(request.body_mut()).await?))),
            "/slow" => Ok(Response::stream(Pieces::new(100, 10).every(Duration::from_secs(1)))),
            _ => Ok::<_, BodyError>(Response::text("quick")),
        }
    });
    ground.run(worker, async move |guest| {
        let (mut slow_in, mut slow_out, mut quick) =
            (guest.connect().await, guest.connect().await, guest.connect().await);
        let trickles = async {
            slow_in.say("POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n").await;
            slow_in.drip([b'x'; 50], Duration::from_secs(2)).await;
            assert_eq!(slow_in.answer().await.text(), told(&[b'x'; 50]));
        };
        let reads = async {
            assert_eq!(slow_out.ask(get("/slow")).await.body.len(), 1000);
        };
        let asks = async {
            for _ in 0..1000 {
                let began = guest.elapsed();
                assert_eq!(quick.ask(post("/", "x")).await.text(), "quick");
                assert!(guest.elapsed() - began < Duration::from_millis(10));
                guest.sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::join!(trickles, reads, asks);
        assert_eq!(handled.load(Ordering::SeqCst), 1002);
    });
}

fn answers_may_be_larger_than_any_queue(ground: &Ground) {
    let size = ground.large(ground.large(20_000_000));
    let worker = ground.worker().hard_limit(100_000).high_water(10_000);
    let worker = worker.on_message(move |conn, request: Request| -> Result<Option<Response>, BoxError> {
        let answer = Response::bytes(vec![b'.'; size]);
        match request.path() {
            "/send" => drop(conn.send(answer)?),
            "/token" => request.reply().send(answer)?,
            _ => return Ok(Some(answer)),
        }
        Ok(None)
    });
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        for path in ["/send", "/token", "/return", "/send"] {
            wire.say(get(path) + &get(path)).await;
            assert_eq!(wire.answer().await.body.len(), size, "{path}");
            assert_eq!(wire.answer().await.body.len(), size, "{path}");
        }
    });
}
on_all_grounds!(answers_may_be_larger_than_any_queue);

fn a_panic_before_the_body_is_a_500_too(ground: &Ground) {
    let seen = Seen::default();
    let worker = seen
        .watch(ground.worker())
        .on_request_head(|head| match head.path() {
            "/panics" => panic!("expected by the test"),
            _ => Admission::Buffer(100),
        })
        .on_message(|_, _| "fine");
    ground.run(worker, async |guest| {
        let (mut other, mut wire) = (guest.connect().await, guest.connect().await);
        assert_eq!(wire.ask(get("/a")).await.text(), "fine");
        wire.say(post("/panics", "body") + &get("/never")).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.closes()), (500, true));
        assert!(!answer.text().contains("expected"), "{answer:?}");
        wire.is_over().await;
        assert_eq!(other.ask(get("/b")).await.text(), "fine");
    });
    assert!(seen.has("error: protocol error: request refused with 500"), "{seen:?}");
}
on_all_grounds!(a_panic_before_the_body_is_a_500_too);
