//! One connection of a pool: an exchange at a time, and what becomes of it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use workerman_connection::{CloseReason, Connection, Error as ConnectionError, SendError};
use workerman_protocol::http::{Body, BodyError, ClientEvent, ClientRequest, HttpClient, Response};

use super::Error;
use super::origin::Origin;
use super::pool::{Pool, Slot};

/// A connection with its place in the pool.
pub(super) struct Line {
    pool: Weak<Pool>,
    origin: Origin,
    state: Mutex<State>,
}

struct State {
    /// `None` once it is over, so that nothing holds its callbacks, which hold this.
    conn: Option<Connection<HttpClient>>,
    /// Its place in the pool, free when it is over.
    slot: Option<Slot>,
    over: bool,
    exchange: Option<Exchange>,
    /// Exchanges so far.
    number: u64,
    idle_since: Option<Instant>,
    /// What `on_error` was told first.
    error: Option<Error>,
}

/// A request under way.
struct Exchange {
    /// `None` once it is answered; then only the end of its body is awaited.
    reply: Option<oneshot::Sender<Result<Response, Failed>>>,
    /// A response that is complete, until its connection is back in the pool: who asks again at once finds it there.
    whole: Option<Response>,
    /// Bytes that had come before.
    before: u64,
    settled: Arc<Settled>,
}

/// There is no response.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: Error,
    /// Not one byte had come back.
    pub(super) untouched: bool,
}

/// What could not even be begun.
#[derive(Debug)]
pub(super) enum Refused {
    /// The connection is over; nothing was sent.
    Gone,
    Error(Error),
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    pub(super) fn new(pool: &Arc<Pool>, origin: &Origin, slot: Slot) -> Arc<Self> {
        Arc::new(Self {
            pool: Arc::downgrade(pool),
            origin: origin.clone(),
            state: Mutex::new(State {
                conn: None,
                slot: Some(slot),
                over: false,
                exchange: None,
                number: 0,
                idle_since: None,
                error: None,
            }),
        })
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.state).over
    }

    /// Its connection is on its way.
    pub(super) fn dialed(&self, conn: Connection<HttpClient>) {
        let mut state = lock(&self.state);
        if !state.over {
            state.conn = Some(conn);
        }
    }

    /// Whether it is up, as far as is known, and became idle at `since` or later.
    pub(super) fn is_fresh(&self, since: Option<Instant>) -> bool {
        let state = lock(&self.state);
        let up = state.conn.as_ref().is_some_and(|conn| !conn.is_closed());
        up && since.is_none_or(|since| state.idle_since.is_some_and(|idle| idle >= since))
    }

    pub(super) fn rests(&self, now: Instant) {
        lock(&self.state).idle_since = Some(now);
    }

    /// Its place is another's from here on.
    pub(super) fn take_slot(&self) -> Option<Slot> {
        lock(&self.state).slot.take()
    }

    /// Ends it; what is queued is sent.
    pub(super) fn close(&self) {
        let conn = lock(&self.state).conn.clone();
        if let Some(conn) = conn {
            conn.close();
        }
    }

    /// Sends a request.
    pub(super) fn begin(self: &Arc<Self>, request: ClientRequest) -> Result<Ticket, Refused> {
        let (reply, answer) = oneshot::channel();
        let (conn, number) = {
            let mut state = lock(&self.state);
            if state.over && state.number == 0 {
                // It could not even be made, before this was asked for.
                return Err(state.error.take().map_or(Refused::Gone, Refused::Error));
            }
            let conn = state.conn.clone().ok_or(Refused::Gone)?;
            state.number += 1;
            let (before, settled) = (conn.bytes_in(), Arc::default());
            state.exchange = Some(Exchange { reply: Some(reply), whole: None, before, settled });
            (conn, state.number)
        };
        let ticket = Ticket { line: Arc::clone(self), number, answer, closed: Box::pin(conn.closed()) };
        let refused = match conn.send(request) {
            Ok(_) => return Ok(ticket),
            Err(SendError::Encode(error)) => Refused::Error(Error::Request(error)),
            // It ends without having been made: its last callback says why.
            Err(SendError::Closed) if number == 1 => return Ok(ticket),
            Err(SendError::Closed | SendError::Upgraded) => Refused::Gone,
            Err(error) => Refused::Error(Error::Connection(std::io::Error::other(error.to_string()))),
        };
        // Nothing was sent: it is as good as before.
        drop(lock(&self.state).exchange.take());
        Err(refused)
    }

    pub(super) fn on_message(&self, mut response: Response) {
        let reply = {
            let mut state = lock(&self.state);
            let Some(exchange) = &mut state.exchange else { return };
            if response.body_ref().as_bytes().is_some() {
                exchange.whole = Some(response);
                return;
            }
            let body = std::mem::take(response.body_mut());
            let settled = Arc::clone(&exchange.settled);
            *response.body_mut() = Body::new(Settling { body, settled, ended: false, trailers: None });
            exchange.reply.take()
        };
        if let Some(reply) = reply {
            // Who has left leaves the response as well, and its body tells the connection.
            let _ = reply.send(Ok(response));
        }
    }

    pub(super) fn on_event(self: &Arc<Self>, event: &ClientEvent) {
        let &ClientEvent::Done { reusable } = event else { return };
        let exchange = lock(&self.state).exchange.take();
        if reusable {
            match self.pool.upgrade() {
                Some(pool) => pool.release(Arc::clone(self)),
                None => self.close(),
            }
        }
        if let Some(exchange) = exchange {
            exchange.end(|| Failed { error: Error::Closed, untouched: false });
        }
    }

    pub(super) fn on_error(&self, error: &ConnectionError) {
        lock(&self.state).error.get_or_insert_with(|| Error::of_connection(error));
    }

    pub(super) fn on_close(self: &Arc<Self>, conn: &Connection<HttpClient>, reason: CloseReason) {
        self.gone(conn.bytes_in(), reason);
    }

    fn gone(self: &Arc<Self>, bytes_in: u64, reason: CloseReason) {
        let (conn, slot, exchange, error) = {
            let mut state = lock(&self.state);
            state.over = true;
            let State { conn, slot, exchange, error, .. } = &mut *state;
            let why = error.take().unwrap_or_else(|| why(reason));
            // Whoever waits is told; else whoever comes.
            let error = if exchange.is_some() { Some(why) } else { error.replace(why) };
            (conn.take(), slot.take(), exchange.take(), error)
        };
        if let Some(pool) = self.pool.upgrade() {
            pool.forget(self);
        }
        drop((conn, slot));
        if let Some(exchange) = exchange {
            let untouched = bytes_in == exchange.before;
            exchange.end(|| Failed { error: error.unwrap_or(Error::Closed), untouched });
        }
    }
}

/// What to say of a connection that ended without an error.
fn why(reason: CloseReason) -> Error {
    match reason {
        CloseReason::PeerClosed | CloseReason::Reset => Error::Closed,
        other => Error::Connection(std::io::Error::other(other.to_string())),
    }
}

impl Exchange {
    fn end(self, failed: impl FnOnce() -> Failed) {
        if let Some(reply) = self.reply {
            let _ = reply.send(self.whole.ok_or_else(failed));
        }
        self.settled.settle();
    }

    /// Whether its response is still to come.
    fn is_unanswered(&self) -> bool {
        self.reply.is_some() && self.whole.is_none()
    }
}

/// The right to one response. Dropped before, it takes the connection along.
pub(super) struct Ticket {
    line: Arc<Line>,
    number: u64,
    answer: oneshot::Receiver<Result<Response, Failed>>,
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// How long after the end of a connection its `on_close` may take to say so.
const GRACE: Duration = Duration::from_secs(1);

impl Ticket {
    pub(super) async fn response(mut self) -> Result<Response, Failed> {
        let mut grace: Option<Pin<Box<Sleep>>> = None;
        let answer = poll_fn(|cx| {
            if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
                return Poll::Ready(answer.ok());
            }
            if grace.is_none() {
                std::task::ready!(self.closed.as_mut().poll(cx));
            }
            // It is over, and `on_close` is called now; but a loop that stops before the connection was begun calls
            // nobody back.
            let grace = grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(GRACE)));
            grace.as_mut().poll(cx).map(|()| None)
        });
        answer.await.unwrap_or_else(|| {
            self.line.gone(0, CloseReason::Shutdown);
            Err(Failed { error: why(CloseReason::Shutdown), untouched: false })
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let abandoned = {
            let state = lock(&self.line.state);
            let mine = state.exchange.as_ref().filter(|_| state.number == self.number);
            mine.filter(|exchange| exchange.is_unanswered()).and_then(|_| state.conn.clone())
        };
        if let Some(conn) = abandoned {
            conn.abort();
        }
    }
}

/// Whether an exchange is over in both directions.
#[derive(Default)]
struct Settled(Mutex<(bool, Option<Waker>)>);

impl Settled {
    fn settle(&self) {
        let waker = {
            let mut settled = lock(&self.0);
            settled.0 = true;
            settled.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut settled = lock(&self.0);
        if settled.0 {
            return Poll::Ready(());
        }
        settled.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A body that ends when its connection is back in the pool, or over: who has read it can ask again on the same one.
struct Settling {
    body: Body,
    settled: Arc<Settled>,
    ended: bool,
    trailers: Option<Frame<Bytes>>,
}

impl http_body::Body for Settling {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        while !this.ended {
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) if frame.is_trailers() => this.trailers = Some(frame),
                Some(frame) => return Poll::Ready(Some(frame)),
                None => this.ended = true,
            }
        }
        std::task::ready!(this.settled.poll(cx));
        Poll::Ready(this.trailers.take().map(Ok))
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
