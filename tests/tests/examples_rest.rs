//! The examples of files and of JSON, asked by curl.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use workerman_tests::program::Example;
use workerman_tests::skip;

/// curl, quiet, and with what it is to say behind the body.
struct Curl(PathBuf, String);

impl Curl {
    fn of(server: &Example) -> Option<Self> {
        Some(Self(skip::require("curl")?, format!("http://{}", server.socket())))
    }

    /// The status and what came, both as text.
    fn ask(&self, arguments: &[&str], path: &str) -> (u16, String) {
        let output = Command::new(&self.0)
            .args(["--silent", "--show-error", "--max-time", "30", "--path-as-is", "--noproxy", "*"])
            .args(["--write-out", "%{http_code}"])
            .args(arguments)
            .arg(format!("{}{path}", self.1))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {arguments:?} {path}: {error}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.split_at(text.len() - 3);
        (status.parse().unwrap(), body.to_owned())
    }
}

#[test]
fn static_files_gives_curl_files_and_parts_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("more")).unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    fs::write(root.join("index.html"), "<h1>top</h1>").unwrap();
    fs::write(root.join("more/index.html"), "<h1>more</h1>").unwrap();
    let long: String = (0..500_000).map(|at| char::from(b'a' + (at % 25) as u8)).collect();
    fs::write(root.join("long.txt"), &long).unwrap();
    std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();

    let server = Example::start("static_files", &[root.to_str().unwrap(), "127.0.0.1:0"]);
    let Some(curl) = Curl::of(&server) else { return };
    assert_eq!(curl.ask(&[], "/"), (200, "<h1>top</h1>".into()));
    assert_eq!(curl.ask(&["--location"], "/more"), (200, "<h1>more</h1>".into()));
    assert!(curl.ask(&[], "/long.txt") == (200, long.clone()), "another text");
    assert_eq!(curl.ask(&["--http1.0", "--range", "100-109"], "/long.txt"), (206, long[100..110].into()));
    assert_eq!(curl.ask(&["--range", "-5"], "/long.txt"), (206, long[long.len() - 5..].into()));
    assert_eq!(curl.ask(&["--range", "500000-"], "/long.txt").0, 416);
    let (status, parts) = curl.ask(&["--range", "0-4,1000-1004"], "/long.txt");
    assert_eq!(status, 206);
    assert!(parts.contains("\r\n\r\nabcde\r\n--") && parts.contains("bytes 1000-1004/500000"), "{parts}");
    for path in ["/link", "/../secret", "/%2e%2e/secret", "/..%2fsecret", "/more/../../secret", "/.%00"] {
        assert_eq!(curl.ask(&[], path).0, 404, "{path}");
    }
    assert_eq!(curl.ask(&["--data", "x"], "/").0, 405);

    // A download that is continued, and one that is not needed.
    let copy = folder.path().join("copy");
    fs::write(&copy, &long[..123_456]).unwrap();
    assert_eq!(curl.ask(&["--continue-at", "-", "--output", copy.to_str().unwrap()], "/long.txt").0, 206);
    assert!(fs::read_to_string(&copy).unwrap() == long, "another text");
    let tag = folder.path().join("tag");
    let tag = tag.to_str().unwrap();
    assert_eq!(curl.ask(&["--etag-save", tag, "--output", "/dev/null"], "/long.txt").0, 200);
    assert_eq!(curl.ask(&["--etag-compare", tag], "/long.txt"), (304, String::new()));
    server.stop();
}

#[test]
fn rest_json_keeps_tasks_for_curl() {
    let server = Example::start("rest_json", &["127.0.0.1:0"]);
    let Some(curl) = Curl::of(&server) else { return };
    let send = |method: &str, path: &str, body: &str| {
        curl.ask(&["--request", method, "--header", "content-type: application/json", "--data", body], path)
    };
    assert_eq!(curl.ask(&[], "/tasks"), (200, "{}".into()));
    let (write, written) = (r#"{"title":"write","done":false}"#, r#"{"title":"write","done":true}"#);
    assert_eq!(send("POST", "/tasks", r#"{"title":"write"}"#), (201, write.into()));
    assert_eq!(send("POST", "/tasks", "{}").0, 400);
    assert_eq!(curl.ask(&[], "/tasks/1"), (200, write.into()));
    assert_eq!(send("PUT", "/tasks/1", written), (200, written.into()));
    assert_eq!(send("PUT", "/tasks/2", written).0, 404);
    assert_eq!(curl.ask(&[], "/tasks"), (200, format!("{{\"1\":{written}}}")));
    assert_eq!(curl.ask(&[], "/tasks/one").0, 400);
    assert_eq!(curl.ask(&["--request", "DELETE"], "/tasks/1"), (204, String::new()));
    assert_eq!(curl.ask(&["--request", "DELETE"], "/tasks/1").0, 404);
    assert_eq!(curl.ask(&["--request", "PATCH"], "/tasks/1").0, 405);
    assert_eq!(curl.ask(&[], "/").0, 404);
    server.stop();
}

#[test]
fn pages_of_examples_are_asked_for_their_heads() {
    for (name, other) in [("sse_clock", "/time"), ("upload", "/")] {
        let server = Example::start(name, &["127.0.0.1:0"]);
        let Some(curl) = Curl::of(&server) else { return };
        let (status, head) = curl.ask(&["--head"], "/");
        assert!(status == 200 && head.contains("Content-Type: text/html"), "{name}: {head}");
        assert_eq!(curl.ask(&["--head"], other).0, 200, "{name}");
        assert_eq!(curl.ask(&["--head"], "/none").0, 404, "{name}");
        assert_eq!(curl.ask(&["--request", "DELETE"], "/").0, 405, "{name}");
        server.stop();
    }
}
