//! Servers and load generators as processes, each on its own processor, none left behind.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Set for the processes that a bench starts: they die with it, however it ends.
const CHILD: &str = "WORKERMAN_BENCH_CHILD";
const BACKLOG: i32 = 4096;
/// How long a server may take to listen.
const START: Duration = Duration::from_secs(10);
/// Lines of a child's output that wait to be asked for; later ones make it wait.
const LINES: usize = 64;

/// Makes the kernel kill this process when the bench that started it ends; without effect when started by hand.
///
/// # Errors
/// The kernel refuses.
pub fn end_with_parent() -> io::Result<()> {
    if std::env::var_os(CHILD).is_some() {
        set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    Ok(())
}

/// Listens with a backlog that 10,000 connections in a row do not fill.
///
/// # Errors
/// The address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// Raises the limit of open files as far as it goes, at most to `wanted`, and returns it; children inherit it.
///
/// # Errors
/// The kernel refuses.
pub fn raise_open_files(wanted: u64) -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let target = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    match current {
        Some(current) if current < target => {
            setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum })?;
            Ok(target)
        }
        Some(current) => Ok(current),
        None => Ok(wanted),
    }
}

/// The processors that this thread may use, in order.
///
/// # Errors
/// The kernel refuses.
pub fn processors() -> io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect())
}

/// A child process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    /// Starts `command` on `processor` (anywhere, if `None`); its output is read line by line.
    ///
    /// # Errors
    /// It cannot be started or pinned.
    pub fn start(command: &mut Command, processor: Option<usize>) -> io::Result<Self> {
        command.env(CHILD, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        // A child inherits the affinity of the thread that starts it, and so do all of its threads.
        let before = sched_getaffinity(None)?;
        if let Some(processor) = processor {
            let mut only = CpuSet::new();
            only.set(processor);
            sched_setaffinity(None, &only)?;
        }
        let started = command.spawn();
        sched_setaffinity(None, &before)?;
        let mut child = started?;
        let output = child.stdout.take();
        let (sender, lines) = mpsc::sync_channel(LINES);
        thread::spawn(move || {
            let Some(output) = output else { return };
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Read on when nobody listens: a full pipe would stop the child.
                let _ = sender.send(line);
            }
        });
        Ok(Self { child, lines })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output.
    ///
    /// # Errors
    /// `TimedOut` if there is none in time, `UnexpectedEof` if it has ended.
    pub fn line(&self, within: Duration) -> io::Result<String> {
        self.lines.recv_timeout(within).map_err(|error| match error {
            RecvTimeoutError::Timeout => io::Error::new(io::ErrorKind::TimedOut, "the process says nothing"),
            RecvTimeoutError::Disconnected => {
                io::Error::new(io::ErrorKind::UnexpectedEof, "the process has ended")
            }
        })
    }
}

/// A server process that listens; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    /// Starts `command` on `processor` and waits until it says `listening on ADDRESS`, or `cannot ...`.
    ///
    /// # Errors
    /// It cannot be started, or does not say the first within ten seconds and a few lines.
    pub fn start(command: &mut Command, processor: Option<usize>) -> io::Result<Self> {
        let process = Process::start(command, processor)?;
        for _ in 0..LINES {
            let line = process.line(START)?;
            if let Some(Ok(address)) = line.strip_prefix("listening on ").map(|text| text.trim().parse()) {
                return Ok(Self { process, address });
            }
            if line.starts_with("cannot ") {
                return Err(io::Error::new(io::ErrorKind::Unsupported, line));
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the server does not tell its address"))
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::start(Command::new("cat").arg("/dev/zero"), None).unwrap();
        let proc = format!("/proc/{}", process.id());
        assert!(std::path::Path::new(&proc).exists());
        drop(process);
        assert!(!std::path::Path::new(&proc).exists());
    }

    #[test]
    fn a_process_is_pinned_and_the_starter_is_not() {
        let before = processors().unwrap();
        let last = before[before.len() - 1];
        let process =
            Process::start(Command::new("grep").args(["Cpus_allowed_list", "/proc/self/status"]), Some(last))
                .unwrap();
        assert_eq!(process.line(START).unwrap(), format!("Cpus_allowed_list:\t{last}"));
        assert_eq!(processors().unwrap(), before);
    }

    #[test]
    fn the_address_is_found_among_other_lines() {
        let server =
            Server::start(Command::new("printf").arg("hello\nlistening on 127.0.0.1:7\n"), None).unwrap();
        assert_eq!(server.address().port(), 7);
        let error = Server::start(Command::new("printf").arg("hello\ncannot sing\n"), None).unwrap_err();
        assert_eq!(error.to_string(), "cannot sing");
        let error = Server::start(Command::new("printf").arg("hello\n"), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
