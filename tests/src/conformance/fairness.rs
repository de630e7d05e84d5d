//! Nobody takes it all.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workerman_event::Backend;

use super::streams::pair;
use super::{Event, Rig, World};

pub async fn a_flood_starves_nobody<W: World>(world: W) {
    const ROUNDS: usize = 50;
    let (mut rig, flooded, mut flood) = pair(&world).await;
    let (listener, address) = world.listener();
    rig.listen(listener);
    let mut calm = rig.beside(world.connect(&address)).await.unwrap();
    rig.until("accepting", |_, log| log.tokens().len() == 2).await;
    rig.on_event(move |io, log, event| {
        let Event::Data(token, _) = event else { return };
        let bytes = log.take_bytes(*token);
        if *token != flooded {
            assert_eq!(io.send(*token, &mut &bytes[..]).unwrap(), bytes.len());
        }
    });
    // The flood goes on until everything else is done.
    let over = Rc::new(Cell::new(false));
    let (stop, flooding) = (over.clone(), Rc::new(Cell::new(0_u64)));
    let count = flooding.clone();
    let flood = tokio::task::spawn_local(async move {
        let block = vec![0; 256 * 1024];
        while !stop.get() {
            flood.write_all(&block).await.unwrap();
            count.set(count.get() + 1);
            tokio::task::yield_now().await;
        }
        flood
    });
    let user = tokio::task::spawn_local(async {
        for _ in 0..ROUNDS {
            tokio::task::yield_now().await;
        }
    });
    rig.beside(async {
        for round in 0..ROUNDS {
            calm.write_all(&[round as u8; 10]).await.unwrap();
            let mut echo = [0; 10];
            calm.read_exact(&mut echo).await.unwrap();
            assert_eq!(echo, [round as u8; 10]);
        }
        user.await.unwrap();
    })
    .await;
    over.set(true);
    rig.beside(flood).await.unwrap();
    assert!(flooding.get() > 0, "there was no flood");
}

/// That no turn reads a connection twice or takes more than its events is checked by [`Rig`] in every test; here
/// there is always more than one read would take, on several connections.
pub async fn a_turn_reads_each_connection_once<W: World>(world: W) {
    const COUNT: usize = 5;
    const LEN: usize = 1 << 20;
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    rig.listen(listener);
    rig.max_events = 3;
    let mut writers = Vec::new();
    for _ in 0..COUNT {
        let mut peer = rig.beside(world.connect(&address)).await.unwrap();
        writers.push(tokio::task::spawn_local(async move {
            peer.write_all(&vec![1; LEN]).await.unwrap();
            peer
        }));
    }
    rig.until("accepting", |_, log| log.tokens().len() == COUNT).await;
    let tokens = rig.log.tokens();
    rig.until("all data", |_, log| tokens.iter().all(|token| log.bytes(*token).len() == LEN)).await;
    // A read has a bound, too.
    let largest =
        rig.log.events.iter().map(|event| if let Event::Data(_, len) = event { *len } else { 0 }).max();
    assert!(largest.unwrap() <= 512 * 1024);
    for writer in writers {
        rig.beside(writer).await.unwrap();
    }
}
