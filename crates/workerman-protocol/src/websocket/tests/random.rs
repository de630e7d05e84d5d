//! Random conversations: cut anywhere, they mean the same, and what they mean is what a plain reading says.

use proptest::prelude::*;

use super::*;
use crate::testing::random_splits;

/// Something a client may send.
#[derive(Clone, Debug)]
enum Sent {
    /// A message in frames that are cut at these places, with pings between them.
    Message {
        text: bool,
        payload: Vec<u8>,
        cuts: Vec<usize>,
        pings: bool,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

impl Sent {
    fn write(&self, input: &mut Vec<u8>, seen: &mut Vec<Seen<Message, Event>>) {
        match self {
            Self::Message { text, payload, cuts, pings } => {
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (payload.len() + 1)).collect();
                cuts.sort_unstable();
                cuts.push(payload.len());
                let mut at = 0;
                for (i, cut) in cuts.iter().enumerate() {
                    let opcode = match (i, text) {
                        (0, true) => 1,
                        (0, false) => 2,
                        _ => 0,
                    };
                    let fin = if i + 1 == cuts.len() { 0x80 } else { 0 };
                    input.extend(masked(fin | opcode, &payload[at..*cut]));
                    at = *cut;
                    if *pings && fin == 0 {
                        input.extend(masked(0x89, "between"));
                        seen.push(ping(b"between"));
                    }
                }
                seen.push(Seen::Message(if *text {
                    String::from_utf8(payload.clone()).unwrap().into()
                } else {
                    payload.clone().into()
                }));
            }
            Self::Ping(payload) => {
                input.extend(masked(0x89, payload));
                seen.push(Seen::Event(Event::Ping(payload.clone().into())));
            }
            Self::Pong(payload) => {
                input.extend(masked(0x8a, payload));
                seen.push(Seen::Event(Event::Pong(payload.clone().into())));
            }
        }
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    let cuts = || proptest::collection::vec(any::<usize>(), 0..4);
    prop_oneof![
        3 => (any::<String>(), cuts(), any::<bool>()).prop_map(|(text, cuts, pings)| Sent::Message {
            text: true, payload: text.into_bytes(), cuts, pings
        }),
        3 => (bytes(300), cuts(), any::<bool>())
            .prop_map(|(payload, cuts, pings)| Sent::Message { text: false, payload, cuts, pings }),
        1 => bytes(126).prop_map(Sent::Ping),
        1 => bytes(126).prop_map(Sent::Pong),
    ]
}

proptest! {
    #[test]
    fn what_is_sent_is_what_is_seen(conversation in proptest::collection::vec(sent(), 0..8), seed: u64) {
        let (mut input, mut seen) = (Vec::new(), Vec::new());
        for sent in &conversation {
            sent.write(&mut input, &mut seen);
        }
        let transcript = random_splits(server, &input, seed);
        prop_assert_eq!(&transcript.seen, &seen);
        prop_assert_eq!(&transcript.ended, &Ended::Clean);
        // Every ping has its pong, in order.
        let pings: Vec<_> = seen.iter().filter_map(|seen| match seen {
            Seen::Event(Event::Ping(payload)) => Some((0x8a, payload.to_vec())),
            _ => None,
        }).collect();
        prop_assert_eq!(frames(&transcript.output), pings);
    }

    #[test]
    fn changed_bytes_never_do_harm(
        conversation in proptest::collection::vec(sent(), 1..5),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        seed: u64,
    ) {
        let (mut input, mut seen) = (Vec::new(), Vec::new());
        for sent in &conversation {
            sent.write(&mut input, &mut seen);
        }
        for (at, byte) in changes {
            let at = at % input.len();
            input[at] = byte;
        }
        let transcript = random_splits(server, &input, seed);
        // It ends with a close frame, if it fails.
        if matches!(transcript.ended, Ended::Failed(_)) {
            prop_assert!(close_code(&transcript.output).is_some_and(|code| matches!(code, 1002 | 1007 | 1009)));
        }
    }

    #[test]
    fn noise_is_refused_the_same_way_however_it_is_cut(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        every_split(server, &input);
    }
}
