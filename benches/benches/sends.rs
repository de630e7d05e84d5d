//! Time per `send` of 64 bytes: from the connection's own callback, from another connection's callback, from a task
//! on the loop's thread, and from another thread.
//!
//! `cargo bench -p workerman-benches --bench sends`. What is timed is the call alone; the bytes are written between
//! two samples. `WORKERMAN_EVENT_LOOP` chooses the backend.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use workerman::{Bytes, Connection, Frame, Worker};
use workerman_benches::spread::Spread;

const PAYLOAD: &[u8] = &[b'x'; 64];
/// Sends of one sample; together they stay under the high-water mark.
const SENDS: usize = 4096;
const SAMPLES: usize = 31;
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Result<(), Box<dyn Error>> {
    // Without `--bench` this is `cargo test`: show that it works, measure nothing.
    let samples = if std::env::args().any(|argument| argument == "--bench") { SAMPLES } else { 1 };
    let (taken, samples_taken) = channel();
    let (came, conns) = channel();
    let worker = Worker::frame("127.0.0.1:0")
        .on_connect(move |conn| {
            let _ = came.send(conn.clone());
        })
        .on_message(move |conn, message| on_message(conn, &message, &taken));
    let bound = worker.bind()?;
    let address = bound.addresses()[0].tcp().ok_or("a TCP address")?;
    let handle = bound.handle();
    let server = std::thread::spawn(move || bound.run());

    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let conn = conns.recv_timeout(PATIENCE)?;
    let mut trigger = TcpStream::connect(address)?;
    conns.recv_timeout(PATIENCE)?;

    println!("{:<32} ns per send (least..greatest)", "from");
    let show = |name: &str, sample: &mut dyn FnMut() -> Result<f64, Box<dyn Error>>| {
        let values = (0..samples).map(|_| sample()).collect::<Result<Vec<_>, _>>()?;
        println!("{name:<32} {}", Spread::of(values).ok_or("no samples")?);
        Ok::<_, Box<dyn Error>>(())
    };
    show("its own callback", &mut || {
        stream.write_all(b"\0\0\0\x05c")?;
        finish(&mut stream, &samples_taken)
    })?;
    let mut other = stream.try_clone()?;
    show("another connection's callback", &mut || {
        trigger.write_all(b"\0\0\0\x05o")?;
        finish(&mut other, &samples_taken)
    })?;
    show("a task on the loop's thread", &mut || {
        stream.write_all(b"\0\0\0\x05t")?;
        finish(&mut stream, &samples_taken)
    })?;
    show("another thread", &mut || {
        let ns = send_many(&conn);
        drain(&mut stream)?;
        Ok(ns)
    })?;

    drop((stream, trigger));
    handle.stop();
    server.join().map_err(|_| "the server panicked")??;
    Ok(())
}

fn on_message(conn: &Connection<Frame>, message: &Bytes, taken: &Sender<f64>) {
    use workerman::WorkerConnection;
    let taken = taken.clone();
    match &message[..] {
        b"c" => {
            let _ = taken.send(send_many(conn));
        }
        b"o" => {
            let first = conn.worker().connections().into_iter().find(|other| other != conn);
            let _ = first.map(|first| taken.send(send_many(&first)));
        }
        _ => {
            let conn = conn.clone();
            drop(workerman::spawn(async move {
                let _ = taken.send(send_many(&conn));
            }));
        }
    }
}

/// One sample, in nanoseconds per send.
fn send_many(conn: &Connection<Frame>) -> f64 {
    let payload = Bytes::from_static(PAYLOAD);
    let began = Instant::now();
    let mut refused = 0;
    for _ in 0..SENDS {
        refused += usize::from(conn.send(payload.clone()).is_err());
    }
    let took = began.elapsed();
    assert_eq!(refused, 0, "the queue is large enough for one sample");
    took.as_secs_f64() * 1e9 / SENDS as f64
}

fn finish(stream: &mut TcpStream, taken: &Receiver<f64>) -> Result<f64, Box<dyn Error>> {
    drain(stream)?;
    Ok(taken.recv_timeout(PATIENCE)?)
}

/// Reads what one sample has sent.
fn drain(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut sink = vec![0; SENDS * (4 + PAYLOAD.len())];
    stream.read_exact(&mut sink)
}
