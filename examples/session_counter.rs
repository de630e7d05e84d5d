//! How often each browser was here, counted in a session; with a folder, the counts outlive the server.
//!
//! ```sh
//! cargo run --release --example session_counter      # or: -- 127.0.0.1:2345 FOLDER
//! curl -c jar -b jar http://localhost:2345/          # visit 1, and so on
//! curl -c jar -b jar http://localhost:2345/forget
//! ```
#![forbid(unsafe_code)]

use workerman::http::StatusCode;
use workerman::http::session::{FileStore, MemoryStore, SessionError, Sessions};
use workerman::prelude::*;

fn main() -> workerman::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:2345".to_owned());
    let sessions = match arguments.next() {
        // Shared by all processes that use the folder.
        Some(folder) => Sessions::new(FileStore::new(folder)?),
        None => Sessions::new(MemoryStore::new()),
    };
    Worker::http(address)
        .name("session_counter")
        .on_message_async(async move |_, request| match request.path() {
            "/" => count(&sessions, &request).await,
            "/forget" => forget(&sessions, &request).await,
            _ => Ok(Response::new(StatusCode::NOT_FOUND)),
        })
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}

/// The session is this request's until it is saved: two tabs that load at once make two visits.
async fn count(sessions: &Sessions, request: &Request) -> Result<Response, SessionError> {
    let mut session = sessions.open(request).await?;
    let visits = session.get("visits").unwrap_or(0) + 1;
    session.set("visits", visits);
    let mut answer = format!("visit {visits}\n");
    // A value for the next page only.
    if let Some(note) = session.pull::<String>("note") {
        answer = format!("{note}\n{answer}");
    }
    session.save(Response::text(answer)).await
}

async fn forget(sessions: &Sessions, request: &Request) -> Result<Response, SessionError> {
    let mut session = sessions.open(request).await?;
    session.flush();
    session.set("note", "Everything before is forgotten.");
    session.save(Response::redirect("/")).await
}
