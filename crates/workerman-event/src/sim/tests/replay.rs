//! The same seed does the same, another one something else.

use std::fmt::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::sim::{LinkOptions, block_on};

/// Everything that happens to an echo loop with a crowd of unruly peers, as text.
fn trace(seed: u64) -> String {
    block_on(seed, async |network| {
        network.set_default(LinkOptions {
            segment: 1..=40,
            capacity: 200,
            latency: millis(0)..=millis(30),
            reset_after: Some(50..=5000),
            ..LinkOptions::default()
        });
        let (mut io, host, _) = server(&network);
        let mut sink = Recorder::echo();
        for number in 0..30usize {
            let network = network.clone();
            tokio::spawn(async move {
                let from = network.host(["a", "b", "c"][number % 3]);
                let stream = network.connect(from, host.socket(80)).await?;
                let (mut read, mut write) = tokio::io::split(stream);
                tokio::spawn(async move {
                    write.write_all(&pattern(number * 50)).await?;
                    write.shutdown().await
                });
                let mut got = Vec::new();
                read.read_to_end(&mut got).await
            });
        }
        tokio::spawn({
            let network = network.clone();
            async move {
                let a = network.host("a");
                tokio::time::sleep(millis(20)).await;
                network.partition(a, host);
                tokio::time::sleep(millis(200)).await;
                network.heal(a, host);
                network.reset_between(network.host("b"), host);
            }
        });
        run_for(&mut io, &mut sink, Duration::from_secs(10)).await;
        let mut text = String::new();
        for (at, seen) in sink.at.iter().zip(&sink.seen) {
            writeln!(text, "{at:?} {seen:?}").unwrap();
        }
        writeln!(text, "{} {:?}", network.random(), io.unix_time()).unwrap();
        text
    })
}

#[test]
fn a_seed_replays_to_the_byte_and_another_one_differs() {
    let mut traces = Vec::new();
    for seed in 0..8 {
        let (first, second) = (trace(seed), trace(seed));
        assert!(first == second, "seed {seed} differs from itself");
        assert!(first.lines().count() > 100, "{first}");
        assert!(!traces.contains(&first));
        traces.push(first);
    }
}

#[test]
fn the_seed_decides_the_order_within_an_instant() {
    let order = |seed| {
        block_on(seed, async |network| {
            let (mut io, host, _) = server(&network);
            let mut sink = Recorder::default();
            let mut peers = Vec::new();
            for number in 0..5u8 {
                let mut peer = network.connect(network.host("a"), host.socket(80)).await.unwrap();
                peer.write_all(&[number]).await.unwrap();
                peers.push(peer);
            }
            turns(&mut io, &mut sink, |sink| sink.data().len() == 5).await;
            sink.data()
        })
    };
    let orders: std::collections::BTreeSet<Vec<u8>> = (0..30).map(order).collect();
    assert!(orders.len() > 10, "{orders:?}");
}

#[test]
fn a_backend_draws_its_seeds_and_its_clock_from_the_simulation() {
    let draw = |seed| {
        block_on(seed, async |network| {
            let mut io = network.backend();
            let start = io.now();
            tokio::time::sleep(millis(1500)).await;
            assert_eq!(io.now(), start, "read at the start of a turn");
            assert_eq!(io.refresh() - start, millis(1500));
            (io.seed(), io.seed(), io.unix_time())
        })
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1).0, draw(2).0);
    assert_ne!(draw(1).0, draw(1).1);
}

#[test]
fn seeds_are_read_in_both_notations() {
    use super::super::parse_seed;
    assert_eq!(parse_seed(" 0xFf "), Some(255));
    assert_eq!(parse_seed("255"), Some(255));
    assert_eq!(parse_seed("seven"), None);
}

#[test]
fn a_panic_of_the_body_comes_out() {
    let panic = std::panic::catch_unwind(|| {
        block_on(7, async |_| {
            if true {
                panic!("the test failed");
            }
        });
    });
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"the test failed"));
}
