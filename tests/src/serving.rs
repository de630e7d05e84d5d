//! A service on real sockets for a test: loops on threads of their own, blocking peers of the standard library.

use std::future::Future;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use workerman_connection::{
    Connection, EventLoop, Handlers, Listening, LoopHandle, LoopSettings, SendError, Sent, Service, Settings,
};
use workerman_event::{Address, BackendKind, ListenOptions, Listener, block_on};
use workerman_protocol::{Protocol, Text};

/// How long a test waits for what must happen before it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Loops that serve one service each, or share one.
#[derive(Debug)]
pub struct Serving {
    /// The first loop.
    pub handle: LoopHandle,
    /// Its listener.
    pub listening: Option<Listening>,
    /// Where it listens.
    pub address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

/// A listener on a free port of this machine.
pub fn listener() -> (Listener, SocketAddr) {
    let any = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = Listener::bind(&any, &ListenOptions::default()).unwrap();
    let address = listener.local_address().unwrap().tcp().unwrap();
    (listener, address)
}

impl Serving {
    /// One loop with a service.
    pub fn start<P: Protocol>(kind: BackendKind, service: Service<P>) -> Self {
        Self::with(kind, LoopSettings::default(), &Arc::new(service))
    }

    /// One loop with its own bounds.
    pub fn with<P: Protocol>(kind: BackendKind, settings: LoopSettings, service: &Arc<Service<P>>) -> Self {
        let (listener, address) = listener();
        let (event_loop, handle) = EventLoop::new(settings);
        let listening = handle.listen(Arc::clone(service), listener).unwrap();
        let thread = std::thread::spawn(move || event_loop.run(kind).unwrap());
        Self { handle, listening: Some(listening), address, thread: Some(thread) }
    }

    /// A peer.
    pub fn peer(&self) -> Peer {
        Peer::connect(self.address)
    }

    /// Runs `f` on the loop's thread and waits for it.
    pub fn on_loop<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        self.handle.run(move || done.send(f()).unwrap()).unwrap();
        next(&result)
    }

    /// Waits until all that was asked of the loop before has been done, and a whole turn after it.
    pub fn settle(&self) {
        self.on_loop(|| ());
        self.on_loop(|| ());
    }

    /// Stops the loop and waits for its thread.
    pub fn stop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Its socket.
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Peer {
    /// Connects.
    pub fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    /// Writes bytes.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next line, without its end; `None` at the end of the stream.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.reader.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    /// Exactly so many bytes.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Everything up to the end of the stream, or up to a reset, and which it was.
    pub fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        match self.reader.read_to_end(&mut all) {
            Ok(_) => (all, false),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (all, true),
            Err(error) => panic!("{error} after {} bytes", all.len()),
        }
    }

    /// Resets the connection: waits for something to read, and closes with it unread.
    pub fn reset(self) {
        assert_eq!(self.stream.peek(&mut [0]).unwrap(), 1, "something is unread");
    }

    /// Ends its sending direction.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// The next event; a test waits for it as long as it takes, within reason.
pub fn next<T>(events: &Receiver<T>) -> T {
    events.recv_timeout(PATIENCE).expect("the event comes")
}

/// A channel whose sending half fits into a handler.
pub fn events<T: Send>() -> (Sender<T>, Receiver<T>) {
    channel()
}

/// A server that hands its connections to the test.
pub fn watched<P: Protocol>(
    kind: BackendKind,
    make: fn() -> P,
    settings: Settings,
    bounds: LoopSettings,
) -> (Serving, Receiver<Connection<P>>) {
    let (told, conns) = events();
    let handlers = Handlers::new().on_connect(move |conn: &Connection<P>| told.send(conn.clone()).unwrap());
    let service = Arc::new(Service::new("test", make, handlers, settings));
    (Serving::with(kind, bounds, &service), conns)
}

/// Holds the loop up until the result is dropped.
pub fn hold(server: &Serving) -> Sender<()> {
    let ((held, holding), (release, released)) = (events(), events::<()>());
    server
        .handle
        .run(move || {
            held.send(()).unwrap();
            let _ = released.recv();
        })
        .unwrap();
    next(&holding);
    release
}

/// Waits for a future on a thread of its own, for as long as a test waits.
pub fn waits<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (done, result) = events();
    std::thread::spawn(move || done.send(block_on(future).unwrap()));
    next(&result)
}

/// Sends until it is taken. Returns how often the mark was crossed.
pub fn insist(conn: &Connection<Text>, line: &str) -> usize {
    loop {
        match conn.send(line) {
            Ok(Sent::Accepted) => return 0,
            Ok(Sent::OverHighWater) => return 1,
            Err(SendError::Full { .. }) => block_on(conn.ready()).unwrap().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// So many bytes.
pub fn bytes(n: usize) -> Bytes {
    vec![b'x'; n].into()
}

/// Instantiates tests that take a [`BackendKind`] for each real backend of this system.
#[macro_export]
macro_rules! on_real_backends {
    ($($test:ident),* $(,)?) => {
        #[cfg(target_os = "linux")]
        mod epoll {
            $(#[test]
            fn $test() {
                super::$test(workerman_event::BackendKind::Epoll);
            })*
        }
        mod tokio_backend {
            $(#[test]
            fn $test() {
                super::$test(workerman_event::BackendKind::Tokio);
            })*
        }
    };
}
