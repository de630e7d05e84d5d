//! Forms over bodies: every split, limits, temporary files.
#![forbid(unsafe_code)]
#![cfg(feature = "multipart")]

use std::future::Future;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use futures_util::stream;
use proptest::prelude::*;
use workerman_http::multipart::{Form, Limits, Multipart, MultipartError, Upload};
use workerman_protocol::http::{Body, BodyError, Request};

/// A part as a client has it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Part {
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
    data: Vec<u8>,
}

fn field(name: &str, data: impl Into<Vec<u8>>) -> Part {
    Part { name: name.into(), file_name: None, content_type: None, data: data.into() }
}

fn file(name: &str, file_name: &str, data: impl Into<Vec<u8>>) -> Part {
    Part {
        file_name: Some(file_name.into()),
        content_type: Some("application/octet-stream".into()),
        ..field(name, data)
    }
}

/// Encodes as browsers do (HTML, "multipart/form-data encoding algorithm").
fn encode(parts: &[Part], boundary: &str) -> Vec<u8> {
    let escape = |name: &str| name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    let mut body = Vec::new();
    for part in parts {
        let name = escape(&part.name);
        body.extend(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"").bytes());
        if let Some(file_name) = &part.file_name {
            body.extend(format!("; filename=\"{}\"", escape(file_name)).bytes());
        }
        body.extend(b"\r\n");
        if let Some(content_type) = &part.content_type {
            body.extend(format!("Content-Type: {content_type}\r\n").bytes());
        }
        body.extend(b"\r\n");
        body.extend(&part.data);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").bytes());
    body
}

/// A body that arrives in the given pieces, the last one repeated.
fn in_pieces(data: &[u8], sizes: &[usize]) -> Body {
    let mut pieces = Vec::new();
    let mut rest = data;
    let mut sizes = sizes.iter();
    let mut size = 1;
    while !rest.is_empty() {
        size = *sizes.next().unwrap_or(&size);
        let (piece, behind) = rest.split_at(size.clamp(1, rest.len()));
        pieces.push(Ok::<_, BodyError>(Bytes::copy_from_slice(piece)));
        rest = behind;
    }
    Body::stream(stream::iter(pieces))
}

fn form_of(boundary: &str, body: impl Into<Body>, limits: Limits) -> Multipart {
    let content_type = format!("multipart/form-data; boundary=\"{boundary}\"");
    Multipart::new(&content_type, body, limits).unwrap()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
}

async fn read_all(mut form: Multipart) -> Result<Vec<Part>, MultipartError> {
    let mut parts = Vec::new();
    while let Some(mut part) = form.next_part().await? {
        let data = part.bytes(1 << 20).await?.to_vec();
        assert!(part.data().await.is_none(), "there is nothing behind the end");
        parts.push(Part {
            name: part.name().into(),
            file_name: part.file_name().map(Into::into),
            content_type: part.content_type().map(Into::into),
            data,
        });
    }
    assert!(form.next_part().await?.is_none());
    Ok(parts)
}

/// Data that is full of what delimiters are made of.
fn tricky(boundary: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let mut scraps: Vec<&[u8]> = vec![b"\r\n", b"\r", b"\n", b"-", b"--", b"\r\n--", b"x", b"\0\xff"];
    scraps.extend((1..boundary.len()).map(|end| &boundary.as_bytes()[..end]));
    let scraps = prop::sample::select(scraps);
    let whole = format!("\r\n--{boundary}").into_bytes();
    prop::collection::vec(scraps, 0..40).prop_map(|scraps| scraps.concat()).prop_filter(
        "it has the boundary in it",
        move |data| {
            let mut text = b"\r\n".to_vec();
            text.extend(data);
            !text.windows(whole.len()).any(|window| window == whole)
        },
    )
}

const BOUNDARY: &str = "--bb-b";

fn any_part() -> impl Strategy<Value = Part> {
    let name = "[a-z\\[\\]\"\r\né ]{0,8}";
    (name, prop::option::of(name), prop::option::of("[a-z]{1,5}/[a-z]{1,5}"), tricky(BOUNDARY))
        .prop_map(|(name, file_name, content_type, data)| Part { name, file_name, content_type, data })
}

proptest! {
    #[test]
    fn what_was_encoded_is_read_back_in_every_split(
        parts in prop::collection::vec(any_part(), 0..5),
        sizes in prop::collection::vec(1_usize..30, 1..20),
    ) {
        let body = encode(&parts, BOUNDARY);
        let limits = Limits::new();
        let whole = run(read_all(form_of(BOUNDARY, body.clone(), limits.clone()))).unwrap();
        prop_assert_eq!(&whole, &parts);
        let split = run(read_all(form_of(BOUNDARY, in_pieces(&body, &sizes), limits))).unwrap();
        prop_assert_eq!(&split, &parts);
    }

    #[test]
    fn a_form_that_is_cut_anywhere_is_an_error(
        parts in prop::collection::vec(any_part(), 0..3),
        at in any::<prop::sample::Index>(),
    ) {
        let body = encode(&parts, BOUNDARY);
        // Without the line break of the end, which may be missing.
        let end = at.index(body.len() - 2);
        let cut = run(read_all(form_of(BOUNDARY, body[..end].to_vec(), Limits::new())));
        prop_assert!(matches!(cut, Err(MultipartError::Malformed(_))), "{:?}", cut);
    }
}

#[test]
fn parts_can_be_left_unread() {
    let parts = [field("a", "1"), file("b", "c.bin", vec![7; 100_000]), field("d", "2")];
    let body = encode(&parts, "b");
    run(async {
        let mut form = form_of("b", in_pieces(&body, &[5, 1000]), Limits::new());
        let mut names = Vec::new();
        while let Some(mut part) = form.next_part().await.unwrap() {
            // A little of the large one, nothing of the others.
            if part.is_file() {
                assert!(part.data().await.unwrap().is_ok());
            }
            names.push(part.name().to_owned());
        }
        assert_eq!(names, ["a", "b", "d"]);
    });
}

#[test]
fn the_end_of_the_connection_is_an_error_and_not_the_end() {
    let body = encode(&[field("a", "12345")], "b");
    for cut in [0, 10, body.len() - 15, body.len() - 1] {
        let pieces = [Ok(Bytes::copy_from_slice(&body[..cut])), Err(BodyError::Aborted)];
        run(async {
            let mut form = form_of("b", Body::stream(stream::iter(pieces)), Limits::new());
            let error = loop {
                match form.next_part().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it has an end, cut at {cut}"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, MultipartError::Body(BodyError::Aborted)), "{error}");
            assert!(matches!(form.next_part().await, Err(MultipartError::Ended)));
        });
    }
}

#[test]
fn a_body_that_is_announced_too_large_is_not_read() {
    let nobody = stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, BodyError>>> {
        panic!("the body was polled");
    });
    let limits = Limits::new().max_total(999);
    let form = Multipart::new("multipart/form-data; boundary=b", Body::sized(1000, nobody), limits);
    assert_eq!(form.unwrap_err().status(), 413);
}

#[test]
fn text_has_a_limit_and_is_utf_8() {
    let body = encode(&[field("a", "12345"), field("b", b"\xff".to_vec())], "b");
    run(async {
        let mut form = form_of("b", body, Limits::new());
        let mut part = form.next_part().await.unwrap().unwrap();
        assert_eq!(part.text(5).await.unwrap(), "12345");
        let mut part = form.next_part().await.unwrap().unwrap();
        assert!(matches!(part.text(5).await, Err(MultipartError::Malformed(_))));
    });
    run(async {
        let mut form = form_of("b", encode(&[field("a", "12345")], "b"), Limits::new());
        let mut part = form.next_part().await.unwrap().unwrap();
        assert!(matches!(part.text(4).await, Err(MultipartError::TooLarge { limit: 4, .. })));
    });
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

async fn contents(upload: &Upload) -> Vec<u8> {
    let mut file = upload.open().await.unwrap().into_std().await;
    let mut data = Vec::new();
    file.read_to_end(&mut data).unwrap();
    data
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// A folder for temporary files, and limits that send there what has more than 10 bytes.
fn spooling() -> (tempfile::TempDir, Limits) {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits::new().spool_above(10).spool_in(folder.path());
    (folder, limits)
}

#[test]
fn small_files_stay_in_memory_and_large_ones_go_to_disk() {
    let (folder, limits) = spooling();
    let large = pattern(700_000);
    let parts = [
        field("a", "1"),
        field("a", "2"),
        file("small", "s", pattern(10)),
        file("large", "../l", large.clone()),
        file("none", "", ""),
        file("empty", "e", ""),
    ];
    let body = encode(&parts, "b");
    run(async {
        let mut form = Form::collect(form_of("b", in_pieces(&body, &[70_000]), limits)).await.unwrap();
        assert_eq!(form.text("a"), Some("2"));
        assert_eq!(form.texts("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(form.fields().len(), 2);
        let sizes: Vec<_> = form.files().iter().map(|file| (file.name(), file.size())).collect();
        assert_eq!(sizes, [("small", 10), ("large", 700_000), ("empty", 0)]);

        let small = form.file("small").unwrap();
        assert_eq!(small.bytes().unwrap()[..], pattern(10));
        assert_eq!((small.path(), contents(small).await), (None, pattern(10)));
        assert_eq!(small.read(10).await.unwrap()[..], pattern(10));

        let large_file = form.take_file("large").unwrap();
        assert!(form.file("large").is_none());
        assert_eq!(
            (large_file.file_name(), large_file.safe_file_name().as_deref()),
            (Some("../l"), Some("l"))
        );
        let path = large_file.path().unwrap();
        assert_eq!(path.parent(), Some(folder.path()));
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("workerman.upload."));
        assert_eq!(contents(&large_file).await, large);
        assert_eq!(large_file.read(700_000).await.unwrap()[..], large);
        let refused = large_file.read(699_999).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::FileTooLarge);
        assert_eq!(count(folder.path()), 1);
    });
    // The runtime has ended, and with it what it had left to do.
    assert_eq!(count(folder.path()), 0);
}

#[test]
fn temporary_files_are_removed_unless_they_are_kept() {
    let (folder, limits) = spooling();
    let target = tempfile::tempdir().unwrap();
    let kept = target.path().join("kept");
    let body =
        encode(&[file("a", "x", pattern(100)), file("b", "x", pattern(200)), file("c", "x", "tiny")], "b");
    run(async {
        let mut form = Form::collect(form_of("b", body, limits)).await.unwrap();
        assert_eq!(count(folder.path()), 2);
        form.take_file("b").unwrap().persist(&kept).await.unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), pattern(200));
        // What is there is replaced, by what was in memory too.
        form.take_file("c").unwrap().persist(&kept).await.unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), b"tiny");
        let error = form.take_file("a").unwrap().persist(target.path().join("no/folder")).await;
        assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    });
    assert_eq!((count(folder.path()), count(target.path())), (0, 1));
}

#[test]
fn a_form_that_fails_leaves_no_file() {
    let (folder, limits) = spooling();
    let mut body = encode(&[file("a", "x", pattern(1000)), file("b", "x", pattern(300_000))], "b");
    body.truncate(290_000);
    for rest in [None, Some(Err(BodyError::Aborted))] {
        let pieces = stream::iter([Some(Ok(Bytes::from(body.clone()))), rest].into_iter().flatten());
        let error = run(Form::collect(form_of("b", Body::stream(pieces), limits.clone()))).unwrap_err();
        assert_eq!(error.status(), 400, "{error}");
        assert_eq!(count(folder.path()), 0);
    }
}

#[test]
fn a_form_that_is_given_up_leaves_no_file() {
    let (folder, limits) = spooling();
    let body = encode(&[file("a", "x", pattern(1000)), file("b", "x", pattern(300_000))], "b");
    let pieces = stream::iter([Ok::<_, BodyError>(Bytes::from(body[..290_000].to_vec()))]);
    let body = Body::stream(stream::StreamExt::chain(pieces, stream::pending()));
    run(async {
        let form = Form::collect(form_of("b", body, limits));
        tokio::select! {
            _ = form => panic!("it never ends"),
            () = until(|| std::fs::read_dir(folder.path()).unwrap().count() == 2) => {}
        }
    });
    assert_eq!(count(folder.path()), 0);
}

/// Lets others run until something holds.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn what_does_not_fit_into_memory_is_refused_or_spooled() {
    let (folder, limits) = spooling();
    let limits = limits.spool_above(1000).max_memory(4000);
    let files = (0..8).map(|_| file("f", "x", pattern(100))).collect::<Vec<_>>();
    run(async {
        let form = Form::collect(form_of("b", encode(&files, "b"), limits.clone())).await.unwrap();
        let on_disk = form.files().iter().filter(|file| file.path().is_some()).count();
        assert!((1..8).contains(&on_disk), "{on_disk} on disk");

        let fields = [field("a", pattern(100)), field("b", vec![b'x'; 4000])];
        let error = Form::collect(form_of("b", encode(&fields, "b"), limits)).await.unwrap_err();
        assert!(
            matches!(error, MultipartError::TooLarge { what: "bytes in memory", limit: 4000 }),
            "{error}"
        );
    });
    assert_eq!(count(folder.path()), 0);
}

#[test]
fn a_folder_that_is_missing_is_the_servers_fault() {
    let (folder, limits) = spooling();
    let limits = limits.spool_in(folder.path().join("missing"));
    let body = encode(&[file("a", "x", pattern(100))], "b");
    let error = run(Form::collect(form_of("b", body, limits))).unwrap_err();
    assert_eq!(error.status(), 500, "{error}");
}

/// `/dev/shm` is a file system of its own on most Linux systems.
#[cfg(target_os = "linux")]
#[test]
fn a_file_is_kept_on_another_file_system_too() {
    use std::os::unix::fs::MetadataExt;
    let (folder, limits) = spooling();
    let device = |path: &Path| std::fs::metadata(path).map(|data| data.dev());
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    if device(other.path()).unwrap() == device(folder.path()).unwrap() {
        return;
    }
    let data = pattern(300_000);
    let body = encode(&[file("a", "x", data.clone())], "b");
    run(async {
        let mut form = Form::collect(form_of("b", body, limits)).await.unwrap();
        let kept = other.path().join("kept");
        form.take_file("a").unwrap().persist(&kept).await.unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), data);
    });
    assert_eq!((count(folder.path()), count(other.path())), (0, 1));
}

#[test]
fn names_nest_as_in_other_forms() {
    use workerman_protocol::http::{BadRequest, FormValue};
    let form = |fields: &[(&str, &str)]| {
        let parts: Vec<Part> = fields.iter().map(|(name, value)| field(name, *value)).collect();
        run(Form::collect(form_of("b", encode(&parts, "b"), Limits::new().max_parts(2000)))).unwrap()
    };
    let nested = form(&[("tag[]", "a"), ("user[name]", "Ann"), ("tag[]", "b")]).php_fields().unwrap();
    let tags: Vec<_> = nested.get("tag").unwrap().values().filter_map(FormValue::text).collect();
    assert_eq!(tags, ["a", "b"]);
    let request = Request::builder("GET", "/?tag[]=a&user[name]=Ann&tag[]=b").build().unwrap();
    assert_eq!(nested, request.php_query().unwrap());
    let many = form(&[("a[]", "1"); 1001]).php_fields();
    assert!(matches!(many, Err(BadRequest::TooMany { .. })), "{many:?}");
}

#[test]
fn a_request_has_a_form_if_it_says_so_once() {
    let body = encode(&[field("a", "1")], "b");
    let request = |types: &[&'static str]| {
        let request = Request::builder("POST", "/").body(body.clone());
        types.iter().fold(request, |request, value| request.append("Content-Type", *value)).build().unwrap()
    };
    let form = "multipart/form-data; boundary=b";
    run(async {
        let mut good = request(&[form]);
        let read = Form::read(&mut good, Limits::new()).await.unwrap();
        assert_eq!((read.text("a"), good.bytes().map(Bytes::len)), (Some("1"), Some(0)));
        for types in [&[][..], &[form, form], &["application/x-www-form-urlencoded"]] {
            let mut bad = request(types);
            let error = Form::read(&mut bad, Limits::new()).await.unwrap_err();
            assert_eq!(error.status(), 415, "{types:?}: {error}");
            assert_eq!(bad.bytes(), Some(&Bytes::from(body.clone())), "the body is still there");
        }
    });
}
