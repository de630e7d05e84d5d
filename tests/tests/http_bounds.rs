//! What a client can make the HTTP server keep, and for how long.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use workerman::http::{Admission, Http, Reply, Request, Response};
use workerman_tests::http_server::{Ground, get};
use workerman_tests::on_all_grounds;

/// Bodies that are alive.
#[derive(Clone, Default)]
struct Alive(Arc<(AtomicUsize, AtomicUsize)>);

struct Body(Vec<u8>, Alive);

impl Alive {
    fn body(&self, len: usize) -> Bytes {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
        Bytes::from_owner(Body(vec![b'b'; len], self.clone()))
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.1.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn no_more_bodies_wait_than_requests_may_be_in_flight(ground: &Ground) {
    for (pipeline, by_token) in [(1, false), (1, true), (3, false), (3, true)] {
        let alive = Alive::default();
        let (bodies, len) = (alive.clone(), 100_000);
        let worker = ground.worker().pipeline(pipeline).on_message(move |_, request: Request| {
            let response = Response::bytes(bodies.body(len));
            if !by_token {
                return Some(response);
            }
            let reply: Reply = request.reply();
            drop(workerman::spawn(async move {
                tokio::task::yield_now().await;
                reply.send(response)
            }));
            None
        });
        ground.run(worker, async move |guest| {
            let mut wire = guest.connect().await;
            wire.say(get("/").repeat(5)).await;
            for _ in 0..5 {
                assert_eq!(wire.answer().await.body.len(), len);
                // It comes while earlier answers wait.
                wire.say(get("/")).await;
            }
            for _ in 0..5 {
                assert_eq!(wire.answer().await.body.len(), len);
            }
        });
        let most = alive.most();
        assert!(most <= pipeline, "{most} bodies of {pipeline} requests in flight");
    }
}
on_all_grounds!(no_more_bodies_wait_than_requests_may_be_in_flight);

const SECOND: Duration = Duration::from_secs(1);

/// Takes a body as `/stream` while it arrives, else whole; tells how long it was.
fn taking(ground: &Ground, http: Http) -> workerman::Worker<Http> {
    ground
        .worker()
        .protocol(http)
        .on_request_head(|head| match head.path() {
            "/stream" | "/slow" => Admission::Stream,
            _ => Admission::Buffer(1 << 20),
        })
        .on_message_async(async |_, mut request: Request| {
            let (mut len, slow) = (0, request.path() == "/slow");
            while let Some(Ok(piece)) = request.body_mut().data().await {
                len += piece.len();
                if slow {
                    let _ = workerman::sleep(20 * SECOND).await;
                }
            }
            len.to_string()
        })
}

#[test]
fn a_body_that_trickles_is_refused() {
    let ground = Ground::perfect();
    ground.run(taking(&ground, Http::new()), async |guest| {
        for path in ["/", "/stream"] {
            for framing in ["Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3e8\r\n"] {
                let mut wire = guest.connect().await;
                wire.say(format!("POST {path} HTTP/1.1\r\nHost: x\r\n{framing}")).await;
                let began = guest.elapsed();
                while wire.is_silent(25 * SECOND).await {
                    wire.say("x").await;
                }
                let answer = wire.answer().await;
                assert_eq!((answer.status, answer.closes()), (408, true), "{path} {framing}");
                wire.is_over().await;
                let took = guest.elapsed() - began;
                assert!((30 * SECOND..60 * SECOND).contains(&took), "{path} {framing}: {took:?}");
            }
        }
    });
}

#[test]
fn a_body_may_be_slow() {
    let ground = Ground::perfect();
    ground.run(taking(&ground, Http::new()), async |guest| {
        // Above the rate, for as long as it takes.
        for path in ["/", "/stream"] {
            let mut wire = guest.connect().await;
            wire.say(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n")).await;
            for _ in 0..100 {
                guest.sleep(SECOND).await;
                wire.say("x".repeat(300)).await;
            }
            assert_eq!(wire.answer().await.text(), "30000", "{path}");
        }
        // The server is slow, not the client.
        let mut wire = guest.connect().await;
        let body = "x".repeat(400_000);
        wire.say(format!("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
            .await;
        assert_eq!(wire.answer().await.text(), "400000");
        assert!(guest.elapsed() > 160 * SECOND);
    });
    let free = Http::new().min_body_rate(0, Duration::ZERO);
    ground.run(taking(&ground, free), async |guest| {
        let mut wire = guest.connect().await;
        wire.say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n").await;
        wire.drip("0123456789", 20 * SECOND).await;
        assert_eq!(wire.answer().await.text(), "10");
    });
}

#[test]
fn a_refusal_reaches_a_client_that_goes_on_sending() {
    let ground = Ground::perfect();
    ground.run(taking(&ground, Http::new()), async |guest| {
        let mut wire = guest.connect().await;
        wire.say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n").await;
        // Longer than a silent one would be listened to.
        for _ in 0..8 {
            guest.sleep(3 * SECOND).await;
            wire.say("x".repeat(1000)).await;
        }
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.closes()), (413, true));
        wire.is_over().await;
        // But not for ever.
        let mut wire = guest.connect().await;
        wire.say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n").await;
        let began = guest.elapsed();
        while wire.try_say("x").await.is_ok() {
            guest.sleep(SECOND).await;
            assert!(guest.elapsed() - began < 60 * SECOND, "it is listened to for ever");
        }
        assert!(
            guest.elapsed() - began >= 29 * SECOND,
            "it was listened to for {:?}",
            guest.elapsed() - began
        );
    });
}
