//! Sections 5.5.1 and 7: closing.

use super::*;
use crate::websocket::Error;
use crate::{Deadline, Failure, Goodbye, Recovery};

/// A server's connection after a close frame of its client: what it answers.
fn answered(payload: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let transcript = every_split(server, &masked(0x88, payload));
    assert!(transcript.finished && transcript.ended == Ended::Clean);
    frames(&transcript.output)
}

#[test]
fn a_close_frame_is_answered_with_its_code() {
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        assert_eq!(answered(&closing(code, "")), [(0x88, closing(code, ""))]);
        assert_eq!(answered(&closing(code, "why not")), [(0x88, closing(code, ""))]);
    }
    assert_eq!(answered(&closing(1000, &"é".repeat(61))), [(0x88, closing(1000, ""))]);
    assert_eq!(answered(b""), [(0x88, vec![])]);
}

#[test]
fn a_wrong_close_frame_is_a_broken_protocol() {
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        refused(&masked(0x88, closing(code, "")), 1002);
    }
    refused(&masked(0x88, [3]), 1002);
    refused(&masked(0x88, b"\x03\xe8\xff"), 1007);
    refused(&masked(0x88, b"\x03\xe8a\xe2\x82"), 1007);
    refused(&masked(0x88, [0; 126]), 1002);
}

#[test]
fn nothing_is_read_behind_a_close_frame() {
    let close = masked(0x88, closing(1000, "bye"));
    for behind in [masked(0x89, "ping"), masked(0x81, "text"), masked(0x83, "reserved"), close.clone()] {
        let transcript = every_split(server, &[masked(0x81, "before"), close.clone(), behind].concat());
        assert_eq!(transcript.seen, [text("before")]);
        assert_eq!(frames(&transcript.output), [(0x88, closing(1000, ""))]);
        assert_eq!(transcript.ended, Ended::Clean);
    }
}

#[test]
fn what_a_peer_says_in_the_end_is_told() {
    let mut harness = server();
    harness.feed(&masked(0x88, closing(4001, "enough")));
    assert_eq!(farewell(&harness), (4001, "enough".into(), true, true));
    let mut harness = server();
    harness.feed(&masked(0x88, ""));
    assert_eq!(farewell(&harness), (1005, String::new(), true, true));
    let mut harness = server();
    harness.feed(&masked(0x83, ""));
    assert_eq!(
        farewell(&harness),
        (1002, "the peer broke the protocol: a reserved opcode".into(), false, false)
    );
    let harness = server();
    assert_eq!(harness.protocol().farewell(), None);
}

#[test]
fn this_side_closes_and_waits_for_the_answer() {
    let mut harness = server();
    assert_eq!(harness.close(Some(1001), "going"), Goodbye::WhenPeerCloses);
    assert_eq!(frames(&harness.output()), [(0x88, closing(1001, "going"))]);
    // Once is enough.
    assert_eq!(harness.close(Some(1000), ""), Goodbye::WhenPeerCloses);
    assert_eq!(farewell(&harness), (1001, "going".into(), false, false));
    // What is still on its way is of no interest any more, nor is it answered.
    harness.feed(&[masked(0x81, "late"), masked(0x89, "late"), masked(0x01, "la")].concat());
    assert!(harness.seen().is_empty() && harness.output().is_empty() && !harness.is_finished());
    harness.feed(&[masked(0x80, "te"), masked(0x88, closing(1001, ""))].concat());
    assert!(harness.seen().is_empty() && harness.output().is_empty() && harness.is_finished());
    assert_eq!(farewell(&harness), (1001, "going".into(), false, true));
    harness.eof();
    assert_eq!(*harness.ended(), Ended::Clean);
}

#[test]
fn without_a_code_it_is_a_normal_one() {
    let mut harness = server();
    harness.close(None, "");
    assert_eq!(frames(&harness.output()), [(0x88, closing(1000, ""))]);
}

#[test]
fn a_code_that_may_not_be_sent_is_not_sent() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        let mut harness = server();
        harness.close(Some(code), "reason");
        assert_eq!(frames(&harness.output()), [(0x88, vec![])]);
    }
}

#[test]
fn a_reason_that_is_too_long_is_cut_between_characters() {
    let mut harness = server();
    harness.close(Some(4000), &"é".repeat(500));
    assert_eq!(frames(&harness.output()), [(0x88, closing(4000, &"é".repeat(61)))]);
}

#[test]
fn an_error_behind_our_own_close_frame_is_not_told_again() {
    let mut harness = server();
    harness.close(Some(1000), "");
    harness.output();
    harness.feed(&masked(0x83, ""));
    assert!(matches!(harness.error(), Some(Error::Protocol(_))));
    assert!(harness.output().is_empty());
}

#[test]
fn a_side_that_drains_still_receives() {
    let mut harness = server();
    assert_eq!(harness.goodbye(), Goodbye::WhenPeerCloses);
    assert_eq!(close_code(&harness.output()), Some(1001));
    harness.feed(&masked(0x81, "sent before you said it"));
    assert_eq!(harness.messages(), ["sent before you said it"]);
    harness.feed(&masked(0x88, closing(1001, "")));
    assert!(harness.is_finished() && harness.output().is_empty());
    assert!(farewell(&harness).3);
    // Nothing more to say.
    assert_eq!(harness.goodbye(), Goodbye::Now);
}

#[test]
fn nothing_is_sent_behind_a_close_frame() {
    let closed_by_peer = || {
        let mut harness = client();
        harness.feed(&plain(0x88, closing(1000, "")));
        harness
    };
    let closed = || {
        let mut harness = client();
        harness.close(None, "");
        harness
    };
    let drained = || {
        let mut harness = client();
        harness.goodbye();
        harness
    };
    for mut harness in [closed_by_peer(), closed(), drained()] {
        assert!(harness.is_shut());
        harness.send("too late").unwrap();
        harness.feed(&plain(0x89, ""));
        harness.advance(std::time::Duration::from_secs(100));
        assert_eq!(client_frames(&harness.output()).len(), 1);
    }
}

#[test]
fn what_a_handler_at_work_has_to_say_comes_before_the_answer() {
    let mut harness = server();
    harness.feed(&masked(0x81, "question"));
    harness.set_handling(true);
    harness.feed(&masked(0x88, closing(1000, "")));
    assert!(harness.is_blocked() && harness.output().is_empty());
    harness.send("answer").unwrap();
    harness.set_handling(false);
    harness.decode();
    assert_eq!(frames(&harness.output()), [(0x81, b"answer".to_vec()), (0x88, closing(1000, ""))]);
    assert!(harness.is_finished());
}

#[test]
fn closes_that_cross_are_not_answered() {
    let (mut server, mut client) = (server(), client());
    server.close(Some(1000), "");
    client.close(Some(1001), "");
    let (of_server, of_client) = (server.output(), client.output());
    server.feed(&of_client);
    client.feed(&of_server);
    assert!(server.output().is_empty() && client.output().is_empty());
    assert!(server.is_finished() && !client.is_finished());
    assert!(farewell(&server).3 && farewell(&client).3);
}

#[test]
fn a_client_waits_for_the_server_to_end() {
    // Section 7.1.1.
    let mut harness = client();
    harness.feed(&plain(0x88, closing(1000, "done")));
    assert_eq!(client_frames(&harness.output()), [(0x88, closing(1000, ""))]);
    assert!(!harness.is_finished() && harness.is_open());
    assert_eq!(farewell(&harness), (1000, "done".into(), true, true));
    // Not for ever.
    assert_eq!(harness.protocol().deadline(), Deadline::Handshake);
    harness.eof();
    assert_eq!(*harness.ended(), Ended::Clean);
}

#[test]
fn an_end_without_a_close_frame() {
    let mut harness = server();
    harness.eof();
    assert_eq!(*harness.ended(), Ended::Clean);
    assert_eq!(farewell(&harness), (1006, String::new(), true, false));
    for cut in 1..8 {
        let mut harness = server();
        harness.feed(&masked(0x81, "ab")[..cut]);
        harness.eof();
        let expected = if cut < 8 { Ended::Truncated } else { Ended::Clean };
        assert_eq!(*harness.ended(), expected);
    }
    // Between the fragments of a message is within it.
    let mut harness = server();
    harness.feed(&masked(0x01, "a"));
    harness.eof();
    assert_eq!(*harness.ended(), Ended::Truncated);
}

#[test]
fn a_handler_that_failed_is_told_to_the_peer() {
    let mut harness = server();
    harness.feed(&masked(0x81, "hello"));
    assert_eq!(harness.failed(Failure::Panic), Recovery::End);
    assert_eq!(close_code(&harness.output()), Some(1011));
}

#[test]
fn silence_that_is_too_long_is_told_to_the_peer() {
    let mut harness = server();
    assert_eq!(harness.timeout(), Deadline::Idle);
    assert_eq!(close_code(&harness.output()), Some(1001));
}

#[test]
fn a_connection_that_is_not_open_has_nothing_to_say() {
    let mut server = Harness::new(Websocket::new(), Instant::now());
    assert_eq!(server.close(Some(1000), ""), Goodbye::Now);
    assert_eq!(server.goodbye(), Goodbye::Now);
    assert!(server.output().is_empty());
    assert_eq!(server.protocol().deadline(), Deadline::Handshake);
}
