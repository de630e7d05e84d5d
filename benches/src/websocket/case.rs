//! What is sent to the servers, and to whom it goes.

use std::str::FromStr;

use super::messages::Messages;

/// To whom a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Back to its sender.
    Echo,
    /// To all others, who say nothing themselves.
    FanOut,
}

/// One kind of load; all messages are text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    /// The name on command lines and in tables.
    pub name: &'static str,
    /// To whom a message goes.
    pub kind: Kind,
    /// The bytes of a message.
    pub size: usize,
    /// Messages in flight on a connection that sends.
    pub outstanding: usize,
}

impl Case {
    /// All that are compared.
    pub const ALL: [Self; 8] = [
        Self { name: "echo-20", kind: Kind::Echo, size: 20, outstanding: 1 },
        Self { name: "echo-20-x16", kind: Kind::Echo, size: 20, outstanding: 16 },
        Self { name: "echo-1k", kind: Kind::Echo, size: 1024, outstanding: 1 },
        Self { name: "echo-1k-x16", kind: Kind::Echo, size: 1024, outstanding: 16 },
        Self { name: "echo-64k", kind: Kind::Echo, size: 64 * 1024, outstanding: 1 },
        Self { name: "echo-64k-x16", kind: Kind::Echo, size: 64 * 1024, outstanding: 16 },
        Self { name: "fan-out", kind: Kind::FanOut, size: 64, outstanding: 1 },
        Self { name: "fan-out-x16", kind: Kind::FanOut, size: 64, outstanding: 16 },
    ];

    /// How many connections receive answers, unless something else is said.
    pub fn connections(&self) -> usize {
        match self.kind {
            Kind::Echo => 64,
            Kind::FanOut => 1_000,
        }
    }

    /// As many messages as are in flight on the connection at `index`.
    pub fn messages(&self, index: usize) -> Messages {
        Messages::new(self.size, self.outstanding, index)
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|case| case.name == name);
        named.ok_or_else(|| format!("expected one of {}", Self::ALL.map(|case| case.name).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names: HashSet<&str> = Case::ALL.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), Case::ALL.len());
        for case in Case::ALL {
            assert_eq!(case.name.parse(), Ok(case));
        }
        assert!("what".parse::<Case>().unwrap_err().contains("echo-20-x16"));
    }
}
