//! HTTP as a browser speaks it: pages with `fetch`, `EventSource` and forms in a headless Chromium.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::fs::File;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use workerman::BackendKind;
use workerman::http::{StatusCode, sse};
use workerman::prelude::*;
use workerman_tests::browser::Browser;
use workerman_tests::program::Example;
use workerman_tests::serving::next;
use workerman_tests::workers::{Running, start};

const ANY: &str = "127.0.0.1:0";

/// What the pages of the tests ask for.
#[derive(Clone)]
struct Site {
    /// What `/say` says to the client of `/events`.
    speaker: Arc<Mutex<Option<sse::EventSender>>>,
    /// The `Last-Event-ID` of each request for `/ticks`.
    resumed: Sender<Option<String>>,
    /// Told when a client of `/endless` has left.
    left: Sender<()>,
}

impl Site {
    fn respond(&self, request: Request) -> Response {
        match request.path() {
            "/" => Response::html("<!doctype html><title>a page</title>"),
            "/echo" => Response::bytes(request.into_body()).with_status(201).header("x-kind", "echo"),
            "/empty" => Response::no_content(),
            "/events" => {
                let (sender, events) = sse::channel(4);
                let _ = sender.try_send("first");
                *self.speaker.lock().unwrap() = Some(sender);
                Response::events(events)
            }
            "/say" => {
                let event = sse::Event::new(request.query().unwrap_or_default().to_owned());
                self.speaker.lock().unwrap().as_ref().unwrap().try_send(event).unwrap();
                Response::no_content()
            }
            "/hush" => {
                *self.speaker.lock().unwrap() = None;
                Response::no_content()
            }
            "/ticks" => self.tick(request.last_event_id()),
            "/endless" => {
                let (sender, events) = sse::channel(4);
                let left = self.left.clone();
                drop(workerman::spawn(async move {
                    while sender.send("x".repeat(10_000)).await.is_ok() {}
                    left.send(()).unwrap();
                }));
                Response::events(events)
            }
            _ => Response::new(StatusCode::NOT_FOUND),
        }
    }

    /// One event, behind the last that the browser has; then the stream ends. Behind the third there is none.
    fn tick(&self, last: Option<&str>) -> Response {
        self.resumed.send(last.map(str::to_owned)).unwrap();
        let n = last.map_or(1, |last| last.parse::<u32>().unwrap() + 1);
        if n > 3 {
            return Response::no_content();
        }
        let (sender, events) = sse::channel(1);
        let event = sse::Event::new(format!("tick\nof {n}")).id(n.to_string()).event("tick");
        sender.try_send(event.retry(Duration::from_millis(1))).unwrap();
        Response::events(events)
    }
}

/// A browser with the site's page.
struct Open {
    browser: Browser,
    resumed: std::sync::mpsc::Receiver<Option<String>>,
    left: std::sync::mpsc::Receiver<()>,
    _running: Running<Http>,
}

#[track_caller]
fn open() -> Option<Open> {
    let mut browser = Browser::start()?;
    let ((told_resumed, resumed), (told_left, left)) = (channel(), channel());
    let site = Site { speaker: Arc::default(), resumed: told_resumed, left: told_left };
    let running =
        start(BackendKind::default(), Worker::http(ANY).on_message(move |_, request| site.respond(request)));
    browser.open(&format!("http://{}/", running.tcp()));
    Some(Open { browser, resumed, left, _running: running })
}

#[test]
fn a_page_fetches() {
    let Some(Open { mut browser, _running, .. }) = open() else { return };
    assert_eq!(browser.eval("document.title"), "a page");
    let posted = browser.eval(
        "fetch('/echo', { method: 'POST', body: 'über ' + 'x'.repeat(1000000) }).then(async response =>
            [response.status, response.headers.get('x-kind'), (await response.text()).length].join(' '))",
    );
    assert_eq!(posted, "201 echo 1000005");
    let put = browser.eval(
        "fetch('/echo', { method: 'PUT', body: new Blob(['a', 'b']) }).then(response => response.text())",
    );
    assert_eq!(put, "ab");
    let empty = browser.eval("fetch('/empty').then(async r => [r.status, await r.text()].join('-'))");
    assert_eq!(empty, "204-");
    let head =
        browser.eval("fetch('/', { method: 'HEAD' }).then(async r => [r.status, await r.text()].join('-'))");
    assert_eq!(head, "200-");
    assert_eq!(browser.eval("fetch('/none').then(response => response.status)"), "404");
    // More than the browser has connections for one host.
    let many = browser.eval(
        "Promise.all(Array.from({ length: 100 }, (_, n) =>
            fetch('/echo', { method: 'POST', body: `${n}` }).then(response => response.text())
        )).then(answers => answers.every((answer, n) => answer === `${n}`) && answers.length)",
    );
    assert_eq!(many, "100");
}

#[test]
fn a_page_reads_a_response_as_it_comes() {
    let Some(Open { mut browser, left, _running, .. }) = open() else { return };
    // Each piece is asked for only when the one before has been read: nothing is held back on its way.
    let read = browser.eval(
        "fetch('/events').then(async response => {
            const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
            const seen = [];
            for (const say of ['one', 'two', null]) {
                seen.push((await reader.read()).value.trim());
                await fetch(say ? '/say?' + say : '/hush');
            }
            seen.push((await reader.read()).done);
            return seen.join(', ');
        })",
    );
    assert_eq!(read, "data: first, data: one, data: two, true");
    // Given up in the middle of a stream that has no end: the server hears of it.
    let given_up = browser.eval(
        "(async () => {
            const controller = new AbortController();
            const response = await fetch('/endless', { signal: controller.signal });
            const reader = response.body.getReader();
            await reader.read();
            controller.abort();
            try { for (;;) await reader.read(); } catch (error) { return error.name; }
        })()",
    );
    assert_eq!(given_up, "AbortError");
    next(&left);
}

#[test]
fn event_source_comes_back_for_what_it_has_missed() {
    let Some(Open { mut browser, resumed, _running, .. }) = open() else { return };
    let seen = browser.eval(
        "new Promise(done => {
            const seen = [], source = new EventSource('/ticks');
            source.addEventListener('tick', event => seen.push(event.lastEventId + ':' + event.data));
            source.onerror = () => {
                if (source.readyState === EventSource.CLOSED) done(seen.join(', '));
            };
        })",
    );
    assert_eq!(seen, r"1:tick\nof 1, 2:tick\nof 2, 3:tick\nof 3");
    let asked: Vec<Option<String>> = (0..4).map(|_| next(&resumed)).collect();
    assert_eq!(asked, [None, Some("1".into()), Some("2".into()), Some("3".into())]);
}

/// Resolves with the text of an element when it matches a pattern.
fn until(id: &str, pattern: &str) -> String {
    format!(
        "new Promise(done => {{
            const element = document.getElementById('{id}');
            const look = () => {{ if (/{pattern}/.test(element.textContent)) done(element.textContent); }};
            new MutationObserver(look).observe(element, {{ childList: true }});
            look();
        }})"
    )
}

#[test]
fn the_page_of_the_clock_shows_the_time() {
    let Some(mut browser) = Browser::start() else { return };
    let server = Example::start("sse_clock", &[ANY]);
    browser.open(&format!("http://{}/", server.address));
    let first = browser.eval(&until("time", r"^\d\d:\d\d:\d\d UTC$"));
    assert_eq!(browser.eval(&until("state", "^connected$")), "connected");
    let second = browser.eval(&until("time", &format!("^(?!{first})")));
    assert_ne!(first, second);

    // The server is gone, and comes back: so does the page, and says what it has.
    let address = server.address.clone();
    drop(server);
    browser.eval(&until("state", "^lost"));
    let server = Example::start("sse_clock", &[&address]);
    browser.eval(&until("state", r"^welcome back, after \d+$"));
    let third = browser.eval("document.getElementById('time').textContent");
    browser.eval(&until("time", &format!("^(?!{third})")));
    drop(browser);
    server.stop();
}

#[test]
fn the_page_of_uploads_shows_how_far_they_are() {
    let Some(mut browser) = Browser::start() else { return };
    let server = Example::start("upload", &[ANY]);
    browser.open(&format!("http://{}/", server.address));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.bin");
    let file = File::create(&path).unwrap();
    file.set_len(20_000_000).unwrap();
    browser.choose("#files", &path);
    browser.eval(
        "window.shown = [];
         new MutationObserver(() => shown.push(document.getElementById('state').textContent))
            .observe(document.getElementById('state'), { childList: true });
         document.querySelector('#form button').click()",
    );
    assert_eq!(browser.eval(&until("state", "^(arrived|refused|the connection)")), "arrived");
    let report = browser.eval("document.getElementById('report').textContent");
    assert_eq!(report, "file.bin: 20000000 bytes, CRC-32 23f553fd");
    assert_eq!(browser.eval("shown.some(text => /^[0-9.]+ MiB of 19.1 MiB, /.test(text))"), "true");
    assert_eq!(browser.eval("document.getElementById('bar').value"), "1");

    // Stopped on the way: more than goes through in the time that a click takes.
    file.set_len(2 << 30).unwrap();
    browser.choose("#files", &path);
    browser.eval("document.querySelector('#form button').click()");
    browser.eval(&until("state", "^[0-9.]+ MiB of 2048.0 MiB"));
    browser.eval("document.getElementById('stop').click()");
    assert_eq!(browser.eval(&until("state", "^(stopped|arrived)")), "stopped");
    // And the next goes through.
    file.set_len(1).unwrap();
    browser.choose("#files", &path);
    browser.eval("document.querySelector('#form button').click()");
    browser.eval(&until("report", "^file.bin: 1 bytes"));
    drop(browser);
    server.stop();
}
