//! `websocket-load ADDRESS --case NAME [--connections N] [--seconds S] [--warm-up S] [--pid SERVER] [--prefabricated]
//! [--idle N [--deflate]]`: the load generator for WebSocket.
//!
//! `--prefabricated` is for the floor, which answers messages by another one. With `--idle N` it opens N connections,
//! exchanges a message on each, compressed with `--deflate`, says `idle N`, and waits for a line or the end of its input.
//! What goes wrong with the server is told on the output, too.
#![forbid(unsafe_code)]

use std::error::Error;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    use std::time::Duration;

    use workerman_benches::arguments::Arguments;
    use workerman_benches::process;
    use workerman_benches::traffic::Timing;
    use workerman_benches::websocket::Case;
    use workerman_benches::websocket::load::{self, Plan};

    process::end_with_parent()?;
    let mut arguments = Arguments::of_process();
    let mut seconds = |name, default| -> Result<Duration, Box<dyn Error>> {
        Ok(Duration::try_from_secs_f64(arguments.option(name)?.unwrap_or(default))?)
    };
    let duration = seconds("--seconds", 5.0)?;
    let warm_up = seconds("--warm-up", 0.2)?;
    let idle: Option<usize> = arguments.option("--idle")?;
    let case: Case = arguments.option("--case")?.unwrap_or(Case::ALL[0]);
    let plan = Plan {
        case,
        connections: arguments.option("--connections")?.or(idle).unwrap_or(case.connections()),
        prefabricated: arguments.flag("--prefabricated"),
        deflate: arguments.flag("--deflate"),
        timing: Timing { warm_up, duration, server: arguments.option("--pid")? },
        address: arguments.word("address")?,
    };
    arguments.finish()?;
    process::raise_open_files(plan.connections as u64 + 64)?;
    let done = if idle.is_some() {
        load::idle(&plan).map(|connections| {
            println!("idle {}", connections.len());
            // Their end, and not what is in the line, is waited for.
            let _ = std::io::stdin().read_line(&mut String::new());
        })
    } else {
        load::run(&plan).map(|tally| println!("{tally}"))
    };
    done.map_err(|error| {
        // Whoever waits for the line of figures gets the reason instead.
        println!("failed: {error}");
        error.into()
    })
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("the load generator needs epoll, and so Linux".into())
}
