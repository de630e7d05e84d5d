//! Child processes of tests: the examples of the workspace, and foreign clients. Whatever a test waits for has an end,
//! and no child outlives its test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use rustix::process::{Pid, Signal, kill_process};

use crate::serving::PATIENCE;

/// A running program whose input, output and errors are lines for the test; killed when it is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    errors: Receiver<String>,
}

impl Program {
    /// Starts a program.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = lines_of(child.stdout.take().unwrap());
        let errors = lines_of(child.stderr.take().unwrap());
        Self { input: child.stdin.take(), child, output, errors }
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) {
        self.input.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Ends its standard input.
    pub fn finish(&mut self) {
        self.input = None;
    }

    /// The next line of its standard output; `None` at its end.
    pub fn line(&self) -> Option<String> {
        next_line(&self.output, "output")
    }

    /// The next line of its standard error; `None` at its end.
    pub fn error_line(&self) -> Option<String> {
        next_line(&self.errors, "standard error")
    }

    /// All further lines of its standard output.
    pub fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Waits for its end, for which the end of its output is taken; lines that nobody has read are dropped.
    pub fn wait(&mut self) -> ExitStatus {
        self.finish();
        drop(self.rest());
        self.child.wait().unwrap()
    }

    /// Sends it the signal that asks a program to stop.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Sends it what Ctrl-C sends.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Of one that has ended already both are harmless: the standard library remembers that it was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

fn next_line(lines: &Receiver<String>, what: &str) -> Option<String> {
    match lines.recv_timeout(PATIENCE) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("no line of {what} within {PATIENCE:?}"),
    }
}

/// A running example, which has said where it listens.
#[derive(Debug)]
pub struct Example {
    /// The process.
    pub program: Program,
    /// What stands after `listening on`.
    pub address: String,
}

impl Example {
    /// Starts an example with its arguments, and waits until it listens.
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        Self::start_with(name, arguments, &[])
    }

    /// Like [`start`](Self::start), with variables of the environment.
    pub fn start_with(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let program = Program::start(example(name).args(arguments).envs(variables.iter().copied()));
        let Some(line) = program.line() else { panic!("{name} ended: {:?}", program.error_line()) };
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{name}: {line}"));
        Self { address: address.to_owned(), program }
    }

    /// Its address as that of a TCP socket.
    pub fn socket(&self) -> SocketAddr {
        self.address.parse().unwrap()
    }

    /// Its port.
    pub fn port(&self) -> String {
        self.socket().port().to_string()
    }

    /// Asks it to stop, and expects it to have ended well; returns the lines that it printed and nobody has read.
    pub fn stop(mut self) -> Vec<String> {
        self.program.terminate();
        let lines = self.program.rest();
        let status = self.program.wait();
        assert!(status.success(), "{status}: {:?}", self.program.error_line());
        lines
    }
}

/// The program of an example; all examples are built when the first is asked for.
pub fn example(name: &str) -> Command {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let file = FOLDER.get_or_init(build).join(name);
    assert!(file.is_file(), "{} was not built", file.display());
    Command::new(file)
}

/// Builds the examples into the target directory and the profile of this test, where `cargo test --workspace` has them
/// already; returns their folder.
fn build() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // TARGET/[TRIPLE/]PROFILE/deps/TEST
    let profile = test.ancestors().nth(2).unwrap();
    let target = profile.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let target = target.expect("a test runs in cargo's target directory");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With the features of the whole workspace: a narrower choice would build everything again.
    cargo.args(["build", "--quiet", "--workspace", "--examples", "--target-dir"]).arg(target);
    cargo.arg("--profile").arg(match profile.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(name) => name,
    });
    if let Some(triple) = profile.parent().filter(|parent| *parent != target).and_then(Path::file_name) {
        cargo.arg("--target").arg(triple);
    }
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{cargo:?}: {}", String::from_utf8_lossy(&built.stderr));
    profile.join("examples")
}
