//! Routes behind real connections: what handlers return, how they fail, and what a HEAD is spared.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};

use workerman::http::{Cors, Params, Routes};
use workerman::prelude::*;
use workerman_tests::workers::{PATIENCE, Running, on_each, start};

/// A client that keeps its connection.
struct Browser(BufReader<TcpStream>);

/// Status, fields in lower case, body.
#[derive(Debug)]
struct Seen {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
}

impl Seen {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }
}

impl Browser {
    fn new(running: &Running<Http>) -> Self {
        let stream = TcpStream::connect(running.tcp()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, method: &str, target: &str, fields: &str) -> Seen {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = || {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection has ended");
            line.trim_end().to_owned()
        };
        let status = line()["HTTP/1.1 ".len()..][..3].parse().unwrap();
        let mut seen = Seen { status, fields: Vec::new(), body: String::new() };
        loop {
            let line = line();
            let Some((name, value)) = line.split_once(": ") else { break };
            seen.fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length = seen.field("content-length").map_or(0, |length| length.parse().unwrap());
        if method != "HEAD" {
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).unwrap();
            seen.body = String::from_utf8(body).unwrap();
        }
        seen
    }
}

fn routes() -> Routes {
    Routes::builder()
        .get("/", |_| "home")
        .get("/add/{a}/{b}", |request: Request| -> Result<_, Response> {
            Ok((request.param_as::<i64>("a")? + request.param_as::<i64>("b")?).to_string())
        })
        .get_async("/later/{*rest}", async |request: Request| {
            sleep(std::time::Duration::from_millis(1)).await.unwrap();
            request.param("rest").map(str::to_owned)
        })
        .get("/token", |request: Request| {
            let reply = request.reply();
            std::thread::spawn(move || reply.send("by the token").unwrap());
        })
        .get("/fails", |_| -> Result<Response, _> { Err("the secret".to_owned()) })
        .get_async("/fails/later", async |_| -> Result<Response, _> { Err("the secret".to_owned()) })
        .get("/panics", |_| -> Response { panic!("on purpose") })
        .cors(Cors::origins(["https://a.example"]).build().unwrap())
        .build()
        .unwrap()
}

fn worker(errors: Sender<String>) -> Worker<Http> {
    Worker::http("127.0.0.1:0")
        .routes(routes())
        .on_error(move |_, error| errors.send(error.to_string()).unwrap())
}

#[test]
fn handlers_answer_in_their_own_ways_on_one_connection() {
    on_each(|kind| {
        let running = start(kind, worker(channel().0));
        let mut browser = Browser::new(&running);
        for (target, expected) in [
            ("/", "home"),
            ("/add/40/2", "42"),
            ("/later/a%20b/c", "a b/c"),
            ("/token", "by the token"),
            ("/?x", "home"),
        ] {
            let seen = browser.ask("GET", target, "Origin: https://a.example\r\n");
            assert_eq!((seen.status, &*seen.body), (200, expected), "{target}");
            // What leaves by the token has not been through the table again.
            let allowed = seen.field("access-control-allow-origin");
            assert_eq!(allowed, (target != "/token").then_some("https://a.example"), "{target}");
        }
    });
}

#[test]
fn the_table_answers_for_itself() {
    on_each(|kind| {
        let running = start(kind, worker(channel().0));
        let mut browser = Browser::new(&running);
        let seen = browser.ask("HEAD", "/add/40/2", "");
        assert_eq!((seen.status, seen.field("content-length")), (200, Some("2")));
        let seen = browser.ask("OPTIONS", "/", "");
        assert_eq!((seen.status, seen.field("allow")), (204, Some("GET, HEAD, OPTIONS")));
        let seen = browser.ask("DELETE", "/", "");
        assert_eq!((seen.status, seen.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
        assert_eq!(browser.ask("GET", "/none", "").status, 404);
        assert_eq!(browser.ask("GET", "/add/1/x", "").status, 400);
        assert_eq!(browser.ask("GET", "/", "").body, "home");
    });
}

#[test]
fn a_failure_is_a_500_without_its_text_and_told_to_the_worker() {
    on_each(|kind| {
        let (errors, told) = channel();
        let running = start(kind, worker(errors));
        let mut browser = Browser::new(&running);
        for target in ["/fails", "/fails/later"] {
            let seen = browser.ask("GET", target, "");
            assert_eq!((seen.status, &*seen.body), (500, ""), "{target}");
            let error = told.recv_timeout(PATIENCE).unwrap();
            assert!(error.contains("the secret"), "{error}");
        }
        // The connection goes on; a panic ends it, behind a 500.
        assert_eq!(browser.ask("GET", "/", "").body, "home");
        assert_eq!(browser.ask("GET", "/panics", "").status, 500);
        assert_eq!(browser.0.read(&mut [0]).unwrap(), 0);
        assert_eq!(Browser::new(&running).ask("GET", "/", "").body, "home");
    });
}
