//! WebSocket in virtual time: peers that fall silent, connections that are not read, closing handshakes that nobody answers.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use workerman::prelude::*;
use workerman::sim::{Peer, Sim, Wire};
use workerman_tests::websocket_peer::{frame, hello, parse};

const SECOND: Duration = Duration::from_secs(1);

type Notes = Arc<Mutex<Vec<String>>>;

/// A worker that notes what it is told.
fn noting(notes: &Notes) -> Worker<Websocket> {
    let [message, close] = std::array::from_fn(|_| Arc::clone(notes));
    Worker::websocket("0.0.0.0:80")
        .on_message(move |_, text| message.lock().unwrap().push(text.to_string()))
        .on_close(move |_, reason| {
            let clean = if reason.is_clean() { "clean" } else { "unclean" };
            close.lock().unwrap().push(format!("{:?} {clean}", reason.code()));
        })
}

async fn open(peer: &Peer) -> Wire {
    let mut wire = peer.connect().await;
    wire.send(hello("/", &[]).as_bytes()).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend_from_slice(&wire.bytes(1).await);
    }
    wire
}

/// The next frame of the server, which is small.
async fn next(wire: &mut Wire) -> (u8, Vec<u8>) {
    let mut read = wire.bytes(2).await;
    read.extend_from_slice(&wire.bytes(usize::from(read[1])).await);
    let (first, payload, _) = parse(&read).unwrap();
    (first, payload)
}

fn run<F: Future<Output = ()>>(worker: Worker<Websocket>, client: impl FnOnce(Peer) -> F + 'static) {
    Sim::seed(1).worker(worker).client("guest", async move |peer: Peer| client(peer).await).run();
}

#[test]
fn who_answers_pings_stays_and_who_does_not_goes() {
    let notes = Notes::default();
    run(noting(&notes), async |peer| {
        let mut wire = open(&peer).await;
        for _ in 0..5 {
            let begin = peer.elapsed();
            assert_eq!(next(&mut wire).await, (0x89, vec![]));
            let silence = peer.elapsed() - begin;
            assert!((26 * SECOND..=31 * SECOND).contains(&silence), "{silence:?}");
            wire.send(frame(10, b"")).await;
        }
        assert_eq!(next(&mut wire).await, (0x89, vec![]));
        let begin = peer.elapsed();
        // No close frame: nobody is there to read one.
        assert!(wire.rest().await.unwrap().is_empty());
        let waited = peer.elapsed() - begin;
        assert!((10 * SECOND..=11 * SECOND).contains(&waited), "{waited:?}");
    });
    assert_eq!(*notes.lock().unwrap(), ["Some(1006) unclean"]);
}

#[test]
fn a_connection_that_is_paused_is_not_blamed() {
    let notes = Notes::default();
    let worker = noting(&notes).on_open(|conn: &Connection<Websocket>, _| {
        conn.pause();
        let conn = conn.clone();
        drop(workerman::spawn(async move {
            sleep(300 * SECOND).await.unwrap();
            conn.resume();
        }));
    });
    run(worker, async |peer| {
        let mut wire = open(&peer).await;
        wire.send(frame(1, b"waits")).await;
        peer.sleep(310 * SECOND).await;
        wire.send(frame(8, b"\x03\xe8")).await;
        assert_eq!(next(&mut wire).await, (0x88, b"\x03\xe8".to_vec()));
    });
    assert_eq!(*notes.lock().unwrap(), ["waits", "Some(1000) clean"]);
}

#[test]
fn a_handler_that_takes_its_time_is_nobodys_silence() {
    let notes = Notes::default();
    let close = Arc::clone(&notes);
    let worker = Worker::websocket("0.0.0.0:80")
        .on_message_async(async |_, text| {
            sleep(200 * SECOND).await.unwrap();
            text
        })
        .on_close(move |_, reason| close.lock().unwrap().push(format!("{:?}", reason.code())));
    run(worker, async |peer| {
        let mut wire = open(&peer).await;
        // The close frame is there long before the answer, and answered behind it.
        wire.send([frame(1, b"question"), frame(8, b"\x0f\xa1")].concat()).await;
        assert_eq!(next(&mut wire).await, (0x81, b"question".to_vec()));
        assert_eq!(next(&mut wire).await, (0x88, b"\x0f\xa1".to_vec()));
        assert!(wire.rest().await.unwrap().is_empty());
        assert!(peer.elapsed() < 202 * SECOND);
    });
    assert_eq!(*notes.lock().unwrap(), ["Some(4001)"]);
}

#[test]
fn nobody_waits_for_ever_for_the_answer_to_a_close_frame() {
    let notes = Notes::default();
    let worker = noting(&notes).on_open(|conn: &Connection<Websocket>, _| {
        conn.close_with_code(4000, "enough");
        let conn = conn.clone();
        drop(workerman::spawn(async move {
            // Nothing follows a close frame.
            sleep(SECOND).await.unwrap();
            assert!(matches!(conn.send("late"), Err(SendError::Closed)));
        }));
    });
    run(worker, async |peer| {
        let mut wire = open(&peer).await;
        assert_eq!(next(&mut wire).await, (0x88, b"\x0f\xa0enough".to_vec()));
        let begin = peer.elapsed();
        // What is still on its way is not heard, nor answered.
        wire.send([frame(1, b"late"), frame(9, b"late")].concat()).await;
        assert!(wire.rest().await.unwrap().is_empty());
        let waited = peer.elapsed() - begin;
        assert!((5 * SECOND..=7 * SECOND).contains(&waited), "{waited:?}");
    });
    assert_eq!(*notes.lock().unwrap(), ["Some(4000) unclean"]);
}

#[test]
fn an_end_without_a_close_frame_is_told_as_what_it_is() {
    let notes = Notes::default();
    run(noting(&notes), async |peer| {
        let mut wire = open(&peer).await;
        wire.send(frame(1, b"last words")).await;
        wire.finish().await;
        assert!(wire.rest().await.unwrap().is_empty());
    });
    assert_eq!(*notes.lock().unwrap(), ["last words", "Some(1006) unclean"]);
}
