//! The conformance data of WebSocket handshakes, against both sides.
#![forbid(unsafe_code)]

use workerman_tests::websocket::handshake::{Side, load, run};

fn all(side: Side, least: usize) {
    let cases = load(side);
    assert!(cases.len() >= least, "only {} cases", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| run(side, case).err()).collect();
    assert!(wrong.is_empty(), "{}\n{} of {} cases", wrong.join("\n"), wrong.len(), cases.len());
}

#[test]
fn the_server_gives_the_verdict_of_each_case_however_it_is_cut() {
    all(Side::Server, 150);
}

#[test]
fn the_client_gives_the_verdict_of_each_case_however_it_is_cut() {
    all(Side::Client, 60);
}
