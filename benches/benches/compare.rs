//! HTTP servers side by side over loopback: ours, those of others, and the bare epoll server.
//!
//! `cargo bench -p workerman-benches --bench compare -- [--rounds N] [--seconds S] [--case TEXT] [--peer TEXT] [--idle N]
//! [--connections N]`. It builds the peers first. A round gives each server S seconds, in turns of at most a quarter of a
//! second, so that what else the machine does meets all of them alike. Each ratio is taken within its round; what is
//! shown is the median of the rounds, with the least and the greatest.
#![forbid(unsafe_code)]

use std::error::Error;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    println!("skipped: the HTTP comparison runs on Linux only");
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::error::Error;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use workerman_benches::arguments::Arguments;
    use workerman_benches::http::Case;
    use workerman_benches::meter;
    use workerman_benches::process::{Process, Server, processors, raise_open_files};
    use workerman_benches::rounds;
    use workerman_benches::spread::Spread;
    use workerman_benches::traffic::Tally;

    const CONNECTIONS: usize = 64;
    const IDLE: usize = 10_000;
    const FLOOR: &str = "floor";
    const OURS: &str = "workerman";
    const OURS_ON_TOKIO: &str = "workerman-tokio";
    /// Parses next to nothing, so that it is no measure where parsing is what is left.
    const UNCHECKED: &str = "may_minihttp";
    /// What precedes each turn unmeasured, in seconds.
    const WARM_UP: f64 = 0.05;
    /// More than a load generator may take beyond its measured time.
    const GRACE: Duration = Duration::from_secs(60);
    /// The name of the case that is not in [`Case::ALL`].
    const IDLE_CASE: &str = "idle";
    /// What we want to reach: the ratio of processor time per request to the floor's at most, or bytes per connection.
    const BARS: [(&str, f64); 4] =
        [("plaintext", 1.08), ("plaintext-x16", 1.30), ("new-connection", 1.12), (IDLE_CASE, 512.0)];

    struct Contender {
        name: String,
        program: PathBuf,
        arguments: &'static [&'static str],
        event_loop: Option<&'static str>,
    }

    struct Setting {
        rounds: usize,
        seconds: f64,
        connections: usize,
        idle: usize,
        case: Option<String>,
        /// The servers' processor and the load generator's.
        processors: Option<(usize, usize)>,
    }

    /// By case and contender: the ratio to the floor, or bytes per connection.
    type Figures = BTreeMap<(&'static str, String), f64>;

    pub(crate) fn main() -> Result<(), Box<dyn Error>> {
        let mut arguments = Arguments::of_process();
        // Without `--bench` this is `cargo test`: show that it works, build no peers, measure nothing.
        let measure = arguments.flag("--bench");
        // Two ends of each idle connection are in two processes; each needs some descriptors for other things.
        let most_idle = raise_open_files(IDLE as u64 * 2)?.saturating_sub(100) as usize;
        let idle = arguments.option("--idle")?.unwrap_or(if measure { IDLE } else { 100 });
        let setting = Setting {
            rounds: arguments.option("--rounds")?.unwrap_or(if measure { 7 } else { 1 }),
            seconds: arguments.option("--seconds")?.unwrap_or(if measure { 1.0 } else { 0.05 }),
            connections: arguments.option("--connections")?.unwrap_or(CONNECTIONS),
            idle: idle.min(most_idle),
            case: arguments.option("--case")?,
            processors: two_processors()?,
        };
        let only: Option<String> = arguments.option("--peer")?;
        arguments.finish()?;

        let wanted = |name: &str| only.as_deref().is_none_or(|text| name.contains(text));
        let mut contenders = own(wanted);
        if measure {
            contenders.extend(peers(wanted)?);
        }
        let mut figures = Figures::new();
        for case in Case::ALL.iter().filter(|case| setting.wants(case.name)) {
            compare(case, &contenders, &setting, &mut figures)?;
        }
        if setting.wants(IDLE_CASE) {
            idle_memory(&contenders, &setting, &mut figures)?;
        }
        print_bars(&contenders, &figures);
        Ok(())
    }

    impl Setting {
        fn wants(&self, case: &str) -> bool {
            self.case.as_deref().is_none_or(|text| case.contains(text))
        }

        /// Starts the load generator on `server`.
        fn load(&self, case: &Case, server: &Server, options: &[(&str, String)]) -> io::Result<Process> {
            let mut command = Command::new(env!("CARGO_BIN_EXE_http-load"));
            command.arg(server.address().to_string()).args(["--case", case.name]);
            for (name, value) in options {
                command.arg(name).arg(value);
            }
            Process::start(&mut command, self.processors.map(|(_, load)| load))
        }

        /// One turn of one server, in seconds.
        fn measure(&self, case: &Case, server: &Server, turn: f64) -> Result<Tally, Box<dyn Error>> {
            let options = [
                ("--connections", self.connections.to_string()),
                ("--seconds", turn.to_string()),
                ("--warm-up", WARM_UP.to_string()),
                ("--pid", server.id().to_string()),
            ];
            let load = self.load(case, server, &options)?;
            let line = load.line(Duration::from_secs_f64(turn) + GRACE)?;
            Ok(line.parse().map_err(|error| failure(&line).unwrap_or(error))?)
        }
    }

    /// The reason, if the load generator tells of one.
    fn failure(line: &str) -> Option<String> {
        line.strip_prefix("failed: ").map(str::to_owned)
    }

    fn two_processors() -> io::Result<Option<(usize, usize)>> {
        let processors = processors()?;
        let [server, load, ..] = processors[..] else {
            println!("note: one processor only, nothing is pinned, and the figures mean little");
            return Ok(None);
        };
        Ok(Some((server, load)))
    }

    /// The floor, always, and our server if it is wanted and built.
    fn own(wanted: impl Fn(&str) -> bool) -> Vec<Contender> {
        let floor = Path::new(env!("CARGO_BIN_EXE_floor"));
        let ours = floor.with_file_name("bench-server");
        let mut contenders = vec![Contender {
            name: FLOOR.to_owned(),
            program: floor.into(),
            arguments: &["http"],
            event_loop: None,
        }];
        for (name, event_loop) in [(OURS, "epoll"), (OURS_ON_TOKIO, "tokio")] {
            if !wanted(name) {
                continue;
            }
            if !ours.exists() {
                println!("skipped: {name}, because its program is not built");
                continue;
            }
            contenders.push(Contender {
                name: name.to_owned(),
                program: ours.clone(),
                arguments: &["http"],
                event_loop: Some(event_loop),
            });
        }
        contenders
    }

    /// Builds the peers that are wanted; names those that do not build.
    fn peers(wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Contender>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let mut names: Vec<String> = folder
            .read_dir()?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                entry.path().join("src/main.rs").exists().then(|| entry.file_name().into_string().ok())?
            })
            .filter(|name| wanted(name))
            .collect();
        names.sort();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        println!("building {}", names.join(", "));
        let output = Command::new(folder.join("build")).args(&names).stderr(Stdio::inherit()).output()?;
        let mut contenders = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.splitn(3, ' ').collect::<Vec<_>>()[..] {
                ["built", name, program] => contenders.push(Contender {
                    name: name.to_owned(),
                    program: program.into(),
                    arguments: &[],
                    event_loop: None,
                }),
                ["failed", name, reason] => println!("skipped: {name}, because it does not build: {reason}"),
                _ => {}
            }
        }
        Ok(contenders)
    }

    impl Contender {
        fn start(&self, case: &Case, setting: &Setting) -> io::Result<Server> {
            let mut command = Command::new(&self.program);
            command.args(self.arguments).arg("127.0.0.1:0");
            if self.name == FLOOR {
                command.args(["--case", case.name]);
            }
            if let Some(event_loop) = self.event_loop {
                command.env("WORKERMAN_EVENT_LOOP", event_loop);
            }
            Server::start(&mut command, setting.processors.map(|(server, _)| server))
        }
    }

    /// Starts all; one that does not start is named and left out.
    fn start<'a>(
        contenders: &'a [Contender],
        case: &Case,
        setting: &Setting,
    ) -> impl Iterator<Item = (&'a Contender, Server)> {
        contenders.iter().filter_map(|contender| match contender.start(case, setting) {
            Ok(server) => Some((contender, server)),
            Err(error) => {
                println!("no figures: {}, because it does not start: {error}", contender.name);
                None
            }
        })
    }

    fn compare(
        case: &Case,
        contenders: &[Contender],
        setting: &Setting,
        figures: &mut Figures,
    ) -> Result<(), Box<dyn Error>> {
        println!(
            "\n{}: {} connections with {} outstanding, {} rounds of {} s",
            case.name, setting.connections, case.outstanding, setting.rounds, setting.seconds
        );
        let servers: Vec<(&Contender, Server)> = start(contenders, case, setting).collect();
        let tallies = rounds::alternate(servers.len(), setting.rounds, setting.seconds, |index, turn| {
            let (contender, server) = &servers[index];
            match setting.measure(case, server, turn) {
                Ok(tally) => Ok(Some(tally)),
                // Without it there is nothing to compare with.
                Err(error) if contender.name == FLOOR => Err(error),
                Err(error) => {
                    println!("no figures: {}, {error}", contender.name);
                    Ok(None)
                }
            }
        })?;
        let names = servers.iter().map(|(contender, _)| contender.name.as_str());
        rounds::print_table("request", names.clone(), &tallies);
        for (name, rounds) in names.zip(&tallies) {
            if let Some(Spread { median, .. }) = rounds::ratio(rounds, &tallies[0]) {
                figures.insert((case.name, name.to_owned()), median);
            }
        }
        Ok(())
    }

    /// Memory of each server per idle connection, after one request on each.
    fn idle_memory(
        contenders: &[Contender],
        setting: &Setting,
        figures: &mut Figures,
    ) -> Result<(), Box<dyn Error>> {
        let connections = setting.idle;
        println!(
            "\n{IDLE_CASE}: memory (PSS) per connection, {connections} connections after one request each"
        );
        let case = &Case::ALL[0];
        for (contender, server) in start(contenders, case, setting) {
            match memory_per_connection(case, &server, connections, setting) {
                Ok(bytes) => {
                    println!("{:<16} {bytes:>8.0} B", contender.name);
                    figures.insert((IDLE_CASE, contender.name.clone()), bytes);
                }
                Err(error) => println!("no figures: {}, {error}", contender.name),
            }
        }
        Ok(())
    }

    fn memory_per_connection(
        case: &Case,
        server: &Server,
        connections: usize,
        setting: &Setting,
    ) -> Result<f64, Box<dyn Error>> {
        // What the first connection makes the server set up once is not the others' cost.
        setting.load(case, server, &[("--idle", "1".to_owned())])?.line(GRACE)?;
        let before = meter::memory(server.id())?;
        let load = setting.load(case, server, &[("--idle", connections.to_string())])?;
        let line = load.line(GRACE)?;
        if line != format!("idle {connections}") {
            return Err(failure(&line).unwrap_or(line).into());
        }
        Ok(meter::memory(server.id())?.saturating_sub(before) as f64 / connections as f64)
    }

    /// Our figures beside what we want, and beside the best of the peers.
    fn print_bars(contenders: &[Contender], figures: &Figures) {
        let is_ours = |name: &str| name == FLOOR || name == OURS || name == OURS_ON_TOKIO;
        println!("\n{:<18} {:>9} {:>9}   {:<30} verdict", "bar", OURS, "at most", "best peer");
        for case in Case::ALL.iter().map(|case| case.name).chain([IDLE_CASE]) {
            let figure = |name: &str| figures.get(&(case, name.to_owned())).copied();
            let Some(ours) = figure(OURS) else { continue };
            let bar = BARS.iter().find(|(name, _)| *name == case).map(|&(_, bar)| bar);
            let best = contenders
                .iter()
                .filter(|contender| !is_ours(&contender.name))
                .filter(|contender| case != "plaintext-x16" || contender.name != UNCHECKED)
                .filter_map(|contender| Some((figure(&contender.name)?, contender.name.as_str())))
                .min_by(|(one, _), (other, _)| one.total_cmp(other));
            let mut verdict = match bar {
                Some(bar) if ours <= bar => "met",
                Some(_) => "missed",
                None => "no bar",
            }
            .to_owned();
            verdict += match best {
                Some((best, _)) if ours < best => ", below every peer",
                Some(_) => ", not below every peer",
                None => "",
            };
            let number =
                |value: f64| if case == IDLE_CASE { format!("{value:.0} B") } else { format!("{value:.3}") };
            println!(
                "{case:<18} {:>9} {:>9}   {:<30} {verdict}",
                number(ours),
                bar.map_or("-".to_owned(), number),
                best.map_or("-".to_owned(), |(best, name)| format!("{} {name}", number(best))),
            );
        }
    }
}
