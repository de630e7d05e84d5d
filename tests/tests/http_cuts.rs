//! The same bytes get the same answers, however they are cut and wherever the server runs.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use workerman::http::{Admission, Body, BodyError, HeaderValue, Headers, Http, Request, Response};
use workerman::{BackendKind, BoxError, Handlers, Line, Service, Settings, Text, Worker};
use workerman_tests::http_server::{Ground, Pieces, get, post, post_chunked};
use workerman_tests::workers::on_each;

/// Whatever a script may ask for.
fn worker(ground: &Ground) -> Worker<Http> {
    let lines = Handlers::new().on_message(|_, line: Line| line.to_string().to_uppercase());
    let lines = Arc::new(Service::new("lines", Text::new, lines, Settings::default()));
    ground
        .worker()
        .protocol(Http::new().pipeline(3).server("cuts").max_body(1000))
        .on_request_head(|head| match head.path() {
            "/rejected" => Admission::Reject(Response::text("no").with_status(403)),
            path if path.starts_with("/stream") => Admission::Stream,
            _ => Admission::Buffer(1000),
        })
        .on_message_async(async move |conn, mut request: Request| -> Result<Option<Response>, BoxError> {
            let path = request.path().to_owned();
            match &*path {
                "/fails" => return Err("secret".into()),
                "/token" => {
                    let reply = request.reply();
                    workerman::spawn(async move {
                        tokio::task::yield_now().await;
                        reply.send("by a token")
                    });
                    return Ok(None);
                }
                "/switch" => {
                    let _ = conn.send(Response::switching_protocols("lines"))?;
                    let _ = conn.upgrade(Text::new(), &lines)?;
                    return Ok(None);
                }
                "/large" => return Ok(Some(Response::stream(Pieces::new(30, 100)))),
                "/sized" => return Ok(Some(Response::text(Body::sized(30, Pieces::new(3, 10))))),
                "/trailers" => {
                    let mut trailers = Headers::new();
                    trailers.append("x-sum".parse()?, HeaderValue::from_static("7"));
                    return Ok(Some(Response::text("text").trailers(trailers)));
                }
                "/304" => return Ok(Some(Response::of(304))),
                _ => {}
            }
            let mut body = Vec::new();
            while let Some(piece) = request.body_mut().data().await.transpose()? {
                body.extend_from_slice(&piece);
            }
            let trailer = request.trailers().and_then(|trailers| trailers.get_str("x-sum")).unwrap_or("none");
            let body = String::from_utf8(body)?;
            Ok::<_, BoxError>(Some(Response::text(format!("{} {path} {body} {trailer}", request.method()))))
        })
}

fn scripts() -> Vec<(&'static str, String)> {
    let upgrade = "GET /switch HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n";
    let trailers = post_chunked("/stream", "hello", 2);
    let trailers =
        trailers.strip_suffix("\r\n").map(|begin| begin.to_owned() + "X-Sum: 9\r\nHost: y\r\n\r\n");
    let last = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    vec![
        ("one request", get("/a")),
        ("a pipeline", get("/a") + &get("/token") + &get("/b") + &get("/fails") + &get("/c")),
        (
            "bodies",
            post("/a", "body") + &post_chunked("/b", "some text", 4) + &post("/stream", "more") + &get("/c"),
        ),
        ("trailers", trailers.unwrap_or_default() + &get("/a")),
        ("answers that are streamed", get("/large") + &get("/sized") + &get("/trailers") + &get("/a")),
        ("methods", get("/large").replace("GET", "HEAD") + &get("/304") + &get("/a").replace("GET", "BREW")),
        ("a rejected body", post("/rejected", "unseen") + &get("/a")),
        ("a body that is too long", get("/token") + &post("/a", &"x".repeat(1001)) + &get("/never")),
        (
            "chunks that are too long",
            get("/token") + &post_chunked("/a", &"x".repeat(1100), 300) + &get("/never"),
        ),
        ("a switch", get("/token") + upgrade + "hello\nworld\n"),
        ("the last request", get("/a") + last + &get("/never")),
        ("an old client", "GET /a HTTP/1.0\r\n\r\n".to_owned()),
        (
            "an old client that stays",
            "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /large HTTP/1.0\r\n\r\n".into(),
        ),
        ("an empty line before", format!("\r\n{}\r\n{}", get("/a"), get("/b"))),
        ("nonsense", get("/token") + "NONSENSE\r\n\r\n" + &get("/never")),
        ("a broken field", get("/a") + "GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n"),
        (
            "a broken chunk",
            get("/a") + "POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX",
        ),
        ("another version", "GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_owned()),
        ("a head that ends", get("/a") + "GET /b HTTP/1.1\r\nHost"),
        ("a body that ends", get("/a") + "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"),
    ]
}

/// What was said, but whether the last answer says that the connection ends: the client ends its stream behind its last
/// byte, and the server may have seen that or not.
fn but_the_end(said: &str) -> String {
    const CLOSE: &str = "Connection: close\r\n";
    let last = said.rfind("HTTP/1.1 2").unwrap_or(said.len());
    said[..last].to_owned() + &said[last..].replace(CLOSE, "")
}

/// What comes back for each script, in one piece over links that lose no time.
fn transcripts() -> Vec<String> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&all);
    let ground = Ground::perfect();
    ground.run(worker(&ground), async move |guest| {
        for (_, script) in scripts() {
            let transcript = guest.exchange(script).await;
            said.lock().unwrap().push(transcript);
        }
    });
    Arc::into_inner(all).unwrap().into_inner().unwrap()
}

#[test]
fn the_answers_are_those_that_were_asked_for() {
    let transcripts = transcripts();
    let of = |name: &str| {
        let at = scripts().iter().position(|(own, _)| *own == name).unwrap();
        let transcript = transcripts[at].clone();
        let statuses: Vec<String> = transcript
            .match_indices("HTTP/1.1 ")
            .map(|(at, _)| transcript[at + 9..at + 12].to_owned())
            .collect();
        (statuses, transcript)
    };
    assert_eq!(of("a pipeline").0, ["200", "200", "200", "500", "200"]);
    assert_eq!(of("bodies").0, ["200", "200", "200", "200"]);
    assert!(of("trailers").1.contains("POST /stream hello 9"));
    assert_eq!(of("answers that are streamed").0, ["200", "200", "200", "200"]);
    assert_eq!(of("methods").0, ["200", "304", "200"]);
    assert_eq!(of("a rejected body").0, ["403", "200"]);
    assert_eq!(of("a body that is too long").0, ["200", "413"]);
    assert_eq!(of("chunks that are too long").0, ["200", "413"]);
    assert_eq!(of("a switch").0, ["200", "101"]);
    assert!(of("a switch").1.ends_with("\r\n\r\nHELLO\nWORLD\n"));
    assert_eq!(of("the last request").0, ["200", "200"]);
    assert!(of("the last request").1.contains("Connection: close\r\n"));
    assert_eq!(of("an old client that stays").0, ["200", "200"]);
    assert_eq!(of("an empty line before").0, ["200", "200"]);
    assert_eq!(of("nonsense").0, ["200", "400"]);
    assert_eq!(of("a broken field").0, ["200", "400"]);
    assert_eq!(of("a broken chunk").0, ["200", "400"]);
    assert_eq!(of("another version").0, ["505"]);
    assert_eq!(of("a head that ends").0, ["200"]);
    assert_eq!(of("a body that ends").0, ["200"]);
}

#[test]
fn cut_at_every_byte() {
    let ground = Ground::perfect();
    ground.run(worker(&ground), async |guest| {
        for ((name, script), expected) in scripts().into_iter().zip(transcripts_in_thread()) {
            for cut in 1..script.len() {
                let mut wire = guest.connect().await;
                wire.say(&script[..cut]).await;
                guest.sleep(Duration::from_millis(1)).await;
                let said = wire.exchange(&script[cut..]).await;
                assert_eq!(but_the_end(&said), but_the_end(&expected), "{name} cut at {cut}");
            }
        }
    });
}

/// A simulation cannot run inside of another.
fn transcripts_in_thread() -> Vec<String> {
    std::thread::spawn(transcripts).join().unwrap()
}

#[test]
fn one_byte_at_a_time() {
    let ground = Ground::perfect();
    ground.run(worker(&ground), async |guest| {
        for ((name, script), expected) in scripts().into_iter().zip(transcripts_in_thread()) {
            let mut wire = guest.connect().await;
            let (last, begin) = script.as_bytes().split_last().unwrap();
            for byte in begin {
                // It may have been refused long before.
                if wire.try_say([*byte]).await.is_err() {
                    break;
                }
                guest.sleep(Duration::from_millis(1)).await;
            }
            let said = wire.exchange([*last]).await;
            assert_eq!(but_the_end(&said), but_the_end(&expected), "{name}");
        }
    });
}

#[test]
fn cut_by_the_network() {
    let expected = transcripts();
    let grounds = (0..20).map(Ground::choppy).chain([Ground::tiny()]);
    for ground in grounds {
        let expected = expected.clone();
        let which = format!("{ground:?}");
        ground.run(worker(&ground), async move |guest| {
            for ((name, script), expected) in scripts().into_iter().zip(expected) {
                let said = guest.exchange(&script).await;
                assert_eq!(but_the_end(&said), but_the_end(&expected), "{name} on {which}");
            }
        });
    }
}

#[test]
fn on_real_backends() {
    let expected = transcripts();
    on_each(|kind: BackendKind| {
        let (ground, expected) = (Ground::Real(kind), expected.clone());
        ground.run(worker(&ground), async move |guest| {
            for ((name, script), expected) in scripts().into_iter().zip(expected) {
                let said = guest.exchange(&script).await;
                assert_eq!(but_the_end(&said), but_the_end(&expected), "{name} on {kind:?}");
                let mut random = fastrand::Rng::with_seed(script.len() as u64);
                for _ in 0..10 {
                    let mut wire = guest.connect().await;
                    let mut rest = script.as_str();
                    while rest.len() > 1 {
                        let (piece, behind) = rest.split_at(random.usize(1..rest.len().min(100)));
                        if wire.try_say(piece).await.is_err() {
                            break;
                        }
                        tokio::task::yield_now().await;
                        rest = behind;
                    }
                    let said = wire.exchange(rest).await;
                    assert_eq!(but_the_end(&said), but_the_end(&expected), "{name} in pieces on {kind:?}");
                }
            }
        });
    });
}

#[test]
fn a_body_of_a_request_is_an_error_only_where_it_breaks_off() {
    // What the bound of memory is for bodies of requests is none for their readers.
    let ground = Ground::perfect();
    let worker = ground.worker().max_body(10).on_request_head(|_| Admission::Stream).on_message_async(
        async |_, mut request: Request| {
            let mut read = 0;
            while let Some(piece) = request.body_mut().data().await.transpose()? {
                read += piece.len();
            }
            Ok::<_, BodyError>(read.to_string())
        },
    );
    ground.run(worker, async |guest| {
        let mut wire = guest.connect().await;
        assert_eq!(wire.ask(post("/", &"x".repeat(5_000_000))).await.text(), "5000000");
    });
}
