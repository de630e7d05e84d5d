//! The servers: the floor, ours, and those of others.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use workerman_benches::process::Server;

use crate::field::{Case, Field, What};

/// The name of the bare epoll server.
pub(crate) const FLOOR: &str = "floor";
/// The names of ours.
pub(crate) const OURS: &str = "workerman";
pub(crate) const OURS_ON_TOKIO: &str = "workerman-tokio";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Floor,
    Ours { event_loop: &'static str },
    Peer,
}

/// A server that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    program: PathBuf,
}

impl Contender {
    /// Starts it for `case`, on `processor`.
    pub(crate) fn start(&self, case: &Case, processor: Option<usize>) -> io::Result<Server> {
        const ADDRESS: &str = "127.0.0.1:0";
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Floor => {
                command.args([case.field.name(), ADDRESS, "--case", case.load]);
            }
            Kind::Ours { event_loop } => {
                command.args([case.ours, ADDRESS]).env("WORKERMAN_EVENT_LOOP", event_loop);
            }
            Kind::Peer => {
                command.args(case.peers).arg(ADDRESS);
            }
        }
        Server::start(&mut command, processor)
    }

    /// Whether it is one that can be asked for `case`.
    pub(crate) fn takes_part(&self, case: &Case) -> bool {
        self.kind != Kind::Floor || case.what != (What::Idle { deflate: true })
    }

    /// What the load has to be told of it.
    pub(crate) fn load_options(&self, case: &Case) -> &'static [&'static str] {
        if self.kind == Kind::Floor && case.field == Field::WebSocket { &["--prefabricated"] } else { &[] }
    }
}

/// The floor, always, and our server if it is wanted and built.
pub(crate) fn own(wanted: impl Fn(&str) -> bool) -> Vec<Contender> {
    let floor = Path::new(env!("CARGO_BIN_EXE_floor"));
    let ours = floor.with_file_name("bench-server");
    let mut contenders = vec![Contender { name: FLOOR.to_owned(), kind: Kind::Floor, program: floor.into() }];
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
            kind: Kind::Ours { event_loop },
            program: ours.clone(),
        });
    }
    contenders
}

/// Builds the peers of `field` that are wanted; names those that do not build.
pub(crate) fn peers(field: Field, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Contender>> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let mut names: Vec<String> = all
        .join(field.folder())
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
    let folders = names.iter().map(|name| format!("{}{name}", field.folder()));
    let output = Command::new(all.join("build")).args(folders).stderr(Stdio::inherit()).output()?;
    let mut contenders = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        match line.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["built", folder, program] => contenders.push(Contender {
                name: folder.strip_prefix(field.folder()).unwrap_or(folder).to_owned(),
                kind: Kind::Peer,
                program: program.into(),
            }),
            ["failed", folder, reason] => println!("skipped: {folder}, because it does not build: {reason}"),
            _ => {}
        }
    }
    Ok(contenders)
}
