//! A chat room for `nc` and telnet. The first line you type is your name; every later line goes to all others as
//! `name: line`. Who joins and who leaves is told to the rest.
//!
//! ```sh
//! cargo run --release --example text_chat                 # or: -- 127.0.0.1:0
//! nc localhost 2346                                  # in two terminals, or telnet localhost 2346
//! ```
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Mutex;

use workerman::prelude::*;

/// The names that are taken: the state of the worker.
type Names = Mutex<BTreeSet<String>>;

/// What a connection is called, attached to it once it has told.
struct Name(String);

fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:2346".to_owned());
    Worker::text(address)
        .name("chat")
        .protocol(Text::new().max_message(4096))
        .max_connections(10_000)
        .state(async |_| Ok(Names::default()))
        .on_connect(|conn| conn.send("Welcome! What is your name?"))
        .on_message(|conn, line| -> workerman::Result<Option<String>> {
            // Whatever a peer sends ends up on the terminals of others: no escape sequences.
            let line: String = line.to_string_lossy().chars().filter(|c| !c.is_control()).collect();
            match conn.get::<Name>() {
                Some(name) => tell_others(conn, format!("{}: {line}", name.0)).map(|()| None),
                None => join(conn, line.trim()).map(Some),
            }
        })
        .on_close(|conn, reason| -> workerman::Result<()> {
            let Some(name) = conn.get::<Name>() else { return Ok(()) };
            conn.state::<Names>().lock().unwrap().remove(&name.0);
            match reason {
                CloseReason::Shutdown => Ok(()),
                _ => tell_others(conn, format!("* {} has left", name.0)),
            }
        })
        .on_worker_stop(|chat| chat.broadcast("* The chat closes.").map(drop))
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}

/// Gives a connection its name; returns what to answer.
fn join(conn: &Connection<Text>, name: &str) -> workerman::Result<String> {
    if name.is_empty() || name.chars().count() > 32 || name.contains(':') {
        return Ok("A name has 1 to 32 characters and no colon; try another one.".to_owned());
    }
    if !conn.state::<Names>().lock().unwrap().insert(name.to_owned()) {
        return Ok(format!("{name} is here already; try another name."));
    }
    conn.set(Name(name.to_owned()));
    tell_others(conn, format!("* {name} has joined"))?;
    Ok(format!("Hello {name}! Every line you type goes to all others."))
}

/// Sends a line to all who have a name, but not to this one.
fn tell_others(conn: &Connection<Text>, line: String) -> workerman::Result<()> {
    conn.worker().broadcast_except(line, |other| other == conn || other.get::<Name>().is_none())?;
    Ok(())
}
