//! Static files as a client sees them, above all: nothing outside of the root is ever opened.
#![forbid(unsafe_code)]
#![cfg(feature = "files")]

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use workerman_http::files::{Files, ResponseFile, serve_file};
use workerman_http::routes::Routes;
use workerman_protocol::http::{Request, Response, StatusCode};

fn request(method: &str, target: &str) -> Request {
    Request::builder(method, target).build().unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().bytes(1 << 20).await.unwrap().to_vec()).unwrap()
}

/// Writes a file that has settled.
fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let before = SystemTime::now() - Duration::from_secs(60);
    File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
}

#[tokio::test]
async fn get_and_head_are_answered_and_options_told() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.txt"), "hello");
    let files = Files::new(folder.path());
    let response = files.respond(&request("GET", "/a.txt")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "hello");
    let response = files.respond(&request("HEAD", "/a.txt")).await;
    assert_eq!((response.status(), response.body_ref().len()), (StatusCode::OK, Some(5)));
    let response = files.respond(&request("OPTIONS", "/a.txt")).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers().get_str("allow"), Some("GET, HEAD, OPTIONS"));
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW", "get"] {
        let response = files.respond(&request(method, "/a.txt")).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(response.headers().get_str("allow"), Some("GET, HEAD, OPTIONS"));
    }
    let response = files.respond(&request("GET", "http://localhost/a.txt?x")).await;
    assert_eq!(text(response).await, "hello");
}

#[tokio::test]
async fn a_download_that_broke_off_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let content: String = (0..100_000).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    write(&folder.path().join("long.txt"), &content);
    let files = Files::new(folder.path()).piece(8192);
    let mut response = files.respond(&request("GET", "/long.txt")).await;
    let tag = response.headers().get_str("etag").unwrap().to_owned();
    let mut got = Vec::new();
    for _ in 0..3 {
        got.extend_from_slice(&response.body_mut().data().await.unwrap().unwrap());
    }
    drop(response);
    let rest = Request::builder("GET", "/long.txt")
        .header("range", format!("bytes={}-", got.len()))
        .header("if-range", tag)
        .build()
        .unwrap();
    let response = files.respond(&rest).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    got.extend_from_slice(text(response).await.as_bytes());
    assert_eq!(got, content.as_bytes());
}

#[tokio::test]
async fn a_response_is_looked_for_whether_or_not_the_request_lives_on() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.txt"), "hello");
    let serving = {
        let request = request("GET", "/");
        serve_file(folder.path().join("a.txt"), &request)
    };
    assert_eq!(text(serving.await).await, "hello");
    let post = request("POST", "/report");
    let response = Response::file(folder.path().join("a.txt")).attachment("b.txt").respond(&post).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers().get_str("content-disposition"), Some("attachment; filename=\"b.txt\""));
}

#[test]
fn without_a_runtime_it_is_a_500_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Files::new(folder.path()).respond(&request("GET", "/a.txt"));
    let response =
        Future::poll(std::pin::pin!(serving), &mut std::task::Context::from_waker(std::task::Waker::noop()));
    let std::task::Poll::Ready(response) = response else { panic!("who should wake it?") };
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn files_lie_behind_a_route() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a/b c.txt"), "hello");
    let files = Files::new(folder.path()).prefix("/static");
    let routes = Routes::builder()
        .get_async("/static/{*path}", async move |request: Request| files.respond(&request).await)
        .get("/", |_| "home")
        .build()
        .unwrap();
    for (method, target, status) in [
        ("GET", "/static/a/b%20c.txt", 200),
        ("HEAD", "/static/a/b%20c.txt", 200),
        ("GET", "/static/a%2Fb%20c.txt", 404),
        ("GET", "/static/../a/b%20c.txt", 404),
        ("POST", "/static/a/b%20c.txt", 405),
    ] {
        let response = routes.respond(request(method, target)).await.unwrap().unwrap();
        assert_eq!(response.status(), status, "{method} {target}");
    }
}

#[cfg(unix)]
mod outside {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    /// A folder with a root in it, what nobody may have beside it, and links of all kinds.
    struct Trap {
        folder: tempfile::TempDir,
        runtime: tokio::runtime::Runtime,
    }

    impl Trap {
        fn new() -> Self {
            use std::os::unix::fs::symlink;

            let folder = tempfile::tempdir().unwrap();
            let trap = Self { folder, runtime: runtime() };
            let root = trap.root();
            for inside in ["a", "b/a", "b/index.html", "b/b/a", "%2e%2e", "...", "a\\b", "c:", ".h/a", ".a"] {
                write(&root.join(inside), "inside");
            }
            for outside in ["a", "b/a", "index.html", "root2/a"] {
                write(&trap.folder.path().join(outside), "outside");
            }
            for (target, name) in [
                ("b", "l"),
                ("b/a", "b/l"),
                ("../a", "out"),
                ("..", "up"),
                ("../..", "b/up"),
                ("../root2", "next"),
                ("up", "again"),
                ("/", "top"),
                ("circle", "circle"),
                ("../root/b", "back"),
                ("nowhere", "broken"),
            ] {
                // One of them leads to nothing from where it is, which is a case too.
                symlink(target, root.join(name)).unwrap();
            }
            symlink(trap.folder.path().join("a"), root.join("absolute")).unwrap();
            trap
        }

        fn root(&self) -> PathBuf {
            self.folder.path().join("root")
        }

        /// The body of a 200, with whatever settings.
        fn get(&self, path: &str, settings: [bool; 3]) -> Option<String> {
            // What the head of a request cannot even hold is refused before.
            let request = Request::builder("GET", path).header("accept-encoding", "gzip, br").build().ok()?;
            let [hidden, links, index] = settings;
            let mut files = Files::new(self.root()).hidden(hidden).links(links).precompressed(true);
            if index {
                files = files.index("index.html");
            }
            self.runtime.block_on(async {
                let response = files.respond(&request).await;
                let status = response.status();
                assert!(!status.is_server_error(), "{path}: {status}");
                if let Some(location) = response.headers().get_str("location") {
                    assert!(location.starts_with('/') && !location.starts_with("//"), "{location}");
                }
                (status == StatusCode::OK).then_some(text(response).await)
            })
        }
    }

    #[test]
    fn what_lies_outside_is_never_opened() {
        let trap = Trap::new();
        // The trap is one: these are there, inside.
        for path in ["/a", "/b/a", "/l/a", "/b/", "/back/a", "/%252e%252e"] {
            assert_eq!(trap.get(path, [false, true, true]).as_deref(), Some("inside"), "{path}");
        }
        assert_eq!(trap.get("/.h/a", [true, true, false]).as_deref(), Some("inside"));
        assert_eq!(trap.get("/l/a", [false, false, true]), None);

        let names = prop_oneof![
            prop::sample::select(vec![
                "a",
                "b",
                "l",
                "out",
                "up",
                "next",
                "again",
                "top",
                "circle",
                "back",
                "broken",
                "absolute",
                "root",
                "root2",
                "tmp",
                "etc",
                "passwd",
                "index.html",
                ".h",
                ".a",
                "...",
                "c:",
                "..",
                ".",
                "",
                "~",
                "%2e%2e",
                "%2E.",
                ".%2e",
                "%2e",
                "%252e%252e",
                "..%2f",
                "%2f",
                "..%5c",
                "..\\",
                "%5c..",
                "%00",
                "a%00",
                "a%00.txt",
                "%c0%ae%c0%ae",
                "%e0%80%ae",
                "%u002e",
                "..;",
                "..;a",
                "C:",
                "\\\\",
                "%",
                "%%",
                "%2",
                "..%00",
                " ",
                "%20",
                "..%20",
                "%ff",
            ])
            .prop_map(str::to_owned),
            "[a.%25eEfF/\\\\]{0,5}",
        ];
        let paths = prop::collection::vec(names, 0..6).prop_map(|parts| format!("/{}", parts.join("/")));
        let settings = prop::array::uniform3(any::<bool>());
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 3000,
            ..ProptestConfig::default()
        });
        runner
            .run(&(paths, settings), |(path, settings)| {
                if let Some(body) = trap.get(&path, settings) {
                    prop_assert_eq!(body, "inside");
                }
                Ok(())
            })
            .unwrap();
    }
}
