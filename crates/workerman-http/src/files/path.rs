//! From the path of a request to the names of files: what could lead anywhere else is refused.

use std::ffi::OsString;
use std::path::{Component, Path};

/// A path below the root, name by name: none of them is special to the system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Names {
    pub(crate) names: Vec<OsString>,
    /// It ended with a slash, so a folder is meant.
    pub(crate) folder: bool,
}

/// Longest path of a request that may name a file; what systems take.
const MAX_PATH: usize = 4096;

/// Longest name of a file; what file systems take.
const MAX_NAME: usize = 255;

/// Splits the path of a request, still percent-encoded, and decodes each part once; `None` if it names no file here.
///
/// Splitting comes before decoding, so an encoded slash never makes two names of one. It is refused, as are: `.` and
/// `..` in any spelling, empty names (`//`), NUL and other control characters, backslashes, drives (`c:`), a `%` that
/// encodes nothing, names beginning with a dot unless `hidden` (but for `/.well-known/`, RFC 8615), and what is longer
/// than file systems take.
pub(crate) fn names(path: &str, hidden: bool) -> Option<Names> {
    if path.len() > MAX_PATH {
        return None;
    }
    let rest = if path.is_empty() { path } else { path.strip_prefix('/')? };
    let mut names = Vec::new();
    let mut parts = rest.split('/').peekable();
    while let Some(part) = parts.next() {
        if part.is_empty() && parts.peek().is_none() {
            return Some(Names { names, folder: true });
        }
        let name = decode(part)?;
        let well_known = names.is_empty() && name == b".well-known";
        if name.starts_with(b".") && !hidden && !well_known {
            return None;
        }
        names.push(plain(name)?);
    }
    Some(Names { names, folder: false })
}

/// Decodes each `%xx` once; `None` if a `%` is not followed by two digits.
fn decode(part: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        name.push(if byte == b'%' { digit(bytes.next()?)? << 4 | digit(bytes.next()?)? } else { byte });
    }
    Some(name)
}

fn digit(byte: u8) -> Option<u8> {
    // A hexadecimal digit is below 16.
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// The name of a file in the system's form, if it is one name on every system.
fn plain(name: Vec<u8>) -> Option<OsString> {
    if name.is_empty() || name.len() > MAX_NAME {
        return None;
    }
    if name.iter().any(|byte| byte.is_ascii_control() || matches!(byte, b'/' | b'\\')) {
        return None;
    }
    if matches!(*name, [drive, b':', ..] if drive.is_ascii_alphabetic()) {
        return None;
    }
    let name = system(name)?;
    // The system has the last word; `.` and `..` are no normal components.
    let mut components = Path::new(&name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(normal)), None) if normal == name => {}
        _ => return None,
    }
    Some(name)
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)] // elsewhere not every name can be expressed
fn system(name: Vec<u8>) -> Option<OsString> {
    Some(std::os::unix::ffi::OsStringExt::from_vec(name))
}

#[cfg(not(unix))]
fn system(name: Vec<u8>) -> Option<OsString> {
    let name = String::from_utf8(name).ok()?;
    // Streams of a file, wild cards, endings that the system drops, devices that are in every folder.
    if name.contains(['<', '>', ':', '"', '|', '?', '*']) || name.ends_with(['.', ' ']) {
        return None;
    }
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |device: &str| stem.strip_prefix(device).is_some_and(|number| number.chars().count() == 1);
    if matches!(&*stem, "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || numbered("COM")
        || numbered("LPT")
    {
        return None;
    }
    Some(name.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(path: &str) -> Option<(Vec<String>, bool)> {
        let names = names(path, false)?;
        let text = |name: OsString| name.into_string().unwrap();
        Some((names.names.into_iter().map(text).collect(), names.folder))
    }

    fn file(names: &[&str]) -> Option<(Vec<String>, bool)> {
        Some((names.iter().map(|name| (*name).to_owned()).collect(), false))
    }

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(of("/a.txt"), file(&["a.txt"]));
        assert_eq!(of("/a/b%20c/d%2Bd"), file(&["a", "b c", "d+d"]));
        assert_eq!(of("/%61%2etxt"), file(&["a.txt"]));
        assert_eq!(of("/%E2%82%AC"), file(&["\u{20ac}"]));
        // Twice encoded is once encoded: a name with a percent sign in it.
        assert_eq!(of("/%252e%252e/%252fetc"), file(&["%2e%2e", "%2fetc"]));
        assert_eq!(of("/a+b"), file(&["a+b"]));
        assert_eq!(of("/..."), None);
        assert_eq!(of("/a..b/b..."), file(&["a..b", "b..."]));
    }

    #[test]
    fn a_slash_at_the_end_means_a_folder() {
        assert_eq!(of("/"), Some((vec![], true)));
        assert_eq!(of(""), Some((vec![], true)));
        assert_eq!(of("/a/"), Some((vec!["a".to_owned()], true)));
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for path in [
            "a",
            "*",
            "//",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/a/..",
            "/a/../b",
            "/../etc/passwd",
            "/%2e%2e/etc",
            "/%2E./etc",
            "/.%2e/etc",
            "/a/%2e",
            "/..%2fetc",
            "/a%2fb",
            "/%2f",
            "/%2fetc/passwd",
            "/a%5cb",
            "/..\\etc",
            "/\\a",
            "/c:",
            "/C:/windows",
            "/c%3a/x",
            "/c:x",
            "/a%00",
            "/a%00.txt",
            "/a%0a",
            "/a%7f",
            "/%",
            "/%4",
            "/%zz",
            "/a%+1b",
            "/%2",
        ] {
            assert_eq!(of(path), None, "{path}");
            assert_eq!(names(path, true), None, "{path}, hidden files shown");
        }
        assert_eq!(of(&format!("/{}", "a".repeat(256))), None);
        assert!(of(&format!("/{}", "a".repeat(255))).is_some());
        assert_eq!(of(&"/a".repeat(2049)), None);
        assert!(of(&"/a".repeat(2048)).is_some());
    }

    #[test]
    fn hidden_files_are_refused_unless_shown() {
        for path in ["/.git/config", "/%2egit/config", "/a/.env", "/.env/", "/a/.well-known/x"] {
            assert_eq!(of(path), None, "{path}");
            assert!(names(path, true).is_some(), "{path}");
        }
        assert_eq!(of("/.well-known/acme/x"), file(&[".well-known", "acme", "x"]));
    }

    #[cfg(unix)]
    #[test]
    fn names_need_not_be_text() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(names("/%ff%fe", false).unwrap().names[0].as_bytes(), b"\xff\xfe");
    }

    proptest! {
        /// Whatever is asked for, joining the names to a root stays below it.
        #[test]
        fn every_name_is_one_normal_component(path in "/([a.%/\\\\:~]|%2[eEfF]|%5c|%00|\\.\\./){0,12}", hidden: bool) {
            if let Some(names) = names(&path, hidden) {
                let mut joined = std::path::PathBuf::from("root");
                joined.extend(&names.names);
                let components: Vec<_> = joined.components().collect();
                prop_assert_eq!(components.len(), names.names.len() + 1);
                prop_assert!(components.iter().all(|component| matches!(component, Component::Normal(_))));
            }
        }
    }
}
