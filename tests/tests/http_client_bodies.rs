//! Bodies of the pooled HTTP client on real sockets: broken ones, long ones, both ways, and what is in between.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use workerman::prelude::Client;
use workerman_http::client::{AgentBuilder, ClientHttp, Error, Response};
use workerman_protocol::http::coding::{Coding, Encoder};
use workerman_protocol::http::{Body, BodyError, Error as HttpError};
use workerman_tests::scripted::{constant, run, server};
use workerman_tests::serving::PATIENCE;

fn agent() -> AgentBuilder {
    // What takes longer has failed.
    Client::http_builder().timeout(PATIENCE)
}

async fn text(response: Result<Response, Error>) -> String {
    response.unwrap().text().await.unwrap()
}

#[test]
fn answers_that_are_none_are_errors_and_never_short() {
    run(async {
        let http = agent().build();
        let ok = "HTTP/1.1 200 OK\r\n";
        let cases: [(String, &str); 14] = [
            (String::new(), "closed the connection before it had answered"),
            ("HTTP/1.1 200 OK\r\nContent-Le".into(), "closed the connection before it had answered"),
            ("SSH-2.0-OpenSSH\r\n".into(), "status line"),
            (format!("{ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "more than one Content-Length"),
            (format!("{ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "beside"),
            (format!("{ok}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), "other than chunked"),
            (format!("{ok}A: {}\r\n\r\n", "x".repeat(70_000)), "exceeds the limit of 65536"),
            (format!("{ok}{}\r\n", "A: b\r\n".repeat(101)), "the number of fields exceeds the limit of 100"),
            (format!("{ok}A: b\n\r\n"), "CR LF"),
            (format!("{ok}Content-Length: 10\r\n\r\nshort"), "the connection ended within the body"),
            (
                format!("{ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhel"),
                "the connection ended within the body",
            ),
            (format!("{ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), "the connection ended within"),
            (format!("{ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n"), "malformed"),
            (format!("{ok}Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "malformed"),
        ];
        for (answer, expected) in cases {
            let said = answer.clone();
            let (address, _) = server(move |mut wire| {
                let said = said.clone();
                async move {
                    wire.head().await;
                    wire.say(said).await;
                }
            })
            .await;
            let error = match http.get(format!("http://{address}/")).send().await {
                Ok(response) => response.bytes().await.unwrap_err(),
                Err(error) => error,
            };
            assert!(error.to_string().contains(expected), "{answer:.60}: {error}");
        }
    });
}

#[test]
fn a_body_may_end_with_the_connection_and_a_reset_is_no_end() {
    run(async {
        let http = agent().build();
        let (address, count) = server(|mut wire| async move {
            let head = wire.head().await.unwrap();
            wire.say("HTTP/1.1 200 OK\r\n\r\nhello").await;
            if head.starts_with("GET /reset") {
                // Let it arrive, then reset.
                wire.bytes(1).await;
            }
        })
        .await;
        let url = format!("http://{address}/");
        assert_eq!(text(http.get(&url).send().await).await, "hello");
        assert_eq!(text(http.get(&url).send().await).await, "hello");
        assert_eq!(count.load(Ordering::SeqCst), 2, "such a connection cannot be used again");

        let (go, gone) = tokio::sync::watch::channel(false);
        let (address, _) = server(move |mut wire| {
            let mut gone = gone.clone();
            async move {
                wire.head().await.unwrap();
                wire.say("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhello").await;
                gone.wait_for(|go| *go).await.unwrap();
                // A socket that is closed with unread input resets its peer: wait for some, and leave it.
                wire.stream.readable().await.unwrap();
            }
        })
        .await;
        let request = http.post(format!("http://{address}/")).body(Body::stream(Endless));
        let mut response = request.send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "hello");
        go.send(true).unwrap();
        let error = loop {
            match response.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a short success"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Body(BodyError::Aborted)), "{error}");
    });
}

/// A stream without an end.
struct Endless;

impl Stream for Endless {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; 1024]))))
    }
}

#[test]
fn what_comes_unasked_is_never_the_answer_to_a_later_request() {
    run(async {
        let (address, count) = server(|mut wire| async move {
            let stray = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
            wire.head().await;
            wire.say(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue{stray}")).await;
            wire.rest().await;
        })
        .await;
        let http = agent().build();
        for _ in 0..3 {
            assert_eq!(text(http.get(format!("http://{address}/")).send().await).await, "true");
        }
        assert_eq!(count.load(Ordering::SeqCst), 3);
    });
}

/// A stream of known pieces.
struct Pieces(VecDeque<Bytes>);

impl Pieces {
    fn of<const N: usize>(pieces: [&'static str; N]) -> Self {
        Self(pieces.into_iter().map(Bytes::from).collect())
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// A stream that counts what it has yielded.
struct Counted {
    left: usize,
    yielded: Arc<AtomicUsize>,
}

impl Stream for Counted {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.yielded.fetch_add(16 * 1024, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Bytes::from(vec![b'x'; 16 * 1024]))))
    }
}

#[test]
fn a_large_upload_arrives_whole() {
    run(async {
        const ALL: usize = 64 * 1024 * 1024;
        let (address, _) = server(move |mut wire| async move {
            let head = wire.head().await.unwrap();
            assert!(head.contains(&format!("content-length: {ALL}")), "{head}");
            let mut left = ALL - wire.ahead.len();
            let mut buffer = vec![0; 64 * 1024];
            while left > 0 {
                let read = wire.stream.read(&mut buffer).await.unwrap();
                assert!(read > 0 && buffer[..read].iter().all(|byte| *byte == b'x'));
                left -= read;
            }
            wire.answer("ok").await;
        })
        .await;
        let yielded = Arc::new(AtomicUsize::new(0));
        let body = Counted { left: ALL / (16 * 1024), yielded: Arc::clone(&yielded) };
        let request = agent().build().post(format!("http://{address}/")).body(Body::sized(ALL as u64, body));
        assert_eq!(text(request.send().await).await, "ok");
        assert_eq!(yielded.load(Ordering::SeqCst), ALL);
    });
}

#[test]
fn both_bodies_may_stream_at_once() {
    run(async {
        let (address, count) = server(|mut wire| async move {
            while wire.head().await.is_some() {
                wire.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                // The chunks of the request are the chunks of the response.
                while !wire.ahead.ends_with(b"0\r\n\r\n") {
                    let ready = std::mem::take(&mut wire.ahead);
                    wire.say(ready).await;
                    assert!(wire.more().await);
                }
                let ready = std::mem::take(&mut wire.ahead);
                wire.say(ready).await;
            }
        })
        .await;
        let (say, mut said) = mpsc::unbounded_channel::<&'static str>();
        let pieces = move |cx: &mut Context<'_>| said.poll_recv(cx).map(|piece| piece.map(Bytes::from));
        let body = Body::stream(FromFn(pieces));
        let http = agent().build();
        let url = format!("http://{address}/");
        let mut response = http.post(&url).body(body).send().await.unwrap();
        for piece in ["one", "two", "three"] {
            say.send(piece).unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), piece);
        }
        drop(say);
        assert_eq!(response.chunk().await.unwrap(), None);
        assert_eq!(text(http.post(&url).body(Body::stream(Pieces::of(["x"]))).send().await).await, "x");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}

/// A stream made of a closure.
struct FromFn<F>(F);

impl<F: FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + Unpin> Stream for FromFn<F> {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        (self.0)(cx).map(|piece| piece.map(Ok))
    }
}

#[test]
fn a_refusal_in_the_middle_of_an_upload_is_delivered() {
    run(async {
        let (address, _) = server(|mut wire| async move {
            wire.head().await;
            wire.bytes(100_000).await;
            wire.say("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig").await;
            wire.rest().await;
        })
        .await;
        let response = agent().build().post(format!("http://{address}/")).body(Body::stream(Endless)).send();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 413);
        assert!(matches!(response.error_for_status().unwrap_err(), Error::Status(status) if status == 413));
    });
}

#[test]
fn an_upload_that_fails_is_an_error_on_both_sides() {
    run(async {
        let (ended, mut end) = mpsc::unbounded_channel();
        let (address, _) = server(move |mut wire| {
            let ended = ended.clone();
            async move {
                wire.head().await;
                ended.send(wire.rest().await).unwrap();
            }
        })
        .await;
        let mut pieces = VecDeque::from([Ok(Bytes::from("abc")), Err(std::io::Error::other("disk on fire"))]);
        let body = Body::stream(Failing(Mutex::new(std::mem::take(&mut pieces))));
        let error = agent().build().post(format!("http://{address}/")).body(body).send().await.unwrap_err();
        assert!(error.to_string().contains("disk on fire"), "{error}");
        let source = matches!(error, Error::Request(HttpError::Body(BodyError::Source(_))));
        assert!(source);
        assert_eq!(end.recv().await.unwrap(), b"3\r\nabc\r\n", "no last chunk");
    });
}

struct Failing(Mutex<VecDeque<Result<Bytes, std::io::Error>>>);

impl Stream for Failing {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.lock().unwrap().pop_front())
    }
}

#[test]
fn a_body_is_read_as_a_whole_up_to_a_limit_and_as_a_stream_without_one() {
    run(async {
        for head in ["Content-Length: 300000\r\n\r\n", "Connection: close\r\n\r\n"] {
            let (address, _) = server(move |mut wire| async move {
                wire.head().await;
                wire.say(format!("HTTP/1.1 200 OK\r\n{head}")).await;
                wire.say("x".repeat(300_000)).await;
            })
            .await;
            let http = agent().max_body(100_000).build();
            let url = format!("http://{address}/");
            let error = http.get(&url).send().await.unwrap().bytes().await.unwrap_err();
            assert!(matches!(error, Error::Body(BodyError::TooLarge { limit: 100_000 })), "{error}");
            let mut response = http.get(&url).send().await.unwrap();
            let mut got = 0;
            while let Some(piece) = response.chunk().await.unwrap() {
                got += piece.len();
            }
            assert_eq!(got, 300_000);
        }
    });
}

#[test]
fn interim_responses_and_trailers_are_understood() {
    run(async {
        let (address, _) = constant(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
        )
        .await;
        let mut response = agent().build().get(format!("http://{address}/")).send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "hi");
        assert_eq!(response.chunk().await.unwrap(), None);
        assert_eq!(response.trailers().unwrap().get_str("x-sum"), Some("7"));
    });
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(Coding::Gzip, None).unwrap();
    let mut out = Vec::new();
    encoder.write(bytes, &mut out).unwrap();
    encoder.finish(&mut out).unwrap();
    out
}

#[test]
fn compressed_bodies_are_asked_for_and_decompressed() {
    run(async {
        let plain = "again and ".repeat(30_000);
        let packed = gzip(plain.as_bytes());
        let (address, count) = server(move |mut wire| {
            let packed = packed.clone();
            async move {
                while let Some(head) = wire.head().await {
                    if !head.contains("accept-encoding: gzip\r\n") {
                        wire.answer(head).await;
                        continue;
                    }
                    let length = packed.len();
                    let coding = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n";
                    if head.starts_with("HEAD") {
                        wire.say(format!("{coding}Content-Length: {length}\r\n\r\n")).await;
                    } else if head.contains("/chunked") {
                        wire.say(format!("{coding}Transfer-Encoding: chunked\r\n\r\n")).await;
                        for piece in packed.chunks(10) {
                            wire.say(format!("{:x}\r\n", piece.len())).await;
                            wire.say([piece, b"\r\n"].concat()).await;
                        }
                        wire.say("0\r\n\r\n").await;
                    } else {
                        wire.say(format!("{coding}Content-Length: {length}\r\n\r\n")).await;
                        wire.say(&packed).await;
                    }
                }
            }
        })
        .await;
        let http = agent().build();
        let url = |path: &str| format!("http://{address}{path}");
        for path in ["/", "/chunked"] {
            let response = http.get(url(path)).send().await.unwrap();
            assert_eq!(
                (response.header("content-encoding"), response.header("content-length")),
                (None, None)
            );
            assert_eq!(response.content_length(), None);
            assert_eq!(response.text().await.unwrap(), plain);
        }
        let response = http.head(url("/")).send().await.unwrap();
        assert_eq!(response.header("content-encoding"), Some("gzip"), "there is nothing to decompress");
        let error = http.get(url("/")).header("range", "bytes=0-1").send().await;
        assert!(!text(error).await.contains("accept-encoding"), "a part could not be decompressed");
        let own = http.get(url("/")).header("accept-encoding", "identity").send().await;
        assert!(text(own).await.contains("accept-encoding: identity\r\n"));
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let plainly = agent().decompress(false).build();
        assert!(!text(plainly.get(url("/")).send().await).await.contains("accept-encoding"));
    });
}

#[test]
fn compressed_bodies_are_whole_and_within_limits_or_errors() {
    run(async {
        let packed = gzip(&[b'x'; 50_000_000]);
        assert!(packed.len() < 100_000);
        let coded = |bytes: &[u8]| {
            let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ";
            [format!("{head}{}\r\n\r\n", bytes.len()).as_bytes(), bytes].concat()
        };
        let http = agent().max_body(1_000_000).build();
        for (bytes, expected) in [
            (&packed[..], "longer than 1000000 bytes"),
            (&gzip(b"hello")[..10], "malformed"),
            (&b"no gzip at all, however long one looks"[..], "malformed"),
        ] {
            let (address, _) = constant(coded(bytes)).await;
            let response = http.get(format!("http://{address}/")).send().await.unwrap();
            let error = response.bytes().await.unwrap_err();
            assert!(matches!(error, Error::Body(_)) && error.to_string().contains(expected), "{error}");
        }
        let (address, _) = constant(coded(&packed)).await;
        let mut response = http.get(format!("http://{address}/")).send().await.unwrap();
        let (mut got, mut largest) = (0, 0);
        while let Some(piece) = response.chunk().await.unwrap() {
            (got, largest) = (got + piece.len(), largest.max(piece.len()));
        }
        assert_eq!(got, 50_000_000);
        assert!(largest <= 256 * 1024, "a piece of {largest} bytes");
    });
}

#[cfg(unix)]
#[test]
fn the_example_ends_well_only_if_everything_arrived() {
    use workerman_tests::program::example;

    // Built before the time begins.
    drop(example("http_client"));
    let call = async |arguments: &[&str]| {
        let mut example = example("http_client");
        example.args(arguments);
        let output = tokio::task::spawn_blocking(move || example.output()).await.unwrap().unwrap();
        (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    run(async {
        let (address, count) = server(|mut wire| async move {
            while let Some(head) = wire.head().await {
                let body = "x".repeat(100_000);
                match head.split(' ').next().unwrap() {
                    "GET" => wire.answer(body).await,
                    "HEAD" => wire.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await,
                    "CUT" => {
                        wire.say(format!("HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n{body}")).await;
                        return;
                    }
                    _ => drop(wire.rest().await),
                }
            }
        })
        .await;
        let url = format!("http://{address}/");
        let (code, out, _) = call(&[&url, "--repeat", "5"]).await;
        assert_eq!((code, out.len(), count.load(Ordering::SeqCst)), (Some(0), 500_000, 1));
        assert_eq!(call(&[&url, "--method", "HEAD"]).await, (Some(0), Vec::new(), String::new()));
        let (code, out, error) = call(&["--method", "CUT", &url]).await;
        assert_eq!((code, out.len()), (Some(1), 100_000));
        assert!(error.contains("the connection ended within the body"), "{error}");
        let (code, out, error) = call(&[&url, "--method", "HANG", "--timeout", "0.2"]).await;
        assert_eq!((code, out, error.as_str()), (Some(1), Vec::new(), "http_client: it took too long\n"));
        for wrong in [&["--method"][..], &["--timeout", "x", &url], &[&url, &url], &["--hm"], &[]] {
            assert_eq!(call(wrong).await.0, Some(1), "{wrong:?}");
        }
    });
}
