//! What is known of a request for the log, and the number that names it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HeaderName;
use http::{HeaderValue, Method, StatusCode};

use super::super::{RequestHead, Response, Version};
use super::Http;
use crate::Context;

/// A request and its answer, for a log: told when the answer has been handed to the connection, whole or not.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Access<'a> {
    /// The method; `None` for a request that was refused before its head was understood.
    pub method: Option<&'a Method>,
    /// The target as it was sent; empty where the method is `None`.
    pub target: &'a str,
    /// The version of the request.
    pub version: Option<Version>,
    /// The status of the answer; `None` for one that never came.
    pub status: Option<StatusCode>,
    /// Bytes of the answer's body that were written.
    pub body: u64,
    /// Time from the end of the request's head to the end of its answer.
    pub time: Duration,
    /// The address of the client, where it has one of the internet.
    pub remote: Option<SocketAddr>,
    /// The [id](Http::request_id) of the request, where it has one.
    pub id: Option<&'a str>,
}

/// Whom it is told.
pub(super) type OnAccess = Arc<dyn Fn(&Access<'_>) + Send + Sync>;

/// The id of a request, as an extension of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RequestId(pub(crate) Arc<str>);

impl RequestId {
    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The field that carries it, both ways.
pub(super) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Most bytes of an id that a client gave.
const MOST: usize = 128;

/// A request that is in flight, as far as the log wants to know it.
pub(super) struct Record {
    pub(super) number: u32,
    head: Option<RequestHead>,
    since: Instant,
    status: Option<StatusCode>,
    pub(super) body: u64,
    pub(super) id: Option<RequestId>,
}

impl Http {
    /// Names the request, if that is wanted, and remembers what the log needs.
    #[cold]
    pub(super) fn record(&mut self, number: u32, head: &RequestHead, cx: &mut Context<'_, Self>) {
        let id = self.config.request_id.then(|| {
            // What a proxy in front has named keeps its name, if it is harmless in logs.
            let given = head.header(X_REQUEST_ID.as_str()).filter(|id| {
                (1..=MOST).contains(&id.len())
                    && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(&byte))
            });
            RequestId(given.map_or_else(
                || {
                    let mut id = String::with_capacity(32);
                    for _ in 0..2 {
                        // Writing to a string cannot fail.
                        let _ = write!(id, "{:016x}", cx.random().next_u64());
                    }
                    id.into()
                },
                Into::into,
            ))
        });
        let head = self.config.on_access.is_some().then(|| head.clone());
        let record = Record { number, head, since: cx.now(), status: None, body: 0, id };
        self.more().records.push(record);
    }

    pub(super) fn record_of(&mut self, number: u32) -> Option<&mut Record> {
        self.more.as_mut()?.records.iter_mut().find(|record| record.number == number)
    }

    /// An answer begins: it carries the id of its request.
    #[cold]
    pub(super) fn record_answer(&mut self, number: u32, response: &mut Response) {
        let Some(record) = self.record_of(number) else { return };
        record.status = Some(response.status());
        if let Some(id) = &record.id {
            if let Ok(value) = HeaderValue::from_str(&id.0) {
                response.fields_mut().insert(X_REQUEST_ID.clone(), value);
            }
        }
    }

    /// An answer is complete.
    #[cold]
    pub(super) fn record_end(&mut self, number: u32, now: Instant) {
        let Some(more) = &mut self.more else { return };
        let Some(at) = more.records.iter().position(|record| record.number == number) else { return };
        let record = more.records.swap_remove(at);
        if let Some(on_access) = &self.config.on_access {
            record.tell(on_access, now);
        }
    }

    /// A request was refused: all that is known is what it was told.
    #[cold]
    pub(super) fn record_refusal(&mut self, status: u16, body: u64, cx: &Context<'_, Self>) {
        // In the middle of its body: its head is known.
        let number = self.number.wrapping_sub(1);
        if let Some(record) = self.record_of(number) {
            record.status = StatusCode::from_u16(status).ok();
            record.body = body;
            return self.record_end(number, cx.now());
        }
        if let Some(on_access) = &self.config.on_access {
            on_access(&Access {
                method: None,
                target: "",
                version: None,
                status: StatusCode::from_u16(status).ok(),
                body,
                time: Duration::ZERO,
                remote: cx.peer(),
                id: None,
            });
        }
    }
}

impl Record {
    fn tell(&self, on_access: &OnAccess, now: Instant) {
        let Some(head) = &self.head else { return };
        on_access(&Access {
            method: Some(head.method()),
            target: head.target(),
            version: Some(head.version()),
            status: self.status,
            body: self.body,
            time: now.saturating_duration_since(self.since),
            remote: head.remote(),
            id: self.id.as_ref().map(RequestId::as_str),
        });
    }
}

impl Drop for super::More {
    /// What was in flight when the connection ended is told as well.
    fn drop(&mut self) {
        if let Some(on_access) = self.on_access.take() {
            for record in &self.records {
                // The time of the end is nobody's to ask here: it is told as none.
                record.tell(&on_access, record.since);
            }
        }
    }
}
