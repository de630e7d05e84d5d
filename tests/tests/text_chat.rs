//! Two strangers chat in a terminal, each with the client that is at hand, on every event loop.
#![forbid(unsafe_code)]
#![cfg(unix)]

use std::process::Command;

use workerman_event::{BACKEND_VARIABLE, BackendKind};
use workerman_tests::on_real_backends;
use workerman_tests::program::{Example, Program};
use workerman_tests::serving::Peer;
use workerman_tests::skip;

const QUESTION: &str = "Welcome! What is your name?";
const BAD_NAME: &str = "A name has 1 to 32 characters and no colon; try another one.";
const CLOSES: &str = "* The chat closes.";

fn chat(kind: BackendKind) -> Example {
    Example::start_with("text_chat", &["127.0.0.1:0"], &[(BACKEND_VARIABLE, &kind.to_string())])
}

fn hello(name: &str) -> String {
    format!("Hello {name}! Every line you type goes to all others.")
}

/// A peer with a name.
fn named(chat: &Example, name: &str) -> Peer {
    let mut peer = Peer::connect(chat.socket());
    assert_eq!(peer.line().unwrap(), QUESTION);
    peer.say(format!("{name}\n"));
    assert_eq!(peer.line().unwrap(), hello(name));
    peer
}

fn lines_go_to_all_others(kind: BackendKind) {
    let chat = chat(kind);
    let mut ann = named(&chat, "ann");
    let mut bob = named(&chat, "bob");
    assert_eq!(ann.line().unwrap(), "* bob has joined");
    let mut nobody = Peer::connect(chat.socket());
    assert_eq!(nobody.line().unwrap(), QUESTION);
    let mut carl = named(&chat, "carl");
    for peer in [&mut ann, &mut bob] {
        assert_eq!(peer.line().unwrap(), "* carl has joined");
    }

    ann.say("hello\r\n\r\nhow is it: going?\n");
    for peer in [&mut bob, &mut carl] {
        for line in ["ann: hello", "ann:", "ann: how is it: going?"] {
            // Trailing blanks are the test's to lose.
            assert_eq!(peer.line().unwrap(), line);
        }
    }
    bob.say("fine\n");
    // Nothing of her own came back to ann in between.
    assert_eq!([ann.line().unwrap(), carl.line().unwrap()], ["bob: fine", "bob: fine"]);

    // A goodbye and a reset are both told.
    carl.finish();
    assert_eq!(carl.rest(), (Vec::new(), false));
    for peer in [&mut ann, &mut bob] {
        assert_eq!(peer.line().unwrap(), "* carl has left");
    }
    ann.say("bye\n");
    bob.reset();
    assert_eq!(ann.line().unwrap(), "* bob has left");

    // Who has no name has heard nothing of it, but hears that it ends.
    nobody.say("\n");
    assert_eq!(nobody.line().unwrap(), BAD_NAME);
    let stopping = std::thread::spawn(move || chat.stop());
    for mut peer in [ann, nobody] {
        assert_eq!(peer.rest(), (format!("{CLOSES}\n").into_bytes(), false));
    }
    assert_eq!(stopping.join().unwrap(), [""; 0]);
}

fn names_are_checked(kind: BackendKind) {
    let chat = chat(kind);
    let ann = named(&chat, "ann");
    let mut peer = Peer::connect(chat.socket());
    assert_eq!(peer.line().unwrap(), QUESTION);
    for bad in ["", " ", "\t\x1b", "a: b", &"é".repeat(33)] {
        peer.say(format!("{bad}\n"));
        assert_eq!(peer.line().unwrap(), BAD_NAME, "{bad:?}");
    }
    peer.say("  ann \n");
    assert_eq!(peer.line().unwrap(), "ann is here already; try another name.");
    // A name is free again when its bearer has left; the longest one is fine.
    drop(ann);
    let longest = "é".repeat(32);
    peer.say(format!("{longest}\n"));
    assert_eq!(peer.line().unwrap(), hello(&longest));
    // The two connections are told of in any order, so the second ann tries until the first is gone.
    let mut second = Peer::connect(chat.socket());
    assert_eq!(second.line().unwrap(), QUESTION);
    let answer = std::iter::repeat_with(|| {
        second.say("ann\n");
        second.line().unwrap()
    });
    let answer = answer.take(10_000).find(|answer| !answer.starts_with("ann is here"));
    assert_eq!(answer.unwrap(), hello("ann"));
    drop((peer, second));
    chat.stop();
}

fn hostile_lines_end_one_connection_at_most(kind: BackendKind) {
    let chat = chat(kind);
    let mut ann = named(&chat, "ann");
    let mut eve = named(&chat, "eve");
    assert_eq!(ann.line().unwrap(), "* eve has joined");
    // What would colour or clear the terminals of others is taken out; what is not UTF-8 is shown as such.
    eve.say(b"\x1b[2Jred \xff\x07\n");
    assert_eq!(ann.line().unwrap(), "eve: [2Jred \u{fffd}");
    eve.say(vec![b'x'; 5000]);
    assert_eq!(ann.line().unwrap(), "* eve has left");
    let _ = eve.rest();
    // The rest of a line without its end is no message.
    let mut bob = named(&chat, "bob");
    assert_eq!(ann.line().unwrap(), "* bob has joined");
    bob.say("whole\nhalf");
    bob.finish();
    assert_eq!([ann.line().unwrap(), ann.line().unwrap()], ["bob: whole", "* bob has left"]);
    drop((ann, bob));
    chat.stop();
}

fn nc_and_telnet_chat(kind: BackendKind) {
    let (Some(nc), Some(telnet)) = (skip::require("nc"), skip::require("telnet")) else { return };
    let chat = chat(kind);
    let mut ann = Program::start(Command::new(nc).args(["-N", "127.0.0.1", &chat.port()]));
    assert_eq!(ann.line().unwrap(), QUESTION);
    ann.say("ann");
    assert_eq!(ann.line().unwrap(), hello("ann"));

    let mut bob = Program::start(Command::new(telnet).args(["127.0.0.1", &chat.port()]));
    // Telnet tells about itself first.
    while bob.line().unwrap() != QUESTION {}
    bob.say("bob");
    assert_eq!(bob.line().unwrap(), hello("bob"));
    assert_eq!(ann.line().unwrap(), "* bob has joined");

    ann.say("hello bob");
    assert_eq!(bob.line().unwrap(), "ann: hello bob");
    bob.say("hello ann");
    assert_eq!(ann.line().unwrap(), "bob: hello ann");

    assert!(ann.wait().success());
    assert_eq!(bob.line().unwrap(), "* ann has left");
    // Telnet is told to stop, and leaves by itself.
    let stopping = std::thread::spawn(move || chat.stop());
    assert_eq!(bob.rest(), [CLOSES]);
    bob.wait();
    assert_eq!(stopping.join().unwrap(), [""; 0]);
}

fn python_and_socat_chat(kind: BackendKind) {
    let (Some(python), Some(socat)) = (skip::require("python3"), skip::require("socat")) else { return };
    let chat = chat(kind);
    let mut ann = Program::start(Command::new(socat).args(["-", &format!("TCP:{}", chat.address)]));
    assert_eq!(ann.line().unwrap(), QUESTION);
    ann.say("ann");
    assert_eq!(ann.line().unwrap(), hello("ann"));
    let script = r#"
import socket, sys
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30)
lines = peer.makefile("r", encoding="utf-8", newline="\n")
peer.sendall("bób\n".encode())
for number in range(2):
    print(lines.readline(), end="", flush=True)
peer.sendall(b"one\ntwo\n")
print(lines.readline(), end="", flush=True)
"#;
    let mut bob = Program::start(
        Command::new(python).args(["-c", script, &chat.port()]).env("PYTHONIOENCODING", "utf-8"),
    );
    for line in ["* bób has joined", "bób: one", "bób: two"] {
        assert_eq!(ann.line().unwrap(), line);
    }
    ann.say("three");
    assert_eq!(ann.line().unwrap(), "* bób has left");
    assert_eq!(bob.rest(), [QUESTION, &hello("bób"), "ann: three"]);
    assert!(bob.wait().success() && ann.wait().success());
    chat.stop();
}

on_real_backends!(
    lines_go_to_all_others,
    names_are_checked,
    hostile_lines_end_one_connection_at_most,
    nc_and_telnet_chat,
    python_and_socat_chat,
);

/// What the README promises of its first command, and of its server in three lines.
mod readme {
    use super::*;
    use workerman::prelude::*;

    const README: &str = include_str!("../../README.md");

    #[test]
    fn it_names_the_port_of_the_chat() {
        let source = include_str!("../../examples/chat.rs");
        assert!(source.contains("\"0.0.0.0:2346\""));
        assert!(README.contains("cargo run --release --example chat"));
        assert!(README.contains("http://localhost:2346/") && README.contains("--example text_chat"));
    }

    #[test]
    fn its_three_lines_answer_as_it_says() {
        const HANDLER: &str = ".on_message(|_, line| format!(\"hello {line}\"))";
        assert!(README.contains(HANDLER) && README.contains("\nann\nhello ann\n"));
        let worker =
            Worker::text("127.0.0.1:0").on_message(|_, line| format!("hello {line}")).bind().unwrap();
        let address = worker.addresses()[0].tcp().unwrap();
        let serving = worker.serve();
        let mut peer = Peer::connect(address);
        peer.say("ann\n");
        assert_eq!(peer.line().unwrap(), "hello ann");
        drop(peer);
        serving.handle().unwrap().stop();
        workerman_event::block_on(serving).unwrap().unwrap();
    }
}
