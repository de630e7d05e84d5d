//! A protocol whose decoding half writes the answers, in virtual time: deadlines, marks, and that nothing spins.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use workerman_connection::{LoopHandle, Settings};
use workerman_event::sim::{self, LinkOptions, Network, SimStream};
use workerman_event::spawn;
use workerman_tests::asking::{CHUNK, MARK, Setup};
use workerman_tests::simulation::{GRANULE, read_all, serve, settled, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// A server, and a peer of it that has been greeted.
async fn rig(network: &Network, setup: &Setup) -> (LoopHandle, SimStream) {
    let server = network.host("server");
    let handle = serve(network, server, 80, setup.service());
    let peer = join(network).await;
    (handle, peer)
}

/// One more peer.
async fn join(network: &Network) -> SimStream {
    let (server, client) = (network.host("server"), network.host("client"));
    let mut peer = network.connect(client, server.socket(80)).await.unwrap();
    assert!(until_line(&mut peer).await.starts_with("HELLO "));
    peer
}

async fn until_line(peer: &mut SimStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(peer.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

#[test]
fn a_body_that_stalls_is_timed_out_although_its_handler_is_suspended() {
    for stalls_after in [0, 3, 9] {
        sim::block_on(1, async |network| {
            let setup = Setup::new(true, 1);
            let (handle, mut peer) = rig(&network, &setup).await;
            peer.write_all(b"PUT 10\n").await.unwrap();
            // Slow, but not too slow.
            for _ in 0..stalls_after {
                sleep(20_000).await;
                peer.write_all(b"x").await.unwrap();
            }
            let last = network.elapsed();
            assert_eq!(until_line(&mut peer).await, "LATE Body");
            let took = network.elapsed() - last;
            assert!((30 * SECOND..=30 * SECOND + GRANULE).contains(&took), "{took:?}");
            assert_eq!(read_all(&mut peer).await, b"");
            drop(peer);
            sleep(10).await;
            let late = "timed out: the body of a message made no progress";
            assert_eq!(
                setup.seen.all(),
                [
                    "dropped",
                    &format!("error: {late}"),
                    "closed: timeout: the body of a message made no progress"
                ]
            );
            settled(&handle);
        });
    }
}

#[test]
fn a_body_that_waits_for_its_handler_is_not_timed_out() {
    // All of it is there; or more than the handler has room for; or nothing is read for a while.
    for (question, body) in [("PUT 10 slowly", 10), ("PUT 5000 slowly", 5000), ("PUT 5000 paused", 5000)] {
        sim::block_on(1, async |network| {
            let setup = Setup::new(true, 1);
            let (handle, mut peer) = rig(&network, &setup).await;
            peer.write_all(format!("{question}\n").as_bytes()).await.unwrap();
            peer.write_all(&vec![1; body]).await.unwrap();
            assert_eq!(until_line(&mut peer).await, format!("GOT {body}: {body}"));
            assert!(network.elapsed() >= 100 * SECOND);
            drop(peer);
            sleep(10).await;
            assert_eq!(setup.seen.all(), ["closed: closed by the peer"]);
            settled(&handle);
        });
    }
}

#[test]
fn a_long_answer_waits_for_its_peer_without_a_call() {
    sim::block_on(1, async |network| {
        let setup = Setup::new(false, 1);
        let (handle, mut peer) = rig(&network, &setup).await;
        let length = 1_000_000;
        peer.write_all(format!("FLOW {length}\n").as_bytes()).await.unwrap();
        sleep(1000).await;
        let calls = || setup.watched.calls.load(Ordering::Relaxed);
        let stalled = calls();
        sleep(20_000).await;
        assert_eq!(calls(), stalled, "nothing moved");
        let mut flow = vec![0; length];
        peer.read_exact(&mut flow).await.unwrap();
        let queued = setup.watched.queued.load(Ordering::Relaxed);
        assert!((MARK..MARK + CHUNK).contains(&queued.max(MARK)), "{queued} bytes waited");
        // Twice for each part: when it is put, and when all before it was written.
        assert!(calls() <= 3 * length / CHUNK, "{} calls", calls());
        drop(peer);
        sleep(10).await;
        settled(&handle);
    });
}

#[test]
fn a_long_answer_lets_others_go_on() {
    sim::block_on(1, async |network| {
        let length = 20_000_000;
        network.set_default(LinkOptions { capacity: 2 * length, ..LinkOptions::default() });
        let setup = Setup::new(false, 1);
        let (handle, mut first) = rig(&network, &setup).await;
        let mut second = join(&network).await;
        first.write_all(format!("FLOW {length}\n").as_bytes()).await.unwrap();
        let begun = first.read_u8().await.unwrap();
        assert_eq!(begun, b'.');
        second.write_all(b"SAY hello\n").await.unwrap();
        assert_eq!(until_line(&mut second).await, "SAY hello");
        let written = handle.snapshot().bytes_out;
        assert!(written < length as u64 / 2, "{written} bytes went before");
        let mut flow = vec![0; length - 1];
        first.read_exact(&mut flow).await.unwrap();
        drop((first, second));
        sleep(10).await;
        settled(&handle);
    });
}

#[test]
fn answers_count_towards_the_marks() {
    for asynchronous in [false, true] {
        sim::block_on(1, async |network| {
            let (questions, long) = (100, "x".repeat(50_000));
            let settings = Settings { high_water: 256 * 1024, write_timeout: None, ..Settings::default() };
            let setup = Setup { settings, ..Setup::new(asynchronous, 200) };
            let (handle, peer) = rig(&network, &setup).await;
            let (reads, mut writes) = tokio::io::split(peer);
            let said = format!("SAY {long}\n");
            let expected = said.clone();
            let writing = spawn(async move {
                for _ in 0..questions {
                    writes.write_all(said.as_bytes()).await.unwrap();
                }
                writes
            });
            sleep(60_000).await;
            // 64 KiB are on their way, one answer may go beyond the mark.
            let most = (256 + 64) * 1024 / said_length(&long) + 2;
            let handled = handle.snapshot().messages_in;
            assert!((5..=most as u64).contains(&handled), "{handled} questions were handled, {most} fit");
            assert!(handle.snapshot().bytes_queued < 256 * 1024 + 2 * said_length(&long) as u64);
            assert!(setup.seen.all().contains(&"full".to_owned()), "the application is told");
            let mut reads = BufReader::new(reads);
            for _ in 0..questions {
                let mut line = String::new();
                reads.read_line(&mut line).await.unwrap();
                assert!(line == expected, "{} bytes", line.len());
            }
            let writes = writing.await.unwrap();
            drop(reads.into_inner().unsplit(writes));
            sleep(10).await;
            settled(&handle);
        });
    }
}

fn said_length(long: &str) -> usize {
    "SAY \n".len() + long.len()
}
