//! Which backend a loop runs on, and how to choose it from outside.

use std::fmt;
use std::str::FromStr;

/// The environment variable that chooses the backend of every loop: `epoll` or `tokio`.
pub const BACKEND_VARIABLE: &str = "WORKERMAN_EVENT_LOOP";

/// A backend of the real world.
///
/// The default is [`Epoll`](Self::Epoll) on Linux and [`Tokio`](Self::Tokio) elsewhere.
///
/// # Examples
/// ```
/// use workerman_event::BackendKind;
/// assert_eq!("tokio".parse::<BackendKind>()?, BackendKind::Tokio);
/// assert!("select".parse::<BackendKind>().is_err());
/// assert!(BackendKind::default().is_available());
/// # Ok::<(), workerman_event::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BackendKind {
    /// Our own edge-triggered epoll instance; Linux only.
    Epoll,
    /// The sockets of tokio; every platform.
    Tokio,
}

/// What can be wrong with the choice of a backend.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no backend of this name.
    #[error("unknown event loop {name:?}: expected \"epoll\" or \"tokio\"")]
    UnknownBackend {
        /// The name as it was given.
        name: String,
    },
    /// This system has no such backend.
    #[error("the event loop \"{kind}\" is not available on this system")]
    BackendUnavailable {
        /// The backend that was asked for.
        kind: BackendKind,
    },
}

impl BackendKind {
    /// The choice of the environment variable `WORKERMAN_EVENT_LOOP`, or the default if it is not set or empty.
    ///
    /// # Errors
    /// If the variable names no backend, or one that this system does not have.
    pub fn from_env() -> Result<Self, Error> {
        match std::env::var_os(BACKEND_VARIABLE) {
            Some(name) if !name.is_empty() => Self::choose(&name.to_string_lossy()),
            _ => Ok(Self::default()),
        }
    }

    /// Whether this system has the backend.
    pub const fn is_available(self) -> bool {
        match self {
            Self::Epoll => cfg!(target_os = "linux"),
            Self::Tokio => true,
        }
    }

    fn choose(name: &str) -> Result<Self, Error> {
        let kind: Self = name.parse()?;
        if kind.is_available() { Ok(kind) } else { Err(Error::BackendUnavailable { kind }) }
    }
}

impl Default for BackendKind {
    fn default() -> Self {
        if Self::Epoll.is_available() { Self::Epoll } else { Self::Tokio }
    }
}

impl FromStr for BackendKind {
    type Err = Error;

    /// The name in any case, blanks around it ignored; says nothing about availability.
    fn from_str(name: &str) -> Result<Self, Error> {
        let trimmed = name.trim();
        if trimmed.eq_ignore_ascii_case("epoll") {
            Ok(Self::Epoll)
        } else if trimmed.eq_ignore_ascii_case("tokio") {
            Ok(Self::Tokio)
        } else {
            Err(Error::UnknownBackend { name: name.to_owned() })
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Epoll => "epoll",
            Self::Tokio => "tokio",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for kind in [BackendKind::Epoll, BackendKind::Tokio] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!(" Tokio\n".parse(), Ok(BackendKind::Tokio));
    }

    #[test]
    fn a_wrong_name_is_told_with_what_is_possible() {
        let error = BackendKind::choose("select").unwrap_err();
        assert_eq!(error.to_string(), "unknown event loop \"select\": expected \"epoll\" or \"tokio\"");
    }

    #[test]
    fn epoll_is_refused_where_it_does_not_exist() {
        let chosen = BackendKind::choose("epoll");
        if cfg!(target_os = "linux") {
            assert_eq!(chosen, Ok(BackendKind::Epoll));
        } else {
            assert_eq!(chosen, Err(Error::BackendUnavailable { kind: BackendKind::Epoll }));
        }
    }
}
