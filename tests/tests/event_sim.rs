//! The conformance suite on the simulated backend, over perfect links and over bad ones.
#![forbid(unsafe_code)]

use workerman_tests::conformance::sim::{Choppy, Perfect, Simulated};

type OverPerfectLinks = Simulated<Perfect>;
type OverBadLinks = Simulated<Choppy>;

mod perfect {
    workerman_tests::conformance!(crate::OverPerfectLinks);
}

mod choppy {
    workerman_tests::conformance!(crate::OverBadLinks);
}
