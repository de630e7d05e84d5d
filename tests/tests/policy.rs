//! The rules of the repository that a compiler does not check: see ARCHITECTURE.md and CONTRIBUTING.md.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn cargo() -> Command {
    // Set by cargo for what it runs; the plain name serves when the test binary is started by hand.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The packages that `cargo metadata` tells of.
fn packages(arguments: &[&str]) -> Vec<Value> {
    let text = output_of(cargo().args(["metadata", "--format-version", "1"]).args(arguments));
    let mut metadata: Value = serde_json::from_str(&text).unwrap();
    let Value::Array(packages) = metadata["packages"].take() else { panic!("no packages in {text}") };
    packages
}

/// The members of the workspace, with what they declare; nothing is resolved, so no feature can hide a dependency.
fn members() -> Vec<Value> {
    packages(&["--no-deps"])
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap()
}

/// Which members each member depends on, directly or not: optional ones and those of other systems included.
///
/// Dev-dependencies count only where `with_dev` says so, and only those of the member itself.
fn member_dependencies(with_dev: bool) -> BTreeMap<String, BTreeSet<String>> {
    let members = members();
    let direct = |of: &str, with_dev: bool| -> Vec<&str> {
        let package = members.iter().find(|package| text(package, "name") == of).unwrap();
        list(package, "dependencies")
            .iter()
            .filter(|dependency| with_dev || dependency["kind"] != "dev")
            .map(|dependency| text(dependency, "name"))
            .filter(|name| members.iter().any(|member| text(member, "name") == *name))
            .collect()
    };
    let all = |of: &str| {
        let mut waiting = direct(of, with_dev);
        let mut found = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            if found.insert(name.to_owned()) {
                waiting.extend(direct(name, false));
            }
        }
        found
    };
    members.iter().map(|member| text(member, "name")).map(|name| (name.to_owned(), all(name))).collect()
}

#[test]
fn dependencies_point_in_one_direction() {
    let event = "workerman-event";
    let protocol = "workerman-protocol";
    let connection = "workerman-connection";
    let http = "workerman-http";
    let supervisor = "workerman-supervisor";
    let facade = "workerman";
    let outside = ["workerman-examples", "workerman-tests", "workerman-benches"];
    let all = member_dependencies(false);
    let of = |name: &str| -> Vec<&str> { all[name].iter().map(String::as_str).collect() };

    assert_eq!(of(event), [""; 0]);
    assert_eq!(of(protocol), [""; 0]);
    assert_eq!(of(connection), [event, protocol]);
    assert!(of(http).iter().all(|below| [connection, event, protocol].contains(below)), "{:?}", of(http));
    for below in [event, protocol, connection, http] {
        assert!(of(facade).contains(&below), "the facade joins all, {below} too");
    }
    if all.contains_key(supervisor) {
        assert_eq!(of(supervisor), [""; 0]);
    }
    for (name, dependencies) in member_dependencies(true) {
        if dependencies.contains(facade) {
            assert!(outside.contains(&name.as_str()), "{name} depends on the facade");
        }
    }
}

/// `cargo tree` and not the metadata of the workspace, which mixes in the features that other members switch on.
#[test]
fn the_protocol_crate_has_no_runtime_and_no_sockets_in_its_tree() {
    let tree = output_of(cargo().args(["tree", "--package", "workerman-protocol", "--all-features"]).args([
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]));
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("workerman-protocol") && names.contains("bytes"), "not a tree: {tree}");
    for banned in ["tokio", "tokio-util", "mio", "socket2", "rustix", "polling", "async-io", "tracing"] {
        assert!(!names.contains(banned), "workerman-protocol depends on {banned}:\n{tree}");
    }
}

/// What the workspace promises in `rust-version` its dependencies must keep.
#[test]
fn no_dependency_needs_a_newer_compiler_than_promised() {
    let version = |package: &Value| -> Option<Vec<u32>> {
        let version = package["rust_version"].as_str()?;
        Some(version.split('.').map(|part| part.parse().unwrap()).collect())
    };
    let members = members();
    let facade = members.iter().find(|package| text(package, "name") == "workerman").unwrap();
    let promised = version(facade).unwrap();
    // Only what this system builds: the rest may never have been downloaded.
    let about = output_of(cargo().arg("-vV"));
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    for package in packages(&["--all-features", "--filter-platform", host]) {
        let Some(needed) = version(&package) else { continue };
        assert!(
            needed[..2] <= promised[..2],
            "{} {} needs Rust {needed:?}",
            text(&package, "name"),
            text(&package, "version")
        );
    }
}

/// The inner attributes at the head of a file: what comes before its first item.
fn forbids_unsafe(source: &str) -> bool {
    source
        .lines()
        .map(str::trim)
        .take_while(|line| line.is_empty() || line.starts_with("//") || line.starts_with("#!["))
        .any(|line| line == "#![forbid(unsafe_code)]")
}

#[test]
fn the_head_of_a_file_ends_with_its_first_item() {
    assert!(forbids_unsafe("//! Docs.\n\n#![allow(x)]\n#![forbid(unsafe_code)]\nuse std::io;\n"));
    assert!(!forbids_unsafe("//! Docs.\nuse std::io;\nmod a {\n#![forbid(unsafe_code)]\n}\n"));
    assert!(!forbids_unsafe("// #![forbid(unsafe_code)]\n"));
}

#[test]
fn every_crate_root_forbids_unsafe_code() {
    let mut roots: Vec<PathBuf> = Vec::new();
    for package in &members() {
        roots.extend(list(package, "targets").iter().map(|target| PathBuf::from(text(target, "src_path"))));
    }
    let libraries = roots.iter().filter(|path| path.ends_with("src/lib.rs")).count();
    assert!(libraries >= 4, "only {libraries} libraries found");
    roots.extend(tracked().into_iter().filter(|path| path.starts_with(root().join("fuzz/fuzz_targets"))));
    let without: Vec<_> =
        roots.iter().filter(|path| !forbids_unsafe(&fs::read_to_string(path).unwrap())).collect();
    assert!(without.is_empty(), "no #![forbid(unsafe_code)] at the head of {without:#?}");
}

/// Crates of the workspace may hold at most this many lines in a file; what is aimed at is 500.
const MAX_LINES: usize = 600;

#[test]
fn no_source_file_is_long() {
    let crates = root().join("crates");
    let sources = tracked().into_iter().filter(|path| path.starts_with(&crates) && is_rust(path));
    let lengths: Vec<(usize, PathBuf)> =
        sources.map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path)).collect();
    assert!(!lengths.is_empty(), "no source found");
    let long: Vec<_> = lengths.iter().filter(|(lines, _)| *lines > MAX_LINES).collect();
    assert!(long.is_empty(), "over {MAX_LINES} lines; what are the names of the two halves? {long:#?}");
}

/// An example shows one idea; more lines of code than this show two.
const MAX_EXAMPLE_LINES: usize = 60;

#[test]
fn every_example_is_one_idea() {
    let members = members();
    let package = members.iter().find(|package| text(package, "name") == "workerman-examples").unwrap();
    for target in list(package, "targets").iter().filter(|target| target["kind"][0] == "example") {
        let source = fs::read_to_string(text(target, "src_path")).unwrap();
        let code =
            source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        assert!(code <= MAX_EXAMPLE_LINES, "{} has {code} lines of code", text(target, "name"));
    }
}

#[test]
fn no_file_names_a_folder_of_one_machine() {
    // In two halves, so that this file does not name them either.
    let folders = [["/wo", "rk/"], ["/ro", "ot/"], ["/Use", "rs/"]].map(|halves| halves.concat());
    for path in tracked() {
        let content = fs::read(&path).unwrap();
        let content = String::from_utf8_lossy(&content);
        for folder in &folders {
            for (at, _) in content.match_indices(folder.as_str()) {
                // A folder of that name deeper in a path, or a part of an address, is nobody's machine.
                let before = content[..at].chars().next_back();
                let inside =
                    before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '}'));
                assert!(inside, "{} names {folder}", path.display());
            }
        }
    }
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

/// The files of the repository that exist: those that git knows, or in an unpacked archive all but build products.
fn tracked() -> Vec<PathBuf> {
    let git = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output();
    let mut files = Vec::new();
    match git {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            let names = String::from_utf8(output.stdout).unwrap();
            files.extend(
                names.split_terminator('\0').map(|name| root().join(name)).filter(|path| path.is_file()),
            );
        }
        _ => walk(root(), &mut files),
    }
    assert!(files.iter().any(|path| path.ends_with("tests/policy.rs")), "the list of files is incomplete");
    files
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    const PRODUCTS: [&str; 6] = ["target", "node_modules", ".git", ".clients", "corpus", "artifacts"];
    for entry in fs::read_dir(folder).unwrap().flatten() {
        // Links are not followed: the walk ends.
        let kind = entry.file_type().unwrap();
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir() && !PRODUCTS.iter().any(|name| entry.file_name() == *name) {
            walk(&entry.path(), files);
        }
    }
}
