//! The ways to run one worker: on this thread, and as a future inside somebody else's runtime.
#![forbid(unsafe_code)]

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use workerman::prelude::*;
use workerman::{AnyWorker, BackendKind, Error};
use workerman_tests::workers::{PATIENCE, on_each, start};

fn echo() -> Worker<Text> {
    Worker::text("127.0.0.1:0").on_message(|_, line| line)
}

#[test]
fn a_handle_stops_run() {
    on_each(|kind| {
        for threads in [1, 3] {
            let worker = start(kind, echo().threads(threads));
            let address = worker.tcp();
            let mut peer = worker.connect();
            assert_eq!(peer.ask("hello"), "hello");
            worker.handle.stop();
            worker.handle.stop();
            assert_eq!(peer.rest(), "");
            drop(peer);
            worker.join().unwrap();
            assert!(TcpStream::connect(address).is_err());
        }
    });
}

#[test]
fn a_worker_that_is_stopped_before_it_runs_does_not_run() {
    on_each(|kind| {
        let (started, starts) = mpsc::channel();
        let bound =
            echo().event_loop(kind).on_worker_start(move |_| started.send(()).unwrap()).bind().unwrap();
        bound.handle().stop();
        bound.run().unwrap();
        assert_eq!(starts.try_iter().count(), 0);
    });
}

#[test]
fn a_callback_stops_its_worker() {
    on_each(|kind| {
        let worker = echo().on_message(|conn, _| {
            conn.worker().stop();
            "stopping"
        });
        let worker = start(kind, worker.threads(2));
        let mut peer = worker.connect();
        peer.send("stop");
        assert_eq!(peer.rest(), "stopping\n");
        drop(peer);
        worker.join().unwrap();
    });
}

#[test]
fn on_worker_start_may_stop_its_worker() {
    on_each(|kind| {
        let worker = start(kind, echo().threads(2).on_worker_start(Handle::stop));
        worker.join().unwrap();
    });
}

fn inside_runtime(error: &Error) {
    assert!(matches!(error, Error::InsideRuntime), "{error}");
    assert!(error.to_string().contains(".serve().await"), "{error}");
}

async fn refuses_to_block() {
    inside_runtime(&echo().run().unwrap_err());
    inside_runtime(&echo().bind().unwrap().run().unwrap_err());
    inside_runtime(&run_all(echo()).unwrap_err());
    inside_runtime(&run_all(Vec::<Box<dyn AnyWorker>>::new()).unwrap_err());
}

#[tokio::test]
async fn run_inside_a_runtime_is_refused() {
    refuses_to_block().await;
    // On a blocking thread of the runtime it would be fine, but for the handle that is entered there.
    tokio::task::spawn_blocking(|| inside_runtime(&echo().run().unwrap_err())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_inside_a_multi_thread_runtime_is_refused() {
    refuses_to_block().await;
}

#[test]
fn run_inside_a_loop_of_ours_is_refused() {
    workerman::block_on(async { inside_runtime(&echo().run().unwrap_err()) }).unwrap();
}

/// Talks to a served worker, then stops it as `stop` does.
async fn served(kind: BackendKind) {
    let bound = echo().event_loop(kind).threads(2).bind().unwrap();
    let address = bound.addresses()[0].tcp().unwrap();
    let handle = bound.handle();
    // `Send`: it may move between the runtime's threads.
    let serving = tokio::spawn(bound.serve());
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut stream = BufReader::new(stream);
    stream.write_all(b"hello\n").await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert_eq!(line, "hello\n");
    handle.stop();
    assert_eq!(stream.read_line(&mut line).await.unwrap(), 0);
    drop(stream);
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn serve_lives_in_a_current_thread_runtime() {
    for kind in kinds() {
        served(kind).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_lives_in_a_multi_thread_runtime() {
    for kind in kinds() {
        served(kind).await;
    }
}

fn kinds() -> Vec<BackendKind> {
    [BackendKind::Epoll, BackendKind::Tokio].into_iter().filter(|kind| kind.is_available()).collect()
}

#[tokio::test]
async fn dropping_serve_stops_gracefully() {
    for kind in kinds() {
        let (closed, mut closes) = tokio::sync::mpsc::unbounded_channel();
        let stopped = closed.clone();
        let bound = echo()
            .event_loop(kind)
            .on_message_async(async |_, line| {
                // The answer that is on its way when the worker is dropped.
                sleep(Duration::from_millis(50)).await.unwrap();
                line
            })
            .on_worker_stop(move |_| stopped.send("stop".to_owned()).unwrap())
            .on_close(move |_, reason| closed.send(reason.to_string()).unwrap())
            .bind()
            .unwrap();
        let address = bound.addresses()[0].tcp().unwrap();
        let handle = bound.handle();
        let serving = bound.serve();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"hello\n").await.unwrap();
        while handle.counters().messages_in == 0 {
            tokio::task::yield_now().await;
        }
        drop(serving);
        let mut all = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut all)).await.unwrap().unwrap();
        assert_eq!(all, "hello\n");
        drop(stream);
        assert_eq!(closes.recv().await.unwrap(), "stop");
        let reason = closes.recv().await.unwrap();
        assert_eq!(reason, CloseReason::Shutdown.to_string());
    }
}

#[tokio::test]
async fn an_abandoned_serve_task_stops_the_worker() {
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    let started = told.clone();
    let worker = echo()
        .on_worker_start(move |_| started.send("start").unwrap())
        .on_worker_stop(move |_| told.send("stop").unwrap());
    let serving = tokio::spawn(worker.serve());
    assert_eq!(tells.recv().await, Some("start"));
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    assert_eq!(tokio::time::timeout(PATIENCE, tells.recv()).await.unwrap(), Some("stop"));
    assert_eq!(tokio::time::timeout(PATIENCE, tells.recv()).await.unwrap(), None, "all is dropped");
}

#[tokio::test]
async fn serve_tells_what_cannot_be_bound() {
    let first = echo().bind().unwrap();
    let taken = first.addresses()[0].to_string();
    let serving = Worker::text(&taken).serve();
    assert!(serving.handle().is_none());
    let error = serving.await.unwrap_err();
    assert!(matches!(&error, Error::AddressInUse { address } if *address == taken), "{error}");
}

#[tokio::test]
async fn serve_tells_what_fails_in_the_worker() {
    let error = echo().state(async |_| Err::<(), _>("no database".into())).serve().await.unwrap_err();
    assert_eq!(error.to_string(), "worker none: its state failed: no database");
}

#[tokio::test]
async fn many_workers_are_served_side_by_side() {
    let served = Arc::new(AtomicUsize::new(0));
    let mut all = tokio::task::JoinSet::new();
    let mut handles = Vec::new();
    for _ in 0..10 {
        let count = Arc::clone(&served);
        let serving = echo().on_worker_start(move |worker| {
            count.fetch_add(1, Ordering::Relaxed);
            worker.stop();
        });
        let serving = serving.serve();
        handles.extend(serving.handle());
        all.spawn(serving);
    }
    while let Some(ended) = tokio::time::timeout(PATIENCE, all.join_next()).await.unwrap() {
        ended.unwrap().unwrap();
    }
    assert_eq!(served.load(Ordering::Relaxed), 10);
    assert_eq!(handles.len(), 10);
}
