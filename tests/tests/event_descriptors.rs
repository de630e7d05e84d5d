//! Out of file descriptors: a process of its own, since its limit is lowered.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::fs::File;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_tests::conformance::real::{Real, RealBackend};
use workerman_tests::conformance::{Event, Rig, World};

fn limit(descriptors: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum }).unwrap();
}

/// Lowers the limit and uses up all descriptors below it, until what is returned is dropped.
fn exhaust() -> Vec<File> {
    limit(200);
    let mut opened = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => opened.push(file),
            Err(why) => {
                assert_eq!(why.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
                return opened;
            }
        }
    }
}

/// Peers in the queue are shed instead of waiting for ever; the listener tries again, and serves when it can.
async fn survives<B: RealBackend>(world: Real<B>) {
    const COUNT: usize = 10;
    let normal = getrlimit(Resource::Nofile).current.unwrap_or(1024);
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    let id = rig.listen(listener);
    let mut served = rig.beside(world.connect(&address)).await.unwrap();
    rig.until("accepting", |_, log| log.tokens().len() == 1).await;
    let token = rig.log.tokens()[0];
    rig.settle().await;

    let mut peers = Vec::new();
    for _ in 0..COUNT {
        peers.push(world.connect(&address).await.unwrap());
    }
    let exhausted = exhaust();
    let failed =
        |event: &Event| matches!(event, Event::AcceptFailed(listener, shed) if *listener == id && *shed > 0);
    rig.until("shedding", |_, log| log.count(failed) > 0).await;
    for peer in &mut peers {
        let result = rig.beside(peer.read(&mut [0; 8])).await;
        assert!(
            matches!(&result, Ok(0)) || result.is_err_and(|why| why.kind() == io::ErrorKind::ConnectionReset)
        );
    }
    assert_eq!(rig.log.tokens().len(), 1);
    // Who was served before still is.
    rig.beside(served.write_all(b"still here")).await.unwrap();
    assert_eq!(rig.receive(token, 10).await, b"still here");
    // It does not spin meanwhile: between two failures lies a pause.
    let failures = rig.log.count(|event| matches!(event, Event::AcceptFailed(..)));
    assert!(failures <= 1 + COUNT, "{failures} failures");

    drop(exhausted);
    limit(normal);
    let mut late = rig.beside(world.connect(&address)).await.unwrap();
    rig.until("accepting again", |_, log| log.tokens().len() == 2).await;
    let token = rig.log.tokens()[1];
    rig.beside(late.write_all(b"welcome back")).await.unwrap();
    assert_eq!(rig.receive(token, 12).await, b"welcome back");

    // And once more: the reserve was restored.
    drop(peers);
    let mut peer = world.connect(&address).await.unwrap();
    let exhausted = exhaust();
    let before = rig.log.count(failed);
    rig.until("shedding again", |_, log| log.count(failed) > before).await;
    assert!(rig.beside(peer.read(&mut [0; 8])).await.map_or(true, |count| count == 0));
    drop(exhausted);
    limit(normal);
    let mut late = rig.beside(world.connect(&address)).await.unwrap();
    rig.until("accepting again", |_, log| log.tokens().len() == 3).await;
    let token = rig.log.tokens()[2];
    rig.beside(late.write_all(b"hello")).await.unwrap();
    assert_eq!(rig.receive(token, 5).await, b"hello");
    rig.io.unlisten(id);
}

/// One test for all backends: the limit is one for the process.
#[test]
fn a_listener_survives_without_descriptors() {
    Real::<workerman_event::tokio_backend::Tokio>::run(survives);
    #[cfg(target_os = "linux")]
    Real::<workerman_event::epoll::Epoll>::run(survives);
}
