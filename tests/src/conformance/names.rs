//! Name resolution and signals.

use std::net::{Ipv6Addr, SocketAddr};

use workerman_event::{Backend, ResolveId, Signal};

use super::{Event, Rig, World};

async fn resolved<B: Backend>(
    rig: &mut Rig<B>,
    id: ResolveId,
) -> Result<Vec<SocketAddr>, std::io::ErrorKind> {
    let found = |events: &[Event]| {
        events.iter().find_map(|event| match event {
            Event::Resolved(of, result) if *of == id => Some(result.clone()),
            _ => None,
        })
    };
    rig.until("the answer", |_, log| found(&log.events).is_some()).await;
    found(&rig.log.events).unwrap()
}

pub async fn a_literal_needs_no_resolver<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let four = rig.io.resolve("192.0.2.1", 80);
    let six = rig.io.resolve("::1", 81);
    assert_ne!(four, six);
    assert!(rig.log.events.is_empty(), "told inside of the call");
    assert_eq!(resolved(&mut rig, four).await, Ok(vec!["192.0.2.1:80".parse().unwrap()]));
    assert_eq!(resolved(&mut rig, six).await, Ok(vec![SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 81)]));
}

pub async fn a_name_is_resolved<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let (name, address) = world.name();
    // From a rest, so that the call itself has to wake the loop.
    rig.settle().await;
    let id = rig.io.resolve(&name, 443);
    let addresses = resolved(&mut rig, id).await.unwrap();
    assert!(addresses.contains(&SocketAddr::new(address, 443)), "{addresses:?}");
}

pub async fn an_unknown_name_is_an_error<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let id = rig.io.resolve(&world.unknown_name(), 1);
    assert!(resolved(&mut rig, id).await.is_err());
}

pub async fn a_cancelled_look_up_is_silent<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let (name, _) = world.name();
    let cancelled = [rig.io.resolve(&name, 1), rig.io.resolve("192.0.2.1", 1)];
    let kept = rig.io.resolve("192.0.2.2", 2);
    for id in cancelled {
        rig.io.cancel_resolve(id);
        rig.io.cancel_resolve(id);
    }
    resolved(&mut rig, kept).await.unwrap();
    rig.settle().await;
    assert_eq!(rig.log.events.len(), 1);
}

pub async fn a_signal_is_told<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    rig.io.watch_signal(Signal::User1).unwrap();
    rig.io.watch_signal(Signal::User1).unwrap();
    rig.settle().await;
    for round in 1..=2 {
        world.raise(Signal::User1);
        let told =
            |events: &[Event]| events.iter().filter(|event| **event == Event::Signal(Signal::User1)).count();
        rig.until("the signal", |_, log| told(&log.events) == round).await;
    }
    rig.settle().await;
    assert_eq!(rig.log.events.len(), 2);
}
