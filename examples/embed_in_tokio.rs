//! A worker inside a tokio program: it runs on a thread of its own and is a future here. Handlers and the program's
//! tasks talk over tokio channels; a task on any thread may broadcast.
//!
//! ```sh
//! cargo run --release --example embed_in_tokio       # or: -- 127.0.0.1:0
//! nc localhost 2352                                  # lines are counted by a task of the program
//! ```
#![forbid(unsafe_code)]

use tokio::sync::mpsc;
use workerman::prelude::*;

#[tokio::main]
async fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2352".to_owned());
    let (sender, mut lines) = mpsc::channel(64);
    let stopped = stop_signal()?;
    let worker = Worker::text(address)
        .on_message_async(async move |_, line| -> Result<(), mpsc::error::SendError<Line>> {
            // A full channel suspends the handler, and in the end the peer.
            sender.send(line).await
        })
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .bind()?;
    let (handle, mut serving) = (worker.handle(), worker.serve());
    let room = handle.clone();
    tokio::spawn(async move {
        let mut count = 0;
        while let Some(line) = lines.recv().await {
            count += 1;
            // Refused only if it has a line break, which no received line has.
            let _ = room.broadcast(format!("line {count}: {line}"));
        }
    });
    tokio::select! {
        result = &mut serving => return result,
        () = stopped => {}
    }
    handle.stop();
    serving.await
}

/// Signals belong to the program here, so it decides: this is done at the first of SIGINT and SIGTERM.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}
