//! Binding, sharing and replacing sockets.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use super::*;
use crate::Address;

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn port(listener: &Listener) -> u16 {
    listener.local_address().unwrap().port().unwrap()
}

#[test]
fn a_used_address_is_an_error_that_names_it() {
    let options = ListenOptions::default();
    let first = Listener::bind(&loopback().into(), &options).unwrap();
    let address = first.local_address().unwrap();
    let many = Listener::bind_many(&address, &options, 2).unwrap_err();
    for why in [Listener::bind(&address, &options).unwrap_err(), many] {
        assert_eq!(why.kind(), ErrorKind::AddrInUse);
        assert!(why.to_string().contains(&address.to_string()), "{why}");
    }
}

#[test]
fn many_listeners_share_one_port_and_nobody_else_does() {
    let options = ListenOptions::default();
    let listeners = Listener::bind_many(&loopback().into(), &options, 3).unwrap();
    assert_ne!(port(&listeners[0]), 0);
    assert!(listeners.iter().all(|listener| port(listener) == port(&listeners[0])));
    // The proof refuses what the kernel would share with us.
    let address = listeners[0].local_address().unwrap();
    assert_eq!(Listener::bind_many(&address, &options, 1).unwrap_err().kind(), ErrorKind::AddrInUse);
    // Said knowingly, it is shared, where the system balances at all.
    if BALANCED {
        let shared = options.reuse_port(true);
        assert_eq!(port(&Listener::bind(&address, &shared).unwrap()), port(&listeners[0]));
        assert_eq!(Listener::bind_many(&address, &shared, 2).unwrap().len(), 2);
    }
    assert_eq!(
        Listener::bind_many(&address, &ListenOptions::default(), 0).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn datagram_sockets_share_one_port_and_nobody_else_does() {
    let options = DatagramOptions::default();
    let sockets = Datagram::bind_many(loopback(), &options, 2).unwrap();
    let address = sockets[0].local_address().unwrap();
    assert_eq!(sockets[1].local_address().unwrap(), address);
    let why = Datagram::bind_many(address, &options, 2).unwrap_err();
    assert_eq!(why.kind(), ErrorKind::AddrInUse);
    assert!(why.to_string().contains(&address.to_string()), "{why}");
}

#[test]
fn accepted_connections_have_the_options() {
    let wanted = KeepAlive { probes: 4, ..KeepAlive::default() };
    let listener = Listener::bind(&loopback().into(), &ListenOptions::default().keep_alive(wanted)).unwrap();
    let address = listener.local_address().unwrap().tcp().unwrap();
    let _client = TcpStream::connect(address).unwrap();
    let ListenerParts { inner, accepted, unlink } = listener.into_parts();
    assert!(unlink.is_none());
    let listener = match inner {
        ListenerInner::Tcp(listener) => listener,
        other => panic!("{other:?} is not TCP"),
    };
    listener.set_nonblocking(false).unwrap();
    let (stream, _) = listener.accept().unwrap();
    accepted.apply_accepted(socket2::SockRef::from(&stream));
    assert!(stream.nodelay().unwrap());
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.keepalive().unwrap());
    #[cfg(target_os = "linux")]
    {
        assert_eq!(socket.tcp_keepalive_time().unwrap(), wanted.idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), wanted.interval);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
    }
}

#[test]
fn ipv6_only_leaves_the_port_to_ipv4() {
    let any = SocketAddr::from(([0u16; 8], 0));
    let Ok(listener) = Listener::bind(&any.into(), &ListenOptions::default().ipv6_only(true)) else {
        println!("skipped: this system has no IPv6");
        return;
    };
    let four = SocketAddr::from(([0, 0, 0, 0], port(&listener)));
    // Only a v6 socket that took the v4 address too could refuse this.
    Listener::bind(&four.into(), &ListenOptions::default()).unwrap();
}

#[test]
fn listeners_are_adopted() {
    let own = TcpListener::bind(loopback()).unwrap();
    let address = own.local_addr().unwrap();
    let listener = Listener::from_tcp(own).unwrap().with_options(&ListenOptions::default()).unwrap();
    assert_eq!(listener.local_address().unwrap(), Address::Tcp(address));
    let clone = listener.try_clone().unwrap();
    drop(listener);
    TcpStream::connect(address).unwrap();
    assert_eq!(clone.local_address().unwrap(), Address::Tcp(address));
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    #[test]
    fn descriptors_tell_their_family() {
        let tcp = TcpListener::bind(loopback()).unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = Listener::from_fd(OwnedFd::from(tcp)).unwrap();
        assert_eq!(listener.local_address().unwrap(), Address::Tcp(address));
        assert!(listener.descriptor().is_some());

        let udp = UdpSocket::bind(loopback()).unwrap();
        let address = udp.local_addr().unwrap();
        let clone = udp.try_clone().unwrap();
        assert_eq!(Listener::from_fd(clone.into()).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(
            Stream::from_fd(udp.try_clone().unwrap().into()).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert_eq!(Datagram::from_fd(udp.into()).unwrap().local_address().unwrap(), address);

        let (one, two) = UnixStream::pair().unwrap();
        assert_eq!(Stream::from_fd(one.into()).unwrap().peer_address().unwrap(), Address::Unix(None));
        assert_eq!(Datagram::from_fd(two.into()).unwrap_err().kind(), ErrorKind::InvalidInput);
        let file = fs::File::open("/dev/null").unwrap();
        assert!(Listener::from_fd(file.into()).is_err());
    }

    #[test]
    fn the_file_lives_as_long_as_the_last_clone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let address = Address::from(path.clone());
        let listeners = Listener::bind_many(&address, &ListenOptions::default().mode(0o640), 2).unwrap();
        assert_eq!(listeners[1].local_address().unwrap(), address);
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
        UnixStream::connect(&path).unwrap();
        let [first, second] = <[Listener; 2]>::try_from(listeners).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn the_file_gets_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        // One's own ids are the ones that any user may set.
        let own = fs::metadata(folder.path()).unwrap();
        let options = ListenOptions::default().owner(own.uid()).group(own.gid());
        let _listener = Listener::bind(&path.clone().into(), &options).unwrap();
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (own.uid(), own.gid()));
    }

    #[test]
    fn a_living_socket_is_in_use_and_a_stale_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let address = Address::from(path.clone());
        let options = ListenOptions::default();
        let living = UnixListener::bind(&path).unwrap();
        let why = Listener::bind(&address, &options).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::AddrInUse);
        assert!(why.to_string().contains(path.to_str().unwrap()), "{why}");
        drop(living); // the standard library leaves the file
        assert!(path.exists());
        let listener = Listener::bind(&address, &options).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
        let _other = UnixDatagram::bind(&path).unwrap();
        assert_eq!(Listener::bind(&address, &options).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "data").unwrap();
        let why = Listener::bind(&path.clone().into(), &ListenOptions::default()).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::AlreadyExists);
        assert!(why.to_string().contains(path.to_str().unwrap()), "{why}");
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn a_successors_file_and_an_adopted_one_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = Listener::bind(&path.clone().into(), &ListenOptions::default()).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        let successor = UnixListener::bind(&path).unwrap();
        drop(first);
        assert!(path.exists(), "the file is another one");
        drop(Listener::from_unix(successor).unwrap());
        assert!(path.exists(), "who adopts a socket does not own its file");
    }

    #[test]
    fn bad_paths_are_errors() {
        let options = ListenOptions::default();
        let long = Address::from(std::path::PathBuf::from("x".repeat(200)));
        assert_eq!(Listener::bind(&long, &options).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(
            Listener::bind(&Address::Unix(None), &options).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        let nowhere = Address::from(std::path::PathBuf::from("/no/such/folder/socket"));
        assert_eq!(Listener::bind(&nowhere, &options).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
