//! What a client takes for an answer.

use std::sync::Arc;

use bytes::BytesMut;

use crate::websocket::handshake::{ClientStep, Connected, Connecting, HandshakeError, Hello, Refused};

const OFFER: &str = "permessage-deflate; client_max_window_bits";

fn connecting() -> (Connecting, String) {
    let hello = Hello::new("ws://example.com").unwrap().protocols(["chat", "superchat"]);
    let connecting = Connecting::new(Arc::new(hello), Some(OFFER.to_owned())).unwrap();
    let mut request = BytesMut::new();
    connecting.write(&mut request).unwrap();
    let request = String::from_utf8(request.to_vec()).unwrap();
    let key = request.split("\r\n").find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let key = crate::websocket::handshake::Key::parse(key.as_bytes()).unwrap();
    (connecting, key.answer().as_str().to_owned())
}

/// The verdict about an answer; `{accept}` stands for the right proof.
fn verdict(answer: &str) -> Result<Option<Connected>, HandshakeError> {
    let (mut connecting, accept) = connecting();
    let mut input = BytesMut::from(answer.replace("{accept}", &accept).as_bytes());
    connecting.step(&mut input).map(|step| match step {
        ClientStep::Open(connected) => Some(*connected),
        ClientStep::Need => None,
    })
}

/// An answer without the fields that are named, and with these lines.
fn head(without: &str, with: &[&str]) -> String {
    let mut head = String::from("HTTP/1.1 101 Switching Protocols\r\n");
    for (name, value) in
        [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", "{accept}")]
    {
        if name != without {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    for line in with.iter().filter(|line| !line.is_empty()) {
        head.push_str(&format!("{line}\r\n"));
    }
    head + "\r\n"
}

#[test]
fn a_right_answer_opens_the_connection() {
    let connected = verdict(&head("", &["X-Own: yes"])).unwrap().unwrap();
    assert_eq!(connected.response.headers().get_str("x-own"), Some("yes"));
    assert_eq!((connected.agreement.protocol, connected.agreement.extensions), (None, vec![]));
    for (without, with) in [
        ("Upgrade", "upgrade: WebSocket"),
        ("Connection", "Connection: keep-alive, UPGRADE"),
        ("Sec-WebSocket-Accept", "sec-websocket-accept: \t {accept} "),
        ("", "Sec-WebSocket-Version: 13"),
        // RFC 9112 section 6.3: a 101 has no body, whatever it says.
        ("", "Content-Length: 0"),
    ] {
        assert!(verdict(&head(without, &[with])).unwrap().is_some(), "{with}");
    }
    let agreed = ["Sec-WebSocket-Protocol: superchat", "Sec-WebSocket-Extensions: permessage-deflate; x=1"];
    let agreement = verdict(&head("", &agreed)).unwrap().unwrap().agreement;
    assert_eq!(agreement.protocol.as_deref(), Some("superchat"));
    assert_eq!(agreement.extensions[0].to_string(), "permessage-deflate; x=1");
}

#[test]
fn each_rule_is_kept() {
    // RFC 6455 section 4.1, the second list.
    for (without, with) in [
        // Item 2.
        ("Upgrade", ""),
        ("Upgrade", "Upgrade: h2c"),
        ("Upgrade", "Upgrade: websocket, h2c"),
        ("", "Upgrade: websocket"),
        // Item 3.
        ("Connection", ""),
        ("Connection", "Connection: keep-alive"),
        // Item 4.
        ("Sec-WebSocket-Accept", ""),
        ("Sec-WebSocket-Accept", "Sec-WebSocket-Accept:"),
        ("Sec-WebSocket-Accept", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("Sec-WebSocket-Accept", "Sec-WebSocket-Accept: {accept}=="),
        ("", "Sec-WebSocket-Accept: {accept}"),
        // Item 5.
        ("", "Sec-WebSocket-Extensions:"),
        ("", "Sec-WebSocket-Extensions: x-webkit-deflate-frame"),
        ("", "Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate"),
        ("", "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Extensions: permessage-deflate"),
        ("", "Sec-WebSocket-Extensions: permessage-deflate;"),
        // Item 6.
        ("", "Sec-WebSocket-Protocol:"),
        ("", "Sec-WebSocket-Protocol: other"),
        ("", "Sec-WebSocket-Protocol: Chat"),
        ("", "Sec-WebSocket-Protocol: chat, superchat"),
        ("", "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat"),
    ] {
        let answer = head(without, &[with]);
        assert!(matches!(verdict(&answer), Err(HandshakeError::Answer(_))), "{answer}");
    }
    let old = head("", &[]).replacen("1.1", "1.0", 1);
    assert!(matches!(verdict(&old), Err(HandshakeError::Answer(_))), "there is no upgrade in HTTP/1.0");
    for wrong in [
        "SSH-2.0-server\r\n",
        "\x15\x03\x01",
        "HTTP/2.0 101 x\r\n\r\n",
        "HTTP/1.1 101\nUpgrade: websocket\n\n",
    ] {
        assert!(matches!(verdict(wrong), Err(HandshakeError::Answer(_))), "{wrong:?}");
    }
    let endless = format!("HTTP/1.1 101 x\r\nX: {}", "a".repeat(20_000));
    assert!(matches!(verdict(&endless), Err(HandshakeError::Answer(_))));
}

#[test]
fn an_answer_may_come_in_any_pieces_and_frames_behind_it_stay() {
    let template = head("", &["Sec-WebSocket-Protocol: chat"]);
    let (_, accept) = connecting();
    let length = template.replace("{accept}", &accept).len();
    for cut in 0..=length {
        let (mut connecting, accept) = connecting();
        let bytes = format!("{}\u{1}\u{2}", template.replace("{accept}", &accept));
        let mut input = BytesMut::from(&bytes.as_bytes()[..cut]);
        let mut step = connecting.step(&mut input).unwrap();
        assert_eq!(matches!(step, ClientStep::Need), cut < length, "at {cut}");
        input.extend_from_slice(&bytes.as_bytes()[cut..]);
        if cut < length {
            step = connecting.step(&mut input).unwrap();
        }
        assert!(matches!(step, ClientStep::Open(_)), "at {cut}");
        assert_eq!(&input[..], b"\x01\x02");
    }
}

#[test]
fn interim_answers_are_passed_over() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    assert!(verdict(&(early.repeat(3) + &head("", &[]))).unwrap().is_some());
    assert!(matches!(verdict(&early.repeat(17)), Err(HandshakeError::Answer(_))), "there are too many");
}

fn refused(answer: &str) -> Refused {
    match verdict(answer) {
        Err(HandshakeError::Refused(refused)) => *refused,
        other => panic!("{other:?} for {answer}"),
    }
}

#[test]
fn a_refusal_has_its_status_and_the_head_of_its_body() {
    let refusal = refused("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nX-Why: so\r\n\r\nno waybehind");
    assert_eq!((refusal.status().as_u16(), &refusal.body()[..]), (403, &b"no wa"[..]));
    assert_eq!(refusal.headers().get_str("x-why"), Some("so"));
    assert_eq!(refusal.location(), None);
    assert_eq!(
        HandshakeError::Refused(Box::new(refusal)).to_string(),
        "the server answered the handshake with 403 Forbidden"
    );
    let redirect = refused("HTTP/1.1 302 Found\r\nLocation: ws://b/\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((redirect.status().as_u16(), redirect.location()), (302, Some("ws://b/")));
    let plain = refused(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n",
    );
    assert_eq!((plain.status().as_u16(), &plain.body()[..]), (200, &b"abcdefg"[..]));
    assert_eq!(refused("HTTP/1.1 204 No Content\r\n\r\n").body().len(), 0);
    assert_eq!(refused("HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n").status().as_u16(), 299);
}

#[test]
fn no_more_of_a_body_is_kept_than_1_kib() {
    let long = "x".repeat(5000);
    for head in ["Content-Length: 5000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1388\r\n", "\r\n"] {
        let refusal = refused(&format!("HTTP/1.1 500 Oh\r\n{head}{long}"));
        assert_eq!(refusal.body().len(), Refused::MAX_BODY, "{head}");
    }
}

#[test]
fn a_refusal_in_pieces_is_complete_with_its_end() {
    for (answer, wanted) in [
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 6\r\n\r\nlog in", "log in"),
        (
            "HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nlog\r\n3\r\n in\r\n0\r\n\r\n",
            "log in",
        ),
        ("HTTP/1.1 401 Unauthorized\r\n\r\nlog in", "log in"),
    ] {
        for cut in 0..answer.len() {
            let (mut connecting, _) = connecting();
            let mut input = BytesMut::from(&answer.as_bytes()[..cut]);
            assert!(matches!(connecting.step(&mut input), Ok(ClientStep::Need)), "{answer} at {cut}");
            input.extend_from_slice(&answer.as_bytes()[cut..]);
            let error = connecting.step(&mut input).err().unwrap_or_else(|| connecting.ended());
            let HandshakeError::Refused(refusal) = error else { panic!("{error:?} for {answer} at {cut}") };
            assert_eq!(refusal.body(), wanted, "{answer} at {cut}");
        }
    }
}

#[test]
fn an_end_in_between_tells_what_is_known() {
    let (mut fresh, _) = connecting();
    assert_eq!(fresh.ended(), HandshakeError::Ended);
    let (mut refusing, _) = connecting();
    let mut input = BytesMut::from(&b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nlater"[..]);
    assert!(matches!(refusing.step(&mut input), Ok(ClientStep::Need)));
    let HandshakeError::Refused(refusal) = refusing.ended() else { panic!("it was refused") };
    assert_eq!((refusal.status().as_u16(), refusal.body().as_ref()), (503, &b"later"[..]));
}

#[test]
fn each_handshake_has_its_own_key() {
    let (_, first) = connecting();
    let (_, second) = connecting();
    assert_ne!(first, second);
}
