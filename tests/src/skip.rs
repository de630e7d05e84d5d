//! Foreign clients: a test that needs one finds it here, or is skipped so that nobody can overlook it.
//!
//! A skip is one line on the standard error of the test process, past the capture of the test harness. Each is also
//! put down in a file of its own, so that parallel tests and test binaries do not get in each other's way; the target
//! `zz_skips`, which cargo runs last, counts the files. All test binaries of one `cargo test` are children of the same
//! process: its id and start time name the run, so an earlier run that left files behind is never counted.
//!
//! With `WORKERMAN_REQUIRE_CLIENTS` set, a missing client is a failure.

use std::ffi::OsStr;
use std::io::Write;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};
use std::{env, fs, io, process, thread};

/// The environment variable that makes a missing client a failure (unless it is empty or `0`).
pub const REQUIRE_VARIABLE: &str = "WORKERMAN_REQUIRE_CLIENTS";

/// What runs leave behind that were interrupted before they counted is removed after a day.
const STALE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The path of a foreign program, or `None` if it is not installed: then the test is to return.
///
/// Called on the test's own thread, the name of the test is part of the line that is printed.
///
/// # Panics
/// If the program is not installed and `WORKERMAN_REQUIRE_CLIENTS` is set.
///
/// # Examples
/// ```
/// let Some(cargo) = workerman_tests::skip::require("cargo") else { return };
/// assert!(cargo.is_absolute());
/// ```
#[track_caller]
pub fn require(program: &str) -> Option<PathBuf> {
    found_or_skipped(find(program, &env::var_os("PATH").unwrap_or_default()), program, Location::caller())
}

/// The Python of the environment that `scripts/install-clients` makes, if `package` is in it; else the same as
/// [`require`] of a program.
///
/// # Panics
/// If it is not there and `WORKERMAN_REQUIRE_CLIENTS` is set.
#[track_caller]
pub fn require_python(package: &str) -> Option<PathBuf> {
    let environment = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".clients/python");
    // lib/python3.11/site-packages, and so on.
    let has = |lib: PathBuf| lib.join("site-packages").join(package).is_dir();
    let python = environment.join("bin/python");
    let found = executable(&python) && entries(&environment.join("lib")).into_iter().any(has);
    found_or_skipped(found.then_some(python), &format!("{package} for Python"), Location::caller())
}

/// The folder of the Node packages that `scripts/install-clients` installs, if `package` is in it; else the same as
/// [`require`] of a program.
///
/// # Panics
/// If it is not there and `WORKERMAN_REQUIRE_CLIENTS` is set.
#[track_caller]
pub fn require_node(package: &str) -> Option<PathBuf> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".clients/node");
    let found = modules.join("node_modules").join(package).is_dir();
    found_or_skipped(found.then_some(modules), &format!("{package} for Node"), Location::caller())
}

fn found_or_skipped(found: Option<PathBuf>, name: &str, caller: &Location<'_>) -> Option<PathBuf> {
    if found.is_none() {
        let test = test_name(caller);
        assert!(
            !is_required(env::var_os(REQUIRE_VARIABLE).as_deref()),
            "{name} is not installed, and {REQUIRE_VARIABLE} forbids to skip {test}"
        );
        report(&format!("SKIPPED {test}: {name} is not installed\n"));
    }
    found
}

/// Counts the skips of the test run whose cargo process is `runner`, and forgets them.
///
/// Returns their lines, sorted.
pub fn take(runner: u32) -> Vec<String> {
    let root = root();
    remove_stale(&root, SystemTime::now());
    let run = root.join(run_name(runner));
    let mut lines: Vec<String> =
        entries(&run).iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    lines.sort();
    // A file that cannot be removed goes with the stale ones.
    let _ = fs::remove_dir_all(&run);
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// The process that runs the test binaries (cargo, as a rule); 0 where the standard library cannot tell.
pub fn runner() -> u32 {
    #[cfg(unix)]
    return std::os::unix::process::parent_id();
    #[cfg(not(unix))]
    return 0;
}

/// The first executable file named `program` in the directories of `path`.
fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    let name = format!("{program}{}", env::consts::EXE_SUFFIX);
    env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(&name))
        .find(|file| executable(file))
}

fn executable(file: &Path) -> bool {
    let Ok(metadata) = fs::metadata(file) else { return false };
    #[cfg(unix)]
    let allowed = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let allowed = true;
    metadata.is_file() && allowed
}

fn is_required(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| !value.is_empty() && value != "0")
}

/// The harness names the thread of a test after it; with one thread it runs tests on the main one.
fn test_name(caller: &Location<'_>) -> String {
    match thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => format!("{}:{}", caller.file(), caller.line()),
    }
}

fn report(line: &str) {
    // Not `eprint!`, which the harness captures. One write, so that lines of parallel tests stay whole.
    let _ = io::stderr().lock().write_all(line.as_bytes());
    if let Err(error) = put_down(&root().join(run_name(runner())), line) {
        let _ = writeln!(io::stderr(), "warning: the skip above is not counted: {error}");
    }
}

fn put_down(run: &Path, line: &str) -> io::Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    fs::create_dir_all(run)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    fs::write(run.join(format!("{}-{number}", process::id())), line)
}

/// A folder that all test binaries of a build find: in the target directory, which cargo tags.
fn root() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.map_or_else(env::temp_dir, Path::to_path_buf).join("skipped-tests")
}

/// Process ids come again, with another start time. Where that cannot be read the id has to do.
fn run_name(runner: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{runner}/stat")).unwrap_or_default();
    format!("{runner}-{}", start_time(&stat).unwrap_or("0"))
}

/// Field 22 of a line of `/proc/PID/stat`. Field 2 is the program's name in parentheses and may hold anything.
fn start_time(stat: &str) -> Option<&str> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(22 - 3)
}

fn remove_stale(root: &Path, now: SystemTime) {
    for run in entries(root) {
        let modified = fs::metadata(&run).and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|then| now.duration_since(then).is_ok_and(|age| age > STALE_AFTER)) {
            let _ = fs::remove_dir_all(&run);
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = root().join(format!("unit-{}-{name}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[cfg(unix)]
    #[test]
    fn only_an_executable_file_is_a_program() {
        use std::os::unix::fs::PermissionsExt;
        let folder = scratch("find");
        let file = folder.join("client");
        fs::write(&file, "").unwrap();
        fs::create_dir_all(folder.join("folder")).unwrap();
        let path = env::join_paths([Path::new("relative"), &folder.join("none"), &folder]).unwrap();

        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(find("client", &path), None);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("client", &path), Some(file));
        assert_eq!(find("folder", &path), None);
        assert_eq!(find("other", &path), None);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn clients_are_required_when_the_variable_says_so() {
        for (value, required) in
            [(None, false), (Some(""), false), (Some("0"), false), (Some("1"), true), (Some("yes"), true)]
        {
            assert_eq!(is_required(value.map(OsStr::new)), required, "{value:?}");
        }
    }

    #[test]
    fn the_start_time_is_found_behind_any_program_name() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20";
        assert_eq!(start_time(&format!("12 (a) S (b c)) {fields}")), Some("987654"));
        assert_eq!(start_time(""), None);
    }

    #[test]
    fn only_old_runs_are_stale() {
        let root = scratch("stale");
        put_down(&root.join("1-1"), "SKIPPED\n").unwrap();
        let now = SystemTime::now();
        remove_stale(&root, now);
        assert_eq!(entries(&root).len(), 1);
        remove_stale(&root, now + 2 * STALE_AFTER);
        assert_eq!(entries(&root).len(), 0);
        fs::remove_dir_all(root).unwrap();
    }
}
