//! The conformance suite on the epoll backend.
#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

type World = workerman_tests::conformance::real::Real<workerman_event::epoll::Epoll>;

workerman_tests::conformance!(crate::World);
workerman_tests::real_conformance!(crate::World);
