use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn request(method: &str, target: &str) -> Request {
    Request::builder(method, target).build().unwrap()
}

/// The answer of a table whose handlers never wait for anything.
fn answered(routes: &Routes, request: Request) -> Answered {
    match pin!(routes.respond(request)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answered) => answered,
        Poll::Pending => panic!("suspended"),
    }
}

fn respond(routes: &Routes, method: &str, target: &str) -> Response {
    answered(routes, request(method, target)).unwrap().unwrap()
}

fn text(routes: &Routes, method: &str, target: &str) -> String {
    let response = respond(routes, method, target);
    let body = String::from_utf8(response.body_ref().as_bytes().unwrap().to_vec()).unwrap();
    if response.status() == StatusCode::OK { body } else { response.status().as_str().to_owned() }
}

/// Says which route was taken, and with what.
fn echo(name: &'static str, params: &'static [&'static str]) -> impl Fn(Request) -> String + Send + Sync {
    move |request| {
        let values: Vec<&str> = params.iter().map(|param| request.param(param).unwrap()).collect();
        format!("{name}[{}]", values.join("|"))
    }
}

#[test]
fn the_most_exact_pattern_wins_part_by_part() {
    let routes = Routes::builder()
        .get("/{*rest}", echo("tail", &["rest"]))
        .get("/users/{id}", echo("user", &["id"]))
        .get("/users/me", echo("me", &[]))
        .get("/users/{id}/files/{*path}", echo("files", &["id", "path"]))
        .get("/{kind}/list", echo("list", &["kind"]))
        .get("/", echo("root", &[]))
        .build()
        .unwrap();
    for (path, expected) in [
        ("/", "root[]"),
        ("/users/me", "me[]"),
        ("/users/you", "user[you]"),
        // The literal comes first, left to right.
        ("/users/list", "user[list]"),
        ("/groups/list", "list[groups]"),
        ("/users/7/files/a/b.txt", "files[7|a/b.txt]"),
        ("/users/7/files/", "files[7|]"),
        // Where the exact one leads nowhere, the next one is tried.
        ("/users/7/files", "tail[users/7/files]"),
        ("/users/me/x", "tail[users/me/x]"),
        ("/users/", "tail[users/]"),
        ("/users", "tail[users]"),
        ("//", "tail[/]"),
    ] {
        assert_eq!(text(&routes, "GET", path), expected, "{path}");
    }
}

#[test]
fn a_slash_at_the_end_makes_another_path() {
    let routes =
        Routes::builder().get("/a", |_| "a").get("/b/", |_| "b").get("/c/{x}", |_| "c").build().unwrap();
    for (path, expected) in [
        ("/a", "a"),
        ("/a/", "404"),
        ("/b/", "b"),
        ("/b", "404"),
        ("/c/", "404"),
        ("/c//", "404"),
        ("/c/1/", "404"),
    ] {
        assert_eq!(text(&routes, "GET", path), expected, "{path}");
    }
}

#[test]
fn parameters_are_decoded_and_encoded_slashes_do_not_split() {
    let routes = Routes::builder()
        .get("/p/{a}/{b}", echo("p", &["a", "b"]))
        .get("/t/{*t}", echo("t", &["t"]))
        .get("/caf\u{e9} x", |_| "literal")
        .build()
        .unwrap();
    for (path, expected) in [
        ("/p/a%2Fb/c%20d", "p[a/b|c d]"),
        ("/p/%E2%82%AC/%252F", "p[\u{20ac}|%2F]"),
        ("/p/a+b/%zz", "p[a+b|%zz]"),
        ("/p/a%2Fb", "404"),
        // Not UTF-8.
        ("/p/%ff/x", "404"),
        ("/t/a%2Fb/c", "t[a/b/c]"),
        ("/t/%ff", "404"),
        ("/caf%C3%A9%20x", "literal"),
        ("/%63af%c3%a9%20x", "literal"),
        ("/p/../x", "p[..|x]"),
        ("/p/a/b?c=/d/e", "p[a|b]"),
    ] {
        assert_eq!(text(&routes, "GET", path), expected, "{path}");
    }
    assert_eq!(text(&routes, "GET", "http://localhost/p/1/2?x"), "p[1|2]");
}

#[test]
fn absolute_targets_without_a_path_are_for_the_root() {
    let routes = Routes::builder().get("/", |_| "root").build().unwrap();
    for target in ["http://localhost", "http://localhost?x=1", "http://localhost/", "/?x"] {
        assert_eq!(text(&routes, "GET", target), "root", "{target}");
    }
}

#[test]
fn section_15_5_6_a_405_says_what_is_allowed() {
    let routes = Routes::builder()
        .get("/a/{x}", |_| "get")
        .post("/a/{x}", |_| "post")
        .delete("/a/b", |_| "delete")
        .route(Method::from_bytes(b"BREW").unwrap(), "/pot", |_| "coffee")
        .build()
        .unwrap();
    for (method, path, allow) in [
        ("PUT", "/a/z", "GET, HEAD, POST, OPTIONS"),
        ("PUT", "/a/b", "DELETE, GET, HEAD, POST, OPTIONS"),
        ("HEAD", "/pot", "BREW, OPTIONS"),
        ("get", "/a/z", "GET, HEAD, POST, OPTIONS"),
        ("PROPFIND", "/a/z", "GET, HEAD, POST, OPTIONS"),
    ] {
        let response = respond(&routes, method, path);
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(response.headers().get_str("allow"), Some(allow), "{method} {path}");
    }
    // A method that the exact pattern lacks is looked for in the next one.
    assert_eq!(text(&routes, "GET", "/a/b"), "get");
    assert_eq!(text(&routes, "DELETE", "/a/b"), "delete");
    assert_eq!(text(&routes, "BREW", "/pot"), "coffee");
    let response = respond(&routes, "PUT", "/b");
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(!response.headers().contains("allow"));
}

#[test]
fn a_head_is_a_get_unless_it_has_a_route() {
    let routes = Routes::builder()
        .get("/a", |request: Request| request.method().to_string())
        .get("/b", |_| "get")
        .route(Method::HEAD, "/b", |_| "head")
        .post("/c", |_| "post")
        .build()
        .unwrap();
    assert_eq!(text(&routes, "HEAD", "/a"), "HEAD");
    assert_eq!(text(&routes, "HEAD", "/b"), "head");
    assert_eq!(text(&routes, "HEAD", "/c"), "405");
}

#[test]
fn section_9_3_7_options_tell_the_methods() {
    let routes = Routes::builder()
        .get("/a", |_| "get")
        .put("/a", |_| "put")
        .route(Method::OPTIONS, "/b", |_| "own")
        .patch("/c", |_| "patch")
        .build()
        .unwrap();
    let response = respond(&routes, "OPTIONS", "/a");
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers().get_str("allow"), Some("GET, HEAD, PUT, OPTIONS"));
    assert_eq!(text(&routes, "OPTIONS", "/b"), "own");
    assert_eq!(text(&routes, "OPTIONS", "/none"), "404");
    let response = respond(&routes, "OPTIONS", "*");
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers().get_str("allow"), Some("GET, HEAD, PUT, OPTIONS, PATCH"));
}

#[test]
fn any_takes_what_no_other_route_of_the_pattern_takes() {
    let routes = Routes::builder()
        .any("/x", |request: Request| format!("any {}", request.method()))
        .get("/x", |_| "get")
        .build()
        .unwrap();
    assert_eq!(text(&routes, "GET", "/x"), "get");
    assert_eq!(text(&routes, "HEAD", "/x"), "get");
    assert_eq!(text(&routes, "POST", "/x"), "any POST");
    assert_eq!(text(&routes, "OPTIONS", "/x"), "any OPTIONS");
}

#[test]
fn two_routes_for_the_same_requests_are_an_error() {
    let conflict = |first: &'static str, second: &'static str| {
        Routes::builder().get(first, |_| "").get(second, |_| "").build().err()
    };
    for (first, second) in
        [("/a", "/a"), ("/a/{x}", "/a/{y}"), ("/{*x}", "/{*y}"), ("/%61", "/a"), ("/a/{x}/b", "/a/{y}/b")]
    {
        let expected =
            RouteError::Conflict { method: "GET".into(), pattern: second.into(), other: first.into() };
        assert_eq!(conflict(first, second), Some(expected));
    }
    for (first, second) in
        [("/a", "/a/"), ("/a/{x}", "/a/{*x}"), ("/a/{x}/b", "/a/{y}/c"), ("/a/{x}", "/a/b")]
    {
        assert_eq!(conflict(first, second), None);
    }
    assert!(Routes::builder().get("/a", |_| "").post("/a", |_| "").any("/a", |_| "").build().is_ok());
    let error = Routes::builder().any("/a", |_| "").any("/a", |_| "").build().unwrap_err();
    assert_eq!(error.to_string(), "* /a has a route already: /a");
    assert!(matches!(Routes::builder().get("a", |_| "").build(), Err(RouteError::Pattern { .. })));
}

#[test]
fn names_belong_to_their_route() {
    let routes = Routes::builder()
        .get("/u/{id}", echo("get", &["id"]))
        .post("/u/{name}", echo("post", &["name"]))
        .build()
        .unwrap();
    assert_eq!(text(&routes, "GET", "/u/1"), "get[1]");
    assert_eq!(text(&routes, "POST", "/u/1"), "post[1]");
}

#[test]
fn handlers_return_what_they_like() {
    let state = Arc::new("state".to_owned());
    let routes = Routes::builder()
        .get("/text", |_| "text")
        .get("/status", |_| StatusCode::IM_A_TEAPOT)
        .get("/option", |_| Some("some"))
        .get("/token", |_| ())
        .get("/none", |_| None::<Response>)
        .get("/result", |_| -> Result<_, fmt::Error> { Ok("fine") })
        .get("/failure", |_| -> Result<Response, _> { Err("secret".to_owned()) })
        .get("/refusal", |request: Request| -> Result<_, Response> {
            Ok(request.param_as::<u8>("x")?.to_string())
        })
        .get("/n/{x}", |request: Request| -> Result<_, Response> {
            Ok(request.param_as::<u8>("x")?.to_string())
        })
        .get("/future", |_| async { "later" })
        .get_async("/async", async move |request: Request| {
            std::future::ready(()).await;
            format!("{} {}", request.path(), state)
        })
        .get_async("/async-failure", async |_| -> Result<&str, BoxError> { Err("secret".into()) })
        .build()
        .unwrap();
    for (path, expected) in [
        ("/text", "text"),
        ("/status", "418"),
        ("/option", "some"),
        ("/result", "fine"),
        ("/n/255", "255"),
        ("/n/256", "400"),
        ("/n/x", "400"),
        ("/refusal", "500"),
        ("/future", "later"),
        ("/async", "/async state"),
        ("/async", "/async state"),
    ] {
        assert_eq!(text(&routes, "GET", path), expected, "{path}");
    }
    for path in ["/token", "/none"] {
        assert!(matches!(answered(&routes, request("GET", path)), Ok(None)), "{path}");
    }
    for path in ["/failure", "/async-failure"] {
        assert_eq!(answered(&routes, request("GET", path)).unwrap_err().to_string(), "secret", "{path}");
    }
    // What is sync is answered without a future.
    assert!(matches!(routes.call(request("GET", "/text")), Routed::Ready(Ok(Some(_)))));
    assert!(matches!(routes.call(request("GET", "/nowhere")), Routed::Ready(Ok(Some(_)))));
    assert!(matches!(routes.call(request("GET", "/async")), Routed::Later(_)));
}

#[test]
fn failures_can_be_made_responses() {
    let routes = Routes::builder()
        .get("/a", |_| -> Result<Response, _> { Err("secret".to_owned()) })
        .get_async("/b", async |_| -> Result<Response, _> { Err("secret".to_owned()) })
        .on_error(|error| Response::text(format!("{} bytes", error.to_string().len())).with_status(503))
        .build()
        .unwrap();
    assert_eq!(text(&routes, "GET", "/a"), "503");
    assert_eq!(text(&routes, "GET", "/b"), "503");
}

#[test]
fn cors_covers_the_whole_table() {
    let cors = Cors::origins(["https://a.example"]).build().unwrap();
    let routes = Routes::builder()
        .get("/a", |_| "a")
        .put_async("/a", async |_| "a")
        .get("/failure", |_| -> Result<Response, _> { Err("secret".to_owned()) })
        .cors(cors)
        .on_error(|_| StatusCode::BAD_GATEWAY)
        .build()
        .unwrap();
    let of = |method: &str, path: &str, more: &[(&'static str, &'static str)]| {
        let mut builder = Request::builder(method, path).header("origin", "https://a.example");
        for (name, value) in more {
            builder = builder.header(*name, *value);
        }
        answered(&routes, builder.build().unwrap()).unwrap().unwrap()
    };
    for (method, path, status) in [
        ("GET", "/a", 200),
        ("PUT", "/a", 200),
        ("POST", "/a", 405),
        ("GET", "/b", 404),
        ("GET", "/failure", 502),
    ] {
        let response = of(method, path, &[]);
        assert_eq!(response.status(), status, "{method} {path}");
        let allowed = response.headers().get_str("access-control-allow-origin");
        assert_eq!(allowed, Some("https://a.example"), "{method} {path}");
    }
    let response = of("OPTIONS", "/a", &[("access-control-request-method", "PUT")]);
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let methods = response.headers().get_str("access-control-allow-methods");
    assert_eq!(methods, Some("GET, HEAD, PUT, OPTIONS"));
    // Without what makes it a preflight it is an OPTIONS like any other.
    let response = of("OPTIONS", "/a", &[]);
    assert_eq!(response.headers().get_str("allow"), Some("GET, HEAD, PUT, OPTIONS"));
}

#[test]
fn a_table_is_shared_between_threads_and_shows_its_routes() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let routes = Routes::builder().get("/a", |_| "").any("/{*rest}", |_| "").build().unwrap();
    shared(&routes);
    assert_eq!(format!("{routes:?}"), r#"["GET /a", "* /{*rest}"]"#);
}

proptest::proptest! {
    /// Whatever is asked for, a table answers, and a parameter is never more than its part of the path.
    #[test]
    fn a_parameter_is_one_part(path in "(/[a-c%2F.]{0,4}){1,5}") {
        let routes = Routes::builder()
            .get("/a/{x}", echo("one", &["x"]))
            .get("/{x}/b/{y}", echo("two", &["x", "y"]))
            .build()
            .unwrap();
        let parts: Vec<&str> = path[1..].split('/').collect();
        // A part that is no text fits no parameter, and an empty one neither.
        let text_of = |at: usize| percent_encoding::percent_decode_str(parts[at]).decode_utf8().ok();
        let value = |at: usize| text_of(at).filter(|_| !parts[at].is_empty());
        let expected = match parts.len() {
            2 if text_of(0).as_deref() == Some("a") => value(1).map(|x| format!("one[{x}]")),
            3 if text_of(1).as_deref() == Some("b") => {
                value(0).zip(value(2)).map(|(x, y)| format!("two[{x}|{y}]"))
            }
            _ => None,
        };
        let expected = expected.unwrap_or_else(|| "404".to_owned());
        proptest::prop_assert_eq!(text(&routes, "GET", &path), expected);
    }
}
