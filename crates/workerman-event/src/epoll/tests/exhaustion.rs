//! Out of descriptors: in a process of its own, since the limit is the process's.

use std::io::Read;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

const CHILD: &str = "WORKERMAN_TEST_EXHAUSTION";
const NAME: &str = "epoll::tests::exhaustion::no_descriptor_is_survived";

#[test]
fn no_descriptor_is_survived() {
    if std::env::var_os(CHILD).is_some() {
        return run(exhausted());
    }
    let program = std::env::current_exe().unwrap();
    let output =
        Command::new(program).args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}\n{errors}");
}

async fn exhausted() {
    let mut bench = Bench::new(Recorder::default());
    let (_, address) = bench.listen();
    let mut first = TcpStream::connect(address).unwrap();
    bench.until("the first", |r| r.accepted().len() == 1).await;

    // Both clients exist before the last descriptor is taken; a third one could not even be opened.
    let sockets: Vec<_> = (0..3)
        .map(|_| socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap())
        .collect();
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum }).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    let [one, two, three] = <[socket2::Socket; 3]>::try_from(sockets).unwrap();
    one.connect(&address.into()).unwrap();
    two.connect(&address.into()).unwrap();
    let failed =
        |r: &Recorder| r.events.iter().filter(|event| matches!(event, Event::AcceptFailed(..))).count();
    bench.until("the failure", |r| failed(r) == 1).await;
    assert!(
        bench.recorder.events.iter().any(|event| matches!(event, Event::AcceptFailed(2, _))),
        "both are shed"
    );
    // Their peers see it at once.
    for shed in [one, two] {
        let mut stream = TcpStream::from(shed);
        assert!(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)));
        std::mem::forget(stream); // its descriptor must not become free
    }
    // The loop rests: it does not spin, and serves what it has.
    let turns = bench.turns.len();
    bench.idle().await;
    assert!(bench.turns.len() - turns < 400, "{} turns", bench.turns.len() - turns);
    io::Write::write_all(&mut first, b"still served").unwrap();
    let token = bench.recorder.accepted()[0];
    bench.until("data", |r| r.bytes(token) == b"still served").await;

    // Descriptors return, and so does the service, told once for the whole episode.
    three.connect(&address.into()).unwrap();
    hoard.clear();
    bench.until("the next one", |r| r.accepted().len() == 2).await;
    assert_eq!(failed(&bench.recorder), 1);
}
