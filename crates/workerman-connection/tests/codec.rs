//! Codecs of `tokio_util` as protocols on real loops.
#![cfg(all(feature = "codec", feature = "text", feature = "frame"))]
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{AnyDelimiterCodec, BytesCodec, LengthDelimitedCodec, LinesCodec};
use workerman_connection::codec::{Foreign, ForeignError, MakeCodec, Received, foreign, framed};
use workerman_connection::{
    Client, CloseReason, Connection, Error, EventLoop, Handlers, LoopHandle, LoopSettings, SendError,
    Service, Settings,
};
use workerman_event::{Address, BackendKind, ListenOptions, Listener};
use workerman_protocol::{Frame, Protocol, Role, Text};

/// The frames of [`Frame`] in the words of the other library: four bytes of length that count themselves.
struct LikeFrame;

impl MakeCodec for LikeFrame {
    type Codec = LengthDelimitedCodec;

    fn make_codec() -> LengthDelimitedCodec {
        LengthDelimitedCodec::builder().length_field_length(4).length_adjustment(-4).num_skip(4).new_codec()
    }
}

type Lines = Foreign<LinesCodec, String>;

struct Server {
    handle: LoopHandle,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start<P: Protocol>(
        kind: BackendKind,
        make: impl Fn() -> P + Send + Sync + 'static,
        handlers: Handlers<P>,
    ) -> Self {
        let any = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = Listener::bind(&any, &ListenOptions::default()).unwrap();
        let address = listener.local_address().unwrap().tcp().unwrap();
        let (event_loop, handle) = EventLoop::new(LoopSettings::default());
        let service = Service::new("codec", make, handlers, Settings::default());
        handle.listen(Arc::new(service), listener).unwrap();
        let thread = std::thread::spawn(move || event_loop.run(kind).unwrap());
        Self { handle, address, thread: Some(thread) }
    }

    /// What comes back for `parts`, sent one by one, up to the end of the stream.
    fn exchange(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        for part in parts {
            stream.write_all(part).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

fn backends() -> Vec<BackendKind> {
    if cfg!(target_os = "linux") {
        vec![BackendKind::Epoll, BackendKind::Tokio]
    } else {
        vec![BackendKind::Tokio]
    }
}

#[test]
fn lines_of_a_foreign_codec_are_echoed_and_the_last_one_needs_no_break() {
    for kind in backends() {
        let (closed, reasons) = mpsc::channel();
        let handlers = Handlers::new()
            .on_message(|_, line: String| line)
            .on_close(move |_, reason| closed.send(reason).unwrap());
        let server = Server::start(kind, Lines::new, handlers);
        assert_eq!(server.exchange(&[b"one\r\ntw", b"o\n\nthr", b"ee"]), b"one\ntwo\n\nthree\n", "{kind}");
        assert_eq!(reasons.recv_timeout(Duration::from_secs(20)).unwrap(), CloseReason::PeerClosed);
    }
}

#[test]
fn bytes_of_a_foreign_codec_come_back_all() {
    for kind in backends() {
        let handlers = Handlers::new().on_message(|_, bytes: BytesMut| bytes);
        let server = Server::start(kind, Foreign::<BytesCodec, BytesMut>::new, handlers);
        let body: Vec<u8> = (0..200_000u32).map(|n| (n >> 3) as u8).collect();
        assert!(server.exchange(&[&body]) == body, "{kind}");
    }
}

#[test]
fn a_configured_codec_speaks_with_the_protocol_of_the_same_bytes() {
    for kind in backends() {
        let handlers = Handlers::new().on_message(|_, frame: BytesMut| frame.freeze());
        let server = Server::start(kind, Foreign::<LikeFrame, Bytes>::new, handlers);
        let (got, frames) = mpsc::channel();
        let large = Bytes::from(vec![b'x'; 300_000]);
        let conn = Client::frame(server.address.to_string())
            .on_message(move |_, frame| got.send(frame).unwrap())
            .connect_on(&server.handle)
            .unwrap();
        // Before it is connected.
        for message in [Bytes::new(), large.clone(), Bytes::from_static(b"end")] {
            let _ = conn.send(message).unwrap();
        }
        for expected in [Bytes::new(), large, Bytes::from_static(b"end")] {
            assert!(frames.recv_timeout(Duration::from_secs(20)).unwrap() == expected, "{kind}");
        }
        conn.close();
    }
}

#[test]
fn a_foreign_client_queues_before_it_is_connected_and_keeps_the_order() {
    for kind in backends() {
        let server = Server::start(kind, Text::new, Handlers::new().on_message(|_, line| line));
        let (got, lines) = mpsc::channel();
        let conn = Client::with(Lines::new(), server.address.to_string())
            .on_connect(|conn| conn.send("connected"))
            .on_message(move |_, line| got.send(line).unwrap())
            .connect_on(&server.handle)
            .unwrap();
        let mut expected = Vec::new();
        for n in 0..100 {
            let _ = conn.send(format!("line {n}")).unwrap();
            expected.push(format!("line {n}"));
        }
        let received = |_| lines.recv_timeout(Duration::from_secs(20)).unwrap();
        let mut all: Vec<_> = (0..101).map(received).collect();
        let connected = all.iter().position(|line| line == "connected").expect("sent when it was up");
        all.remove(connected);
        assert_eq!(all, expected, "{kind}");
        conn.close();
    }
}

#[test]
fn a_codec_of_run_time_refuses_before_the_connection_is_up_and_sends_after() {
    for kind in backends() {
        let codec = || AnyDelimiterCodec::new(b";".to_vec(), b";".to_vec());
        let make = move || foreign::<_, String>(codec());
        let echo = |_: &Connection<_>, field: Bytes| String::from_utf8_lossy(&field).into_owned();
        let server = Server::start(kind, make, Handlers::new().on_message(echo));
        assert_eq!(server.exchange(&[b"a;b", b"c;"]), b"a;bc;", "{kind}");

        let (got, fields) = mpsc::channel();
        let (let_go, gate) = mpsc::channel::<()>();
        // The loop stands still, so that the client cannot be up yet.
        server
            .handle
            .run(move || {
                let _ = gate.recv_timeout(Duration::from_secs(20));
            })
            .unwrap();
        let conn = Client::with(foreign::<_, &'static str>(codec()), server.address.to_string())
            .on_connect(|conn| conn.send("now"))
            .on_message(move |_, field| got.send(field).unwrap())
            .connect_on(&server.handle)
            .unwrap();
        assert!(matches!(conn.send("too early"), Err(SendError::Encode(ForeignError::NotOpen))));
        let_go.send(()).unwrap();
        assert_eq!(fields.recv_timeout(Duration::from_secs(20)).unwrap(), "now", "{kind}");
        conn.close();
    }
}

#[test]
fn refusals_and_truncations_of_a_foreign_codec_end_the_connection() {
    for kind in backends() {
        let (failed, errors) = mpsc::channel();
        let handlers = Handlers::new()
            .on_message(|_, line: String| line)
            .on_error(move |_, error: &Error| failed.send(error.to_string()).unwrap());
        let server = Server::start(kind, || Lines::new().max_message(8), handlers);
        let error = || errors.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(server.exchange(&[b"1234567\n12345678\n"]), b"1234567\n", "{kind}");
        let told = error();
        assert!(told.contains("no message within the limit of 8 bytes"), "{told}");
        assert_eq!(server.exchange(&[b"fine\n\xff\n"]), b"fine\n");
        let told = error();
        assert!(told.contains("UTF8"), "{told}");
        drop(server);

        let (closed, reasons) = mpsc::channel();
        let handlers = Handlers::new()
            .on_message(|_, frame: BytesMut| frame.freeze())
            .on_close(move |_, reason| closed.send(reason).unwrap());
        let server = Server::start(kind, Foreign::<LikeFrame, Bytes>::new, handlers);
        assert_eq!(server.exchange(&[b"\0\0\0\x05a", b"\0\0\0\x09hal"]), b"\0\0\0\x05a");
        assert_eq!(reasons.recv_timeout(Duration::from_secs(20)).unwrap(), CloseReason::Protocol);
    }
}

#[test]
fn a_codec_without_state_can_be_broadcast_and_one_with_state_cannot() {
    let service = |make: fn() -> Foreign<BytesCodec, Bytes>| {
        Service::new("bytes", make, Handlers::new(), Settings::default())
    };
    assert!(service(Foreign::new).broadcast("to all").is_ok());
    let lines = Service::new("lines", Lines::new, Handlers::new(), Settings::default());
    assert!(matches!(lines.broadcast("to all"), Err(SendError::NotShareable)));
}

#[test]
fn a_transport_speaks_with_a_loop() {
    for kind in backends() {
        let server = Server::start(kind, Frame::new, Handlers::new().on_message(|_, frame| frame));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let exchange = async {
            let stream = tokio::net::TcpStream::connect(server.address).await?;
            let mut frames = framed(stream, Frame::new(), Role::Client);
            for n in 0..100 {
                frames.feed(format!("frame {n}")).await?;
            }
            frames.flush().await?;
            for n in 0..100 {
                let frame = frames.next().await.transpose()?.and_then(Received::message);
                assert_eq!(frame.unwrap(), format!("frame {n}"), "{kind}");
            }
            frames.close(None, "").await?;
            assert!(frames.next().await.is_none());
            Ok::<_, Box<dyn std::error::Error>>(())
        };
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(20), exchange).await.unwrap().unwrap();
        });
    }
}
