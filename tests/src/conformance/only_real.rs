//! What only the real world has: threads, descriptors that come from elsewhere, errors of the network.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::task::Poll;

use workerman_event::{Datagram, Listener, Stream};

use super::real::{Real, RealBackend, loopback};
use super::{Event, Rig, World};

/// The waker of the loop's task is how other threads reach it.
pub async fn another_thread_wakes_the_loop<B: RealBackend>(world: Real<B>) {
    let mut rig = Rig::new(world.backend());
    rig.settle().await;
    for round in 0..20 {
        let (send, receive) = std::sync::mpsc::channel();
        let mut thread = None;
        rig.beside(poll_fn(|cx| {
            if let Ok(value) = receive.try_recv() {
                assert_eq!(value, round);
                return Poll::Ready(());
            }
            let (send, waker) = (send.clone(), cx.waker().clone());
            thread.get_or_insert_with(|| {
                std::thread::spawn(move || {
                    send.send(round).unwrap();
                    waker.wake();
                })
            });
            Poll::Pending
        }))
        .await;
        thread.unwrap().join().unwrap();
    }
    assert!(rig.log.events.is_empty());
}

/// A peer that blocks, on a thread of its own: nothing about the peers of the other tests is special to tokio.
pub async fn a_blocking_peer_on_a_thread<B: RealBackend>(world: Real<B>) {
    let mut rig = Rig::new(world.backend());
    let (listener, address) = world.listener();
    rig.listen(listener);
    rig.on_event(|io, log, event| match event {
        Event::Data(token, _) => {
            let bytes = log.take_bytes(*token);
            assert_eq!(io.send(*token, &mut &bytes[..]).unwrap(), bytes.len());
        }
        Event::Eof(token) => log.close(io, *token),
        _ => {}
    });
    let address = address.tcp().unwrap();
    let peer = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        for round in 0..100_u32 {
            stream.write_all(&round.to_be_bytes()).unwrap();
            let mut echo = [0; 4];
            stream.read_exact(&mut echo).unwrap();
            assert_eq!(u32::from_be_bytes(echo), round);
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 4]).unwrap(), 0);
    });
    rig.until("the end", |_, log| log.events.iter().any(|event| matches!(event, Event::Eof(_)))).await;
    peer.join().unwrap();
}

/// Listeners and streams that were opened by somebody else, also with something in them already.
pub async fn open_sockets_are_adopted<B: RealBackend>(world: Real<B>) {
    let mut rig = Rig::new(world.backend());
    let listener = TcpListener::bind(loopback().tcp().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut early = TcpStream::connect(address).unwrap();
    early.write_all(b"queued").unwrap();
    rig.listen(Listener::from_fd(listener.into()).unwrap());
    let token = rig.accept().await;
    assert_eq!(rig.receive(token, 6).await, b"queued");

    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"already there").unwrap();
    far.shutdown(std::net::Shutdown::Write).unwrap();
    let adopted = rig.adopt(Stream::from_fd(near.into()).unwrap());
    assert_eq!(rig.receive(adopted, 13).await, b"already there");
    rig.until("end of stream", |_, log| log.has(&Event::Eof(adopted))).await;
    rig.send(adopted, &mut &b"thanks"[..]).await;
    rig.close(adopted);
    let mut all = Vec::new();
    far.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"thanks");

    let near = TcpStream::connect(address).unwrap();
    let adopted = rig.adopt(Stream::from_tcp(near).unwrap());
    let far = match rig.log.tokens().get(1) {
        Some(token) => *token,
        None => rig.accept().await,
    };
    rig.send(adopted, &mut &b"around"[..]).await;
    assert_eq!(rig.receive(far, 6).await, b"around");
}

/// A connected datagram socket hears that nobody is there, and stays open.
pub async fn an_unreachable_datagram_peer_is_told<B: RealBackend>(world: Real<B>) {
    let mut rig = Rig::new(world.backend());
    let nobody = UdpSocket::bind(loopback().tcp().unwrap()).unwrap();
    let address = nobody.local_addr().unwrap();
    let socket = Datagram::bind(loopback().tcp().unwrap(), &Default::default()).unwrap();
    let own = socket.local_address().unwrap();
    socket.connect(address).unwrap();
    let id = rig.io.open_datagram(socket).unwrap();
    drop(nobody);
    rig.io.send_datagram(id, None, b"anybody?").unwrap();
    let refused = Event::DatagramFailed(id, std::io::ErrorKind::ConnectionRefused);
    rig.until("the refusal", |_, log| log.has(&refused)).await;
    let somebody = UdpSocket::bind(address).unwrap();
    rig.io.send_datagram(id, None, b"hello").unwrap();
    let mut payload = [0; 100];
    assert_eq!(somebody.recv_from(&mut payload).unwrap(), (5, own));
    somebody.send_to(b"back", own).unwrap();
    rig.until("the answer", |_, log| log.has(&Event::Datagram(id, address, b"back".to_vec()))).await;
}
