//! The pooled HTTP client in virtual time: what waits for how long, and what a stalled peer costs.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use tokio::io::AsyncReadExt;
use workerman_connection::Client;
use workerman_event::sim::{self, LinkOptions, Network, SimStream};
use workerman_event::spawn;
use workerman_http::client::{Agent, ClientHttp, Error, Timeout};
use workerman_protocol::http::{Body, BodyError};
use workerman_tests::scripted;
use workerman_tests::simulation::{GRANULE, event_loop, settled, sleep};

const URL: &str = "http://server/";

/// The server's end of a connection.
type Wire = scripted::Wire<SimStream>;

/// Runs a test of a client on a loop of its own against a server that does as its script says with each connection.
fn play<S, F>(seed: u64, script: impl Fn(Wire) -> S + 'static, test: impl FnOnce(World) -> F + 'static)
where
    S: Future<Output = ()> + 'static,
    F: Future<Output = ()>,
{
    sim::block_on(seed, async move |network| {
        let listener = network.listen(network.host("server"), 80).unwrap();
        let connections = Rc::new(Cell::new(0));
        let counted = Rc::clone(&connections);
        drop(spawn(async move {
            loop {
                let stream = listener.accept().await.unwrap();
                counted.set(counted.get() + 1);
                drop(spawn(script(Wire::new(stream, counted.get()))));
            }
        }));
        let handle = event_loop(&network, network.host("client"));
        // The loop begins, and is the one of this thread from then on.
        tokio::task::yield_now().await;
        test(World { network, connections }).await;
        // What was left idle ends with the agent.
        sleep(120_000).await;
        settled(&handle);
    });
}

struct World {
    network: Network,
    connections: Rc<Cell<usize>>,
}

impl World {
    /// How long something takes.
    async fn time<T>(&self, what: impl Future<Output = T>) -> (Duration, T) {
        let before = self.network.elapsed();
        let result = what.await;
        (self.network.elapsed() - before, result)
    }
}

async fn text(http: &Agent) -> Result<String, Error> {
    http.get(URL).send().await?.text().await
}

fn about(time: Duration, expected: Duration) -> bool {
    (expected..=expected + 2 * GRANULE).contains(&time)
}

#[test]
fn idle_connections_are_kept_for_15_seconds() {
    let ends = Rc::new(RefCell::new(Vec::new()));
    let ended = Rc::clone(&ends);
    play(
        1,
        move |mut wire| {
            let ended = Rc::clone(&ended);
            async move {
                let mut last = tokio::time::Instant::now();
                while wire.head().await.is_some() {
                    wire.answer("ok").await;
                    last = tokio::time::Instant::now();
                }
                ended.borrow_mut().push(last.elapsed());
            }
        },
        async move |world: World| {
            let http = Client::http();
            assert_eq!(text(&http).await.unwrap(), "ok");
            sleep(14_000).await;
            assert_eq!(text(&http).await.unwrap(), "ok");
            assert_eq!(world.connections.get(), 1);
            sleep(20_000).await;
            let idle = ends.borrow_mut().pop().expect("the connection has ended");
            assert!(about(idle, Duration::from_secs(15)), "{idle:?}");
            assert_eq!(text(&http).await.unwrap(), "ok");
            assert_eq!(world.connections.get(), 2);
        },
    );
}

#[test]
fn a_silent_server_is_given_up_in_time_and_told() {
    let left = Rc::new(Cell::new(0));
    let gone = Rc::clone(&left);
    play(
        2,
        move |mut wire| {
            let gone = Rc::clone(&gone);
            async move {
                wire.head().await;
                wire.rest().await;
                gone.set(gone.get() + 1);
            }
        },
        async move |world: World| {
            let all = |seconds| Some(Duration::from_secs(seconds));
            for (builder, expected, which) in [
                (Client::http_builder().read_timeout(None), 30, Timeout::Request),
                (Client::http_builder().timeout(all(7)), 7, Timeout::Request),
                (Client::http_builder().timeout(None), 30, Timeout::Read),
                (Client::http_builder().timeout(None).read_timeout(all(3)), 3, Timeout::Read),
            ] {
                let http = builder.build();
                let (time, result) = world.time(text(&http)).await;
                let error = result.unwrap_err();
                assert!(
                    matches!(error, Error::Timeout(got) if got == which) && error.is_timeout(),
                    "{error}"
                );
                assert!(about(time, Duration::from_secs(expected)), "{which:?}: {time:?}");
            }
            let request = Client::http().get(URL).timeout(Duration::from_millis(500)).send();
            let (time, _) = world.time(request).await;
            assert!(about(time, Duration::from_millis(500)), "{time:?}");
            sleep(5_000).await;
            assert_eq!((world.connections.get(), left.get()), (5, 5), "each was ended, none was tried again");
        },
    );
}

#[test]
fn a_server_that_cannot_be_reached_is_given_up_in_time() {
    play(
        3,
        |_| async {},
        async |world: World| {
            let network = &world.network;
            network.partition(network.host("client"), network.host("server"));
            let http = Client::http_builder().timeout(None).build();
            let (time, result) = world.time(text(&http)).await;
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Connect { .. }) && error.is_timeout(), "{error}");
            assert!(about(time, Duration::from_secs(30)), "{time:?}");
            network.heal(network.host("client"), network.host("server"));
        },
    );
}

/// A byte of a body every ten seconds, for two minutes.
async fn trickle(mut wire: Wire) {
    wire.head().await;
    wire.say("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n").await;
    for _ in 0..12 {
        sleep(10_000).await;
        wire.say("x").await;
    }
    wire.rest().await;
}

#[test]
fn a_stream_may_take_as_long_as_it_goes_on() {
    play(4, trickle, async |world: World| {
        let http = Client::http();
        let mut response = http.get(URL).send().await.unwrap();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.unwrap() {
            body.extend_from_slice(&piece);
        }
        assert_eq!(body, [b'x'; 12]);
        assert!(world.network.elapsed() > Duration::from_secs(119));
    });
}

#[test]
fn a_body_that_is_read_as_a_whole_has_the_whole_time_and_no_more() {
    play(5, trickle, async |world: World| {
        let http = Client::http();
        let (time, result) = world.time(text(&http)).await;
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Timeout(Timeout::Request)), "{error}");
        assert!(about(time, Duration::from_secs(30)), "{time:?}");
    });
}

#[test]
fn a_body_that_stands_still_is_an_error() {
    play(
        6,
        async |mut wire: Wire| {
            wire.head().await;
            wire.say("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nsix...").await;
            wire.rest().await;
        },
        async |world: World| {
            let mut response = Client::http().get(URL).send().await.unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), "six...");
            let (time, result) = world.time(response.chunk()).await;
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Body(BodyError::Timeout)), "{error}");
            assert!(about(time, Duration::from_secs(30)), "{time:?}");
        },
    );
}

#[test]
fn a_reader_that_takes_its_time_is_not_the_server_s_fault() {
    play(
        7,
        async |mut wire: Wire| {
            wire.head().await;
            wire.say("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
            wire.say(vec![b'x'; 1_000_000]).await;
            wire.rest().await;
        },
        async |_| {
            let mut response = Client::http().get(URL).send().await.unwrap();
            let mut got = 0;
            while let Some(piece) = response.chunk().await.unwrap() {
                got += piece.len();
                if got % 7 == 0 {
                    sleep(100_000).await;
                }
            }
            assert_eq!(got, 1_000_000);
        },
    );
}

/// A stream that counts what it has yielded.
struct Counted {
    left: usize,
    yielded: Arc<AtomicUsize>,
}

const PIECE: usize = 16 * 1024;

impl Stream for Counted {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.yielded.fetch_add(PIECE, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; PIECE]))))
    }
}

#[test]
fn an_upload_waits_for_a_server_that_does_not_read() {
    const ALL: usize = 1000 * PIECE;
    play(
        8,
        async |mut wire: Wire| {
            wire.head().await;
            sleep(20_000).await;
            let mut got = wire.ahead.len();
            let mut buffer = vec![0; 64 * 1024];
            while got < ALL {
                got += wire.stream.read(&mut buffer).await.unwrap();
            }
            wire.answer(&got.to_string()).await;
            wire.rest().await;
        },
        async |_| {
            let yielded = Arc::new(AtomicUsize::new(0));
            let body = Counted { left: 1000, yielded: Arc::clone(&yielded) };
            let request = Client::http().post(URL).body(Body::sized(ALL as u64, body)).send();
            let request = spawn(async move { request.await.unwrap().text().await.unwrap() });
            sleep(10_000).await;
            let ahead = yielded.load(Ordering::SeqCst);
            assert!((PIECE..512 * 1024).contains(&ahead), "{ahead} bytes were taken although nobody reads");
            assert_eq!(request.await.unwrap(), ALL.to_string());
        },
    );
}

#[test]
fn a_server_that_is_asked_first_is_waited_for_one_second() {
    for agrees in [true, false] {
        let took = Rc::new(Cell::new(Duration::ZERO));
        let seen = Rc::clone(&took);
        play(
            9,
            move |mut wire| {
                let seen = Rc::clone(&seen);
                async move {
                    let head = wire.head().await.unwrap();
                    assert!(head.contains("expect: 100-continue"), "{head}");
                    let begun = tokio::time::Instant::now();
                    if agrees {
                        sleep(100).await;
                        wire.say("HTTP/1.1 100 Continue\r\n\r\n").await;
                    }
                    while !wire.ahead.ends_with(b"0\r\n\r\n") {
                        assert!(wire.more().await);
                    }
                    seen.set(begun.elapsed());
                    wire.answer("ok").await;
                    wire.rest().await;
                }
            },
            async move |_| {
                let http = Client::http_builder().expect_continue(Duration::from_secs(1)).build();
                let body = Counted { left: 1, yielded: Arc::default() };
                let response = http.post(URL).body(Body::stream(body)).send().await.unwrap();
                assert_eq!(response.text().await.unwrap(), "ok");
                let expected = Duration::from_millis(if agrees { 100 } else { 1000 });
                assert!(about(took.get(), expected), "{:?}", took.get());
            },
        );
    }
}

#[test]
fn a_server_that_forgets_idle_connections_is_asked_again() {
    play(
        10,
        async |mut wire: Wire| {
            // It ends each connection when the second request comes, without a word.
            wire.head().await;
            wire.answer(&wire.number.to_string()).await;
            wire.head().await;
        },
        async |world: World| {
            let http = Client::http();
            for n in 1..=5 {
                assert_eq!(text(&http).await.unwrap(), n.to_string());
                sleep(1_000).await;
            }
            assert_eq!(world.connections.get(), 5);
        },
    );
}

#[test]
fn the_network_decides_nothing() {
    for seed in 0..20 {
        play(
            seed,
            async |mut wire: Wire| {
                let mut n = 0;
                while let Some(head) = wire.head().await {
                    n += 1;
                    if head.starts_with("GET /again") {
                        wire.say("HTTP/1.1 303 See Other\r\nLocation: /\r\nContent-Length: 3\r\n\r\n...")
                            .await;
                    } else if n % 2 == 0 {
                        wire.answer(&"long ".repeat(1000)).await;
                    } else {
                        wire.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                        wire.say("5\r\nshort\r\n0\r\n\r\n").await;
                    }
                }
            },
            async move |world: World| {
                world.network.set_default(LinkOptions {
                    segment: 1..=40,
                    latency: Duration::from_millis(1)..=Duration::from_millis(50),
                    ..LinkOptions::default()
                });
                let http = Client::http_builder().max_connections(2).build();
                let requests = (0..12).map(|n| {
                    let http = http.clone();
                    let path = if n % 3 == 0 { "again" } else { "" };
                    spawn(async move {
                        let response = http.get(format!("{URL}{path}")).send().await.unwrap();
                        let body = response.text().await.unwrap();
                        assert!(body == "short" || body == "long ".repeat(1000), "{body}");
                    })
                });
                for request in requests.collect::<Vec<_>>() {
                    request.await.unwrap();
                }
                assert_eq!(world.connections.get(), 2);
            },
        );
    }
}
