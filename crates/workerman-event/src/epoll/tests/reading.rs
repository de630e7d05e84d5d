//! Data, ends and resets.

use std::io::Write;
use std::net::Shutdown;

use super::*;
use crate::chunk::CHUNK;

#[test]
fn data_and_end_before_the_first_turn() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (listener, address) = bench.listen();
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"all of it").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        bench.until("the end", |r| r.events.iter().any(|event| matches!(event, Event::Eof(_)))).await;
        let token = bench.recorder.accepted()[0];
        assert_eq!(
            bench.recorder.events,
            [Event::Accepted(listener, token), Event::Data(token, b"all of it".to_vec()), Event::Eof(token)]
        );
        // Only the peer's half has ended.
        assert_eq!(bench.epoll.send(token, &mut &b"answer"[..]).unwrap(), 6);
        bench.epoll.close(token);
        let mut answer = String::new();
        io::Read::read_to_string(&mut client, &mut answer).unwrap();
        assert_eq!(answer, "answer");
        bench.idle().await;
        assert_eq!(bench.recorder.events.len(), 3, "nothing follows a close");
    });
}

#[test]
fn data_and_end_of_an_adopted_unix_stream() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (token, mut peer) = bench.unix_pair();
        peer.write_all(b"bye").unwrap();
        drop(peer);
        bench.until("the end", |r| r.has(&Event::Eof(token))).await;
        assert_eq!(bench.recorder.events[0], Event::Data(token, b"bye".to_vec()));
    });
}

#[test]
fn the_end_after_a_short_read_is_not_lost() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (token, mut peer) = bench.tcp_pair();
        peer.write_all(b"one").unwrap();
        bench.until("data", |r| r.bytes(token) == b"one").await;
        drop(peer);
        bench.until("the end", |r| r.has(&Event::Eof(token))).await;
    });
}

#[test]
fn what_a_budget_leaves_is_read_without_a_new_event() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (token, mut peer) = bench.unix_pair();
        peer.set_nonblocking(true).unwrap();
        let sent = fill(&mut peer);
        assert!(sent > CHUNK, "more than one read: {sent}");
        bench.until("all bytes", |r| r.bytes(token).len() == sent).await;
        assert_eq!(bench.recorder.bytes(token), pattern(sent));
        assert!(bench.turns.iter().all(|events| *events <= 1), "one read a turn: {:?}", bench.turns);
        let largest = bench.recorder.events.iter().map(|event| match event {
            Event::Data(_, data) => data.len(),
            _ => 0,
        });
        assert!(largest.max().unwrap() <= CHUNK);
    });
}

/// Writes a pattern until the system takes no more.
fn fill(peer: &mut impl Write) -> usize {
    let data = pattern(8 << 20);
    let mut sent = 0;
    while sent < data.len() {
        match peer.write(&data[sent..]) {
            Ok(count) => sent += count,
            Err(why) => {
                assert_eq!(why.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    sent
}

#[test]
fn a_paused_connection_loses_nothing() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (token, mut peer) = bench.tcp_pair();
        bench.epoll.set_read(token, false);
        peer.write_all(b"patience").unwrap();
        bench.idle().await;
        assert_eq!(bench.recorder.events, []);
        bench.epoll.set_read(token, true);
        bench.until("data", |r| r.bytes(token) == b"patience").await;
        // An end is held back as well.
        bench.epoll.set_read(token, false);
        drop(peer);
        bench.idle().await;
        assert_eq!(bench.recorder.events.len(), 1);
        bench.epoll.set_read(token, true);
        bench.until("the end", |r| r.has(&Event::Eof(token))).await;
    });
}

#[test]
fn a_pause_inside_of_a_read_holds() {
    run(async {
        let recorder = Recorder::with(|io, event| {
            if let Event::Data(token, _) = event {
                io.set_read(*token, false);
            }
        });
        let mut bench = Bench::new(recorder);
        let (token, mut peer) = bench.unix_pair();
        peer.set_nonblocking(true).unwrap();
        let sent = fill(&mut peer);
        let mut rounds = 0;
        while bench.recorder.bytes(token).len() < sent {
            bench.epoll.set_read(token, true);
            bench.epoll.set_read(token, true);
            bench.idle().await;
            rounds += 1;
            assert_eq!(bench.recorder.events.len(), rounds, "one read for each resume");
        }
        assert_eq!(bench.recorder.bytes(token), pattern(sent));
    });
}

#[test]
fn resuming_between_turns_wakes_the_task() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (token, mut peer) = bench.tcp_pair();
        bench.epoll.set_read(token, false);
        peer.write_all(b"x").unwrap();
        bench.idle().await;
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = count.clone().into();
        let cx = &mut Context::from_waker(&waker);
        assert!(bench.turn(cx).is_pending());
        bench.epoll.set_read(token, true);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        bench.until("data", |r| r.bytes(token) == b"x").await;
        while bench.turn(cx).is_ready() {}
        let before = count.0.load(Ordering::Relaxed);
        bench.epoll.resolve("127.0.0.1", 1);
        assert!(count.0.load(Ordering::Relaxed) > before);
    });
}

#[test]
fn a_reset_fails_once() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (token, peer) = bench.tcp_pair();
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        bench.until("the failure", |r| r.failed(token).is_some()).await;
        bench.idle().await;
        assert_eq!(bench.recorder.events, [Event::Failed(token, ErrorKind::ConnectionReset)]);
        let late = bench.epoll.send(token, &mut &b"x"[..]).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn a_reset_after_the_end_is_told_even_if_nothing_is_sent() {
    run(async {
        for paused in [false, true] {
            let mut bench = Bench::new(Recorder::default());
            let (token, mut peer) = bench.tcp_pair();
            peer.write_all(b"last").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            bench.until("the end", |r| r.has(&Event::Eof(token))).await;
            bench.epoll.set_read(token, !paused);
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
            drop(peer);
            bench.until("the failure", |r| r.failed(token).is_some()).await;
            assert_eq!(bench.recorder.events.len(), 3);
        }
    });
}

#[test]
fn end_and_reset_together_are_told_in_this_order() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (token, mut peer) = bench.tcp_pair();
        peer.write_all(b"last").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        bench.until("the failure", |r| r.failed(token).is_some()).await;
        bench.idle().await;
        let (last, before) = bench.recorder.events.split_last().unwrap();
        assert!(matches!(last, Event::Failed(..)));
        assert!(before.iter().filter(|event| **event == Event::Eof(token)).count() <= 1);
        let bytes = bench.recorder.bytes(token);
        assert!(bytes.is_empty() || bytes == b"last");
    });
}

#[test]
fn urgent_data_does_not_hide_what_follows_it() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (token, mut peer) = bench.tcp_pair();
        peer.write_all(b"before").unwrap();
        socket2::SockRef::from(&peer).send_out_of_band(b"!").unwrap();
        peer.write_all(b"after").unwrap();
        bench.until("the rest", |r| r.bytes(token) == b"beforeafter").await;
    });
}

#[test]
fn a_lent_buffer_is_filled_behind_what_it_holds() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let (token, mut peer) = bench.tcp_pair();
        let mut buffer = Vec::with_capacity(10);
        buffer.extend_from_slice(b"abc");
        let capacity = buffer.capacity();
        bench.epoll.lend(token, buffer);
        peer.write_all(&pattern(capacity)).unwrap();
        bench.until("the rest", |r| !r.bytes(token).is_empty()).await;
        let mut expected = b"abc".to_vec();
        expected.extend_from_slice(&pattern(capacity - 3));
        assert_eq!(bench.recorder.events[0], Event::Filled(token, expected));
        assert_eq!(bench.recorder.bytes(token), pattern(capacity)[capacity - 3..]);
        // The end of the stream leaves it in place.
        bench.epoll.lend(token, Vec::with_capacity(77));
        drop(peer);
        bench.until("the end", |r| r.has(&Event::Eof(token))).await;
        assert!(bench.epoll.reclaim(token).unwrap().capacity() >= 77);
        assert_eq!(bench.epoll.reclaim(token), None);
    });
}

#[test]
fn a_large_lent_buffer_is_filled_in_bounded_reads() {
    run(async {
        let recorder = Recorder::with(|io, event| {
            if let Event::Filled(token, buffer) = event {
                let mut next = Vec::with_capacity(8 << 20);
                next.extend_from_slice(buffer);
                io.lend(*token, next);
            }
        });
        let mut bench = Bench::new(recorder);
        let (token, mut peer) = bench.tcp_pair();
        bench.epoll.lend(token, Vec::with_capacity(8 << 20));
        let data = pattern(3 << 20);
        let sender = std::thread::spawn(move || peer.write_all(&data).map(|()| peer));
        bench
            .until(
                "all bytes",
                |r| matches!(r.events.last(), Some(Event::Filled(_, all)) if all.len() == 3 << 20),
            )
            .await;
        sender.join().unwrap().unwrap();
        let mut old = 0;
        for event in &bench.recorder.events {
            let Event::Filled(_, buffer) = event else { panic!("{event:?} is not a fill") };
            assert!(buffer.len() > old && buffer.capacity() >= 8 << 20, "it grows in its own room");
            old = buffer.len();
        }
        assert_eq!(*bench.recorder.events.last().unwrap(), Event::Filled(token, pattern(3 << 20)));
    });
}
