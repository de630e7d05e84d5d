//! A headless Chromium as a client of tests.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::program::Program;
use crate::skip;

/// A running browser with one page and a profile of its own; it ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    // Ended before its profile is removed.
    driver: Program,
    _profile: TempDir,
}

impl Browser {
    /// Starts it, unless it or the program that drives it is not installed: then the test is to return.
    #[track_caller]
    pub fn start() -> Option<Self> {
        let (Some(node), Some(chromium)) = (skip::require("node"), skip::require("chromium")) else {
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/browser.mjs");
        let driver = Program::start(Command::new(node).arg(script).arg(chromium).arg(profile.path()));
        let mut browser = Self { driver, _profile: profile };
        // Waits for it to come up, so that what follows has all its time.
        assert_eq!(browser.eval("1 + 1"), "2");
        Some(browser)
    }

    /// Loads a page, until its load event.
    pub fn open(&mut self, url: &str) {
        self.tell(&format!("open {url}"));
    }

    /// Evaluates an expression of JavaScript in the page, and waits for it if it is a promise; the result as text, in
    /// which a line break is `\n` and a backslash is two.
    pub fn eval(&mut self, expression: &str) -> String {
        // One command is one line; so an expression for this has no comments and all its semicolons.
        self.tell(&format!("eval {}", expression.replace('\n', " ")))
    }

    /// Chooses a file in the input that a CSS selector names.
    pub fn choose(&mut self, selector: &str, file: &Path) {
        self.tell(&format!("files {selector} {}", file.display()));
    }

    #[track_caller]
    fn tell(&mut self, command: &str) -> String {
        self.driver.say(command);
        let Some(line) = self.driver.line() else {
            panic!("the browser's driver ended: {:?}", self.driver.error_line())
        };
        match line.split_once(' ') {
            Some(("ok", text)) => text.to_owned(),
            _ => panic!("{command}: {line}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver's end takes the browser along; waited for, since the profile is removed next.
        self.driver.finish();
        if !std::thread::panicking() {
            self.driver.wait();
        }
    }
}
