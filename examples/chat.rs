//! A chat in the browser: one worker serves the page and its WebSocket, on one port.
//!
//! ```sh
//! cargo run --release --example chat                 # then open http://localhost:2346/ in two windows
//! ```
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::{Value, json};
use workerman::http::StatusCode;
use workerman::prelude::*;

const PAGE: &str = include_str!("chat.html");

/// The names that are taken.
static NAMES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// What a connection is called, attached to it once it has told.
struct Name(String);

fn main() -> workerman::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:2346".to_owned());
    let room = Worker::websocket_upgrades()
        .max_message(16 * 1024)
        .on_message(|conn, message| {
            // What is no JSON says nothing.
            let asks: Value = serde_json::from_slice(message.as_bytes()).unwrap_or_default();
            match (conn.get::<Name>(), asks["join"].as_str(), asks["say"].as_str()) {
                (None, Some(name), _) => join(conn, name.trim()),
                (Some(name), _, Some(text)) => {
                    tell_all(conn, &json!({"said": {"from": name.0, "text": text}}))
                }
                _ => Ok(()),
            }
        })
        .on_close(|conn, _| -> workerman::Result<()> {
            let Some(name) = conn.get::<Name>() else { return Ok(()) };
            NAMES.lock().unwrap().remove(&name.0);
            tell_people(conn, &format!("{} has left", name.0))
        })
        .upgrades();
    Worker::http(address)
        .name("chat")
        .on_message(move |_, request| match request.path() {
            "/" => Response::html(PAGE),
            "/socket" => request.upgrade(&room),
            _ => Response::new(StatusCode::NOT_FOUND),
        })
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}

/// Gives a connection its name, if nobody has it.
fn join(conn: &Connection<Websocket>, name: &str) -> workerman::Result<()> {
    let valid = (1..=20).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if !valid || !NAMES.lock().unwrap().insert(name.to_owned()) {
        let why = if valid { "Somebody here has this name." } else { "A name has 1 to 20 characters." };
        return conn.send(json!({ "refused": why }).to_string()).map(|_| ()).map_err(Into::into);
    }
    conn.set(Name(name.to_owned()));
    let _ = conn.send(json!({ "welcome": name }).to_string())?;
    tell_people(conn, &format!("{name} has joined"))
}

/// Tells all that somebody has come or gone, and who is there now.
fn tell_people(conn: &Connection<Websocket>, note: &str) -> workerman::Result<()> {
    let people = NAMES.lock().unwrap().clone();
    tell_all(conn, &json!({"note": note, "people": people}))
}

/// Tells all who have a name.
fn tell_all(conn: &Connection<Websocket>, what: &Value) -> workerman::Result<()> {
    conn.service().broadcast_except(what.to_string(), |other| other.get::<Name>().is_none())?;
    Ok(())
}
