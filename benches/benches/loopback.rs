//! Echo servers side by side over loopback: processor time per message, and memory per idle connection.
//!
//! `cargo bench -p workerman-benches --bench loopback -- [--rounds N] [--seconds S] [--case TEXT] [--server TEXT]
//! [--idle N]`. A round gives each server S seconds, in turns of at most a quarter of a second, so that what else the
//! machine does meets all of them alike. Each ratio is taken within its round; what is shown is the median of the
//! rounds, with the least and the greatest.
#![forbid(unsafe_code)]

use std::error::Error;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    println!("skipped: the loopback comparison runs on Linux only");
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::time::Duration;

    use workerman_benches::arguments::Arguments;
    use workerman_benches::meter;
    use workerman_benches::process::{Process, Server, processors, raise_open_files};
    use workerman_benches::rounds;
    use workerman_benches::traffic::Tally;
    use workerman_benches::wire::Wire;

    const CONNECTIONS: usize = 64;
    const IDLE: usize = 10_000;
    const FLOOR: &str = "floor";
    const OUR_EPOLL: &str = "workerman-epoll";
    const OUR_TOKIO: &str = "workerman-tokio";
    /// What precedes each turn unmeasured, in seconds.
    const WARM_UP: f64 = 0.05;
    /// More than a load generator may take beyond its measured time.
    const GRACE: Duration = Duration::from_secs(30);

    struct Case {
        name: &'static str,
        wire: Wire,
        size: usize,
        outstanding: usize,
    }

    const CASES: [Case; 5] = [
        Case { name: "raw-64", wire: Wire::Tcp, size: 64, outstanding: 1 },
        Case { name: "raw-64-x16", wire: Wire::Tcp, size: 64, outstanding: 16 },
        Case { name: "text-64-x16", wire: Wire::Text, size: 64, outstanding: 16 },
        Case { name: "frame-64-x16", wire: Wire::Frame, size: 64, outstanding: 16 },
        Case { name: "raw-16k", wire: Wire::Tcp, size: 16 * 1024, outstanding: 1 },
    ];

    struct Contender {
        name: &'static str,
        program: PathBuf,
        event_loop: Option<&'static str>,
    }

    struct Setting {
        rounds: usize,
        seconds: f64,
        idle: usize,
        case: Option<String>,
        /// The servers' processor and the load generator's.
        processors: Option<(usize, usize)>,
    }

    pub(crate) fn main() -> Result<(), Box<dyn Error>> {
        let mut arguments = Arguments::of_process();
        // Without `--bench` this is `cargo test`: show that it works, measure nothing.
        let measure = arguments.flag("--bench");
        // Two ends of each idle connection are in two processes; each needs some descriptors for other things.
        let most_idle = raise_open_files(IDLE as u64 * 2)?.saturating_sub(100) as usize;
        let idle = arguments.option("--idle")?.unwrap_or(if measure { IDLE } else { 100 });
        let setting = Setting {
            rounds: arguments.option("--rounds")?.unwrap_or(if measure { 7 } else { 1 }),
            seconds: arguments.option("--seconds")?.unwrap_or(if measure { 1.0 } else { 0.05 }),
            idle: idle.min(most_idle),
            case: arguments.option("--case")?,
            processors: two_processors()?,
        };
        let only: Option<String> = arguments.option("--server")?;
        arguments.finish()?;

        let contenders = contenders(only.as_deref());
        for case in CASES.iter().filter(|case| setting.wants(case.name)) {
            compare(case, &contenders, &setting)?;
        }
        if setting.wants("idle") {
            idle_memory(&contenders, &setting)?;
        }
        Ok(())
    }

    impl Setting {
        fn wants(&self, case: &str) -> bool {
            self.case.as_deref().is_none_or(|text| case.contains(text))
        }

        /// Starts the load generator on `server`.
        fn load(&self, wire: Wire, server: &Server, options: &[(&str, String)]) -> io::Result<Process> {
            let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
            command.arg(wire.name()).arg(server.address().to_string());
            for (name, value) in options {
                command.arg(name).arg(value);
            }
            Process::start(&mut command, self.processors.map(|(_, load)| load))
        }

        /// One turn of one server, in seconds.
        fn measure(&self, case: &Case, server: &Server, turn: f64) -> Result<Tally, Box<dyn Error>> {
            let options = [
                ("--connections", CONNECTIONS.to_string()),
                ("--outstanding", case.outstanding.to_string()),
                ("--size", case.size.to_string()),
                ("--seconds", turn.to_string()),
                ("--warm-up", WARM_UP.to_string()),
                ("--pid", server.id().to_string()),
            ];
            let load = self.load(case.wire, server, &options)?;
            Ok(load.line(Duration::from_secs_f64(turn) + GRACE)?.parse()?)
        }
    }

    fn two_processors() -> io::Result<Option<(usize, usize)>> {
        let processors = processors()?;
        let [server, load, ..] = processors[..] else {
            println!("note: one processor only, nothing is pinned, and the figures mean little");
            return Ok(None);
        };
        Ok(Some((server, load)))
    }

    /// The floor, always, and the servers that exist and are wanted.
    fn contenders(only: Option<&str>) -> Vec<Contender> {
        let floor = Path::new(env!("CARGO_BIN_EXE_floor"));
        let plain = Path::new(env!("CARGO_BIN_EXE_plain-tokio"));
        let ours = floor.with_file_name("bench-server");
        let all = [
            Contender { name: FLOOR, program: floor.into(), event_loop: None },
            Contender { name: "plain-tokio", program: plain.into(), event_loop: None },
            Contender { name: OUR_EPOLL, program: ours.clone(), event_loop: Some("epoll") },
            Contender { name: OUR_TOKIO, program: ours, event_loop: Some("tokio") },
        ];
        let wanted = |contender: &Contender| {
            contender.name == FLOOR || only.is_none_or(|text| contender.name.contains(text))
        };
        let exists = |contender: &Contender| {
            let exists = contender.program.exists();
            if !exists {
                println!("skipped: {}, because its program is not built", contender.name);
            }
            exists
        };
        all.into_iter().filter(wanted).filter(exists).collect()
    }

    impl Contender {
        fn start(&self, wire: Wire, setting: &Setting) -> io::Result<Server> {
            let mut command = Command::new(&self.program);
            command.args([wire.name(), "127.0.0.1:0"]);
            if let Some(event_loop) = self.event_loop {
                command.env("WORKERMAN_EVENT_LOOP", event_loop);
            }
            Server::start(&mut command, setting.processors.map(|(server, _)| server))
        }
    }

    fn compare(case: &Case, contenders: &[Contender], setting: &Setting) -> Result<(), Box<dyn Error>> {
        let Case { name, wire, size, outstanding } = case;
        let Setting { rounds, seconds, .. } = setting;
        println!(
            "\n{name}: {wire}, {size} B, {CONNECTIONS} connections with {outstanding} outstanding, \
             {rounds} rounds of {seconds} s"
        );
        let servers: Vec<Server> =
            contenders.iter().map(|contender| contender.start(*wire, setting)).collect::<Result<_, _>>()?;
        let tallies = rounds::alternate(servers.len(), *rounds, *seconds, |index, turn| {
            let tally = setting.measure(case, &servers[index], turn);
            tally.map(Some).map_err(|error| format!("{}: {error}", contenders[index].name))
        })?;
        rounds::print_table("message", contenders.iter().map(|contender| contender.name), &tallies);
        let rounds_of = |name| contenders.iter().position(|contender| contender.name == name);
        if let (Some(tokio), Some(epoll)) = (rounds_of(OUR_TOKIO), rounds_of(OUR_EPOLL)) {
            if let Some(ratio) = rounds::ratio(&tallies[tokio], &tallies[epoll]) {
                println!("{OUR_TOKIO} to {OUR_EPOLL}: {ratio}");
            }
        }
        Ok(())
    }

    /// Memory of each server per idle connection, after one exchange on each.
    fn idle_memory(contenders: &[Contender], setting: &Setting) -> Result<(), Box<dyn Error>> {
        let connections = setting.idle;
        println!("\nidle: memory (PSS) per connection, {connections} connections after one exchange each");
        for contender in contenders {
            let server = contender.start(Wire::Tcp, setting)?;
            // What the first connection makes the server set up once is not the others' cost.
            let first = [("--idle", "1".to_owned())];
            setting.load(Wire::Tcp, &server, &first)?.line(GRACE)?;
            let before = meter::memory(server.id())?;
            let load = setting.load(Wire::Tcp, &server, &[("--idle", connections.to_string())])?;
            let line = load.line(GRACE)?;
            if line != format!("idle {connections}") {
                return Err(format!("{}: {line}", contender.name).into());
            }
            let grown = meter::memory(server.id())?.saturating_sub(before);
            println!("{:<16} {:>8.0} B", contender.name, grown as f64 / connections as f64);
        }
        Ok(())
    }
}
