//! HTTP: the requests of each case, what is right as an answer, the load, and the floor.

pub mod answer;
pub mod case;
#[cfg(target_os = "linux")]
pub mod floor;
#[cfg(target_os = "linux")]
pub mod load;

pub use case::{Case, Life};
