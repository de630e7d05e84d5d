//! A clock that the server pushes to every page that is open: server-sent events.
//!
//! ```sh
//! cargo run --release --example sse_clock            # then open http://localhost:2345/, or:
//! curl -N http://localhost:2345/time
//! ```
#![forbid(unsafe_code)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use workerman::http::routes::Routes;
use workerman::http::{every, sse};
use workerman::prelude::*;

const PAGE: &str = include_str!("sse_clock.html");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:2345".to_owned());
    // HEAD is answered as GET is, and other methods with what there is.
    let routes = Routes::builder()
        .get("/", |_| Response::html(PAGE))
        .get("/time", |request| time(request.last_event_id()))
        .build()?;
    Worker::http(address)
        .name("sse_clock")
        .routes(routes)
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()?;
    Ok(())
}

/// The time, once a second, until the page is closed.
fn time(last: Option<&str>) -> Response {
    let (sender, events) = sse::channel(4);
    if let Some(last) = last {
        // A browser that lost its connection says which event was its last one.
        let _ = sender.try_send(sse::Event::new(format!("welcome back, after {last}")).event("note"));
    }
    drop(workerman::spawn(async move {
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let (hour, minute, second) = (now / 3600 % 24, now / 60 % 60, now % 60);
            let event = sse::Event::new(format!("{hour:02}:{minute:02}:{second:02} UTC")).id(now.to_string());
            if sender.send(event).await.is_err() || sleep(Duration::from_secs(1)).await.is_err() {
                // The page is gone.
                return;
            }
        }
    }));
    Response::events(sse::keep_alive(events, every(Duration::from_secs(15))))
}
