//! Deadlines and marks.

use super::*;

#[test]
fn idle_and_body_start_again_with_bytes_and_with_nothing_else() {
    for (kind, which) in [(Deadline::Idle, Timeout::Idle), (Deadline::Body, Timeout::Body)] {
        let mut rig = Rig::open(Probe { deadline: kind, ..Probe::default() });
        rig.settings.idle_timeout = Some(30 * SECOND);
        assert_eq!(rig.deadline(), Some(30 * SECOND));
        rig.now += 20 * SECOND;
        rig.rest(false);
        assert_eq!(rig.deadline(), Some(10 * SECOND), "a send or a tick is not the peer's doing");
        rig.session.watch(true, false, false, rig.now);
        assert_eq!(rig.deadline(), Some(30 * SECOND));
        rig.now += 30 * SECOND - Duration::from_nanos(1);
        assert_eq!(rig.expired(), None, "never early");
        rig.now += Duration::from_nanos(1);
        assert_eq!(rig.expired(), Some(Expired::Timeout(which)));
        rig.turn(|session, turn, half| session.timeout(which, turn, half));
        assert_eq!(rig.said(), format!("{kind:?}").into_bytes());
    }
}

#[test]
fn handshake_and_head_cannot_be_stretched() {
    for (kind, which) in [(Deadline::Handshake, Timeout::Handshake), (Deadline::Head, Timeout::Head)] {
        let mut rig = Rig::open(Probe { deadline: kind, ..Probe::default() });
        for _ in 0..9 {
            rig.now += SECOND;
            rig.session.watch(true, false, false, rig.now);
            assert_eq!(rig.expired(), None);
        }
        rig.now += SECOND;
        assert_eq!(rig.expired(), Some(Expired::Timeout(which)));
    }
}

#[test]
fn a_head_behind_a_handled_message_is_another_one() {
    let mut rig = Rig::open(Probe { deadline: Deadline::Head, ..Probe::default() });
    for _ in 0..9 {
        rig.now += 9 * SECOND;
        assert_eq!(rig.expired(), None);
        rig.session.watch(true, true, false, rig.now);
    }
    assert_eq!(rig.deadline(), Some(10 * SECOND));
    let mut rig = Rig::open(Probe { deadline: Deadline::Handshake, ..Probe::default() });
    rig.now += 9 * SECOND;
    rig.session.watch(true, true, false, rig.now);
    assert_eq!(rig.deadline(), Some(SECOND), "there is only one handshake");
}

#[test]
fn another_kind_of_deadline_begins_anew() {
    let mut rig = Rig::open(Probe { deadline: Deadline::None, ..Probe::default() });
    assert_eq!(rig.deadline(), None);
    rig.now += 100 * SECOND;
    rig.session.protocol.deadline = Deadline::Head;
    rig.rest(false);
    assert_eq!(rig.deadline(), Some(10 * SECOND));
}

#[test]
fn no_deadline_of_the_protocol_runs_while_the_application_works_or_the_peer_takes_an_answer() {
    let mut rig = Rig::open(Probe::default());
    rig.settings.idle_timeout = Some(5 * SECOND);
    rig.rest(true);
    rig.now += 100 * SECOND;
    assert_eq!(rig.session.deadline(&rig.settings, None, true), None);
    rig.rest(false);
    assert_eq!(rig.deadline(), Some(5 * SECOND), "it begins anew");
    rig.session.pending().put_slice(&[0; 100]);
    rig.session.wrote(0, rig.now);
    rig.rest(false);
    assert_eq!(rig.deadline(), Some(30 * SECOND), "only the write deadline");
    rig.now += 29 * SECOND;
    rig.session.pending().clear(0);
    rig.session.wrote(100, rig.now);
    rig.rest(false);
    assert_eq!(rig.deadline(), Some(5 * SECOND));
    rig.session.end_of_stream();
    assert_eq!(rig.deadline(), None, "a peer that has ended cannot say more");
}

#[test]
fn a_peer_that_takes_nothing_stalls_and_one_that_takes_a_little_does_not() {
    let mut rig = Rig::open(Probe::default());
    rig.now += 1000 * SECOND;
    rig.session.pending().put_slice(&[0; 100]);
    assert_eq!(rig.deadline(), None, "nobody has offered it to the system");
    rig.session.wrote(0, rig.now);
    assert_eq!(rig.deadline(), Some(30 * SECOND));
    rig.now += 29 * SECOND;
    rig.session.wrote(0, rig.now);
    assert_eq!(rig.deadline(), Some(SECOND), "an attempt is no progress");
    rig.session.pending().advance(1);
    rig.session.wrote(1, rig.now);
    assert_eq!(rig.deadline(), Some(30 * SECOND));
    rig.session.flush_and_close(CloseReason::Local);
    rig.now += 30 * SECOND;
    assert_eq!(rig.expired(), Some(Expired::Stalled), "also on the way out");
    rig.settings.write_timeout = None;
    assert_eq!(rig.expired(), None);
}

#[test]
fn ticks_come_when_they_were_wished() {
    let mut rig = Rig::open(Probe { tick: Some(2 * SECOND), ..Probe::default() });
    assert_eq!((rig.deadline(), rig.expired()), (Some(2 * SECOND), None));
    rig.now += 2 * SECOND;
    assert_eq!(rig.expired(), Some(Expired::Tick));
    rig.turn(|session, turn, half| session.tick(turn, half)).unwrap();
    assert_eq!((rig.said(), rig.deadline()), (b"tick".to_vec(), Some(2 * SECOND)));
    rig.session.protocol.tick = None;
    rig.now += 2 * SECOND;
    rig.turn(|session, turn, half| session.tick(turn, half)).unwrap();
    assert_eq!(rig.deadline(), None);
    rig.session.flush_and_close(CloseReason::Local);
    rig.said();
    rig.turn(|session, turn, half| session.tick(turn, half)).unwrap();
    assert_eq!(rig.said(), b"", "not after the end");
}

#[test]
fn the_earlier_instant_to_leave_stays() {
    let mut rig = Rig::open(Probe::default());
    rig.session.leave_by(rig.now + 5 * SECOND);
    rig.session.leave_by(rig.now + 9 * SECOND);
    assert_eq!(rig.deadline(), Some(5 * SECOND));
    rig.now += 5 * SECOND;
    assert_eq!(rig.expired(), Some(Expired::Leave));
}

#[test]
fn an_answer_that_is_waited_for_may_stand_so_long() {
    let mut rig = Rig::open(Probe::default());
    rig.session.stand_until(rig.now + 5 * SECOND);
    rig.session.stand_until(rig.now + 9 * SECOND);
    assert_eq!(rig.deadline(), Some(9 * SECOND), "it has moved since");
    rig.session.leave_by(rig.now + 20 * SECOND);
    assert_eq!(rig.deadline(), Some(9 * SECOND));
    rig.now += 9 * SECOND;
    assert_eq!(rig.expired(), Some(Expired::Leave));
}

// ---- marks ---------------------------------------------------------------------------------------------------------

#[test]
fn the_marks_are_told_once_each() {
    let mut rig = Rig::open(Probe::default());
    rig.settings = Settings { high_water: 100, low_water: Some(40), ..Settings::default() };
    let settings = rig.settings.clone();
    assert!(!rig.session.fills(99, false, &settings));
    assert!(!rig.session.drains(0, &settings), "it was not full");
    assert!(rig.session.fills(100, false, &settings));
    assert!(!rig.session.fills(200, true, &settings), "once");
    assert!(!rig.session.drains(41, &settings));
    assert!(rig.session.drains(40, &settings));
    assert!(!rig.session.drains(0, &settings), "once");
    assert!(rig.session.fills(0, true, &settings), "a sender was told, though the queue is empty by now");
    assert!(rig.session.drains(0, &settings));
}

#[test]
fn a_body_is_awaited_from_a_peer_that_can_send_it() {
    let mut rig = Rig::open(Probe { deadline: Deadline::Body, ..Probe::default() });
    assert!(rig.session.awaits_body(8));
    rig.session.receive(&mut BytesMut::from(&[0; 8][..]));
    assert!(rig.session.awaits_body(9));
    assert!(!rig.session.awaits_body(8), "nothing more is read");
    for other in [Deadline::Handshake, Deadline::Head, Deadline::Idle, Deadline::None] {
        rig.session.protocol.deadline = other;
        assert!(!rig.session.awaits_body(9), "{other:?}");
    }
    rig.session.protocol.deadline = Deadline::Body;
    rig.session.end_of_stream();
    assert!(!rig.session.awaits_body(9), "nothing more comes");
    let mut rig = Rig::open(Probe { deadline: Deadline::Body, ..Probe::default() });
    rig.session.flush_and_close(CloseReason::Local);
    assert!(!rig.session.awaits_body(9), "nothing more matters");
}

#[test]
fn a_handshake_goes_on_while_the_application_works() {
    let mut rig = Rig::open(Probe { deadline: Deadline::Handshake, ..Probe::default() });
    for _ in 0..9 {
        rig.now += SECOND;
        rig.rest(true);
    }
    rig.session.end_of_stream();
    assert_eq!(rig.session.deadline(&rig.settings, None, true), Some(rig.now + SECOND));
    rig.now += SECOND;
    let expired = rig.session.expired(rig.now, &rig.settings, None, true);
    assert_eq!(expired, Some(Expired::Timeout(Timeout::Handshake)));
    // A protocol that does not want that says so.
    let mut rig = Rig::open(Probe { deadline: Deadline::None, ..Probe::default() });
    rig.rest(true);
    assert_eq!(rig.session.deadline(&rig.settings, None, true), None);
}
