//! The heartbeat.

use std::time::Duration;

use super::*;
use crate::websocket::Error;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn pings_after_silence_and_ends_without_an_answer() {
    let mut harness = server();
    harness.advance(26 * SECOND);
    assert!(harness.output().is_empty());
    harness.advance(4 * SECOND);
    assert_eq!(frames(&harness.output()), [(0x89, vec![])]);
    harness.advance(6 * SECOND);
    assert!(harness.is_open());
    harness.advance(5 * SECOND);
    assert_eq!(harness.error(), Some(&Error::NoPong));
    // Nobody is there to be told, and 1000 would be a lie.
    assert!(harness.output().is_empty());
    let text = "the peer did not answer a ping in time";
    assert_eq!(farewell(&harness), (1006, text.into(), false, false));
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut harness = server();
    for input in [
        masked(0x8a, ""),
        masked(0x81, "a"),
        masked(0x89, ""),
        header(0x82, 10_000, Some(KEY)),
        vec![0],
        vec![0],
    ] {
        harness.advance(31 * SECOND);
        let output = harness.output();
        assert_eq!(frames(&output), [(0x89, vec![])]);
        harness.feed(&input);
        harness.output();
        harness.advance(20 * SECOND);
        assert!(harness.is_open() && harness.output().is_empty());
        // Before the next ping is due.
        harness.advance(Duration::ZERO);
        harness.advance(11 * SECOND);
        assert_eq!(frames(&harness.output()), [(0x89, vec![])]);
        harness.feed(if harness.protocol().is_idle() { b"\x8a\x80\0\0\0\0" } else { &[0] });
    }
}

#[test]
fn a_look_at_the_same_bytes_is_no_sign_of_life() {
    for input in
        [&masked(0x82, [0; 5000])[..100], &masked(0x02, [0; 5000])[..100], &masked(0x82, "a")[..3], &[]]
    {
        let mut harness = server();
        harness.feed(input);
        for _ in 0..50 {
            harness.advance(SECOND);
            harness.decode();
            harness.output();
        }
        assert_eq!(harness.error(), Some(&Error::NoPong));
    }
}

#[test]
fn who_talks_is_not_pinged() {
    let mut harness = server();
    for _ in 0..100 {
        harness.advance(20 * SECOND);
        harness.feed(&masked(0x81, "here"));
    }
    assert!(harness.is_open() && harness.output().is_empty());
}

#[test]
fn it_can_be_off_or_otherwise() {
    let mut harness = server_of(Websocket::new().no_heartbeat());
    harness.advance(100_000 * SECOND);
    assert!(harness.is_open() && harness.output().is_empty());
    let mut harness = server_of(Websocket::new().heartbeat(8 * SECOND, 2 * SECOND));
    harness.advance(6 * SECOND);
    assert!(harness.output().is_empty());
    harness.advance(3 * SECOND);
    assert_eq!(frames(&harness.output()), [(0x89, vec![])]);
    harness.advance(3 * SECOND);
    assert_eq!(harness.error(), Some(&Error::NoPong));
}

#[test]
fn a_client_pings_with_a_mask() {
    let mut harness = client();
    harness.advance(31 * SECOND);
    assert_eq!(client_frames(&harness.output()), [(0x89, vec![])]);
}

#[test]
fn thousands_do_not_ping_at_once() {
    let websocket = Websocket::new();
    let now = Instant::now();
    let mut when = Vec::new();
    for seed in 0..200 {
        let mut harness = Harness::new(websocket.clone(), now).seed(seed);
        harness.feed(REQUEST);
        harness.output();
        let mut after = 0;
        while harness.output().is_empty() {
            harness.advance(SECOND / 10);
            after += 1;
        }
        when.push(after);
    }
    when.sort_unstable();
    assert!(when[0] >= 262 && when[199] <= 301, "within the last eighth: {} to {}", when[0], when[199]);
    when.dedup();
    assert!(when.len() > 20);
}

#[test]
fn time_does_not_count_while_ours_is_the_turn() {
    // What the peer has sent waits for the application.
    let mut harness = server();
    harness.set_parked(true);
    harness.advance(1000 * SECOND);
    assert!(harness.is_open() && harness.output().is_empty());
    // The ping is behind what the peer has not taken yet.
    let mut harness = server();
    harness.advance(30 * SECOND);
    assert_eq!(frames(&harness.output()), [(0x89, vec![])]);
    harness.set_queued(1000);
    harness.advance(100 * SECOND);
    assert!(harness.is_open());
    harness.set_queued(0);
    harness.advance(11 * SECOND);
    assert_eq!(harness.error(), Some(&Error::NoPong));
}

#[test]
fn a_connection_that_closes_is_not_pinged() {
    let mut harness = server();
    harness.close(Some(1000), "");
    harness.output();
    harness.advance(1000 * SECOND);
    assert!(harness.is_open() && harness.output().is_empty());
}

#[test]
fn the_handshake_is_not_silence() {
    let mut harness = Harness::new(Websocket::new(), Instant::now());
    harness.advance(100 * SECOND);
    assert!(harness.is_open() && harness.output().is_empty());
    harness.feed(REQUEST);
    harness.output();
    harness.advance(26 * SECOND);
    assert!(harness.output().is_empty());
    harness.advance(35 * SECOND);
    assert_eq!(frames(&harness.output()), [(0x89, vec![])]);
}

#[test]
fn seven_weeks_are_no_problem() {
    // Milliseconds in 32 bits wrap after them.
    let websocket = Websocket::new();
    let now = Instant::now();
    drop({
        let mut first = Harness::new(websocket.clone(), now);
        first.open();
        first
    });
    let almost = Duration::from_millis(u64::from(u32::MAX) - 20_000);
    let mut harness = Harness::new(websocket, now + almost);
    harness.feed(REQUEST);
    harness.output();
    for _ in 0..5 {
        harness.advance(31 * SECOND);
        assert_eq!(frames(&harness.output()), [(0x89, vec![])]);
        harness.feed(&masked(0x8a, ""));
    }
    assert!(harness.is_open());
}
