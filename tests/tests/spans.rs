//! What is logged inside a handler stands in the spans of its worker and its connection.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use workerman::prelude::*;

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_handlers_log_lines_name_worker_and_connection() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let bound = Worker::text("127.0.0.1:0")
        .name("chat")
        .on_message(|_, line| {
            tracing::info!("in the handler");
            line
        })
        .bind()
        .unwrap();
    let address = bound.addresses()[0].tcp().unwrap();
    let handle = bound.handle();
    let server = std::thread::spawn(move || bound.run());
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"x\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "x\n");
    handle.stop();
    server.join().unwrap().unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = log.lines().find(|line| line.contains("in the handler")).expect("the handler's line");
    assert!(line.contains("worker{name=\"chat\" thread=0}:connection{worker=chat id="), "{line}");
}
