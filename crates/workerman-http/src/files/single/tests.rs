use std::fs;

use workerman_protocol::http::StatusCode;

use super::*;

fn ask(fields: &[(&str, &str)]) -> Question {
    Question::read(true, fields.iter().map(|(name, value)| (*name, value.as_bytes())))
}

#[test]
fn a_file_is_named_by_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".hidden.txt");
    fs::write(&path, "0123456789").unwrap();
    let response = Response::file(&path).search(&ask(&[("range", "bytes=2-3")]));
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(response.headers().get_str("content-range"), Some("bytes 2-3/10"));
    assert_eq!(response.headers().get_str("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(response.body_ref().as_bytes().unwrap(), "23");

    let response = Response::file(folder.path().join("none")).search(&ask(&[]));
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let response = Response::file(folder.path()).search(&ask(&[]));
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[test]
fn it_can_be_described() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    fs::write(&path, "x").unwrap();
    let response = Response::file(&path)
        .content_type(HeaderValue::from_static("text/x-own"))
        .attachment("b\u{e4}r.txt")
        .cache_control(HeaderValue::from_static("no-store"))
        .search(&ask(&[]));
    let fields = response.headers();
    assert_eq!(fields.get_str("content-type"), Some("text/x-own"));
    assert_eq!(fields.get_str("cache-control"), Some("no-store"));
    assert_eq!(
        fields.get_str("content-disposition"),
        Some("attachment; filename=\"b_r.txt\"; filename*=UTF-8''b%C3%A4r.txt")
    );
    let response = Response::file(&path).save_unknown(false).search(&ask(&[]));
    assert_eq!(response.headers().get_str("content-type"), Some("application/octet-stream"));
    assert!(!response.headers().contains("content-disposition"));
}

#[cfg(unix)]
#[test]
fn links_of_the_program_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
    let response = Response::file(folder.path().join("link")).search(&ask(&[]));
    assert_eq!(response.status(), StatusCode::OK);
}
