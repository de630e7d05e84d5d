//! The conformance suite on the tokio backend.
#![forbid(unsafe_code)]

type World = workerman_tests::conformance::real::Real<workerman_event::tokio_backend::Tokio>;

workerman_tests::conformance!(crate::World);
workerman_tests::real_conformance!(crate::World);
