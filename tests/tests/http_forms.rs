//! Forms and sessions over sockets: the examples that show them, talked to by curl and by hand.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

use workerman_tests::program::{Example, Program};
use workerman_tests::serving::Peer;
use workerman_tests::skip;

const ANY: &str = "127.0.0.1:0";

/// Runs curl; its output in lines. It gives up by itself.
fn curl(arguments: &[&str]) -> Option<Vec<String>> {
    let curl = skip::require("curl")?;
    let always = ["--silent", "--show-error", "--max-time", "60"];
    let mut program = Program::start(Command::new(curl).args(always).args(arguments));
    let lines = program.rest();
    assert!(program.wait().success(), "curl {arguments:?}: {lines:?}");
    Some(lines)
}

/// Sends a request that ends the connection; returns the response.
fn ask(server: &Example, request: &str, fields: &str, body: &[u8]) -> String {
    let mut peer = Peer::connect(server.socket());
    let length = body.len();
    peer.say(format!(
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n"
    ));
    peer.say(body);
    String::from_utf8(peer.rest().0).unwrap()
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn files_of_curl_arrive_whole() {
    let server = Example::start("upload", &[ANY]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    // The check value of the polynomial, and 20 MB of nothing.
    std::fs::write(&path, vec![0; 20_000_000]).unwrap();
    let large = format!("file=@{};filename=../\"b\"", path.display());
    let url = format!("http://{}/", server.address);
    for more in [&[][..], &["--http1.0"], &["--header", "Transfer-Encoding: chunked"]] {
        let arguments = [&["--form", "note=123456789", "--form", &*large, &*url], more].concat();
        let Some(report) = curl(&arguments) else { return };
        assert_eq!(report, ["note: 9 bytes, CRC-32 cbf43926", "\"b\": 20000000 bytes, CRC-32 23f553fd"]);
    }
    let page = curl(&[&url]).unwrap();
    assert!(page.iter().any(|line| line.contains("<progress")), "{page:?}");
    server.stop();
}

#[test]
fn what_is_not_a_form_is_refused_and_a_broken_connection_is_no_form() {
    let server = Example::start("upload", &[ANY]);
    let form = "Content-Type: multipart/form-data; boundary=b\r\n";
    let part = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1";
    for (fields, body, status) in [
        (form, format!("{part}\r\n--b--\r\n"), "200 OK"),
        (form, part.to_owned(), "400 Bad Request"),
        (form, format!("--b\r\n\r\n{part}"), "400 Bad Request"),
        (form, format!("{part}{}\r\n--b--\r\n", "1".repeat(70_000)), "413 Payload Too Large"),
        ("Content-Type: text/plain\r\n", part.to_owned(), "415 Unsupported Media Type"),
        ("", part.to_owned(), "415 Unsupported Media Type"),
    ] {
        let response = ask(&server, "POST /", fields, body.as_bytes());
        assert_eq!(response.lines().next().unwrap(), format!("HTTP/1.1 {status}"), "{fields} {response}");
    }
    // Cut off in the middle of the body: nobody is left to be answered, and the next one is served.
    let mut peer = Peer::connect(server.socket());
    peer.say(format!("POST / HTTP/1.1\r\nHost: x\r\n{form}Content-Length: 1000\r\n\r\n{part}"));
    drop(peer);
    let response = ask(&server, "POST /", form, format!("{part}\r\n--b--").as_bytes());
    assert_eq!(body(&response), "a: 1 bytes, CRC-32 83dcefb7\n");
    server.stop();
}

#[test]
fn curl_is_counted_by_its_cookie() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (jar, sessions) = (path("jar"), path("sessions"));
    // In memory a count ends with the server, in files it goes on.
    for (arguments, after_restart) in [(vec![ANY], "visit 1"), (vec![ANY, &sessions], "visit 2")] {
        let mut server = Example::start("session_counter", &arguments);
        let visit = |server: &Example, path: &str| {
            let url = format!("http://{}{path}", server.address);
            curl(&["--location", "--cookie-jar", &jar, "--cookie", &jar, &url])
        };
        let Some(first) = visit(&server, "/") else { return };
        assert_eq!(first, ["visit 1"]);
        assert_eq!(visit(&server, "/").unwrap(), ["visit 2"]);
        assert_eq!(visit(&server, "/forget").unwrap(), ["Everything before is forgotten.", "visit 1"]);
        server.stop();
        server = Example::start("session_counter", &arguments);
        assert_eq!(visit(&server, "/").unwrap(), [after_restart]);
        server.stop();
        std::fs::remove_file(&jar).unwrap();
    }
}

#[test]
fn visits_at_the_same_time_are_all_counted() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = folder.path().display().to_string();
    // Two servers share the files, as processes of one worker would.
    let servers = [(); 2].map(|()| Example::start("session_counter", &[ANY, &sessions]));
    let response = ask(&servers[0], "GET /", "", b"");
    assert_eq!(body(&response), "visit 1\n");
    let cookie = response.split("Set-Cookie: ").nth(1).unwrap().split(';').next().unwrap();
    let fields = format!("Cookie: {cookie}\r\n");

    const PEERS: usize = 5;
    const VISITS: usize = 4;
    let mut requests = String::new();
    for visit in 1..=VISITS {
        let close = if visit == VISITS { "Connection: close\r\n" } else { "" };
        write!(requests, "GET / HTTP/1.1\r\nHost: x\r\n{fields}{close}\r\n").unwrap();
    }
    // All are under way before the first answer is read.
    let mut peers: Vec<Peer> = (0..PEERS).map(|i| Peer::connect(servers[i % 2].socket())).collect();
    peers.iter_mut().for_each(|peer| peer.say(&requests));
    let mut counts = Vec::new();
    for mut peer in peers {
        let answers = String::from_utf8(peer.rest().0).unwrap();
        counts.extend(answers.lines().filter_map(|line| line.strip_prefix("visit ")?.parse::<usize>().ok()));
    }
    assert_eq!(counts.len(), PEERS * VISITS, "{counts:?}");
    // Each count is given once.
    let expected: BTreeSet<usize> = (2..2 + PEERS * VISITS).collect();
    assert_eq!(counts.into_iter().collect::<BTreeSet<_>>(), expected);
    for server in servers {
        server.stop();
    }
}

#[test]
fn an_id_that_somebody_planted_is_not_taken() {
    let server = Example::start("session_counter", &[ANY]);
    let planted = "0123456789abcdef0123456789abcdef01234567";
    let response = ask(&server, "GET /", &format!("Cookie: sid={planted}\r\n"), b"");
    let line = response.lines().find(|line| line.starts_with("Set-Cookie: sid=")).unwrap();
    assert!(!line.contains(planted), "{line}");
    assert!(line.ends_with("; Max-Age=1440; Path=/; HttpOnly; SameSite=Lax"), "{line}");
    server.stop();
}
