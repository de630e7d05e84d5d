//! Our codec driven without a connection.

use bytes::BytesMut;
use workerman_protocol::websocket::Websocket;

use super::handshake;
use crate::codec::Codec;

/// A server's codec behind its handshake, without compression.
pub fn open() -> Codec<Websocket> {
    let mut codec = Codec::new(Websocket::new());
    codec.begin(&mut BytesMut::from(handshake::request(false).as_str()));
    codec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::payload;
    use crate::websocket::Case;

    #[test]
    fn the_messages_of_each_case_are_read_and_their_answers_written() {
        for case in Case::ALL {
            let mut codec = open();
            for round in 0..2 {
                let messages = case.messages(round);
                assert_eq!(codec.decode(&mut BytesMut::from(messages.frames())), case.outstanding);
                let written = codec.encode(&payload(case.size), case.outstanding);
                assert_eq!(written, messages.answers().len(), "{}", case.name);
                codec.sent();
            }
        }
    }
}
