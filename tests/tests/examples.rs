//! Each example is started as a stranger would start it, talked to by real clients, and stopped by a signal.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use workerman_tests::program::{Example, Program, example};
use workerman_tests::serving::{PATIENCE, Peer};
use workerman_tests::skip;

const ANY: &str = "127.0.0.1:0";

/// A script of Python as a client; it gets the port as its argument.
fn python(script: &str, server: &Example) -> Option<Program> {
    let python = skip::require("python3")?;
    Some(Program::start(Command::new(python).args(["-c", script, &server.port()])))
}

#[test]
fn hello_tcp_answers() {
    let server = Example::start("hello_tcp", &[ANY]);
    let mut peer = Peer::connect(server.socket());
    peer.say("ann");
    assert_eq!(peer.bytes(9), b"hello ann");
    drop(peer);
    assert_eq!(server.stop(), [""; 0]);
}

#[test]
fn hello_tcp_answers_nc() {
    let Some(nc) = skip::require("nc") else { return };
    let server = Example::start("hello_tcp", &[ANY]);
    let mut client = Program::start(Command::new(nc).args(["-N", "127.0.0.1", &server.port()]));
    client.say("ann");
    assert_eq!(client.line().unwrap(), "hello ann");
    assert!(client.wait().success());
    server.stop();
}

#[test]
fn an_address_in_use_is_named() {
    let first = Example::start("hello_tcp", &[ANY]);
    let mut second = Program::start(example("hello_tcp").arg(&first.address));
    let error = second.error_line().unwrap();
    assert_eq!(error, format!("Error: address in use: {}", first.address));
    assert_eq!(second.wait().code(), Some(1));
    first.stop();
}

#[test]
fn frame_rpc_answers_in_order() {
    let server = Example::start("frame_rpc", &[ANY]);
    let mut peer = Peer::connect(server.socket());
    let requests = ["add 1 2.5", "wait 20", "upper straße", "add 1 x", "wait 1e9", "fly", ""];
    let frames = requests.map(|text| [&(4 + text.len() as u32).to_be_bytes(), text.as_bytes()].concat());
    peer.say(frames.concat());
    for response in [
        "ok 3.5",
        "ok waited 20 ms",
        "ok STRASSE",
        "error no number: x",
        "error wait takes milliseconds, up to 65535",
        "error no such method: fly",
        "error no such method: ",
    ] {
        let length = u32::from_be_bytes(peer.bytes(4).try_into().unwrap());
        assert_eq!(String::from_utf8(peer.bytes(length as usize - 4)).unwrap(), response);
    }
    // A length that cannot be: the connection ends, and only this one.
    let mut other = Peer::connect(server.socket());
    other.say([0, 0, 0, 3]);
    assert_eq!(other.rest().0, b"");
    peer.say(&frames[0]);
    assert_eq!(peer.bytes(10), b"\0\0\0\x0aok 3.5");
    drop(peer);
    server.stop();
}

#[test]
fn frame_rpc_is_its_own_client() {
    let server = Example::start("frame_rpc", &[ANY]);
    let mut client = Program::start(example("frame_rpc").args([&server.address, "add", "1", "2"]));
    assert_eq!(client.line().unwrap(), "ok 3");
    assert!(client.wait().success());
    let address = server.address.clone();
    server.stop();

    // With nobody there it says so, and fails.
    let mut client = Program::start(example("frame_rpc").args([&address, "add", "1", "2"]));
    let error = client.error_line().unwrap();
    assert!(error.contains(&address), "{error}");
    assert_eq!(client.wait().code(), Some(1));
}

#[test]
fn frame_rpc_answers_python() {
    let server = Example::start("frame_rpc", &[ANY]);
    let script = r#"
import socket, struct, sys
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30)
for request in (b"add 1 2", b"upper abc"):
    for byte in struct.pack(">I", 4 + len(request)) + request:
        peer.sendall(bytes([byte]))
    file = peer.makefile("rb")
    (length,) = struct.unpack(">I", file.read(4))
    print(file.read(length - 4).decode())
"#;
    let Some(mut client) = python(script, &server) else { return };
    assert_eq!(client.rest(), ["ok 3", "ok ABC"]);
    assert!(client.wait().success());
    server.stop();
}

#[test]
fn custom_protocol_answers_pings_and_refuses_damage() {
    let server = Example::start("custom_protocol", &[ANY]);
    // Written down by hand, checksum included: not what the example's own code makes of it.
    let ping = b"\0\0\0\x02\x01hi\x67\xc9\x8b\x76";
    let pong = b"\0\0\0\x02\x02hi\x65\x8f\x35\x2f";
    let mut peer = Peer::connect(server.socket());
    peer.say(ping);
    assert_eq!(peer.bytes(pong.len()), pong);
    for damaged in [&b"\0\0\0\x02\x01ho\x67\xc9\x8b\x76"[..], b"\0\x01\0\x01\x01"] {
        let mut other = Peer::connect(server.socket());
        other.say(damaged);
        assert_eq!(other.rest().0, b"");
    }
    let errors = [server.program.error_line().unwrap(), server.program.error_line().unwrap()];
    assert!(errors[0].ends_with("the checksum is wrong"), "{errors:?}");
    assert!(errors[1].ends_with("a body of 65537 bytes is longer than 65536"), "{errors:?}");
    // A pong is no question.
    peer.say([&pong[..], ping].concat());
    assert_eq!(peer.bytes(pong.len()), pong);
    peer.finish();
    assert_eq!(peer.rest(), (Vec::new(), false));
    server.stop();
}

#[test]
fn custom_protocol_agrees_with_python_on_the_checksum() {
    let server = Example::start("custom_protocol", &[ANY]);
    let script = r#"
import socket, struct, sys, zlib
body = bytes(range(256)) * 256
def packet(kind):
    content = bytes([kind]) + body
    return struct.pack(">I", len(body)) + content + struct.pack(">I", zlib.crc32(content))
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30)
peer.sendall(packet(1) * 3)
print(peer.makefile("rb").read(3 * len(packet(2))) == packet(2) * 3)
"#;
    let Some(mut client) = python(script, &server) else { return };
    assert_eq!(client.rest(), ["True"]);
    assert!(client.wait().success());
    server.stop();
}

#[test]
fn tcp_proxy_passes_bytes_and_half_closes_both_ways() {
    let server = Example::start("hello_tcp", &[ANY]);
    let proxy = Example::start("tcp_proxy", &[ANY, &server.address]);
    let mut peer = Peer::connect(proxy.socket());
    peer.say("ann");
    assert_eq!(peer.bytes(9), b"hello ann");
    peer.say("bob");
    peer.finish();
    assert_eq!(peer.rest(), (b"hello bob".to_vec(), false));
    assert_eq!(proxy.program.line().unwrap(), "6 bytes in, 18 out: closed by this side");
    proxy.stop();
    server.stop();
}

#[test]
fn tcp_proxy_carries_a_large_file_for_socat() {
    let Some(socat) = skip::require("socat") else { return };
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..8 << 20).map(|n: u32| (n % 251) as u8).collect();
    let file = folder.path().join("file");
    std::fs::write(&file, &content).unwrap();
    let from_file = format!("FILE:{},rdonly", file.display());
    // The target is foreign too; it tells where it listens by its diagnostics.
    let arguments = ["-d", "-d", "-u", &from_file, "TCP4-LISTEN:0,bind=127.0.0.1"];
    let mut target = Program::start(Command::new(socat).args(arguments));
    let address = loop {
        let line = target.error_line().unwrap();
        if let Some((_, address)) = line.split_once("listening on AF=2 ") {
            break address.to_owned();
        }
    };
    let proxy = Example::start("tcp_proxy", &[ANY, &address]);
    let mut peer = Peer::connect(proxy.socket());
    let (received, reset) = peer.rest();
    assert!(received == content && !reset, "{} bytes, reset: {reset}", received.len());
    drop(peer);
    assert!(target.wait().success());
    proxy.stop();
}

#[test]
fn tcp_proxy_closes_when_there_is_no_target() {
    // Bound and not listened on: nobody else gets the port, and a connect is refused.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = nobody.local_addr().unwrap().to_string();
    let proxy = Example::start("tcp_proxy", &[ANY, &target]);
    let mut peer = Peer::connect(proxy.socket());
    peer.say("ann");
    assert_eq!(peer.rest().0, b"");
    assert!(proxy.program.error_line().unwrap().contains(&target));
    proxy.stop();
}

#[test]
fn client_reconnect_comes_back() {
    let server = Example::start("client_reconnect", &[ANY]);
    for _ in 0..2 {
        for line in ["client: connected", "client: hello ann", "client: closed by the peer"] {
            assert_eq!(server.program.line().unwrap(), line);
        }
    }
    let mut peer = Peer::connect(server.socket());
    peer.say("bob\nagain\n");
    assert_eq!(peer.rest(), (b"hello bob\n".to_vec(), false));
    server.stop();
}

#[test]
fn timers_remind_repeat_and_stop() {
    let server = Example::start("timers", &[ANY]);
    let mut peer = Peer::connect(server.socket());
    let mut talk = |say: &str, expected: &[&str]| {
        peer.say(say);
        for line in expected {
            assert_eq!(peer.line().unwrap(), *line, "after {say}");
        }
    };
    talk("after 1 tea is ready\n", &["ok", "tea is ready"]);
    talk("every 1 tick\n", &["ok", "tick", "tick", "tick"]);
    // The new timer takes the place of the old, of which a last word may still be on its way.
    peer.say("after 60000 late\n");
    let after_ticks =
        |peer: &mut Peer| std::iter::repeat_with(|| peer.line().unwrap()).find(|line| line != "tick");
    assert_eq!(after_ticks(&mut peer).unwrap(), "ok");
    peer.say("stop\nstop\nevery 0 flood\n");
    for line in ["stopped", "nothing to stop", "after MS TEXT, every MS TEXT, or stop"] {
        assert_eq!(peer.line().unwrap(), line);
    }
    // A reminder for somebody who has left reaches nobody, and disturbs nobody.
    peer.say("every 1 tick\n");
    drop(peer);
    let mut peer = Peer::connect(server.socket());
    peer.say("after 1\n");
    assert_eq!([peer.line().unwrap(), peer.line().unwrap()], ["ok", "ding"]);
    drop(peer);
    server.stop();
}

#[test]
fn unix_socket_is_private_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("upper.sock");
    let address = format!("unix://{}", path.display());
    let server = Example::start("unix_socket", &[&address]);
    assert_eq!(server.address, address);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut peer = UnixStream::connect(&path).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all("straße\n".as_bytes()).unwrap();
    let mut answer = [0; 8];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"STRASSE\n");
    drop(peer);
    server.stop();
    assert!(!path.exists(), "the file of the socket is left behind");
}

#[test]
fn unix_socket_answers_nc_and_socat() {
    let (Some(nc), Some(socat)) = (skip::require("nc"), skip::require("socat")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("upper.sock");
    let server = Example::start("unix_socket", &[&format!("unix://{}", path.display())]);
    let mut nc = Program::start(Command::new(nc).arg("-NU").arg(&path));
    let mut socat =
        Program::start(Command::new(socat).args(["-", &format!("UNIX-CONNECT:{}", path.display())]));
    for client in [&mut nc, &mut socat] {
        client.say("hello");
        assert_eq!(client.line().unwrap(), "HELLO");
        assert!(client.wait().success());
    }
    server.stop();
}

#[test]
fn embed_in_tokio_broadcasts_from_a_task() {
    let server = Example::start("embed_in_tokio", &[ANY]);
    let mut ann = Peer::connect(server.socket());
    ann.say("one\ntwo\n");
    assert_eq!([ann.line().unwrap(), ann.line().unwrap()], ["line 1: one", "line 2: two"]);
    let mut bob = Peer::connect(server.socket());
    bob.say("three\n");
    assert_eq!([ann.line().unwrap(), bob.line().unwrap()], ["line 3: three", "line 3: three"]);
    drop((ann, bob));
    server.stop();
}

#[test]
fn simulated_test_passes_and_serves_for_real() {
    let server = Example::start("simulated_test", &[ANY]);
    let line = server.program.error_line().unwrap();
    let minutes = line.strip_prefix("50 runs: ").and_then(|rest| rest.split_once(" simulated minutes in "));
    let minutes: u32 = minutes.expect(&line).0.parse().unwrap();
    // The restart comes after two and a half minutes of each run.
    assert!((125..200).contains(&minutes), "{line}");
    let mut peer = Peer::connect(server.socket());
    peer.say("ann\n");
    assert_eq!(peer.line().unwrap(), "hello ann");
    drop(peer);
    server.stop();
}

#[test]
fn hello_http_answers() {
    let server = Example::start("hello_http", &[ANY]);
    let mut peer = Peer::connect(server.socket());
    peer.say("GET /some/path?a=b HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answers = String::from_utf8(peer.rest().0).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answers}");
    assert!(answers.contains("\r\n\r\nyou asked for /some/path\nHTTP/1.1 "), "{answers}");
    assert!(answers.ends_with("\r\n\r\nyou asked for /\n"), "{answers}");
    assert_eq!(server.stop(), [""; 0]);
}

/// What the example `http_client` does: its lines, whether it says that all is well, and what it complains of.
fn http_client(arguments: &[&str]) -> (Vec<String>, bool, String) {
    let mut client = Program::start(example("http_client").args(arguments));
    let lines = client.rest();
    let well = client.wait().success();
    (lines, well, client.error_line().unwrap_or_default())
}

#[test]
fn http_client_gets_pages() {
    let server = Example::start("http_echo", &[ANY]);
    let url = format!("http://{}/", server.address);
    assert_eq!(http_client(&[&url]), (vec!["OK".into()], true, String::new()));
    let repeated = (vec!["OK".repeat(30)], true, String::new());
    assert_eq!(http_client(&[&url, "--repeat", "30", "--timeout", "20.5"]), repeated);
    assert_eq!(http_client(&[&url, "--method", "DELETE"]), (vec![], true, String::new()));
    let (lines, well, _) = http_client(&["--method", "POST", &format!("{url}echo")]);
    assert!(well && lines.contains(&format!("host: {}", server.address)), "{lines:?}");
    let address = server.address.clone();
    server.stop();

    for wrong in [&["--repeat", "0"][..], &["--repeat", "x"], &["--timeout", "-1"], &["another"], &["--what"]]
    {
        let (lines, well, error) = http_client(&[&[&*url], wrong].concat());
        assert!(lines.is_empty() && !well && error.starts_with("http_client: usage: "), "{wrong:?}: {error}");
    }
    let (_, well, error) = http_client(&[&format!("http://{address}/")]);
    assert!(!well && error.starts_with("http_client: "), "{error}");
    for wrong in [&[][..], &["--fly"], &[&url, "--method"], &[&url, "--repeat", "x"], &[&url, &url]] {
        let (lines, well, error) = http_client(wrong);
        assert!(!well && !error.is_empty() && lines.is_empty(), "{wrong:?} {lines:?} {error}");
    }
}

#[test]
fn http_client_takes_no_part_for_the_whole() {
    use std::net::{TcpListener, TcpStream};
    // A server that says these, one per connection, and ends the connection behind each but the last.
    let head = "HTTP/1.1 200 OK\r\n";
    let answers = [
        format!("{head}Content-Length: 5\r\n\r\nwhole"),
        format!("{head}Content-Length: 10\r\n\r\nhalf"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nx\r\n"),
        format!("{head}Content-Len"),
        String::new(),
        format!("{head}Content-Length: 10\r\n\r\nhalf"),
    ];
    let listener = TcpListener::bind(ANY).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    for (n, answer) in answers.iter().enumerate() {
        let last = n == answers.len() - 1;
        let mut client = Program::start(example("http_client").args([
            &*url,
            "--timeout",
            if last { "0.2" } else { "30" },
        ]));
        // A request that got no byte of an answer on a new connection is not sent twice.
        let (stream, _): (TcpStream, _) = listener.accept().unwrap();
        let mut request = std::io::BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            std::io::BufRead::read_line(&mut request, &mut line).unwrap();
        }
        (&stream).write_all(answer.as_bytes()).unwrap();
        let open = last.then_some((request, stream));
        let lines = client.rest();
        assert_eq!(client.wait().success(), n == 0, "{answer:?}: {lines:?}");
        assert_eq!(client.error_line().is_none(), n == 0, "{answer:?}");
        drop(open);
    }
}
