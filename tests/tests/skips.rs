//! Skips are visible, counted, and failures on demand: this binary runs itself, without the client it asks for.
#![forbid(unsafe_code)]

use std::process::{Command, Output};

use workerman_tests::skip;

const ABSENT: &str = "no-such-foreign-client";

/// Run by the tests below only; here the client is never installed.
#[test]
#[ignore = "is run by the tests of this file"]
fn asks_for_a_client() {
    assert_eq!(skip::require(ABSENT), None);
}

fn run(require: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "asks_for_a_client", "--test-threads=2"])
        .env(skip::REQUIRE_VARIABLE, require)
        .output()
        .unwrap()
}

#[test]
fn a_missing_client_skips_with_one_visible_line_and_is_counted_once() {
    let line = format!("SKIPPED asks_for_a_client: {ABSENT} is not installed");
    let output = run("");
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().filter(|&printed| printed == line).count(), 1, "{stderr}");

    // This process is the runner of the one it started.
    let me = std::process::id();
    assert_eq!(skip::take(me), [line]);
    assert!(skip::take(me).is_empty());
}

#[test]
fn a_missing_client_is_a_failure_where_clients_are_required() {
    let output = run("1");
    assert!(!output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains(&format!("{ABSENT} is not installed")), "{stdout}");
}
