//! Tests of the strict reading; the large table by section is the conformance data of the workspace's tests.

use proptest::prelude::*;

use super::*;

fn limits() -> Limits {
    Limits { line: 64, head: 256, fields: 4 }
}

fn whole(input: &[u8]) -> Result<Option<usize>, u16> {
    parse(input, &limits()).map(|parsed| parsed.map(|parsed| parsed.len)).map_err(|refusal| refusal.status)
}

/// Byte by byte, through the scanner.
fn dribbled(input: &[u8]) -> Result<Option<usize>, u16> {
    let mut scan = Scan::default();
    for end in 1..=input.len() {
        match scan.look(&input[..end], &limits()).map_err(|refusal| refusal.status)? {
            Found::Head(parsed) => return Ok(Some(parsed.len)),
            Found::Partial => {}
        }
    }
    // What an end of the stream does with the rest.
    whole(input)
}

#[test]
fn verdicts_do_not_depend_on_the_split() {
    let long_line = [b"GET /".as_slice(), &[b'a'; 80], b" HTTP/1.1\r\n"].concat();
    let long_head = [b"GET / HTTP/1.1\r\nHost: a\r\nx: ".as_slice(), &[b'a'; 300]].concat();
    let cases: [(&[u8], Result<bool, u16>); 16] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(true)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest", Ok(true)),
        (b"GET / HTTP/1.0\r\n\r\n", Ok(true)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", Ok(false)),
        (b"GET / HTTP/1.1\n\n", Err(400)),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Err(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(400)),
        (b"GET / HTTP/2.0\r\n", Err(505)),
        (b"GET / HTTP/1.1x", Err(400)),
        (b"G\x01", Err(400)),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(400)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Err(400)),
        (b"GET / HTTP/1.1\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\n\r\n", Err(431)),
        (b"GET / HTTP/1.1\r\n\r\n", Err(400)),
        (&long_line, Err(414)),
        (&long_head, Err(431)),
    ];
    for (input, verdict) in cases {
        let text = String::from_utf8_lossy(input);
        assert_eq!(whole(input).map(|len| len.is_some()), verdict, "{text}");
        assert_eq!(dribbled(input).map(|len| len.is_some()), verdict, "byte by byte: {text}");
    }
}

#[test]
fn the_limit_of_the_head_is_exact() {
    // The empty line may begin at 255 and not at 256.
    for (pad, verdict) in [(0, Ok(true)), (1, Err(431))] {
        let front = b"GET / HTTP/1.1\r\nHost: a\r\nx: ";
        let input = [front.as_slice(), &vec![b'a'; 255 - front.len() + pad], b"\r\n\r\n"].concat();
        assert_eq!(whole(&input).map(|len| len.is_some()), verdict);
        assert_eq!(dribbled(&input).map(|len| len.is_some()), verdict);
    }
}

#[test]
fn hosts() {
    for host in ["a", "a.b:80", "1.2.3.4", "[::1]:8080", "[v1.x]", "a_b", "a%20b", "a:"] {
        assert!(is_host(host.as_bytes()), "{host}");
    }
    for host in
        ["", ":80", "a b", "a,b", "a:b", "a:1:2", "a@b", "[::1", "[x]", "[::1]x", "a%2", "a/b", "a:123456"]
    {
        assert!(!is_host(host.as_bytes()), "{host}");
    }
}

#[test]
fn framing_and_flags() {
    let parse = |fields: &str| {
        let input = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        parse(input.as_bytes(), &limits())
            .map(|parsed| parsed.map(|parsed| (parsed.framing, parsed.flags)).unwrap())
            .map_err(|refusal| refusal.status)
    };
    assert_eq!(parse(""), Ok((Framing::Length(0), 0)));
    assert_eq!(parse("Content-Length: 5\r\nExpect: 100-Continue\r\n"), Ok((Framing::Length(5), EXPECTS)));
    assert_eq!(
        parse("Transfer-Encoding: Chunked\r\nConnection: x, Close\r\n"),
        Ok((Framing::Chunked, CLOSE))
    );
    assert_eq!(parse("Connection: upgrade\r\nUpgrade: x\r\n"), Ok((Framing::Length(0), UPGRADES)));
    assert_eq!(parse("Upgrade: x\r\n"), Ok((Framing::Length(0), 0)));
    for (fields, status) in [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: chunked, gzip\r\n", 400),
        ("Transfer-Encoding: chunked;q=1\r\n", 400),
        ("Transfer-Encoding:\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Expect: more\r\n", 417),
        ("Content-Length: 99999999999999999999999\r\n", 413),
    ] {
        assert_eq!(parse(fields), Err(status), "{fields}");
    }
}

/// Heads of pieces that are mostly right, with a byte changed now and then.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => Just("GET / HTTP/1.1"),
        2 => Just("HEAD /a?b=c HTTP/1.0"),
        1 => Just("OPTIONS * HTTP/1.1"),
        1 => Just("CONNECT a:1 HTTP/1.1"),
        1 => Just("CONNECT /a HTTP/1.1"),
        1 => Just("GET /a\tb HTTP/1.1"),
        1 => Just("x /a#b HTTP/1.1"),
        1 => Just("GET http://a/ HTTP/1.1"),
        1 => Just("GET /a b HTTP/1.1"),
        1 => Just("GET / HTTP/2.0"),
    ];
    let field = prop_oneof![
        6 => Just("Host: a"),
        2 => Just("x-y:  z\t "),
        1 => Just("Connection: close, upgrade"),
        1 => Just("Content-Length: 5"),
        1 => Just("Transfer-Encoding: chunked"),
        1 => Just("Expect: 100-continue"),
        1 => Just("Upgrade: x"),
        1 => Just("x : y"),
        1 => Just(": y"),
        1 => Just(" folded"),
        1 => Just("x: \u{e4}"),
        1 => Just(""),
    ];
    let change = prop_oneof![3 => Just(None), 2 => any::<(prop::sample::Index, u8)>().prop_map(Some)];
    (
        line,
        prop::collection::vec(field, 0..6),
        change,
        prop::sample::select(vec!["\r\n", "", "\r\n\r\nGET", "\r\nx"]),
    )
        .prop_map(|(line, fields, change, tail)| {
            let mut head = format!("{line}\r\n");
            for field in fields {
                head += field;
                head += "\r\n";
            }
            let mut head = (head + tail).into_bytes();
            if let Some((at, byte)) = change {
                let at = at.index(head.len());
                head[at] = byte;
            }
            head
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    /// What the short way takes, the general one takes too, and sees the same in it.
    #[test]
    fn both_ways_agree(head in heads(), line in 5usize..70, most in 20usize..256) {
        let limits = Limits { line, head: most, fields: 4 };
        let input = &head[..head.len().min(most + 4)];
        if let Some(plain) = plain::parse(input, &limits) {
            prop_assert_eq!(Ok(Some(plain)), general(input, &limits));
        }
    }

    #[test]
    fn both_ways_agree_on_anything(head in prop::collection::vec(any::<u8>(), 0..64)) {
        let input = [b"GET / HTTP/1.1\r\nHost: a\r\n".as_slice(), &head, b"\r\n\r\n"].concat();
        if let Some(plain) = plain::parse(&input, &limits()) {
            prop_assert_eq!(Ok(Some(plain)), general(&input, &limits()));
        }
    }
}

#[test]
fn usual_heads_take_the_short_way() {
    for head in [
        "GET /plaintext?n=1 HTTP/1.1\r\nHost: localhost:80\r\nUser-Agent: x/1.0 (y; z)\r\nAccept: */*;q=0.8\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nbody",
        "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ] {
        assert!(plain::parse(head.as_bytes(), &limits()).is_some(), "{head}");
    }
}
