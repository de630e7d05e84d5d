//! A table for each rule of RFC 6455 section 4.2, over heads as they are sent.

use std::task::Waker;

use bytes::BytesMut;

use crate::Outbox;
use crate::http::switch;
use crate::websocket::handshake::{Accept, Accepted, Accepting, Extension, Policy, Refusal, Step};

pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A handshake without the fields that are named, and with these lines.
pub(super) fn head(without: &[&str], with: &[&str]) -> String {
    let mut head = String::from("GET /chat HTTP/1.1\r\n");
    for (name, value) in [
        ("Host", "example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ] {
        if !without.contains(&name) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    for line in with {
        head.push_str(&format!("{line}\r\n"));
    }
    head + "\r\n"
}

pub(super) fn step(policy: &Policy, bytes: &[u8]) -> Step {
    let mut input = BytesMut::from(bytes);
    Accepting::new().step(&mut input, policy, false, None, Waker::noop())
}

fn accepted(policy: &Policy, head: &str) -> Accepted {
    match step(policy, head.as_bytes()) {
        Step::Open(accepted) => *accepted,
        Step::Refuse(refusal) => panic!("{refusal} for {head}"),
        _ => panic!("not complete: {head}"),
    }
}

pub(super) fn refused(policy: &Policy, head: &str) -> Refusal {
    match step(policy, head.as_bytes()) {
        Step::Refuse(refusal) => refusal,
        Step::Open(_) => panic!("taken: {head}"),
        _ => panic!("not complete: {head}"),
    }
}

/// The answer as it is sent.
fn answer(policy: &Policy, head: &str, accept: Accept, extension: Option<&str>) -> String {
    let Accepted { upgrade, .. } = accepted(policy, head);
    let settled = upgrade.settle(accept, extension.map(str::to_owned)).unwrap();
    let mut out = Outbox::new();
    switch::write(settled.response(), false, 0, &mut out).unwrap();
    String::from_utf8(out.into_bytes().to_vec()).unwrap()
}

fn refusal_text(refusal: &Refusal) -> String {
    let mut out = Outbox::new();
    switch::write(refusal.response(), refusal.to_head(), 0, &mut out).unwrap();
    String::from_utf8(out.into_bytes().to_vec()).unwrap()
}

#[test]
fn the_example_of_the_rfc_is_answered_as_there() {
    // Section 1.2.
    let policy = Policy::new().protocols(["superchat", "chat"]);
    let with = ["Origin: http://example.com", "Sec-WebSocket-Protocol: chat, superchat"];
    assert_eq!(
        answer(&policy, &head(&[], &with), Accept::new(), None),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: superchat\r\n\
         Connection: Upgrade\r\n\r\n"
    );
}

#[test]
fn what_must_be_there_may_be_among_others() {
    for (without, with) in [
        ("Upgrade", "Upgrade: h2c, WebSocket"),
        ("Upgrade", "upgrade: foo/1.0,websocket"),
        ("Upgrade", "Upgrade: \t WEBSOCKET \t "),
        ("Connection", "Connection: keep-alive, upgrade"),
        ("Connection", "connection: UPGRADE"),
        ("Connection", "Connection: keep-alive\r\nConnection: Upgrade"),
        ("", "Sec-WebSocket-Something: else"),
        ("", "Sec-WebSocket-Accept: of a client means nothing"),
        ("", "Content-Length: 0"),
    ] {
        accepted(&Policy::new(), &head(&[without], &[with]));
    }
}

#[test]
fn each_rule_has_its_answer() {
    let policy = Policy::new();
    for (status, without, with) in [
        // Section 4.2.1, item 3.
        (400, "Upgrade", ""),
        (400, "Upgrade", "Upgrade: h2c"),
        (400, "Upgrade", "Upgrade: websocket/13"),
        (400, "Upgrade", "Upgrade: websockets"),
        (400, "Upgrade", "Upgrade: web socket"),
        // Item 4.
        (400, "Connection", ""),
        (400, "Connection", "Connection: close"),
        (400, "Connection", "Connection: upgraded"),
        // Item 2, and RFC 9112 section 3.2.
        (400, "Host", ""),
        (400, "", "Host: example.com"),
        (400, "Host", "Host: a b"),
        // Item 5.
        (400, "Sec-WebSocket-Key", ""),
        (400, "", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        (400, "", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="),
        (400, "Sec-WebSocket-Key", "Sec-WebSocket-Key:"),
        (400, "Sec-WebSocket-Key", "Sec-WebSocket-Key: short"),
        (400, "Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="),
        (400, "Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWE="),
        (400, "Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, x"),
        // Item 6 and section 4.4.
        (426, "Sec-WebSocket-Version", ""),
        (426, "Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
        (426, "Sec-WebSocket-Version", "Sec-WebSocket-Version: 0"),
        (426, "Sec-WebSocket-Version", "Sec-WebSocket-Version: 14"),
        (426, "Sec-WebSocket-Version", "Sec-WebSocket-Version: 013"),
        (426, "Sec-WebSocket-Version", "Sec-WebSocket-Version: 13, 8"),
        (426, "Sec-WebSocket-Version", "Sec-WebSocket-Version: thirteen"),
        (400, "", "Sec-WebSocket-Version: 13"),
        // Frames begin behind the head.
        (400, "", "Content-Length: 5"),
        (400, "", "Transfer-Encoding: chunked"),
        // Section 4.1, item 10.
        (400, "", "Sec-WebSocket-Protocol:"),
        (400, "", "Sec-WebSocket-Protocol: a b"),
        (400, "", "Sec-WebSocket-Protocol: chat, \"chat\""),
        (400, "", "Sec-WebSocket-Protocol: chat, chat"),
        (400, "", "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat"),
        // Section 9.1.
        (400, "", "Sec-WebSocket-Extensions:"),
        (400, "", "Sec-WebSocket-Extensions: permessage-deflate;"),
        (400, "", "Sec-WebSocket-Extensions: permessage-deflate; =1"),
        (400, "", "Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b="),
        (400, "", "Origin: http://a.example\r\nOrigin: http://b.example"),
    ] {
        let head =
            head(&[without], &[with].iter().copied().filter(|line| !line.is_empty()).collect::<Vec<_>>());
        assert_eq!(refused(&policy, &head).status(), status, "{head}");
    }
}

#[test]
fn other_methods_and_versions_are_told_what_is_right() {
    let policy = Policy::new();
    for method in ["POST", "HEAD", "PUT", "OPTIONS", "BREW", "get"] {
        let head = head(&[], &[]).replacen("GET", method, 1);
        let refusal = refused(&policy, &head);
        assert_eq!(refusal.status(), 405, "{method}");
        let text = refusal_text(&refusal);
        assert!(text.contains("\r\nAllow: GET\r\n"), "{text}");
        // RFC 9110 section 9.3.2.
        assert_eq!(text.ends_with("\r\n\r\n"), method == "HEAD", "{text}");
    }
    assert_eq!(refused(&policy, &head(&[], &[]).replacen("1.1", "1.0", 1)).status(), 505);
    assert_eq!(refused(&policy, &head(&[], &[]).replacen("1.1", "2.0", 1)).status(), 505);
}

#[test]
fn a_plain_request_is_told_what_is_spoken_here() {
    let head = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
    assert_eq!(
        refusal_text(&refused(&Policy::new(), head)),
        "HTTP/1.1 426 Upgrade Required\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    for other in
        ["GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"]
    {
        assert_eq!(refused(&Policy::new(), other).status(), 426, "{other}");
    }
}

#[test]
fn the_version_is_told_with_a_wrong_one() {
    // Section 4.4.
    let head = head(&["Sec-WebSocket-Version"], &["Sec-WebSocket-Version: 25"]);
    let text = refusal_text(&refused(&Policy::new(), &head));
    assert!(
        text.starts_with("HTTP/1.1 426 ") && text.contains("\r\nSec-WebSocket-Version: 13\r\n"),
        "{text}"
    );
}

#[test]
fn the_servers_taste_chooses_the_sub_protocol() {
    // Section 4.2.2, item 5.5.
    let policy = Policy::new().protocols(["b", "c", "d"]);
    let choice = |offers: &[&str]| {
        let Accepted { upgrade, .. } = accepted(&policy, &head(&[], offers));
        upgrade.protocol().map(str::to_owned)
    };
    assert_eq!(choice(&["Sec-WebSocket-Protocol: c, b"]).as_deref(), Some("b"));
    assert_eq!(choice(&["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: d"]).as_deref(), Some("d"));
    assert_eq!(choice(&["Sec-WebSocket-Protocol: a, B"]), None, "the case counts");
    assert_eq!(choice(&[]), None);
    let Accepted { upgrade, .. } = accepted(&policy, &head(&[], &["Sec-WebSocket-Protocol: x, c,, a"]));
    assert_eq!(upgrade.offered_protocols().collect::<Vec<_>>(), ["x", "c", "a"]);
}

#[test]
fn the_application_has_the_last_word_about_the_sub_protocol() {
    let policy = Policy::new().protocols(["b"]);
    let head = head(&[], &["Sec-WebSocket-Protocol: a, b"]);
    let line = |accept| {
        let answer = answer(&policy, &head, accept, None);
        let line = answer.split("\r\n").find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        line.map(str::to_owned)
    };
    assert_eq!(line(Accept::new()).as_deref(), Some("b"));
    assert_eq!(line(Accept::new().protocol("a")).as_deref(), Some("a"));
    assert_eq!(line(Accept::new().no_protocol()), None);
    let Accepted { upgrade, .. } = accepted(&policy, &head);
    assert!(upgrade.settle(Accept::new().protocol("c"), None).is_err(), "it was not offered");
}

#[test]
fn extensions_are_offered_and_agreed_on() {
    let offers = ["Sec-WebSocket-Extensions: x-unknown; a=b", "Sec-WebSocket-Extensions: permessage-deflate"];
    let Accepted { upgrade, .. } = accepted(&Policy::new(), &head(&[], &offers));
    let names: Vec<_> = upgrade.offered_extensions().iter().map(Extension::name).collect();
    assert_eq!(names, ["x-unknown", "permessage-deflate"]);
    let with = answer(&Policy::new(), &head(&[], &offers), Accept::new(), Some("permessage-deflate"));
    assert!(with.contains("\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"), "{with}");
    let without = answer(&Policy::new(), &head(&[], &offers), Accept::new(), None);
    assert!(!without.contains("Extensions"), "unknown ones are left alone: {without}");
}

#[test]
fn fields_of_the_application_are_sent_and_nothing_can_be_smuggled_in() {
    let accept = Accept::new().header("Set-Cookie", "a=1").header("set-cookie", "b=2").header("X-Own", "yes");
    let text = answer(&Policy::new(), &head(&[], &[]), accept, None);
    assert!(text.contains("Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Own: yes\r\n"), "{text}");
    for (name, value) in [
        ("x-own", "a\r\nInjected: yes"),
        ("x-own", "a\n"),
        ("x-own", "\0"),
        ("x own", "a"),
        ("x-own\r\ninjected", "a"),
        ("", "a"),
        ("sec-websocket-accept", "x"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", "x"),
        ("Connection", "close"),
        ("Upgrade", "h2c"),
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
    ] {
        let Accepted { upgrade, .. } = accepted(&Policy::new(), &head(&[], &[]));
        // One mistake is enough, whatever comes behind it.
        let accept = Accept::new().header(name, value).header("x-fine", "yes");
        assert!(upgrade.settle(accept, None).is_err(), "{name:?}: {value:?}");
    }
}

#[test]
fn pages_of_other_hosts_cannot_use_cookies() {
    // Section 10.2; the table of origins is beside their code.
    let policy = Policy::new();
    let own = "Origin: https://example.com";
    let other = "Origin: https://evil.example";
    for credentials in ["Cookie: id=1", "Authorization: Basic YTpi"] {
        accepted(&policy, &head(&[], &[own, credentials]));
        accepted(&policy, &head(&[], &[credentials]));
        let refusal = refused(&policy, &head(&[], &[other, credentials]));
        assert_eq!(refusal.status(), 403);
        assert_eq!((refusal.origin(), refusal.host()), (Some("https://evil.example"), Some("example.com")));
        assert_eq!(refused(&policy, &head(&[], &["Origin: null", credentials])).status(), 403);
    }
    accepted(&policy, &head(&[], &[other]));
    let listed = Policy::new().origins(["https://friend.example"]);
    accepted(&listed, &head(&[], &["Origin: https://friend.example", "Cookie: id=1"]));
    assert_eq!(refused(&listed, &head(&[], &[other])).status(), 403);
    assert_eq!(refused(&listed, &head(&[], &[own])).status(), 403);
    accepted(&listed, &head(&[], &[]));
}

#[test]
#[should_panic(expected = "not an origin")]
fn an_origin_that_is_none_is_found_when_the_server_is_built() {
    let _ = Policy::new().origins(["example.com"]);
}

#[test]
#[should_panic(expected = "forbidden character")]
fn a_sub_protocol_that_is_no_token_is_found_when_the_server_is_built() {
    let _ = Policy::new().protocols(["a b"]);
}

#[test]
fn a_head_may_come_in_any_pieces_and_frames_behind_it_stay() {
    let head = head(&[], &["Cookie: a=b"]);
    let bytes = [head.as_bytes(), b"\x81\x80abcd"].concat();
    for cut in 0..bytes.len() {
        let mut accepting = Accepting::new();
        let mut input = BytesMut::from(&bytes[..cut]);
        let mut step = accepting.step(&mut input, &Policy::new(), false, None, Waker::noop());
        assert_eq!(matches!(step, Step::Need), cut < head.len(), "at {cut}");
        input.extend_from_slice(&bytes[cut..]);
        if cut < head.len() {
            step = accepting.step(&mut input, &Policy::new(), false, None, Waker::noop());
        }
        assert!(matches!(step, Step::Open(_)), "at {cut}");
        assert_eq!(&input[..], b"\x81\x80abcd", "at {cut}");
    }
}

#[test]
fn a_head_has_limits() {
    let long = head(&[], &[&format!("X-Long: {}", "a".repeat(17_000))]);
    assert_eq!(refused(&Policy::new(), &long).status(), 431);
    // Before its end has come.
    assert_eq!(refused(&Policy::new(), &long[..17_000]).status(), 431);
    let many: Vec<String> = (0..200).map(|number| format!("X-{number}: a")).collect();
    let many = head(&[], &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(refused(&Policy::new(), &many).status(), 431);
    let line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000));
    assert_eq!(refused(&Policy::new(), &line).status(), 414);
    assert_eq!(refused(&Policy::new(), "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03").status(), 400);
}

#[test]
fn a_handshake_that_takes_too_long_has_its_answer() {
    let mut accepting = Accepting::new();
    let mut input = BytesMut::from(&b"GET / HT"[..]);
    assert!(matches!(accepting.step(&mut input, &Policy::new(), false, None, Waker::noop()), Step::Need));
    assert_eq!(accepting.timeout().status(), 408);
}
