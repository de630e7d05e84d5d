//! Each case: its servers, in turns, under their load.

use std::error::Error;
use std::io;
use std::process::Command;
use std::time::Duration;

use workerman_benches::arguments::Arguments;
use workerman_benches::meter;
use workerman_benches::process::{Process, Server, processors, raise_open_files};
use workerman_benches::rounds;
use workerman_benches::spread::Spread;
use workerman_benches::traffic::Tally;

use crate::bars::{self, Figures};
use crate::contender::{self, Contender, FLOOR};
use crate::field::{Case, Field, What};

const IDLE: usize = 10_000;
/// What precedes each turn unmeasured, in seconds.
const WARM_UP: f64 = 0.05;
/// More than a load generator may take beyond its measured time.
const GRACE: Duration = Duration::from_secs(60);

struct Setting {
    rounds: usize,
    seconds: f64,
    connections: Option<usize>,
    idle: usize,
    case: Option<String>,
    /// The servers' processor and the load generator's.
    processors: Option<(usize, usize)>,
}

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
        connections: arguments.option("--connections")?,
        idle: idle.min(most_idle),
        case: arguments.option("--case")?,
        processors: two_processors()?,
    };
    let only: Option<String> = arguments.option("--peer")?;
    arguments.finish()?;

    let wanted = |name: &str| only.as_deref().is_none_or(|text| name.contains(text));
    for field in Field::ALL {
        let cases: Vec<Case> = field.cases().into_iter().filter(|case| setting.wants(case)).collect();
        if cases.is_empty() {
            continue;
        }
        let mut contenders = contender::own(wanted);
        if measure {
            contenders.extend(contender::peers(field, wanted)?);
        }
        let mut figures = Figures::default();
        for case in &cases {
            match case.what {
                What::Traffic { .. } => traffic(case, &contenders, &setting, &mut figures)?,
                What::Idle { .. } => idle_memory(case, &contenders, &setting, &mut figures)?,
            }
        }
        bars::print(field, &contenders, &figures);
    }
    Ok(())
}

impl Setting {
    fn wants(&self, case: &Case) -> bool {
        self.case.as_deref().is_none_or(|text| case.to_string().contains(text))
    }

    /// Starts the load generator on the server of `contender`.
    fn load(
        &self,
        case: &Case,
        (contender, server): &(&Contender, Server),
        options: &[(&str, String)],
    ) -> io::Result<Process> {
        let mut command = Command::new(case.field.load());
        command.arg(server.address().to_string()).args(["--case", case.load]);
        command.args(contender.load_options(case));
        for (name, value) in options {
            command.arg(name).arg(value);
        }
        if case.what == (What::Idle { deflate: true }) {
            command.arg("--deflate");
        }
        Process::start(&mut command, self.processors.map(|(_, load)| load))
    }

    /// One turn of one server, in seconds.
    fn measure(
        &self,
        case: &Case,
        server: &(&Contender, Server),
        connections: usize,
        turn: f64,
    ) -> Result<Tally, Box<dyn Error>> {
        let options = [
            ("--connections", self.connections.unwrap_or(connections).to_string()),
            ("--seconds", turn.to_string()),
            ("--warm-up", WARM_UP.to_string()),
            ("--pid", server.1.id().to_string()),
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

/// Starts all; one that does not start is named and left out.
fn start<'a>(
    contenders: &'a [Contender],
    case: &Case,
    setting: &Setting,
) -> impl Iterator<Item = (&'a Contender, Server)> {
    let processor = setting.processors.map(|(server, _)| server);
    contenders.iter().filter(|contender| contender.takes_part(case)).filter_map(move |contender| {
        match contender.start(case, processor) {
            Ok(server) => Some((contender, server)),
            Err(error) => {
                println!("no figures: {}, because it does not start: {error}", contender.name);
                None
            }
        }
    })
}

fn traffic(
    case: &Case,
    contenders: &[Contender],
    setting: &Setting,
    figures: &mut Figures,
) -> Result<(), Box<dyn Error>> {
    let What::Traffic { unit, connections, outstanding } = case.what else { return Ok(()) };
    println!(
        "\n{case}: {} connections with {outstanding} outstanding, {} rounds of {} s",
        setting.connections.unwrap_or(connections),
        setting.rounds,
        setting.seconds
    );
    let servers: Vec<(&Contender, Server)> = start(contenders, case, setting).collect();
    let tallies = rounds::alternate(servers.len(), setting.rounds, setting.seconds, |index, turn| {
        let (contender, _) = &servers[index];
        match setting.measure(case, &servers[index], connections, turn) {
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
    rounds::print_table(unit, names.clone(), &tallies);
    for (name, rounds) in names.zip(&tallies) {
        if let Some(Spread { median, .. }) = rounds::ratio(rounds, &tallies[0]) {
            figures.put(case, name, median);
        }
    }
    Ok(())
}

/// Memory of each server per idle connection, after one exchange on each.
fn idle_memory(
    case: &Case,
    contenders: &[Contender],
    setting: &Setting,
    figures: &mut Figures,
) -> Result<(), Box<dyn Error>> {
    let connections = setting.idle;
    println!("\n{case}: memory (PSS) per connection, {connections} connections after one exchange each");
    for server in start(contenders, case, setting) {
        let name = &server.0.name;
        match memory_per_connection(case, &server, connections, setting) {
            Ok(bytes) => {
                println!("{name:<26} {bytes:>8.0} B");
                figures.put(case, name, bytes);
            }
            Err(error) => println!("no figures: {name}, {error}"),
        }
    }
    Ok(())
}

fn memory_per_connection(
    case: &Case,
    server: &(&Contender, Server),
    connections: usize,
    setting: &Setting,
) -> Result<f64, Box<dyn Error>> {
    let process = server.1.id();
    // What the first connection makes the server set up once is not the others' cost.
    setting.load(case, server, &[("--idle", "1".to_owned())])?.line(GRACE)?;
    let before = meter::memory(process)?;
    let load = setting.load(case, server, &[("--idle", connections.to_string())])?;
    let line = load.line(GRACE)?;
    if line != format!("idle {connections}") {
        return Err(failure(&line).unwrap_or(line).into());
    }
    Ok(meter::memory(process)?.saturating_sub(before) as f64 / connections as f64)
}
