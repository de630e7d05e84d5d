//! What handlers of a worker of HTTP return, and what their clients get for it.
#![forbid(unsafe_code)]

use std::time::Duration;

use workerman::http::{Admission, HeaderValue, Headers, Http, Request, Response, StatusCode};
use workerman::prelude::*;
use workerman::{BoxError, Connection, Worker};
use workerman_tests::http_server::{Framing, Gate, Ground, Pieces, Seen, get, post};
use workerman_tests::on_all_grounds;

/// What a path asks for, at once.
fn act(conn: &Connection<Http>, request: &Request) -> Result<Option<Response>, BoxError> {
    Ok(Some(match request.path() {
        "/text" => "a page".into(),
        "/string" => String::from("a page").into(),
        "/bytes" => vec![0, 159, 146, 150].into(),
        "/status" => StatusCode::IM_A_TEAPOT.into(),
        "/pair" => (StatusCode::NOT_FOUND, "nothing here").into(),
        "/echo" => Response::text(request.text()?.to_owned()),
        "/fails" => return Err("secret".into()),
        "/spoiled" => Response::text("x").header("x-kind", "a\r\nb: c"),
        "/offered" => Response::switching_protocols("nothing"),
        "/panics" => panic!("expected by the test"),
        "/sends" => {
            let _ = conn.send(Response::text("sent"))?;
            return Ok(None);
        }
        "/sends-spoiled" => {
            let spoiled = conn.send(Response::text("x").header("x\n", "a"));
            assert!(spoiled.is_err(), "{spoiled:?}");
            let _ = conn.send(Response::text("sent after all"))?;
            return Ok(None);
        }
        other => panic!("no handler of {other}"),
    }))
}

/// A worker whose handlers are sync or async.
fn acting(ground: &Ground, seen: &Seen, is_async: bool) -> Worker<Http> {
    let worker = seen.watch(ground.worker());
    if is_async {
        worker.on_message_async(async |conn, request| {
            tokio::task::yield_now().await;
            act(conn, &request)
        })
    } else {
        worker.on_message(|conn, request| act(conn, &request))
    }
}

fn what_becomes_a_response(ground: &Ground) {
    for is_async in [false, true] {
        let seen = Seen::default();
        ground.run(acting(ground, &seen, is_async), async |guest| {
            let mut wire = guest.connect().await;
            let html = Some("text/html; charset=utf-8");
            let cases: [(&str, u16, Option<&str>, &[u8]); 5] = [
                ("/text", 200, html, b"a page"),
                ("/string", 200, html, b"a page"),
                ("/bytes", 200, Some("application/octet-stream"), &[0, 159, 146, 150]),
                ("/status", 418, None, b""),
                ("/pair", 404, html, b"nothing here"),
            ];
            for (path, status, kind, body) in cases {
                let answer = wire.ask(get(path)).await;
                assert_eq!((answer.status, answer.field("content-type")), (status, kind), "{path}");
                assert_eq!((&*answer.body, answer.framing), (body, Framing::Length), "{path}");
                assert!(answer.field("date").is_some() && answer.field("connection").is_none());
            }
            let answer = wire.ask(post("/echo", "said")).await;
            assert_eq!(answer.text(), "said");
        });
        assert_eq!(seen.take(), ["closed: closed by the peer"]);
    }
}
on_all_grounds!(what_becomes_a_response);

fn errors_become_a_500_without_their_text_and_the_connection_goes_on(ground: &Ground) {
    for is_async in [false, true] {
        let seen = Seen::default();
        ground.run(acting(ground, &seen, is_async), async |guest| {
            let mut wire = guest.connect().await;
            for path in ["/fails", "/spoiled", "/offered"] {
                let answer = wire.ask(get(path)).await;
                assert_eq!((answer.status, answer.text()), (500, ""), "{path}");
                assert!(!answer.closes() && answer.fields.iter().all(|(_, value)| !value.contains("secret")));
            }
            assert_eq!(wire.ask(get("/text")).await.text(), "a page");
        });
        let spoiled = "cannot encode: bad header field x-kind: its value has a forbidden character";
        let offered = "cannot encode: cannot send the message: a switch of protocols that nobody has offered";
        let told = [
            "error: handler failed: secret".to_owned(),
            format!("error: reply not sent: {spoiled}"),
            format!("error: reply not sent: {offered}"),
            "closed: closed by the peer".to_owned(),
        ];
        assert_eq!(seen.take(), told, "async: {is_async}");
    }
}
on_all_grounds!(errors_become_a_500_without_their_text_and_the_connection_goes_on);

fn a_request_that_cannot_be_read_is_answered_without_a_word_of_ours(ground: &Ground) {
    let seen = Seen::default();
    let worker = seen
        .watch(ground.worker())
        .on_request_head(|head| match head.path() {
            "/stream" => Admission::Stream,
            _ => Admission::Buffer(1000),
        })
        .on_message_async(async |_, mut request: Request| -> Result<Response, BoxError> {
            if request.path() == "/stream" {
                let _ = request.buffer(10).await?;
            }
            Ok(Response::text(request.text()?.to_owned()))
        });
    ground.run(worker, async |guest| {
        let mut wire = guest.connect().await;
        let invalid = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n\xff";
        let answer = wire.ask(invalid).await;
        assert_eq!((answer.status, answer.text(), answer.closes()), (400, "", false));
        let answer = wire.ask(post("/stream", "twelve bytes")).await;
        assert_eq!((answer.status, answer.text()), (413, ""));
        assert_eq!(guest.connect().await.ask(post("/stream", "ten bytes.")).await.text(), "ten bytes.");
    });
    let told = seen.take().into_iter().filter(|note| note.starts_with("error"));
    let expected = [
        "error: handler failed: the body is not text in UTF-8",
        "error: handler failed: the body is longer than 10 bytes",
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}
on_all_grounds!(a_request_that_cannot_be_read_is_answered_without_a_word_of_ours);

fn panics_become_a_500_and_end_their_connection(ground: &Ground) {
    for is_async in [false, true] {
        let seen = Seen::default();
        ground.run(acting(ground, &seen, is_async), async |guest| {
            let mut other = guest.connect().await;
            let mut wire = guest.connect().await;
            let answer = wire.ask(get("/panics") + &get("/text")).await;
            assert_eq!((answer.status, answer.text(), answer.closes()), (500, "", true));
            wire.is_over().await;
            assert_eq!(other.ask(get("/text")).await.text(), "a page");
        });
        let panicked = ["error: a callback panicked: expected by the test", "closed: panic"];
        assert_eq!(seen.take(), [&panicked[..], &["closed: closed by the peer"]].concat());
    }
}
on_all_grounds!(panics_become_a_500_and_end_their_connection);

fn a_handler_may_send_instead_of_returning(ground: &Ground) {
    for is_async in [false, true] {
        let seen = Seen::default();
        ground.run(acting(ground, &seen, is_async), async |guest| {
            let mut wire = guest.connect().await;
            for _ in 0..3 {
                assert_eq!(wire.ask(get("/sends")).await.text(), "sent");
                assert_eq!(wire.ask(get("/text")).await.text(), "a page");
                assert_eq!(wire.ask(get("/sends-spoiled")).await.text(), "sent after all");
            }
        });
        assert_eq!(seen.take(), ["closed: closed by the peer"]);
    }
}
on_all_grounds!(a_handler_may_send_instead_of_returning);

fn nobody_gets_the_answer_of_another_request(ground: &Ground) {
    // What is sent before anything is asked, and what is returned behind an answer that was sent.
    let late = "error: reply not sent: cannot encode: no request of this connection waits for an answer";
    let seen = Seen::default();
    let worker = seen
        .watch(ground.worker())
        .on_connect(|conn| conn.send(Response::text("hello?")).map(drop))
        .on_message_async(async |conn, request: Request| -> Result<Option<Response>, BoxError> {
            let _ = conn.send(Response::text(format!("first to {}", request.path())))?;
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            Ok(Some(Response::text(format!("second to {}", request.path()))))
        });
    ground.run(worker, async |guest| {
        let mut wire = guest.connect().await;
        for path in ["/a", "/b", "/c"] {
            assert_eq!(wire.ask(get(path)).await.text(), format!("first to {path}"));
        }
        let said = guest.exchange(get("/a") + &get("/b") + &get("/c")).await;
        let said: Vec<_> = said.lines().filter(|line| line.contains(" to ")).collect();
        // The next status line is right behind a body.
        let front = "HTTP/1.1 200 OK";
        assert_eq!(
            said,
            [format!("first to /a{front}"), format!("first to /b{front}"), "first to /c".into()]
        );
    });
    let worker = seen.watch(ground.worker()).on_message(|conn, request| -> Result<_, BoxError> {
        if request.path() != "/plain" {
            let _ = conn.send(Response::text(format!("first to {}", request.path())))?;
        }
        if request.path() == "/silent" {
            return Ok(None);
        }
        Ok(Some(Response::text(format!("second to {}", request.path()))))
    });
    assert_eq!(seen.take().iter().filter(|note| *note == late).count(), 6, "for each one");
    ground.run(worker, async |guest| {
        let mut wire = guest.connect().await;
        assert_eq!(wire.ask(get("/a")).await.text(), "first to /a");
        assert_eq!(wire.ask(get("/silent")).await.text(), "first to /silent");
        assert_eq!(wire.ask(get("/plain")).await.text(), "second to /plain");
    });
    assert_eq!(seen.take(), [late, "closed: closed by the peer"]);
}
on_all_grounds!(nobody_gets_the_answer_of_another_request);

fn on_error_may_answer_in_its_own_words(ground: &Ground) {
    for is_async in [false, true] {
        let worker = acting(ground, &Seen::default(), is_async).on_error(|conn, error| {
            let page = Response::text(format!("sorry: {}", error.to_string().len())).with_status(503);
            let _ = conn.send(page);
        });
        ground.run(worker, async |guest| {
            let mut wire = guest.connect().await;
            let answer = wire.ask(get("/fails")).await;
            assert_eq!((answer.status, answer.text(), answer.closes()), (503, "sorry: 22", false));
            assert_eq!(wire.ask(get("/text")).await.text(), "a page");
            let answer = wire.ask(get("/panics")).await;
            assert!(answer.status == 503 && answer.text().starts_with("sorry"));
            wire.is_over().await;
        });
    }
}
on_all_grounds!(on_error_may_answer_in_its_own_words);

fn answers_come_from_outside_of_the_handler(ground: &Ground) {
    let (gate, passes) = (Gate::default(), Gate::default());
    let opens = gate.clone();
    let worker = ground.worker().on_message(move |conn, request: Request| {
        let (conn, gate) = (conn.clone(), gate.pass());
        passes.open();
        workerman::spawn(async move {
            gate.await;
            conn.send(Response::text(format!("to {}", request.path()))).map(drop)
        });
    });
    ground.run(worker, async move |guest| {
        let mut wire = guest.connect().await;
        for path in ["/a", "/b"] {
            wire.say(get(path)).await;
            opens.open();
            assert_eq!(wire.answer().await.text(), format!("to {path}"));
        }
    });
}
on_all_grounds!(answers_come_from_outside_of_the_handler);

/// What a path asks for, for the framing of answers.
fn framed(request: &Request) -> Response {
    let mut trailers = Headers::new();
    trailers.append("x-sum".parse().unwrap(), HeaderValue::from_static("15"));
    match request.path() {
        "/known" => Response::text("five5"),
        "/empty" => Response::new(StatusCode::OK),
        "/stream" => Response::stream(Pieces::new(3, 5)),
        "/sized" => Response::text(Body::sized(15, Pieces::new(3, 5))),
        "/trailers" => Response::text(Body::stream(Pieces::new(3, 5)).with_trailers(trailers)),
        "/known-trailers" => Response::text("five5").trailers(trailers),
        "/204" => Response::text("never sent").with_status(204),
        "/205" => Response::text("never sent").with_status(205),
        "/304" => Response::text("never sent").with_status(304),
        "/204-stream" => Response::stream(Pieces::new(3, 5)).with_status(204),
        "/closes" => Response::text("five5").header("connection", "close"),
        other => panic!("no handler of {other}"),
    }
}

fn framing_follows_from_status_method_and_version(ground: &Ground) {
    let worker = ground.worker().on_message(|_, request: Request| framed(&request));
    ground.run(worker, async |guest| {
        let mut wire = guest.connect().await;
        let cases = [
            ("/known", 200, Framing::Length, "five5"),
            ("/empty", 200, Framing::Length, ""),
            ("/stream", 200, Framing::Chunked, "..............."),
            ("/sized", 200, Framing::Length, "..............."),
            ("/trailers", 200, Framing::Chunked, "..............."),
            ("/known-trailers", 200, Framing::Chunked, "five5"),
            ("/204", 204, Framing::None, ""),
            ("/205", 205, Framing::Length, ""),
            ("/304", 304, Framing::None, ""),
            ("/204-stream", 204, Framing::None, ""),
        ];
        for (path, status, framing, body) in cases {
            let answer = wire.ask(get(path)).await;
            assert_eq!((answer.status, answer.framing, answer.text()), (status, framing, body), "{path}");
            let sum = path.ends_with("trailers").then(|| ("x-sum".to_owned(), "15".to_owned()));
            assert_eq!(answer.trailers, sum.into_iter().collect::<Vec<_>>(), "{path}");
            // The same head without the body, and the connection stays in step.
            let head = wire.ask(get(path).replace("GET", "HEAD")).await;
            let without_date = |mut fields: Vec<(String, String)>| {
                fields.retain(|(name, _)| name != "date");
                fields
            };
            assert_eq!(
                (head.status, without_date(head.fields)),
                (status, without_date(answer.fields)),
                "{path}"
            );
        }
        let answer = wire.ask(get("/closes")).await;
        assert!(answer.closes() && answer.text() == "five5");
        wire.is_over().await;
    });
}
on_all_grounds!(framing_follows_from_status_method_and_version);

fn clients_of_1_0_get_no_chunks_and_stay_only_if_they_ask(ground: &Ground) {
    let worker = ground.worker().on_message(|_, request: Request| framed(&request));
    ground.run(worker, async |guest| {
        for (path, framing, body) in [
            ("/known", Framing::Length, "five5"),
            ("/stream", Framing::Close, "..............."),
            ("/trailers", Framing::Close, "..............."),
            ("/known-trailers", Framing::Length, "five5"),
        ] {
            let mut wire = guest.connect().await;
            wire.say(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
            let answer = wire.answer().await;
            assert_eq!((answer.framing, answer.text(), answer.closes()), (framing, body, true), "{path}");
            assert!(answer.trailers.is_empty());
            wire.is_over().await;
        }
        let mut wire = guest.connect().await;
        let keep = |path: &str| format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        for path in ["/known", "/sized", "/304", "/known-trailers"] {
            let answer = wire.ask(keep(path)).await;
            assert_eq!(answer.field("connection"), Some("keep-alive"), "{path}");
        }
        // A body of unknown length can end only with the connection.
        let answer = wire.ask(keep("/stream")).await;
        assert!(answer.closes() && answer.body.len() == 15);
        wire.is_over().await;
    });
}
on_all_grounds!(clients_of_1_0_get_no_chunks_and_stay_only_if_they_ask);

#[test]
fn the_date_is_that_of_the_answer() {
    let worker = Ground::perfect().worker().server("workers").on_message(|_, _| "hi");
    Ground::perfect().run(worker, async |guest| {
        let mut wire = guest.connect().await;
        let answer = wire.ask(get("/")).await;
        assert_eq!(answer.field("server"), Some("workers"));
        let date = answer.field("date").unwrap().to_owned();
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
        guest.sleep(Duration::from_secs(5)).await;
        let _ = wire.ask(get("/")).await;
    });
}
