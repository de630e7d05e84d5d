//! Every form of an address that a worker takes, and an error of its own for everything that can be wrong with one.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpListener};
#[cfg(unix)]
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use workerman::prelude::*;
use workerman::{ConnectionError, Error, ListenOptions};
use workerman_tests::workers::{PATIENCE, Peer, on_each, start};

fn echo(address: &str) -> Worker<Text> {
    Worker::text(address).on_message(|_, line| line)
}

fn refused(address: &str) -> Error {
    echo(address).bind().map(drop).expect_err(address)
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn ipv4_ipv6_and_names_are_listened_on() {
    on_each(|kind| {
        let mut forms = vec!["127.0.0.1:0", "text://127.0.0.1:0", "tcp://127.0.0.1:0", "localhost:0"];
        if has_ipv6() {
            forms.push("[::1]:0");
        }
        for form in forms {
            let worker = start(kind, echo(form));
            for address in &worker.addresses {
                let address = address.tcp().unwrap();
                assert_ne!(address.port(), 0);
                assert_eq!(Peer::connect(address).ask("hello"), "hello", "{form}");
            }
        }
    });
}

#[test]
fn a_name_with_several_addresses_has_one_port_on_all() {
    let bound = echo("localhost:0").bind().unwrap();
    let ports: Vec<_> = bound.addresses().iter().map(|address| address.port().unwrap()).collect();
    assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
}

#[test]
fn a_bare_port_is_both_families() {
    on_each(|kind| {
        let worker = start(kind, echo(":0"));
        let port = worker.tcp().port();
        let mut all = vec![SocketAddr::from(([127, 0, 0, 1], port))];
        if has_ipv6() {
            all.push(format!("[::1]:{port}").parse().unwrap());
        }
        assert_eq!(worker.addresses.len(), all.len());
        for address in all {
            assert_eq!(Peer::connect(address).ask("hello"), "hello", "{address}");
        }
    });
}

#[test]
fn a_worker_listens_on_several_addresses() {
    on_each(|kind| {
        let worker = start(kind, echo("127.0.0.1:0").also("127.0.0.1:0").also("text://127.0.0.2:0"));
        assert_eq!(worker.addresses.len(), 3);
        for address in &worker.addresses {
            assert_eq!(Peer::connect(address.tcp().unwrap()).ask("hello"), "hello");
        }
        assert_eq!(worker.handle.addresses(), worker.addresses);
    });
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_removed_at_the_end() {
    on_each(|kind| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("echo.sock");
        let address = format!("unix://{}", path.display());
        let worker = start(kind, echo(&address));
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"hello\n").unwrap();
        let mut reply = [0; 6];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"hello\n");
        assert_eq!(worker.handle.addresses()[0].path(), Some(path.as_path()));
        drop(stream);
        worker.handle.stop();
        worker.join().unwrap();
        assert!(!path.exists());
        // Threads share one socket, and a socket file that a crash left behind is in nobody's way.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let worker = start(kind, echo(&address).threads(2));
        assert!(UnixStream::connect(&path).is_ok());
        drop(worker);
        assert!(!path.exists());
    });
}

#[test]
fn an_address_in_use_is_told() {
    on_each(|kind| {
        let first = start(kind, echo("127.0.0.1:0"));
        let taken = first.addresses[0].to_string();
        let error = refused(&taken);
        assert!(matches!(&error, Error::AddressInUse { address } if *address == taken), "{error}");
        assert_eq!(error.to_string(), format!("address in use: {taken}"));
        // Not even two workers that would share the port by the kernel's balancing.
        for (mine, yours) in [(1, 2), (2, 2)] {
            let first = start(kind, echo("127.0.0.1:0").threads(mine));
            let taken = first.addresses[0].to_string();
            let error = echo(&taken).threads(yours).bind().unwrap_err();
            assert!(matches!(&error, Error::AddressInUse { address } if *address == taken), "{error}");
        }
    });
    // Nor two addresses of one worker.
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = probe.local_addr().unwrap().to_string();
    drop(probe);
    let error = echo(&free).also(&free).bind().unwrap_err();
    assert!(matches!(error, Error::AddressInUse { .. }), "{error}");
}

#[test]
fn an_address_of_another_machine_is_told() {
    // TEST-NET-1: nobody's address.
    let error = refused("192.0.2.1:0");
    assert!(matches!(&error, Error::AddressNotAvailable { address } if address == "192.0.2.1:0"), "{error}");
}

#[test]
fn a_name_without_an_address_is_told() {
    let error = refused("no-such-host.invalid:80");
    assert!(
        matches!(&error, Error::Resolve { address, .. } if address == "no-such-host.invalid:80"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn a_missing_permission_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    let path = folder.path().join("x.sock");
    if std::fs::write(folder.path().join("probe"), "").is_ok() {
        // The superuser may write everywhere, but not in a file system that forbids it.
        let error = refused("unix:///proc/self/x.sock");
        assert!(
            error.to_string().contains("unix:/proc/self/x.sock")
                || error.to_string().contains("/proc/self/x.sock"),
            "{error}"
        );
        return;
    }
    let error = refused(&format!("unix://{}", path.display()));
    assert!(matches!(&error, Error::PermissionDenied { address } if address.contains("x.sock")), "{error}");
}

#[cfg(unix)]
#[test]
fn a_unix_path_without_its_folder_is_told() {
    let error = refused("unix:///no/such/folder/x.sock");
    assert!(
        matches!(&error, Error::Listen { address, .. } if address.contains("/no/such/folder/x.sock")),
        "{error}"
    );
}

#[test]
fn what_cannot_be_understood_is_told() {
    for (address, why) in [
        ("127.0.0.1", "the port is missing"),
        ("127.0.0.1:http", "`http` is not a port"),
        ("127.0.0.1:70000", "`70000` is not a port"),
        ("frame://127.0.0.1:0", "the scheme `frame` does not match the protocol (expected text or tcp)"),
        ("::1:80", "an IPv6 address needs brackets"),
        ("unix://", "a unix socket needs a path"),
    ] {
        let error = refused(address);
        assert!(matches!(&error, Error::Connection(ConnectionError::Address { .. })), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("`{address}`")) && text.contains(why), "{text}");
    }
}

#[test]
fn the_first_bad_address_is_told_and_nothing_stays_bound() {
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = probe.local_addr().unwrap().to_string();
    drop(probe);
    let error = echo(&free).also("127.0.0.1:x").bind().unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:x"), "{error}");
    drop(echo(&free).bind().unwrap());
}

#[test]
fn listen_options_reach_the_listener() {
    on_each(|kind| {
        let options = ListenOptions::default().backlog(7);
        let worker = start(kind, echo("127.0.0.1:0").listen_options(options));
        assert_eq!(worker.connect().ask("hello"), "hello");
    });
}
