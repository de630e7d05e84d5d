//! Partitions, crashes, refusals, full queues, descriptors that run out, lost datagrams.

use std::io::ErrorKind;
use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::sim::{LinkOptions, block_on};

#[test]
fn a_partition_holds_everything_back_and_healing_delivers_it_in_order() {
    for seed in 0..10 {
        block_on(seed, async |network| {
            network.set_default(LinkOptions {
                segment: 1..=3,
                latency: millis(1)..=millis(9),
                ..LinkOptions::default()
            });
            let (a, b) = (network.host("a"), network.host("b"));
            let listener = network.listen(b, 80).unwrap();
            let mut near = network.connect(a, b.socket(80)).await.unwrap();
            let mut far = listener.accept().await.unwrap();
            network.partition(a, b);
            near.write_all(b"held ").await.unwrap();
            near.write_all(b"back").await.unwrap();
            near.shutdown().await.unwrap();
            let second = tokio::spawn({
                let network = network.clone();
                async move { network.connect(a, b.socket(80)).await }
            });
            let mut one = [0; 1];
            assert!(tokio::time::timeout(Duration::from_secs(60), far.read(&mut one)).await.is_err());
            assert!(!second.is_finished());
            network.heal(a, b);
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"held back");
            second.await.unwrap().unwrap();
        });
    }
}

#[test]
fn a_one_way_partition_lets_the_other_way_through() {
    block_on(1, async |network| {
        let (a, b) = (network.host("a"), network.host("b"));
        let listener = network.listen(b, 80).unwrap();
        let mut near = network.connect(a, b.socket(80)).await.unwrap();
        let mut far = listener.accept().await.unwrap();
        network.partition_one_way(a, b);
        near.write_all(b"lost in time").await.unwrap();
        far.write_all(b"here").await.unwrap();
        let mut got = [0; 4];
        near.read_exact(&mut got).await.unwrap();
        assert!(tokio::time::timeout(millis(10), far.read(&mut got)).await.is_err());
    });
}

#[test]
fn connects_are_refused_unreachable_or_hang() {
    block_on(1, async |network| {
        network.set_default(LinkOptions { latency: millis(5)..=millis(5), ..LinkOptions::default() });
        let (a, b) = (network.host("a"), network.host("b"));
        let refused = network.connect(a, b.socket(80)).await.unwrap_err();
        assert_eq!((refused.kind(), network.elapsed()), (ErrorKind::ConnectionRefused, millis(10)));
        let nobody: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let unreachable = network.connect(a, nobody).await.unwrap_err();
        assert_eq!(unreachable.kind(), ErrorKind::HostUnreachable);
        network.partition(a, b);
        let hang = network.connect(a, b.socket(80));
        assert!(tokio::time::timeout(Duration::from_secs(9), hang).await.is_err());
        assert_eq!((network.open_descriptors(a), network.open_descriptors(b)), (0, 0));
    });
}

#[test]
fn addresses_are_bound_once_and_reached_as_they_should_be() {
    block_on(1, async |network| {
        let (a, b) = (network.host("a"), network.host("b"));
        let options = ListenOptions::default();
        let any: SocketAddr = "0.0.0.0:80".parse().unwrap();
        let local: SocketAddr = "127.0.0.1:81".parse().unwrap();
        let held = network.bind(b, any, &options).unwrap();
        let kind = |result: io::Result<_>| result.map(drop).map_err(|why| why.kind());
        assert_eq!(kind(network.bind(b, any, &options)), Err(ErrorKind::AddrInUse));
        assert_eq!(kind(network.bind(b, b.socket(80), &options)), Err(ErrorKind::AddrInUse));
        assert_eq!(kind(network.bind(b, a.socket(80), &options)), Err(ErrorKind::AddrNotAvailable));
        assert_eq!(kind(network.bind(a, any, &options)), Ok(()), "another host");
        let _loopback = network.bind(b, local, &options).unwrap();
        assert!(network.connect(a, b.socket(80)).await.is_ok());
        assert!(network.connect(b, SocketAddr::from(([127, 0, 0, 1], 80))).await.is_ok());
        assert!(network.connect(b, local).await.is_ok());
        assert!(network.connect(a, b.socket(81)).await.is_err(), "loopback from elsewhere");
        assert!(network.connect(a, local).await.is_err(), "its own loopback");
        drop(held);
        let _again = network.bind(b, any, &options).unwrap();
        let (one, two) = (network.listen(b, 0).unwrap(), network.listen(b, 0).unwrap());
        assert_ne!(one.local_address(), two.local_address());

        let dual: SocketAddr = "[::]:90".parse().unwrap();
        let listener = network.bind(b, dual, &options).unwrap();
        let _four = network.connect(a, b.socket(90)).await.unwrap();
        let peer = listener.accept().await.unwrap().peer_address().unwrap().ip().unwrap();
        assert!(matches!(peer, IpAddr::V6(six) if six.to_ipv4_mapped().is_some()));
        let _six = network.connect(a, SocketAddr::new(b.ipv6(), 90)).await.unwrap();
        assert_eq!(listener.accept().await.unwrap().peer_address().unwrap().ip(), Some(a.ipv6()));
    });
}

#[test]
fn unix_paths_are_addresses_of_one_host() {
    block_on(1, async |network| {
        let (a, b) = (network.host("a"), network.host("b"));
        let path = Address::from(std::path::PathBuf::from("/run/app.sock"));
        let missing = network.connect(a, path.clone()).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let listener = network.bind(a, path.clone(), &ListenOptions::default()).unwrap();
        assert!(network.connect(b, path.clone()).await.is_err());
        let near = network.connect(a, path.clone()).await.unwrap();
        let far = listener.accept().await.unwrap();
        assert_eq!(near.peer_address().unwrap(), path);
        assert_eq!(far.peer_address().unwrap(), Address::Unix(None));
    });
}

#[test]
fn a_full_queue_makes_handshakes_wait() {
    block_on(1, async |network| {
        let (a, b) = (network.host("a"), network.host("b"));
        let listener = network.bind(b, b.socket(80), &ListenOptions::default().backlog(2)).unwrap();
        let _first = network.connect(a, b.socket(80)).await.unwrap();
        let _second = network.connect(a, b.socket(80)).await.unwrap();
        let third = network.connect(a, b.socket(80));
        assert!(tokio::time::timeout(millis(100), third).await.is_err());
        let fourth = tokio::spawn({
            let network = network.clone();
            async move { network.connect(a, b.socket(80)).await }
        });
        tokio::time::sleep(millis(1)).await;
        let _accepted = listener.accept().await.unwrap();
        assert!(fourth.await.unwrap().is_ok(), "the one that has given up is skipped");
    });
}

#[test]
fn a_crashed_host_resets_its_peers_and_has_no_listeners() {
    block_on(1, async |network| {
        let (mut io, host, _) = server(&network);
        let mut sink = Recorder::default();
        let a = network.host("a");
        let near = network.connect(a, host.socket(80)).await.unwrap();
        turns(&mut io, &mut sink, |sink| !sink.accepted().is_empty()).await;
        network.reset_all(host);
        let mut near = near;
        assert_eq!(near.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        turns(&mut io, &mut sink, |sink| sink.seen.len() == 3).await;
        assert_eq!(sink.count(|one| *one == Seen::AcceptFailed(0)), 1);
        assert_eq!(sink.count(|one| matches!(one, Seen::Failed(_, ErrorKind::ConnectionReset))), 1);
        assert!(network.connect(a, host.socket(80)).await.is_err());
        assert_eq!(network.open_descriptors(host), 0);
        let listener = io.bind(&host.socket(80).into(), &ListenOptions::default()).unwrap();
        io.listen(listener).unwrap();
        assert!(network.connect(a, host.socket(80)).await.is_ok(), "it has come up again");
    });
}

#[test]
fn a_loop_survives_running_out_of_descriptors() {
    block_on(1, async |network| {
        let (mut io, host, _) = server(&network);
        let mut sink = Recorder::default();
        network.set_descriptor_limit(host, 2); // the listener and one connection
        let a = network.host("a");
        let mut peers = Vec::new();
        for _ in 0..3 {
            peers.push(network.connect(a, host.socket(80)).await.unwrap());
        }
        turns(&mut io, &mut sink, |sink| sink.seen.len() == 2).await;
        assert_eq!((sink.accepted().len(), sink.count(|one| *one == Seen::AcceptFailed(2))), (1, 1));
        assert_eq!(peers[1].read(&mut [0; 1]).await.unwrap(), 0, "shed");
        assert_eq!(io.connect(&a.socket(1).into()).unwrap_err().kind(), too_many().kind());

        // One that comes during the back-off is served when a descriptor has returned.
        let _late = network.connect(a, host.socket(80)).await.unwrap();
        io.close(sink.accepted()[0]);
        turns(&mut io, &mut sink, |sink| sink.accepted().len() == 2).await;
        assert_eq!(network.elapsed(), millis(100));
    });
}

fn too_many() -> io::Error {
    super::super::state::too_many_files()
}

#[test]
fn datagrams_travel_get_lost_and_overtake_each_other() {
    block_on(5, async |network| {
        let (a, b) = (network.host("a"), network.host("b"));
        let near = network.bind_datagram(a, a.socket(0)).unwrap();
        let far = network.bind_datagram(b, b.socket(53)).unwrap();
        network.set_default(LinkOptions { latency: millis(1)..=millis(50), ..LinkOptions::default() });
        for number in 0..20u8 {
            near.send_to(&[number], Some(b.socket(53))).unwrap();
        }
        let mut order = Vec::new();
        for _ in 0..20 {
            let (payload, from) = far.recv_from().await.unwrap();
            assert_eq!(from, near.local_address());
            order.push(payload[0]);
        }
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert!(order.into_iter().eq(0..20));

        network.set_default(LinkOptions { loss: 0.5, ..LinkOptions::default() });
        for _ in 0..100 {
            near.send_to(b"?", Some(b.socket(53))).unwrap();
        }
        tokio::time::sleep(millis(1)).await;
        let mut got = 0;
        while tokio::time::timeout(millis(1), far.recv_from()).await.is_ok() {
            got += 1;
        }
        assert!((20..80).contains(&got), "{got} of 100");

        network.set_default(LinkOptions::default());
        near.connect(b.socket(54)).unwrap();
        near.send_to(b"anybody?", None).unwrap();
        assert_eq!(near.recv_from().await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(near.send_to(&[0; 65_508], None).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}
