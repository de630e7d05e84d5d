//! Datagram sockets.

use workerman_event::Backend;

use super::{Event, Rig, World, pattern};

pub async fn datagrams_keep_their_bounds<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let (socket, address) = world.datagram();
    let id = rig.io.open_datagram(socket).unwrap();
    let (post, from) = world.post();
    let sizes = [1, 0, 1000, 9000, 3];
    for (at, size) in sizes.into_iter().enumerate() {
        W::post_to(&post, address, &pattern(at, size)).await;
        rig.until("the datagram", |_, log| log.events.len() == at + 1).await;
        assert_eq!(rig.log.events[at], Event::Datagram(id, from, pattern(at, size)));
    }
    for (at, size) in sizes.into_iter().enumerate() {
        rig.io.send_datagram(id, Some(from), &pattern(at, size)).unwrap();
        assert_eq!(rig.beside(W::receive(&post)).await, (pattern(at, size), address));
    }
}

pub async fn datagrams_are_read_fairly<W: World>(world: W) {
    const COUNT: usize = 100;
    let mut rig = Rig::new(world.backend());
    let (socket, address) = world.datagram();
    let id = rig.io.open_datagram(socket).unwrap();
    let (post, _) = world.post();
    // They are all there before the first turn, and a turn takes at most four of them: `Rig` counts.
    rig.max_events = 4;
    for at in 0..COUNT {
        W::post_to(&post, address, &pattern(at, 50)).await;
    }
    rig.until("all datagrams", |_, log| log.events.len() == COUNT).await;
    for event in &rig.log.events {
        assert!(matches!(event, Event::Datagram(of, _, payload) if *of == id && payload.len() == 50));
    }
}

pub async fn a_closed_datagram_socket_is_silent<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let (socket, address) = world.datagram();
    let id = rig.io.open_datagram(socket).unwrap();
    let (post, _) = world.post();
    // Closed inside of the turn, with more to read.
    rig.on_event(move |io, _, _| io.close_datagram(id));
    for at in 0..5 {
        W::post_to(&post, address, &pattern(at, 10)).await;
    }
    rig.until("the first", |_, log| !log.events.is_empty()).await;
    rig.settle().await;
    assert_eq!(rig.log.events.len(), 1);
    assert!(rig.io.send_datagram(id, Some(address), b"x").is_err());
}
