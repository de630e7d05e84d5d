//! Decisions that the application makes about handshakes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use bytes::BytesMut;

use super::server::head;
use crate::http::{Request, Response};
use crate::websocket::handshake::{Accept, Accepting, Gone, Handshake, Policy, Step, Verdict};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Asked {
    accepting: Accepting,
    wakes: Arc<Count>,
    waker: Waker,
}

impl Asked {
    fn new() -> (Self, Handshake) {
        let wakes = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut accepting = Accepting::new();
        let mut input = BytesMut::from(head(&[], &["Cookie: id=7"]).as_bytes());
        let step = accepting.step(&mut input, &Policy::new(), true, "10.0.0.1:7".parse().ok(), &waker);
        let Step::Ask(token) = step else { panic!("it is not asked") };
        (Self { accepting, wakes, waker }, token)
    }

    fn step(&mut self) -> Step {
        self.accepting.step(&mut BytesMut::new(), &Policy::new(), true, None, &self.waker)
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

#[test]
fn the_connection_waits_for_the_decision_and_is_woken_by_it() {
    let (mut asked, mut token) = Asked::new();
    assert_eq!(token.request().cookie("id"), Some("7"));
    assert_eq!(token.request().remote(), "10.0.0.1:7".parse().ok());
    assert!(!token.is_gone());
    assert!(matches!(asked.step(), Step::Blocked));
    assert_eq!(asked.wakes(), 0);
    token.request_mut().extensions_mut().insert(7u8);
    token.accept(Accept::new().protocol("x")).unwrap();
    assert_eq!(asked.wakes(), 1);
    let Step::Open(accepted) = asked.step() else { panic!("it is not open") };
    assert_eq!(accepted.request.extensions().and_then(|extensions| extensions.get()), Some(&7u8));
    assert!(accepted.upgrade.settle(accepted.accept, None).is_err(), "x was not offered");
}

#[test]
fn another_answer_is_the_applications() {
    let (mut asked, token) = Asked::new();
    // From another thread.
    let sent = std::thread::spawn(move || token.reject(Response::text("no").with_status(401)));
    assert_eq!(sent.join().unwrap(), Ok(()));
    let Step::Reject(response) = asked.step() else { panic!("it is not rejected") };
    assert_eq!(response.status(), 401);
    assert!(matches!(asked.step(), Step::Blocked), "nothing comes behind it");
}

#[test]
fn a_token_that_is_dropped_is_a_mistake() {
    let (mut asked, token) = Asked::new();
    drop(token);
    assert_eq!(asked.wakes(), 1);
    let Step::Refuse(refusal) = asked.step() else { panic!("it is not refused") };
    assert_eq!(refusal.status(), 500);
}

#[test]
fn a_decision_that_comes_too_late_is_told_so() {
    let (mut asked, token) = Asked::new();
    assert_eq!(asked.accepting.timeout().status(), 503);
    assert!(token.is_gone());
    assert_eq!(token.accept(Accept::new()), Err(Gone));
    let (asked, token) = Asked::new();
    drop(asked);
    assert_eq!(token.reject(Response::of(403)), Err(Gone));
}

#[test]
fn what_a_handler_may_say() {
    fn is_accept(verdict: impl Into<Verdict>) -> bool {
        matches!(verdict.into(), Verdict::Accept(_))
    }
    assert!(is_accept(Accept::new()) && is_accept(()));
    assert!(is_accept(Ok::<_, Response>(Accept::new())) && is_accept(Ok::<(), Response>(())));
    assert!(!is_accept(Response::of(403)) && !is_accept(Err::<Accept, _>(Response::of(401))));
    let (mut asked, token) = Asked::new();
    let decide = |request: &Request| if request.path() == "/chat" { Ok(()) } else { Err(Response::of(404)) };
    let verdict = decide(token.request());
    token.decide_by(verdict).unwrap();
    assert!(matches!(asked.step(), Step::Open(_)));
}

#[test]
fn a_token_may_go_to_other_threads() {
    fn is_send<T: Send>() {}
    is_send::<Handshake>();
}
