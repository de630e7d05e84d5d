//! Reading events: WHATWG HTML section 9.2.6, for a stream that is cut anywhere.

use std::time::Duration;

use super::EventError;

/// What may stand before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An event that a client got.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Message {
    /// Its name; `message` if the server gave none.
    pub event: String,
    /// Its data, with LF between the lines.
    pub data: String,
    /// The id that the server gave last, with this event or before.
    pub last_event_id: String,
}

/// Reads events out of the bytes of a `text/event-stream`, piece by piece.
///
/// Bytes that are not UTF-8 are replaced. An event that is not complete at the end of the stream is none.
///
/// # Examples
/// ```
/// use workerman_protocol::http::sse::EventDecoder;
/// let mut decoder = EventDecoder::new(1024);
/// let mut input = &b"id: 7\ndata: a\ndata: b\n\ndata: c"[..];
/// let message = decoder.decode(&mut input)?.unwrap();
/// assert_eq!((message.event.as_str(), message.data.as_str()), ("message", "a\nb"));
/// assert_eq!(decoder.decode(&mut input)?, None);
/// assert!(input.is_empty());
/// # Ok::<(), workerman_protocol::http::sse::EventError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EventDecoder {
    limit: usize,
    /// Bytes of the byte order mark that have been seen; `None` once its place is over.
    mark: Option<usize>,
    /// The line so far, where it began in another piece.
    line: Vec<u8>,
    /// The last line ended with CR: an LF belongs to it.
    after_cr: bool,
    event: String,
    data: String,
    /// What the present event sets, and those behind it have as well.
    id: String,
    /// The id of the last complete event.
    last_event_id: String,
    retry: Option<Duration>,
}

impl EventDecoder {
    /// A decoder at the beginning of a stream; an event may have `limit` bytes, the line that is being read included.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            mark: Some(0),
            line: Vec::new(),
            after_cr: false,
            event: String::new(),
            data: String::new(),
            id: String::new(),
            last_event_id: String::new(),
            retry: None,
        }
    }

    /// The next event, taken off the front of the input; `None` when all of the input has been taken.
    ///
    /// # Errors
    /// An event is too long; nothing comes behind it.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Message>, EventError> {
        self.skip_mark(input);
        while !input.is_empty() {
            if std::mem::take(&mut self.after_cr) && input[0] == b'\n' {
                *input = &input[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\r', b'\n', input) else {
                self.check(input.len())?;
                self.line.extend_from_slice(input);
                *input = &[];
                break;
            };
            self.check(end)?;
            self.after_cr = input[end] == b'\r';
            let rest = &input[end + 1..];
            let message = if self.line.is_empty() {
                self.take_line(&input[..end])
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&input[..end]);
                let message = self.take_line(&line);
                line.clear();
                self.line = line;
                message
            };
            *input = rest;
            if message.is_some() {
                return Ok(message);
            }
        }
        Ok(None)
    }

    /// The id that a client says when it comes back: that of the last complete event.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// How long the server wants the client to wait before it comes back, if it has said so.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn skip_mark(&mut self, input: &mut &[u8]) {
        while let (Some(seen), Some(&first)) = (self.mark, input.first()) {
            if first == BYTE_ORDER_MARK[seen] {
                *input = &input[1..];
                self.mark = Some(seen + 1).filter(|seen| *seen < BYTE_ORDER_MARK.len());
            } else {
                // It only looked like one: a part of the first line.
                self.line.extend_from_slice(&BYTE_ORDER_MARK[..seen]);
                self.mark = None;
            }
        }
    }

    /// Refuses a line that grows by so many bytes before they are kept.
    fn check(&self, more: usize) -> Result<(), EventError> {
        let kept = self.line.len() + self.event.len() + self.data.len() + self.id.len();
        if kept.saturating_add(more) > self.limit {
            return Err(EventError::TooLong { limit: self.limit });
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Option<Message> {
        if line.is_empty() {
            return self.dispatch();
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match &line[..colon] {
            b"data" => {
                self.data.push_str(&value);
                self.data.push('\n');
            }
            b"event" => self.event = value.into_owned(),
            b"id" if !value.contains('\0') => self.id = value.into_owned(),
            b"retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                if let Ok(millis) = value.parse() {
                    self.retry = Some(Duration::from_millis(millis));
                }
            }
            // A comment, or a field that nobody knows.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Message> {
        self.last_event_id.clone_from(&self.id);
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        if data.is_empty() {
            return None;
        }
        data.pop();
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(Message { event, data, last_event_id: self.last_event_id.clone() })
    }
}
