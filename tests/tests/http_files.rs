//! Files over real and simulated connections: slow readers, readers who leave, files that change meanwhile.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime};

use workerman::http::Routes;
use workerman::http::files::Files;
use workerman::prelude::*;
use workerman::sim::{LinkOptions, Sim};
use workerman_tests::workers::{PATIENCE, on_each, start};

const MIB: usize = 1 << 20;

/// A root with one file of some length, which has settled.
struct Site {
    folder: tempfile::TempDir,
    content: Vec<u8>,
}

impl Site {
    fn new(length: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
        let site = Self { folder, content };
        fs::write(site.path(), &site.content).unwrap();
        let before = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(site.path()).unwrap().set_modified(before).unwrap();
        site
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file.bin")
    }

    fn files(&self) -> Files {
        Files::new(self.folder.path())
    }
}

const GET: &[u8] = b"GET /file.bin HTTP/1.1\r\nHost: a\r\n\r\n";

fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // A small buffer, so that little is read before it is asked for.
    BufReader::with_capacity(512, stream)
}

/// The status and the length of the next response, whose body comes next.
fn head(reader: &mut impl BufRead) -> (u16, usize) {
    let (mut status, mut length) = (0, None);
    for line in reader.lines() {
        let line = line.unwrap();
        if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
            status = rest[..3].parse().unwrap();
        }
        if let Some((name, value)) = line.split_once(": ") {
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse().unwrap());
            }
        }
        if line.is_empty() {
            return (status, length.unwrap());
        }
    }
    panic!("the stream ended within the head");
}

fn body(reader: &mut impl Read, length: usize) -> Vec<u8> {
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    body
}

#[test]
fn a_file_before_a_close_arrives_whole_however_slow_the_reader_is() {
    on_each(|kind| {
        let site = Site::new(6 * MIB);
        let (files, (closed, was_closed)) = (site.files(), channel());
        let worker = Worker::http("127.0.0.1:0").on_message_async(async move |conn, request| {
            let response = files.respond(&request).await;
            let _ = conn.send(response).unwrap();
            conn.close();
            closed.send(()).unwrap();
        });
        let running = start(kind, worker);
        let mut reader = connect(running.tcp());
        reader.get_mut().write_all(GET).unwrap();
        let (status, length) = head(&mut reader);
        assert_eq!((status, length), (200, site.content.len()));
        // Closed while most of it is still in the file.
        was_closed.recv_timeout(PATIENCE).unwrap();
        assert!(body(&mut reader, length) == site.content, "other bytes");
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the connection ends behind it");
    });
}

#[test]
fn files_of_one_connection_leave_in_the_order_of_their_requests() {
    on_each(|kind| {
        let site = Site::new(MIB + 1);
        let files = site.files();
        let routes = Routes::builder()
            .get("/file.bin", move |request| files.respond(&request))
            .get("/small", |_| "small")
            .build()
            .unwrap();
        let running = start(kind, Worker::http("127.0.0.1:0").pipeline(4).routes(routes));
        let mut reader = connect(running.tcp());
        let small: &[u8] = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n";
        let range: &[u8] = b"GET /file.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=-700000\r\n\r\n";
        let gone: &[u8] = b"HEAD /file.bin HTTP/1.1\r\nHost: a\r\n\r\n";
        reader.get_mut().write_all(&[GET, small, range, gone, small].concat()).unwrap();
        assert_eq!(head(&mut reader), (200, MIB + 1));
        assert!(body(&mut reader, MIB + 1) == site.content, "other bytes");
        assert_eq!((head(&mut reader), body(&mut reader, 5)), ((200, 5), b"small".to_vec()));
        assert_eq!(head(&mut reader), (206, 700_000));
        assert!(body(&mut reader, 700_000) == site.content[MIB + 1 - 700_000..], "other bytes");
        assert_eq!(head(&mut reader), (200, MIB + 1));
        assert_eq!((head(&mut reader), body(&mut reader, 5)), ((200, 5), b"small".to_vec()));
    });
}

#[test]
fn a_file_that_shrinks_breaks_the_connection_off() {
    on_each(|kind| {
        let site = Site::new(16 * MIB);
        let files = site.files();
        let running =
            start(kind, Worker::http("127.0.0.1:0").on_message(move |_, request| files.respond(&request)));
        let mut reader = connect(running.tcp());
        reader.get_mut().write_all(GET).unwrap();
        let (_, length) = head(&mut reader);
        // The page in which a file ends is filled with zeros, perhaps under whoever reads it: it has been read before.
        let mut got = body(&mut reader, 64 * 1024);
        File::options().write(true).open(site.path()).unwrap().set_len(1).unwrap();
        let ended = reader.read_to_end(&mut got);
        assert!(got.len() < length, "all of a file that is not there any more");
        assert!(got == site.content[..got.len()], "other bytes");
        assert!(ended.is_ok() || ended.unwrap_err().kind() == ErrorKind::ConnectionReset);
        // The worker goes on.
        let mut reader = connect(running.tcp());
        reader.get_mut().write_all(GET).unwrap();
        assert_eq!(head(&mut reader), (200, 1));
    });
}

/// How often this process has the file open.
#[cfg(target_os = "linux")]
fn opened(path: &std::path::Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
    links.filter(|link| fs::read_link(link.path()).is_ok_and(|target| target == path)).count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_reader_who_leaves_takes_the_file_with_him() {
    on_each(|kind| {
        let site = Site::new(16 * MIB);
        let path = site.path().canonicalize().unwrap();
        let files = site.files();
        let running =
            start(kind, Worker::http("127.0.0.1:0").on_message(move |_, request| files.respond(&request)));
        let mut reader = connect(running.tcp());
        reader.get_mut().write_all(GET).unwrap();
        head(&mut reader);
        assert_eq!(opened(&path), 1);
        reader.get_mut().shutdown(Shutdown::Both).unwrap();
        drop(reader);
        let begin = Instant::now();
        while opened(&path) > 0 {
            assert!(begin.elapsed() < PATIENCE, "still open");
            std::thread::yield_now();
        }
    });
}

#[test]
fn in_the_simulator_time_waits_for_the_disk() {
    let site = Site::new(300_000);
    let content = site.content.clone();
    let files = site.files();
    // A clock that runs ahead while a file is read would run into the timeouts.
    let worker = move || {
        let files = files.clone();
        Worker::http("0.0.0.0:80").name("web").on_message(move |_, request| files.respond(&request))
    };
    let took = Sim::seed(5)
        .links(LinkOptions {
            latency: Duration::from_millis(1)..=Duration::from_millis(5),
            ..LinkOptions::default()
        })
        .restartable(worker)
        .client("ann", async move |peer| {
            for _ in 0..5 {
                let mut wire = peer.connect().await;
                wire.send(GET).await;
                assert_eq!(wire.line().await, "HTTP/1.1 200 OK");
                while !wire.line().await.is_empty() {}
                assert!(wire.bytes(content.len()).await == content, "other bytes");
            }
        })
        .run();
    assert!(took < Duration::from_secs(5), "{took:?}");
}
