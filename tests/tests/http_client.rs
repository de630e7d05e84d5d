//! The pooled HTTP client on real sockets: requests, redirects, the pool, foreign servers.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use workerman::prelude::{Client, Settings, Text, Worker, WorkerConnection};
use workerman::{BoxError, Handlers, Service};
use workerman_http::client::{Agent, AgentBuilder, ClientHttp, Error, Response};
use workerman_protocol::http::{Body, ClientRequest, Headers, HttpClient};
use workerman_tests::scripted::{Wire, constant, run, server};
use workerman_tests::serving::PATIENCE;

fn agent() -> AgentBuilder {
    // What takes longer has failed.
    Client::http_builder().timeout(PATIENCE)
}

async fn text(response: Result<Response, Error>) -> String {
    response.unwrap().text().await.unwrap()
}

#[test]
fn one_connection_carries_one_request_after_the_other() {
    run(async {
        let (address, count) = server(|mut wire| async move {
            let mut n = 0;
            while let Some(head) = wire.head().await {
                n += 1;
                let agent = concat!("user-agent: workerman/", env!("CARGO_PKG_VERSION"));
                assert!(head.contains(agent), "{head}");
                match n % 3 {
                    0 => wire.answer(&format!("{n}")).await,
                    1 => {
                        wire.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                        wire.say(format!("{:x}\r\n{n}\r\n", n.to_string().len())).await;
                        wire.say("0\r\n\r\n").await;
                    }
                    _ => {
                        wire.say("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n").await;
                        wire.say("x".repeat(200_000)).await;
                    }
                }
            }
        })
        .await;
        let http = Client::http();
        for n in 1..=60 {
            let body = text(http.get(format!("http://{address}/{n}")).send().await).await;
            match n % 3 {
                2 => assert_eq!(body.len(), 200_000),
                _ => assert_eq!(body, n.to_string()),
            }
        }
        assert_eq!(count.load(Ordering::SeqCst), 1, "each response was read, so each connection was free");
    });
}

#[test]
fn requests_are_sent_as_they_were_put_together() {
    run(async {
        let (address, _) = server(|mut wire| async move {
            while let Some(head) = wire.head().await {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.map_or(0, |length| length.parse().unwrap());
                let body = String::from_utf8(wire.bytes(length).await.unwrap()).unwrap();
                wire.answer(&format!("{head}{body}")).await;
            }
        })
        .await;
        let http = agent().headers(Headers::new()).decompress(false).build();
        let url = |path: &str| format!("http://{address}{path}");
        let host = format!("host: {address}");
        let sent =
            text(http.get(url("/a?b=c")).query_pair("d e", "ü&").header("x-a", "1").send().await).await;
        assert_eq!(sent, format!("GET /a?b=c&d%20e=%C3%BC%26 HTTP/1.1\r\n{host}\r\nx-a: 1\r\n\r\n"));
        let sent = text(http.get(url("/")).query(&[("n", 1), ("m", 2)]).bearer_auth("t").send().await).await;
        assert_eq!(sent, format!("GET /?n=1&m=2 HTTP/1.1\r\n{host}\r\nauthorization: Bearer t\r\n\r\n"));
        let sent = text(http.post(url("/")).json(&[1, 2]).send().await).await;
        assert!(sent.contains("content-type: application/json\r\ncontent-length: 5\r\n\r\n[1,2]"), "{sent}");
        let sent = text(http.post(url("/")).form(&[("a b", "c=d")]).send().await).await;
        assert!(sent.contains("x-www-form-urlencoded\r\ncontent-length: 9\r\n\r\na+b=c%3Dd"), "{sent}");
        let sent = text(http.post(url("/")).form_pairs([("a b", "c=d")]).send().await).await;
        assert!(sent.ends_with("\r\n\r\na%20b=c%3Dd"), "{sent}");
        let sent = text(http.put(url("/")).body("hi").send().await).await;
        assert!(sent.starts_with("PUT / ") && sent.ends_with("content-length: 2\r\n\r\nhi"), "{sent}");
        let sent = text(http.delete(url("/")).basic_auth("u", "p").send().await).await;
        assert!(sent.ends_with("authorization: Basic dTpw\r\n\r\n"), "{sent}");
        let sent = text(http.get(format!("http://me:secret@{address}/")).send().await).await;
        assert!(
            sent.ends_with("authorization: Basic bWU6c2VjcmV0\r\n\r\n") && sent.contains(&host),
            "{sent}"
        );
        let json: Vec<u32> = {
            let (address, _) = constant("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[3,4]").await;
            http.get(format!("http://{address}")).send().await.unwrap().json().await.unwrap()
        };
        assert_eq!(json, [3, 4]);
    });
}

#[test]
fn mistakes_are_told_before_anything_is_connected() {
    run(async {
        let http = Client::http();
        for (request, expected) in [
            (http.get("nonsense"), "bad URL `nonsense`"),
            (http.get("ftp://h/"), "only http and https are spoken"),
            (http.get("https://127.0.0.1:1/"), "https needs TLS"),
            (http.get("http://127.0.0.1:1/").header("a", "b\r\nc: d"), "bad header field a"),
            (http.get("http://127.0.0.1:1/").bearer_auth("a\nb"), "bad header field authorization"),
            (http.request("CONNECT", "http://127.0.0.1:1/"), "no tunnels"),
            (http.get("http://127.0.0.1:1/").header("upgrade", "websocket"), "no upgrades"),
            (http.request("a b", "http://127.0.0.1:1/"), "the method is not a token"),
        ] {
            let error = request.send().await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    });
}

#[test]
fn a_server_that_is_not_there_is_named() {
    run(async {
        // Bound, so that nobody else gets the port, and not listening.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let error = Client::http().get(format!("http://{address}/")).send().await.unwrap_err();
        let refused = matches!(&error, Error::Connect { source, .. } if source.kind() == std::io::ErrorKind::ConnectionRefused);
        assert!(refused && error.to_string().contains(&address.to_string()), "{error}");
    });
}

#[test]
fn a_stale_connection_costs_a_second_attempt_where_that_is_safe() {
    run(async {
        let (requests, mut seen) = mpsc::unbounded_channel();
        let (address, _) = server(move |mut wire| {
            let requests = requests.clone();
            async move {
                // The first request of a connection is answered, and the second one only if it is the first again.
                while let Some(head) = wire.head().await {
                    let line = head.lines().next().unwrap().to_owned();
                    let first = line.contains("/first") || wire.number > 1;
                    requests.send((wire.number, line)).unwrap();
                    if !first {
                        return;
                    }
                    wire.answer("ok").await;
                }
            }
        })
        .await;
        let url = |path: &str| format!("http://{address}{path}");
        let http = agent().build();
        assert_eq!(text(http.get(url("/first")).send().await).await, "ok");
        assert_eq!(text(http.get(url("/again")).send().await).await, "ok");
        let mut lines = Vec::new();
        while let Ok(line) = seen.try_recv() {
            lines.push(line);
        }
        let get = |path: &str| format!("GET {path} HTTP/1.1");
        assert_eq!(lines, [(1, get("/first")), (1, get("/again")), (2, get("/again"))]);
    });
}

#[test]
fn a_server_that_has_waited_too_long_is_asked_again_where_that_is_safe() {
    const LATE: &str = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate";
    run(async {
        let (address, count) = server(|mut wire| async move {
            // The second request of a connection meets the end of the server's patience.
            while let Some(head) = wire.head().await {
                if head.contains("/late") && wire.number == 1 {
                    wire.say(LATE).await;
                    return;
                }
                wire.answer("ok").await;
            }
        })
        .await;
        let url = |path: &str| format!("http://{address}{path}");
        let http = agent().build();
        assert_eq!(text(http.get(url("/")).send().await).await, "ok");
        assert_eq!(text(http.get(url("/late")).send().await).await, "ok");
        assert_eq!(count.load(Ordering::SeqCst), 2);
        // Not what could have been done already, and not from the first request on.
        for (first, method) in [(true, "POST"), (false, "GET")] {
            let (address, count) = server(|mut wire| async move {
                while let Some(head) = wire.head().await {
                    if head.contains("/late") {
                        wire.say(LATE).await;
                        return;
                    }
                    wire.answer("ok").await;
                }
            })
            .await;
            let (http, url) = (agent().build(), |path: &str| format!("http://{address}{path}"));
            if first {
                assert_eq!(text(http.get(url("/")).send().await).await, "ok");
            }
            let answer = http.request(method, url("/late")).send().await.unwrap();
            assert_eq!(answer.status(), 408);
            assert_eq!(count.load(Ordering::SeqCst), 1);
        }
    });
}

#[test]
fn a_post_on_a_stale_connection_is_not_sent_twice() {
    for body in [Body::from("x"), Body::stream(Pieces::of(["x"]))] {
        run(async {
            let (address, count) = server(|mut wire| async move {
                wire.head().await;
                wire.answer("ok").await;
                wire.head().await;
            })
            .await;
            let http = agent().build();
            let url = format!("http://{address}/");
            assert_eq!(text(http.get(&url).send().await).await, "ok");
            let error = http.post(&url).body(body).send().await.unwrap_err();
            assert!(matches!(error, Error::Closed), "{error}");
            assert_eq!(count.load(Ordering::SeqCst), 1);
        });
    }
}

#[test]
fn an_answer_that_has_begun_is_not_asked_for_again() {
    run(async {
        let (address, count) = server(|mut wire| async move {
            wire.head().await;
            wire.answer("ok").await;
            wire.head().await;
            wire.say("HTTP/1.1 2").await;
        })
        .await;
        let http = agent().build();
        let url = format!("http://{address}/");
        assert_eq!(text(http.get(&url).send().await).await, "ok");
        let error = http.get(&url).send().await.unwrap_err();
        assert!(matches!(error, Error::Closed), "{error}");
        assert_eq!(count.load(Ordering::SeqCst), 1);
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

#[test]
fn redirects_are_followed_without_secrets_for_strangers() {
    run(async {
        let (other, _) = server(|mut wire| async move {
            while let Some(head) = wire.head().await {
                wire.answer(&head).await;
            }
        })
        .await;
        let (address, count) = server(move |mut wire| async move {
            while let Some(head) = wire.head().await {
                let length = if head.starts_with("POST") { 2 } else { 0 };
                wire.bytes(length).await.unwrap();
                let to =
                    if head.contains("/one") { "two?x".to_owned() } else { format!("http://{other}/three") };
                wire.say(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 4\r\n\r\ngone"))
                    .await;
            }
        })
        .await;
        let http = agent().headers(Headers::new()).decompress(false).build();
        let request =
            http.post(format!("http://{address}/a/one")).body("hi").header("content-type", "text/plain");
        let request = request.basic_auth("u", "p").header("cookie", "a=b").header("x-own", "1");
        let response = request.send().await.unwrap();
        assert_eq!(response.url().to_string(), format!("http://{other}/three"));
        let sent = response.text().await.unwrap();
        assert_eq!(sent, format!("GET /three HTTP/1.1\r\nhost: {other}\r\nx-own: 1\r\n\r\n"));
        assert_eq!(count.load(Ordering::SeqCst), 1, "both redirects of the first server on one connection");
    });
}

#[test]
fn a_redirect_keeps_the_body_where_it_must_and_can() {
    run(async {
        let (address, _) = server(|mut wire| async move {
            while let Some(head) = wire.head().await {
                let chunked = head.contains("chunked");
                let body = wire.bytes(if chunked { "2\r\nhi\r\n0\r\n\r\n".len() } else { 2 }).await.unwrap();
                if head.starts_with("POST /307") {
                    wire.say("HTTP/1.1 307 Temporary\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n").await;
                } else {
                    let line = head.lines().next().unwrap();
                    wire.answer(&format!("{line} {}", String::from_utf8(body).unwrap())).await;
                }
            }
        })
        .await;
        let url = format!("http://{address}/307");
        let http = agent().build();
        assert_eq!(text(http.post(&url).body("hi").send().await).await, "POST /x HTTP/1.1 hi");
        let response = http.post(&url).body(Body::stream(Pieces::of(["hi"]))).send().await.unwrap();
        assert_eq!(response.status(), 307, "a stream is gone: the caller has to decide");
        let http = agent().max_redirects(0).build();
        assert_eq!(http.post(&url).body("hi").send().await.unwrap().status(), 307);
    });
}

#[test]
fn redirects_end() {
    run(async {
        let (address, count) =
            constant("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n").await;
        let error = agent().build().get(format!("http://{address}/")).send().await.unwrap_err();
        assert!(matches!(error, Error::TooManyRedirects { limit: 5 }), "{error}");
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let (address, _) =
            constant("HTTP/1.1 302 Found\r\nLocation: gopher://h/\r\nContent-Length: 0\r\n\r\n").await;
        let error = agent().build().get(format!("http://{address}/")).send().await.unwrap_err();
        assert!(matches!(&error, Error::Redirect { location, .. } if location == "gopher://h/"), "{error}");
    });
}

#[test]
fn a_request_that_is_dropped_takes_its_connection_along() {
    run(async {
        let (events, mut seen) = mpsc::unbounded_channel();
        let (address, _) = server(move |mut wire| {
            let events = events.clone();
            async move {
                wire.head().await;
                events.send("asked").unwrap();
                wire.rest().await;
                events.send("left").unwrap();
            }
        })
        .await;
        let http = agent().build();
        let url = format!("http://{address}/");
        let request = tokio::spawn(async move { http.get(url).send().await });
        assert_eq!(seen.recv().await, Some("asked"));
        request.abort();
        assert_eq!(seen.recv().await, Some("left"));
    });
}

#[test]
fn a_response_that_is_dropped_gives_up_a_long_body_and_reads_a_short_one_away() {
    run(async {
        let (gone, mut seen) = mpsc::unbounded_channel();
        let (address, count) = server(move |mut wire| {
            let gone = gone.clone();
            async move {
                while let Some(head) = wire.head().await {
                    let length = if head.contains("/short") { 50_000 } else { 50_000_000 };
                    wire.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
                    let body = vec![b'x'; 10_000];
                    for _ in 0..length / body.len() {
                        if wire.stream.write_all(&body).await.is_err() {
                            break;
                        }
                    }
                }
                gone.send(wire.number).unwrap();
            }
        })
        .await;
        // One connection: whoever wants the next must wait for what becomes of it.
        let http = agent().max_connections(1).build();
        for _ in 0..3 {
            drop(http.get(format!("http://{address}/short")).send().await.unwrap());
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        drop(http.get(format!("http://{address}/long")).send().await.unwrap());
        assert_eq!(seen.recv().await, Some(1));
        drop(http.get(format!("http://{address}/short")).send().await.unwrap());
        assert_eq!(count.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn connections_are_bounded_and_so_are_those_who_wait() {
    run(async {
        let most = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let (release, released) = tokio::sync::watch::channel(false);
        let (address, count) = {
            let (most, open) = (Arc::clone(&most), Arc::clone(&open));
            server(move |mut wire| {
                let (most, open, mut released) = (Arc::clone(&most), Arc::clone(&open), released.clone());
                async move {
                    while wire.head().await.is_some() {
                        most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        released.wait_for(|go| *go).await.unwrap();
                        open.fetch_sub(1, Ordering::SeqCst);
                        wire.answer("ok").await;
                    }
                }
            })
            .await
        };
        let http = agent().max_connections(3).max_waiting(5).build();
        let url = format!("http://{address}/");
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..9 {
            let (http, url) = (http.clone(), url.clone());
            requests.spawn(async move { http.get(url).send().await });
        }
        // Three are under way, five wait, and one is too many; the others end when the server goes on.
        let busy = requests.join_next().await.unwrap().unwrap().unwrap_err();
        assert!(matches!(busy, Error::Busy { limit: 5, .. }), "{busy}");
        release.send(true).unwrap();
        while let Some(response) = requests.join_next().await {
            assert_eq!(text(response.unwrap()).await, "ok");
        }
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert_eq!(count.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn who_waits_and_leaves_loses_nobody_a_connection() {
    run(async {
        let (address, _) = server(|mut wire| async move {
            while let Some(head) = wire.head().await {
                if head.contains("/hang") {
                    return;
                }
                wire.answer("ok").await;
            }
        })
        .await;
        let http = agent().max_connections(2).build();
        let mut requests = tokio::task::JoinSet::new();
        for n in 0..200 {
            let (http, path) = (http.clone(), if n % 7 == 0 { "hang" } else { "" });
            let url = format!("http://{address}/{path}");
            let handle = requests.spawn(async move { http.get(url).send().await?.text().await });
            if n % 3 == 0 {
                handle.abort();
            }
            tokio::task::yield_now().await;
        }
        let mut answered = 0;
        while let Some(response) = requests.join_next().await {
            answered += usize::from(response.is_ok_and(|response| response.is_ok()));
        }
        assert!(answered > 0);
        for _ in 0..4 {
            assert_eq!(text(http.get(format!("http://{address}/")).send().await).await, "ok");
        }
    });
}

#[test]
fn a_head_request_has_no_body_and_keeps_its_connection() {
    run(async {
        let (address, count) = constant("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
        let http = agent().build();
        for _ in 0..3 {
            let response = http.head(format!("http://{address}/")).send().await.unwrap();
            assert_eq!(response.header("content-length"), Some("1000"));
            assert_eq!(response.bytes().await.unwrap(), "");
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn idle_connections_end_with_their_agent() {
    run(async {
        let (gone, mut seen) = mpsc::unbounded_channel();
        let (address, _) = server(move |mut wire| {
            let gone = gone.clone();
            async move {
                while wire.head().await.is_some() {
                    wire.answer("ok").await;
                }
                gone.send(()).unwrap();
            }
        })
        .await;
        let http = agent().build();
        let other = http.clone();
        assert_eq!(text(http.get(format!("http://{address}/")).send().await).await, "ok");
        drop(http);
        assert_eq!(text(other.get(format!("http://{address}/")).send().await).await, "ok");
        assert!(seen.try_recv().is_err());
        drop(other);
        seen.recv().await.unwrap();
    });
}

#[test]
fn it_works_without_a_runtime_of_ones_own() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (address, count) = runtime.block_on(constant("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
    let bodies = workerman::block_on(async {
        let http = Agent::new();
        let mut bodies = Vec::new();
        for _ in 0..20 {
            bodies.push(text(http.get(format!("http://{address}/")).send().await).await);
        }
        bodies
    });
    assert_eq!(bodies.unwrap(), ["hi"; 20]);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn handlers_ask_other_servers_on_their_own_loop() {
    run(async {
        let (address, count) = constant("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        let http = agent().build();
        let url = format!("http://{address}/");
        let front = Worker::text("127.0.0.1:0").on_message_async(async move |conn, line| {
            let before = conn.worker().counters().connected;
            let body = http.get(&url).send().await?.text().await?;
            let own = conn.worker().counters().connected - before;
            Ok::<_, Error>(format!("{line}: {body}, {own} made"))
        });
        let bound = front.bind().unwrap();
        let front = bound.addresses()[0].to_string();
        let handle = bound.handle();
        let serving = std::thread::spawn(move || bound.run());
        let mut peer = Wire::new(TcpStream::connect(front).await.unwrap(), 0);
        peer.say("one\ntwo\n").await;
        assert_eq!(peer.bytes(18).await.unwrap(), b"one: hi, 1 made\ntw");
        assert_eq!(peer.bytes(14).await.unwrap(), b"o: hi, 0 made\n");
        handle.stop();
        serving.join().unwrap().unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn the_protocol_serves_without_the_pool() {
    run(async {
        let (tell, mut told) = mpsc::unbounded_channel();
        let said = tell.clone();
        let (address, _) = server(move |mut wire| {
            let said = said.clone();
            async move {
                for n in 1..=2 {
                    wire.head().await.unwrap();
                    wire.say("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n").await;
                    wire.say(n.to_string().repeat(200_000)).await;
                }
                said.send(wire.head().await.unwrap()).unwrap();
                wire.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: lines\r\n\r\nhello\n").await;
                said.send(String::from_utf8(wire.bytes(6).await.unwrap()).unwrap()).unwrap();
            }
        })
        .await;
        let lines = Handlers::<Text>::new().on_message(|_, line| line.to_string().to_uppercase());
        let lines = Arc::new(Service::new("lines", Text::new, lines, Settings::default()));
        let request = move |path: &str| ClientRequest::get(format!("http://{address}{path}"));
        let conn = Client::with(HttpClient::new(), address.to_string())
            .on_connect(move |conn| conn.send(request("/1")))
            .on_message_async(async move |conn, mut response| {
                if response.status() == 101 {
                    conn.upgrade(Text::new(), &lines)?;
                    return Ok::<_, BoxError>(None);
                }
                let body = response.body_mut().bytes(1_000_000).await?;
                let last = body.starts_with(b"2");
                tell.send(String::from_utf8(body.into())?)?;
                // It is sent when this exchange is over.
                Ok(Some(if last { request("/3").header("upgrade", "lines") } else { request("/2") }))
            })
            .connect()
            .unwrap();
        assert_eq!(told.recv().await.unwrap(), "1".repeat(200_000));
        assert_eq!(told.recv().await.unwrap(), "2".repeat(200_000));
        let head = told.recv().await.unwrap();
        assert!(head.contains("upgrade: lines\r\nconnection: upgrade\r\n"), "{head}");
        assert_eq!(told.recv().await.unwrap(), "HELLO\n");
        conn.abort();
    });
}

/// A server of Python for the files of a folder, which says its body back to a POST.
#[cfg(unix)]
fn python(folder: &std::path::Path, version: &str) -> Option<(workerman_tests::program::Program, String)> {
    const SCRIPT: &str = r"
import functools, http.server, sys

class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = sys.argv[2]

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get('Transfer-Encoding') != 'chunked':
            return self.rfile.read(int(self.headers['Content-Length']))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            assert self.rfile.readline() == b'\r\n'
        assert self.rfile.readline() == b'\r\n'
        return b''.join(parts)

    def do_POST(self):
        body = self.body()
        self.send_response(201)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('X-Type', self.headers.get('Content-Type', ''))
        self.end_headers()
        self.wfile.write(body)

handler = functools.partial(Handler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
print(server.server_address[1], flush=True)
server.serve_forever()
";
    let python = workerman_tests::skip::require("python3")?;
    let mut command = std::process::Command::new(python);
    let program =
        workerman_tests::program::Program::start(command.arg("-c").arg(SCRIPT).arg(folder).arg(version));
    let port = program.line().expect("a port");
    Some((program, format!("http://127.0.0.1:{port}")))
}

#[cfg(unix)]
#[test]
fn the_server_of_python_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let file: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(folder.path().join("large.bin"), &file).unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    std::fs::write(folder.path().join("folder/index.html"), "hello").unwrap();
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let Some((_program, base)) = python(folder.path(), version) else { return };
        run(async {
            let http = agent().build();
            for _ in 0..3 {
                let response = http.get(format!("{base}/large.bin")).send().await.unwrap();
                assert_eq!(response.content_length(), Some(3_000_000));
                assert_eq!(response.bytes().await.unwrap(), file);
            }
            let response = http.head(format!("{base}/large.bin")).send().await.unwrap();
            assert_eq!(response.header("content-length"), Some("3000000"));
            let response = http.get(format!("{base}/none")).send().await.unwrap();
            assert_eq!(response.status(), 404);
            let response = http.get(format!("{base}/folder")).send().await.unwrap();
            assert_eq!(response.url().path(), "/folder/", "the redirect was followed");
            assert_eq!(response.text().await.unwrap(), "hello");
            let response = http.post(format!("{base}/")).body(file.clone()).send().await.unwrap();
            assert_eq!(
                (response.status().as_u16(), response.bytes().await.unwrap()),
                (201, file.clone().into())
            );
            let response = http.post(format!("{base}/")).body(Body::stream(Pieces::of(["a", "bc"]))).send();
            assert_eq!(text(response.await).await, "abc");
            let response = http.post(format!("{base}/")).json("x").send().await.unwrap();
            assert_eq!(response.header("x-type"), Some("application/json"));
        });
    }
}
