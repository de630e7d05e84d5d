//! Outgoing connections.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use super::*;

#[test]
fn a_connect_ends_in_a_turn_and_what_was_to_be_sent_follows() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let token = bench.epoll.connect(&address).unwrap();
        // Not connected yet: nothing is taken, and room is told after the connect.
        assert_eq!(bench.epoll.send(token, &mut &b"early"[..]).unwrap(), 0);
        bench.until("room", |r| r.has(&Event::Writable(token))).await;
        assert_eq!(bench.recorder.events, [Event::Connected(token, address), Event::Writable(token)]);
        let (mut peer, _) = listener.accept().unwrap();
        assert_eq!(bench.epoll.send(token, &mut &b"early"[..]).unwrap(), 5);
        let mut buffer = [0; 5];
        peer.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"early");
        peer.write_all(b"late").unwrap();
        bench.until("data", |r| r.bytes(token) == b"late").await;
    });
}

#[test]
fn a_refused_connect_fails() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        // Bound, but not listening: nobody else gets the port meanwhile.
        let closed = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        closed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = closed.local_addr().unwrap().as_socket().unwrap();
        match bench.epoll.connect(&address.into()) {
            Ok(token) => {
                bench.until("the failure", |r| r.failed(token).is_some()).await;
                assert_eq!(bench.recorder.events, [Event::Failed(token, ErrorKind::ConnectionRefused)]);
            }
            Err(why) => assert_eq!(why.kind(), ErrorKind::ConnectionRefused),
        }
        bench.idle().await;
        assert!(bench.recorder.events.len() <= 1);
    });
}

#[test]
fn unix_sockets_connect_in_a_turn_too() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let address = Address::from(path.clone());
        assert_eq!(bench.epoll.connect(&address).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(bench.epoll.connect(&Address::Unix(None)).unwrap_err().kind(), ErrorKind::InvalidInput);
        let listener = UnixListener::bind(&path).unwrap();
        let token = bench.epoll.connect(&address).unwrap();
        assert_eq!(bench.recorder.events, [], "never inside of the call");
        assert_eq!(bench.epoll.send(token, &mut &b"early"[..]).unwrap(), 0);
        bench.until("room", |r| r.has(&Event::Writable(token))).await;
        assert_eq!(bench.recorder.events, [Event::Connected(token, address.clone()), Event::Writable(token)]);
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"hello").unwrap();
        bench.until("data", |r| r.bytes(token) == b"hello").await;
        // Nobody listens on the file any more.
        drop(listener);
        assert_eq!(bench.epoll.connect(&address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn both_ends_on_one_backend_over_a_unix_socket() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let folder = tempfile::tempdir().unwrap();
        let address = Address::from(folder.path().join("socket"));
        let listener = Listener::bind(&address, &ListenOptions::default()).unwrap();
        let listener = bench.epoll.listen(listener).unwrap();
        let client = bench.epoll.connect(&address).unwrap();
        let connected = Event::Connected(client, address.clone());
        bench.until("both", |r| !r.accepted().is_empty() && r.has(&connected)).await;
        let server = bench.recorder.accepted()[0];
        assert_eq!(bench.epoll.local_address(server).unwrap(), address);
        assert_eq!(bench.epoll.local_address(client).unwrap(), Address::Unix(None));
        bench.epoll.send(client, &mut &b"over"[..]).unwrap();
        bench.until("data", |r| r.bytes(server) == b"over").await;
        bench.epoll.close(client);
        bench.until("the end", |r| r.has(&Event::Eof(server))).await;
        bench.epoll.unlisten(listener);
        assert!(!address.path().unwrap().exists(), "the file goes with the listener");
    });
}

#[test]
fn a_connect_given_up_tells_nothing() {
    run(async {
        let mut bench = Bench::new(Recorder::default());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let token = bench.epoll.connect(&listener.local_addr().unwrap().into()).unwrap();
        bench.epoll.close(token);
        bench.idle().await;
        assert_eq!(bench.recorder.events, []);
    });
}
