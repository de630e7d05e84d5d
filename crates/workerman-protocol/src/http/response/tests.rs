//! Tests of responses.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::super::SameSite;
use super::*;

/// The result of a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_response_is_small() {
    assert!(size_of::<Response>() <= 112, "{}", size_of::<Response>());
}

#[test]
fn a_status_is_a_number_or_a_name() {
    assert_eq!(Response::of(404).status(), StatusCode::NOT_FOUND);
    assert_eq!(Response::text("").with_status(StatusCode::GONE).status(), 410);
    assert_eq!(Response::text("").with_status(201).status(), 201);
    assert!(Response::of(42).error().is_some() && Response::of(1000).error().is_some());
    assert_eq!(
        (Response::not_found().status().as_u16(), Response::no_content().status().as_u16()),
        (404, 204)
    );
}

#[test]
fn a_location_is_a_reference() {
    let location = |to: &str| {
        let response = Response::redirect(to);
        assert_eq!((response.status().as_u16(), response.error().is_some()), (302, false));
        response.headers().get_str("location").map(str::to_owned).unwrap()
    };
    assert_eq!(location("https://a.b/c?d=e&f=%20#g"), "https://a.b/c?d=e&f=%20#g");
    assert_eq!(location("/a b/\"<\u{fc}>\\^`{|}"), "/a%20b/%22%3C%C3%BC%3E%5C%5E%60%7B%7C%7D");
    assert_eq!(location("http://[::1]:1/"), "http://[::1]:1/");
    for bad in ["/a\r\nset-cookie: b=c", "/\0", "/\t", "/\u{7f}"] {
        let response = Response::redirect(bad);
        assert!(matches!(response.error(), Some(Error::Field { .. })), "{bad:?}");
        assert!(response.headers().is_empty());
    }
    let kinds =
        [301, 303, 307, 308].map(|status| Response::redirect("/").with_status(status).status().as_u16());
    assert_eq!(kinds, [301, 303, 307, 308]);
}

#[test]
fn cookies_are_added_and_bad_ones_are_errors() {
    let response = Response::text("")
        .cookie(Cookie::new("a", "1"))
        .cookie(Cookie::new("a", "2").secure())
        .cookie(Cookie::removal("b"));
    let set: Vec<_> = response.headers().get_all("set-cookie").map(|value| value.to_str().unwrap()).collect();
    assert_eq!((set.len(), set[0], set[1]), (3, "a=1", "a=2; Secure"));
    let bad = Response::text("").cookie(Cookie::new("a", "").same_site(SameSite::None));
    assert!(matches!(bad.error(), Some(Error::Message(why)) if why.contains("secure")));
}

#[test]
fn a_mistake_is_kept_and_the_first_one_counts() {
    let response = Response::text("x").header("a b", "c").header("d", "e\n").with_status(7);
    assert!(matches!(response.error(), Some(Error::Field { reason, .. }) if reason.contains("name")));
    assert!(response.headers().is_empty());
}

#[test]
fn a_switch_names_a_protocol() {
    let response = Response::switching_protocols("WebSocket/13");
    assert_eq!(
        (response.status().as_u16(), response.headers().get_str("upgrade")),
        (101, Some("WebSocket/13"))
    );
    for bad in ["", "a b", "a/", "/1", "a,b", "a/1/2", "a\r\nb"] {
        assert!(Response::switching_protocols(bad).error().is_some(), "{bad:?}");
    }
}

#[test]
fn the_content_type_of_a_constructor_can_be_replaced() {
    let response = Response::text("x").header("Content-Type", "text/csv");
    assert_eq!((response.content_type(), response.headers().len()), (Some("text/csv"), 1));
    let mut response = Response::html("x");
    assert!(response.headers().is_empty());
    assert_eq!(response.headers_mut().get_str("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!((response.content_type(), response.headers().len()), (Some("text/html; charset=utf-8"), 1));
    assert!(response.headers_mut().remove("content-type"));
    assert_eq!(response.content_type(), None);
}

#[test]
fn trailers_come_behind_the_body() {
    let trailers: Headers = [(http::header::ETAG, HeaderValue::from_static("x"))].into_iter().collect();
    let response = Response::text("x").trailers(trailers.clone());
    assert_eq!(response.body_ref().trailers(), Some(&trailers));
    assert_eq!(response.body_ref().as_bytes().unwrap(), "x");
}

#[test]
fn a_client_reads_what_it_got() {
    assert_eq!(now(Response::text("hi").read_text()).unwrap(), "hi");
    assert_eq!(now(Response::text("hi").read_bytes()).unwrap(), "hi");
    assert!(matches!(now(Response::bytes(vec![0xff]).read_text()), Err(ReadError::NotText)));
    let large = vec![0; Response::MAX_READ + 1];
    assert!(matches!(
        now(Response::bytes(large).read_text()),
        Err(ReadError::Body(super::super::BodyError::TooLarge { .. }))
    ));
    let mut twice = Response::text("hi");
    assert_eq!((now(twice.read_text()).unwrap().len(), now(twice.read_text()).unwrap().len()), (2, 0));
}

#[cfg(feature = "serde")]
#[test]
fn json_goes_out_and_comes_in() {
    let mut response = Response::json(vec!["a", "b"]);
    assert_eq!(now(response.read_json::<Vec<String>>()).unwrap(), ["a", "b"]);
    assert!(matches!(now(Response::text("{").read_json::<u8>()), Err(ReadError::Json(_))));
    // A key that is no text.
    let bad = Response::json(std::collections::BTreeMap::from([(vec![1], 2)]));
    assert!(matches!(bad.error(), Some(Error::Body(_))));
}
