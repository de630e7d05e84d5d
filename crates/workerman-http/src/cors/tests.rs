use workerman_protocol::http::Request;

use super::*;

fn request(method: &str, fields: &[(&str, &str)]) -> Request {
    let mut builder = Request::builder(method, "/");
    for (name, value) in fields {
        builder = builder.append(*name, *value);
    }
    builder.build().unwrap()
}

fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get_str(name)
}

const A: &str = "https://a.example";
const ORIGIN: &str = "access-control-allow-origin";
const CREDENTIALS: &str = "access-control-allow-credentials";

fn applied(cors: &Cors, fields: &[(&str, &str)]) -> Response {
    cors.grant(request("GET", fields).head()).apply(Response::text("x"))
}

fn preflight(cors: &Cors, fields: &[(&str, &str)]) -> Response {
    let fields = [&[("access-control-request-method", "PUT")], fields].concat();
    cors.preflight(request("OPTIONS", &fields).head()).unwrap()
}

#[test]
fn an_origin_of_the_list_may_read_and_others_may_not() {
    let cors = Cors::origins([A, "http://localhost:8080"]).expose(["x-total"]).build().unwrap();
    for allowed in [A, "http://localhost:8080"] {
        let response = applied(&cors, &[("Origin", allowed)]);
        assert_eq!(field(&response, ORIGIN), Some(allowed));
        assert_eq!(field(&response, "vary"), Some("origin"));
        assert_eq!(field(&response, "access-control-expose-headers"), Some("x-total"));
        assert_eq!(field(&response, CREDENTIALS), None);
    }
    for refused in [
        "https://b.example",
        "http://a.example",
        "https://a.example:444",
        "https://a.example.evil",
        "https://evil-a.example",
        "https://a.example/",
        "https://A.example",
        "null",
        "*",
        "",
    ] {
        let response = applied(&cors, &[("origin", refused)]);
        assert_eq!(field(&response, ORIGIN), None, "{refused}");
        assert_eq!(field(&response, "access-control-expose-headers"), None);
        assert_eq!(field(&response, "vary"), Some("origin"), "{refused}");
    }
    // Two origins are none.
    assert_eq!(field(&applied(&cors, &[("origin", A), ("origin", A)]), ORIGIN), None);
}

#[test]
fn without_an_origin_a_cache_is_told_all_the_same() {
    let listed = Cors::origins([A]).build().unwrap();
    let response = applied(&listed, &[]);
    assert_eq!((field(&response, ORIGIN), field(&response, "vary")), (None, Some("origin")));
    // Every origin gets the same: nothing varies.
    let any = Cors::any().build().unwrap();
    for fields in [&[][..], &[("origin", A)]] {
        let response = applied(&any, fields);
        assert_eq!((field(&response, ORIGIN), field(&response, "vary")), (Some("*"), None));
    }
}

#[test]
fn vary_is_added_to_and_not_repeated() {
    let cors = Cors::origins([A]).build().unwrap();
    let of = |vary: &'static str| {
        let response = cors.grant(request("GET", &[]).head()).apply(Response::text("x").header("vary", vary));
        response.headers().get_all("vary").map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("accept-encoding"), ["accept-encoding", "origin"]);
    assert_eq!(of("accept, Origin"), ["accept, Origin"]);
    assert_eq!(of("*"), ["*"]);
}

#[test]
fn fields_of_the_handler_do_not_open_what_is_closed() {
    let cors = Cors::origins([A]).build().unwrap();
    let response = Response::text("x").header(ORIGIN, "*").header(CREDENTIALS, "true");
    let response = cors.grant(request("GET", &[("origin", "https://b.example")]).head()).apply(response);
    assert_eq!((field(&response, ORIGIN), field(&response, CREDENTIALS)), (None, None));
}

#[test]
fn credentials_name_the_origin_and_are_never_for_all() {
    let cors = Cors::origins([A]).credentials(true).build().unwrap();
    let response = applied(&cors, &[("origin", A)]);
    assert_eq!((field(&response, ORIGIN), field(&response, CREDENTIALS)), (Some(A), Some("true")));
    let response = applied(&cors, &[("origin", "https://b.example")]);
    assert_eq!((field(&response, ORIGIN), field(&response, CREDENTIALS)), (None, None));
    assert_eq!(Cors::any().credentials(true).build().unwrap_err(), CorsError::CredentialsForAny);
}

#[test]
fn a_closure_decides() {
    let cors = Cors::matching(|origin| origin.ends_with(".a.example")).credentials(true).build().unwrap();
    assert_eq!(
        field(&applied(&cors, &[("origin", "https://x.a.example")]), ORIGIN),
        Some("https://x.a.example")
    );
    let response = applied(&cors, &[("origin", A)]);
    assert_eq!((field(&response, ORIGIN), field(&response, "vary")), (None, Some("origin")));
}

#[test]
fn a_preflight_is_options_with_origin_and_method() {
    let cors = Cors::origins([A]).build().unwrap();
    let of = |method, fields: &[(&str, &str)]| cors.preflight(request(method, fields).head());
    let (origin, wanted) = (("origin", A), ("access-control-request-method", "PUT"));
    assert!(of("OPTIONS", &[origin, wanted]).is_some());
    assert!(of("OPTIONS", &[origin]).is_none());
    assert!(of("OPTIONS", &[wanted]).is_none());
    assert!(of("GET", &[origin, wanted]).is_none());
}

#[test]
fn a_preflight_says_what_is_allowed() {
    let cors = Cors::origins([A])
        .methods([Method::PUT, Method::DELETE])
        .headers(["X-One", "content-type"])
        .expose(["x-total"])
        .credentials(true)
        .max_age(Duration::from_millis(600_900))
        .build()
        .unwrap();
    let response = preflight(&cors, &[("origin", A), ("access-control-request-headers", "x-two")]);
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    for (name, expected) in [
        (ORIGIN, Some(A)),
        (CREDENTIALS, Some("true")),
        ("access-control-allow-methods", Some("PUT, DELETE")),
        ("access-control-allow-headers", Some("X-One, content-type")),
        ("access-control-max-age", Some("600")),
        // What a page may read is said by the response that it reads.
        ("access-control-expose-headers", None),
        ("vary", Some("origin")),
    ] {
        assert_eq!(field(&response, name), expected, "{name}");
    }
}

#[test]
fn a_preflight_of_another_origin_learns_nothing() {
    let cors = Cors::origins([A]).methods([Method::PUT]).headers(["x-one"]).build().unwrap();
    let response = preflight(&cors, &[("origin", "https://b.example")]);
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let names: Vec<&str> = response.headers().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["vary"]);
}

#[test]
fn any_field_is_the_one_that_was_asked_for() {
    let cors = Cors::any().any_header().build().unwrap();
    let of = |asked| {
        let response = preflight(&cors, &[("origin", A), ("access-control-request-headers", asked)]);
        assert_eq!(field(&response, "vary"), Some("access-control-request-headers"));
        field(&response, "access-control-allow-headers").map(str::to_owned)
    };
    assert_eq!(of("authorization,x-one").as_deref(), Some("authorization, x-one"));
    assert_eq!(of("x one"), None);
    assert_eq!(of(""), None);
}

#[test]
fn origins_are_kept_as_browsers_write_them() {
    for (given, kept) in [
        ("HTTPS://A.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("https://a.example:80", "https://a.example:80"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("null", "null"),
    ] {
        let cors = Cors::origins([given]).build().unwrap();
        assert_eq!(field(&applied(&cors, &[("origin", kept)]), ORIGIN), Some(kept));
    }
    for bad in
        ["*", "a.example", "https://a.example/", "https://a.example/x", "https://", "://a", "https://*.a", ""]
    {
        assert_eq!(Cors::origins([bad]).build().unwrap_err(), CorsError::Origin { origin: bad.to_owned() });
    }
    for bad in ["", "a b", "a:"] {
        assert_eq!(
            Cors::any().headers([bad]).build().unwrap_err(),
            CorsError::Header { name: bad.to_owned() }
        );
        assert!(Cors::any().expose([bad]).build().is_err());
    }
}
