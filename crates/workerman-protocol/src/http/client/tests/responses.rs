//! What is made of a server's answer.

use proptest::prelude::*;

use super::{Reader, client, every_split, get, run, without_reasons};
use crate::http::{ClientRequest, HeaderValue, HttpClient, Version};
use crate::testing::Harness;
use crate::{Deadline, Goodbye, Role};

fn head() -> ClientRequest {
    ClientRequest::new("HEAD", "http://h/")
}

#[test]
fn bodies_are_framed_by_what_the_head_says() {
    // RFC 9112 section 6.3, and 9.3 for the connection: input, body, whether the connection is kept.
    for (input, body, kept) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0005\r\n\r\nhello", "hello", true),
        ("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "ok", true),
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "ok", true),
        ("HTTP/1.1 404 Not\tFound \u{fc}\r\nContent-Length:2\r\n\r\nno", "no", true),
        ("HTTP/1.2 200 OK\r\nContent-Length: \t 2 \t\r\n\r\nok", "ok", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", "", true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", "", true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 100\r\n\r\n", "", false),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1;a=b\r\nx\r\n00\r\n\r\n", "x", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", "ok", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, CLOSE\r\n\r\nok", "ok", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x\r\nConnection: close\r\n\r\nok", "ok", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, close\r\n\r\nok", "ok", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\nok", "ok", true),
        // Bytes behind the response that nobody has asked for: not the answer to the next request.
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", "ok", false),
    ] {
        let outcome = run(get(), input.as_bytes(), &[], false);
        assert_eq!(outcome.whole().body, body.as_bytes(), "{input}");
        assert_eq!(outcome.reusable(), Some(kept), "{input}");
        assert_eq!((outcome.ended.as_str(), outcome.finished), ("open", !kept), "{input}");
    }
}

#[test]
fn cuts_do_not_matter() {
    for input in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: u\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nup to the end",
        "HTTP/1.0 500 Oops\r\nX: 1\r\nX: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "nonsense\nnonsense",
    ] {
        every_split(get, input.as_bytes(), true);
    }
}

#[test]
fn fields_and_trailers_come_as_they_were_sent() {
    let input =
        b"HTTP/1.1 200 OK\r\nX-One:  a b \t\r\nTransfer-Encoding: chunked\r\nX-One: \xfc\r\nEmpty:\r\n\r\n\
        1\r\nz\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\n\r\n";
    let outcome = every_split(get, input, false);
    let got = outcome.whole();
    let values: Vec<&[u8]> = got.headers.get_all("x-one").map(HeaderValue::as_bytes).collect();
    assert_eq!(values, [&b"a b"[..], b"\xfc"]);
    assert_eq!(got.headers.get_str("empty"), Some(""));
    assert_eq!((got.status, got.version, got.body.as_slice()), (200, Version::Http11, &b"z"[..]));
    let trailers = got.trailers.as_ref().unwrap();
    assert_eq!(trailers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-sum"]);
}

#[test]
fn a_head_has_no_body_whatever_it_says() {
    for fields in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let input = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let outcome = every_split(head, input.as_bytes(), false);
        assert_eq!((outcome.whole().body.len(), outcome.reusable()), (0, Some(true)));
    }
}

#[test]
fn without_a_length_the_body_ends_with_the_connection() {
    let outcome = every_split(get, b"HTTP/1.1 200 OK\r\n\r\nall of it", true);
    assert_eq!(outcome.whole().body, b"all of it");
    assert_eq!((outcome.reusable(), outcome.ended.as_str()), (None, "clean end"));
}

/// RFC 9112 section 5.2.
#[test]
fn a_folded_line_is_read_as_one() {
    let input = b"HTTP/1.1 200 OK\r\nA:\r\n  b \r\n\tc\r\n \r\nContent-Length:\r\n 0\r\n\r\n";
    let outcome = every_split(get, input, false);
    assert_eq!(outcome.whole().headers.get("a").unwrap(), "b c");
    assert_eq!(outcome.reusable(), Some(true));
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (input, reason) in [
        // RFC 9112 section 4.
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".to_owned(), "status line"),
        ("HTTP/2.0 200 OK\r\n\r\n".to_owned(), "status line"),
        ("http/1.1 200 OK\r\n\r\n".to_owned(), "status line"),
        ("HTTP/1.1  200 OK\r\n\r\n".to_owned(), "status code"),
        ("HTTP/1.1 20 OK\r\n\r\n".to_owned(), "status code"),
        ("HTTP/1.1 2000 OK\r\n\r\n".to_owned(), "reason phrase"),
        ("HTTP/1.1 099 OK\r\n\r\n".to_owned(), "status code"),
        ("HTTP/1.1\t200 OK\r\n\r\n".to_owned(), "status line"),
        ("HTTP/1.1 200\tOK\r\n\r\n".to_owned(), "reason phrase"),
        ("HTTP/1.1 200 O\0K\r\n\r\n".to_owned(), "reason phrase"),
        ("HTTP/1.1 200 O\rK\r\n\r\n".to_owned(), "reason phrase"),
        // Sections 2.2, 5, 5.1, 5.2.
        ("HTTP/1.1 200 OK\nA: b\r\n\r\n".to_owned(), "CR LF"),
        (format!("{ok}A: b\n\r\n"), "CR LF"),
        (format!("{ok}A: b\r\n\n"), "CR LF"),
        (format!("{ok}A: b\r\r\n\r\n"), "field value"),
        (format!("{ok}A: b\0\r\n\r\n"), "field value"),
        (format!("{ok}A: b\x7f\r\n\r\n"), "field value"),
        (format!("{ok}A : b\r\n\r\n"), "field name"),
        (format!("{ok} A: b\r\n\r\n"), "field name"),
        (format!("{ok}: b\r\n\r\n"), "field name"),
        (format!("{ok}A\r\n\r\n"), "colon"),
        (format!("{ok}A\u{fc}: b\r\n\r\n"), "field name"),
        // Sections 6.1 to 6.3.
        (format!("{ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "more than one Content-Length"),
        (format!("{ok}Content-Length: 1\r\nContent-Length: 1\r\n\r\nab"), "more than one Content-Length"),
        (format!("{ok}Content-Length: 1, 1\r\n\r\nab"), "invalid Content-Length"),
        (format!("{ok}Content-Length: -1\r\n\r\nab"), "invalid Content-Length"),
        (format!("{ok}Content-Length: +1\r\n\r\nab"), "invalid Content-Length"),
        (format!("{ok}Content-Length: 1 1\r\n\r\nab"), "invalid Content-Length"),
        (format!("{ok}Content-Length: 0x1\r\n\r\nab"), "invalid Content-Length"),
        (format!("{ok}Content-Length:\r\n\r\nab"), "invalid Content-Length"),
        (format!("{ok}Content-Length: 18446744073709551616\r\n\r\nab"), "invalid Content-Length"),
        (format!("{ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), "beside Transfer-Encoding"),
        (format!("{ok}Transfer-Encoding: gzip, chunked\r\n\r\n"), "other than chunked"),
        (format!("{ok}Transfer-Encoding: chunked, gzip\r\n\r\n"), "other than chunked"),
        (
            format!("{ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "other than chunked",
        ),
        (format!("{ok}Transfer-Encoding:\r\n\r\n"), "empty Transfer-Encoding"),
        (format!("{ok}Content-Length: 1\r\n 2\r\n\r\n"), "invalid Content-Length"),
        (format!("{ok}Transfer-Encoding: identity\r\n\r\n"), "other than chunked"),
        (format!("{ok}Transfer-Encoding: xchunked\r\n\r\n"), "other than chunked"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), "HTTP/1.0"),
        // RFC 9110 section 15.2.2.
        ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n".to_owned(), "not asked for"),
    ] {
        let outcome = every_split(get, input.as_bytes(), false);
        assert!(outcome.ended.contains(reason), "{input:?}: {}", outcome.ended);
        assert!(outcome.got.is_empty(), "{input:?}: {outcome:?}");
    }
}

#[test]
fn a_broken_body_is_never_a_short_success() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "x\r\n",
        "-1\r\na",
        "+1\r\na",
        " 1\r\na",
        "0x1\r\na",
        "\r\n",
        ";a\r\n",
        "1\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\n0\r\n\r\n",
        "11111111111111111\r\n",
        "8000000000000000\r\n",
        "1 a\r\nb",
        "0\r\na\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\n a\r\n\r\n",
        "0\r\nA: b\nC: d\r\n\r\n",
    ] {
        let input = format!("{chunked}{body}");
        let outcome = every_split(get, input.as_bytes(), true);
        assert!(outcome.ended.starts_with("failed: not an HTTP/1 response"), "{body:?}: {outcome:?}");
        assert!(matches!(&outcome.got[0].ended, Some(Err(why)) if why.contains("malformed")), "{outcome:?}");
    }
}

#[test]
fn no_prefix_of_a_response_is_one() {
    for input in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ] {
        for end in 0..input.len() {
            let outcome = run(get(), &input.as_bytes()[..end], &[], true);
            assert_eq!(outcome.ended, "truncated", "{:?}", &input[..end]);
            assert!(!outcome.is_whole(), "{:?}: {outcome:?}", &input[..end]);
            let aborted = Err("the connection ended within the body".to_owned());
            assert!(outcome.got.iter().all(|got| got.ended.as_ref() == Some(&aborted)), "{outcome:?}");
        }
        assert!(run(get(), input.as_bytes(), &[], true).is_whole());
    }
}

#[test]
fn limits_are_kept_wherever_the_input_is_cut() {
    let with = |client: HttpClient, input: &str| {
        let make = || {
            let mut harness = Harness::new(client.clone(), std::time::Instant::now()).role(Role::Client);
            harness.send(get()).unwrap();
            harness
        };
        crate::testing::limits(make, input.as_bytes()).ended.to_string()
    };
    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(200));
    let ended = with(HttpClient::new().max_head(100), &long);
    assert_eq!(ended, "failed: the head of the response exceeds the limit of 100");
    let many = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(11));
    let ended = with(HttpClient::new().max_fields(10), &format!("{many}\r\n"));
    assert_eq!(ended, "failed: the number of fields exceeds the limit of 10");
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(4);
    let ended = with(HttpClient::new().max_interim(3), &interim);
    assert_eq!(ended, "failed: the number of interim responses exceeds the limit of 3");
    // Exactly at the limit is within.
    let exact = b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n";
    let client = HttpClient::new().max_head(exact.len()).max_fields(1);
    let mut harness = Harness::new(client, std::time::Instant::now()).role(Role::Client);
    harness.send(get()).unwrap();
    harness.feed(exact);
    assert_eq!(harness.messages().len(), 1, "{}", harness.ended());
}

#[test]
fn bytes_that_nobody_asked_for_end_the_connection() {
    let mut harness = client();
    harness.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(harness.messages().is_empty());
    assert!(harness.ended().to_string().contains("no request has asked for"), "{}", harness.ended());

    let mut harness = client();
    harness.send(get()).unwrap();
    harness.feed(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(harness.messages().len(), 1);
    harness.feed(b"x");
    assert!(harness.ended().to_string().contains("no request has asked for"), "{}", harness.ended());
}

#[test]
fn an_upgrade_that_was_asked_for_leaves_the_rest_to_the_next_protocol() {
    let upgrade = || get().header("upgrade", "x").header("connection", "upgrade");
    let connect = || ClientRequest::new("CONNECT", "h:1");
    let requests: [(&dyn Fn() -> ClientRequest, &[u8]); 2] = [
        (&upgrade, b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nrest"),
        (&connect, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nrest"),
    ];
    for (request, input) in requests {
        for cut in 0..=input.len() {
            let mut harness = client();
            harness.send(request()).unwrap();
            harness.feed(&input[..cut]);
            harness.feed(&input[cut..]);
            let messages = harness.messages();
            assert_eq!(messages.len(), 1);
            assert_eq!(messages[0].body_ref().len(), Some(0));
            assert!(harness.is_blocked() && harness.is_open());
            assert!(harness.send(get()).is_err(), "it is not HTTP any more");
            assert_eq!(&harness.into_parts()[..], b"rest");
        }
    }
    let refused = run(connect(), b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", &[], false);
    assert_eq!((refused.whole().body.as_slice(), refused.reusable()), (&b"no"[..], Some(true)));
}

#[test]
fn a_slow_reader_stops_the_server_after_64_kib() {
    let mut harness = client();
    harness.send(get()).unwrap();
    harness.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
    for _ in 0..3 {
        harness.feed(&[b'x'; 50_000]);
    }
    assert!(harness.is_blocked());
    assert_eq!(harness.undecoded().len(), 150_000 - 64 * 1024);
    let mut reader = Reader::default();
    reader.read(&mut harness);
    assert!(!harness.is_blocked() && harness.undecoded().is_empty());
    assert_eq!(reader.got[0].0.body.len(), 150_000);
    harness.feed(&[b'x'; 150_000]);
    reader.read(&mut harness);
    let outcome = reader.outcome(&harness);
    assert_eq!((outcome.whole().body.len(), outcome.reusable()), (300_000, Some(true)));
}

#[test]
fn a_body_that_nobody_wants_is_read_away_or_cut() {
    for (length, kept) in [(60_000, true), (70_000, false)] {
        let mut harness = client();
        harness.send(get()).unwrap();
        harness.feed(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        drop(harness.messages());
        harness.decode();
        assert_eq!(harness.is_finished(), !kept, "{length}");
        if kept {
            harness.feed(&vec![b'x'; length]);
        }
        let mut reader = Reader::default();
        reader.read(&mut harness);
        assert_eq!(reader.outcome(&harness).reusable(), Some(kept));
    }
    let mut harness = client();
    harness.send(get()).unwrap();
    harness.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    drop(harness.messages());
    for _ in 0..100 {
        harness.feed(b"400\r\n");
        harness.feed(&[b'x'; 0x400]);
        harness.feed(b"\r\n");
    }
    assert!(harness.is_finished(), "there was no end of it");
}

#[test]
fn deadlines_follow_the_exchange() {
    let mut harness = client();
    let deadline = |harness: &Harness<HttpClient>| crate::Protocol::deadline(harness.protocol());
    harness.open();
    assert_eq!(deadline(&harness), Deadline::Idle);
    assert_eq!(harness.goodbye(), Goodbye::Now);
    harness.send(get()).unwrap();
    assert_eq!(deadline(&harness), Deadline::Body, "the server works");
    assert_eq!(harness.goodbye(), Goodbye::AfterMessage);
    harness.feed(b"HTTP/1.1 1");
    assert_eq!(deadline(&harness), Deadline::Head);
    harness.feed(b"02 Processing\r\n\r\n");
    assert_eq!(deadline(&harness), Deadline::Body);
    harness.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
    assert_eq!(deadline(&harness), Deadline::Body);
    let mut reader = Reader::default();
    assert_eq!(harness.timeout(), Deadline::Body);
    reader.read(&mut harness);
    let outcome = reader.outcome(&harness);
    assert_eq!(outcome.got[0].ended, Some(Err("the body made no progress for too long".into())));
}

/// A response put together from parts, and what it means.
fn response() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let body = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6);
    let fields = prop::collection::vec(("[a-zA-Z][a-zA-Z0-9-]{0,10}", "[ -~]{0,20}"), 0..5);
    (200u16..600, fields, body, any::<bool>(), 0usize..3).prop_map(
        |(status, fields, chunks, chunked, interim)| {
            let status = if matches!(status, 204 | 304) { 200 } else { status };
            let mut wire = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(interim).into_bytes();
            wire.extend(format!("HTTP/1.1 {status} x\r\n").bytes());
            for (name, value) in fields {
                wire.extend(format!("X-{name}: {value}\r\n").bytes());
            }
            let body = chunks.concat();
            if chunked {
                wire.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in chunks {
                    wire.extend(format!("{:X}\r\n", chunk.len()).bytes());
                    wire.extend(chunk);
                    wire.extend(b"\r\n");
                }
                wire.extend(b"0\r\n\r\n");
            } else {
                wire.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                wire.extend(&body);
            }
            (wire, body)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn responses_survive_any_cut((wire, body) in response(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.sort_unstable();
        let outcome = run(get(), &wire, &cuts, false);
        prop_assert_eq!(&outcome.whole().body, &body);
        prop_assert_eq!(outcome.reusable(), Some(true));
    }

    #[test]
    fn nonsense_is_survived(noise in prop::collection::vec(any::<u8>(), 0..200), (wire, _) in response(), at in any::<prop::sample::Index>()) {
        let mut wire = wire;
        let at = at.index(wire.len());
        wire.splice(at..(at + noise.len()).min(wire.len()), noise);
        let run = |cuts: &[usize]| without_reasons(run(get(), &wire, cuts, true));
        prop_assert_eq!(run(&[wire.len() / 2]), run(&[]));
    }
}
