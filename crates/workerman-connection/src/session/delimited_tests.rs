//! Messages that end somewhere, without a length in front.

use std::cell::RefCell;

use super::*;

#[test]
fn a_message_without_a_length_is_read_in_few_and_growing_steps() {
    use workerman_protocol::Text;
    const LIMIT: usize = 3 * 1024 * 1024;
    let mut session = Session::new(Text::new().max_message(LIMIT), Role::Server, false, Instant::now());
    let mut random = Random::new(1);
    let mut reply = Outbox::new();
    let mut next = |session: &mut Session<Text>| {
        let mut turn = Turn {
            now: Instant::now(),
            unix_seconds: 0,
            random: &mut random,
            reply: &mut reply,
            queued: 0,
            waker: Waker::noop(),
            handling: false,
            parked: false,
        };
        session.next(&mut turn, &RefCell::new(()))
    };
    let mut data = Some(BytesMut::from(&[b'a'; 64 * 1024][..]));
    session.receive(data.as_mut().unwrap());
    let mut reads = 0;
    let refused = loop {
        match next(&mut session) {
            Step::Need(need) => {
                let mut buffer = session.settle(data.take().as_mut(), Some(need)).expect("read in place");
                assert!(
                    buffer.capacity() <= LIMIT + 1,
                    "{} bytes, never beyond the limit",
                    buffer.capacity()
                );
                buffer.resize(buffer.capacity(), b'a');
                session.refill(buffer);
                reads += 1;
            }
            other => break other,
        }
    };
    assert!(matches!(refused, Step::Failed(_) | Step::TooLong { .. }), "{refused:?}");
    assert!(reads <= 12, "{reads} reads for 3 MiB");
}
