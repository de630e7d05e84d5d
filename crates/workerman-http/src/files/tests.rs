use std::fs;
use std::time::Duration;

use workerman_protocol::http::Body;

use super::*;

/// A root in a folder of its own.
struct Site {
    files: Files,
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        Self { files: Files::new(&root), _folder: folder, root }
    }

    /// A file that has settled, so that its tag is strong.
    fn write(&self, path: &str, content: &str) {
        self.write_aged(path, content, 60);
    }

    fn write_aged(&self, path: &str, content: &str, seconds: u64) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let time = SystemTime::now() - Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn set(&mut self, change: impl FnOnce(Files) -> Files) {
        self.files = change(self.files.clone());
    }

    fn ask(&self, get: bool, target: &str, fields: &[(&str, &str)]) -> Response {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let question = Question::read(get, fields.iter().map(|(name, value)| (*name, value.as_bytes())));
        let Some(names) = self.files.config.names(path) else { return plain(StatusCode::NOT_FOUND) };
        let slashed = (!names.folder).then(|| slashed(path, query));
        self.files.config.search(&names, &question, slashed)
    }

    fn get(&self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.ask(true, target, fields)
    }

    fn field(&self, target: &str, name: &str) -> String {
        self.get(target, &[]).headers().get_str(name).unwrap().to_owned()
    }
}

use std::fs::File;

fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get_str(name)
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(response.body_ref().as_bytes().expect("not in memory")).unwrap()
}

async fn read(response: Response) -> String {
    let mut body = response.into_body();
    let announced = body.len();
    let bytes = body.bytes(1 << 20).await.unwrap();
    assert_eq!(announced, Some(bytes.len() as u64));
    String::from_utf8(bytes.to_vec()).unwrap()
}

const TEN: &str = "0123456789";

#[test]
fn a_file_comes_with_all_that_describes_it() {
    let site = Site::new();
    site.write("a/page.html", TEN);
    let response = site.get("/a/page.html?version=1", &[]);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(&response), TEN);
    assert_eq!(field(&response, "content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(field(&response, "accept-ranges"), Some("bytes"));
    assert!(field(&response, "etag").unwrap().starts_with('"'));
    assert!(field(&response, "last-modified").unwrap().ends_with(" GMT"));
    for absent in ["vary", "cache-control", "content-disposition", "content-range", "content-encoding"] {
        assert_eq!(field(&response, absent), None, "{absent}");
    }
    assert!(response.error().is_none());
}

#[test]
fn an_empty_file_is_a_200_without_bytes() {
    let site = Site::new();
    site.write("empty.txt", "");
    for fields in [&[][..], &[("range", "bytes=-5")]] {
        let response = site.get("/empty.txt", fields);
        assert_eq!((response.status(), response.body_ref().len()), (StatusCode::OK, Some(0)));
    }
    let response = site.get("/empty.txt", &[("range", "bytes=0-")]);
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(field(&response, "content-range"), Some("bytes */0"));
}

#[test]
fn section_9_3_2_a_head_announces_what_a_get_would_send() {
    let site = Site::new();
    site.write("a.txt", TEN);
    let fields = [("range", "bytes=0-1")];
    let (get, head) = (site.get("/a.txt", &[]), site.ask(false, "/a.txt", &fields));
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.body_ref().len(), Some(10));
    assert_eq!(head.headers(), get.headers());
}

#[test]
fn section_13_preconditions_come_first() {
    let mut site = Site::new();
    site.set(|files| files.cache_control(HeaderValue::from_static("max-age=60")));
    site.write("a.txt", TEN);
    let (tag, date) = (site.field("/a.txt", "etag"), site.field("/a.txt", "last-modified"));
    for fields in [
        &[("if-none-match", &*tag)][..],
        &[("if-modified-since", &date)],
        &[("if-none-match", &tag), ("range", "bytes=0-1")],
        &[("if-none-match", &tag), ("range", "bytes=99-")],
    ] {
        let response = site.get("/a.txt", fields);
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{fields:?}");
        assert_eq!(field(&response, "etag"), Some(&*tag));
        assert_eq!(field(&response, "cache-control"), Some("max-age=60"));
        assert_eq!(field(&response, "last-modified"), None);
        assert_eq!(field(&response, "content-type"), None);
        assert_eq!(response.body_ref().len(), Some(0));
    }
    let response = site.get("/a.txt", &[("if-match", "\"other\""), ("range", "bytes=99-")]);
    assert_eq!(response.status(), StatusCode::PRECONDITION_FAILED);
    // Section 13.2.1: without the file they do not count.
    let response = site.get("/none.txt", &[("if-match", "\"other\"")]);
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[test]
fn a_new_state_has_a_new_tag() {
    let site = Site::new();
    site.write("a.txt", TEN);
    let tag = site.field("/a.txt", "etag");
    site.write_aged("a.txt", "9876543210", 30);
    let response = site.get("/a.txt", &[("if-none-match", &tag)]);
    assert_eq!((response.status(), text(&response)), (StatusCode::OK, "9876543210"));
    assert_ne!(field(&response, "etag"), Some(&*tag));
}

#[test]
fn a_file_that_has_just_changed_has_a_weak_tag_and_no_if_range() {
    let site = Site::new();
    fs::write(site.root.join("a.txt"), TEN).unwrap();
    let (tag, date) = (site.field("/a.txt", "etag"), site.field("/a.txt", "last-modified"));
    assert!(tag.starts_with("W/\""), "{tag}");
    for validator in [&tag, &date, &tag["W/".len()..]] {
        let response = site.get("/a.txt", &[("range", "bytes=0-1"), ("if-range", validator)]);
        assert_eq!(response.status(), StatusCode::OK, "{validator}");
    }
    let response = site.get("/a.txt", &[("if-none-match", &tag)]);
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
}

#[test]
fn section_14_one_range() {
    let site = Site::new();
    site.write("a.txt", TEN);
    for (range, expected, content_range) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=3-5", "345", "bytes 3-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=0-", TEN, "bytes 0-9/10"),
        ("bytes=0-2,1-4", "01234", "bytes 0-4/10"),
    ] {
        let response = site.get("/a.txt", &[("Range", range)]);
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(text(&response), expected, "{range}");
        assert_eq!(field(&response, "content-range"), Some(content_range));
        assert_eq!(field(&response, "content-type"), Some("text/plain; charset=utf-8"));
        assert!(field(&response, "etag").is_some() && field(&response, "last-modified").is_some());
    }
    for ignored in ["bytes=5-4", "lines=1-2", "bytes=x"] {
        let response = site.get("/a.txt", &[("range", ignored)]);
        assert_eq!((response.status(), text(&response)), (StatusCode::OK, TEN), "{ignored}");
        assert_eq!(field(&response, "content-range"), None);
    }
    let response = site.get("/a.txt", &[("range", "bytes=10-")]);
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(field(&response, "content-range"), Some("bytes */10"));
    assert_eq!(field(&response, "etag"), None);
}

#[test]
fn section_13_1_5_if_range_decides_between_part_and_whole() {
    let site = Site::new();
    site.write("a.txt", TEN);
    let (tag, date) = (site.field("/a.txt", "etag"), site.field("/a.txt", "last-modified"));
    for (validator, status) in [
        (&*tag, StatusCode::PARTIAL_CONTENT),
        (&date, StatusCode::PARTIAL_CONTENT),
        ("\"other\"", StatusCode::OK),
        (&format!("W/{tag}"), StatusCode::OK),
        ("Sun, 06 Nov 1994 08:49:37 GMT", StatusCode::OK),
    ] {
        let response = site.get("/a.txt", &[("range", "bytes=1-2"), ("if-range", validator)]);
        assert_eq!(response.status(), status, "{validator}");
        let response = site.get("/a.txt", &[("range", "bytes=99-"), ("if-range", validator)]);
        // What does not hold spares the client the 416, too.
        assert_eq!(response.status() == StatusCode::OK, status == StatusCode::OK, "{validator}");
    }
}

#[tokio::test]
async fn section_14_6_several_ranges_are_parts() {
    let site = Site::new();
    let content = "x".repeat(500) + TEN;
    site.write("a.css", &content);
    let response = site.get("/a.css", &[("range", "bytes=-3, 0-1,9999-")]);
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(field(&response, "content-range"), None);
    let kind = field(&response, "content-type").unwrap().to_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let expected = format!(
        "--{boundary}\r\nContent-Type: text/css; charset=utf-8\r\nContent-Range: bytes 507-509/510\r\n\r\n789\
         \r\n--{boundary}\r\nContent-Type: text/css; charset=utf-8\r\nContent-Range: bytes 0-1/510\r\n\r\nxx\
         \r\n--{boundary}--\r\n"
    );
    assert_eq!(read(response).await, expected);
}

#[tokio::test]
async fn more_ranges_than_allowed_are_everything() {
    let mut site = Site::new();
    site.write("a.txt", &"x".repeat(1000));
    site.set(|files| files.max_ranges(2));
    let status = |range| site.get("/a.txt", &[("range", range)]).status();
    assert_eq!(status("bytes=0-0,200-200"), StatusCode::PARTIAL_CONTENT);
    assert_eq!(status("bytes=0-0,200-200,400-400"), StatusCode::OK);
}

#[tokio::test]
async fn a_long_file_is_streamed_in_pieces() {
    let mut site = Site::new();
    site.set(|files| files.piece(1));
    let content: String = (0..5000).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    site.write("a.txt", &content);
    let response = site.get("/a.txt", &[]);
    assert!(response.body_ref().as_bytes().is_none(), "more in memory than one piece");
    assert_eq!(read(response).await, content);
    let response = site.get("/a.txt", &[("range", "bytes=100-4900")]);
    assert_eq!(read(response).await, content[100..=4900]);
}

#[tokio::test]
async fn a_file_that_shrinks_breaks_the_body_off() {
    let mut site = Site::new();
    site.set(|files| files.piece(MIN_PIECE));
    site.write("a.txt", &"x".repeat(3 * MIN_PIECE));
    let response = site.get("/a.txt", &[]);
    File::options().write(true).open(site.root.join("a.txt")).unwrap().set_len(100).unwrap();
    let mut body: Body = response.into_body();
    assert_eq!(body.len(), Some(3 * MIN_PIECE as u64));
    assert!(body.bytes(1 << 20).await.is_err());
}

#[test]
fn folders_are_found_only_by_their_index() {
    let mut site = Site::new();
    site.write("index.html", "top");
    site.write("a/index.html", "in a");
    site.write("b/other.html", "in b");
    site.write("c/index.html/x", "a folder of that name");
    for path in ["/", "/a/", "/a", "/b/"] {
        assert_eq!(site.get(path, &[]).status(), StatusCode::NOT_FOUND, "{path}");
    }
    site.set(|files| files.index("index.html"));
    assert_eq!(text(&site.get("/", &[])), "top");
    assert_eq!(text(&site.get("", &[])), "top");
    let response = site.get("/a/", &[]);
    assert_eq!(text(&response), "in a");
    assert_eq!(field(&response, "content-type"), Some("text/html; charset=utf-8"));
    let response = site.get("/a?x=1&y", &[]);
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(field(&response, "location"), Some("/a/?x=1&y"));
    for path in ["/b", "/b/", "/c", "/c/", "/a/index.html/", "/a/index.html/x"] {
        assert_eq!(site.get(path, &[]).status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[test]
fn a_redirect_stays_on_this_host() {
    let mut site = Site::new();
    site.set(|files| files.index("i"));
    site.write("a b/i", "x");
    assert_eq!(field(&site.get("/%61%20b", &[]), "location"), Some("/%61%20b/"));
    assert_eq!(site.get("//a%20b", &[]).status(), StatusCode::NOT_FOUND);
    assert_eq!(slashed("/\u{e4}", None), "/%C3%A4/");
}

#[test]
fn a_prefix_ends_where_a_name_ends() {
    let mut site = Site::new();
    site.set(|files| files.prefix("/static/").index("index.html"));
    site.write("a.txt", TEN);
    site.write("index.html", "top");
    assert_eq!(text(&site.get("/static/a.txt", &[])), TEN);
    assert_eq!(text(&site.get("/static/", &[])), "top");
    assert_eq!(field(&site.get("/static", &[]), "location"), Some("/static/"));
    for path in ["/a.txt", "/statica.txt", "/static%2fa.txt", "/stati", "/static/../a.txt", "/"] {
        assert_eq!(site.get(path, &[]).status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[test]
fn section_12_5_3_an_encoding_that_lies_beside() {
    let mut site = Site::new();
    site.write("a.js", "plain");
    site.write("a.js.gz", "in gzip");
    site.write("a.js.br", "in brotli");
    assert_eq!(text(&site.get("/a.js", &[("accept-encoding", "gzip")])), "plain");
    site.set(|files| files.precompressed(true));
    let mut tags = Vec::new();
    for (accept, expected, coding) in [
        ("gzip, br", "in brotli", Some("br")),
        ("gzip", "in gzip", Some("gzip")),
        ("br;q=0.1, gzip;q=0.2", "in gzip", Some("gzip")),
        ("deflate", "plain", None),
        ("", "plain", None),
    ] {
        let fields = [("accept-encoding", accept)];
        let response = site.get("/a.js", &fields);
        assert_eq!(text(&response), expected, "{accept}");
        assert_eq!(field(&response, "content-encoding"), coding, "{accept}");
        assert_eq!(field(&response, "content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(field(&response, "vary"), Some("accept-encoding"), "{accept}");
        let tag = field(&response, "etag").unwrap().to_owned();
        let again = site.get("/a.js", &[fields[0], ("if-none-match", &tag)]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{accept}");
        assert_eq!(field(&again, "vary"), Some("accept-encoding"));
        tags.push(tag);
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 3, "each encoding has a tag of its own");
    // Without the plain file there is nothing to find.
    site.write("b.js.gz", "in gzip");
    assert_eq!(site.get("/b.js", &[("accept-encoding", "gzip")]).status(), StatusCode::NOT_FOUND);
}

#[test]
fn an_encoding_that_was_forgotten_is_not_sent() {
    let mut site = Site::new();
    site.set(|files| files.precompressed(true));
    site.write_aged("a.js", "new", 60);
    site.write_aged("a.js.gz", "of the old one", 3600);
    assert_eq!(text(&site.get("/a.js", &[("accept-encoding", "gzip")])), "new");
}

#[test]
fn a_range_is_of_the_encoding_that_the_client_has() {
    let mut site = Site::new();
    site.set(|files| files.precompressed(true));
    site.write("a.js", "plain");
    site.write("a.js.gz", "zipped");
    let accept = ("accept-encoding", "gzip");
    let tag = field(&site.get("/a.js", &[accept]), "etag").unwrap().to_owned();
    let plain_tag = site.field("/a.js", "etag");
    // Nobody says of what: the plain one.
    let response = site.get("/a.js", &[accept, ("range", "bytes=0-1")]);
    assert_eq!((text(&response), field(&response, "content-encoding")), ("pl", None));
    assert_eq!(field(&response, "etag"), Some(&*plain_tag));
    let response = site.get("/a.js", &[accept, ("range", "bytes=0-1"), ("if-range", &tag)]);
    assert_eq!((text(&response), field(&response, "content-encoding")), ("zi", Some("gzip")));
    assert_eq!(field(&response, "etag"), Some(&*tag));
    let response = site.get("/a.js", &[accept, ("range", "bytes=0-1"), ("if-range", &plain_tag)]);
    assert_eq!((text(&response), field(&response, "content-encoding")), ("pl", None));
    // Several ranges of an encoding would need an envelope that is not encoded.
    site.write("b.js", "x");
    site.write("b.js.gz", &"y".repeat(500));
    let tag = field(&site.get("/b.js", &[accept]), "etag").unwrap().to_owned();
    let response = site.get("/b.js", &[accept, ("range", "bytes=0-1,400-401"), ("if-range", &tag)]);
    assert_eq!((response.status(), response.body_ref().len()), (StatusCode::OK, Some(500)));
}

#[test]
fn what_is_unknown_is_to_be_saved() {
    let mut site = Site::new();
    site.write("data \"1\"", "x");
    let response = site.get("/data%20%221%22", &[]);
    assert_eq!(field(&response, "content-type"), Some("application/octet-stream"));
    assert_eq!(
        field(&response, "content-disposition"),
        Some("attachment; filename=\"data _1_\"; filename*=UTF-8''data%20%221%22")
    );
    site.set(|files| files.save_unknown(false));
    assert_eq!(field(&site.get("/data%20%221%22", &[]), "content-disposition"), None);
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_is_forbidden_and_tells_nothing() {
    use std::os::unix::fs::PermissionsExt;

    let site = Site::new();
    site.write("a.txt", TEN);
    fs::set_permissions(site.root.join("a.txt"), fs::Permissions::from_mode(0o0)).unwrap();
    if File::open(site.root.join("a.txt")).is_ok() {
        // Who may do everything is refused nothing.
        return;
    }
    let response = site.get("/a.txt", &[]);
    assert_eq!((response.status(), text(&response)), (StatusCode::FORBIDDEN, "403 Forbidden\n"));
}

#[test]
#[should_panic(expected = "one plain name")]
fn an_index_is_one_name() {
    drop(Files::new("root").index("../index.html"));
}
