//! What a client can make the HTTP server keep, and for how long.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use workerman::http::{Reply, Request, Response};
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
