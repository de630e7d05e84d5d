//! WebSocket as a browser speaks it: a page and its socket on one port, in a headless Chromium.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::sync::mpsc::{Receiver, channel};

use workerman::BackendKind;
use workerman::prelude::*;
use workerman::websocket::deflate::Deflate;
use workerman_tests::browser::Browser;
use workerman_tests::serving::next;
use workerman_tests::workers::{Running, start};

const ANY: &str = "127.0.0.1:0";

/// What the pages of the tests do: `open(path)` is a connection whose messages can be waited for.
const PAGE: &str = "<!doctype html><title>a page</title><script>
    function open_(path, protocols) {
        return new Promise((done, failed) => {
            const socket = new WebSocket('ws://' + location.host + path, protocols ?? []);
            socket.binaryType = 'arraybuffer';
            const messages = [], waiting = [];
            socket.onmessage = ({ data }) => waiting.length ? waiting.shift()(data) : messages.push(data);
            socket.next = () => new Promise(got => messages.length ? got(messages.shift()) : waiting.push(got));
            socket.ended = new Promise(got => { socket.onclose = got; });
            socket.ended.then(() => failed('closed'));
            socket.onopen = () => done(socket);
        });
    }
    async function echoed(socket, message) {
        socket.send(message);
        const answer = await socket.next();
        if (typeof message === 'string') return answer === message;
        const [a, b] = [new Uint8Array(answer), new Uint8Array(message)];
        return a.length === b.length && a.every((byte, n) => byte === b[n]);
    }
    function noise(size) {
        const bytes = new Uint8Array(size);
        for (let n = 0; n < size; n += 65536) crypto.getRandomValues(bytes.subarray(n, Math.min(size, n + 65536)));
        return bytes.buffer;
    }
</script>";

struct Site {
    browser: Browser,
    closes: Receiver<(Option<u16>, String, bool, bool)>,
    _running: Running<Http>,
}

#[track_caller]
fn site() -> Option<Site> {
    let mut browser = Browser::start()?;
    let (told, closes) = channel();
    let worker = Worker::websocket_upgrades()
        .protocol(
            Websocket::new()
                .compress(Deflate::new())
                .protocols(["chat"])
                .max_message(32 << 20)
                .max_frame(32 << 20),
        )
        .on_message(|conn, message| {
            if message == "close me" {
                conn.close_with_code(4000, "grüße");
                return None;
            }
            Some(message)
        })
        .on_close(move |_, reason| {
            let _ = told.send((reason.code(), reason.text().to_owned(), reason.by_peer(), reason.is_clean()));
        });
    let echo = worker.upgrades();
    let http = Worker::http(ANY).on_message(move |_, request: Request| match request.path() {
        "/socket" => request.upgrade(&echo),
        _ => Response::html(PAGE),
    });
    let running = start(BackendKind::default(), http);
    browser.open(&format!("http://{}/", running.tcp()));
    Some(Site { browser, closes, _running: running })
}

#[test]
fn a_page_talks_to_the_socket_of_its_port() {
    let Some(Site { mut browser, closes, _running }) = site() else { return };
    let agreed = browser.eval(
        "open_('/socket', ['other', 'chat']).then(socket => { window.socket = socket;
            return socket.protocol + ' ' + socket.extensions })",
    );
    assert!(agreed.starts_with("chat permessage-deflate"), "{agreed}");
    for message in [
        "''",
        "'a'",
        "'grüße 😀 \\u0000 \\u2028'",
        "'x'.repeat(126)",
        "'é'.repeat(1000000)",
        "new Uint8Array(0).buffer",
        "noise(125)",
        "noise(65536)",
        "noise(16000000)",
        "new ArrayBuffer(16000000)",
    ] {
        assert_eq!(browser.eval(&format!("echoed(socket, {message})")), "true", "{message}");
    }
    let in_order = browser.eval(
        "(async () => {
            const say = n => 'message ' + n + ' words'.repeat(n % 100);
            for (let n = 0; n < 3000; n++) socket.send(say(n));
            for (let n = 0; n < 3000; n++) if (await socket.next() !== say(n)) return n;
            return 'all';
        })()",
    );
    assert_eq!(in_order, "all");
    assert_eq!(browser.eval("socket.bufferedAmount"), "0");
    browser.eval("socket.close(4321, 'tschüss')");
    let closed = browser.eval("socket.ended.then(end => [end.code, end.wasClean].join(' '))");
    assert_eq!(closed, "4321 true");
    assert_eq!(next(&closes), (Some(4321), "tschüss".into(), true, true));
}

#[test]
fn a_page_is_told_why_it_was_closed() {
    let Some(Site { mut browser, closes, _running }) = site() else { return };
    let closed = browser.eval(
        "open_('/socket').then(socket => { socket.send('close me');
            return socket.ended.then(end => [end.code, end.reason, end.wasClean].join(' ')) })",
    );
    assert_eq!(closed, "4000 grüße true");
    assert_eq!(next(&closes), (Some(4000), "grüße".into(), false, true));
    // A browser that is gone.
    assert_eq!(browser.eval("open_('/socket').then(socket => echoed(socket, 'here'))"), "true");
    drop(browser);
    let (code, _, by_peer, _) = next(&closes);
    assert!(by_peer && matches!(code, Some(1001 | 1006)), "{code:?}");
}

#[test]
fn many_sockets_of_a_page_and_a_path_that_has_none() {
    let Some(Site { mut browser, closes: _closes, _running }) = site() else { return };
    let many = browser.eval(
        "Promise.all(Array.from({ length: 50 }, (_, n) => open_('/socket').then(async socket => {
            for (let m = 0; m < 20; m++) if (!await echoed(socket, n + ' ' + m)) return 0;
            socket.close();
            return (await socket.ended).wasClean ? 1 : 0;
        }))).then(all => all.reduce((a, b) => a + b))",
    );
    assert_eq!(many, "50");
    assert_eq!(browser.eval("open_('/elsewhere').catch(what => what)"), "closed");
}
