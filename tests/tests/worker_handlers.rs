//! What handlers may be and return, what becomes of their errors; timers and clients in and out of loops.
#![forbid(unsafe_code)]

use std::sync::mpsc;
use std::time::Duration;

use workerman::prelude::*;
use workerman::{ConnectionError, LoopHandle};
use workerman_tests::workers::{PATIENCE, on_each, start};

fn text() -> Worker<Text> {
    Worker::text("127.0.0.1:0")
}

/// Each shape, and what a peer that sends "x" gets.
fn shapes() -> Vec<(&'static str, Worker<Text>, &'static str)> {
    vec![
        ("nothing", text().on_message(|_, _| ()), ""),
        ("the message", text().on_message(|_, line| line), "x\n"),
        ("&str", text().on_message(|_, _| "reply"), "reply\n"),
        ("String", text().on_message(|_, line| format!("<{line}>")), "<x>\n"),
        ("bytes", text().on_message(|_, _| Bytes::from_static(b"bytes")), "bytes\n"),
        ("status", text().on_message(|conn, _| conn.send("sent")), "sent\n"),
        ("some", text().on_message(|_, line| Some(line)), "x\n"),
        ("none", text().on_message(|_, _| None::<String>), ""),
        ("ok", text().on_message(|_, _| Ok::<_, std::io::Error>("fine")), "fine\n"),
        ("option in result", text().on_message(|_, _| Ok::<_, std::fmt::Error>(Some("both"))), "both\n"),
        (
            "question marks",
            text().on_message(|conn, line| -> workerman::Result<_> {
                let _ = conn.send("first")?;
                let number: i32 = line.len().try_into().map_err(std::io::Error::other)?;
                Ok(number.to_string())
            }),
            "first\n1\n",
        ),
        ("future", text().on_message(|_, line| async move { line }), "x\n"),
        (
            "async closure",
            text().on_message_async(async |conn, line| {
                let _ = conn.send("working")?;
                tokio::task::yield_now().await;
                Ok::<_, workerman::Error>(line)
            }),
            "working\nx\n",
        ),
        ("async status", text().on_message_async(async |conn, _| conn.send("sent")), "sent\n"),
        ("connect", text().on_connect(|_| "welcome"), "welcome\n"),
        (
            "async connect",
            text()
                .on_connect_async(async |conn| {
                    sleep(Duration::from_millis(1)).await?;
                    conn.send("welcome").map_err(|error| ConnectionError::Handler(error.into()))
                })
                .on_message(|_, line| line),
            "welcome\nx\n",
        ),
    ]
}

#[test]
fn handlers_of_every_shape_reply() {
    on_each(|kind| {
        for (shape, worker, expected) in shapes() {
            let worker = start(kind, worker);
            let mut peer = worker.connect();
            peer.send("x");
            peer.finish();
            assert_eq!(peer.rest(), expected, "{shape}");
        }
    });
}

#[test]
fn an_error_goes_to_on_error_and_ends_that_connection() {
    on_each(|kind| {
        for later in [false, true] {
            let (told, tells) = mpsc::channel();
            let errors = told.clone();
            let worker = text()
                .on_error(move |_, error| errors.send(error.to_string()).unwrap())
                .on_close(move |_, reason| told.send(reason.to_string()).unwrap());
            let worker = if later {
                worker.on_message_async(async |_, line| -> workerman::Result<_> {
                    tokio::task::yield_now().await;
                    let number: u32 = line.to_string().parse().map_err(std::io::Error::other)?;
                    Ok(number.to_string())
                })
            } else {
                worker.on_message(|_, line| {
                    Ok::<_, std::num::ParseIntError>(line.to_string().parse::<u32>()?.to_string())
                })
            };
            let worker = start(kind, worker);
            let (mut good, mut bad) = (worker.connect(), worker.connect());
            assert_eq!(bad.ask("7"), "7");
            bad.send("x");
            assert_eq!(bad.rest(), "");
            let error = tells.recv_timeout(PATIENCE).unwrap();
            assert_eq!(error, "handler failed: invalid digit found in string");
            assert_eq!(tells.recv_timeout(PATIENCE).unwrap(), CloseReason::Handler.to_string());
            assert_eq!(good.ask("8"), "8");
            assert_eq!(worker.handle.counters().errors, 1);
        }
    });
}

#[test]
fn a_panic_ends_that_connection_alone() {
    on_each(|kind| {
        let worker = text().on_message(|_, line| {
            assert!(line != "bug", "expected by the test");
            line
        });
        let worker = start(kind, worker);
        let (mut good, mut bad) = (worker.connect(), worker.connect());
        bad.send("bug");
        assert!(bad.is_gone());
        assert_eq!(good.ask("fine"), "fine");
        assert_eq!(worker.handle.counters().closed(CloseReason::Panic), 1);
    });
}

#[test]
fn events_reach_their_handlers_by_protocol() {
    on_each(|kind| {
        let worker = Worker::frame("127.0.0.1:0").on_message(|_, frame| frame);
        let worker = start(kind, worker);
        let (got, gets) = mpsc::channel();
        let client = Client::frame(worker.tcp().to_string())
            .on_message(move |_, frame| got.send(frame).unwrap())
            .connect()
            .unwrap();
        let _ = client.send("a frame").unwrap();
        assert_eq!(gets.recv_timeout(PATIENCE).unwrap(), "a frame");
        client.close();
    });
}

// ---- timers and clients, in and out of loops -------------------------------------------------------------------------

#[test]
fn timers_need_a_loop() {
    assert!(matches!(Timer::after(Duration::ZERO, || ()), Err(ConnectionError::NoLoop)));
    assert!(matches!(Timer::repeat(Duration::ZERO, || ()), Err(ConnectionError::NoLoop)));
    assert_eq!((Timer::count(), Timer::cancel_all()), (0, 0));
    // Nothing keeps time here.
    let mut nowhere = std::pin::pin!(sleep(Duration::ZERO));
    let polled = nowhere.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(matches!(polled, std::task::Poll::Ready(Err(ConnectionError::NoLoop))));
    let pause = Duration::from_millis(20);
    let slept = workerman::block_on(async {
        let began = tokio::time::Instant::now();
        sleep(pause).await.map(|()| began.elapsed())
    });
    assert!(slept.unwrap().unwrap() >= pause, "it waits as long as it was asked to");
    assert!(LoopHandle::current().is_none());
}

#[test]
fn a_client_of_the_program_lives_on_a_thread_of_its_own() {
    on_each(|kind| {
        let worker = start(kind, text().on_message(|_, line| line));
        let (told, tells) = mpsc::channel();
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let told = told.clone();
                Client::text(worker.tcp().to_string())
                    .on_message(move |_, line| {
                        let thread = std::thread::current();
                        told.send((line.to_string(), thread.name().map(str::to_owned))).unwrap();
                    })
                    .connect()
                    .unwrap()
            })
            .collect();
        for client in &clients {
            let _ = client.send("hello").unwrap();
            let (line, thread) = tells.recv_timeout(PATIENCE).unwrap();
            assert_eq!((line.as_str(), thread.as_deref()), ("hello", Some("workerman-clients")));
        }
        clients.iter().for_each(Connection::close);
    });
}

#[test]
fn a_client_made_in_a_callback_lives_on_that_loop() {
    on_each(|kind| {
        let backend = start(kind, text().on_message(|_, line| format!("backend: {line}")));
        let address = backend.tcp().to_string();
        let front = text().on_message(move |conn, line| -> workerman::Result<()> {
            let (back, thread) = (conn.clone(), std::thread::current().id());
            let upstream = Client::text(&address)
                .on_message(move |upstream, line| {
                    assert_eq!(std::thread::current().id(), thread);
                    upstream.close();
                    back.send(line).map(drop)
                })
                .connect()?;
            let _ = upstream.send(line)?;
            Ok(())
        });
        let front = start(kind, front);
        assert_eq!(front.connect().ask("hello"), "backend: hello");
        assert_eq!(front.handle.counters().connected, 1);
    });
}

#[test]
fn a_client_runs_alone_until_its_connection_is_over() {
    on_each(|kind| {
        let worker = start(kind, text().on_message(|_, line| line));
        let (told, tells) = mpsc::channel();
        let closed = told.clone();
        Client::text(worker.tcp().to_string())
            .on_connect(|_| "hello")
            .on_message(move |conn, line| {
                told.send(line.to_string()).unwrap();
                conn.close();
            })
            .on_close(move |_, reason| closed.send(reason.to_string()).unwrap())
            .run()
            .unwrap();
        let told: Vec<_> = tells.try_iter().collect();
        assert_eq!(told, ["hello", "closed by this side"]);
        let address = worker.tcp();
        drop(worker);
        let error = Client::text(address.to_string()).run().unwrap_err();
        assert!(matches!(&error, ConnectionError::Connect { .. }), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    });
}
