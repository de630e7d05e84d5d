//! Limits that the system sets to the process.

use std::io;

/// The limit of open files (descriptors) before and after [`raise_open_files`]; `u64::MAX` stands for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFiles {
    /// The soft limit that was found.
    pub before: u64,
    /// The soft limit now.
    pub now: u64,
}

/// Raises the soft limit of open files to the hard one, as far as the system lets.
///
/// A server needs a descriptor for each connection, and the customary soft limit of 1,024 dates from `select`. Where
/// there is no such limit (Windows) nothing happens.
///
/// # Errors
/// The system's, if it refuses to raise the limit; the old one then stays.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    raise()
}

#[cfg(unix)]
fn raise() -> io::Result<OpenFiles> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// What macOS takes for a process even if its hard limit reads "unlimited".
    const APPLE_MAXIMUM: u64 = 10_240;

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let before = current.unwrap_or(u64::MAX);
    let mut wanted = maximum.unwrap_or(u64::MAX);
    if cfg!(target_vendor = "apple") {
        wanted = wanted.min(APPLE_MAXIMUM.max(before));
    }
    if wanted <= before {
        return Ok(OpenFiles { before, now: before });
    }
    let current = (wanted != u64::MAX).then_some(wanted);
    setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    Ok(OpenFiles { before, now: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) })
}

#[cfg(not(unix))]
fn raise() -> io::Result<OpenFiles> {
    Ok(OpenFiles { before: u64::MAX, now: u64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_reaches_the_hard_one_and_stays() {
        let first = raise_open_files().expect("raising to the hard limit needs no privilege");
        assert!(first.now >= first.before);
        let second = raise_open_files().unwrap();
        assert_eq!(second, OpenFiles { before: first.now, now: first.now });
    }
}
