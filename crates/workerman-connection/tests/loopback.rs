//! The loop on real sockets: every backend, std's blocking sockets as peers.
#![forbid(unsafe_code)]
#![cfg(all(feature = "raw", feature = "text", feature = "frame"))]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use workerman_connection::{
    Client, CloseReason, EventLoop, Handlers, LoopHandle, LoopSettings, Reconnect, SendError, Service,
    Settings,
};
use workerman_event::{Address, BackendKind, ListenOptions, Listener};
use workerman_protocol::{Context, Decoded, Frame, Outbox, Protocol, Raw, Text};

struct Server {
    handle: LoopHandle,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start<P: Protocol>(kind: BackendKind, service: Service<P>) -> Self {
        let any = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = Listener::bind(&any, &ListenOptions::default()).unwrap();
        let address = listener.local_address().unwrap().tcp().unwrap();
        let (event_loop, handle) = EventLoop::new(LoopSettings::default());
        handle.listen(Arc::new(service), listener).unwrap();
        let thread = std::thread::spawn(move || event_loop.run(kind).unwrap());
        Self { handle, address, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
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

fn echo(kind: BackendKind) -> Server {
    let handlers = Handlers::new().on_message(|_, line| line);
    Server::start(kind, Service::new("echo", Text::new, handlers, Settings::default()))
}

#[test]
fn lines_are_echoed_in_order() {
    for kind in backends() {
        let server = echo(kind);
        let mut stream = server.connect();
        stream.write_all(b"one\r\ntwo\nthr").unwrap();
        stream.write_all(b"ee\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        for expected in ["one", "two", "three"] {
            assert_eq!(lines.next().unwrap().unwrap(), expected);
        }
    }
}

#[test]
fn a_peer_that_half_closes_gets_its_answers() {
    for kind in backends() {
        let server = echo(kind);
        let mut stream = server.connect();
        stream.write_all(b"a\nb\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        assert_eq!(all, "a\nb\n");
    }
}

#[test]
fn large_frames_come_back_whole() {
    for kind in backends() {
        let handlers = Handlers::new().on_message(|_, frame| frame);
        let server = Server::start(kind, Service::new("frames", Frame::new, handlers, Settings::default()));
        let mut stream = server.connect();
        let body: Vec<u8> = (0..9_000_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
        let mut writer = stream.try_clone().unwrap();
        let sent = body.clone();
        let sender = std::thread::spawn(move || {
            for _ in 0..3 {
                writer.write_all(&(sent.len() as u32 + 4).to_be_bytes()).unwrap();
                writer.write_all(&sent).unwrap();
            }
        });
        for _ in 0..3 {
            let mut head = [0; 4];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(u32::from_be_bytes(head) as usize, body.len() + 4);
            let mut back = vec![0; body.len()];
            stream.read_exact(&mut back).unwrap();
            assert!(back == body);
        }
        sender.join().unwrap();
    }
}

#[test]
fn an_echo_never_loses_a_byte_to_a_slow_reader() {
    for kind in backends() {
        let handlers = Handlers::new().on_message(|_, bytes| bytes);
        let server = Server::start(kind, Service::new("raw", Raw::new, handlers, Settings::default()));
        let mut stream = server.connect();
        let mut writer = stream.try_clone().unwrap();
        let body: Vec<u8> = (0..30_000_000u32).map(|n| (n >> 2) as u8).collect();
        let sent = body.clone();
        // The echo stops to read when its queue is full, so the writer blocks until somebody reads here.
        let sender = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        sender.join().unwrap();
        assert!(back == body, "{kind}: {} of {}", back.len(), body.len());
    }
}

#[test]
fn sends_from_another_thread_arrive() {
    for kind in backends() {
        let (found, conns) = mpsc::channel();
        let handlers = Handlers::new().on_connect(move |conn| found.send(conn.clone()).unwrap());
        let server = Server::start(kind, Service::new("push", Text::new, handlers, Settings::default()));
        let stream = server.connect();
        let conn = conns.recv().unwrap();
        for n in 0..1000 {
            let _ = conn.send(format!("{n}")).unwrap();
        }
        conn.close();
        let lines: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
        assert_eq!(lines, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(conn.send("more").is_err());
    }
}

#[test]
fn a_panic_ends_one_connection_and_nothing_else() {
    for kind in backends() {
        let (closed, reasons) = mpsc::channel();
        let handlers = Handlers::new()
            .on_message(|_, line: workerman_protocol::Line| {
                assert!(line != "boom", "told to");
                line
            })
            .on_close(move |_, reason| closed.send(reason).unwrap());
        let server = Server::start(kind, Service::new("panics", Text::new, handlers, Settings::default()));
        let (mut bad, mut good) = (server.connect(), server.connect());
        bad.write_all(b"first\nboom\nlost\n").unwrap();
        let mut all = String::new();
        bad.read_to_string(&mut all).unwrap();
        assert_eq!(all, "first\n");
        assert_eq!(reasons.recv().unwrap(), CloseReason::Panic);
        good.write_all(b"still here\n").unwrap();
        assert_eq!(BufReader::new(good).lines().next().unwrap().unwrap(), "still here");
        assert_eq!(server.handle.snapshot().panics, 1);
    }
}

#[test]
fn async_handlers_keep_the_order() {
    for kind in backends() {
        let handlers = Handlers::new().on_message_async(async |_, line: workerman_protocol::Line| {
            tokio::task::yield_now().await;
            if line == "slow" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            line
        });
        let server = Server::start(kind, Service::new("async", Text::new, handlers, Settings::default()));
        let mut stream = server.connect();
        stream.write_all(b"1\nslow\n2\n3\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        for expected in ["1", "slow", "2", "3"] {
            assert_eq!(lines.next().unwrap().unwrap(), expected, "{kind}");
        }
    }
}

#[test]
fn a_client_connects_sends_and_comes_back() {
    for kind in backends() {
        let handlers = Handlers::new().on_message(|conn, line: workerman_protocol::Line| {
            let _ = conn.send(line);
            conn.close();
        });
        let server = Server::start(kind, Service::new("once", Text::new, handlers, Settings::default()));
        let (got, lines) = mpsc::channel();
        let conn = Client::text(server.address.to_string())
            .reconnect(Reconnect { first: Duration::from_millis(1), ..Reconnect::default() })
            .on_connect(|conn| conn.send("hello"))
            .on_message(move |_, line| {
                let _ = got.send(line.to_string());
            })
            .connect_on(&server.handle)
            .unwrap();
        for _ in 0..3 {
            assert_eq!(lines.recv_timeout(Duration::from_secs(20)).unwrap(), "hello", "{kind}");
        }
        conn.close();
    }
}

#[test]
fn a_refused_connect_names_the_address() {
    for kind in backends() {
        let server = echo(kind);
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (told, errors) = mpsc::channel();
        let closed = told.clone();
        let _conn = Client::text(gone.to_string())
            .on_error(move |_, error| told.send(error.to_string()).unwrap())
            .on_close(move |_, reason| closed.send(reason.to_string()).unwrap())
            .connect_on(&server.handle)
            .unwrap();
        let error = errors.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(error.contains(&gone.to_string()) && error.contains("refused"), "{error}");
        assert_eq!(errors.recv().unwrap(), "connect failed");
    }
}

#[test]
fn a_drain_ends_idle_connections_and_reports() {
    for kind in backends() {
        let server = echo(kind);
        let mut stream = server.connect();
        stream.write_all(b"x\n").unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let handle = server.handle.clone();
        let drained = std::thread::spawn(move || {
            workerman_event::block_on(handle.drain(Duration::from_secs(10))).unwrap().unwrap()
        });
        let mut rest = String::new();
        assert_eq!(reader.read_to_string(&mut rest).unwrap(), 0);
        drop((reader, stream));
        let drained = drained.join().unwrap();
        assert_eq!((drained.finished, drained.cut), (1, 0));
    }
}

/// Numbers its messages: an encoder whose work cannot be taken back.
struct Numbered;

impl Protocol for Numbered {
    type Incoming = ();
    type Outgoing = Vec<u8>;
    type Event = workerman_protocol::Event;
    type Error = std::convert::Infallible;
    type Sending = u8;

    fn decode(
        &mut self,
        input: &mut bytes::BytesMut,
        _: &mut Context<'_, Self>,
    ) -> Result<Decoded<Self>, Self::Error> {
        input.clear();
        Ok(Decoded::Need(1))
    }

    fn encode(next: &mut u8, message: Vec<u8>, out: &mut Outbox) -> Result<(), Self::Error> {
        out.put_slice(&[*next]);
        out.put_slice(&message);
        *next += 1;
        Ok(())
    }

    fn size_hint(message: &Vec<u8>) -> usize {
        1 + message.len()
    }
}

#[test]
fn a_stateful_encoder_is_not_asked_for_what_cannot_be_taken() {
    for kind in backends() {
        let (found, conns) = mpsc::channel();
        let handlers = Handlers::new().on_connect(move |conn| found.send(conn.clone()).unwrap());
        let settings = Settings { high_water: 1000, hard_limit: 1000, ..Settings::default() };
        let server = Server::start(kind, Service::new("numbers", || Numbered, handlers, settings));
        let mut stream = server.connect();
        let conn = conns.recv().unwrap();
        assert!(conn.send(vec![b'a'; 999]).is_ok(), "just fits");
        let mut first = [0; 1000];
        stream.read_exact(&mut first).unwrap();
        // The peer may have the bytes before the loop has noted that they are gone.
        workerman_event::block_on(conn.ready()).unwrap().unwrap();
        assert!(matches!(conn.send(vec![b'b'; 1000]), Err(SendError::Full { .. })), "one byte too many");
        let _ = conn.close_with(vec![b'c']).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!((first[0], &rest[..]), (0, &b"\x01c"[..]), "no number was lost to the refused one");
    }
}

#[test]
fn a_full_direction_of_a_pipe_does_not_stop_the_other() {
    for kind in backends() {
        let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = target.local_addr().unwrap().to_string();
        let handlers = Handlers::new().on_connect(move |conn| {
            let upstream = Client::tcp(&address).connect()?;
            conn.pipe(&upstream);
            upstream.pipe(conn);
            Ok::<_, workerman_connection::Error>(())
        });
        let server = Server::start(kind, Service::new("proxy", Raw::new, handlers, Settings::default()));
        let mut client = server.connect();
        let (mut far, _) = target.accept().unwrap();
        // The far side does not read: at last nothing more is taken, anywhere on the way.
        client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let block = vec![7; 256 * 1024];
        let mut sent = 0;
        while let Ok(taken) = client.write(&block) {
            sent += taken;
            assert!(sent < 256 << 20, "backpressure reaches the client");
        }
        far.write_all(b"rev").unwrap();
        let mut back = [0; 3];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"rev");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut all = Vec::new();
        far.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), sent);
    }
}
