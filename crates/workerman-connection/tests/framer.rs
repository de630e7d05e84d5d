//! Protocols as codecs of `tokio_util`, and over streams of tokio in memory.
#![cfg(all(feature = "codec", feature = "text", feature = "frame"))]
#![forbid(unsafe_code)]

use std::future::Future;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_util::codec::{Decoder, Encoder, Framed, LengthDelimitedCodec, LinesCodec};
use workerman_connection::codec::{Framer, FramerError, Received, framed};
use workerman_protocol::{
    CodecError, Context, Decoded, Frame, Goodbye, Line, Outbox, Protocol, Role, Text, take,
};

type TestResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Runs a test in virtual time: if everything waits, the time limit comes at once.
fn run(test: impl Future<Output = TestResult>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let limited = async { tokio::time::timeout(std::time::Duration::from_secs(60), test).await };
    runtime.block_on(limited).expect("nothing waits for ever").unwrap();
}

/// One byte a word: `p` is a ping that is ponged, `?` an answer that must be given before more is decoded, `!` a
/// refusal, `x` the end; anything else is a message. It greets a client, and says goodbye.
#[derive(Default)]
struct Toy {
    closed_door: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("refused")]
struct Refused;

#[derive(Default)]
struct Asked(bool);

impl Protocol for Toy {
    type Incoming = u8;
    type Outgoing = Bytes;
    type Event = char;
    type Error = Refused;
    type Sending = Asked;

    fn open(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Refused> {
        cx.reply().put_slice(if self.closed_door { b"no" } else { b"hi" });
        if self.closed_door { Err(Refused) } else { Ok(()) }
    }

    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Refused> {
        if cx.sending(|asked| asked.0) {
            return Ok(Decoded::Blocked);
        }
        if input.is_empty() {
            return Ok(Decoded::Need(1));
        }
        match input.get_u8() {
            b'p' => {
                cx.reply().put_slice(b"P");
                Ok(Decoded::Event('p'))
            }
            b'!' => {
                cx.reply().put_slice(b"E");
                Err(Refused)
            }
            b'x' => {
                cx.reply().put_slice(b"X");
                cx.reply().finish();
                Ok(Decoded::Need(1))
            }
            b'?' => {
                cx.sending(|asked| asked.0 = true);
                Ok(Decoded::Message(b'?'))
            }
            word => Ok(Decoded::Message(word)),
        }
    }

    fn encode(asked: &mut Asked, message: Bytes, out: &mut Outbox) -> Result<(), Refused> {
        out.put_bytes(message.clone());
        if message == "bad" {
            return Err(Refused);
        }
        asked.0 = false;
        Ok(())
    }

    fn close(&mut self, _: Option<u16>, reason: &str, cx: &mut Context<'_, Self>) -> Goodbye {
        cx.reply().put_slice(reason.as_bytes());
        Goodbye::Now
    }

    fn max_message(&self) -> usize {
        64
    }
}

#[test]
fn text_in_framed_speaks_with_the_lines_codec() {
    run(async {
        let (ours, theirs) = duplex(7);
        let mut ours = Framed::new(ours, Framer::new(Text::new(), Role::Server));
        let mut theirs = Framed::new(theirs, LinesCodec::new());
        let there = async {
            for n in 0..50 {
                SinkExt::<String>::send(&mut theirs, format!("line {n}")).await?;
                assert_eq!(theirs.next().await.unwrap()?, format!("back line {n}"));
            }
            SinkExt::<String>::close(&mut theirs).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        let here = async {
            while let Some(line) = ours.next().await {
                ours.send(format!("back {}", line?).into()).await?;
            }
            Ok(())
        };
        tokio::try_join!(there, here).map(|_| ())
    });
}

#[test]
fn a_transport_of_frames_speaks_with_the_length_delimited_codec() {
    run(async {
        let (ours, theirs) = duplex(1000);
        let mut ours = framed(ours, Frame::new(), Role::Server);
        let codec = LengthDelimitedCodec::builder()
            .length_field_length(4)
            .length_adjustment(-4)
            .num_skip(4)
            .new_codec();
        let (mut sink, mut stream) = Framed::new(theirs, codec).split();
        let bodies = [0, 1, 999, 1000, 70_000].map(|n| Bytes::from(vec![b'x'; n]));
        let send = async {
            for body in &bodies {
                sink.send(body.clone()).await?;
            }
            sink.close().await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        let receive = async {
            for body in &bodies {
                assert!(stream.next().await.unwrap()? == body);
            }
            Ok(())
        };
        let here = async {
            while let Some(Received::Message(frame)) = ours.next().await.transpose()? {
                ours.send(frame).await?;
            }
            Ok(())
        };
        tokio::try_join!(send, receive, here).map(|_| ())
    });
}

#[test]
fn a_framer_keeps_replies_in_front_of_what_is_sent_next() {
    let (events, heard) = std::sync::mpsc::channel();
    let mut framer =
        Framer::with_events(Toy::default(), Role::Server, move |event| events.send(event).unwrap());
    assert!(framer.has_replies());
    let mut out = BytesMut::new();
    let mut input = BytesMut::from("pap");
    assert_eq!(framer.decode(&mut input).unwrap(), Some(b'a'));
    framer.encode(Bytes::from_static(b"one"), &mut out).unwrap();
    assert_eq!(framer.decode(&mut input).unwrap(), None);
    assert!(matches!(
        framer.encode(Bytes::from_static(b"bad"), &mut out),
        Err(FramerError::Protocol(Refused))
    ));
    assert_eq!(out, "hiPoneP", "the refused message left nothing, the reply before it did");
    assert_eq!(heard.try_iter().collect::<String>(), "pp");

    input.extend_from_slice(b"!a");
    assert!(matches!(framer.decode(&mut input), Err(FramerError::Protocol(Refused))));
    assert_eq!(framer.take_replies(), "E");
    assert!(!framer.has_replies());
    assert_eq!(framer.decode(&mut input).unwrap(), None, "nothing is decoded after an error");
}

#[test]
fn a_framer_bounds_replies_and_blocked_input() {
    let mut framer = Framer::with_events(Toy::default(), Role::Server, drop).max_replies(4);
    let mut input = BytesMut::from("ppp");
    assert!(matches!(framer.decode(&mut input), Err(FramerError::RepliesUnsent { waiting: 5, limit: 4 })));
    assert_eq!(framer.take_replies(), "hiPPP");
    assert_eq!(framer.decode(&mut input).unwrap(), None, "it goes on when they are taken");

    input.extend_from_slice(b"?a");
    assert_eq!(framer.decode(&mut input).unwrap(), Some(b'?'));
    assert_eq!(framer.decode(&mut input).unwrap(), None);
    assert!(matches!(framer.decode_eof(&mut input), Err(FramerError::Blocked { waiting: 1 })));
    input.extend_from_slice(&[b'b'; 64]);
    assert!(matches!(framer.decode(&mut input), Err(FramerError::Blocked { waiting: 65 })));
}

#[test]
fn a_framer_goes_on_when_the_answer_is_given() {
    let mut framer = Framer::with_events(Toy::default(), Role::Server, drop);
    let mut input = BytesMut::from("?a");
    assert_eq!(framer.decode(&mut input).unwrap(), Some(b'?'));
    assert_eq!(framer.decode(&mut input).unwrap(), None);
    let mut out = BytesMut::new();
    framer.encode(Bytes::from_static(b"answer"), &mut out).unwrap();
    assert_eq!(framer.decode_eof(&mut input).unwrap(), Some(b'a'));
    assert_eq!(framer.decode_eof(&mut input).unwrap(), None);
}

/// Its decoding half writes the answers, with their number; what cannot be said is empty.
#[derive(Default)]
struct Numbering(u8);

impl Protocol for Numbering {
    type Incoming = u8;
    type Outgoing = Bytes;
    type Event = char;
    type Error = Refused;
    type Sending = Vec<Bytes>;

    const ANSWERS: bool = true;

    fn decode(&mut self, input: &mut BytesMut, cx: &mut Context<'_, Self>) -> Result<Decoded<Self>, Refused> {
        self.pump(cx)?;
        if input.is_empty() {
            return Ok(Decoded::Need(1));
        }
        Ok(Decoded::Message(input.get_u8()))
    }

    fn encode(answers: &mut Vec<Bytes>, answer: Bytes, _: &mut Outbox) -> Result<(), Refused> {
        if answer.is_empty() {
            return Err(Refused);
        }
        answers.push(answer);
        Ok(())
    }

    fn pump(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Refused> {
        for answer in cx.sending(std::mem::take) {
            self.0 += 1;
            cx.reply().put_slice(&[b'0' + self.0]);
            cx.reply().put_bytes(answer);
        }
        Ok(())
    }
}

#[test]
fn a_framer_lets_the_decoding_half_write_its_answers() {
    let mut framer = Framer::with_events(Numbering::default(), Role::Server, drop);
    let (mut input, mut wire) = (BytesMut::from("ab"), BytesMut::new());
    assert_eq!(framer.decode(&mut input).unwrap(), Some(b'a'));
    framer.encode(Bytes::from("A"), &mut wire).unwrap();
    assert!(framer.encode(Bytes::new(), &mut wire).is_err());
    assert_eq!(framer.decode(&mut input).unwrap(), Some(b'b'));
    framer.encode(Bytes::from("B"), &mut wire).unwrap();
    assert_eq!(wire, "1A2B", "at once, and in order");
}

#[test]
fn a_protocol_that_cannot_begin_says_so_and_its_last_words_are_kept() {
    let mut framer = Framer::with_events(Toy { closed_door: true }, Role::Server, drop);
    let mut out = BytesMut::new();
    assert!(matches!(framer.encode(Bytes::new(), &mut out), Err(FramerError::Protocol(Refused))));
    assert!(matches!(framer.encode(Bytes::new(), &mut out), Err(FramerError::Finished)));
    assert_eq!(out, "no");
    run(async {
        let (ours, mut theirs) = duplex(64);
        let mut ours = framed(ours, Toy { closed_door: true }, Role::Server);
        assert!(matches!(ours.next().await, Some(Err(FramerError::Protocol(Refused)))));
        assert!(ours.next().await.is_none());
        drop(ours);
        let mut all = String::new();
        theirs.read_to_string(&mut all).await?;
        assert_eq!(all, "no");
        Ok(())
    });
}

#[test]
fn limits_and_truncations_are_told() {
    let mut framer = Framer::new(Frame::new().max_message(100), Role::Server);
    let mut input = BytesMut::from(&b"\0\0\0\xff"[..]);
    assert!(matches!(
        framer.decode(&mut input),
        Err(FramerError::Protocol(CodecError::FrameTooLong { length: 255, limit: 100 }))
    ));
    let mut framer = Framer::new(Text::new(), Role::Server);
    let mut input = BytesMut::from("whole\nhalf");
    assert_eq!(framer.decode_eof(&mut input).unwrap().unwrap(), "whole");
    assert!(matches!(framer.decode_eof(&mut input), Err(FramerError::Truncated)));
    assert!(framer.decode_eof(&mut input).unwrap().is_none());
}

/// Says that it needs more than it allows, and leaves the check to its driver.
struct Greedy;

impl Protocol for Greedy {
    type Incoming = Bytes;
    type Outgoing = Line;
    type Event = workerman_protocol::Event;
    type Error = Refused;
    type Sending = ();

    fn decode(&mut self, input: &mut BytesMut, _: &mut Context<'_, Self>) -> Result<Decoded<Self>, Refused> {
        let n = usize::from(*input.first().unwrap_or(&1));
        Ok(if input.len() < n { Decoded::Need(n - input.len()) } else { Decoded::Message(take(input, n)) })
    }

    fn encode((): &mut (), message: Line, out: &mut Outbox) -> Result<(), Refused> {
        out.put_bytes(message.into());
        Ok(())
    }

    fn max_message(&self) -> usize {
        10
    }
}

#[test]
fn the_driver_enforces_the_limit_of_a_protocol_that_does_not() {
    let mut framer = Framer::new(Greedy, Role::Server);
    let mut input = BytesMut::from(&b"\x02a\x0bz"[..]);
    assert_eq!(framer.decode(&mut input).unwrap().unwrap(), "\x02a");
    assert!(matches!(framer.decode(&mut input), Err(FramerError::TooLong { needed: 11, limit: 10 })));
}

#[test]
fn a_transport_writes_replies_at_once_and_in_order() {
    run(async {
        let (ours, mut theirs) = duplex(64);
        let mut ours = framed(ours, Toy::default(), Role::Server);
        theirs.write_all(b"apb?c!z").await?;
        let mut all = Vec::new();
        for expected in ["Message(97)", "Event('p')", "Message(98)", "Message(63)"] {
            let received = ours.next().await.unwrap()?;
            all.push(match received {
                Received::Message(word) => format!("Message({word})"),
                Received::Event(event) => format!("Event({event:?})"),
            });
            assert_eq!(all.last().unwrap(), expected);
        }
        let mut seen = [0; 3];
        theirs.read_exact(&mut seen).await?;
        assert_eq!(&seen, b"hiP", "written without a send");

        // It waits for the answer to `?`; the dropped `next` loses nothing.
        tokio::select! {
            biased;
            _ = ours.next() => panic!("it is blocked"),
            () = tokio::task::yield_now() => {}
        }
        ours.send("answer").await?;
        assert_eq!(ours.next().await.unwrap()?.message(), Some(b'c'));
        assert!(matches!(ours.next().await, Some(Err(FramerError::Protocol(Refused)))));
        assert!(ours.next().await.is_none());
        drop(ours);
        let mut rest = String::new();
        theirs.read_to_string(&mut rest).await?;
        assert_eq!(rest, "answerE");
        Ok(())
    });
}

#[test]
fn a_transport_reads_no_more_while_its_replies_are_not_taken() {
    run(async {
        let (ours, theirs) = duplex(8);
        let mut ours = framed(ours, Toy::default(), Role::Server).max_unsent(16);
        let (mut reader, mut writer) = tokio::io::split(theirs);
        let flood = tokio::spawn(async move { writer.write_all(&[b'p'; 1000]).await.map(|()| writer) });
        let mut events = 0;
        let stopped = async {
            while let Some(received) = ours.next().await {
                received?;
                events += 1;
            }
            Ok::<_, FramerError<Refused>>(())
        };
        // Virtual time: the limit comes when nobody can go on.
        assert!(tokio::time::timeout(std::time::Duration::from_secs(1), stopped).await.is_err());
        assert!(events < 50 && ours.unsent() <= 17, "{events} events, {} bytes", ours.unsent());

        let all = async {
            let mut all = vec![0; 1002];
            reader.read_exact(&mut all).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(all)
        };
        let rest = async {
            while events < 1000 {
                ours.next().await.expect("more pings")?;
                events += 1;
            }
            ours.flush().await?;
            Ok(())
        };
        let (all, ()) = tokio::try_join!(all, rest)?;
        assert!(all.starts_with(b"hiPP") && all[2..].iter().all(|byte| *byte == b'P'));
        drop(flood.await??);
        Ok(())
    });
}

#[test]
fn a_protocol_can_end_its_side() {
    run(async {
        let (ours, mut theirs) = duplex(64);
        let mut ours = framed(ours, Toy::default(), Role::Server);
        theirs.write_all(b"axb").await?;
        assert_eq!(ours.next().await.unwrap()?.message(), Some(b'a'));
        assert!(ours.next().await.is_none());
        let mut all = String::new();
        theirs.read_to_string(&mut all).await?;
        assert_eq!(all, "hiX", "and the end of the stream after it");
        assert!(matches!(ours.send("more").await, Err(FramerError::Finished)));
        Ok(())
    });
}

#[test]
fn a_closed_transport_says_goodbye_and_a_refused_message_leaves_nothing() {
    run(async {
        let (ours, mut theirs) = duplex(64);
        let mut ours = framed(ours, Toy::default(), Role::Client);
        ours.feed("one").await?;
        assert!(matches!(ours.send("bad").await, Err(FramerError::Protocol(Refused))));
        assert_eq!(ours.close(None, "bye").await?, Goodbye::Now);
        let mut all = String::new();
        theirs.read_to_string(&mut all).await?;
        assert_eq!(all, "hionebye");
        assert!(matches!(ours.send("more").await, Err(FramerError::Finished)));
        Ok(())
    });
}

#[test]
fn another_protocol_takes_over_with_every_byte() {
    run(async {
        let (ours, mut theirs) = duplex(64);
        let mut ours = framed(ours, Toy::default(), Role::Server);
        theirs.write_all(b"aline one\nline").await?;
        assert_eq!(ours.next().await.unwrap()?.message(), Some(b'a'));
        ours.feed("ok").await?;
        let parts = ours.into_parts();
        assert_eq!(parts.unread, "line one\nline");
        assert_eq!(parts.unsent.into_bytes(), "ok");
        let mut next = Framed::new(parts.io, Framer::new(Text::new(), Role::Server));
        *next.read_buffer_mut() = parts.unread;
        theirs.write_all(b" two\n").await?;
        let mut lines = Vec::new();
        while lines.len() < 2 {
            lines.push(next.next().await.unwrap()?);
        }
        assert_eq!(lines, ["line one", "line two"]);
        Ok(())
    });
}
