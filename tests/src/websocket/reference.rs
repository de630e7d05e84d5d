//! A second reader: what must come of a peer's bytes, from the RFCs alone. Slow and simple; it keeps everything.

use bytes::{Buf as _, Bytes};

use super::codec::{Frame, Inflater, op};
use super::data::{Case, End, Role, Setting, Step, Told};
use super::drive::{Outcome, merged};

struct Partial {
    opcode: u8,
    compressed: bool,
    data: Vec<u8>,
    fragments: usize,
}

struct Model<'a> {
    case: &'a Case,
    inflater: Option<Inflater>,
    buffer: Bytes,
    partial: Option<Partial>,
    told: Vec<Told>,
    answers: Vec<Frame>,
    /// The code that we have closed with, and whether messages are still told.
    ours: Option<(u16, bool)>,
    end: Option<End>,
}

/// What is told, with the fragments of a message where the last of them is: this reader tells no parts.
pub fn joined(outcome: Outcome) -> Outcome {
    let mut told = Vec::new();
    let mut parts = Vec::new();
    for item in outcome.told {
        match item {
            Told::Fragments(_, data, false) => parts.extend(data),
            Told::Fragments(kind, data, true) => {
                parts.extend(data);
                told.push(Told::Fragments(kind, std::mem::take(&mut parts), true));
            }
            other => told.push(other),
        }
    }
    Outcome { told, ..outcome }
}

/// What must come of a case.
pub fn outcome(case: &Case) -> Outcome {
    let deflate = case.settings.get(&Setting::Deflate);
    let mut model = Model {
        case,
        inflater: deflate.map(|kind| Inflater::new(*kind == 2)),
        buffer: Bytes::new(),
        partial: None,
        told: Vec::new(),
        answers: Vec::new(),
        ours: None,
        end: None,
    };
    for step in &case.steps {
        match step {
            Step::Bytes(bytes) => model.feed(bytes),
            Step::End => {
                let end = model.ours.map_or(End::Lost, |(code, _)| End::Closing(code));
                model.end.get_or_insert(end);
            }
            Step::Close(code, _) => {
                if model.end.is_none() {
                    model.ours.get_or_insert((*code, false)).1 = false;
                }
            }
            Step::Goodbye => {
                if model.end.is_none() {
                    model.ours.get_or_insert((1001, true));
                }
            }
            Step::Send(frame) if model.end.is_none() => model.answers.push(frame.clone()),
            Step::Send(_) => {}
        }
    }
    let end = model.end.unwrap_or(match model.ours {
        Some((code, _)) => End::Closing(code),
        None => End::Open,
    });
    let failed = matches!(end, End::Fails(..) | End::Broken(_));
    Outcome { told: merged(model.told, failed), answers: model.answers, end }
}

impl Model<'_> {
    fn limit(&self, setting: Setting, default: usize) -> usize {
        self.case.settings.get(&setting).copied().unwrap_or(default)
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.buffer = [&self.buffer, bytes].concat().into();
        while self.end.is_none() {
            match self.frame() {
                Ok(true) => {}
                Ok(false) => return,
                Err(code) => {
                    let at_once = matches!(self.case.end, End::Fails(_, true));
                    self.end = Some(match self.ours {
                        Some((ours, _)) => End::Broken(ours),
                        None => End::Fails(code, at_once),
                    });
                }
            }
        }
    }

    /// Takes a frame; `false` if it is not complete. An error is the code that the connection fails with.
    fn frame(&mut self) -> Result<bool, u16> {
        let masked = self.case.role == Role::Server;
        let input = self.buffer.clone();
        let Some(&first) = input.first() else { return Ok(false) };
        let (fin, rsv, opcode) = (first >> 7 == 1, first >> 4 & 7, first & 15);
        let data = opcode == op::TEXT || opcode == op::BINARY;
        // RFC 6455 section 5.2, RFC 7692 section 6.
        if !(rsv == 0 || (rsv == 4 && data && self.inflater.is_some())) {
            return Err(1002);
        }
        // RFC 6455 section 5.4.
        match (opcode, &self.partial) {
            (op::MORE, Some(partial)) if partial.fragments >= self.limit(Setting::MaxFragments, 131_072) => {
                return Err(1009);
            }
            (op::MORE, Some(_)) | (op::TEXT | op::BINARY, None) => {}
            (op::CLOSE | op::PING | op::PONG, _) if fin => {}
            _ => return Err(1002),
        }
        if data {
            let only = self.limit(Setting::Only, usize::from(opcode));
            if only != usize::from(opcode) {
                return Err(1003);
            }
        }
        let Some(&second) = input.get(1) else { return Ok(false) };
        // RFC 6455 section 5.1.
        if (second >> 7 == 1) != masked {
            return Err(1002);
        }
        let (bytes, least) = match second & 127 {
            126 => (2, 126),
            127 => (8, 65_536),
            _ => (0, 0),
        };
        // RFC 6455 section 5.5.
        if opcode >= 8 && bytes > 0 {
            return Err(1002);
        }
        let length = if bytes == 0 {
            u64::from(second & 127)
        } else {
            let Some(length) = input.get(2..2 + bytes) else { return Ok(false) };
            length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))
        };
        if length < least || length >> 63 == 1 {
            return Err(1002);
        }
        let fragments = self.case.settings.contains_key(&Setting::Fragments);
        let compressed = rsv == 4 || self.partial.as_ref().is_some_and(|partial| partial.compressed);
        if opcode < 8 {
            let most = self.limit(Setting::MaxMessage, 10 << 20);
            let before = self.partial.as_ref().map_or(0, |partial| partial.data.len());
            let in_message = before as u64 + length > most as u64 && !fragments && !compressed;
            if length > self.limit(Setting::MaxFrame, 10 << 20) as u64 || in_message {
                return Err(1009);
            }
        }
        let begin = 2 + bytes + if masked { 4 } else { 0 };
        let Some(rest) = input.get(begin..) else { return Ok(false) };
        let mut payload = rest[..rest.len().min(length as usize)].to_vec();
        if masked {
            for (at, byte) in payload.iter_mut().enumerate() {
                *byte ^= input[begin - 4 + at % 4];
            }
        }
        let complete = payload.len() as u64 == length;
        if complete {
            self.buffer.advance(begin + payload.len());
        }
        if opcode >= 8 {
            if complete {
                self.control(opcode, payload)?;
            }
            return Ok(complete);
        }
        self.data(opcode, fin, compressed, &payload, complete)?;
        Ok(complete)
    }

    fn data(
        &mut self,
        opcode: u8,
        fin: bool,
        compressed: bool,
        payload: &[u8],
        complete: bool,
    ) -> Result<(), u16> {
        let mut partial =
            self.partial.take().unwrap_or(Partial { opcode, compressed, data: Vec::new(), fragments: 0 });
        let before = partial.data.len();
        partial.data.extend_from_slice(payload);
        let fin = fin && complete;
        if !compressed && partial.opcode == op::TEXT {
            // RFC 6455 section 8.1.
            match std::str::from_utf8(&partial.data) {
                Ok(_) => {}
                Err(error) if error.error_len().is_none() && !fin => {}
                Err(_) => return Err(1007),
            }
        }
        if !complete {
            partial.data.truncate(before);
            if partial.fragments > 0 {
                self.partial = Some(partial);
            }
            return Ok(());
        }
        partial.fragments += 1;
        if !fin {
            self.partial = Some(partial);
            return Ok(());
        }
        let mut data = partial.data;
        if compressed {
            let most = self.limit(Setting::MaxMessage, 10 << 20);
            let inflater = self.inflater.as_mut().unwrap();
            data = inflater.message(&data, most).map_err(|long| if long { 1009_u16 } else { 1007 })?;
            if partial.opcode == op::TEXT && std::str::from_utf8(&data).is_err() {
                return Err(1007);
            }
        }
        if self.ours.is_none_or(|(_, tells)| tells) {
            self.told.push(match self.case.settings.contains_key(&Setting::Fragments) {
                true => Told::Fragments(partial.opcode, data, true),
                false => Told::Message(partial.opcode, data),
            });
        }
        Ok(())
    }

    fn control(&mut self, opcode: u8, payload: Vec<u8>) -> Result<(), u16> {
        let tells = self.ours.is_none_or(|(_, tells)| tells);
        match opcode {
            op::CLOSE => {
                let (code, reason) = match payload.split_first_chunk::<2>() {
                    None if payload.is_empty() => (1005, ""),
                    None => return Err(1002),
                    Some((code, reason)) => {
                        let code = u16::from_be_bytes(*code);
                        // RFC 6455 section 7.4, and what has been registered since.
                        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                            return Err(1002);
                        }
                        (code, std::str::from_utf8(reason).map_err(|_| 1007_u16)?)
                    }
                };
                self.end = Some(match self.ours {
                    Some((ours, _)) => End::ClosedByUs(ours),
                    None => End::ClosedByPeer(code, reason.to_owned()),
                });
            }
            op::PING => {
                if self.ours.is_none() {
                    self.answers.push(Frame::new(op::PONG, payload.clone()));
                }
                if tells {
                    self.told.push(Told::Ping(payload));
                }
            }
            _ if tells => self.told.push(Told::Pong(payload)),
            _ => {}
        }
        Ok(())
    }
}
