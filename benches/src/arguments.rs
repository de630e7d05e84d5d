//! Command lines of the form `NAME [WORD..] [--option VALUE..]`.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::wire::Wire;

/// What is left of a command line; each call takes its part, [`finish`](Self::finish) refuses the rest.
#[derive(Debug)]
pub struct Arguments(VecDeque<String>);

impl Arguments {
    /// The arguments of this process.
    pub fn of_process() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// Takes the next word.
    ///
    /// # Errors
    /// It is missing or is not a `T`.
    pub fn word<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<T, Box<dyn Error>> {
        let word = self.0.pop_front().ok_or_else(|| format!("{name} is missing"))?;
        word.parse().map_err(|error| format!("{name} `{word}`: {error}").into())
    }

    /// Takes `--name` and the value behind it, wherever it stands; the first one, if it is repeated.
    ///
    /// # Errors
    /// The value is missing or is not a `T`.
    pub fn option<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Box<dyn Error>> {
        let Some(at) = self.0.iter().position(|word| word == name) else { return Ok(None) };
        self.0.remove(at);
        let value = self.0.remove(at).ok_or_else(|| format!("{name} has no value"))?;
        value.parse().map(Some).map_err(|error| format!("{name} `{value}`: {error}").into())
    }

    /// Takes `--name`, which has no value.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| word != name);
        self.0.len() < before
    }

    /// Ends the command line.
    ///
    /// # Errors
    /// Something is left that nobody asked for.
    pub fn finish(self) -> Result<(), Box<dyn Error>> {
        self.0.front().map_or(Ok(()), |word| Err(format!("unknown argument `{word}`").into()))
    }
}

/// The command line of the servers: `NAME tcp|text|frame ADDRESS`.
///
/// # Errors
/// It is something else.
pub fn of_server() -> Result<(Wire, SocketAddr), Box<dyn Error>> {
    let mut arguments = Arguments::of_process();
    let wire = arguments.word("protocol (tcp, text or frame)")?;
    let address = arguments.word("address")?;
    arguments.finish()?;
    Ok((wire, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_are_taken_from_anywhere_and_words_in_order() {
        let mut line = arguments("text --size 64 127.0.0.1:1 --bench");
        assert_eq!(line.option::<usize>("--size").unwrap(), Some(64));
        assert_eq!(line.option::<usize>("--seconds").unwrap(), None);
        assert!(line.flag("--bench"));
        assert_eq!(line.word::<Wire>("protocol").unwrap(), Wire::Text);
        assert_eq!(line.word::<SocketAddr>("address").unwrap().port(), 1);
        line.finish().unwrap();
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = arguments("--size many").option::<usize>("--size").unwrap_err();
        assert!(error.to_string().starts_with("--size `many`"), "{error}");
        let error = arguments("--size").option::<usize>("--size").unwrap_err();
        assert_eq!(error.to_string(), "--size has no value");
        let error = arguments("what").finish().unwrap_err();
        assert_eq!(error.to_string(), "unknown argument `what`");
    }
}
