//! What a client asks with.

use bytes::BytesMut;

use crate::websocket::handshake::{HandshakeError, Hello, Key};

fn written(hello: &Hello, extensions: Option<&str>) -> Result<String, HandshakeError> {
    let mut out = BytesMut::new();
    let result = hello.write(&Key::of(*b"the sample nonce"), extensions, &mut out);
    assert!(result.is_ok() || out.is_empty(), "nothing of a broken request is sent");
    result.map(|()| String::from_utf8(out.to_vec()).unwrap())
}

#[test]
fn the_request_has_what_it_must_have() {
    // RFC 6455 section 4.1, the first list.
    let hello = Hello::new("ws://server.example:9000/chat?a=b")
        .unwrap()
        .protocols(["chat", "superchat"])
        .header("Origin", "http://example.com")
        .header("cookie", "id=1");
    assert_eq!(
        written(&hello, Some("permessage-deflate; client_max_window_bits")).unwrap(),
        "GET /chat?a=b HTTP/1.1\r\nHost: server.example:9000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: chat, superchat\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         origin: http://example.com\r\ncookie: id=1\r\n\r\n"
    );
}

#[test]
fn addresses_are_taken_apart() {
    for (uri, host, port, target, field) in [
        ("ws://a", "a", 80, "/", "a"),
        ("WS://a/", "a", 80, "/", "a"),
        ("ws://a:80/b", "a", 80, "/b", "a"),
        ("ws://a:/b", "a", 80, "/b", "a"),
        ("ws://a:443", "a", 443, "/", "a:443"),
        ("ws://a?b=c", "a", 80, "/?b=c", "a"),
        ("ws://a/b?", "a", 80, "/b?", "a"),
        ("ws://127.0.0.1:1/b", "127.0.0.1", 1, "/b", "127.0.0.1:1"),
        ("ws://[::1]", "[::1]", 80, "/", "[::1]"),
        ("ws://[::1]:9001/b", "[::1]", 9001, "/b", "[::1]:9001"),
        ("ws://a/b c/\u{e9}?\u{e9}", "a", 80, "/b%20c/%C3%A9?%C3%A9", "a"),
        ("ws://a/%23", "a", 80, "/%23", "a"),
    ] {
        let hello = Hello::new(uri).unwrap();
        assert_eq!((hello.host(), hello.port(), hello.target()), (host, port, target), "{uri}");
        let text = written(&hello, None).unwrap();
        assert!(text.starts_with(&format!("GET {target} HTTP/1.1\r\nHost: {field}\r\n")), "{text}");
        assert!(!text.contains("Protocol") && !text.contains("Extensions"));
    }
}

#[test]
fn what_is_no_address_is_an_error() {
    for uri in [
        "",
        "a",
        "a:80",
        "http://a",
        "ws:a",
        "ws://",
        "ws:///b",
        "ws://:80",
        "ws://a:b",
        "ws://a:99999",
        "ws://a b",
        "ws://user@a",
        "ws://user:word@a/b",
        "ws://a/b#c",
        "ws://a#",
        "ws://a/b\r\nInjected: yes",
        "ws://a\r\nInjected: yes",
        "ws://[::1",
        "ws://\u{e9}.example",
    ] {
        assert!(matches!(Hello::new(uri), Err(HandshakeError::Uri(_))), "{uri}");
    }
    let Err(HandshakeError::Uri(reason)) = Hello::new("wss://a") else { panic!("there is no TLS") };
    assert!(reason.contains("TLS"), "{reason}");
}

#[test]
fn forbidden_fields_are_errors() {
    for (name, value) in [
        ("Connection", "close"),
        ("Upgrade", "h2c"),
        ("Sec-WebSocket-Key", "x"),
        ("sec-websocket-version", "8"),
        ("Sec-WebSocket-Accept", "x"),
        ("Sec-WebSocket-Protocol", "x"),
        ("Sec-WebSocket-Extensions", "x"),
        ("Content-Length", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Expect", "100-continue"),
        ("x", "a\r\nInjected: yes"),
        ("x y", "a"),
        ("x\r\n", "a"),
    ] {
        let hello = Hello::new("ws://a").unwrap().header(name, value).header("x-fine", "yes");
        assert!(matches!(hello.error(), Some(HandshakeError::Field { .. })), "{name}");
        assert!(written(&hello, None).is_err());
    }
    for protocols in [&["a b"][..], &[""], &["a,b"], &["a", "a"], &["a\r\nb"]] {
        assert!(
            Hello::new("ws://a").unwrap().protocols(protocols.to_vec()).error().is_some(),
            "{protocols:?}"
        );
    }
}

#[test]
fn one_host_of_its_own_replaces_that_of_the_address() {
    let hello = Hello::new("ws://127.0.0.1:81").unwrap().header("Host", "example.com");
    let text = written(&hello, None).unwrap();
    assert_eq!(text.to_ascii_lowercase().matches("host:").count(), 1);
    assert!(text.contains("\r\nHost: example.com\r\n"), "{text}");
    assert!(hello.header("host", "b").error().is_some());
}
