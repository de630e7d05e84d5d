//! A panic anywhere in a user's code ends its connection, is counted, and touches nothing else.
#![forbid(unsafe_code)]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;

use bytes::{Bytes, BytesMut};
use workerman_connection::{CloseReason, Connection, Handlers, LoopSettings, Service, Settings};
use workerman_event::BackendKind;
use workerman_protocol::{Context, Decoded, Event, Goodbye, Outbox, Protocol};
use workerman_tests::on_real_backends;
use workerman_tests::serving::{Serving, events, next};

on_real_backends! {
    in_every_callback,
    in_async_handlers,
    in_the_protocol,
    in_the_making_of_a_protocol,
    in_conversions,
    in_drops,
    in_a_payload,
    on_the_loop_itself,
    in_an_async_on_close,
    many_at_once,
}

/// Lines of a byte each; each kind of call panics where the connection was told to.
struct Touchy {
    at: &'static str,
}

/// A message that may panic when it is dropped.
struct Byte(u8);

impl Drop for Byte {
    fn drop(&mut self) {
        if self.0 == b'D' && !std::thread::panicking() {
            panic!("expected by the test, of a dropped message");
        }
    }
}

#[derive(Debug)]
struct Never;

impl std::fmt::Display for Never {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("never")
    }
}

impl std::error::Error for Never {}

impl Touchy {
    fn at(&self, here: &str) {
        assert!(self.at != here, "expected by the test, in {here}");
    }
}

/// What can be sent: bytes, or a conversion that panics.
struct Out(&'static str);

struct Unconvertible;

impl From<Unconvertible> for Out {
    fn from(_: Unconvertible) -> Self {
        panic!("expected by the test, in a conversion");
    }
}

impl Protocol for Touchy {
    type Incoming = Byte;
    type Outgoing = Out;
    type Event = Event;
    type Error = Never;
    type Sending = ();

    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Never> {
        cx.reply().put_slice(b"<");
        self.at("open");
        Ok(())
    }

    fn decode(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> Result<Decoded<Self>, Never> {
        if input.is_empty() {
            return Ok(Decoded::Need(1));
        }
        let byte = input.split_to(1)[0];
        if byte == b'!' {
            self.at("decode");
        }
        Ok(Decoded::Message(Byte(byte)))
    }

    fn encode((): &mut (), Out(text): Out, out: &mut Outbox) -> Result<(), Never> {
        out.put_slice(text.as_bytes());
        Ok(())
    }

    fn eof(
        &mut self,
        _: &mut BytesMut,
        _: &mut Context<'_, Self>,
    ) -> Result<workerman_protocol::Eof<Self>, Never> {
        self.at("eof");
        Ok(workerman_protocol::Eof::Clean)
    }

    fn goodbye(&mut self, _: &mut Context<'_, Self>) -> Goodbye {
        self.at("goodbye");
        Goodbye::Now
    }

    fn close(&mut self, _: Option<u16>, _: &str, _: &mut Context<'_, Self>) -> Goodbye {
        self.at("close");
        Goodbye::Now
    }
}

type Conn = Connection<Touchy>;

/// A server of one service under attack, and a witness on the same loop that lives through it.
struct Scene {
    server: Serving,
    closes: Receiver<CloseReason>,
    witness: workerman_tests::serving::Peer,
}

/// `handlers` gets an `on_close` that tells the reason, unless it brings its own by `closes`.
fn scene(kind: BackendKind, at: &'static str, handlers: Handlers<Touchy>, settings: Settings) -> Scene {
    let (told, closes) = events();
    let handlers = handlers.on_close(move |_, reason| {
        told.send(reason).unwrap();
        assert!(at != "on_close", "expected by the test, in on_close");
    });
    let service = Arc::new(Service::new("touchy", move || Touchy { at }, handlers, settings));
    let server = Serving::with(kind, LoopSettings::default(), &service);
    // The witness is served by the same loop, on another listener.
    let (listener, address) = workerman_tests::serving::listener();
    let echo = Handlers::new().on_message(|_, bytes: Bytes| bytes);
    let echo = Arc::new(Service::new("calm", workerman_protocol::Raw::new, echo, Settings::default()));
    server.handle.listen(echo, listener).unwrap();
    let mut witness = workerman_tests::serving::Peer::connect(address);
    witness.say("up");
    assert_eq!(witness.bytes(2), b"up");
    Scene { server, closes, witness }
}

impl Scene {
    /// The connection has ended for `reason` after `panics`; everything else goes on.
    fn survived(mut self, reason: CloseReason, panics: u64, what: &str) {
        assert_eq!(next(&self.closes), reason, "{what}");
        self.check(panics, what);
        assert_eq!(self.server.handle.snapshot().closed(reason), 1, "{what}");
        assert!(self.closes.try_recv().is_err(), "{what}: once");
    }

    fn check(&mut self, panics: u64, what: &str) {
        self.witness.say("alive");
        assert_eq!(self.witness.bytes(5), b"alive", "{what}");
        self.server.settle();
        let counters = self.server.handle.snapshot();
        assert_eq!((counters.panics, counters.connections, counters.bytes_queued), (panics, 1, 0), "{what}");
    }
}

fn told(here: &str, at: &str) {
    assert!(here != at, "expected by the test, in {here}");
}

fn in_every_callback(kind: BackendKind) {
    for at in ["on_connect", "on_message", "on_error", "on_close", "on_buffer_full", "on_buffer_drain"] {
        let handlers = Handlers::new()
            .on_connect(move |_: &Conn| told("on_connect", at))
            .on_message(move |conn, _| {
                told("on_message", at);
                let _ = conn.send(Out("0123456789"));
                if at == "on_error" { Err("told to") } else { Ok(()) }
            })
            .on_error(move |_, _| told("on_error", at))
            .on_buffer_full(move |_| told("on_buffer_full", at))
            .on_buffer_drain(move |_| told("on_buffer_drain", at));
        let scene = scene(kind, at, handlers, Settings { high_water: 8, ..Settings::default() });
        let mut peer = scene.server.peer();
        assert_eq!(peer.bytes(1), b"<");
        let _ = std::io::Write::write_all(&mut peer.stream, b"ab");
        if at == "on_close" {
            peer.finish();
        }
        peer.rest();
        let reason = match at {
            "on_error" => CloseReason::Handler,
            "on_close" => CloseReason::PeerClosed,
            _ => CloseReason::Panic,
        };
        scene.survived(reason, 1, at);
    }
}

fn in_async_handlers(kind: BackendKind) {
    for at in ["first", "later", "on_connect"] {
        let handlers = Handlers::new()
            .on_connect_async(async move |_: &Conn| {
                tokio::task::yield_now().await;
                told("on_connect", at);
            })
            .on_message_async(async move |conn, _| {
                let _ = conn.send(Out("a"));
                told("first", at);
                tokio::task::yield_now().await;
                let _ = conn.send(Out("b"));
                told("later", at);
            });
        let scene = scene(kind, at, handlers, Settings::default());
        let mut peer = scene.server.peer();
        let _ = std::io::Write::write_all(&mut peer.stream, b"xyz");
        // What was said before it is still sent.
        let expected: &[u8] = match at {
            "first" => b"<a",
            "later" => b"<ab",
            _ => b"<",
        };
        assert_eq!(peer.rest().0, expected, "{at}");
        scene.survived(CloseReason::Panic, 1, at);
    }
}

fn in_the_protocol(kind: BackendKind) {
    for at in ["open", "decode", "eof", "close", "goodbye"] {
        let connects = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connects);
        let handlers = Handlers::new()
            .on_connect(move |_: &Conn| {
                count.fetch_add(1, Ordering::SeqCst);
            })
            .on_message(move |conn, _| {
                if at == "close" {
                    conn.close_with_code(1, "enough");
                }
            });
        let mut scene = scene(kind, at, handlers, Settings::default());
        let mut peer = scene.server.peer();
        if at == "open" {
            // It was never announced, so its end is not either.
            peer.rest();
            scene.check(1, at);
            assert_eq!(connects.load(Ordering::SeqCst), 0);
            assert!(scene.closes.try_recv().is_err());
            assert_eq!(scene.server.handle.snapshot().closed(CloseReason::Panic), 1);
            continue;
        }
        assert_eq!(peer.bytes(1), b"<");
        match at {
            "goodbye" => {
                let drained = workerman_event::block_on(async {
                    // The witness says goodbye at once.
                    scene.server.handle.drain(workerman_tests::serving::PATIENCE).await
                });
                assert_eq!(drained.unwrap().unwrap().cut, 0);
                assert_eq!(next(&scene.closes), CloseReason::Panic);
                assert_eq!(scene.server.handle.snapshot().panics, 1);
                continue;
            }
            "eof" => peer.finish(),
            _ => peer.say("a!"),
        }
        peer.rest();
        scene.survived(CloseReason::Panic, 1, at);
    }
}

fn in_the_making_of_a_protocol(kind: BackendKind) {
    let made = Arc::new(AtomicUsize::new(0));
    let make = {
        let made = Arc::clone(&made);
        move || {
            assert!(made.fetch_add(1, Ordering::SeqCst) != 0, "expected by the test");
            Touchy { at: "" }
        }
    };
    let handlers = Handlers::new().on_message(|_: &Conn, _| Out("answer"));
    let settings = Settings { max_connections: Some(1), ..Settings::default() };
    let server = Serving::start(kind, Service::new("make", make, handlers, settings));
    let mut lost = server.peer();
    lost.rest();
    // Its place is free again: otherwise nobody would ever be accepted.
    let mut peer = server.peer();
    peer.say("x");
    assert_eq!(peer.bytes(7), b"<answer");
    let counters = server.handle.snapshot();
    assert_eq!((counters.panics, counters.connections), (1, 1));
}

fn in_conversions(kind: BackendKind) {
    for reply in [false, true] {
        let handlers = if reply {
            Handlers::new().on_message(|_: &Conn, _| Unconvertible)
        } else {
            Handlers::new().on_message(|conn: &Conn, _| {
                let _ = conn.send(Out("a"));
                let _ = conn.send(Unconvertible);
            })
        };
        let scene = scene(kind, "", handlers, Settings::default());
        let mut peer = scene.server.peer();
        peer.say("x");
        let expected: &[u8] = if reply { b"<" } else { b"<a" };
        assert_eq!(peer.rest().0, expected);
        scene.survived(CloseReason::Panic, 1, "a conversion");
    }
}

/// Panics when it is dropped.
struct Bomb(u8);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("expected by the test, of a dropped value {}", self.0);
    }
}

fn in_drops(kind: BackendKind) {
    // A message: inside its handler.
    let scene_ =
        scene(kind, "", Handlers::new().on_message(|_: &Conn, byte| drop(byte)), Settings::default());
    let mut peer = scene_.server.peer();
    peer.say("aDb");
    peer.rest();
    scene_.survived(CloseReason::Panic, 1, "a message");
    // A message that nobody handles.
    let scene_ = scene(kind, "", Handlers::new(), Settings::default());
    let mut peer = scene_.server.peer();
    peer.say("D");
    peer.rest();
    scene_.survived(CloseReason::Panic, 1, "a message without a handler");
    // Several values that are attached, and a future that is given up, and a message that waits for it.
    let (opened, conns) = events();
    let handlers = Handlers::new()
        .on_connect(move |conn: &Conn| {
            opened.send(conn.clone()).unwrap();
            conn.set(Bomb(1));
            conn.set([Bomb(2)]);
            conn.set((Bomb(3),));
            let _ = conn.send(Out("-"));
        })
        .on_message_async(async |conn, _| {
            let _bomb = Bomb(4);
            conn.closed().await;
        });
    let scene_ = scene(kind, "", handlers, Settings::default());
    let mut peer = scene_.server.peer();
    assert_eq!(peer.bytes(2), b"<-");
    peer.say("xD");
    scene_.server.settle();
    next(&conns).abort();
    assert_eq!(next(&scene_.closes), CloseReason::Local);
    let mut scene_ = scene_;
    scene_.check(5, "values of a connection");
    // A handler's future that is done.
    let handlers = Handlers::new().on_message(|_: &Conn, _| DoneBadly);
    let scene_ = scene(kind, "", handlers, Settings::default());
    let mut peer = scene_.server.peer();
    peer.say("x");
    peer.rest();
    scene_.survived(CloseReason::Panic, 1, "a future that is done");
}

/// A future that is ready at once and panics when it is dropped.
struct DoneBadly;

impl Future for DoneBadly {
    type Output = ();
    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::task::Poll::Ready(())
    }
}

impl Drop for DoneBadly {
    fn drop(&mut self) {
        panic!("expected by the test, of a future that is done");
    }
}

fn in_a_payload(kind: BackendKind) {
    let handlers = Handlers::new().on_message(|_: &Conn, byte| match byte {
        Byte(b'n') => (),
        Byte(_) => std::panic::panic_any(Bomb(0)),
    });
    let handlers = handlers.on_error(|_, error| assert!(error.to_string().contains("no message")));
    let scene = scene(kind, "", handlers, Settings::default());
    let mut peer = scene.server.peer();
    peer.say("x");
    peer.rest();
    scene.survived(CloseReason::Panic, 1, "a payload");
}

fn on_the_loop_itself(kind: BackendKind) {
    let mut scene = scene(kind, "", Handlers::new(), Settings::default());
    scene.server.handle.run(|| panic!("expected by the test")).unwrap();
    scene.server.handle.run(|| std::panic::panic_any(Bomb(0))).unwrap();
    let bomb = Bomb(0);
    scene
        .server
        .handle
        .run(move || {
            let _bomb = &bomb;
        })
        .unwrap();
    scene.check(3, "commands");
}

fn in_an_async_on_close(kind: BackendKind) {
    let (told, seen) = events();
    let handlers = Handlers::new().on_close(move |_: &Conn, _| {
        let told = told.clone();
        async move {
            tokio::task::yield_now().await;
            told.send(()).unwrap();
            assert!(told.send(()).is_err(), "expected by the test");
        }
    });
    let server =
        Serving::start(kind, Service::new("late", || Touchy { at: "" }, handlers, Settings::default()));
    drop(server.peer());
    next(&seen);
    server.settle();
    let counters = server.handle.snapshot();
    assert_eq!((counters.panics, counters.connections), (1, 0));
}

fn many_at_once(kind: BackendKind) {
    let handlers = Handlers::new().on_message(|conn: &Conn, byte: Byte| {
        let _ = conn.send(Out("ok"));
        assert!(byte.0 != b'p', "expected by the test");
    });
    let mut scene = scene(kind, "", handlers, Settings::default());
    let mut peers: Vec<_> = (0..40).map(|_| scene.server.peer()).collect();
    for (n, peer) in peers.iter_mut().enumerate() {
        peer.say(if n % 2 == 0 { "p" } else { "x" });
    }
    for (n, peer) in peers.iter_mut().enumerate() {
        assert_eq!(peer.bytes(3), b"<ok");
        if n % 2 == 0 {
            peer.rest();
            assert_eq!(next(&scene.closes), CloseReason::Panic);
        } else {
            peer.say("y");
            assert_eq!(peer.bytes(2), b"ok");
        }
    }
    for peer in peers.iter().skip(1).step_by(2) {
        peer.finish();
        assert_eq!(next(&scene.closes), CloseReason::PeerClosed);
    }
    drop(peers);
    scene.check(20, "twenty of forty");
}
