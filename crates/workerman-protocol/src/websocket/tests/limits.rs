//! Limits: checked before anything is waited for (1009).

use super::*;
use crate::testing::limits;
use crate::websocket::Error;

fn limited(frame: usize, message: usize, fragments: u32) -> impl Fn() -> Harness<Websocket> {
    move || server_of(Websocket::new().max_frame(frame).max_message(message).max_fragments(fragments))
}

#[test]
fn a_frame_is_refused_by_its_length_alone() {
    for (frame, message, what) in [(1000, 10_000, "a frame"), (10_000, 1000, "a message")] {
        let make = limited(frame, message, 10);
        assert_eq!(every_split(&make, &masked(0x82, [0; 1000])).seen.len(), 1);
        let refused = refused_by(&make, &header(0x82, 1001, Some(KEY)), 1009);
        assert_eq!(refused.ended, Ended::Failed(Error::TooBig { what, limit: 1000 }.to_string()));
        // Not even the key has to arrive.
        refused_by(
            &make,
            &header(0x82, 1001, None)
                .iter()
                .enumerate()
                .map(|(i, b)| if i == 1 { b | 0x80 } else { *b })
                .collect::<Vec<_>>(),
            1009,
        );
        refused_by(&make, &masked(0x82, [0; 1001]), 1009);
        // The longest there is.
        refused_by(&make, b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 1009);
    }
}

#[test]
fn fragments_count_together() {
    let make = limited(1000, 100, 10);
    let fine = [masked(0x02, [0; 60]), masked(0x80, [0; 40])].concat();
    assert_eq!(every_split(&make, &[fine.clone(), fine].concat()).seen.len(), 2);
    let over = [masked(0x02, [0; 60]), masked(0x00, [0; 40]), header(0x80, 1, Some(KEY))].concat();
    refused_by(&make, &over, 1009);
}

#[test]
fn the_number_of_fragments_has_a_limit_even_if_they_are_empty() {
    let make = limited(1000, 100, 3);
    let fine = [masked(0x02, ""), masked(0x00, ""), masked(0x80, "")].concat();
    assert_eq!(every_split(&make, &fine).seen.len(), 1);
    refused_by(
        &make,
        &[masked(0x02, ""), masked(0x00, ""), masked(0x00, ""), masked(0x80, "")].concat(),
        1009,
    );
    // The default, in full.
    let mut harness = server();
    harness.feed(&masked(0x02, ""));
    harness.feed(&masked(0x00, "").repeat(131_071));
    assert!(harness.is_open());
    harness.feed(&masked(0x00, ""));
    assert_eq!(close_code(&harness.output()), Some(1009));
}

#[test]
fn limits_hold_in_every_cut() {
    for input in [
        masked(0x82, [0; 3000]),
        [masked(0x02, [0; 900]), masked(0x80, [0; 900])].concat(),
        header(0x82, 1 << 40, Some(KEY)),
        masked(0x02, "").repeat(2),
    ] {
        assert!(matches!(limits(limited(1000, 1000, 5), &input).ended, Ended::Failed(_)));
    }
}

#[test]
fn memory_follows_what_has_arrived() {
    // The harness watches that the decoder reserves nothing that was only announced.
    let mut harness = server();
    harness.feed(&header(0x02, 9_000_000, Some(KEY)));
    harness.feed(&[0; 10_000]);
    assert_eq!(harness.needs(), 8_990_000);
    assert!(harness.undecoded().is_empty());
    let mut harness = server();
    harness.feed(&header(0x82, 9_000_000, Some(KEY)));
    harness.feed(&[0; 10_000]);
    assert_eq!((harness.needs(), harness.undecoded().len()), (8_990_000, 10_014));
}

#[test]
fn a_flood_of_pings_does_not_pile_up() {
    let mut harness = server();
    harness.set_queued(1024 * 1024);
    for i in 0..10_000 {
        harness.feed(&masked(0x89, format!("{i}")));
    }
    assert!(harness.output().is_empty() && harness.is_blocked());
    assert_eq!(harness.seen().len(), 10_000);
    // When there is room, the latest one is answered.
    harness.set_queued(0);
    harness.decode();
    assert_eq!(frames(&harness.output()), [(0x8a, b"9999".to_vec())]);
    assert!(!harness.is_blocked() && harness.protocol().is_idle());
    harness.feed(&masked(0x89, "again"));
    assert_eq!(frames(&harness.output()), [(0x8a, b"again".to_vec())]);
}

#[test]
fn a_pong_that_waits_does_not_keep_a_large_frame_from_coming() {
    let mut harness = server();
    harness.set_queued(1024 * 1024);
    let large = masked(0x82, "x".repeat(100_000));
    harness.feed(&[&masked(0x89, "1")[..], &large[..70_000]].concat());
    assert!(!harness.is_blocked() && harness.needs() == large.len() - 70_000);
    harness.feed(&large[70_000..]);
    assert_eq!((harness.messages().len(), harness.is_blocked()), (1, true));
    harness.set_queued(0);
    harness.decode();
    assert_eq!(frames(&harness.output()), [(0x8a, b"1".to_vec())]);
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Websocket>() <= 40, "{} bytes", size_of::<Websocket>());
    let mut harness = server();
    harness.feed(&[masked(0x01, "a"), masked(0x80, "b"), masked(0x89, ""), masked(0x81, "c")].concat());
    assert!(harness.protocol().is_idle());
}
