//! The conformance data of WebSocket over sockets, on every backend, for both sides.
#![forbid(unsafe_code)]

use workerman_event::BackendKind;
use workerman_tests::on_real_backends;
use workerman_tests::websocket::data::{Role, load};
use workerman_tests::websocket::socket;

fn run(kind: BackendKind, role: Role) {
    match socket::run(kind, role, &load()) {
        Ok(count) => assert!(count >= 900, "only {count} cases"),
        Err(wrong) => panic!("{}\n{} cases", wrong.join("\n"), wrong.len()),
    }
}

fn our_server(kind: BackendKind) {
    run(kind, Role::Server);
}

fn our_client(kind: BackendKind) {
    run(kind, Role::Client);
}

on_real_backends!(our_server, our_client);
