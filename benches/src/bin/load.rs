//! `load tcp|text|frame ADDRESS [--connections N] [--outstanding N] [--size BYTES] [--seconds S] [--warm-up S]
//! [--pid SERVER] [--idle N]`: the load generator.
//!
//! With `--idle N` it opens N connections, exchanges a message on each, says `idle N`, and waits for a line or the
//! end of its input.
#![forbid(unsafe_code)]

use std::error::Error;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    use std::time::Duration;

    use workerman_benches::arguments::Arguments;
    use workerman_benches::load::{self, Plan};
    use workerman_benches::process;
    use workerman_benches::traffic::Timing;

    process::end_with_parent()?;
    let mut arguments = Arguments::of_process();
    let mut seconds = |name, default| -> Result<Duration, Box<dyn Error>> {
        Ok(Duration::try_from_secs_f64(arguments.option(name)?.unwrap_or(default))?)
    };
    let duration = seconds("--seconds", 5.0)?;
    let warm_up = seconds("--warm-up", 0.2)?;
    let idle: Option<usize> = arguments.option("--idle")?;
    let plan = Plan {
        connections: arguments.option("--connections")?.or(idle).unwrap_or(64),
        outstanding: arguments.option("--outstanding")?.unwrap_or(1),
        size: arguments.option("--size")?.unwrap_or(64),
        timing: Timing { warm_up, duration, server: arguments.option("--pid")? },
        wire: arguments.word("protocol (tcp, text or frame)")?,
        address: arguments.word("address")?,
    };
    arguments.finish()?;
    if idle.is_some() {
        process::raise_open_files(plan.connections as u64 + 64)?;
        let connections = load::idle(&plan)?;
        println!("idle {}", connections.len());
        std::io::stdin().read_line(&mut String::new())?;
    } else {
        println!("{}", load::run(&plan)?);
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("the load generator needs epoll, and so Linux".into())
}
