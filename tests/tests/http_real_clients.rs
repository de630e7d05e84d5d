//! HTTP as strangers speak it: curl, two clients of Python, and the `fetch` of Node, against the examples.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use workerman::http::coding::Compression;
use workerman::prelude::*;
use workerman_tests::program::{Example, Program};
use workerman_tests::skip;
use workerman_tests::workers::{on_each, start};

const ANY: &str = "127.0.0.1:0";
const MB: usize = 1_000_000;

/// curl, which gives up by itself.
struct Curl(PathBuf);

/// What curl got and said.
struct Said {
    body: Vec<u8>,
    /// What `--verbose` tells of, and errors.
    told: String,
}

impl Said {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Curl {
    #[track_caller]
    fn found() -> Option<Self> {
        skip::require("curl").map(Self)
    }

    fn ask(&self, arguments: &[&str]) -> Said {
        let output = Command::new(&self.0)
            .args(["--silent", "--show-error", "--max-time", "30", "--noproxy", "*"])
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "curl {arguments:?}: {told}");
        Said { body: output.stdout, told }
    }
}

/// Runs a script of `clients/` to its end, which must be good.
fn run(program: PathBuf, script: &str, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    let mut client = Program::start(Command::new(program).arg(script).args(arguments));
    let printed = client.rest();
    let status = client.wait();
    let errors: Vec<String> = std::iter::from_fn(|| client.error_line()).collect();
    assert!(status.success() && printed == ["all"], "{status}, {printed:?}: {errors:#?}");
}

fn url(server: &Example) -> String {
    format!("http://{}", server.address)
}

#[test]
fn curl_asks_with_every_method_and_form_of_target() {
    let Some(curl) = Curl::found() else { return };
    let server = Example::start("http_echo", &[ANY]);
    let base = url(&server);
    assert_eq!(curl.ask(&[&base]).text(), "OK");
    assert_eq!(curl.ask(&[&base, "--http1.0"]).text(), "OK");
    assert_eq!(curl.ask(&["--data", "a=1&b=2", &base]).text(), "a=1&b=2");
    for method in ["PUT", "PATCH", "DELETE", "PURGE", "x!#$%&'*+-.^_`|~9"] {
        assert_eq!(curl.ask(&["--request", method, "--data", method, &base]).text(), method);
    }
    let head = curl.ask(&["--head", &format!("{base}/echo")]);
    assert!(head.text().starts_with("HTTP/1.1 200 OK\r\n"), "{}", head.text());
    assert!(!head.text().contains("Content-Length: 0"), "{}", head.text());

    // To all of the server, and through it as if it were a proxy.
    let all = ["--request", "OPTIONS", "--request-target", "*", "--write-out", "%{http_code}", &base];
    assert_eq!(curl.ask(&all).text(), "200");
    let elsewhere = curl.ask(&["--noproxy", "", "--proxy", &base, "http://example.test/echo"]);
    assert!(elsewhere.text().contains("Host: example.test\n"), "{}", elsewhere.text());

    let cookies = curl.ask(&["--cookie", "a=1; b=two; c=\"x=y\"", &format!("{base}/cookie")]);
    assert_eq!(cookies.text().lines().take(2).collect::<Vec<_>>(), ["a=1", "b=two"]);
    server.stop();
}

#[test]
fn curl_uploads_megabytes_and_hears_what_it_waits_for() {
    let Some(curl) = Curl::found() else { return };
    let server = Example::start("http_echo", &[ANY]);
    let target = format!("{}/up", url(&server));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let content: Vec<u8> = (0..5 * MB).map(|at| (at % 251) as u8).collect();
    fs::write(&file, &content).unwrap();
    let (file, data) = (file.to_str().unwrap(), format!("@{}", file.display()));
    let chunked = "Transfer-Encoding: chunked";
    for (arguments, waits) in [
        (&["--upload-file", file][..], true),
        (&["--upload-file", file, "--header", chunked], true),
        (&["--data-binary", &data], true),
        (&["--data-binary", &data, "--header", chunked], true),
        (&["--data-binary", &data, "--header", "Expect:"], false),
        (&["--data-binary", &data, "--http1.0"], false),
    ] {
        let said = curl.ask(&[arguments, &["--verbose", &target]].concat());
        assert!(said.body == content, "{arguments:?}: {} bytes", said.body.len());
        assert_eq!(said.told.matches("< HTTP/1.1 100 Continue").count(), usize::from(waits), "{}", said.told);
    }

    // More than is taken: who asks first is told at once, and who does not gets to know it too.
    fs::write(folder.path().join("file"), vec![b'x'; 12 * MB]).unwrap();
    for expect in ["Expect: 100-continue", "Expect:"] {
        let status = ["--write-out", "%{http_code}", "--output", "/dev/null", "--verbose"];
        let said = curl.ask(&[&status[..], &["--header", expect, "--upload-file", file, &target]].concat());
        assert_eq!(said.text(), "413", "{}", said.told);
        assert!(!said.told.contains("100 Continue"), "{}", said.told);
    }
    server.stop();
}

#[test]
fn curl_reuses_its_connection() {
    let Some(curl) = Curl::found() else { return };
    let server = Example::start("http_echo", &[ANY]);
    let base = url(&server);
    // Bodies of known and of unknown length, with and without an answer's body; how many connections each one took.
    let taken = |more: &[&str]| {
        let requests = [
            &["--write-out", " %{num_connects}\n"][..],
            more,
            &[&base, &base, "--next", "--silent", "--write-out", " %{num_connects}\n"],
            more,
            &["--data", "x", &base, "--next", "--silent", "--write-out", " %{num_connects}\n"],
            more,
            &["--data", "y", "--header", "Transfer-Encoding: chunked", &base],
        ];
        curl.ask(&requests.concat()).text().to_owned()
    };
    assert_eq!(taken(&[]), "OK 1\nOK 0\nx 0\ny 0\n");
    assert_eq!(taken(&["--header", "Connection: close"]), "OK 1\nOK 1\nx 1\ny 1\n");
    // Only by agreement in 1.0.
    let old = |more: &[&str]| {
        let request = ["--http1.0", "--write-out", "%{num_connects}", &base, &base];
        curl.ask(&[&request[..], more].concat()).text().to_owned()
    };
    assert_eq!(old(&[]), "OK1OK1");
    assert_eq!(old(&["--header", "Connection: keep-alive"]), "OK1OK0");
    server.stop();
}

#[test]
fn curl_unpacks_what_is_compressed_for_it() {
    let Some(curl) = Curl::found() else { return };
    let page: &'static str = String::leak("all work and no play ".repeat(5000));
    on_each(|kind| {
        let worker = Worker::http(ANY).compress(Compression::default());
        let running = start(kind, worker.on_message(move |_, _| Response::html(page)));
        let target = format!("http://{}/", running.tcp());
        let arguments = ["--dump-header", "-", "--compressed", "--write-out", "%{size_download}", &target];
        for more in [&[][..], &["--http1.0"], &["--header", "Accept-Encoding: gzip;q=0.5, identity;q=0.1"]] {
            let said = curl.ask(&[&arguments[..], more].concat());
            let (head, rest) = said.text().split_once("\r\n\r\n").unwrap();
            let lower = head.to_lowercase();
            assert!(lower.contains("\r\ncontent-encoding: gzip"), "{more:?} {head}");
            assert!(lower.contains("\r\nvary: accept-encoding"), "{more:?} {head}");
            let size: usize = rest.strip_prefix(page).expect("the page as it was").parse().unwrap();
            assert!(size < page.len() / 10, "{size} bytes");
        }
        // Not asked for, not done; but whoever keeps the answer is told that it depends.
        let plain = curl.ask(&["--include", &target]);
        let (head, body) = plain.text().split_once("\r\n\r\n").unwrap();
        assert!(body == page && !head.to_lowercase().contains("content-encoding"), "{head}");
        assert!(head.to_lowercase().contains("vary: accept-encoding"), "{head}");
    });
}

#[test]
fn curl_asks_for_files_on_conditions() {
    let Some(curl) = Curl::found() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("page.html"), "0123456789").unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let modified = std::time::SystemTime::now() - hour;
    let file = fs::File::options().write(true).open(folder.path().join("page.html")).unwrap();
    file.set_modified(modified).unwrap();
    let server = Example::start("static_files", &[folder.path().to_str().unwrap(), ANY]);
    let target = format!("{}/page.html", url(&server));
    let field = |name: &str| {
        let head = curl.ask(&["--head", &target]);
        let line = head.text().lines().find(|line| line.to_lowercase().starts_with(name));
        line.unwrap().split_once(": ").unwrap().1.to_owned()
    };
    let (tag, date) = (field("etag"), field("last-modified"));
    let ask = |arguments: &[&str]| {
        let status = ["--write-out", " %{http_code}", &target];
        curl.ask(&[arguments, &status].concat()).text().to_owned()
    };
    assert_eq!(ask(&["--time-cond", &date]), " 304");
    assert_eq!(ask(&["--time-cond", "1999-12-31"]), "0123456789 200");
    assert_eq!(ask(&["--header", &format!("If-None-Match: \"other\", {tag}")]), " 304");
    assert_eq!(ask(&["--header", "If-None-Match: \"other\""]), "0123456789 200");
    assert!(ask(&["--header", "If-Match: \"other\""]).ends_with(" 412"));
    assert!(ask(&["--header", "If-Unmodified-Since: Fri, 31 Dec 1999 00:00:00 GMT"]).ends_with(" 412"));
    // A part, if it is still a part of the same.
    let range = |condition: &str| ask(&["--range", "2-4", "--header", &format!("If-Range: {condition}")]);
    assert_eq!(range(&tag), "234 206");
    assert_eq!(range("\"other\""), "0123456789 200");
    assert_eq!(range("Fri, 31 Dec 1999 00:00:00 GMT"), "0123456789 200");
    server.stop();
}

#[test]
fn curl_reads_events_as_they_come() {
    let Some(curl) = Curl::found() else { return };
    let server = Example::start("sse_clock", &[ANY]);
    let target = format!("{}/time", url(&server));
    let arguments = ["--no-buffer", "--silent", "--max-time", "60", "--header", "Last-Event-ID: 7", &target];
    let client = Program::start(Command::new(&curl.0).args(arguments));
    let mut ticks = 0;
    let mut note = Vec::new();
    while ticks < 2 {
        let line = client.line().expect("a stream without an end");
        match line.split_once(": ") {
            Some(("data", time)) if time.ends_with(" UTC") => ticks += 1,
            Some(("id", _)) => {}
            _ if line.is_empty() => {}
            _ => note.push(line),
        }
    }
    note.sort();
    assert_eq!(note, ["data: welcome back, after 7", "event: note"]);
    // The client is gone, the server goes on.
    drop(client);
    assert!(curl.ask(&[&url(&server)]).text().contains("EventSource"));
    server.stop();
}

#[test]
fn http_client_of_python_keeps_its_connection() {
    let Some(python) = skip::require("python3") else { return };
    let server = Example::start("http_echo", &[ANY]);
    run(python, "http_client.py", &[&server.port()]);
    server.stop();
}

#[test]
fn aiohttp_streams_and_asks_many_at_once() {
    let Some(python) = skip::require_python("aiohttp") else { return };
    let servers = ["http_echo", "hello_http", "sse_clock", "upload"].map(|name| Example::start(name, &[ANY]));
    let urls = servers.each_ref().map(url);
    run(python, "aiohttp_client.py", &urls.each_ref().map(String::as_str));
    servers.into_iter().for_each(|server| drop(server.stop()));
}

#[test]
fn fetch_of_node_streams_and_gives_up() {
    let Some(node) = skip::require("node") else { return };
    let servers = ["rest_json", "http_echo", "sse_clock"].map(|name| Example::start(name, &[ANY]));
    let urls = servers.each_ref().map(url);
    run(node, "fetch.mjs", &urls.each_ref().map(String::as_str));
    servers.into_iter().for_each(|server| drop(server.stop()));
}
