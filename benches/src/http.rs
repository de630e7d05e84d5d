//! HTTP: the requests of each case, what is right as an answer, the load, the floor, and our codec alone.

pub mod answer;
pub mod case;
pub mod codec;
#[cfg(target_os = "linux")]
pub mod floor;
#[cfg(target_os = "linux")]
pub mod load;

pub use case::{Case, Life};
