//! Plain tasks talking to each other: order, latency, speed, capacity, ends.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::*;
use crate::sim::{LinkOptions, SimStream, block_on};

async fn pair(network: &Network) -> (SimStream, SimStream) {
    let (a, b) = (network.host("a"), network.host("b"));
    let listener = network.listen(b, 0).unwrap();
    let to = listener.local_address().tcp().unwrap();
    let near = network.connect(a, b.socket(to.port())).await.unwrap();
    (near, listener.accept().await.unwrap())
}

#[test]
fn bytes_keep_their_order_at_any_latency_and_segment_size() {
    for seed in 0..20 {
        block_on(seed, async |network| {
            network.set_default(LinkOptions {
                segment: 1..=50,
                capacity: 300,
                latency: millis(1)..=millis(80),
                ..LinkOptions::default()
            });
            let (mut near, mut far) = pair(&network).await;
            let sent = pattern(5000);
            let copy = sent.clone();
            let writer = tokio::spawn(async move {
                near.write_all(&copy).await.unwrap();
                near.shutdown().await.unwrap();
                near
            });
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            assert!(got == sent, "seed {seed}");
            drop(writer.await.unwrap());
        });
    }
}

#[test]
fn both_halves_of_a_stream_work_at_once() {
    block_on(3, async |network| {
        network.set_default(LinkOptions { capacity: 100, segment: 1..=9, ..LinkOptions::default() });
        let (near, far) = pair(&network).await;
        let (mut far_read, mut far_write) = tokio::io::split(far);
        tokio::spawn(async move { tokio::io::copy(&mut far_read, &mut far_write).await });
        let (mut read, mut write) = tokio::io::split(near);
        let sent = pattern(3000);
        let copy = sent.clone();
        tokio::spawn(async move { write.write_all(&copy).await });
        let mut got = vec![0; sent.len()];
        read.read_exact(&mut got).await.unwrap();
        assert_eq!(got, sent);
    });
}

#[test]
fn latency_is_virtual_and_counts_each_way() {
    block_on(1, async |network| {
        network.set_default(LinkOptions { latency: millis(100)..=millis(100), ..LinkOptions::default() });
        let (mut near, mut far) = pair(&network).await;
        assert_eq!(network.elapsed(), millis(200), "SYN and SYN-ACK");
        near.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(network.elapsed(), millis(300));
    });
}

#[test]
fn a_slow_link_trickles() {
    block_on(1, async |network| {
        network.set_default(LinkOptions { bytes_per_second: Some(1000), ..LinkOptions::default() });
        let (mut near, mut far) = pair(&network).await;
        near.write_all(&pattern(3000)).await.unwrap();
        let mut first = [0; 500];
        far.read_exact(&mut first).await.unwrap();
        assert_eq!(network.elapsed(), millis(500));
        let mut rest = [0; 2500];
        far.read_exact(&mut rest).await.unwrap();
        assert_eq!(network.elapsed(), millis(3000));
    });
}

#[test]
fn a_full_link_takes_a_part_and_then_waits_for_room() {
    block_on(1, async |network| {
        network.set_default(LinkOptions { capacity: 1000, ..LinkOptions::default() });
        let (mut near, mut far) = pair(&network).await;
        assert_eq!(near.write(&[1; 1500]).await.unwrap(), 1000);
        let blocked =
            poll_fn(|cx| Poll::Ready(Pin::new(&mut near).poll_write(cx, &[2; 10]).is_pending())).await;
        assert!(blocked);
        let mut got = [0; 500];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(near.write(&[2; 700]).await.unwrap(), 500);
    });
}

#[test]
fn a_fin_comes_after_the_last_byte_and_the_other_way_stays_open() {
    block_on(1, async |network| {
        let (mut near, mut far) = pair(&network).await;
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        assert_eq!(near.write(b"!").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut question = Vec::new();
        far.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        far.write_all(b"answer").await.unwrap();
        drop(far);
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        assert_eq!(near.read(&mut [0; 1]).await.unwrap(), 0, "the end stays the end");
    });
}

#[test]
fn closing_with_unread_bytes_resets_the_peer() {
    block_on(1, async |network| {
        let (mut near, mut far) = pair(&network).await;
        near.write_all(b"never read").await.unwrap();
        far.write_all(b"last answer").await.unwrap();
        tokio::time::sleep(millis(1)).await;
        drop(far);
        tokio::time::sleep(millis(1)).await;
        let mut got = Vec::new();
        assert_eq!(near.read_to_end(&mut got).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn closing_with_everything_read_is_a_clean_end() {
    block_on(1, async |network| {
        let (mut near, mut far) = pair(&network).await;
        near.write_all(b"read").await.unwrap();
        far.write_all(b"last answer").await.unwrap();
        far.read_exact(&mut [0; 4]).await.unwrap();
        drop(far);
        let mut got = Vec::new();
        near.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last answer");
    });
}

#[test]
fn bytes_for_a_closed_peer_come_back_as_a_reset() {
    block_on(1, async |network| {
        let (mut near, far) = pair(&network).await;
        drop(far);
        assert_eq!(near.read(&mut [0; 1]).await.unwrap(), 0);
        near.write_all(b"too late").await.unwrap();
        tokio::time::sleep(millis(1)).await;
        assert_eq!(near.write(b"!").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(near.write(b"!").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_reset_discards_unread_bytes_or_not_as_the_seed_says() {
    let mut kept = 0;
    for seed in 0..64 {
        kept += block_on(seed, async |network| {
            let (mut near, far) = pair(&network).await;
            near.write_all(b"unread").await.unwrap();
            tokio::time::sleep(millis(1)).await;
            near.reset();
            tokio::time::sleep(millis(1)).await;
            let mut far = far;
            let mut got = Vec::new();
            assert_eq!(far.read_to_end(&mut got).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert!(got.is_empty() || got == b"unread");
            usize::from(!got.is_empty())
        });
    }
    assert!((10..=54).contains(&kept), "{kept} of 64");
}

#[test]
fn a_link_breaks_after_so_many_bytes() {
    for seed in 0..10 {
        block_on(seed, async |network| {
            network.set_default(LinkOptions { reset_after: Some(100..=100), ..LinkOptions::default() });
            let (mut near, mut far) = pair(&network).await;
            let mut all = 0;
            let error = loop {
                match near.write(&[0; 30]).await {
                    Ok(count) => all += count,
                    Err(why) => break why,
                }
                tokio::time::sleep(millis(1)).await;
            };
            assert_eq!((error.kind(), all), (ErrorKind::ConnectionReset, 100));
            let mut got = Vec::new();
            assert!(far.read_to_end(&mut got).await.is_err());
            assert!(got.len() <= 100);
        });
    }
}

#[test]
fn a_cancelled_connect_leaves_nothing_behind() {
    block_on(1, async |network| {
        network.set_default(LinkOptions { latency: millis(100)..=millis(100), ..LinkOptions::default() });
        let (a, b) = (network.host("a"), network.host("b"));
        let listener = network.listen(b, 80).unwrap();
        let connect = network.connect(a, b.socket(80));
        assert!(tokio::time::timeout(millis(150), connect).await.is_err());
        assert_eq!(network.open_descriptors(a), 0);
        let mut far = listener.accept().await.unwrap();
        assert_eq!(far.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_thousand_idle_connections_cost_nothing_while_time_passes() {
    block_on(1, async |network| {
        let (a, b) = (network.host("a"), network.host("b"));
        let listener = network.listen(b, 80).unwrap();
        let mut held = Vec::new();
        for _ in 0..1000 {
            held.push(network.connect(a, b.socket(80)).await.unwrap());
            held.push(listener.accept().await.unwrap());
        }
        let before = network.random_state();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(network.random_state(), before, "nothing was drawn, so nothing was done");
    });
}
