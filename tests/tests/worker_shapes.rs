//! Shapes of handlers that the compiler takes, and what it says of those that it refuses.
//!
//! The files are in `shapes/`. Its messages are one compiler's: with another minor version they are not compared.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::Command;

/// The compiler whose messages are in `shapes/*.stderr`.
const COMPILER: &str = "1.95";

#[test]
fn handlers_compile_or_are_refused_with_a_reason() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/shapes/accepted.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    if !version.starts_with(&format!("rustc {COMPILER}.")) {
        // Past the capture of the test harness.
        let line =
            format!("SKIPPED messages of refused handlers: they are rustc {COMPILER}'s, this is {version}");
        std::io::stderr().lock().write_all(line.as_bytes()).unwrap();
        return;
    }
    for refused in [
        "async_closure",
        "mutable",
        "not_send",
        "wrong_hook",
        "wrong_message",
        "wrong_reply",
        "wrong_reply_later",
        "wrong_send",
    ] {
        cases.compile_fail(format!("tests/shapes/{refused}.rs"));
    }
}
