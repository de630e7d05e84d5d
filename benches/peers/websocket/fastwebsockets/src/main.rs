//! `peer-fastwebsockets MODE ADDRESS`: fastwebsockets behind hyper's upgrade. Its echo writes once per message: it has
//! nothing to gather them with.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::rc::Rc;

use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use peer_websocket_support::{Hub, Mode, serve};
use tokio::io::{BufWriter, split};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let hub = Rc::new(Hub::default());
    serve(false, move |stream, mode| run(stream, mode, Rc::clone(&hub)))
}

async fn run(stream: TcpStream, mode: Mode, hub: Rc<Hub<Bytes>>) {
    let service = service_fn(|mut request: Request<Incoming>| {
        let upgrade = upgrade(&mut request);
        let hub = Rc::clone(&hub);
        async move {
            let (response, socket) = upgrade?;
            spawn_local(async move {
                let _ = match mode {
                    Mode::Broadcast => broadcast(socket, hub).await,
                    Mode::Echo | Mode::Deflate => echo(socket).await,
                };
            });
            Ok::<_, WebSocketError>(response)
        }
    });
    // A client that resets its connection ends that one only.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn echo(socket: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(socket.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

/// Reads in one task, writes in another: a read that is dropped halfway would lose what it has read.
async fn broadcast(socket: UpgradeFut, hub: Rc<Hub<Bytes>>) -> Result<(), WebSocketError> {
    let (reads, mut writes) = socket.await?.split(|stream| {
        let (reads, writes) = split(stream);
        (reads, BufWriter::new(writes))
    });
    let (member, mut queued) = hub.join();
    let writer = spawn_local(async move {
        let mut next = queued.recv().await;
        while let Some(message) = next {
            writes.write_frame(Frame::text(Payload::Borrowed(&message))).await?;
            next = queued.try_recv().ok();
            if next.is_none() {
                writes.flush().await?;
                next = queued.recv().await;
            }
        }
        Ok::<_, WebSocketError>(())
    });
    let mut reads = FragmentCollectorRead::new(reads);
    let ended = loop {
        // Pongs are not asked for here; nothing else has to be sent by the reading half.
        match reads.read_frame(&mut |_| async { Ok::<_, Infallible>(()) }).await {
            Ok(frame) if matches!(frame.opcode, OpCode::Text | OpCode::Binary) => {
                member.tell_others(&Bytes::copy_from_slice(&frame.payload));
            }
            Ok(frame) if frame.opcode == OpCode::Close => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    writer.abort();
    ended
}
